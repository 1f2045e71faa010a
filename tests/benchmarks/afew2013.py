# SPDX-License-Identifier: Apache-2.0
"""Fuses a 2013 entrant's AFEW scores: python -m tests.benchmarks.afew2013 [--scores=FILE.npz]

It takes a minute. The scores are the Montreal entry's (EmotiW 2013): two face networks, an audio network, and a fusion
of face and audio.
- First comes each member's accuracy by the labels of 2013, over the videos it answers (k/n) and over all (k/N), beside
  the accuracy that its authors printed.
- Then come every method of `fusion.py`, and its search. Weights are from the 396 validation videos by the labels of
  2013. Scores are on the 272 test videos whose labels a later release gives.

A video without a face has no face score. Its answer is the class frequencies of the training set, as in `evaluate.py`.
"""

import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from absl import flags

from fer import cli
from fer.emotions import NUM_CLASSES, from_name
from fer.errors import InputError
from fer.fusion.methods import METHODS
from fer.results.results_file import UNKNOWN, Results, write_results
from fer.results.videos import prior_logits
from tests.realmedia import find_realdata

flags.DEFINE_string('scores', None, 'The scores (.npz). Default: those of the tests (FER_REALDATA).')

MEMBERS = ('face_convnet_mean', 'audio_dbn', 'face_convnet_svm', 'face_audio_svm')
# Accuracies in percent that the authors print, by member and split.
PRINTED = {
    ('face_convnet_svm', 'train'): 46.87,
    ('face_convnet_svm', 'validation'): 38.96,
    ('face_audio_svm', 'train'): 71.84,
    ('face_audio_svm', 'validation'): 42.17,
}
_SMALLEST = 1e-9  # probability, so that a logarithm is finite


def main() -> None:
    scores = read_scores(find_scores('afew2013.npz'))
    print('member              split       answered (k/n)        all (k/N)            printed')
    for member in MEMBERS:
        for split in ('train', 'validation'):
            print(describe_member(scores, member, split))
    with tempfile.TemporaryDirectory(prefix='fer-afew2013-') as folder:
        files = [write_members(Path(folder), scores, *task) for task in (('validation', '2013'), ('test', '2017'))]
        print('\nweights from validation (label_2013)   validation, optimistic   test (label_2017)')
        for member, path in zip(MEMBERS, files[1], strict=True):
            print(describe_score(member, None, read_accuracy(score_alone(path))))
        for method in METHODS:
            optimistic = fuse(files[0], Path(folder) / method / 'val', [f'--method={method}', '--folds=0'])
            applied = fuse(files, Path(folder) / method / 'test', [f'--method={method}'])
            print(describe_score(f'method {method}', read_accuracy(optimistic), read_accuracy(applied)))
        found = fuse(files, Path(folder) / 'search', ['--search=exhaustive'])
        print(describe_search(found))


def find_scores(name: str) -> Path:
    """Returns the path of the scores, by default the file of this name. Raises InputError if there is no such file."""
    real = find_realdata()
    path = Path(flags.FLAGS.scores) if flags.FLAGS.scores else real and real / 'scores' / name
    if path is None or not path.is_file():
        raise InputError(f'--scores={path}: expected a file like {name} (or a folder named by FER_REALDATA)')
    return path


def read_scores(path: Path) -> dict[str, np.ndarray]:
    """Returns the file's arrays, with classes in our order.

    Raises:
      InputError: an array is missing, or a class is not one of the seven.
    """
    with np.load(path, allow_pickle=False) as file:
        scores = dict(file)
    missing = {'video_id', 'split', 'label_2013', 'label_2017', 'classes', *MEMBERS} - set(scores)
    if missing:
        raise InputError(f'{path}: no arrays {", ".join(sorted(missing))}; expected the scores of AFEW 2013')
    order = np.argsort([from_name(name) for name in scores['classes'].tolist()])
    for member in MEMBERS:
        scores[member] = scores[member][:, order]
    place = np.append(np.argsort(order), -1)  # an unknown label, -1, takes the last element
    for name in ('label_2013', 'label_2017'):
        scores[name] = place[scores[name]]
    return scores


def describe_member(scores: dict[str, np.ndarray], member: str, split: str) -> str:
    """Returns `face_convnet_svm    train       172/367 = 46.87%      172/380 = 45.26%     46.87, equal`."""
    chosen = scores['split'] == split
    values, labels = scores[member][chosen], scores['label_2013'][chosen]
    answered = ~np.isnan(values).any(axis=1)
    right = int((values[answered].argmax(axis=1) == labels[answered]).sum())
    share = f'{100 * right / answered.sum():.2f}'
    expected = PRINTED.get((member, split))
    verdict = '' if expected is None else f'{expected:.2f}, {"equal" if share == f"{expected:.2f}" else "DIFFERENT"}'
    of_all = f'{right}/{len(labels)} = {100 * right / len(labels):.2f}%'
    return f'{member:18s}  {split:10s}  {f"{right}/{answered.sum()} = {share}%":20s}  {of_all:19s}  {verdict}'.rstrip()


def write_members(folder: Path, scores: dict[str, np.ndarray], split: str, year: str) -> list[Path]:
    """Writes a results file for each member, of the videos of a split that have a label of that year.

    Logits are the logarithms of the members' probabilities.
    """
    chosen = (scores['split'] == split) & (scores[f'label_{year}'] >= 0)
    prior = prior_logits(np.bincount(scores['label_2013'][scores['split'] == 'train'], minlength=NUM_CLASSES))
    paths = []
    for member in MEMBERS:
        absent = np.isnan(scores[member][chosen]).any(axis=1)
        logits = np.log(np.maximum(scores[member][chosen], _SMALLEST))
        logits[absent] = prior
        path = folder / member / f'results_{split}.txt'
        path.parent.mkdir(exist_ok=True)
        results = Results(
            scores['video_id'][chosen].tolist(),
            logits,
            logits.argmax(axis=1),
            scores[f'label_{year}'][chosen],
            np.where(absent, 0, -1),
            ['no_face' if is_absent else UNKNOWN for is_absent in absent],
        )
        write_results(path, results)
        paths.append(path)
    return paths


def fuse(files: Sequence[Path] | Sequence[Sequence[Path]], output: Path, options: Sequence[str]) -> Path:
    """Runs `fusion.py` on one split's files, or on two splits': weights from the first, scores on the second."""
    if isinstance(files[0], Path):
        inputs = [f'--results={",".join(map(str, files))}']
    else:
        inputs = [f'--weights_from={",".join(map(str, files[0]))}', f'--apply_to={",".join(map(str, files[1]))}']
    output.mkdir(parents=True)
    command = [sys.executable, 'fusion.py', *inputs, *options, f'--output={output}']
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return output


def score_alone(path: Path) -> Path:
    """Scores one member, by a fusion without other members."""
    return fuse([path], path.parent / 'alone', ['--method=3'])


def read_accuracy(folder: Path) -> tuple[int, int]:
    """Returns (right, videos) of the only metrics file in a folder."""
    [path] = folder.glob('metrics_*.json')
    confusion = np.array(json.loads(path.read_text())['confusion'])
    return int(np.trace(confusion)), int(confusion.sum())


def describe_score(name: str, optimistic: tuple[int, int] | None, applied: tuple[int, int]) -> str:
    cells = ['' if pair is None else f'{pair[0]}/{pair[1]} = {pair[0] / pair[1]:.1%}' for pair in (optimistic, applied)]
    return f'{name:37s}  {cells[0]:23s}  {cells[1]}'


def describe_search(folder: Path) -> str:
    """Returns the row of the ensemble that the search found, and a line on how it was found."""
    [path] = folder.glob('search_*.json')
    found = json.loads(path.read_text())
    row = found['table'][-1]
    pairs = [(row[key]['correct'], row[key]['total']) for key in ('optimistic', 'applied')]
    members = ', '.join(Path(member).parent.name for member in found['members'])
    how = f'{found["search"]} search, {found["candidates"]} candidates: method {found["method"]} of {members}'
    validated = f'{found["cross_validated"]["accuracy"]:.1%} cross-validated'
    return f'{describe_score("searched ensemble", *pairs)}\n  {how}; {validated}'


if __name__ == '__main__':
    cli.run(main)
