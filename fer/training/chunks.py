"""Training a CNN in bounded memory: its gradients, a chunk of frames at a time.

A training step keeps what every layer computed of every frame until the gradient has passed it: five gigabytes for
320 frames of 112x112 in VGG-Face, ten in DenseNet-121. Only what stands on the CNN needs all frames of a window
together. So the CNN runs over the frames in chunks and keeps nothing but its outputs; what stands on it runs once,
forward and back to those outputs; then each chunk runs again, forward and back, from the gradients of its outputs, and
the gradients of the variables are added up (Chen et al. 2016, arXiv 1604.06174, with one checkpoint, and Gao et al.
2021, arXiv 2101.06983, for the second pass). It costs one more pass forward, a third of a step.

The sum is the gradient of the whole batch, but for its rounding, wherever a frame's outputs depend on no other frame:
without batch normalisation, and where it is frozen. Dropout drops the same units as in one pass over all. Where batch
normalisation learns, a frame is normalised by its chunk: each is a batch of its own ("ghost batches", Hoffer et al.
2017), all of nearly the same size. The moving averages then move once per chunk, by the statistics of the second pass.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from fer.nets import get_network
from fer.nets.layers import Rows, batch_norm, dropout
from fer.nets.summary import summarise
from fer.tf1 import slim, tf

# Bytes that a training step may keep of its frames before it is chunked unasked. On a card with 12 GB this leaves room
# for gradients of the largest maps, for VGG-Face's variables with Adam's moments, 0.8 GB, and for workspaces.
ACTIVATIONS = 8 * 10**9

# No network keeps more for each pixel of a frame at width 1, so that small batches need not be counted.
_MOST_PER_PIXEL = 2**14


class Chunked(NamedTuple):
    """A network that ran over frames in chunks; its outputs are cut off from the graph that made them."""

    size: int  # the most frames of a chunk
    outputs: dict[str, tf.Tensor]  # float32 [N, D] each
    # gradients(of outputs, variables): adds the second pass. Takes the gradient, float32 [N, D], of some of the
    # outputs; returns for each variable its gradient, or None where no output depends on it.
    gradients: Callable[[Mapping[str, tf.Tensor], Sequence[tf.Variable]], list[tf.Tensor | None]]


def frames_of_chunk(
    frames_per_chunk: int, frames: int, model: str, image_size: int, width: float, global_pool: bool, **options
) -> int:
    """The most frames that pass a network in training at once; 0 for all of a batch.

    Args:
      frames_per_chunk: `--frames_per_chunk`: so many; 0: as many as keep `ACTIVATIONS`, an estimate from the network's
        layers; -1: all.
      frames: the most that a batch has.
      model: a name of `fer.nets.NETWORKS`.
      image_size: height and width in pixels.
      width: channel multiplier.
      global_pool: as the network takes it.
      **options: further arguments of the network.
    """
    size = frames_per_chunk
    if size == 0 and frames * image_size**2 * max(1.0, width) * _MOST_PER_PIXEL > ACTIVATIONS:
        kept = summarise(get_network(model), image_size, 0, global_pool, width=width, **options).kept
        size = max(1, ACTIVATIONS // kept)
    return size if 0 < size < frames else 0


def run_in_chunks(
    network: Callable[[tf.Tensor], Mapping[str, tf.Tensor]], frames: tf.Tensor, size: int, names: Sequence[str]
) -> Chunked:
    """Runs a network over N frames in the fewest chunks of at most `size`, which differ by one frame at most.

    The network is added to the graph twice, here and by `Chunked.gradients`, whatever N is.

    Args:
      network: `network(frames)` adds it to the default graph and returns outputs by name, float32 [n, D]. Its
        variables are reused where they exist. Whatever slim.arg_scope it needs, it opens itself.
      frames: float32 [N, H, W, C], N at least 1.
      size: frames of a chunk, at least 1.
      names: the outputs wanted.

    Raises:
      ValueError: from `Chunked.gradients`, of a network that makes its variables anew.
    """
    total = tf.shape(frames)[0]
    chunks = (total + size - 1) // size

    def first_of(chunk):
        return chunk * (total // chunks) + tf.minimum(chunk, total % chunks)

    scope = tf.get_variable_scope()

    def run(chunk, updates: bool):
        first, end = first_of(chunk), first_of(chunk + 1)
        with (
            tf.variable_scope(scope, auxiliary_name_scope=False),  # the second pass may be added within another
            slim.arg_scope([batch_norm], updates=updates),
            slim.arg_scope([dropout], rows=Rows(first, total)),
        ):
            outputs = network(frames[first:end])
        return {name: outputs[name] for name in names}, first, end

    depths = {}

    def forward(chunk, arrays):
        outputs, *_ = run(chunk, updates=False)
        depths.update({name: output.shape[1] for name, output in outputs.items()})
        return chunk + 1, {name: array.write(chunk, outputs[name]) for name, array in arrays.items()}

    arrays = {name: tf.TensorArray(tf.float32, chunks, infer_shape=False, element_shape=[None, None]) for name in names}
    arrays = _loop(chunks, forward, arrays)
    outputs = {name: array.concat() for name, array in arrays.items()}
    for name, output in outputs.items():
        output.set_shape([None, depths[name]])

    def gradients(of_outputs: Mapping[str, tf.Tensor], variables: Sequence[tf.Variable]) -> list[tf.Tensor | None]:
        reached = [False] * len(variables)

        def backward(chunk, sums):
            waiting = tf.get_collection_ref(tf.GraphKeys.UPDATE_OPS)  # which a loop shares with the graph around it
            before = len(waiting)
            # A moving average is read after the chunk before has moved it.
            with tf.control_dependencies([chunk]):
                found, first, end = run(chunk, updates=True)
            upstream = [of_outputs[name][first:end] for name in of_outputs]
            parts = tf.gradients([found[name] for name in of_outputs], list(variables), upstream)
            reached[:] = [part is not None for part in parts]
            added = [old if part is None else old + part for old, part in zip(sums, parts, strict=True)]
            moves, waiting[before:] = waiting[before:], []
            with tf.control_dependencies(moves):
                return chunk + 1, added

        made = len(tf.global_variables())
        sums = _loop(chunks, backward, [tf.zeros(variable.shape, variable.dtype.base_dtype) for variable in variables])
        if len(tf.global_variables()) > made:
            raise ValueError('the network does not reuse its variables; expected tf.AUTO_REUSE around them')
        return [part if is_reached else None for part, is_reached in zip(sums, reached, strict=True)]

    return Chunked(size, outputs, gradients)


def _loop(chunks: tf.Tensor, body: Callable, start):
    """What `body(chunk, state)` makes of the state, one chunk after the other, never two at once."""
    _, state = tf.while_loop(
        lambda chunk, _: chunk < chunks, body, (tf.constant(0), start), parallel_iterations=1, back_prop=False
    )
    return state


def chunked_gradients(
    loss: tf.Tensor, chunked: Chunked, variables: Sequence[tf.Variable]
) -> list[tuple[tf.Tensor | None, tf.Variable]]:
    """Gradients of a loss, as `tf.train.Optimizer.compute_gradients` has them, back through a chunked network.

    Args:
      loss: float32 scalar, of the outputs of `chunked`, and of variables besides.
      chunked: of `run_in_chunks`.
      variables: those wanted, of the network and of whatever else.

    Returns:
      (gradient, variable) for each; None for the gradient where the loss does not depend on it.
    """
    outputs = list(chunked.outputs.values())
    found = tf.gradients(loss, [*outputs, *variables], stop_gradients=outputs)
    of_outputs = {  # logits are gathered for the windows, whose gradients are slices
        name: tf.convert_to_tensor(gradient)
        for name, gradient in zip(chunked.outputs, found, strict=False)
        if gradient is not None
    }
    through = chunked.gradients(of_outputs, variables)
    pairs = []
    for direct, part, variable in zip(found[len(outputs) :], through, variables, strict=True):
        parts = [tf.convert_to_tensor(gradient) for gradient in (direct, part) if gradient is not None]
        pairs.append((tf.add_n(parts) if parts else None, variable))
    return pairs
