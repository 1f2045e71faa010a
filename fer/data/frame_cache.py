"""Decoded frames on disk, so that only the first of many epochs, and of many jobs, decodes them.

A manifest's frames are kept as uint8: resized where that leaves whole numbers (see `exact_resize`), else as the decoder
gives them, for what is read back goes through the same resize as what is decoded. So the network sees the same pixels
to the bit. A cache is two files,

  KEY-TOKEN.u8   the frames' pixels, one after the other, [height, width, 3] each; read through a memory map
  KEY.json       names that file, and has its length, its CRC-32 and the frames' sizes

where KEY is a digest of the image size and of the frames' paths, lengths and times of change, so that a changed image
is another cache. Jobs share a folder: what one has filled the others read, and jobs that fill at the same time do so
each in a file of its own, which becomes visible as a whole or not at all.
"""

import contextlib
import hashlib
import json
import os
import secrets
import time
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np

from fer.data.parallel import map_in_parallel, read_ahead
from fer.errors import InputError
from fer.files import atomic_write, naming, read_object
from fer.manifest import Manifest
from fer.progress import progress
from fer.tf1 import tf

DECODER = f'tensorflow {tf.__version__} INTEGER_ACCURATE'  # of a key: another decoder may give other pixels
GIGABYTE = 2**30
_THREADS = 16  # for the file system's answers
_CHUNK = 2**24  # bytes read at a time
_BATCH = 64  # frames decoded at a time
_ABANDONED = 14 * 86400  # seconds; a job may read a cache for as long as it runs, even one that has been replaced


class CachedVideo(NamedTuple):
    """The frames of one video."""

    pixels: np.ndarray  # uint8 [all bytes of the cache], memory-mapped
    offsets: np.ndarray  # int64 [frames + 1], where each frame begins, and where the last one ends
    sizes: np.ndarray  # int32 [frames, 2], height and width


class _Index(NamedTuple):
    data: str  # name of the file of pixels
    videos: int  # how many of the manifest's videos it holds, from the first on
    bytes: int
    crc32: int
    sizes: list[list[int]]  # [frames, height, width] of runs of frames of one size


def decode(path: tf.Tensor) -> tf.Tensor:
    """Decodes an image file: string [], its path, to uint8 [H, W, 3], RGB."""
    return decode_content(tf.io.read_file(path))


def decode_content(content: tf.Tensor) -> tf.Tensor:
    """Decodes what an image file holds, string [], to uint8 [H, W, 3], RGB.

    TensorFlow's default transform, INTEGER_FAST, is 1.4 grey levels off on average on 112x112 faces and no faster
    there; this one gives the same pixels as OpenCV and Pillow.
    """
    return tf.image.decode_jpeg(content, channels=3, dct_method='INTEGER_ACCURATE')


def exact_resize(image: tf.Tensor, image_size: int) -> tf.Tensor:
    """Resizes along an axis where the result is whole numbers: uint8 [H, W, 3] to uint8 [H', W', 3].

    TensorFlow 1's bilinear takes its samples at multiples of H / image_size. Where that is a whole number they lie on
    pixels, and nothing is interpolated: a 224x224 image at 112x112 is every other pixel. The rest of the resize, of the
    result, is then that of the image. Other axes are left as they are.
    """
    sides = tf.shape(image)[:2]
    exact = tf.equal(sides % image_size, 0)
    # The resize itself: a slice with steps takes 0.2 ms more of a 224x224 image.
    resized = tf.cond(
        tf.reduce_any(exact),
        lambda: tf.cast(tf.image.resize_images(image, tf.where_v2(exact, image_size, sides)), tf.uint8),
        lambda: image,
    )
    return tf.ensure_shape(resized, [None, None, 3])


def open_frame_cache(
    manifests: list[Manifest], image_size: int, folder: str, gigabytes: float
) -> tuple[CachedVideo | None, ...]:
    """The decoded frames of manifests' videos; fills the cache first where it lacks them, and says what it does.

    Args:
      manifests: with images, checked.
      image_size: height and width that frames will be resized to.
      folder: of the caches; made if missing.
      gigabytes: most that the folder's caches may take together, in units of 2^30 bytes; videos that no longer fit are
        left out, and decoded in each epoch.

    Returns:
      For each video of all manifests, one after the other, its frames; None where it is left out.

    Raises:
      InputError: `folder` is a file.
    """
    root = Path(folder)
    if root.exists() and not root.is_dir():
        raise InputError(f'--frame_cache={folder}: a file; expected a folder')
    root.mkdir(parents=True, exist_ok=True)
    return tuple(video for manifest in manifests for video in _open_manifest(manifest, image_size, root, gigabytes))


def _open_manifest(manifest: Manifest, image_size: int, root: Path, gigabytes: float) -> list[CachedVideo | None]:
    path = root / f'{_key(manifest, image_size)}.json'
    index = _read_index(path, manifest)
    fresh = 'read'
    if index is None:
        index = _fill(manifest, image_size, path, gigabytes)
        fresh = 'filled'
    total = len(manifest.videos)
    if index is None:
        return [None] * total
    print(
        f'frame cache: {fresh} {root / index.data}, {index.videos} of {total} videos of {manifest.path}, '
        f'{index.bytes / GIGABYTE:.2f} GB',
        flush=True,
    )
    if index.videos < total:
        print(
            f'frame cache: --frame_cache_gb held no more; {total - index.videos} videos are decoded in each epoch (to '
            f'fill it anew, delete {path})'
        )
    return _videos(manifest, root, index)


def _key(manifest: Manifest, image_size: int) -> str:
    paths = [path for video in manifest.videos for path in video.frames]
    with ThreadPoolExecutor(_THREADS) as pool:
        states = pool.map(os.stat, paths)
        rows = [[os.path.abspath(p), s.st_size, s.st_mtime_ns] for p, s in zip(paths, states, strict=True)]
    lengths = [len(video.frames) for video in manifest.videos]
    return hashlib.sha256(json.dumps([DECODER, image_size, lengths, rows]).encode()).hexdigest()[:32]


def _read_index(path: Path, manifest: Manifest) -> _Index | None:
    """The index, once its file of pixels has been found whole; None where there is none, or a damaged one, said so."""
    if not path.exists():
        return None
    try:
        index = _Index(**read_object(path))
        data = path.with_name(index.data)
        size = data.stat().st_size
        if size != index.bytes:
            raise ValueError(f'{size} bytes; expected {index.bytes}')
        if sum(count * height * width * 3 for count, height, width in index.sizes) != size:
            raise ValueError('other frames than bytes')
        frames = sum(len(video.frames) for video in manifest.videos[: index.videos])
        if index.videos < 0 or sum(count for count, *_ in index.sizes) != frames:
            raise ValueError(f'other frames than the first {index.videos} videos have')
        crc = 0
        with open(data, 'rb') as file:
            while chunk := file.read(_CHUNK):
                crc = zlib.crc32(chunk, crc)
        if crc != index.crc32:
            raise ValueError(f'CRC-32 {crc:08x}; expected {index.crc32:08x}')
    except (OSError, ValueError, TypeError) as error:
        print(f'frame cache: {path}: damaged ({error}); made anew', flush=True)
        path.unlink(missing_ok=True)
        return None
    return index


def _taken(root: Path) -> int:
    """Bytes of all caches in the folder, those being filled by others included."""
    total = 0
    for path in root.glob('*.u8*'):
        with contextlib.suppress(FileNotFoundError):  # renamed meanwhile
            total += path.stat().st_size
    return total


def _fill(manifest: Manifest, image_size: int, path: Path, gigabytes: float) -> _Index | None:
    """Decodes the manifest's videos into a new cache, as far as there is room.

    Returns:
      Its index, or that of a job that was faster; None where there is room for no video, or an image cannot be
      decoded, which training then names.
    """
    root = path.parent
    _remove_abandoned(root)
    room = gigabytes * GIGABYTE - _taken(root)
    data = root / f'{path.stem}-{secrets.token_hex(8)}.u8'
    filling = data.with_suffix('.u8.tmp')
    sizes: list[list[int]] = []
    written = crc = videos = 0
    try:
        # Not synced: what a power cut leaves has another length or CRC-32 than its index says.
        with naming(filling), open(filling, 'wb') as file:
            for frames in _decoded(manifest, image_size):
                content = b''.join(frame.tobytes() for frame in frames)
                if written + len(content) > room:
                    break
                file.write(content)
                written, crc, videos = written + len(content), zlib.crc32(content, crc), videos + 1
                for height, width, _ in (frame.shape for frame in frames):
                    if sizes and sizes[-1][1:] == [height, width]:
                        sizes[-1][0] += 1
                    else:
                        sizes.append([1, height, width])
        if not videos:
            print(f'frame cache: --frame_cache_gb={gigabytes:g} has no room for {manifest.path}; it is decoded instead')
            return None
        if path.exists() and (other := _read_index(path, manifest)):
            return other
        os.replace(filling, data)
        index = _Index(data.name, videos, written, crc, sizes)
        try:
            with atomic_write(path) as text:
                json.dump(index._asdict(), text)
        except BaseException:
            data.unlink()  # without an index it would only take room
            raise
    except (tf.errors.InvalidArgumentError, tf.errors.NotFoundError):
        print(f'frame cache: an image of {manifest.path} cannot be decoded; not cached')
        return None
    finally:
        filling.unlink(missing_ok=True)
    return index


def _remove_abandoned(root: Path) -> None:
    """Takes away what killed jobs and damaged or deleted indices leave, when nobody can be reading it."""
    named = set()
    for path in root.glob('*.json'):
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            named.add(read_object(path)['data'])
    for path in root.glob('*.u8*'):
        with contextlib.suppress(FileNotFoundError):  # renamed meanwhile
            if path.name not in named and time.time() - path.stat().st_mtime > _ABANDONED:
                path.unlink()


def _decoded(manifest: Manifest, image_size: int) -> Iterator[list[np.ndarray]]:
    """The frames of each video as they are kept, uint8 [H, W, 3] each; decoded in parallel."""
    lengths = [len(video.frames) for video in manifest.videos]
    with tf.Graph().as_default(), tf.Session() as session:
        paths = tf.placeholder(tf.string, [None])

        def flat(path):
            image = exact_resize(decode(path), image_size)
            return tf.reshape(image, [-1]), tf.shape(image)

        dataset = map_in_parallel(tf.data.Dataset.from_tensor_slices(paths), flat)
        dataset = read_ahead(dataset.apply(tf.data.experimental.dense_to_ragged_batch(_BATCH)))
        iterator = tf.data.make_initializable_iterator(dataset)
        pixels, shapes = iterator.get_next()
        fetches = pixels.values, shapes
        session.run(iterator.initializer, {paths: [path for video in manifest.videos for path in video.frames]})

        def frames() -> Iterator[np.ndarray]:
            while True:
                try:
                    values, found = session.run(fetches)
                except tf.errors.OutOfRangeError:
                    return
                ends = np.cumsum(found.prod(axis=1))
                for part, shape in zip(np.split(values, ends[:-1]), found, strict=True):
                    yield part.reshape(shape)

        each = frames()
        for length in progress(lengths, label='frame cache', unit='video'):
            yield [next(each) for _ in range(length)]


def _videos(manifest: Manifest, root: Path, index: _Index) -> list[CachedVideo | None]:
    pixels = np.memmap(root / index.data, np.uint8, 'r')
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
