"""The audio network on RAVDESS' speech against a linear SVM: python -m tests.benchmarks.ravdess_audio [--audio=FOLDER]

Five folds of actors (actor modulo 5), so that no actor is in both training and test. Seven classes: Calm is left out.
Both learn from the same functionals. The SVM is scikit-learn's, on standardised features, with C = 0.001. Prepares the
corpus first (a few minutes), then prints a row per fold, and the mean and spread of both.
"""

import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from absl import flags

from fer import cli, emotions
from fer.data.audio import FUNCTIONALS, read_sound
from fer.errors import InputError
from fer.manifest import LedgerRow, Video, ledger_path, read_ledger, read_manifest, write_ledger, write_manifest
from tests.realmedia import find_realdata

flags.DEFINE_string('audio', None, 'Folder of RAVDESS, whose audio is used; default: that of the tests (FER_REALDATA).')
flags.DEFINE_string('data', '', 'Folder of an earlier preparation with functionals; default: prepared first.')
flags.DEFINE_integer('jobs', 2, 'Recordings prepared at the same time.')

FOLDS = 5
# A first guess, chosen on nothing: to be chosen on training actors before its score is quoted.
NETWORK = ('--stage=audio', '--model=ffn', '--hidden_units=1024', '--batch_size=32', '--dropout=0.5')
NETWORK += ('--learning_rate=1e-4', '--train_epochs=30')


def main() -> None:
    from sklearn.pipeline import make_pipeline  # here, not above: --help does without them
    from sklearn.preprocessing import StandardScaler
    from sklearn.svm import LinearSVC

    with tempfile.TemporaryDirectory(prefix='fer-ravdess-') as folder:
        data = Path(flags.FLAGS.data) if flags.FLAGS.data else prepare(Path(folder) / 'data')
        videos, rows = read_all(data)
        actors = np.array([int(video.video_id.split('-')[6]) for video in videos])
        labels = np.array([video.label for video in videos])
        print(f'{len(videos)} recordings of {len(set(actors.tolist()))} actors')
        print('fold  test    linear SVM    network')
        scores = []
        for fold in range(FOLDS):
            test = actors % FOLDS == fold
            manifests = write_fold(Path(folder) / str(fold), data, videos, rows, test)
            features = [values_of(path) for path in manifests]
            svm = make_pipeline(StandardScaler(), LinearSVC(C=0.001, dual=True, random_state=0, max_iter=10000))
            svm.fit(features[0], labels[~test])
            own = float((svm.predict(features[1]) == labels[test]).mean())
            scores.append((own, network_accuracy(Path(folder) / str(fold), manifests)))
            print(f'{fold:4d}  {test.sum():4d}  {100 * own:11.1f}%  {100 * scores[-1][1]:9.1f}%', flush=True)
    mean, spread = np.mean(scores, axis=0), np.std(scores, axis=0, ddof=1)
    print(f'mean        {100 * mean[0]:11.1f}%  {100 * mean[1]:9.1f}%')
    print(f'deviation   {100 * spread[0]:11.1f}   {100 * spread[1]:9.1f}')


def prepare(output: Path) -> Path:
    real = find_realdata()
    source = Path(flags.FLAGS.audio) if flags.FLAGS.audio else real / 'ravdess_audio' if real else None
    if source is None or not source.is_dir():
        raise InputError(f'--audio={source}: expected the folder of RAVDESS (or one named by FER_REALDATA)')
    command = [sys.executable, '-m', 'fer.prepare', '--dataset=ravdess', f'--source={source}', f'--output={output}']
    command += ['--audio_features=functionals', '--detector=none', f'--jobs={flags.FLAGS.jobs}']
    subprocess.run(command, check=True)
    return output


def read_all(data: Path) -> tuple[list[Video], dict[str, LedgerRow]]:
    """The recordings of all splits, sorted, and their rows of the ledgers."""
    videos, rows = [], {}
    for path in sorted(data.glob('*_functionals.txt')):
        manifest = read_manifest(path, item='video')
        videos += manifest.videos
        rows |= {row.video_id: row for row in read_ledger(manifest)}
    return sorted(videos, key=lambda video: video.video_id), rows


def write_fold(
    folder: Path, data: Path, videos: Sequence[Video], rows: dict[str, LedgerRow], test: np.ndarray
) -> list[Path]:
    """Writes the manifests of a fold, train and test, with their ledgers."""
    folder.mkdir()
    manifests = []
    for split, chosen in (('train', ~test), ('test', test)):
        path = folder / f'{split}.txt'
        taken = [video for video, is_taken in zip(videos, chosen, strict=True) if is_taken]
        write_manifest(path, [(str(Path(v.audio[0]).resolve()), emotions.to_one_hot(v.label)) for v in taken])
        write_ledger(ledger_path(path), [rows[video.video_id] for video in taken])
        manifests.append(path)
    return manifests


def values_of(manifest: Path) -> np.ndarray:
    """float32 [recordings, 6552], not scaled."""
    sound = read_sound(read_manifest(manifest, item='video'), FUNCTIONALS, 'mean')
    return np.nan_to_num(np.concatenate(sound.values))


def network_accuracy(folder: Path, manifests: Sequence[Path]) -> float:
    import json

    run_dir = folder / 'run'
    train = [sys.executable, 'train.py', *NETWORK, f'--train_manifest={manifests[0]}', '--val_manifest=']
    subprocess.run([*train, f'--run_dir={run_dir}'], check=True, stdout=subprocess.DEVNULL)
    evaluate = [sys.executable, 'evaluate.py', f'--run_dir={run_dir}', f'--manifest={manifests[1]}', '--split=test']
    subprocess.run(evaluate, check=True, stdout=subprocess.DEVNULL)
    return json.loads((run_dir / 'metrics_test.json').read_text())['accuracy']


if __name__ == '__main__':
    cli.run(main)
