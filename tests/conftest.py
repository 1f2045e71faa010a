# SPDX-License-Identifier: Apache-2.0
"""Fixtures that several test files share, most of them on a small corpus of painted faces."""

from pathlib import Path

import cv2
import ffmpeg
import hypothesis
import numpy as np
import pytest
from commands import ROOT, make_runs_quick, run
from realmedia import realdata

from fer import emotions
from fer.manifest import LedgerRow, write_ledger, write_manifest
from fer.prepare.ffmpeg import FFMPEG

__all__ = ['ROOT', 'realdata', 'run']

# No test measures time, because a busy machine is slow.
hypothesis.settings.register_profile('untimed', deadline=None)
hypothesis.settings.load_profile('untimed')

# The tests that `make core` runs: everything that can differ between the two stacks (fer/stack.py).
CORE = {
    *('test_install', 'test_package'),
    *('test_nets', 'test_nets_parity', 'test_vgg_face', 'test_rnn', 'test_ffn', 'test_weights', 'test_augmentation'),
    *('test_media', 'test_faces', 'test_smile', 'test_prepare', 'test_pipeline'),
    *('test_training', 'test_stage_runs', 'test_stacks', 'test_extract', 'test_export', 'test_fusion', 'test_report'),
}


@pytest.hookimpl(tryfirst=True)  # before pytest selects tests by their marks
def pytest_collection_modifyitems(items):
    for item in items:
        if item.path.stem in CORE:
            item.add_marker(pytest.mark.core)


@pytest.fixture(scope='module')
def quick_runs():
    """Makes the runs of a test module quick: it turns off the optimisation of graphs and the plots of curves.

    Either takes longer than the steps of a tiny run. Only modules that compare such runs with each other may use this
    fixture, because results of an optimised graph differ in their last digits.
    """
    with pytest.MonkeyPatch.context() as patch:
        make_runs_quick(patch.setattr)
        yield


@pytest.fixture
def shallow_networks(monkeypatch):
    """Makes the networks shallow: they keep every kind of unit, but repeat it only once or twice."""
    from fer.nets import densenet, resnet

    monkeypatch.setattr(densenet, 'BLOCKS', (2, 1, 1, 2))
    monkeypatch.setattr(resnet, 'BLOCKS', ((64, 2), (128, 1), (256, 1), (512, 2)))


def make_clip(path, rate, seconds, sound=True, **options):
    """Writes a video of a moving test picture, 64x48 pixels, with a tone."""
    streams = [ffmpeg.input(f'testsrc=size=64x48:rate={rate}:duration={seconds}', f='lavfi')]
    if sound:
        streams.append(ffmpeg.input(f'sine=frequency=440:duration={seconds}', f='lavfi'))
    output = ffmpeg.output(*streams, str(path), loglevel='error', **options)
    output.run(cmd=FFMPEG, overwrite_output=True)


def paint_split(folder: Path, split: str, lengths: list[int], seed: int, size: int = 32) -> Path:
    """Writes JPEG faces, a manifest, and a ledger that has one more video, without faces.

    A bright bar in each face shows its class. Video k has class k % 7. Its frames are mostly noise, so that all differ.
    """
    rng = np.random.default_rng(seed)
    rows, ledger = [], []
    for index, length in enumerate(lengths):
        label, video_id = index % 7, f'{split}{index:03d}'
        frames = folder / 'faces' / video_id
        frames.mkdir(parents=True)
        for frame in range(1, length + 1):
            image = rng.integers(0, 90, (size, size, 3)).astype(np.uint8)
            image[:, label * size // 7 : (label + 1) * size // 7] += 150
            cv2.imwrite(str(frames / f'{frame:05d}.jpg'), image)
            rows.append((f'faces/{video_id}/{frame:05d}.jpg', emotions.to_one_hot(label)))
        ledger.append(LedgerRow(video_id, label, length, length, None, ''))
    ledger.insert(1, LedgerRow(f'{split}_faceless', 0, 12, 0, None, 'no_face'))
    manifest = folder / f'{split}.txt'
    write_manifest(manifest, rows)
    write_ledger(folder / f'{split}.ledger.csv', ledger)
    return manifest


@pytest.fixture(scope='session')
def painted(tmp_path_factory) -> Path:
    """Makes a folder with train.txt and val.txt: 14 and 9 videos of 2 to 23 frames, 32x32 pixels."""
    folder = tmp_path_factory.mktemp('painted')
    rng = np.random.default_rng(1)
    paint_split(folder, 'train', rng.integers(2, 24, 14).tolist(), seed=2)
    paint_split(folder, 'val', rng.integers(2, 24, 9).tolist(), seed=3)
    return folder


def write_audio(path: Path, values: np.ndarray, names: list[str] | None = None) -> None:
    """Writes an audio CSV as preparation does: a header of feature names and a line of values."""
    path.parent.mkdir(parents=True, exist_ok=True)
    names = names or [f'feature_{number}' for number in range(len(values))]
    path.write_text(f'{",".join(names)}\n{",".join(f"{value:.6g}" for value in values)}\n')


def add_sound(folder: Path, split: str, seed: int) -> None:
    """Adds clips and functionals with their manifests to a painted split. A few features are larger in each class.

    As in openSMILE's output, features differ in scale by a factor of a million, and one is constant.
    """
    rng = np.random.default_rng(seed)
    scales = 10 ** rng.uniform(-3, 3, 6552)
    clips, both, functionals = [], [], []
    lines = (folder / f'{split}.txt').read_text().splitlines()
    for index, line in enumerate(lines):
        face, label = line.split(',')
        clip = face.replace('faces/', 'clips/').replace('.jpg', '.csv')
        write_audio(folder / clip, _audio_values(rng, label.index('1'), 112) * scales[:112])
        clips.append((clip, label))
        both.append((clip, face, label))
        if index == 0 or Path(face).parent != Path(lines[index - 1].split(',')[0]).parent:
            whole = f'functionals/{Path(face).parent.name}.csv'
            write_audio(folder / whole, _audio_values(rng, label.index('1'), 6552) * scales)
            functionals.append((whole, label))
    ledger = (folder / f'{split}.ledger.csv').read_text()
    for name, rows in (('clips', clips), ('audiovisual', both), ('functionals', functionals)):
        write_manifest(folder / f'{split}_{name}.txt', rows)
        (folder / f'{split}_{name}.ledger.csv').write_text(ledger)


def _audio_values(rng: np.random.Generator, label: int, size: int) -> np.ndarray:
    values = rng.normal(5, 1, size)
    values[label * 9 : label * 9 + 9] += 3
    values[-1] = 7
    return values


@pytest.fixture(scope='session')
def painted_sound(tmp_path_factory) -> Path:
    """Makes the folder that `paint_with_sound` fills."""
    folder = tmp_path_factory.mktemp('painted_sound')
    paint_with_sound(folder)
    return folder


def paint_with_sound(folder: Path) -> None:
    """Writes every kind of manifest, of 8 and 5 videos of 2 to 6 frames, 32x32 pixels, with audio.

    The folder also gets stills_a and stills_b, two datasets of stills, each with train.txt and val.txt.
    """
    for seed, (split, lengths) in enumerate({'train': [6, 2, 5, 3, 4, 2, 6, 3], 'val': [3, 6, 2, 4, 5]}.items()):
        paint_split(folder, split, lengths, seed=seed)
        add_sound(folder, split, seed=seed + 10)
        for name, number in (('stills_a', 9), ('stills_b', 7)):
            _paint_stills(folder / name, split, number, seed=seed + number)


def _paint_stills(folder: Path, split: str, number: int, seed: int) -> None:
    """Writes painted stills and their manifest."""
    manifest = paint_split(folder, split, [1] * number, seed)
    manifest.with_suffix('.ledger.csv').unlink()  # its rows are of videos, and a manifest of stills needs no ledger


def choices(name: str) -> list:
    """Returns the values that a flag of train.py can have."""
    from fer.runs.config import TrainConfig
    from fer.settings import settings_of

    return list(settings_of(TrainConfig)[name].choices)


def settings_from(texts: dict) -> dict:
    """Returns settings as values: it parses texts of flags, turns paths into texts and keeps everything else."""
    from fer.runs.config import TrainConfig
    from fer.settings import parse_values

    texts = {name: str(value) if isinstance(value, Path) else value for name, value in texts.items()}
    return texts | parse_values(TrainConfig, {name: text for name, text in texts.items() if isinstance(text, str)})


def tiny_config(data: Path, stage: str, model: str = 'vgg_face', **changes):
    """Returns settings for a run of a second or two on `painted_sound`, with train.py's defaults for the others.

    Args:
      data: the folder of `painted_sound`.
      stage: of training.
      model: the network.
      changes: other settings, as values or as texts of flags.
    """
    from fer.runs.config import TrainConfig
    from fer.training.stages import get_stage  # imported here, not above: most tests need no TensorFlow

    kind = {'audio': '_functionals' if model == 'ffn' else '_clips', 'early_fusion': '_audiovisual'}.get(stage, '')
    folder = data / 'stills_a' if stage == 'pretrain' else data
    settings = {'stage': stage, 'model': model, 'global_pool': model != 'vgg_face'}
    settings |= {f'{split}_manifest': folder / f'{split}{kind}.txt' for split in ('train', 'val')}
    settings |= {'batch_size': min(get_stage(stage, model).batch_size, 4), 'seq_len': 4, 'image_size': 32}
    settings |= {'initialiser': 'fan_out', 'width': 0.05, 'rnn_units': 5, 'rnn_layers': 1, 'hidden_units': (6,)}
    settings |= {'learning_rate': 1e-2 if stage == 'audio' else 1e-3}
    settings |= {'train_epochs': (2,) if stage == 'audio' else (1, 1)}
    return TrainConfig(**settings_from(settings | changes))


def tiny_flags(data: Path) -> list[str]:
    """Returns flags of train.py for a run of a few seconds on the painted faces."""
    return [
        f'--train_manifest={data / "train.txt"}',
        f'--val_manifest={data / "val.txt"}',
        '--image_size=32',
        '--width=0.05',
        '--seq_len=7',
        '--learning_rate=1e-3',
        '--train_epochs=1,2',
    ]
