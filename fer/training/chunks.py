# SPDX-License-Identifier: Apache-2.0
"""Trains a CNN in bounded memory: computes its gradients for one chunk of frames at a time.

A training step keeps the outputs of every layer for every frame until the gradient has passed. For 320 frames of
112x112 that is five gigabytes in VGG-Face and ten in DenseNet-121. Only the layers on top of the CNN need all frames
of a window together. So one step does this:

1. The CNN runs over the frames in chunks and keeps only its outputs.
2. The layers on top run once, forward, then back to those outputs.
3. Each chunk runs through the CNN again, forward and back, from the gradients of its outputs. The gradients of the
   variables are added up.

Chen et al. 2016 (arXiv 1604.06174) describe this with one checkpoint, Gao et al. 2021 (arXiv 2101.06983) the second
pass. It costs one more forward pass, a third of a step.

The sum equals the gradient of the whole batch, except for rounding, if a frame's outputs depend on no other frame. That
holds without batch normalisation, and with frozen batch normalisation. Dropout drops the units that it drops without
chunks. Where batch normalisation learns, each chunk is a batch of its own ("ghost batches", Hoffer et al. 2017), and
chunks are of nearly equal size. The moving averages then move once per chunk, with the statistics of the second pass.
"""

from collections.abc import Callable, Mapping, Sequence

from fer.nets import get_network
from fer.nets.layers import ChunkPosition, batch_norm, dropout
from fer.nets.summary import summarise
from fer.tf1 import slim, tf

# Bytes that a training step may keep of its frames. Above that, --frames_per_chunk=0 uses chunks. On a card with 12 GB
# this leaves room for gradients of the largest maps, for VGG-Face's variables with Adam's moments (0.8 GB), and for
# workspaces.
ACTIVATIONS = 8 * 10**9

# Bytes for each pixel of a frame at width 1, above what any network keeps. Small batches need no exact count.
_MOST_PER_PIXEL = 2**14


def choose_chunk_size(
    frames_per_chunk: int, frames: int, model: str, image_size: int, width: float, global_pool: bool, **options
) -> int:
    """Returns the most frames that pass a network at once in training, or 0 for all frames of a batch.

    Args:
      frames_per_chunk: the flag. A positive number is that many frames, and -1 is all. 0 is as many as keep at most
        `ACTIVATIONS` bytes, estimated from the network's layers.
      frames: the most frames that a batch has.
      model: a name of `fer.nets.NETWORKS`.
      image_size: height and width in pixels.
      width: channel multiplier.
      global_pool: whether the network averages its last map.
      **options: further arguments of the network.
    """
    size = frames_per_chunk
    if size == 0 and frames * image_size**2 * max(1.0, width) * _MOST_PER_PIXEL > ACTIVATIONS:
        kept = summarise(get_network(model), image_size, 0, global_pool, width=width, **options).kept
        size = max(1, ACTIVATIONS // kept)
    return size if 0 < size < frames else 0


class Chunked:
    """A network that runs over N frames in the fewest chunks of at most `size`, which differ by at most one frame.

    The constructor adds the first pass to the default graph and `gradients` adds the second, whatever N is.

    Attributes:
      size: the most frames of a chunk.
      outputs: by name, float32 [N, D] each. No gradient flows back through them.
    """

    def __init__(
        self,
        network: Callable[[tf.Tensor], Mapping[str, tf.Tensor]],
        frames: tf.Tensor,
        size: int,
        names: Sequence[str],
    ):
        """Adds the first pass to the default graph.

        Args:
          network: `network(frames)` adds the network to the default graph and returns outputs by name, float32 [n, D].
            It reuses its variables where they exist, and opens every slim.arg_scope that it needs.
          frames: float32 [N, H, W, C], N at least 1.
          size: frames of a chunk, at least 1.
          names: the outputs wanted.
        """
        self.size = size
        self._network, self._frames, self._names = network, frames, names
        self._total = tf.shape(frames)[0]
        self._chunks = (self._total + size - 1) // size
        self._scope = tf.get_variable_scope()
        self.outputs = self._run_forward()

    def gradients(
        self, of_outputs: Mapping[str, tf.Tensor], variables: Sequence[tf.Variable]
    ) -> list[tf.Tensor | None]:
        """Adds the second pass to the default graph.

        Args:
          of_outputs: the gradient of some of the outputs by name, float32 [N, D] each.
          variables: the variables to find gradients of.

        Returns:
          For each variable its gradient, or None where no output depends on it.

        Raises:
          ValueError: the network makes new variables instead of reusing its own.
        """
        reached = [False] * len(variables)

        def add_chunk(chunk, sums):
            parts, moves = self._run_back(chunk, of_outputs, variables)
            reached[:] = [part is not None for part in parts]
            added = [old if part is None else old + part for old, part in zip(sums, parts, strict=True)]
            with tf.control_dependencies(moves):
                return chunk + 1, added

        made = len(tf.global_variables())
        zeros = [tf.zeros(variable.shape, variable.dtype.base_dtype) for variable in variables]
        sums = self._loop(add_chunk, zeros)
        if len(tf.global_variables()) > made:
            raise ValueError('the network does not reuse its variables; expected tf.AUTO_REUSE around them')
        return [part if is_reached else None for part, is_reached in zip(sums, reached, strict=True)]

    def _run_forward(self) -> dict[str, tf.Tensor]:
        """Adds the first pass to the default graph. Returns the outputs of all frames."""
        depths = {}

        def write_chunk(chunk, arrays):
            outputs, *_ = self._run(chunk, updates=False)
            depths.update({name: output.shape[1] for name, output in outputs.items()})
            return chunk + 1, {name: array.write(chunk, outputs[name]) for name, array in arrays.items()}

        arrays = self._loop(
            write_chunk,
            {
                name: tf.TensorArray(tf.float32, self._chunks, infer_shape=False, element_shape=[None, None])
                for name in self._names
            },
        )
        outputs = {name: array.concat() for name, array in arrays.items()}
        for name, output in outputs.items():
            output.set_shape([None, depths[name]])
        return outputs

    def _run_back(
        self, chunk: tf.Tensor, of_outputs: Mapping[str, tf.Tensor], variables: Sequence[tf.Variable]
    ) -> tuple[list[tf.Tensor | None], list[tf.Operation]]:
        """Adds one chunk, forward and back. Returns its gradients, and the updates of its moving averages."""
        pending = tf.get_collection_ref(tf.GraphKeys.UPDATE_OPS)  # a loop shares it with the graph around it
        before = len(pending)
        with tf.control_dependencies([chunk]):  # reads a moving average after the previous chunk has moved it
            outputs, first, end = self._run(chunk, updates=True)
        upstream = [of_outputs[name][first:end] for name in of_outputs]
        parts = tf.gradients([outputs[name] for name in of_outputs], list(variables), upstream)
        moves, pending[before:] = pending[before:], []
        return parts, moves

    def _run(self, chunk: tf.Tensor, *, updates: bool) -> tuple[dict[str, tf.Tensor], tf.Tensor, tf.Tensor]:
        """Adds the network on one chunk. Returns its outputs, and the chunk's first frame and end."""
        first, end = self._first_frame(chunk), self._first_frame(chunk + 1)
        with (
            tf.variable_scope(self._scope, auxiliary_name_scope=False),  # the second pass may be within another scope
            slim.arg_scope([batch_norm], updates=updates),
            slim.arg_scope([dropout], chunk=ChunkPosition(first, self._total)),
        ):
            outputs = self._network(self._frames[first:end])
        return {name: outputs[name] for name in self._names}, first, end

    def _first_frame(self, chunk: tf.Tensor) -> tf.Tensor:
        return chunk * (self._total // self._chunks) + tf.minimum(chunk, self._total % self._chunks)

    def _loop(self, body: Callable, start):
        """Adds a loop of `state = body(chunk, state)` over the chunks, one at a time. Returns the last state."""
        _, state = tf.while_loop(
            lambda chunk, _: chunk < self._chunks,
            body,
            (tf.constant(0), start),
            parallel_iterations=1,
            back_prop=False,
        )
        return state


def chunked_gradients(
    loss: tf.Tensor, chunked: Chunked, variables: Sequence[tf.Variable]
) -> list[tuple[tf.Tensor | None, tf.Variable]]:
    """Adds the gradients of a loss, back through a chunked network.

    Args:
      loss: float32 scalar. It depends on outputs of `chunked`, and may depend on variables besides.
      chunked: the network.
      variables: the variables to find gradients of, of the network or not.

    Returns:
      (gradient, variable) for each, as `tf.train.Optimizer.compute_gradients` returns them. The gradient is None where
      the loss does not depend on the variable.
    """
    outputs = list(chunked.outputs.values())
    found = tf.gradients(loss, [*outputs, *variables], stop_gradients=outputs)
    of_outputs = {  # the gradient of logits that are gathered for windows is sparse
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
