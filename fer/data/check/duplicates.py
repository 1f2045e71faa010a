# SPDX-License-Identifier: Apache-2.0
"""Videos of one split that another split has as well: copies, and near-identical frames.

An image is reduced to a thumbnail of 16x18 grey levels, and the thumbnail to a difference hash (dHash) of 64 bits. Each
bit tells whether one of 8x9 cells is darker than its right neighbour. Two images are near-identical if

- their hashes differ in at most three bits, and
- their thumbnails, brought to the same mean and deviation, differ by at most a tenth of that deviation.

Such an image is a copy that was compressed or resized again, or the next frame of the same scene, but not another face.
Dark or empty images have too little content to be told apart, so that only exact copies of them count.

If two hashes differ in at most three bits, one of their four quarters is equal. So only images that share a quarter
are compared, and some hundred thousand against each other take seconds.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from fer.tf1 import tf

_ROWS, _COLUMNS = 16, 18  # of a thumbnail. A cell of the hash is 2x2 of its pixels
_MARGIN = 1.0  # grey levels that a cell must be darker by, so that compression does not change an even image's hash
_DISTANCE = 3  # most bits that hashes of the same image differ in
_DIFFERENCE = 0.1  # most that thumbnails differ by on average, in standard deviations
_CONTRAST = 4.0  # least standard deviation of a thumbnail's grey levels that is enough to compare images
_PAIRS = 2**22  # compared at a time
_BITS = np.unpackbits(np.arange(2**16, dtype=np.uint16).view(np.uint8)).reshape(-1, 16).sum(axis=1, dtype=np.uint8)


class ImageFingerprints(NamedTuple):
    """Digests and thumbnails by which the images of a manifest are compared."""

    videos: np.ndarray  # int [N], index of each image's video
    digests: np.ndarray  # int64 [N], of the files
    thumbnails: np.ndarray  # uint8 [N, 16, 18]

    @classmethod
    def empty(cls) -> 'ImageFingerprints':
        return cls(np.zeros(0, int), np.zeros(0, np.int64), np.zeros((0, _ROWS, _COLUMNS), np.uint8))


class Pair(NamedTuple):
    """Two videos that share frames."""

    first: int  # index in the first manifest
    second: int  # and in the second
    frames: int  # of the first video that the second has, or one that is nearly the same
    copies: int  # of these, how many it has to the byte


def fingerprint_image(content: tf.Tensor, image: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns the digest, int64 [], and the thumbnail, uint8 [16, 18], of an image.

    Args:
      content: string [], the bytes of the file.
      image: uint8 [H, W, 3], decoded from it.
    """
    digest = tf.bitcast(tf.raw_ops.Fingerprint(data=[content], method='farmhash64'), tf.int64)[0]
    thumbnail = tf.image.resize_images(image, [_ROWS, _COLUMNS], tf.image.ResizeMethod.AREA)
    return digest, tf.cast(tf.round(tf.reduce_mean(thumbnail, axis=-1)), tf.uint8)


def difference_hash(thumbnails: np.ndarray) -> np.ndarray:
    """Computes the hashes, uint64 [N], of thumbnails, uint8 [N, 16, 18]."""
    cells = thumbnails.reshape(-1, _ROWS // 2, 2, _COLUMNS // 2, 2).mean(axis=(2, 4), dtype=np.float32)
    bits = np.diff(cells, axis=2) > _MARGIN  # [N, 8, 8]
    return np.packbits(bits.reshape(len(bits), 64), axis=1).view(np.uint64)[:, 0]


def find_duplicates(first: ImageFingerprints, second: ImageFingerprints) -> list[Pair]:
    """Returns the pairs of videos that share images, in the order of the first manifest."""
    copies = _copies(first, second)
    alike = np.concatenate([copies, _near_identical(first, second)])
    of_copies = _count_images(first, second, copies)
    counts = _count_images(first, second, alike)
    return [Pair(*videos, number, of_copies.get(videos, 0)) for videos, number in counts.items()]


def _count_images(first: ImageFingerprints, second: ImageFingerprints, pairs: np.ndarray) -> dict[tuple[int, int], int]:
    """Counts the images of a video that have a partner in another video.

    Args:
      first: of one manifest.
      second: of the other.
      pairs: int [P, 2], indices of images in each.

    Returns:
      {(video of the first, video of the second): images}.
    """
    rows = np.stack([first.videos[pairs[:, 0]], second.videos[pairs[:, 1]], pairs[:, 0]], axis=1)
    videos, counts = np.unique(np.unique(rows, axis=0)[:, :2], axis=0, return_counts=True)
    return {(int(one), int(other)): int(count) for (one, other), count in zip(videos, counts, strict=True)}


def _copies(first: ImageFingerprints, second: ImageFingerprints) -> np.ndarray:
    """Returns int [P, 2], images of the same bytes. An image has at most one partner in each video of the second."""
    _, once = np.unique(np.stack([second.digests, second.videos]), axis=1, return_index=True)
    pairs = [
        np.stack([ours, once[theirs]], axis=1) for ours, theirs in _equal_pairs(first.digests, second.digests[once])
    ]
    return np.concatenate([np.zeros((0, 2), int), *pairs])


def _near_identical(first: ImageFingerprints, second: ImageFingerprints) -> np.ndarray:
    """Returns int [P, 2], near-identical images. A pair may occur several times."""
    indices = [np.flatnonzero(s.thumbnails.std(axis=(1, 2), dtype=np.float32) >= _CONTRAST) for s in (first, second)]
    thumbnails = [s.thumbnails[index] for s, index in zip((first, second), indices, strict=True)]
    hashes = [difference_hash(images) for images in thumbnails]
    found = [np.zeros((0, 2), int)]
    parts = [values.view(np.uint16).reshape(-1, _DISTANCE + 1) for values in hashes]  # [N, 4]
    for part in range(_DISTANCE + 1):
        for ours, theirs in _equal_pairs(parts[0][:, part], parts[1][:, part]):
            near = _BITS[(hashes[0][ours] ^ hashes[1][theirs]).view(np.uint16).reshape(-1, 4)].sum(axis=1) <= _DISTANCE
            ours, theirs = ours[near], theirs[near]
            alike = _difference(thumbnails[0][ours], thumbnails[1][theirs]) <= _DIFFERENCE
            found.append(np.stack([indices[0][ours[alike]], indices[1][theirs[alike]]], axis=1))
    return np.concatenate(found)


def _equal_pairs(first: np.ndarray, second: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yields indices (into first, into second) of all pairs of equal values, about `_PAIRS` at a time."""
    order = np.argsort(second, kind='stable')
    values = second[order]
    starts = np.searchsorted(values, first, 'left')
    counts = np.searchsorted(values, first, 'right') - starts
    chunks = np.cumsum(counts) // _PAIRS
    for chunk in np.unique(chunks):
        mine = np.flatnonzero((chunks == chunk) & (counts > 0))
        ours = np.repeat(mine, counts[mine])
        place = np.arange(len(ours)) - np.repeat(np.cumsum(counts[mine]) - counts[mine], counts[mine])
        yield ours, order[starts[ours] + place]


def _difference(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Returns float32 [P], the mean absolute difference of pairs of thumbnails in standard deviations.

    Args:
      first: uint8 [P, 16, 18].
      second: uint8 [P, 16, 18].
    """
    found = np.zeros(len(first), np.float32)
    for start in range(0, len(first), 2**16):
        one, other = (_standardised(images[start : start + 2**16]) for images in (first, second))
        found[start : start + 2**16] = np.abs(one - other).mean(axis=(1, 2))
    return found


def _standardised(thumbnails: np.ndarray) -> np.ndarray:
    images = thumbnails.astype(np.float32)
    images -= images.mean(axis=(1, 2), keepdims=True)
    return images / images.std(axis=(1, 2), keepdims=True)


def find_equal_audio(first: Sequence[np.ndarray], second: Sequence[np.ndarray]) -> list[tuple[int, int]]:
    """Returns pairs of videos whose audio has the same values from the first frame to the last. Silence is ignored.

    Args:
      first: audio of each video of one manifest, float32 [frames, D].
      second: audio of each video of the other manifest.
    """
    places: dict[bytes, list[int]] = {}
    for index, values in enumerate(second):
        places.setdefault(values.tobytes(), []).append(index)
    return [
        (index, other)
        for index, values in enumerate(first)
        if not _is_constant(values)
        for other in places.get(values.tobytes(), ())
    ]


def _is_constant(values: np.ndarray) -> bool:
    """Returns True if the audio of a video never changes, like silence. False for one line per video."""
    return len(values) > 1 and bool((values == values[0]).all())
