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
    if not any(paths):
        raise InputError('--results: no files; expected paths separated by commas')
    members = [read_results(path) for path in paths]
    members = [_in_order_of(members[0], paths[0], member, path) for member, path in zip(members, paths, strict=True)]
    labels = _merge_labels(members, paths)
    weights = _accuracies(members, paths, method, accuracies)
    logits = METHODS[method](
        np.stack([member.logits for member in members]),
        np.stack([member.predictions for member in members]),
        np.ones(len(paths)) if weights is None else weights,
    )
    fused = _fuse_members(members, logits, labels)
    metrics = score_results(fused, ' + '.join(paths))
    results_path, metrics_path, confusion_path = _output_paths(paths, output)
    results_path.parent.mkdir(parents=True, exist_ok=True)
    write_results(results_path, fused)
    for index, path in enumerate(paths):
        print(path if weights is None else f'accuracy {weights[index]:.4f}  {path}')
    print(f'{results_path}: {len(fused.video_ids)} videos, method {method} ({METHODS[method].__name__})')
    if metrics is None:
        print('no labels, no metrics')
        return
    origin = {'method': method, 'members': list(paths), 'accuracies': None if weights is None else weights.tolist()}
    write_metrics(metrics_path, metrics | origin)
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
        known = set(other.video_ids)
        absent = [video_id for video_id in source.video_ids if video_id not in known]
        if absent:
            raise InputError(
                f'{source_path}:{_line_of(source_path, absent[0])}: video {absent[0]} is not in {other_path} '
                f'({len(absent)} such videos); expected the same videos in every file'
            )
    row_of = {video_id: row for row, video_id in enumerate(member.video_ids)}
    rows = [row_of[video_id] for video_id in first.video_ids]
    return Results(
        first.video_ids,
        member.logits[rows],
        member.predictions[rows],
        member.labels[rows],
        member.frames[rows],
        [member.fallback[row] for row in rows],
    )


def _line_of(path: str, video_id: str) -> int:
    """The line of a results file that answers for a video."""
    lines = Path(path).read_text(encoding='utf-8-sig').splitlines()
    return next(number for number, line in enumerate(lines, start=1) if video_id in line.split('\t'))


def _merge_labels(members: Sequence[Results], paths: Sequence[str]) -> np.ndarray:
    """int [V]: each video's label from whichever files have one; they must not contradict each other."""
    labels = members[0].labels.copy()
    for member, path in zip(members, paths, strict=True):
        contradicting = np.flatnonzero((member.labels != labels) & (member.labels >= 0) & (labels >= 0))
        if contradicting.size:
            video_id = member.video_ids[contradicting[0]]
            raise InputError(
                f'{path}:{_line_of(path, video_id)}: video {video_id} has another label in an earlier file'
            )
        labels = np.maximum(labels, member.labels)
    return labels


def _accuracies(
    members: Sequence[Results], paths: Sequence[str], method: int, given: Sequence[float] | None
) -> np.ndarray | None:
    """float64 [M]: the given accuracies, or the share of right predictions in each file.

    None where method 3, which needs none, has files without labels.
    """
    if given is not None:
        if len(given) != len(paths):
            raise InputError(f'--accuracies: {len(given)} numbers for {len(paths)} files')
        weights = np.array(given)
    else:
        for member, path in zip(members, paths, strict=True):
            if (member.labels < 0).any():
                if method == 3:
                    return None
                raise InputError(f'{path}: no labels to take an accuracy from; expected --accuracies')
        weights = np.array([(member.predictions == member.labels).mean() for member in members])
    if not ((weights >= 0) & (weights <= 1)).all() or (method != 3 and weights.sum() == 0):
        raise InputError(f'accuracies {weights.tolist()}: expected numbers in [0, 1], not all 0')
    return weights


def _fuse_members(members: Sequence[Results], logits: np.ndarray, labels: np.ndarray) -> Results:
    """The fused answers; a video rests on a fallback only where every member's answer does."""
    fallback = [
        UNKNOWN if UNKNOWN in reasons else reasons[0]
        for reasons in zip(*(member.fallback for member in members), strict=True)
    ]
    return Results(
        members[0].video_ids,
        logits,
        logits.argmax(axis=1),
        labels,
        np.max([member.frames for member in members], axis=0),
        fallback,
    )


def _output_paths(paths: Sequence[str], output: str) -> tuple[Path, Path, Path]:
    """Where results, metrics and confusion matrix go; never over one of the files that are fused."""
    if output.endswith('.txt'):
        results = Path(output)
        folder, split = results.parent, results.stem.removeprefix('results_')
    else:
        splits = {Path(path).stem.removeprefix('results_') for path in paths}
        folder, split = Path(output), splits.pop() if len(splits) == 1 else 'fused'
        results = folder / f'results_{split}.txt'
    if results.resolve() in {Path(path).resolve() for path in paths}:
        raise InputError(f'--output={output}: {results} is one of the files to fuse; expected another place')
    return results, folder / f'metrics_{split}.json', folder / f'confusion_{split}.png'
