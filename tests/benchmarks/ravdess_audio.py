# SPDX-License-Identifier: Apache-2.0
"""Compares the audio network with others on RAVDESS: python -m tests.benchmarks.ravdess_audio [--audio=DIR]

Only its speech is used. There are five folds of actors (actor modulo 5), so that no actor is in training and test.
There are seven classes, as Calm is left out. All learn from the functionals of emo_large. The network is that of
configs/open/voice.flags. The others are scikit-learn's: a linear SVM on standardised features with C = 0.001, the same
on the network's input (--audio_scaling=log), and a random forest of 500 trees.

Each fold chooses the network's settings among SETTINGS, on its training actors alone. Every pair of folds is held out
in turn, and the settings with the best mean score on the training actors are taken.

Prepares the corpus first, in six minutes. Then trains 10 networks for each of SETTINGS, and the five that are scored,
in some twelve minutes on two cores. Prints a row per fold, and the mean and the deviation of each column.
"""

import csv
import itertools
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from absl import flags

from fer import cli, emotions
from fer.data.audio import FUNCTIONALS, fit_scaling, read_audio, scale_features
from fer.errors import InputError
from fer.manifest import LedgerRow, Video, ledger_path, read_ledger, read_manifest, write_ledger, write_manifest
from tests.realmedia import find_realdata

flags.DEFINE_string('audio', None, 'Folder of RAVDESS, whose audio is used. Default: that of the tests (FER_REALDATA).')
flags.DEFINE_string('data', '', 'Folder of an earlier preparation with functionals. Default: prepare first.')
flags.DEFINE_integer('jobs', 2, 'Number of recordings prepared, or networks trained, at a time.', lower_bound=1)

FOLDS = 5
NETWORK = ('--flagfile=configs/open/voice.flags',)
SETTINGS = {
    'voice.flags': (),
    'L2 0.03': ('--l2=0.03',),
    'no label smoothing': ('--label_smoothing=0',),
    'z-scores': ('--audio_scaling=zscore',),
}
OTHERS = ('linear SVM', 'SVM, log', 'forest')


def main() -> None:
    with tempfile.TemporaryDirectory(prefix='fer-ravdess-') as folder:
        data = Path(flags.FLAGS.data) if flags.FLAGS.data else prepare(Path(folder) / 'data')
        videos, rows = read_all(data)
        actors = np.array([int(video.video_id.split('-')[6]) for video in videos])
        folds = actors % FOLDS
        print(f'{len(videos)} recordings of {len(set(actors.tolist()))} actors')
        parts = [write_part(Path(folder) / f'fold{fold}', videos, rows, folds == fold) for fold in range(FOLDS)]
        inner = score_settings(Path(folder), videos, rows, folds, parts)
        titles = ''.join(f'{title:>12s}' for title in (*OTHERS, 'network'))
        print(f'fold  test{titles}  settings, by the training actors')
        features = [values_of(part) for part in parts]
        labels = [np.array([video.label for video in read_manifest(part, item='video').videos]) for part in parts]
        scores = []
        for fold in range(FOLDS):
            others = [other for other in range(FOLDS) if other != fold]
            known = (np.concatenate([values[k] for k in others]) for values in (features, labels))
            found = score_others(*known, features[fold], labels[fold])
            name = choose_settings(inner, fold)
            train = write_part(Path(folder) / f'train{fold}', videos, rows, folds != fold)
            found += score_network(Path(folder) / f'run{fold}', name, train, [parts[fold]])
            scores.append(found)
            print(f'{fold:4d}  {len(labels[fold]):4d}{format_row(found)}  {name}', flush=True)
    print(f'mean      {format_row(np.mean(scores, axis=0))}')
    print(f'deviation {format_row(np.std(scores, axis=0, ddof=1))}')


def format_row(scores: Sequence[float] | np.ndarray) -> str:
    """Returns shares in per cent, a column each."""
    return ''.join(f'{100 * score:11.1f}%' for score in scores)


def score_others(train: np.ndarray, classes: np.ndarray, test: np.ndarray, truth: np.ndarray) -> list[float]:
    """Returns the accuracies of OTHERS on `test` after training on `train`, float32 [recordings, features]."""
    from sklearn.ensemble import RandomForestClassifier  # here, not above, because --help does not need them
    from sklearn.svm import LinearSVC

    inputs = []
    for kind in ('zscore', 'log'):
        scaling = fit_scaling([''] * train.shape[1], [train], kind)
        inputs.append((scale_features(train, scaling), scale_features(test, scaling)))
    svm = LinearSVC(C=0.001, dual=True, random_state=0, max_iter=10000)
    forest = RandomForestClassifier(500, random_state=0, n_jobs=flags.FLAGS.jobs)
    models = ((svm, *inputs[0]), (svm, *inputs[1]), (forest, *inputs[0]))
    return [float((model.fit(known, classes).predict(new) == truth).mean()) for model, known, new in models]


def score_settings(
    folder: Path, videos: Sequence[Video], rows: dict[str, LedgerRow], folds: np.ndarray, parts: Sequence[Path]
) -> dict[tuple[str, int, int], float]:
    """Returns accuracies by (settings, fold that is scored, other fold that is held out)."""
    tasks = []
    for first, second in itertools.combinations(range(FOLDS), 2):
        train = write_part(folder / f'without{first}{second}', videos, rows, (folds != first) & (folds != second))
        tasks += [(name, first, second, train) for name in SETTINGS]

    def score(task: tuple[str, int, int, Path]) -> list[float]:
        name, first, second, train = task
        run_dir = folder / f'{name} {first}{second}'.replace(' ', '_').replace(',', '')
        return score_network(run_dir, name, train, [parts[first], parts[second]])

    scores = {}
    with ThreadPoolExecutor(flags.FLAGS.jobs) as pool:
        for (name, first, second, _), pair in zip(tasks, pool.map(score, tasks), strict=True):
            scores[name, first, second], scores[name, second, first] = pair
    return scores


def choose_settings(inner: dict[tuple[str, int, int], float], fold: int) -> str:
    """Returns the settings with the best mean over the other folds, by networks trained without `fold`."""
    means = {name: np.mean([inner[name, k, fold] for k in range(FOLDS) if k != fold]) for name in SETTINGS}
    return max(means, key=lambda name: means[name])


def prepare(output: Path) -> Path:
    """Prepares the functionals of RAVDESS' audio."""
    real = find_realdata()
    source = Path(flags.FLAGS.audio) if flags.FLAGS.audio else real / 'ravdess_audio' if real else None
    if source is None or not source.is_dir():
        raise InputError(f'--audio={source}: expected the folder of RAVDESS (or one named by FER_REALDATA)')
    command = [sys.executable, '-m', 'fer.prepare', '--dataset=ravdess', f'--source={source}', f'--output={output}']
    command += ['--audio_features=functionals', '--detector=none', f'--jobs={flags.FLAGS.jobs}']
    subprocess.run(command, check=True)
    return output


def read_all(data: Path) -> tuple[list[Video], dict[str, LedgerRow]]:
    """Returns the recordings of all splits, sorted, and their rows in the ledgers."""
    videos, rows = [], {}
    for path in sorted(data.glob('*_functionals.txt')):
        manifest = read_manifest(path, item='video')
        videos += manifest.videos
        rows |= {row.video_id: row for row in read_ledger(manifest)}
    return sorted(videos, key=lambda video: video.video_id), rows


def write_part(folder: Path, videos: Sequence[Video], rows: dict[str, LedgerRow], chosen: np.ndarray) -> Path:
    """Writes a manifest of some recordings, with its ledger, into a folder of its own."""
    folder.mkdir()
    path = folder / 'part.txt'
    taken = [video for video, is_taken in zip(videos, chosen, strict=True) if is_taken]
    write_manifest(path, [(str(Path(v.audio[0]).resolve()), emotions.to_one_hot(v.label)) for v in taken])
    write_ledger(ledger_path(path), [rows[video.video_id] for video in taken])
    return path


def values_of(manifest: Path) -> np.ndarray:
    """Returns the functionals of a manifest, float32 [recordings, features], not scaled."""
    audio = read_audio(read_manifest(manifest, item='video'), FUNCTIONALS, 'mean')
    return np.nan_to_num(np.concatenate(audio.values))


def score_network(run_dir: Path, settings: str, train: Path, held_out: Sequence[Path]) -> list[float]:
    """Returns the accuracy on each held-out manifest after the last epoch."""
    command = [sys.executable, 'train.py', *NETWORK, *SETTINGS[settings], f'--run_dir={run_dir}']
    command += [f'--train_manifest={train}', f'--val_manifest={",".join(map(str, held_out))}']
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    with open(run_dir / 'val_log.csv', newline='') as file:
        rows = list(csv.DictReader(file))[-len(held_out) :]
    return [int(row['correct']) / int(row['total']) for row in rows]


if __name__ == '__main__':
    cli.run(main)
