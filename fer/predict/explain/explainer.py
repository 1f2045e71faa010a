# SPDX-License-Identifier: Apache-2.0
"""A member's network, opened to explain its answers: maps of places, contributions of frames and of audio features.

All three explain the logits of a window: the frames that the network takes together. A still, and the audio of a whole
video, are windows of one frame.

Places      Grad-CAM on the last map of the CNN. The gradient is that of the window's logit. It passes the recurrent
            network, if there is one.
Frames      If the CNN alone answers and its logits are averaged, a frame contributes its share of the mean. This is
            exact. Otherwise a frame contributes the difference that leaving it out makes (Li, Monroe, Jurafsky,
            "Understanding Neural Networks through Representation Erasure", 2016). Such windows are ordinary input,
            because preparation leaves out each frame without a face. The differences need not add up to the logit.
Audio       A group of features contributes the difference that setting it to the training mean makes (occlusion, Zeiler
            and Fergus, ECCV 2014). The rest, by which the groups do not add up, is stated.
"""

import contextlib
from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

import numpy as np

from fer.data.audio import LLD, Scaling, scale_features
from fer.data.images import resize, scale_pixels
from fer.data.pipeline import Batch
from fer.data.windows import pad_index
from fer.predict.explain.choice import mean_contributions
from fer.predict.explain.fields import Grid, find_grid
from fer.predict.explain.gradcam import HeatMaps, build_grad_cam, scale_maps
from fer.tf1 import tf
from fer.training.aggregation import window_logits
from fer.training.schedule import Phase
from fer.training.session import SessionSettings, open_session
from fer.training.stages import Blueprint, build_cnn, build_frames, window_length

LAST_MAP = 'last_map'  # the end point of every CNN that Grad-CAM explains
SHARE, LEFT_OUT = 'share of the mean', 'leaving the frame out'
_VALUES = 2**24  # of features that pass the network at once, 64 MB


class Window(NamedTuple):
    """L frames that a member takes together."""

    faces: np.ndarray | None  # uint8 [L, H, W, 3], RGB, None for a member without images
    audio: np.ndarray | None = None  # float32 [L, D], scaled, None for a member without audio

    @property
    def length(self) -> int:
        """Returns the number of frames."""
        part = self.audio if self.faces is None else self.faces
        assert part is not None
        return len(part)


class FrameContributions(NamedTuple):
    """The part of each frame in the logits of a window."""

    method: str  # SHARE or LEFT_OUT
    logits: np.ndarray  # float64 [7], of the window
    values: np.ndarray  # float64 [L, 7]. With SHARE they add up to the logits


class GroupContributions(NamedTuple):
    """The part of each group of audio features in the logits of a window.

    The logits are the sum of `baseline`, all `values` and `interaction`.
    """

    names: list[str]
    sizes: list[int]  # features of each group
    logits: np.ndarray  # float64 [7], of the window
    values: np.ndarray  # float64 [G, 7]
    baseline: np.ndarray  # float64 [7], the logits with every group at the training mean

    @property
    def interaction(self) -> np.ndarray:
        """Returns what no group explains alone, float64 [7]."""
        return self.logits - self.baseline - self.values.sum(axis=0)


class Explainer:
    """A network in a session, which `open_explainer` makes."""

    def __init__(self, blueprint: Blueprint, session: tf.Session):
        """Adds the network and Grad-CAM to the default graph, which is that of the session."""
        self.blueprint, self._session = blueprint, session
        contents = blueprint.stage.contents
        self._is_still = contents.item == 'still'
        # Whether frames do not depend on each other and are averaged, so that each has an exact share.
        self.is_exact = self._is_still or bool(blueprint.stage.cnn_classes and blueprint.config.aggregate == 'mean')
        self.layer = ''  # that Grad-CAM explains, '' without images
        self.grid = Grid(0.0, 0.0)  # of its cells
        self._lengths = tf.placeholder(tf.int32, [None])
        self._audio = tf.placeholder(tf.float32, [None, _audio_size(blueprint)]) if contents.audio_size else None
        self._cnn: Mapping[str, tf.Tensor] = {}
        if contents.images:
            self._faces = tf.placeholder(tf.uint8, [None, None, None, 3])
            images = scale_pixels(resize(self._faces, blueprint.config.image_size))
            self._cnn = build_cnn(blueprint, images, is_training=False)
        zeros = tf.zeros_like(self._lengths)
        padding = pad_index(self._lengths, window_length(blueprint))
        batch = Batch(None, self._audio, self._lengths, padding, zeros, zeros, self._cnn)
        config = blueprint.config
        self._frame_logits = build_frames(blueprint, batch, is_training=False, phase=Phase.ALL).logits
        self._logits = window_logits(self._frame_logits, self._lengths, padding, config.classify, config.aggregate)
        if contents.images:
            self._emotion = tf.placeholder(tf.int32, [])
            score = tf.reduce_sum(tf.gather(self._logits, self._emotion, axis=1))
            self._heat = build_grad_cam(self._cnn[LAST_MAP], score)
            self.layer, self.grid = self._cnn[LAST_MAP].op.name, find_grid(self._cnn[LAST_MAP], images)

    def show_places(self, window: Window, emotion: int) -> HeatMaps:
        """Returns the places in each frame that raise the window's logit of a class.

        Args:
          window: of a member with images. Each frame of a member for stills is explained alone.
          emotion: the class, 0 to 6.
        """
        assert self.blueprint.stage.contents.images, 'places need images'
        lengths = [1] * window.length if self._is_still else [window.length]
        feeds = {self._faces: window.faces, self._lengths: lengths, self._emotion: emotion}
        if self._audio is not None:
            feeds[self._audio] = window.audio
        return scale_maps(self._session.run(self._heat, feeds))

    def explain_frames(self, window: Window) -> FrameContributions:
        """Returns the part of each frame in the window's logits. The frames of a member for stills are averaged."""
        features, length = self._compute_features(window), window.length
        if self.is_exact:
            return self.share(features[self._cnn['logits']])
        (logits,) = self._answer(features, [length])
        if length == 1:
            return FrameContributions(LEFT_OUT, logits, logits[np.newaxis])
        return FrameContributions(LEFT_OUT, logits, logits - self._leave_out_each(features, length))

    def share(self, logits: np.ndarray) -> FrameContributions:
        """Returns the shares of frames in the mean of their logits, float [L, 7], as the member averages a window."""
        counts = np.ones(len(logits))
        if self.blueprint.config.classify == 'padded' and not self._is_still:
            counts[-1] += window_length(self.blueprint) - len(logits)  # padding repeats the last frame
        values = mean_contributions(logits, counts)
        return FrameContributions(SHARE, values.sum(axis=0), values)

    def explain_groups(self, window: Window, groups: Mapping[str, np.ndarray]) -> GroupContributions:
        """Returns the part of each group of audio features in the window's logits.

        Args:
          window: of a member with audio. An image of it stays as it is.
          groups: by name, int [D'], the columns of each group.
        """
        assert window.audio is not None, 'groups need audio'
        features, length = self._compute_features(window), window.length
        mean = _training_mean(self.blueprint.scaling, window.audio.shape[1])
        everything = np.concatenate(list(groups.values()))
        changed = []
        for columns in (everything[:0], everything, *groups.values()):  # nothing first
            audio = window.audio.copy()
            audio[:, columns] = mean[columns]
            changed.append(self._answer(features | {self._audio: audio}, [length])[0])
        logits, baseline, *without = changed
        sizes = [len(columns) for columns in groups.values()]
        return GroupContributions(list(groups), sizes, logits, logits - np.array(without), baseline)

    def _compute_features(self, window: Window) -> dict[tf.Tensor, np.ndarray]:
        """Returns what the layers after the CNN take, of each frame: [L, D] arrays by tensor."""
        found = {}
        if window.faces is not None:
            tensors = [self._cnn[name] for name in self.blueprint.stage.cnn_outputs]
            found = dict(zip(tensors, self._session.run(tensors, {self._faces: window.faces}), strict=True))
        if self._audio is not None:
            found[self._audio] = window.audio
        return found

    def _answer(self, features: Mapping[tf.Tensor, np.ndarray], lengths: list[int]) -> np.ndarray:
        """Returns the logits of windows, float64 [B, 7], whose features replace the CNN."""
        return self._session.run(self._logits, {**features, self._lengths: lengths}).astype(np.float64)

    def _leave_out_each(self, features: Mapping[tf.Tensor, np.ndarray], length: int) -> np.ndarray:
        """Returns the logits of a window without each of its frames, float64 [L, 7]."""
        width = sum(values.shape[1] for values in features.values())
        at_once = max(1, _VALUES // (width * length))
        found = []
        for first in range(0, length, at_once):
            left_out = range(first, min(first + at_once, length))
            rows = np.concatenate([np.delete(np.arange(length), frame) for frame in left_out])
            shorter = {tensor: values[rows] for tensor, values in features.items()}
            found.append(self._answer(shorter, [length - 1] * len(left_out)))
        return np.concatenate(found)


@contextlib.contextmanager
def open_explainer(
    blueprint: Blueprint,
    restore: Callable[[tf.Session], object],
    settings: SessionSettings = SessionSettings(),  # noqa: B008 (immutable)
) -> Iterator[Explainer]:
    """Opens a graph and a session of their own with a member's network.

    Args:
      blueprint: of the member.
      restore: gives the variables of the session's graph, which is the default one, their values.
      settings: of the session.
    """
    with tf.Graph().as_default(), open_session(settings) as session:
        explainer = Explainer(blueprint, session)
        restore(session)
        yield explainer


def _audio_size(blueprint: Blueprint) -> int:
    """Returns the audio features of a frame."""
    return len(blueprint.scaling.names) if blueprint.scaling else LLD


def _training_mean(scaling: Scaling | None, size: int) -> np.ndarray:
    """Returns the mean of the training split's features as the network gets it, float32 [size]. Zeros for z-scores."""
    if scaling is None:
        return np.zeros(size, np.float32)
    return scale_features(np.full((1, size), np.nan, np.float32), scaling)[0]
