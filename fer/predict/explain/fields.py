# SPDX-License-Identifier: Apache-2.0
"""The places of a map's cells in the image, read from the graph.

A cell of the last map is often not where a map stretched over the image would show it. Each strided layer that pads
symmetrically moves the centres of cells to the left and up. On a map of 3x3 that adds up to half a cell.
"""

from typing import NamedTuple

import numpy as np

from fer.tf1 import tf

_CONVOLUTIONS = ('Conv2D', 'DepthwiseConv2dNative')
_POOLS = ('MaxPool', 'AvgPool')


class Grid(NamedTuple):
    """The centres of a map's cells along a side of a square image, as shares of the side."""

    first: float  # of cell 0
    step: float  # from one cell to the next


def find_grid(last_map: tf.Tensor, images: tf.Tensor) -> Grid:
    """Finds the centres of a map's cells: those of the pixels that a cell is computed from, without the image's edges.

    Goes back along one path of the network. Its paths have equal centres, except for a pixel or two in a NASNet.

    Args:
      last_map: float32 [N, H', W', C].
      images: float32 [N, S, S, 3], from which it is computed.
    """
    step, first = 1.0, 0.0  # pixel = step * cell + first
    tensor = last_map
    while tensor.shape[1:3] != images.shape[1:3]:
        operation = tensor.op
        # The last part of a joined map is the newest, and a cell's previous input is older.
        source = operation.inputs[-2] if operation.type == 'ConcatV2' else operation.inputs[0]
        stride, shift = _stride_and_shift(operation, int(source.shape[1]))
        step, first = stride * step, stride * first + shift
        tensor = source
    side = int(images.shape[1])
    return Grid((first + 0.5) / side, step / side)


def _stride_and_shift(operation: tf.Operation, size: int) -> tuple[int, float]:
    """Returns numbers for which row r of an operation's output is centred on row stride * r + shift of its input.

    Args:
      operation: of a network.
      size: rows of its input.
    """
    if operation.type in _CONVOLUTIONS or operation.type in _POOLS:
        pools = operation.type in _POOLS
        kernel = operation.get_attr('ksize')[1] if pools else int(operation.inputs[1].shape[0])
        stride = operation.get_attr('strides')[1]
        before = 0
        if operation.get_attr('padding') == b'SAME':
            before = max(0, (-(-size // stride) - 1) * stride + kernel - size) // 2
        return stride, (kernel - 1) / 2 - before
    if operation.type == 'Pad':
        return 1, -float(tf.get_static_value(operation.inputs[1])[1, 0])
    if operation.type == 'StridedSlice':
        begin, _, strides = (np.asarray(tf.get_static_value(value)) for value in operation.inputs[1:4])
        is_open = operation.get_attr('begin_mask') & 0b10
        return int(strides[1]), 0.0 if is_open else float(begin[1])
    return 1, 0.0
