# SPDX-License-Identifier: Apache-2.0
"""The features of a frozen CNN, computed once for each frame and kept on disk.

If a CNN is not trained and its images are not augmented, its outputs for a frame never change. They are the same in
every epoch, in every window, and in every run whose CNN has the same weights. Phase one of a recurrent network on a CNN
(6.3), its validation, evaluation and extraction then read features instead of images. Features equal the CNN's outputs
there, except for rounding, which depends on the size of a batch.
"""

import ast
import hashlib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from fer.data.disk_cache import GIGABYTE, digest
from fer.data.file_checks import check_images
from fer.data.images import content_to_input
from fer.data.split import FrameFeatures, Split
from fer.errors import InputError
from fer.nets import get_network
from fer.progress import progress
from fer.tf1 import tf
from fer.training.feature_store import FeatureStore
from fer.training.predict import run_named
from fer.training.restore import AFTER_FEATURES
from fer.training.stages import Blueprint, cnn_arguments

FORMAT = 1  # of the features that are kept
_FRAMES = 32  # frames in a batch of the CNN
_CODE = ('nets/*.py', 'data/images.py', 'training/features.py')  # the code below fer/ that features depend on


class FrozenCnn(NamedTuple):
    """A CNN in evaluation mode, applied to the content of image files."""

    contents: tf.Tensor  # string [n], a placeholder
    outputs: dict[str, tf.Tensor]  # float32 [n, D] each: `features`, and `logits` if there is a classifier
    model: str
    about: dict[str, Any]  # all that the outputs depend on, except weights and frames. Can be written as JSON


def build_frozen_cnn(
    model: str, image_size: int, num_classes: int, arguments: dict[str, Any], mixed_precision: bool = False
) -> FrozenCnn:
    """Adds a CNN to the default graph, to compute features with. Variables that exist are reused.

    Args:
      model: a name of `fer.nets.NETWORKS`.
      image_size: height and width in pixels.
      num_classes: units of its classifier, 0 for none.
      arguments: further arguments of its builder: width, global_pool, convention, se, stem_stride.
      mixed_precision: True if the session will compute in 16 bits. Such features have their own key.
    """
    shape = [image_size, image_size, 3]
    with tf.name_scope('features'):
        contents = tf.placeholder(tf.string, [None], 'contents')
        images = tf.map_fn(
            lambda content: content_to_input(content, image_size),
            contents,
            fn_output_signature=tf.TensorSpec(shape, tf.float32),
        )
        images = tf.ensure_shape(images, [None, *shape])
        features, end_points = get_network(model).build(images, num_classes=num_classes, **arguments)
    outputs = {'features': features} | ({'logits': end_points['logits']} if num_classes else {})
    about = {
        'format': FORMAT,
        'code': _digest_code(),
        'tensorflow': tf.__version__,
        'onednn': os.environ['TF_ENABLE_ONEDNN_OPTS'],
        'mixed_precision': mixed_precision,
        'devices': sorted({device.device_type for device in tf.config.list_physical_devices()}),
        'model': model,
        'image_size': image_size,
        **{name: value._asdict() if name == 'convention' else value for name, value in arguments.items()},
    }
    return FrozenCnn(contents, outputs, model, about)


def _digest_code() -> str:
    """Returns the digest of the code that features depend on, without its comments and docstrings."""
    root = Path(__file__).resolve().parents[1]
    paths = (path for pattern in _CODE for path in sorted(root.glob(pattern)))
    return digest('\n'.join(dump_code(path.read_text(encoding='utf-8')) for path in paths).encode())


def dump_code(source: str) -> str:
    """Returns the syntax tree of a module as text. Comments, docstrings and layout do not change it.

    Interpreters differ in how they write a tree, so the text is for one version of Python.
    """
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(node) is not None:
            node.body = node.body[1:]
    return ast.dump(tree)


def digest_weights(session: tf.Session, model: str, outputs: Sequence[str]) -> str:
    """Returns the digest of the weights that a CNN's outputs depend on.

    Without `logits` among the outputs, the layers after the features are ignored.
    """
    variables = sorted(tf.get_collection(tf.GraphKeys.MODEL_VARIABLES, f'{model}/'), key=lambda v: v.op.name)
    if 'logits' not in outputs:
        variables = [variable for variable in variables if variable.op.name.split('/')[1] not in AFTER_FEATURES]
    found = hashlib.blake2b(digest_size=32)
    for variable, value in zip(variables, session.run(variables), strict=True):
        found.update(f'{variable.op.name} {value.dtype} {list(value.shape)} '.encode())
        found.update(np.ascontiguousarray(value).data)
    return found.hexdigest()


class FeatureCache:
    """The cached features of some splits' frames.

    Splits are attached while the graph is built, and features are loaded after a session has the CNN's weights.
    """

    def __init__(self, cnn: FrozenCnn, outputs: Sequence[str], folder: str, gigabytes: float):
        """Prepares a cache without opening its folder.

        Args:
          cnn: of the graph.
          outputs: names of the CNN's outputs to keep.
          folder: of the store.
          gigabytes: most that the store may hold.
        """
        self.cnn, self.folder, self.limit = cnn, folder, int(gigabytes * GIGABYTE)
        self.widths = tuple((name, int(cnn.outputs[name].shape[1])) for name in outputs)
        self.depth = sum(width for _, width in self.widths)
        self._splits: list[Split] = []
        self._rows: list[list[np.ndarray]] = []  # of each split, for each video, int64 [frames, 2]
        self._store: FeatureStore | None = None

    def fits(self, splits: Sequence[Split]) -> bool:
        """Returns True if the store can hold all frames of the splits, even if all differ. Otherwise prints why not."""
        needed = 4 * self.depth * sum(len(video.frames) for split in splits for video in split.videos)
        if needed > self.limit:
            print(f'features: not kept; they need {needed / GIGABYTE:.3g} GB, more than --feature_cache_gb')
        return needed <= self.limit

    def attach(self, split: Split) -> Split:
        """Returns the split with features instead of images. They can be read after `load`."""
        number = len(self._splits)
        self._splits.append(split)

        def read(video: int, frames: slice) -> np.ndarray:
            assert self._store, 'features are loaded before the pipeline starts'
            return self._store.gather(self._rows[number][video][frames])

        return split._replace(features=FrameFeatures(self.widths, read))

    def load(self, session: tf.Session) -> None:
        """Finds the features of every frame of the splits, computes missing ones, and prints how many.

        Args:
          session: its variables have the CNN's weights.

        Raises:
          InputError: an image cannot be read or decoded, or changes meanwhile.
        """
        outputs = [name for name, _ in self.widths]
        weights = digest_weights(session, self.cnn.model, outputs)
        key = {**self.cnn.about, 'outputs': outputs, 'weights': weights}
        self._store = FeatureStore(self.folder, key, self.depth, self.limit)
        self._rows = [self._load_split(session, self._store, split) for split in self._splits]

    def _load_split(self, session: tf.Session, store: FeatureStore, split: Split) -> list[np.ndarray]:
        """Returns where the store has the features of each video's frames, int64 [frames, 2]."""
        paths = dict.fromkeys(path for video in split.videos for path in video.frames)
        names = {path: digest(_read(path, split)) for path in progress(paths, label='frames', unit='frame')}
        distinct = {name: path for path, name in names.items()}  # a path of each content
        computed = self._fill(session, store, split, distinct)
        print(
            f'features: {len(paths)} frames, {len(distinct)} distinct: {len(distinct) - computed} read from '
            f'{self.folder}, {computed} computed',
            flush=True,
        )
        places = {name: store.find(name) for name in distinct}
        if lost := [distinct[name] for name, place in places.items() if place is None]:
            raise InputError(f'--feature_cache={self.folder}: cannot read back the features of {lost[0]}')
        return [
            np.array([places[names[path]] for path in video.frames], np.int64).reshape(-1, 2) for video in split.videos
        ]

    def _fill(self, session: tf.Session, store: FeatureStore, split: Split, distinct: dict[str, str]) -> int:
        """Computes the features that the store does not have, and returns how many. `distinct`: paths by digest."""
        missing = {name: path for name, path in distinct.items() if store.find(name) is None}
        if missing:
            with store.filling(len(missing) * self.depth * 4):
                missing = {name: path for name, path in missing.items() if store.find(name) is None}
                store.add(self._compute(session, split, missing))
        return len(missing)

    def _compute(self, session: tf.Session, split: Split, missing: dict[str, str]) -> Iterator[tuple[str, np.ndarray]]:
        """Yields the digest and the features, float32 [D], of each frame. `missing`: paths by digest."""
        fetches = [self.cnn.outputs[name] for name, _ in self.widths]
        frames = list(missing.items())
        with progress(total=len(frames), label='features', unit='frame') as bar:
            for first in range(0, len(frames), _FRAMES):
                batch = frames[first : first + _FRAMES]
                contents = [_read(path, split, name) for name, path in batch]
                # A batch always has as many frames, so that a frame's features do not depend on which others missed.
                contents += contents[-1:] * (_FRAMES - len(contents))
                outputs = run_named(session, fetches, split, {self.cnn.contents: contents})
                values = np.concatenate(outputs, axis=1)[: len(batch)]
                yield from zip((name for name, _ in batch), values, strict=True)
                bar.update(len(batch))

    def close(self) -> None:
        """Lets other jobs remove the features."""
        if self._store:
            self._store.close()
            self._store = None

    def __enter__(self) -> 'FeatureCache':
        return self

    def __exit__(self, *_) -> None:
        self.close()


def build_cache(blueprint: Blueprint, splits: Sequence[Split], folder: str, gigabytes: float) -> FeatureCache | None:
    """Adds a run's CNN to the default graph, and returns the cache of its outputs.

    Args:
      blueprint: of a run of a stage with images.
      splits: those that will be attached.
      folder: of the store.
      gigabytes: most that the store may hold.

    Returns:
      None if the splits do not fit. The reason is printed.
    """
    config = blueprint.config
    num_classes = blueprint.stage.cnn_classes
    arguments = cnn_arguments(blueprint)
    cnn = build_frozen_cnn(config.model, config.image_size, num_classes, arguments, config.mixed_precision)
    cache = FeatureCache(cnn, tuple(cnn.outputs), folder, gigabytes)
    return cache if cache.fits(splits) else None


def _read(path: str, split: Split, name: str = '') -> bytes:
    """Returns the content of an image file. Raises InputError unless its digest is `name`, if given."""
    try:
        content = Path(path).read_bytes()
    except OSError:
        for manifest in split.manifests:
            check_images(manifest)  # names the line of a file that has vanished
        raise
    if name and digest(content) != name:
        raise InputError(f'{path}: has changed since the run began; expected a file that stays as it is')
    return content
