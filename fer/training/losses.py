# SPDX-License-Identifier: Apache-2.0
"""The loss that training minimises: a loss of the logits, and terms that may be added (dissertation 2.4.7, 2.4.8).

The dissertation trained with cross-entropy. Its survey [45] names island loss and locality-preserving loss, and its
chapter 10 proposes them. Its section 2.3 proposes a loss that punishes errors on small classes more. These are here
too, each off by default:

  total = mean of weight[label] * (cross-entropy or focal loss)
        + island_weight * island + locality_weight * mean of locality_preserving + l2 * sum of squared kernels / 2

Class weights act on the first term only. All functions of tensors take float32 or float64.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from fer.runs.config import TrainConfig
from fer.tf1 import tf

# Share of the way that centres move towards a batch's features: alpha of Wen et al. (2016), with their value.
CENTRE_RATE = 0.5

# A centre shorter than this has no direction: cosines with it count as 0, and no other centre turns it.
_SHORTEST_CENTRE = 1e-6


class Loss(NamedTuple):
    """The loss of one batch of windows."""

    total: tf.Tensor  # float, scalar: the value to minimise
    # float [B], the loss of each window, to find a window whose loss is not finite. It excludes the locality term,
    # because one bad window would spoil its neighbours, and terms of the variables alone.
    per_item: tf.Tensor
    updates: list[tf.Operation]  # to run with each training step: they move the centres of the island loss, if any


class Predictions(NamedTuple):
    """A batch of B windows with N real frames, as the network classifies it into C classes."""

    frame_logits: tf.Tensor  # float [N, C], one row per real frame
    window_logits: tf.Tensor  # float [B, C]
    labels: tf.Tensor  # int32 [B], in [0, C)
    lengths: tf.Tensor  # int32 [B], real frames of each window, at least 1, N in all
    embeddings: tf.Tensor | None = None  # float [N, D], D known, for island and locality-preserving loss


class Items(NamedTuple):
    """The M items that a loss is the mean of: the real frames or the windows of a batch."""

    logits: tf.Tensor  # float [M, C]
    labels: tf.Tensor  # int32 [M]
    window: tf.Tensor  # int32 [N], the window of each real frame


def cross_entropy(logits: tf.Tensor, labels: tf.Tensor, smoothing: float = 0.0) -> tf.Tensor:
    """Returns the softmax cross-entropy of each item.

    Args:
      logits: float [M, C].
      labels: int32 [M], in [0, C).
      smoothing: share of the target that is spread evenly over the C classes, in [0, 1) (Szegedy et al. 2016, section
        7). The other share stays with the label.

    Returns:
      float [M], 0 or above.
    """
    exact = tf.nn.sparse_softmax_cross_entropy_with_logits(labels=labels, logits=logits)
    if not smoothing:
        return exact
    even = tf.reduce_logsumexp(logits, axis=1) - tf.reduce_mean(logits, axis=1)  # [M], for an even target
    return (1 - smoothing) * exact + smoothing * even


def focal(logits: tf.Tensor, labels: tf.Tensor, gamma: float) -> tf.Tensor:
    """Returns the focal loss of each item, -(1 - p)^gamma log(p) (Lin et al. 2017, equation 4).

    p is the softmax probability of the item's label. With gamma 0 this is cross-entropy. The paper's alpha, of its
    equation 5, is a weight per class: `class_weights`.

    Args:
      logits: float [M, C], C at least 2.
      labels: int32 [M], in [0, C).
      gamma: 0 or above.

    Returns:
      float [M], 0 or above.
    """
    # log(1 - p) comes from the logits of the other classes. 1 - p itself rounds to 0 for a confident item, and the
    # derivative of 0^gamma is infinite for gamma below 1.
    own = tf.one_hot(labels, tf.shape(logits)[1], on_value=True, off_value=False, dtype=tf.bool)  # [M, C]
    others = tf.where_v2(own, tf.fill(tf.shape(logits), tf.constant(-math.inf, logits.dtype)), logits)
    log_miss = tf.reduce_logsumexp(others, axis=1) - tf.reduce_logsumexp(logits, axis=1)  # [M]
    return tf.exp(gamma * log_miss) * cross_entropy(logits, labels)


def class_weights(counts: np.ndarray, kind: str) -> np.ndarray:
    """Returns the weight of an error on an item of each class (dissertation 2.3, item 4).

    The weights have a mean of 1 over the training items, so that a learning rate keeps its meaning. A class without
    training items gets 1. No training item uses that weight, and an evaluation item of the class counts like any other.

    Args:
      counts: int [C], training items of each class: frames with `classify='frame'`, else windows.
      kind: `none`, `balanced` or `sqrt`. `balanced` is inverse to the count, so that all classes weigh the same in
        total. `sqrt` is inverse to the square root of the count, half way there.

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
    """Returns half the squared distance of each item to the centre of its class, a term of centre loss.

    Wen et al. 2016 define centre loss.

    Args:
      features: float [M, D].
      labels: int32 [M], in [0, C).
      centres: float [C, D].

    Returns:
      float [M].
    """
    return tf.reduce_sum(tf.square(features - tf.gather(centres, labels)), axis=1) / 2


def centre_pairs(centres: tf.Tensor) -> tf.Tensor:
    """Returns the sum of cosine + 1 over the ordered pairs of different centres (Cai et al. 2018).

    Each pair of classes counts twice. A centre of zeros has no direction: its cosines count as 0, and it gets no
    gradient.

    Args:
      centres: float [C, D].

    Returns:
      float, scalar, in [0, 2 C (C - 1)].
    """
    units, _ = _directions(centres)
    cosines = tf.matmul(units, units, transpose_b=True)  # [C, C]
    return tf.reduce_sum(tf.linalg.set_diag(cosines + 1, tf.zeros_like(cosines[0])))


def island(features: tf.Tensor, labels: tf.Tensor, centres: tf.Tensor, pair_weight: float) -> tf.Tensor:
    """Returns the island loss, small for items near their class's centre and centres far apart.

    Cai et al. 2018 (arXiv 1710.03144) define it. The paper sums the distances of the items. Here they are averaged, so
    that the weight of the loss does not depend on the batch size: island_weight is the paper's lambda times the batch
    size. The term of pairs depends on the centres alone and is not divided, so here it weighs more by the batch size.
    That changes only the printed loss: centres are not trained by gradient, so pairs act on features only through
    `update_centres`, where pair_weight is the paper's lambda_1.

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
    """Returns the variable of the centres, `island/centres`, float32 [num_classes, depth], shared by a graph's towers.

    The centres start in random directions with a length of about 1. They depend on the graph's seed, but not on the
    random operations that were added before.
    """
    with tf.variable_scope('island', reuse=tf.AUTO_REUSE):
        initializer = tf.random_normal_initializer(stddev=1 / math.sqrt(depth), seed=0)
        return tf.get_variable('centres', [num_classes, depth], tf.float32, initializer, trainable=False)


def centre_step(
    features: tf.Tensor, labels: tf.Tensor, centres: tf.Tensor, pair_weight: float, rate: float = CENTRE_RATE
) -> tf.Tensor:
    """Returns the values that a batch subtracts from the centres (the update of Cai et al. 2018).

    n_j is the number of the batch's items of class j, C the number of classes, |.| a length. For the centre c_j it is

      rate * sum over its items of (c_j - x_i) / (1 + n_j)
      + rate * pair_weight / (C - 1) * sum over k of (c_k / (|c_k| |c_j|) - (c_k . c_j) c_j / (|c_k| |c_j|^3))

    This is the paper's update, not the gradient of `island`. In the first sum, the 1 lets a class with few items move
    its centre less than a mean would. The second sum is the gradient of the pairs divided by 2 (C - 1).

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
    # Pairs do not turn a centre without a direction.
    turns = tf.where_v2(tf.reduce_any(tf.not_equal(units, 0), axis=1, keepdims=True), turns, tf.zeros_like(turns))
    return rate * (towards + pair_weight / (num_classes - 1) * turns)


def update_centres(
    variable: tf.Variable, features: tf.Tensor, labels: tf.Tensor, pair_weight: float, rate: float = CENTRE_RATE
) -> tf.Operation:
    """Adds an operation that moves the centres by `centre_step`. `total_loss` lets it run after the loss is computed.

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
    """Returns the unit vectors [C, D] and lengths [C, 1] of centres, or zeros and 1 for one without a direction."""
    squares = tf.reduce_sum(tf.square(centres), axis=1, keepdims=True)
    usable = squares > _SHORTEST_CENTRE**2
    # The root is taken of values other than 0. Its derivative at 0 is infinite, and infinity times 0 is NaN.
    lengths = tf.sqrt(tf.where_v2(usable, squares, tf.ones_like(squares)))  # [C, 1]
    return tf.where_v2(usable, centres / lengths, tf.zeros_like(centres)), lengths


def locality_preserving(features: tf.Tensor, labels: tf.Tensor, neighbours: int) -> tf.Tensor:
    """Returns half the squared distance of each item to the mean of its nearest neighbours of the same class.

    Li, Deng & Du 2017 define the loss. Neighbours come from the batch. An item with fewer neighbours of its class uses
    those, and an item without any gives 0. Among equally near items the earlier ones count.

    The paper sums over the batch, so locality_weight is its lambda times the batch size. The paper's gradient takes
    the mean of the neighbours as a constant. Here the gradient is exact, so the value that is minimised is the value
    that is logged. An exact gradient also pulls an item towards the items that it is a neighbour of. In neither is the
    choice of neighbours differentiated.

    Args:
      features: float [M, D].
      labels: int32 [M].
      neighbours: k, at least 1.

    Returns:
      float [M], 0 or above.
    """
    count = tf.shape(features)[0]
    same_class = tf.equal(labels[:, tf.newaxis], labels[tf.newaxis, :])  # [M, M]
    same_class = tf.linalg.set_diag(same_class, tf.zeros_like(same_class[0]))
    # Distances come from products, because all differences would be M * M * D values, gigabytes for 4096 features. The
    # features are centred first, because products of long vectors that are near each other differ only by rounding.
    moved = tf.stop_gradient(features - tf.reduce_mean(features, axis=0))
    squares = tf.reduce_sum(tf.square(moved), axis=1)
    nearness = 2 * tf.matmul(moved, moved, transpose_b=True) - squares[:, tf.newaxis] - squares[tf.newaxis, :]
    apart = tf.fill([count, count], tf.constant(-math.inf, features.dtype))
    _, nearest = tf.nn.top_k(tf.where_v2(same_class, nearness, apart), k=tf.minimum(neighbours, count))  # [M, K]
    found = tf.minimum(neighbours, tf.reduce_sum(tf.cast(same_class, tf.int32), axis=1))[:, tf.newaxis]  # [M, 1]
    counted = tf.cast(tf.range(tf.shape(nearest)[1]) < found, features.dtype)  # [M, K]
    share = counted / tf.cast(tf.maximum(found, 1), features.dtype)
    chosen = tf.reduce_sum(tf.one_hot(nearest, count, dtype=features.dtype) * share[:, :, tf.newaxis], axis=1)
    distance = tf.reduce_sum(tf.square(features - tf.matmul(chosen, features)), axis=1) / 2  # [M]
    return tf.where_v2(found[:, 0] > 0, distance, tf.zeros_like(distance))


def kernels(variables: Sequence[tf.Variable]) -> list[tf.Variable]:
    """Returns the variables that multiply inputs: names that end in `weights` or `kernel`."""
    return [variable for variable in variables if variable.op.name.endswith(('weights', 'kernel'))]


def l2(variables: Sequence[tf.Variable]) -> tf.Tensor:
    """Returns half the sum of squares over the kernels among `variables`: float, scalar, 0 without kernels."""
    return tf.add_n([tf.nn.l2_loss(kernel) for kernel in kernels(variables)] or [tf.constant(0.0)])


def total_loss(
    config: TrainConfig,
    predictions: Predictions,
    weights: np.ndarray | None = None,
    variables: Sequence[tf.Variable] = (),
) -> Loss:
    """Adds the loss of a batch: the mean over windows, or over all real frames with `classify='frame'`.

    The packed batch has no padded frames, so `frame` never counts the last frame twice. The dissertation padded first,
    so it may have counted it.

    Island and locality-preserving loss act on embeddings: of each real frame with `frame`, else on the mean of a
    window's real frames.

    Args:
      config: of the run. Its settings of the loss choose the terms, and `classify` their items.
      predictions: of the batch.
      weights: float [C], from `class_weights`, or None for weights of 1. The sum of the weighted losses is divided by
        the number of items, not by the sum of their weights.
      variables: the variables whose kernels L2 keeps small.

    Raises:
      ValueError: island or locality-preserving loss without embeddings.
    """
    items = _select_items(predictions, config.classify)
    per_item = _classification_loss(items, config, weights)
    total = tf.reduce_mean(per_item)
    updates = []
    if config.island_weight or config.locality_weight:
        embeddings = _embed_items(items, predictions, config.classify)
        if config.island_weight:
            term, centres, update = _add_island(items, embeddings, config)
            total += config.island_weight * term
            per_item += config.island_weight * centre_distances(embeddings, items.labels, centres)
            updates.append(update)
        if config.locality_weight:
            near = locality_preserving(embeddings, items.labels, config.locality_neighbours)
            total += config.locality_weight * tf.reduce_mean(near)
    if config.l2:
        total += config.l2 * tf.cast(l2(variables), total.dtype)
    per_window = tf.math.segment_mean(per_item, items.window) if config.classify == 'frame' else per_item
    return Loss(total, per_window, updates)


def _select_items(predictions: Predictions, classify: str) -> Items:
    """Returns the real frames with `classify='frame'`, each with its video's label, else the windows."""
    lengths = predictions.lengths
    window = tf.repeat(tf.range(tf.shape(lengths)[0]), lengths)  # [N]
    if classify == 'frame':
        return Items(predictions.frame_logits, tf.gather(predictions.labels, window), window)
    return Items(predictions.window_logits, predictions.labels, window)


def _classification_loss(items: Items, config: TrainConfig, weights: np.ndarray | None) -> tf.Tensor:
    """Returns the weighted cross-entropy or focal loss of each item, float [M]."""
    if config.loss == 'focal':
        per_item = focal(items.logits, items.labels, config.focal_gamma)
    else:
        per_item = cross_entropy(items.logits, items.labels, config.label_smoothing)
    if weights is not None:
        per_item *= tf.gather(tf.constant(weights, items.logits.dtype), items.labels)
    return per_item


def _embed_items(items: Items, predictions: Predictions, classify: str) -> tf.Tensor:
    """Returns the embedding of each item, float [M, D]."""
    if predictions.embeddings is None:
        raise ValueError('island and locality-preserving loss need embeddings')
    if classify == 'frame':
        return predictions.embeddings
    return tf.math.segment_mean(predictions.embeddings, items.window)


def _add_island(items: Items, embeddings: tf.Tensor, config: TrainConfig) -> tuple[tf.Tensor, tf.Tensor, tf.Operation]:
    """Adds the island loss. Returns its value, the centres, float [C, D], and the operation that moves them."""
    variable = island_centres(int(items.logits.shape[1]), int(embeddings.shape[1]))
    centres = tf.cast(tf.convert_to_tensor(variable), embeddings.dtype)
    term = island(embeddings, items.labels, centres, config.island_pair_weight)
    with tf.control_dependencies([term]):  # the loss reads the centres before they move
        update = update_centres(variable, embeddings, items.labels, config.island_pair_weight)
    return term, centres, update
