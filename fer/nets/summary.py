# SPDX-License-Identifier: Apache-2.0
"""Counts the size and cost of each network from its graph."""

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from fer.nets import NETWORKS, Network
from fer.nets.published import PUBLISHED
from fer.tf1 import tf

CLASSIFIERS = ('logits', 'fc8')  # scopes, below the network's, of the layer with a unit per class
_VIEWS = ('Reshape', 'Identity', 'ExpandDims', 'Squeeze')  # their outputs are their inputs' memory

# Operations whose gradient needs their inputs, or their output.
_NEED_INPUTS = ('Conv2D', 'DepthwiseConv2dNative', 'MatMul', 'FusedBatchNormV3', 'Mul', 'MaxPool')
_NEED_OUTPUT = ('Relu', 'Sigmoid', 'MaxPool')


class NetworkSummary(NamedTuple):
    """Size and cost of one network at one image size."""

    parameters: int  # trainable parameters, with the classifier's
    without_classifier: int  # trainable parameters, without the classifier's
    multiply_adds: int  # of convolutions and dense layers, per frame
    features: int  # per frame
    activations: int  # bytes per frame of all computed float32 values, if none is freed or overwritten
    kept: int  # bytes per frame of the activations that gradients need, which a training step keeps


def summarise(network: Network, image_size: int, num_classes: int, global_pool: bool, **options) -> NetworkSummary:
    """Builds the network for evaluation in a graph of its own and counts. The graph is never run.

    Args:
      network: a value of NETWORKS.
      image_size: height and width in pixels.
      num_classes: units of the classifier.
      global_pool: True averages the last map, False keeps it flat.
      **options: further arguments of `network.build`.
    """
    with tf.Graph().as_default():
        images = tf.placeholder(tf.float32, [1, image_size, image_size, 3])
        features, _ = network.build(images, num_classes=num_classes, global_pool=global_pool, **options)
        sizes = {v.op.name: v.shape.num_elements() for v in tf.trainable_variables()}
        operations = list(_computed_from(images))
        kept = _kept(images, operations)
    classifier = sum(size for name, size in sizes.items() if name.split('/')[1] in CLASSIFIERS)
    return NetworkSummary(
        parameters=sum(sizes.values()),
        without_classifier=sum(sizes.values()) - classifier,
        multiply_adds=sum(_multiply_adds(operation) for operation in operations),
        features=int(features.shape[1]),
        activations=sum(
            operation.outputs[0].shape.num_elements() * operation.outputs[0].dtype.size
            for operation in operations
            if operation.type not in _VIEWS and operation.outputs[0].dtype == tf.float32
        ),
        kept=kept,
    )


def summarise_published(name: str) -> NetworkSummary:
    """Counts a network under the conditions of its row of PUBLISHED."""
    row = PUBLISHED[name]
    options = {'convention': row.convention} if row.convention else {}
    return summarise(NETWORKS[name], row.image_size, 1000, row.global_pool, **options)


def _computed_from(tensor: tf.Tensor) -> Iterator[tf.Operation]:
    """Yields each operation that depends on a tensor, once."""
    found, waiting = set(), [tensor]
    while waiting:
        for operation in waiting.pop().consumers():
            if operation.name not in found:
                found.add(operation.name)
                waiting.extend(operation.outputs)
                yield operation


def _kept(images: tf.Tensor, operations: Sequence[tf.Operation]) -> int:
    """Returns the bytes of the tensors that are computed from one image and that gradients need."""
    computed = {tensor.name for operation in operations for tensor in operation.outputs} | {images.name}
    needed = [tensor for operation in operations if operation.type in _NEED_INPUTS for tensor in operation.inputs]
    needed += [operation.outputs[0] for operation in operations if operation.type in _NEED_OUTPUT]
    kept = {}
    for tensor in needed:
        while tensor.op.type in _VIEWS:
            tensor = tensor.op.inputs[0]
        if tensor.name in computed and tensor.dtype == tf.float32:
            kept[tensor.name] = tensor.shape.num_elements() * tensor.dtype.size
    return sum(kept.values())


def _multiply_adds(operation: tf.Operation) -> int:
    """Returns the multiplications of a convolution or matrix product of static shape, 0 for any other operation."""
    if operation.type not in ('Conv2D', 'DepthwiseConv2dNative', 'MatMul'):
        return 0
    kernel = operation.inputs[1].shape.as_list()
    # A grouped convolution's kernel has the inputs of one group only, a depthwise kernel has one channel.
    per_output = {'Conv2D': kernel[:3], 'DepthwiseConv2dNative': kernel[:2], 'MatMul': kernel[:1]}[operation.type]
    return operation.outputs[0].shape.num_elements() * math.prod(per_output)
