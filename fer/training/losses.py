"""What training minimises: a loss of the logits, and the terms that may be added to it (dissertation 2.4.7, 2.4.8).

The dissertation trained with cross-entropy; its survey [45] names island loss and locality-preserving loss, its
chapter 10 proposes both, and its section 2.3 a loss that punishes errors on small classes more. Those are here too,
each off unless asked for:

  total = mean of weight[label] * (cross-entropy or focal loss)
        + island_weight * island + locality_weight * mean of locality_preserving + l2 * sum of squared kernels / 2

Class weights are of the first term only. All functions of tensors take float32 or float64.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from fer.tf1 import tf

LOSSES = ('cross_entropy', 'focal')
CLASS_WEIGHTS = ('none', 'balanced', 'sqrt')

# Step of the centres towards a batch's features, alpha of Wen et al. (2016), who use this value.
CENTRE_RATE = 0.5

# A centre shorter than this has no direction: cosines with it count 0, and no other centre turns it.
_SHORTEST_CENTRE = 1e-6


class LossSettings(NamedTuple):
    """The flags of train.py that say what is minimised, under the same names; the defaults are the dissertation's."""

    loss: str = 'cross_entropy'  # one of LOSSES
    focal_gamma: float = 2.0  # with loss='focal'
    class_weights: str = 'none'  # one of CLASS_WEIGHTS
    island_weight: float = 0.0
    island_pair_weight: float = 1.0  # lambda_1 of Cai et al.: how much centres of different classes repel
    locality_weight: float = 0.0
    locality_neighbours: int = 20
    l2: float = 0.0


class Loss(NamedTuple):
    """The loss of one batch of windows."""

    total: tf.Tensor  # float, scalar: what to minimise
    # float [B]: what each window gives by itself, to find the one that is not finite. Locality is not in it, as one
    # bad window would spoil its neighbours'; nor are terms of the variables alone.
    per_item: tf.Tensor
    updates: list[tf.Operation]  # to run with each training step: the centres', where there are any


def cross_entropy(logits: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
    """Softmax cross-entropy of each item.

    Args:
      logits: float [M, C].
      labels: int32 [M], in [0, C).

    Returns:
      float [M], 0 or above.
    """
    return tf.nn.sparse_softmax_cross_entropy_with_logits(labels=labels, logits=logits)


def focal(logits: tf.Tensor, labels: tf.Tensor, gamma: float) -> tf.Tensor:
    """Focal loss of each item, -(1 - p)^gamma log(p) with p the softmax of its label (Lin et al. 2017, equation 4).

    Their alpha of equation 5 is a weight per class: `class_weights`. With gamma 0 it is cross-entropy.

    Args:
      logits: float [M, C], C at least 2.
      labels: int32 [M], in [0, C).
      gamma: 0 or above.

    Returns:
      float [M], 0 or above.
    """
    # log(1 - p) from the other classes' logits: 1 - p itself rounds to 0 for a confident item, and the derivative of
    # 0^gamma is infinite with gamma below 1.
    own = tf.one_hot(labels, tf.shape(logits)[1], on_value=True, off_value=False, dtype=tf.bool)  # [M, C]
    others = tf.where_v2(own, tf.fill(tf.shape(logits), tf.constant(-math.inf, logits.dtype)), logits)
    log_miss = tf.reduce_logsumexp(others, axis=1) - tf.reduce_logsumexp(logits, axis=1)  # [M]
    return tf.exp(gamma * log_miss) * cross_entropy(logits, labels)


def class_weights(counts: np.ndarray, kind: str) -> np.ndarray:
    """What an error on an item of each class weighs (dissertation 2.3, item 4).

    Weights are scaled to a mean of 1 over the training items, so that a learning rate keeps its meaning. A class
    without training items gets 1: no training item has the weight, and an evaluation item of it counts as any other.

    Args:
      counts: int [C], training items of each class: frames with `classify='frame'`, else windows.
      kind: one of CLASS_WEIGHTS. `balanced` is inverse to the count, so that each class weighs the same in all;
        `sqrt` inverse to its square root, half way there.

    Returns:
      float32 [C], above 0.
    """
    counts = np.asarray(counts, np.float64)
    power = {'none': 0.0, 'balanced': -1.0, 'sqrt': -0.5}[kind]
    present = counts > 0
    weights = np.ones_like(counts)
    if present.any():
        weights[present] = counts[present] ** power
        weights[present] *= counts.sum() / np.dot(counts[present], weights[present])
    return weights.astype(np.float32)


def centre_distances(features: tf.Tensor, labels: tf.Tensor, centres: tf.Tensor) -> tf.Tensor:
    """Half the squared distance of each item to its class's centre: a term of centre loss (Wen et al. 2016).

    Args:
      features: float [M, D].
      labels: int32 [M], in [0, C).
      centres: float [C, D].

    Returns:
      float [M].
    """
    return tf.reduce_sum(tf.square(features - tf.gather(centres, labels)), axis=1) / 2


def centre_pairs(centres: tf.Tensor) -> tf.Tensor:
    """Cosine + 1 summed over the ordered pairs of different centres, each pair of classes twice (Cai et al. 2018).

    A centre of zeros has no direction: its cosines count 0, and no gradient comes to it.

    Args:
      centres: float [C, D].

    Returns:
      float, scalar, in [0, 2 C (C - 1)].
    """
    units, _ = _directions(centres)
    cosines = tf.matmul(units, units, transpose_b=True)  # [C, C]
    return tf.reduce_sum(tf.linalg.set_diag(cosines + 1, tf.zeros_like(cosines[0])))


def island(features: tf.Tensor, labels: tf.Tensor, centres: tf.Tensor, pair_weight: float) -> tf.Tensor:
    """Island loss: items near the centre of their class, centres apart (Cai et al. 2018, arXiv 1710.03144).

    The paper adds the items' distances up; here they are averaged, so that the loss's weight does not depend on the
    batch size: island_weight is the paper's lambda times the batch size. The pairs depend on centres alone and are
    not divided. As centres are not trained by gradient, the pairs act on features only through `update_centres`,
    where pair_weight is the paper's lambda_1; in the value here they are as many times heavier as the batch has items.

    Args:
      features: float [M, D].
      labels: int32 [M], in [0, C).
      centres: float [C, D].
      pair_weight: weight of the pairs, 0 or above.

    Returns:
      float, scalar, 0 or above.
    """
    return tf.reduce_mean(centre_distances(features, labels, centres)) + pair_weight * centre_pairs(centres)


def island_centres(num_classes: int, depth: int) -> tf.Variable:
    """The centres, `island/centres`, float32 [num_classes, depth]; the same variable for every tower of a graph.

    They start in random directions, about 1 long, drawn from the graph's seed whatever random operations come before.
    """
    with tf.variable_scope('island', reuse=tf.AUTO_REUSE):
        initializer = tf.random_normal_initializer(stddev=1 / math.sqrt(depth), seed=0)
        return tf.get_variable('centres', [num_classes, depth], tf.float32, initializer, trainable=False)


def centre_step(
    features: tf.Tensor, labels: tf.Tensor, centres: tf.Tensor, pair_weight: float, rate: float = CENTRE_RATE
) -> tf.Tensor:
    """What a batch subtracts from the centres (the update of Cai et al. 2018).

    With n_j the batch's items of class j, C classes and |.| a length, the centre c_j loses

      rate * sum over its items of (c_j - x_i) / (1 + n_j)
      + rate * pair_weight / (C - 1) * sum over k of (c_k / (|c_k| |c_j|) - (c_k . c_j) c_j / (|c_k| |c_j|^3))

    It is the paper's, not the gradient of `island`: the first sum is a mean held back by the 1, which lets a class
    with few items move its centre less, and the second is the gradient of the pairs over 2 (C - 1).

    Args:
      features: float [M, D].
      labels: int32 [M], in [0, C).
      centres: float [C, D], C at least 2.
      pair_weight: 0 or above.
      rate: alpha, in [0, 1].

    Returns:
      float [C, D].
    """
    num_classes = int(centres.shape[0])
    counts = tf.math.unsorted_segment_sum(tf.ones_like(features[:, :1]), labels, num_classes)  # [C, 1]
    sums = tf.math.unsorted_segment_sum(features, labels, num_classes)  # [C, D]
    towards = (counts * centres - sums) / (1 + counts)
    units, lengths = _directions(centres)
    others = tf.reduce_sum(units, axis=0, keepdims=True) - units  # [C, D]
    turns = (others - tf.reduce_sum(others * units, axis=1, keepdims=True) * units) / lengths
    # A centre without a direction is not turned.
    turns = tf.where_v2(tf.reduce_any(tf.not_equal(units, 0), axis=1, keepdims=True), turns, tf.zeros_like(turns))
    return rate * (towards + pair_weight / (num_classes - 1) * turns)


def update_centres(
    variable: tf.Variable, features: tf.Tensor, labels: tf.Tensor, pair_weight: float, rate: float = CENTRE_RATE
) -> tf.Operation:
    """Moves the centres by `centre_step`. `total_loss` runs it after the loss has read them.

    Args:
      variable: float32 [C, D], of `island_centres`.
      features: float [M, D].
      labels: int32 [M], in [0, C).
      pair_weight: 0 or above.
      rate: alpha, in [0, 1].
    """
    step = centre_step(tf.cast(features, variable.dtype.base_dtype), labels, tf.identity(variable), pair_weight, rate)
    return tf.assign_sub(variable, step).op


def _directions(centres: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Unit vectors [C, D] and lengths [C, 1] of centres; zeros and 1 for one without a direction."""
    squares = tf.reduce_sum(tf.square(centres), axis=1, keepdims=True)
    usable = squares > _SHORTEST_CENTRE**2
    # The root of a value that is never 0: its derivative at 0 is infinite, and infinity times no upstream is NaN.
    lengths = tf.sqrt(tf.where_v2(usable, squares, tf.ones_like(squares)))  # [C, 1]
    return tf.where_v2(usable, centres / lengths, tf.zeros_like(centres)), lengths


def locality_preserving(features: tf.Tensor, labels: tf.Tensor, neighbours: int) -> tf.Tensor:
    """Half the squared distance of each item to the mean of its nearest of the same class (Li, Deng & Du 2017).

    Neighbours are looked for in the batch. An item with fewer of its class beside it uses those there are; one that
    is alone gives 0. Of equally near ones the earlier counts.

    The paper sums over the batch, so locality_weight is its lambda times the batch size. Its gradient takes the
    neighbours' mean for a constant. This is the exact one, in which an item is also drawn towards the items it is a
    neighbour of: what is minimised is then what is logged. Which items are neighbours has no gradient in either.

    Args:
      features: float [M, D].
      labels: int32 [M].
      neighbours: k, at least 1.

    Returns:
      float [M], 0 or above.
    """
    count = tf.shape(features)[0]
    same = tf.equal(labels[:, tf.newaxis], labels[tf.newaxis, :])  # [M, M]
    same = tf.linalg.set_diag(same, tf.zeros_like(same[0]))
    # Distances by products: all differences would be M * M * D values, gigabytes for 4096 features. Moved to their
    # mean first, as products of long, near vectors differ by rounding alone.
    moved = tf.stop_gradient(features - tf.reduce_mean(features, axis=0))
    squares = tf.reduce_sum(tf.square(moved), axis=1)
    nearness = 2 * tf.matmul(moved, moved, transpose_b=True) - squares[:, tf.newaxis] - squares[tf.newaxis, :]
    apart = tf.fill([count, count], tf.constant(-math.inf, features.dtype))
    _, nearest = tf.nn.top_k(tf.where_v2(same, nearness, apart), k=tf.minimum(neighbours, count))  # [M, K]
    found = tf.minimum(neighbours, tf.reduce_sum(tf.cast(same, tf.int32), axis=1))[:, tf.newaxis]  # [M, 1]
    counted = tf.cast(tf.range(tf.shape(nearest)[1]) < found, features.dtype)  # [M, K]
    share = counted / tf.cast(tf.maximum(found, 1), features.dtype)
    chosen = tf.reduce_sum(tf.one_hot(nearest, count, dtype=features.dtype) * share[:, :, tf.newaxis], axis=1)
    distance = tf.reduce_sum(tf.square(features - tf.matmul(chosen, features)), axis=1) / 2  # [M]
    return tf.where_v2(found[:, 0] > 0, distance, tf.zeros_like(distance))


def kernels(variables: Sequence[tf.Variable]) -> list[tf.Variable]:
    """Those that multiply inputs, `.../weights` or `.../kernel` and names that end so; no bias, gamma or beta."""
    return [variable for variable in variables if variable.op.name.endswith(('weights', 'kernel'))]


def l2(variables: Sequence[tf.Variable]) -> tf.Tensor:
    """Half the sum of squares over the kernels among `variables`; float, scalar, 0 where there are none."""
    return tf.add_n([tf.nn.l2_loss(kernel) for kernel in kernels(variables)] or [tf.constant(0.0)])


def total_loss(
    settings: LossSettings,
    classify: str,
    frame_logits: tf.Tensor,
    logits_of_windows: tf.Tensor,
    labels: tf.Tensor,
    lengths: tf.Tensor,
    embeddings: tf.Tensor | None = None,
    weights: np.ndarray | None = None,
    variables: Sequence[tf.Variable] = (),
) -> Loss:
    """The loss of a batch: the mean over windows, or over all real frames with `classify='frame'`.

    In the packed batch a padded frame does not exist, so `frame` never counts the last frame twice; the
    dissertation, which padded first, does not say whether it did.

    Island and locality-preserving loss act on embeddings: with `frame` each real frame's, else the mean of a window's
    real frames.

    Args:
      settings: of the run.
      classify: one of fer.training.aggregation.CLASSIFY.
      frame_logits: float [N, C], one row per real frame.
      logits_of_windows: float [B, C].
      labels: int32 [B], in [0, C).
      lengths: int32 [B], at least 1, their sum N.
      embeddings: float [N, D], D known; needed for island and locality-preserving loss.
      weights: float [C], of `class_weights`; none for weights of 1. The weighted losses' sum is divided by the
        number of items, not by the sum of their weights.
      variables: those whose kernels L2 holds small.

    Raises:
      ValueError: island or locality-preserving loss without embeddings.
    """
    window = tf.repeat(tf.range(tf.shape(lengths)[0]), lengths)  # [N], the window of each frame
    frames = classify == 'frame'
    logits, targets = (frame_logits, tf.gather(labels, window)) if frames else (logits_of_windows, labels)

    per_item = (
        focal(logits, targets, settings.focal_gamma) if settings.loss == 'focal' else cross_entropy(logits, targets)
    )
    if weights is not None:
        per_item *= tf.gather(tf.constant(weights, logits.dtype), targets)
    total = tf.reduce_mean(per_item)

    updates = []
    if settings.island_weight or settings.locality_weight:
        if embeddings is None:
            raise ValueError('island and locality-preserving loss need embeddings')
        items = embeddings if frames else tf.math.segment_mean(embeddings, window)  # [N or B, D]
        if settings.island_weight:
            variable = island_centres(int(logits.shape[1]), int(embeddings.shape[1]))
            centres = tf.cast(tf.convert_to_tensor(variable), items.dtype)
            term = island(items, targets, centres, settings.island_pair_weight)
            with tf.control_dependencies([term]):  # the loss is of the centres before the step
                updates.append(update_centres(variable, items, targets, settings.island_pair_weight))
            total += settings.island_weight * term
            per_item += settings.island_weight * centre_distances(items, targets, centres)
        if settings.locality_weight:
            near = locality_preserving(items, targets, settings.locality_neighbours)
            total += settings.locality_weight * tf.reduce_mean(near)
    if settings.l2:
        total += settings.l2 * tf.cast(l2(variables), total.dtype)
    return Loss(total, tf.math.segment_mean(per_item, window) if frames else per_item, updates)
