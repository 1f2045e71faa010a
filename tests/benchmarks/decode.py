# SPDX-License-Identifier: Apache-2.0
"""Speed of reading images, compared with PyTorch's DataLoader and the frame cache: python -m tests.benchmarks.decode

JPEGs of 224x224 pixels and 32 kB are resized to 112x112, and faces of 112x112 pixels are read, into shuffled batches of
float32 in [-1, 1]. PyTorch has two loader processes, which start before the clock and send uint8. The `first epoch`
with --frame_cache fills the cache and reads an epoch from it. The `second epoch` reads the next one.
"""

import shutil
import time
from pathlib import Path

from absl import flags

from fer import cli
from tests.benchmarks import timing
from tests.benchmarks.runs import Reader, synthetic_manifest

flags.DEFINE_list('sizes', ['224', '112'], 'Heights and widths of the JPEGs.')
flags.DEFINE_integer('videos', 120, 'Number of synthetic videos, of 60 frames on average.', lower_bound=4)
SIZE, SEQ_LEN, BATCH, WORKERS = 112, 80, 4, 2
GOALS = {'ours / PyTorch, Pillow': 1.5, 'ours / PyTorch, OpenCV': 1.1, 'second epoch / first epoch': 5.0}


def main() -> None:
    for size in map(int, flags.FLAGS.sizes):
        measure(size)


def measure(size: int) -> None:
    from fer.data.frame_cache import open_frame_cache
    from fer.data.split import load_split

    manifest = synthetic_manifest(flags.FLAGS.videos, size)
    split = load_split([str(manifest)], '', SEQ_LEN, 2, labelled=True)
    paths = [path for video in split.videos for path in video.frames]
    list_file = manifest.with_suffix('.list')
    list_file.write_text('\n'.join(paths) + '\n')
    ours = Reader(split, SIZE, BATCH)
    twin = timing.TorchTwin()

    def torch(reader: str):
        batch = BATCH * len(paths) // len(split.windows)  # as many frames as ours has on average
        return lambda: twin.ask(
            'decode', list_file=str(list_file), size=SIZE, reader=reader, batch=batch, workers=WORKERS
        )

    folder = Path(flags.FLAGS.folder) / 'frame_cache'
    cached = {}

    def first_epoch() -> float:
        shutil.rmtree(folder, ignore_errors=True)
        began = time.perf_counter()
        decoded = open_frame_cache(split.manifests, SIZE, str(folder), 50.0)
        filled = time.perf_counter() - began
        cached['reader'] = Reader(
            split._replace(decoded=decoded), SIZE, BATCH
        )  # its graph is not timed, nor is that of `ours`
        return len(paths) / (filled + len(paths) / cached['reader'].epoch())

    found = timing.interleave(
        {
            'ours': ours.epoch,
            'PyTorch, Pillow': torch('pillow'),
            'PyTorch, OpenCV': torch('opencv'),
            'first epoch': first_epoch,
            'second epoch': lambda: cached['reader'].epoch(),
        },
        flags.FLAGS.rounds,
    )
    twin.close()
    for above, below in (
        ('ours', 'PyTorch, Pillow'),
        ('ours', 'PyTorch, OpenCV'),
        ('second epoch', 'first epoch'),
        ('second epoch', 'ours'),
    ):
        found[f'{above} / {below}'] = timing.ratios(found, above, below)
    timing.report(f'{len(paths)} JPEGs of {size}x{size} to {SIZE}x{SIZE}: images/s', found, at_least=GOALS)


if __name__ == '__main__':
    cli.run(main)
