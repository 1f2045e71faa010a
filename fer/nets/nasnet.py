# SPDX-License-Identifier: Apache-2.0
"""NASNet-A: Large (6 @ 4032) as `nasnet`, Mobile (4 @ 1056) as `nasnet_mobile`.

Zoph, Vasudevan, Shlens, Le, "Learning Transferable Architectures for Scalable Image Recognition", CVPR 2018. The
two cells are those of figure 4, their order is that of figure 2 for ImageNet, the rest is in appendix A.4. The stem and
the adjustment of a cell's second input follow the authors' slim implementation.

Two parts are left out. The auxiliary classifier helps training on ImageNet from fresh weights. The rate of
ScheduledDropPath grows to 0.3 over the 250,000 steps of such a training, and would stay below 0.01 in a run on AFEW.
"""

from typing import NamedTuple

from fer.nets.conventions import Convention, source_pixels
from fer.nets.layers import (
    batch_norm,
    batch_norm_arg_scope,
    classifier,
    conv2d,
    features_of_map,
    pool_3x3,
    scale_channels,
    separable_conv2d,
)
from fer.nets.layers import dropout as dropout_layer
from fer.tf1 import slim, tf

SLIM = Convention(padding='same', pool='same', epsilon=1e-3)
CELL_OUTPUTS = 6  # maps that a normal cell concatenates: penultimate filters = 6 * 4 * filters


class CellStep(NamedTuple):
    """One step of a cell: the sum of two operations, each on an earlier state (0: input, 1: previous input)."""

    left: str
    left_state: int
    right: str
    right_state: int


class CellDesign(NamedTuple):
    """One kind of cell, and the states that its output concatenates."""

    steps: tuple[CellStep, ...]
    outputs: tuple[int, ...]
    stride: int  # stride of the operations on the cell's two inputs


# Operations: `sep5` is a separable 5x5 convolution (twice), `avg` and `max` are 3x3 pools, `none` is the identity.
NORMAL = CellDesign(
    (
        CellStep('sep5', 0, 'sep3', 1),
        CellStep('sep5', 1, 'sep3', 1),
        CellStep('avg', 0, 'none', 1),
        CellStep('avg', 1, 'avg', 1),
        CellStep('sep3', 0, 'none', 0),
    ),
    outputs=(1, 2, 3, 4, 5, 6),
    stride=1,
)
REDUCTION = CellDesign(
    (
        CellStep('sep5', 0, 'sep7', 1),
        CellStep('max', 0, 'sep7', 1),
        CellStep('avg', 0, 'sep5', 1),
        CellStep('none', 3, 'avg', 2),
        CellStep('sep3', 2, 'max', 0),
    ),
    outputs=(3, 4, 5, 6),
    stride=2,
)


class Size(NamedTuple):
    """The differences between Large and Mobile."""

    cells: int  # normal cells in each of the three stages
    filters: int  # filters of the first stage's cells
    stem: int  # channels of the first convolution
    skip_reduction: bool  # the cell after a reduction takes its second input from before the last normal cell


LARGE = Size(cells=6, filters=168, stem=96, skip_reduction=True)
MOBILE = Size(cells=4, filters=44, stem=32, skip_reduction=False)


def nasnet(
    images: tf.Tensor,
    num_classes: int = 7,
    is_training: bool = False,
    width: float = 1.0,
    dropout: float = 0.5,
    global_pool: bool = True,
    convention: Convention = SLIM,
    scope: str = 'nasnet',
    size: Size = LARGE,
) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
    """Builds NASNet-A.

    Args:
      images: float32 [N, H, W, 3], RGB in [-1, 1]. H and W are fixed, at least 32.
      num_classes: units of the last layer, logits. 0 builds no classifier.
      is_training: True normalises by the batch's statistics and turns dropout on.
      width: multiplies the channels of every layer except the last. Filters stay multiples of 4, for the stem's halves.
      dropout: share of the features dropped before the logits, in [0, 1).
      global_pool: must be True, because the dissertation leaves NASNet's pooling as it is (6.1).
      convention: the convention of the weights' source.
      scope: scope of the variables, which are reused if they exist.
      size: Large or Mobile.

    Returns:
      features: float32 [N, 4032 * width] for Large, [N, 1056 * width] for Mobile, before dropout.
      end_points: `conv0`, `stem_1`, `stem_2`, `cell_1` ... `cell_18` (Mobile 12), `reduction_1`, `reduction_2`,
        `last_map` (after ReLU), `features`, `logits` [N, num_classes].

    Raises:
      ValueError: `global_pool` is False.
    """
    if not global_pool:
        raise ValueError('NASNet always averages its last map; expected global_pool=True')
    filters = scale_channels(size.filters, width, multiple=4)
    end_points = {}
    with (
        tf.variable_scope(scope, reuse=tf.AUTO_REUSE),
        batch_norm_arg_scope(is_training, convention.epsilon),
        slim.arg_scope([conv2d, separable_conv2d], activation_fn=None),  # a cell has its ReLU before its convolutions
    ):
        net = source_pixels(images, convention)
        net = conv2d(net, scale_channels(size.stem, width), 3, 2, 'valid', scope='conv0')
        end_points['conv0'] = net
        previous = None
        for name, channels in (('stem_1', filters // 4), ('stem_2', filters // 2)):
            net, previous = _build_cell(REDUCTION, net, previous, channels, convention.pool, name), net
            end_points[name] = net
        cell = 0
        for stage in range(3):
            channels = filters * 2**stage
            if stage:
                name = f'reduction_{stage}'
                before = previous if size.skip_reduction else net
                net = _build_cell(REDUCTION, net, previous, channels, convention.pool, name)
                previous = before
                end_points[name] = net
            for _ in range(size.cells):
                cell += 1
                name = f'cell_{cell}'
                net, previous = _build_cell(NORMAL, net, previous, channels, convention.pool, name), net
                end_points[name] = net
        net = end_points['last_map'] = tf.nn.relu(net)
        features = features_of_map(net, global_pool)
        end_points['features'] = features
        if num_classes:
            net = dropout_layer(features, dropout, is_training, scope='dropout')
            end_points['logits'] = classifier(net, num_classes)
    return features, end_points


def nasnet_mobile(
    images: tf.Tensor,
    num_classes: int = 7,
    is_training: bool = False,
    width: float = 1.0,
    dropout: float = 0.5,
    global_pool: bool = True,
    convention: Convention = SLIM,
    scope: str = 'nasnet_mobile',
) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
    """Builds NASNet-A Mobile.

    Args:
      images: float32 [N, H, W, 3], RGB in [-1, 1]. H and W are fixed, at least 32.
      num_classes: units of the last layer, logits. 0 builds no classifier.
      is_training: True normalises by the batch's statistics and turns dropout on.
      width: multiplies the channels of every layer except the last. Filters stay multiples of 4, for the stem's halves.
      dropout: share of the features dropped before the logits, in [0, 1).
      global_pool: must be True, because the dissertation leaves NASNet's pooling as it is (6.1).
      convention: the convention of the weights' source.
      scope: scope of the variables, which are reused if they exist.

    Returns:
      features: float32 [N, 1056 * width], before dropout.
      end_points: `conv0`, `stem_1`, `stem_2`, `cell_1` ... `cell_12`, `reduction_1`, `reduction_2`, `last_map`
        (after ReLU), `features`, `logits` [N, num_classes].
    """
    return nasnet(images, num_classes, is_training, width, dropout, global_pool, convention, scope, MOBILE)


def _build_cell(
    cell: CellDesign, net: tf.Tensor, previous: tf.Tensor | None, filters: int, pool: str, scope: str
) -> tf.Tensor:
    """Builds one cell: [N, H, W, C], and the previous cell's input, to [N, H / stride, W / stride, filters * outputs].

    The first cell has no previous one: its own input takes that place, not adjusted.
    """
    with tf.variable_scope(scope):
        states = [
            conv2d(tf.nn.relu(net), filters, 1, scope='input'),
            net if previous is None else _adjust(previous, net, filters),
        ]
        for number, step in enumerate(cell.steps, start=1):
            with tf.variable_scope(f'step_{number}'):
                sides = []
                for side, operation, state in (
                    ('left', step.left, step.left_state),
                    ('right', step.right, step.right_state),
                ):
                    stride = cell.stride if state < 2 else 1
                    sides.append(_operation(operation, states[state], filters, stride, pool, side))
                states.append(sides[0] + sides[1])
        return tf.concat([states[index] for index in cell.outputs], axis=3)


def _adjust(previous: tf.Tensor, net: tf.Tensor, filters: int) -> tf.Tensor:
    """Gives the second input the first one's height and width, and `filters` channels."""
    if previous.shape[1:3] != net.shape[1:3]:  # after a reduction: halve without losing every other pixel
        previous = tf.nn.relu(previous)
        shifted = tf.pad(previous, [[0, 0], [0, 1], [0, 1], [0, 0]])[:, 1:, 1:]
        halves = [
            conv2d(path[:, ::2, ::2], filters // 2, 1, normalizer_fn=None, scope=f'previous/path_{number}')
            for number, path in enumerate((previous, shifted), start=1)
        ]
        return batch_norm(tf.concat(halves, axis=3), scope='previous/BatchNorm')
    if previous.shape[3] != filters:
        return conv2d(tf.nn.relu(previous), filters, 1, scope='previous')
    return previous


def _operation(operation: str, net: tf.Tensor, filters: int, stride: int, pool: str, scope: str) -> tf.Tensor:
    """Builds one operation of a cell: [N, H, W, C] to [N, H / stride, W / stride, filters]."""
    if operation == 'none':
        return net
    if operation in ('avg', 'max'):
        kind = operation.upper()
        return pool_3x3(net, kind, pool) if stride == 2 else tf.nn.pool(net, [3, 3], kind, 'SAME')
    kernel = int(operation.removeprefix('sep'))
    for number in (1, 2):
        net = separable_conv2d(
            tf.nn.relu(net), filters, kernel, stride if number == 1 else 1, scope=f'{scope}/separable_{number}'
        )
    return net
