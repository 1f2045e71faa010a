"""Late fusion of results files, from paths to paths."""

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from fer.emotions import EMOTIONS, NUM_CLASSES
from fer.errors import InputError
from fer.files import atomic_files, atomic_write
from fer.fusion.members import (
    Members,
    are_same_videos,
    check_same_models,
    common_videos,
    fuse_members,
    read_members,
    without_videos,
)
from fer.fusion.methods import METHODS, Method, Weights, accuracies_of, apply, fit
from fer.fusion.submission import check_submission_folder, write_submission
from fer.fusion.validation import cross_validated_method, summarise_predictions
from fer.results.metrics import score_results, summary, write_metrics
from fer.results.results_file import Results, write_results
from fer.runs.provenance import stamp

OPTIMISTIC = 'optimistic, weights made from these same videos: '


class Outputs(NamedTuple):
    """Where everything goes."""

    results: Path
    metrics: Path
    confusion: Path
    weights: Path

    def moved_to(self, folder: Path) -> 'Outputs':
        return Outputs(*(folder / path.name for path in self))


def fuse(
    paths: Sequence[str],
    method: str,
    output: str,
    accuracies: Sequence[float] | None = None,
    weights_from: Sequence[str] | None = None,
    folds: int = 5,
    repeats: int = 10,
    seed: int = 0,
    submission: str = '',
    on_missing: str = 'error',
    leave_out_common: bool = False,
) -> None:
    """Fuses results files and writes the result in the same format, with metrics where there are labels.

    A score is called optimistic, wherever it is printed or written, when the weights come from the very videos that
    it is a score of; the cross-validated one is then given beside it.

    Args:
      paths: results files of the same videos, in any order of videos.
      method: a key of METHODS.
      output: a folder for results_<split>.txt, metrics_<split>.json, confusion_<split>.png and weights_<split>.csv,
        where <split> is the inputs' (`fused` if they differ); or a path ending in .txt for the results, the others
        then beside it.
      accuracies: one per file, in [0, 1]; None takes each model's own, from labels.
      weights_from: the same models' results files for other videos, with labels, that weights are made from; None
        makes them from the files' own labels.
      folds: of the cross-validation; 0 leaves it out.
      repeats: of the cross-validation, with other folds each time.
      seed: of the folds.
      submission: a new folder for EmotiW's files, one per video; empty for none.
      on_missing: see `read_members`.
      leave_out_common: whether to leave out of the score the videos whose ids are among those that weights are made
        from.

    Raises:
      InputError: files that are malformed or disagree on videos or labels, or weights that cannot be had.
    """
    separate = weights_from is not None
    members = read_members(paths, '--apply_to' if separate else '--results', on_missing)
    source = members if weights_from is None else read_members(weights_from, '--weights_from', on_missing)
    if separate:
        check_same_models(source.paths, members.paths)
    chosen = METHODS[method]
    given = check_accuracies(accuracies, len(members.paths))
    check_labels(source, chosen, given)
    answers = members.answers
    weights = fit(chosen, source.answers, given)
    fused = fuse_members(members, *apply(chosen, answers, weights))
    common = common_videos(source, members) if separate else set()
    scored = without_videos(fused, common) if leave_out_common else fused
    metrics = score_results(scored, ' + '.join(members.paths))
    if submission:
        check_submission_folder(submission, fused)
    outputs = output_paths([*members.paths, *(source.paths if separate else [])], members.paths, output)
    validation = None
    optimistic = is_optimistic(chosen, given, source, members)
    if metrics is not None and optimistic and not separate and folds:
        folds = min(folds, len(members.labels))
        if folds > 1:
            predictions = cross_validated_method(chosen, answers, given, folds, repeats, seed)
            validation = summarise_predictions(predictions, members.labels, folds)

    for note in (*members.notes, *(source.notes if separate else [])):
        print(note)
    if common:
        print(describe_common(len(common), len(fused.video_ids), leave_out_common))
    standing = standings(source, given)
    for index, path in enumerate(members.paths):
        accuracy = '' if standing is None else f'accuracy {standing[index]:.4f}  '
        print(f'{accuracy}weight {weights.model[index]:.4f}  {path}')
    origin = {
        'method': int(method) if method.isdigit() else method,
        'method_title': chosen.title,
        'members': members.paths,
        'accuracies': None if standing is None else standing.tolist(),
        'weights_from': source.paths if separate else None,
        'cross_validated': validation,
    }
    with atomic_files(outputs.results.parent) as folder:
        write_fused(
            outputs.moved_to(folder), fused, metrics, weights, members.paths, standing, f'method {method}', optimistic,
            origin,
        )  # fmt: skip
    print(f'{outputs.results}: {len(fused.video_ids)} videos, method {method} ({chosen.title})')
    if metrics is None:
        print('no labels, no metrics')
    else:
        kept = np.array([not (leave_out_common and video_id in common) for video_id in fused.video_ids])
        answered = (members.labels == answers.predictions)[:, kept]
        best = int(answered.sum(axis=1).argmax())
        right, total = int(answered[best].sum()), int(kept.sum())
        print(
            f'best single member, picked on these videos: {right}/{total} = {right / total:.1%}  {members.paths[best]}'
        )
        print(f'fused: {OPTIMISTIC if optimistic else ""}{summary(metrics)}')
        if validation is not None:
            print(f'cross-validated: {describe_validation(validation)}')
    if submission:
        write_submission(submission, fused)
        print(f'{submission}: {len(fused.video_ids)} files for submission')


def describe_validation(validation: dict) -> str:
    """`44.7% [35.1, 54.9], 5 folds, 10 times from 43.3% to 46.7%`."""
    low, high = validation['interval_95']
    text = f'{validation["accuracy"]:.1%} [{100 * low:.1f}, {100 * high:.1f}], {validation["folds"]} folds'
    if validation['repeats'] == 1:
        return text
    return f'{text}, {validation["repeats"]} times from {validation["lowest"]:.1%} to {validation["highest"]:.1%}'


def check_accuracies(given: Sequence[float] | None, models: int) -> np.ndarray | None:
    """float64 [M]: the accuracies of the flag, one per model and within [0, 1]."""
    if given is None:
        return None
    accuracies = np.array(given)
    if len(accuracies) != models:
        raise InputError(f'--accuracies: {len(accuracies)} numbers for {models} files')
    if not ((accuracies >= 0) & (accuracies <= 1)).all() or not accuracies.any():
        raise InputError(f'--accuracies={",".join(map(str, given))}: expected numbers in [0, 1], not all 0')
    return accuracies


def check_labels(source: Members, method: Method, given: np.ndarray | None) -> None:
    """Raises InputError where a method's weights need labels that the files do not have."""
    if method.needs == 'nothing' or (method.needs == 'accuracies' and given is not None):
        return
    unknown = np.flatnonzero(source.labels < 0)
    if unknown.size:
        video_id = source.results[0].video_ids[unknown[0]]
        remedy = '--weights_from with labelled files'
        raise InputError(
            f'{source.paths[0]}: video {video_id} has no label in any file ({unknown.size} such videos) to make '
            f'weights from; expected {"--accuracies or " if method.needs == "accuracies" else ""}{remedy}'
        )


def standings(source: Members, given: np.ndarray | None) -> np.ndarray | None:
    """float64 [M]: the given accuracies, or the models' own; None where there are no labels."""
    if given is not None or (source.labels < 0).any():
        return given
    return accuracies_of(source.answers)


def is_optimistic(method: Method, given: np.ndarray | None, source: Members, members: Members) -> bool:
    """Whether weights are made from labels of videos that they are applied to."""
    if method.needs == 'nothing' or (method.needs == 'accuracies' and given is not None):
        return False
    return are_same_videos(source, members)


def describe_common(number: int, total: int, left_out: bool) -> str:
    """Says that two splits share ids, and what becomes of these videos."""
    what = 'left out of the score' if left_out else '--leave_out_common leaves them out of the score'
    return f'{number} of {total} videos have ids that are among those that weights are made from; {what}'


def write_fused(
    outputs: Outputs,
    fused: Results,
    metrics: dict | None,
    weights: Weights,
    paths: Sequence[str],
    accuracies: np.ndarray | None,
    title: str,
    optimistic: bool,
    origin: dict,
) -> None:
    """Writes fused results, weights and, with labels, metrics and picture; `origin` is written among the metrics."""
    write_results(outputs.results, fused)
    write_weights(outputs.weights, weights, paths, accuracies)
    if metrics is None:
        return
    write_metrics(outputs.metrics, metrics | {'optimistic': optimistic} | origin | stamp(outputs.results))
    # Here, not above: matplotlib takes longer to import than everything else here takes to run.
    from fer.results.plots import draw_confusion

    draw_confusion(
        outputs.confusion, metrics['confusion'], f'late fusion, {title}{", optimistic" if optimistic else ""}'
    )


def write_weights(path: Path, weights: Weights, paths: Sequence[str], accuracies: np.ndarray | None) -> None:
    """Writes a CSV with a row per member, and a last row `offset` with what is added to each class's score."""
    with atomic_write(path) as file:
        rows = csv.writer(file, lineterminator='\n')
        rows.writerow(['member', 'accuracy', 'weight', *(f'weight_{name}' for name in EMOTIONS)])
        for index, member in enumerate(paths):
            accuracy = '' if accuracies is None else f'{accuracies[index]:.9g}'
            numbers = (weights.model[index], *weights.by_class[index])
            rows.writerow([member, accuracy, *(f'{number:.9g}' for number in numbers)])
        rows.writerow(['offset', '', '', *(f'{weights.offset[k]:.9g}' for k in range(NUM_CLASSES))])


def output_paths(inputs: Sequence[str], applied: Sequence[str], output: str) -> Outputs:
    """Where results, metrics, confusion matrix and weights go; never over one of the files that are read."""
    if output.endswith('.txt'):
        results = Path(output)
        folder, split = results.parent, results.stem.removeprefix('results_')
    else:
        splits = {Path(path).stem.removeprefix('results_') for path in applied}
        folder, split = Path(output), splits.pop() if len(splits) == 1 else 'fused'
        results = folder / f'results_{split}.txt'
    if results.resolve() in {Path(path).resolve() for path in inputs}:
        raise InputError(f'--output={output}: {results} is one of the files to fuse; expected another place')
    return Outputs(
        results,
        folder / f'metrics_{split}.json',
        folder / f'confusion_{split}.png',
        folder / f'weights_{split}.csv',
    )
