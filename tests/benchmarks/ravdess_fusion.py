# SPDX-License-Identifier: Apache-2.0
"""Fuses real scores of RAVDESS, audio and faces: python -m tests.benchmarks.ravdess_fusion [--scores=FILE.npz]

It takes half a minute. The scores are those of Luna-Jimenez et al. (2021): an audio network and two networks of facial
action units. Their five folds have other actors each. The file also has the authors' own fusion, which is printed for
comparison and is never a member of ours.

- First come the members' and the authors' accuracies by fold, beside those that the authors print.
- Then come all methods of `fer.fusion` with the eight classes of RAVDESS. Weights are made from the other four folds.
  The row `chosen method` uses the method with the best mean accuracy when each of those four folds is predicted by the
  other three. So neither weights nor method are chosen by the fold that is scored.
- Then the same for the seven classes of this project, without the clips of Calm, through `fusion.py`.

A mean is that of five accuracies. Intervals are 95%: Wilson's over the clips, and a bootstrap over the 24 actors,
which all have equally many clips. The networks that scored four folds had the fifth in their training sets, as in every
stacking of cross-validated scores. No label of a fold reaches its own scores.
"""

import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from fer import cli
from fer.emotions import FOLDER_CODES, from_name
from fer.errors import InputError
from fer.fusion.methods import METHODS, Answers, apply, fit, take_videos
from fer.fusion.validation import bootstrap_interval
from fer.results.metrics import describe_interval, wilson_interval
from fer.results.results_file import UNKNOWN, Results, read_results, write_results
from tests.benchmarks.afew2013 import find_scores, fuse

MEMBERS = ('audio_wav2vec_logits', 'visual_au_bilstm_logits', 'visual_au_mlp_posteriors')
AUTHORS = 'peers_fusion_posteriors'
# Means of five accuracies in percent that the authors print.
PRINTED = {MEMBERS[0]: 81.82, MEMBERS[1]: 62.13, MEMBERS[2]: 60.22, AUTHORS: 86.70}
FOLDS = 5
CALM = 'calm'
GOAL = 86.0
_SMALLEST = 1e-9  # probability, so that a logarithm is finite


def main() -> None:
    scores = read_scores(find_scores('ravdess_audiovisual.npz'))
    fold, actor = scores['fold'], scores['actor']
    print(f'{len(fold)} clips, {len(scores["classes"])} classes, {len(set(actor.tolist()))} actors')
    print(f'{"":26s}  {"by fold":29s}  mean')
    for name in (*MEMBERS, AUTHORS):
        right = scores[name].argmax(axis=1) == scores['label']
        print(f'{describe(name, right, fold, actor)}  authors {PRINTED[name]:.2f}')
    answers = make_answers(scores)
    for key in METHODS:
        print(describe(f'method {key}', predict_held_out(answers, fold, [key] * FOLDS) == answers.labels, fold, actor))
    chosen = [choose_method(answers, fold, held_out) for held_out in range(FOLDS)]
    right = predict_held_out(answers, fold, chosen) == answers.labels
    mean = mean_of_folds(right, fold)
    print(f'{describe("chosen method", right, fold, actor)}  {", ".join(chosen)}')
    print(f'goal {GOAL:.1f}: {"met" if mean >= GOAL else "missed"}, {mean - GOAL:+.2f}')

    kept, seven = leave_out_calm(scores)
    chosen = [choose_method(seven, fold[kept], held_out) for held_out in range(FOLDS)]
    print(f'\n{kept.sum()} clips, 7 classes, through fusion.py')
    with tempfile.TemporaryDirectory(prefix='fer-ravdess-fusion-') as folder:
        for name, keys in (('method 3', ['3'] * FOLDS), ('chosen method', chosen)):
            right = run_fusion(Path(folder) / name.replace(' ', '_'), seven, scores['clip'][kept], fold[kept], keys)
            print(f'{describe(name, right, fold[kept], actor[kept])}  {", ".join(keys)}')


def read_scores(path: Path) -> dict[str, np.ndarray]:
    """Returns the file's arrays. Raises InputError if one is missing, or the folds are not five of other actors."""
    with np.load(path, allow_pickle=False) as file:
        scores = dict(file)
    if missing := {'clip', 'actor', 'fold', 'label', 'classes', *MEMBERS, AUTHORS} - set(scores):
        raise InputError(f'{path}: no arrays {", ".join(sorted(missing))}; expected the scores of RAVDESS')
    pairs = set(zip(scores['actor'].tolist(), scores['fold'].tolist(), strict=True))
    if {fold for _, fold in pairs} != set(range(FOLDS)) or len(pairs) != len(set(scores['actor'].tolist())):
        raise InputError(f'{path}: expected folds 0 to {FOLDS - 1}, with each actor in one of them')
    return scores


def make_answers(scores: dict[str, np.ndarray]) -> Answers:
    """Returns the members' log probabilities of the file's classes, in its order."""
    logits = []
    for name in MEMBERS:
        values = scores[name] if name.endswith('logits') else np.log(np.maximum(scores[name], _SMALLEST))
        largest = values.max(axis=1, keepdims=True)
        logits.append(values - largest - np.log(np.exp(values - largest).sum(axis=1, keepdims=True)))
    return Answers(np.stack(logits), np.stack(logits).argmax(axis=2), scores['label'])


def leave_out_calm(scores: dict[str, np.ndarray]) -> tuple[np.ndarray, Answers]:
    """Returns which clips are not Calm, and the answers for them, in this project's classes and their order.

    The probabilities of the seven classes are divided by their sum.
    """
    names = scores['classes'].tolist()
    kept = scores['label'] != names.index(CALM)
    ours = [from_name(FOLDER_CODES[name]) if name != CALM else -1 for name in names]
    columns = [ours.index(label) for label in range(len(names) - 1)]
    logits = make_answers(scores).logits[:, kept][:, :, columns]
    logits = logits - np.log(np.exp(logits).sum(axis=2, keepdims=True))
    return kept, Answers(logits, logits.argmax(axis=2), np.array(ours)[scores['label'][kept]])


def choose_method(answers: Answers, fold: np.ndarray, held_out: int) -> str:
    """Returns the method with the best mean accuracy on the other folds, each predicted by the three that are left.

    Ties go to the method that is listed first.
    """
    inner = take_videos(answers, fold != held_out)
    inner_fold = fold[fold != held_out]
    means = {}
    for key in METHODS:
        right = predict_held_out(inner, inner_fold, [key] * FOLDS) == inner.labels
        means[key] = mean_of_folds(right, inner_fold)
    return max(means, key=lambda key: means[key])


def predict_held_out(answers: Answers, fold: np.ndarray, methods: Sequence[str]) -> np.ndarray:
    """Predicts each fold by a method of its own with weights from the other folds, int [V]."""
    predictions = np.empty(len(fold), int)
    for held_out in np.unique(fold):
        method, test = METHODS[methods[held_out]], fold == held_out
        weights = fit(method, take_videos(answers, ~test))
        predictions[test] = apply(method, take_videos(answers, test), weights)[1]
    return predictions


def run_fusion(
    folder: Path, answers: Answers, clips: np.ndarray, fold: np.ndarray, methods: Sequence[str]
) -> np.ndarray:
    """Predicts each fold by `fusion.py` from results files of the seven classes. Returns what is right, bool [V]."""
    right = np.empty(len(fold), bool)
    for held_out in range(FOLDS):
        test = fold == held_out
        paths = [
            write_members(folder / f'{held_out}', part, take_videos(answers, rows), clips[rows].tolist())
            for part, rows in (('others', ~test), ('held_out', test))
        ]
        output = fuse(paths, folder / f'{held_out}' / 'fused', [f'--method={methods[held_out]}'])
        results = read_results(output / 'results_held_out.txt')
        right[test] = results.predictions == results.labels
    return right


def write_members(folder: Path, part: str, answers: Answers, clips: list[str]) -> list[Path]:
    """Writes a results file for each member, in a folder of its own."""
    unknown = np.full(len(clips), -1), [UNKNOWN] * len(clips)
    paths = []
    for name, logits, predictions in zip(MEMBERS, answers.logits, answers.predictions, strict=True):
        paths.append(folder / name / f'results_{part}.txt')
        paths[-1].parent.mkdir(parents=True, exist_ok=True)
        write_results(paths[-1], Results(clips, logits, predictions, answers.labels, *unknown))
    return paths


def mean_of_folds(right: np.ndarray, fold: np.ndarray) -> float:
    """Returns the mean over folds of their accuracies, in percent."""
    return float(100 * np.mean([right[fold == number].mean() for number in np.unique(fold)]))


def describe(name: str, right: np.ndarray, fold: np.ndarray, actor: np.ndarray) -> str:
    """Returns `method 3  88.33 86.00 87.67 83.67 82.92  85.72  1234/1440 [83.8, 87.4], actors [83.0, 88.1]`."""
    by_fold = ' '.join(f'{100 * right[fold == number].mean():.2f}' for number in range(FOLDS))
    clips = describe_interval(wilson_interval(int(right.sum()), len(right)))
    actors = describe_interval(bootstrap_interval(np.array([right[actor == one].mean() for one in np.unique(actor)])))
    return (
        f'{name:26s}  {by_fold}  {mean_of_folds(right, fold):.2f}  {right.sum()}/{len(right)} {clips}, actors {actors}'
    )


if __name__ == '__main__':
    cli.run(main)
