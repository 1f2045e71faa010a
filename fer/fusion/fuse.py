# SPDX-License-Identifier: Apache-2.0
"""Late fusion of results files: reads them, fuses them by one method, and writes the answers and their score."""

import csv
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from fer.emotions import EMOTIONS, NUM_CLASSES
from fer.errors import InputError
from fer.files import atomic_files, atomic_write
from fer.fusion.members import Members, are_same_videos, common_videos, fuse_members, without_videos
from fer.fusion.methods import METHODS, Answers, Method, Weights, accuracies_of, apply, fit
from fer.fusion.requests import FusionRequest
from fer.fusion.submission import check_submission_folder, write_submission
from fer.fusion.validation import cross_validated_method, summarise_predictions
from fer.results.metrics import describe_interval, score_results, summary, write_metrics
from fer.results.results_file import Results, write_results
from fer.runs.provenance import stamp

OPTIMISTIC = 'optimistic, weights made from these same videos: '


class Outputs(NamedTuple):
    """Paths of the files to write."""

    results: Path
    metrics: Path
    confusion: Path
    weights: Path

    def moved_to(self, folder: Path) -> 'Outputs':
        return Outputs(*(folder / path.name for path in self))


class Fused(NamedTuple):
    """A fusion that is ready to be written."""

    results: Results
    metrics: dict | None  # of the scored videos, None without labels
    weights: Weights
    members: list[str]  # paths of the files that were fused
    accuracies: np.ndarray | None  # float64 [M], of the members, None where unknown
    title: str  # of the confusion matrix
    optimistic: bool  # whether weights come from labels of the scored videos
    origin: dict  # how it was made, for the metrics file


def fuse(request: FusionRequest) -> None:
    """Fuses results files and writes the result in the same format, with metrics where there are labels.

    A score is called optimistic if its weights come from the labels of the same videos. The cross-validated score is
    then printed and written beside it.

    Raises:
      InputError: files are malformed or disagree on videos or labels, or weights cannot be made.
    """
    source, members = request.read(request.on_missing)
    method = METHODS[request.method]
    given = check_accuracies(request.accuracies, len(members.paths))
    check_labels(source, method, given)
    weights = fit(method, source.answers, given)
    results = fuse_members(members, *apply(method, members.answers, weights))
    common = common_videos(source, members) if source is not members else set()
    scored = without_videos(results, common) if request.leave_out_common else results
    fused = Fused(
        results=results,
        metrics=score_results(scored, ' + '.join(members.paths)),
        weights=weights,
        members=members.paths,
        accuracies=model_accuracies(source, given),
        title=f'method {request.method}',
        optimistic=is_optimistic(method, given, source, members),
        origin={},
    )
    if request.submission:
        check_submission_folder(request.submission, results)
    outputs = output_paths({*source.paths, *members.paths}, members.paths, request.output)
    validation = _cross_validate(request, method, given, members) if fused.optimistic and source is members else None

    print_notes(source, members)
    if common:
        print(describe_common(len(common), len(results.video_ids), request.leave_out_common))
    _print_weights(fused)
    for warning in warn_of_sum(request.method, members.answers, weights):
        print(warning)
    write_fused(outputs, fused._replace(origin=_describe_origin(request, fused, source, members, validation)))
    print(f'{outputs.results}: {len(results.video_ids)} videos, method {request.method} ({method.title})')
    if fused.metrics is not None:
        print(_describe_best_member(members, scored.video_ids))
    print_score(fused)
    if validation is not None:
        print(f'cross-validated: {describe_validation(validation)}')
    if request.submission:
        write_submission(request.submission, results)


def _cross_validate(request: FusionRequest, method: Method, given: np.ndarray | None, members: Members) -> dict | None:
    """Returns the score of predictions by weights from the other folds, None without folds or labels."""
    folds = min(request.folds, len(members.labels))
    if folds < 2 or (members.labels < 0).any():
        return None
    predictions = cross_validated_method(method, members.answers, given, folds, request.repeats, request.seed)
    return summarise_predictions(predictions, members.labels, folds)


def _print_weights(fused: Fused) -> None:
    for index, path in enumerate(fused.members):
        accuracy = '' if fused.accuracies is None else f'accuracy {fused.accuracies[index]:.4f}  '
        print(f'{accuracy}weight {fused.weights.model[index]:.4f}  {path}')


def warn_of_sum(name: str, answers: Answers, weights: Weights) -> list[str]:
    """Returns a line for each property of the members that misleads a method whose weights are a plain sum.

    Args:
      name: of the method. Other methods than sums have no warnings.
      answers: of the members.
      weights: of the method.
    """
    method = METHODS[name]
    if not method.is_sum:
        return []
    lines = []
    negative = (method.inputs(answers).max(axis=2) < 0).mean()
    if negative:
        lines.append(
            f"all logits are negative in {negative:.1%} of the members' answers: with method {name} a larger weight "
            'lowers them, so that classes which the members miss win. 4-normalised has no such effect'
        )
    if missed := [EMOTIONS[k] for k in range(NUM_CLASSES) if not weights.by_class[:, k].any()]:
        lines.append(f'no member is right in {", ".join(missed)}, so method {name} scores it 0 for every video')
    return lines


def _describe_origin(
    request: FusionRequest, fused: Fused, source: Members, members: Members, validation: dict | None
) -> dict:
    return {
        'method': int(request.method) if request.method.isdigit() else request.method,
        'method_title': METHODS[request.method].title,
        'members': members.paths,
        'accuracies': None if fused.accuracies is None else fused.accuracies.tolist(),
        'weights_from': source.paths if source is not members else None,
        'cross_validated': validation,
    }


def _describe_best_member(members: Members, scored: Sequence[str]) -> str:
    kept = np.isin(members.results[0].video_ids, scored)
    answers = members.answers
    right = (members.labels == answers.predictions)[:, kept].sum(axis=1)
    best, total = int(right.argmax()), int(kept.sum())
    share = f'{right[best]}/{total} = {right[best] / total:.1%}'
    return f'best single member, picked on these videos: {share}  {members.paths[best]}'


def describe_validation(validation: dict) -> str:
    """Returns text such as `44.7% [35.1, 54.9], 5 folds, 10 times from 43.3% to 46.7%`."""
    interval = describe_interval(validation['interval_95'])
    text = f'{validation["accuracy"]:.1%} {interval}, {validation["folds"]} folds'
    if validation['repeats'] == 1:
        return text
    return f'{text}, {validation["repeats"]} times from {validation["lowest"]:.1%} to {validation["highest"]:.1%}'


def check_accuracies(given: Sequence[float] | None, models: int) -> np.ndarray | None:
    """Returns the numbers of --accuracies, float64 [M] in [0, 1], one for each model. None without the flag.

    Raises:
      InputError: their number differs from that of the models, one is outside [0, 1], or all are 0.
    """
    if given is None:
        return None
    accuracies = np.array(given)
    if len(accuracies) != models:
        raise InputError(f'--accuracies: {len(accuracies)} numbers for {models} files; expected one for each file')
    if not ((accuracies >= 0) & (accuracies <= 1)).all() or not accuracies.any():
        raise InputError(f'--accuracies={",".join(map(str, given))}: expected numbers in [0, 1], not all 0')
    return accuracies


def check_labels(source: Members, method: Method, given: np.ndarray | None) -> None:
    """Raises InputError if a method needs labels for its weights, and some are missing."""
    if method.needs == 'nothing' or (method.needs == 'accuracies' and given is not None):
        return
    unknown = np.flatnonzero(source.labels < 0)
    if unknown.size:
        video_id = source.results[0].video_ids[unknown[0]]
        remedy = '--weights_from with labelled files'
        raise InputError(
            f'{source.paths[0]}: video {video_id} has no label in any file ({unknown.size} such videos), but weights '
            f'are made from labels; give {"--accuracies or " if method.needs == "accuracies" else ""}{remedy}'
        )


def model_accuracies(source: Members, given: np.ndarray | None) -> np.ndarray | None:
    """Returns the given accuracies, else those on the source's labels, float64 [M]. None if a label is missing."""
    if given is not None or (source.labels < 0).any():
        return given
    return accuracies_of(source.answers)


def is_optimistic(method: Method, given: np.ndarray | None, source: Members, members: Members) -> bool:
    """Returns whether weights are made from labels of the videos that they are applied to."""
    if method.needs == 'nothing' or (method.needs == 'accuracies' and given is not None):
        return False
    return are_same_videos(source, members)


def describe_common(number: int, total: int, left_out: bool) -> str:
    """Returns a sentence about videos whose ids two splits share, and whether the score counts them."""
    what = 'left out of the score' if left_out else '--leave_out_common leaves them out of the score'
    return f'the ids of {number} of {total} videos are also in --weights_from; {what}'


def print_notes(source: Members, members: Members) -> None:
    """Prints the notes about the files that were read, those of the fused files first."""
    for note in (*members.notes, *(source.notes if source is not members else [])):
        print(note)


def print_score(fused: Fused) -> None:
    """Prints the score of a fusion, and that it is optimistic if it is."""
    if fused.metrics is None:
        print('no labels, no metrics')
    else:
        print(f'fused: {OPTIMISTIC if fused.optimistic else ""}{summary(fused.metrics, "without fallbacks")}')


def write_fused(outputs: Outputs, fused: Fused, beside: Callable[[Path], None] = lambda folder: None) -> None:
    """Writes results and weights and, with labels, metrics and the plot of the confusion matrix.

    All files appear together, or none does.

    Args:
      outputs: paths of the files.
      fused: what to write.
      beside: writes further files into the folder that it is given.
    """
    with atomic_files(outputs.results.parent) as folder:
        _write_files(outputs.moved_to(folder), fused)
        beside(folder)


def _write_files(outputs: Outputs, fused: Fused) -> None:
    write_results(outputs.results, fused.results)
    write_weights(outputs.weights, fused.weights, fused.members, fused.accuracies)
    if fused.metrics is None:
        return
    write_metrics(
        outputs.metrics, fused.metrics | {'optimistic': fused.optimistic} | fused.origin | stamp(outputs.results)
    )
    # Imported here, because matplotlib takes longer to import than the rest of fusion.py takes to run.
    from fer.results.plots import draw_confusion

    title = f'late fusion, {fused.title}{", optimistic" if fused.optimistic else ""}'
    draw_confusion(outputs.confusion, fused.metrics['confusion'], title)


def write_weights(path: Path, weights: Weights, paths: Sequence[str], accuracies: np.ndarray | None) -> None:
    """Writes a CSV with a row per member. Its last row, `offset`, is added to each class's score."""
    with atomic_write(path) as file:
        rows = csv.writer(file, lineterminator='\n')
        rows.writerow(['member', 'accuracy', 'weight', *(f'weight_{name}' for name in EMOTIONS)])
        for index, member in enumerate(paths):
            accuracy = '' if accuracies is None else f'{accuracies[index]:.9g}'
            numbers = (weights.model[index], *weights.by_class[index])
            rows.writerow([member, accuracy, *(f'{number:.9g}' for number in numbers)])
        rows.writerow(['offset', '', '', *(f'{weights.offset[k]:.9g}' for k in range(NUM_CLASSES))])


def output_paths(inputs: Iterable[str], applied: Sequence[str], output: str) -> Outputs:
    """Returns the paths of results, metrics, confusion matrix and weights.

    Args:
      inputs: paths of all files that are read.
      applied: paths of those that are fused. Their names end in the split.
      output: folder, or path of the results file.

    Raises:
      InputError: a file that is read would be overwritten.
    """
    if output.endswith('.txt'):
        results = Path(output)
        folder, split = results.parent, results.stem.removeprefix('results_')
    else:
        splits = {Path(path).stem.removeprefix('results_') for path in applied}
        folder, split = Path(output), splits.pop() if len(splits) == 1 else 'fused'
        results = folder / f'results_{split}.txt'
    if results.resolve() in {Path(path).resolve() for path in inputs}:
        raise InputError(f'--output={output}: {results} is one of the files to fuse; choose another place')
    return Outputs(
        results,
        folder / f'metrics_{split}.json',
        folder / f'confusion_{split}.png',
        folder / f'weights_{split}.csv',
    )
