"""Late fusion of results files, from paths to paths."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from fer.errors import InputError
from fer.evaluation.metrics import score_results, summary, write_metrics
from fer.evaluation.results import UNKNOWN, Results, read_results, write_results
from fer.fusion.methods import METHODS


def fuse(paths: Sequence[str], method: int, output: str, accuracies: Sequence[float] | None) -> None:
    """Fuses results files and writes the result in the same format, with metrics where there are labels.

    Args:
      paths: results files of the same videos, in any order of videos.
      method: a key of METHODS.
      output: a folder for results_<split>.txt, metrics_<split>.json and confusion_<split>.png, where <split> is the
        inputs' (`fused` if they differ); or a path ending in .txt for the results, the others then beside it.
      accuracies: one weight per file, in [0, 1]; None takes each file's own, from its labels.

    Raises:
      InputError: files that are malformed or disagree on videos or labels, or accuracies that cannot be had.
    """
    members = [read_results(path) for path in paths]
    members = [_in_order_of(members[0], paths[0], member, path) for member, path in zip(members, paths, strict=True)]
    weights = _accuracies(members, paths, method, accuracies)
    fused = _fuse_members(members, METHODS[method](np.stack([member.logits for member in members]), weights))
    metrics = score_results(fused)
    results_path, metrics_path, confusion_path = _output_paths(paths, output)
    results_path.parent.mkdir(parents=True, exist_ok=True)
    write_results(results_path, fused)
    for path, weight in zip(paths, weights, strict=True):
        print(f'accuracy {weight:.4f}  {path}')
    print(f'{results_path}: {len(fused.video_ids)} videos, method {method} ({METHODS[method].__name__})')
    if metrics is None:
        print('no labels, no metrics')
        return
    write_metrics(metrics_path, metrics | {'method': method, 'members': list(paths), 'accuracies': weights.tolist()})
    # Here, not above: matplotlib takes longer to import than everything else here takes to run.
    from fer.report.plots import draw_confusion

    draw_confusion(confusion_path, metrics['confusion'], f'late fusion, method {method}')
    print(f'fused: {summary(metrics)}')


def _in_order_of(first: Results, first_path: str, member: Results, path: str) -> Results:
    """`member` with its videos in the first file's order."""
    for source, source_path, other, other_path in (
        (first, first_path, member, path),
        (member, path, first, first_path),
    ):
        absent = sorted(set(source.video_ids) - set(other.video_ids), key=source.video_ids.index)
        if absent:
            raise InputError(
                f'{source_path}:{_line_of(source_path, absent[0])}: video {absent[0]} is not in {other_path} '
                f'({len(absent)} such videos); expected the same videos in every file'
            )
    row_of = {video_id: row for row, video_id in enumerate(member.video_ids)}
    rows = [row_of[video_id] for video_id in first.video_ids]
    labels = member.labels[rows]
    differing = np.flatnonzero((labels != first.labels) & (labels >= 0) & (first.labels >= 0))
    if differing.size:
        video_id = first.video_ids[differing[0]]
        raise InputError(f'{path}:{_line_of(path, video_id)}: video {video_id} has another label than in {first_path}')
    return Results(
        first.video_ids,
        member.logits[rows],
        member.predictions[rows],
        labels,
        member.frames[rows],
        [member.fallback[row] for row in rows],
    )


def _line_of(path: str, video_id: str) -> int:
    """The line of a results file that answers for a video."""
    lines = Path(path).read_text(encoding='utf-8-sig').splitlines()
    return next(number for number, line in enumerate(lines, start=1) if video_id in line.split('\t'))


def _accuracies(
    members: Sequence[Results], paths: Sequence[str], method: int, given: Sequence[float] | None
) -> np.ndarray:
    """float64 [M]: the given accuracies, or the share of right predictions in each file."""
    if given is not None:
        if len(given) != len(paths):
            raise InputError(f'--accuracies: {len(given)} numbers for {len(paths)} files')
        weights = np.array(given)
    else:
        weights = np.array([(member.predictions == member.labels).mean() for member in members])
        unlabelled = [path for member, path in zip(members, paths, strict=True) if (member.labels < 0).any()]
        if unlabelled and method != 3:
            raise InputError(f'{unlabelled[0]}: no labels to take an accuracy from; expected --accuracies')
    if method != 3 and not ((weights >= 0).all() and weights.sum() > 0):
        raise InputError(f'accuracies {weights.tolist()}: expected numbers of 0 or more, not all 0')
    return weights


def _fuse_members(members: Sequence[Results], logits: np.ndarray) -> Results:
    """The fused answers; a video rests on a fallback only where every member's answer does."""
    fallback = [
        UNKNOWN if UNKNOWN in reasons else reasons[0]
        for reasons in zip(*(member.fallback for member in members), strict=True)
    ]
    return Results(
        members[0].video_ids,
        logits,
        logits.argmax(axis=1),
        np.max([member.labels for member in members], axis=0),
        np.max([member.frames for member in members], axis=0),
        fallback,
    )


def _output_paths(paths: Sequence[str], output: str) -> tuple[Path, Path, Path]:
    """Where results, metrics and confusion matrix go."""
    if output.endswith('.txt'):
        results = Path(output)
        folder, split = results.parent, results.stem.removeprefix('results_')
    else:
        splits = {Path(path).stem.removeprefix('results_') for path in paths}
        folder, split = Path(output), splits.pop() if len(splits) == 1 else 'fused'
        results = folder / f'results_{split}.txt'
    return results, folder / f'metrics_{split}.json', folder / f'confusion_{split}.png'
