# SPDX-License-Identifier: Apache-2.0
"""Decoded frames on disk (--frame_cache), so that only the first of many epochs, and of many jobs, decodes them.

The cache holds a manifest's frames as uint8. `resize_exactly` has resized them where that leaves whole numbers, and
readers resize them further as they resize decoded images. So the network gets the same pixels to the bit. A shard
(fer/data/disk_cache.py) holds a manifest:

  <name>.u8     the frames' pixels, one after the other, [height, width, 3] each, read through a memory map
  <name>.index  the frames' sizes, and the CRC-32 of the pixels

A key depends on the image size and on the frames' paths, lengths and times of change, so that a changed image gets
another key.
"""

import hashlib
import json
import os
import weakref
import zlib
from concurrent.futures import ThreadPoolExecutor
from itertools import groupby
from pathlib import Path
from typing import IO, NamedTuple

import numpy as np

from fer.data.disk_cache import GIGABYTE, DiskCache
from fer.data.images import DECODER, decode_all
from fer.files import atomic_write, read_object
from fer.manifest import Manifest
from fer.progress import progress
from fer.tf1 import tf

FORMAT = 2  # of the files
_THREADS = 16  # that ask the file system for times of change
_CHUNK = 2**24  # bytes read at a time
_STEP = 2**26  # bytes written between two looks at the room that is left


class CachedVideo(NamedTuple):
    """The frames of one video."""

    pixels: np.ndarray  # uint8 [all bytes of the cache], memory-mapped
    offsets: np.ndarray  # int64 [frames + 1], where each frame begins, and where the last one ends
    sizes: np.ndarray  # int32 [frames, 2], height and width


class _Index(NamedTuple):
    videos: int  # how many of the manifest's videos the shard holds, from the first on
    crc32: int  # of the pixels
    sizes: list[list[int]]  # [frames, height, width] of each run of frames of one size

    @property
    def bytes(self) -> int:
        return sum(count * height * width * 3 for count, height, width in self.sizes)


def open_frame_cache(
    manifests: list[Manifest], image_size: int, folder: str, gigabytes: float
) -> tuple[CachedVideo | None, ...]:
    """Returns the decoded frames of manifests' videos. Missing ones are decoded first, and counts are printed.

    Args:
      manifests: with images, checked.
      image_size: height and width that frames will be resized to.
      folder: of the cache, made if missing.
      gigabytes: most that the cache may hold, in units of 10^9 bytes. Videos that do not fit are decoded in each epoch.

    Returns:
      The frames of each video of all manifests, one after the other. None for a video that does not fit.

    Raises:
      InputError: `folder` is a file.
    """
    limit = int(gigabytes * GIGABYTE)
    return tuple(video for manifest in manifests for video in _open_manifest(manifest, image_size, folder, limit))


def _open_manifest(manifest: Manifest, image_size: int, folder: str, limit: int) -> list[CachedVideo | None]:
    cache = _ManifestCache(manifest, image_size, folder, limit)
    total = len(manifest.videos)
    found, done = cache.read(), 'read'
    if found is None:
        with cache.filling(0):
            found = cache.read()  # another job may have filled it meanwhile
            if found is None:
                found, done = cache.fill(), 'filled'
    if found is None:
        cache.close()
        return [None] * total
    data, index = found
    print(
        f'frame cache: {done} {data}, {index.videos} of {total} items of {manifest.path}, '
        f'{index.bytes / GIGABYTE:.2f} GB',
        flush=True,
    )
    if index.videos < total:
        print(
            f'frame cache: --frame_cache_gb held no more; {total - index.videos} items are decoded in each epoch (to '
            f'fill it again, delete {cache.folder})'
        )
    pixels = np.memmap(data, np.uint8, 'r')
    weakref.finalize(pixels, cache.close)  # the cache is in use as long as its pixels
    return _videos(manifest, pixels, index)


class _ManifestCache(DiskCache):
    """The frames of one manifest."""

    kind, data_suffix, table_suffix = 'frame', '.u8', '.index'

    def __init__(self, manifest: Manifest, image_size: int, folder: str, limit: int):
        key = {'format': FORMAT, 'decoder': DECODER, 'image_size': image_size, 'frames': _digest_frames(manifest)}
        super().__init__(folder, key, limit)
        self.manifest, self.image_size = manifest, image_size

    def read(self) -> tuple[Path, _Index] | None:
        """Returns the shard's pixels and index if the shard is whole. A damaged one is named and removed."""
        for path in self.folder.glob(f'*{self.table_suffix}'):
            try:
                return path.with_suffix(self.data_suffix), self._read_index(path)
            except (OSError, ValueError, TypeError) as error:
                print(f'frame cache: {path}: damaged ({error}); filled again', flush=True)
                path.unlink(missing_ok=True)
        return None

    def _read_index(self, path: Path) -> _Index:
        """Raises OSError, ValueError or TypeError unless the shard holds the first videos of the manifest."""
        index = _Index(**read_object(path))
        if any(number < 1 for run in index.sizes for number in run):
            raise ValueError('sizes below 1')
        frames = sum(len(video.frames) for video in self.manifest.videos[: index.videos])
        if index.videos < 1 or sum(count for count, *_ in index.sizes) != frames:
            raise ValueError(f'other frames than the first {index.videos} videos have')
        data = path.with_suffix(self.data_suffix)
        size = data.stat().st_size
        if size != index.bytes:
            raise ValueError(f'{size} bytes; expected {index.bytes}')
        crc = 0
        with open(data, 'rb') as file:
            while chunk := file.read(_CHUNK):
                crc = zlib.crc32(chunk, crc)
        if crc != index.crc32:
            raise ValueError(f'CRC-32 {crc:08x}; expected {index.crc32:08x}')
        return index

    def fill(self) -> tuple[Path, _Index] | None:
        """Decodes the manifest's videos into a new shard until one does not fit. Call within `filling`.

        Returns:
          The same as `read`. None where no video fits, or an image cannot be decoded, which training then names.
        """
        data = self.new_shard()
        table = data.with_suffix(self.table_suffix)
        try:
            # Not synced, because after a power cut the data has another length or CRC-32 than its index.
            with atomic_write(data, 'wb', durable=False) as file:
                index = self._write_videos(file)
            if not index.videos:
                print(f'frame cache: --frame_cache_gb has no room for {self.manifest.path}, which is decoded instead')
                return None
            with atomic_write(table) as text:
                json.dump(index._asdict(), text)
        except (tf.errors.InvalidArgumentError, tf.errors.NotFoundError):
            print(f'frame cache: an image of {self.manifest.path} cannot be decoded; not cached')
            return None
        finally:
            if not table.exists():
                data.unlink(missing_ok=True)
        return data, index

    def _write_videos(self, file: IO) -> _Index:
        images = decode_all([path for video in self.manifest.videos for path in video.frames], self.image_size)
        shapes: list[tuple[int, ...]] = []
        crc = videos = room = 0
        for video in progress(self.manifest.videos, label='frame cache', unit='item'):
            frames = [next(images) for _ in video.frames]
            content = b''.join(frame.tobytes() for frame in frames)
            if len(content) > room:
                file.flush()  # so that `make_room` counts it
                room = min(self.make_room(len(content)), max(len(content), _STEP))
            if len(content) > room:
                break
            file.write(content)
            room, crc, videos = room - len(content), zlib.crc32(content, crc), videos + 1
            shapes += [frame.shape[:2] for frame in frames]
        return _Index(videos, crc, [[len(list(run)), *shape] for shape, run in groupby(shapes)])


def _digest_frames(manifest: Manifest) -> str:
    """Returns the digest of the paths, sizes and times of change of a manifest's frames, and of its videos' lengths."""
    paths = [path for video in manifest.videos for path in video.frames]
    with ThreadPoolExecutor(_THREADS) as pool:
        states = pool.map(os.stat, paths)
        rows = [[os.path.abspath(p), s.st_size, s.st_mtime_ns] for p, s in zip(paths, states, strict=True)]
    lengths = [len(video.frames) for video in manifest.videos]
    return hashlib.sha256(json.dumps([lengths, rows]).encode()).hexdigest()


def _videos(manifest: Manifest, pixels: np.ndarray, index: _Index) -> list[CachedVideo | None]:
    """Returns the frames of each video, None for those that the shard does not hold."""
    counts, *sides = np.array(index.sizes, np.int64).reshape(-1, 3).T
    sizes = np.repeat(np.stack(sides, axis=1), counts, axis=0).astype(np.int32)
    offsets = np.concatenate([[0], np.cumsum(sizes.astype(np.int64).prod(axis=1) * 3)])
    found: list[CachedVideo | None] = []
    first = 0
    for number, video in enumerate(manifest.videos):
        last = first + len(video.frames)
        cached = CachedVideo(pixels, offsets[first : last + 1], sizes[first:last])
        found.append(cached if number < index.videos else None)
        first = last
    return found
