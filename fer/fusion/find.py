"""The search for an ensemble, from paths to paths, and what its score is worth."""

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from fer.emotions import EMOTIONS
from fer.errors import InputError
from fer.files import atomic_files, atomic_write
from fer.fusion.diversity import Diversity, measure_diversity
from fer.fusion.fuse import OPTIMISTIC, output_paths, write_fused
from fer.fusion.members import Members, are_same_videos, check_same_models, fuse_members, read_members
from fer.fusion.methods import METHODS, Answers, accuracies_of, apply, fit
from fer.fusion.search import (
    MOST_EXHAUSTIVE,
    Ensemble,
    fit_ensemble,
    nested_predictions,
    predict,
    search,
)
from fer.fusion.significance import compare
from fer.fusion.submission import check_submission_folder, write_submission
from fer.fusion.tables import print_diversity, print_rows
from fer.fusion.validation import bootstrap_interval, cross_validated_method, summarise_predictions
from fer.results.metrics import score_results, summary, write_metrics

SEARCHED = ('1', '2', '3', '4')


class Row(NamedTuple):
    """One way of answering: fitted on the source, judged there by cross-validation, and on the videos applied to."""

    name: str
    fitted: np.ndarray  # int [V], predictions for the source by weights, or a choice, made on all of it
    validated: np.ndarray | None  # int [repeats, V], predictions for the source by what was made on the other folds
    applied: np.ndarray | None  # int [V'], predictions for the other videos; None where there are none


def find(
    paths: Sequence[str],
    output: str,
    kind: str,
    methods: Sequence[str] = SEARCHED,
    apply_to: Sequence[str] | None = None,
    folds: int = 5,
    repeats: int = 1,
    seed: int = 0,
    submission: str = '',
) -> None:
    """Searches for the best ensemble and writes its answers, and what it would be worth on other videos.

    Writes what `fer.fusion.fuse.fuse` writes, search_<split>.json with all that is printed, and diversity_<split>.csv
    with every two files' measures.

    Args:
      paths: labelled results files, one per model, that are searched on.
      output: see `fer.fusion.fuse.fuse`.
      kind: exhaustive, greedy, or auto: exhaustive for up to MOST_EXHAUSTIVE files.
      methods: keys of METHODS to try, all of them weighted means.
      apply_to: the same models' results files for other videos, to be answered by the ensemble; None answers those
        searched on.
      folds: of the nested cross-validation; 0 leaves it out.
      repeats: of the nested cross-validation, with other folds each time.
      seed: of the folds.
      submission: a new folder for EmotiW's files; empty for none.

    Raises:
      InputError: files that are malformed or disagree, a label that is missing, or a search that cannot be made.
    """
    for name in methods:
        if name not in METHODS or METHODS[name].evidence is None:
            known = ', '.join(name for name, method in METHODS.items() if method.evidence is not None)
            raise InputError(f'--search_methods: {name!r}; expected some of {known}')
    source = read_members(paths, '--results' if apply_to is None else '--weights_from')
    members = source if apply_to is None else read_members(apply_to, '--apply_to')
    if apply_to is not None:
        check_same_models(source.paths, members.paths)
    models, videos = len(source.paths), len(source.labels)
    if (source.labels < 0).any():
        video_id = source.results[0].video_ids[int((source.labels < 0).argmax())]
        raise InputError(f'{source.paths[0]}: video {video_id} has no label in any file; --search needs them all')
    if kind == 'exhaustive' and models > MOST_EXHAUSTIVE:
        raise InputError(f'--search=exhaustive: {models} files; expected at most {MOST_EXHAUSTIVE}, or --search=greedy')
    kind = kind if kind != 'auto' else 'exhaustive' if models <= MOST_EXHAUSTIVE else 'greedy'
    folds = folds if folds <= videos else videos if videos > 1 else 0

    answers, others = source.answers, None if apply_to is None else members.answers
    ensemble = search(answers, methods, kind)
    weights = fit_ensemble(ensemble, answers)
    fused = fuse_members(_chosen(members, ensemble), *predict(ensemble, members.answers, weights))
    metrics = score_results(fused, ' + '.join(members.paths))
    outputs = output_paths([*source.paths, *members.paths], members.paths, output)
    if submission:
        check_submission_folder(submission, fused)
    rows = _rows(answers, others, ensemble, methods, kind, folds, repeats, seed)

    overlap = are_same_videos(source, members)
    judged = members.labels if others is not None and metrics is not None else None
    searched = rows[-1]
    report = {
        'search': kind,
        'methods': list(methods),
        'files': source.paths,
        'candidates': ensemble.tried,
        'method': ensemble.method,
        'members': [source.paths[model] for model in ensemble.models],
        'optimistic_score': _score(searched.fitted, source.labels),
        'cross_validated': _validation(searched, source.labels, folds),
    }
    print_files(source, members if apply_to is not None else None, ensemble)
    print(
        f'\n{kind} search, {ensemble.tried} candidates (methods {", ".join(methods)}; {models} files), '
        f'{videos} videos: method {ensemble.method}, {METHODS[ensemble.method].title}, {len(ensemble.models)} members'
    )
    diversity = measure_diversity(answers)
    print_diversity(diversity, sorted(set(ensemble.models)))
    report['table'] = _print_table(rows, source.labels, judged, folds, overlap)
    if judged is not None:
        report['against_best_single'] = _print_test(searched, rows[0], judged)
    elif searched.validated is not None and rows[0].validated is not None:
        report['against_best_single'] = _print_test(
            searched._replace(applied=searched.validated[0]), rows[0]._replace(applied=rows[0].validated[0]),
            source.labels,
        )  # fmt: skip

    split = outputs.metrics.stem.removeprefix('metrics_')
    with atomic_files(outputs.results.parent) as folder:
        write_fused(
            outputs.moved_to(folder), fused, metrics, weights, [members.paths[model] for model in ensemble.models],
            accuracies_of(answers)[ensemble.models], 'searched', overlap,
            {key: value for key, value in report.items() if key != 'table'}
            | {'weights_from': None if apply_to is None else source.paths},
        )  # fmt: skip
        write_metrics(folder / f'search_{split}.json', report)
        _write_diversity(folder / f'diversity_{split}.csv', source.paths, diversity)
    print(f'\n{outputs.results}: {len(fused.video_ids)} videos')
    print('no labels, no metrics' if metrics is None else f'fused: {OPTIMISTIC if overlap else ""}{summary(metrics)}')
    if submission:
        write_submission(submission, fused)
        print(f'{submission}: {len(fused.video_ids)} files for submission')


def _chosen(members: Members, ensemble: Ensemble) -> Members:
    return members._replace(results=[members.results[model] for model in ensemble.models])


def _rows(
    answers: Answers,
    others: Answers | None,
    ensemble: Ensemble,
    methods: Sequence[str],
    kind: str,
    folds: int,
    repeats: int,
    seed: int,
) -> list[Row]:
    """The best single model, methods 1 to 5 over all models, and the searched ensemble, in that order."""
    rows = []

    def add_search(name: str, found: Ensemble, tried: Sequence[str], how: str) -> None:
        weights = fit_ensemble(found, answers)
        rows.append(
            Row(
                name,
                predict(found, answers, weights)[1],
                nested_predictions(answers, tried, how, folds, repeats, seed) if folds else None,
                None if others is None else predict(found, others, weights)[1],
            )
        )

    add_search('best single model', search(answers, ['3'], 'single'), ['3'], 'single')
    for key in '12345':
        weights = fit(METHODS[key], answers)
        rows.append(
            Row(
                f'method {key}, all',
                apply(METHODS[key], answers, weights)[1],
                cross_validated_method(METHODS[key], answers, None, folds, repeats, seed) if folds else None,
                None if others is None else apply(METHODS[key], others, weights)[1],
            )
        )
    add_search('searched ensemble', ensemble, methods, kind)
    return rows


def print_files(source: Members, applied: Members | None, ensemble: Ensemble) -> None:
    """The files, numbered, with their accuracy and how often the ensemble has them."""
    for note in (*source.notes, *(applied.notes if applied else [])):
        print(note)
    for model, (path, accuracy) in enumerate(zip(source.paths, accuracies_of(source.answers), strict=True)):
        times = ensemble.models.count(model)
        mark = '' if not times else 'member' if times == 1 else f'member x {times}'
        print(f'[{model + 1}] {accuracy:.1%}  {mark:<12}{path}')


def _score(predictions: np.ndarray, labels: np.ndarray) -> dict:
    right = predictions == labels
    return {
        'accuracy': float(right.mean()),
        'correct': int(right.sum()),
        'total': len(labels),
        'interval_95': bootstrap_interval(right.astype(float)),
    }


def _validation(row: Row, labels: np.ndarray, folds: int) -> dict | None:
    return None if row.validated is None else summarise_predictions(row.validated, labels, folds)


def _print_table(
    rows: Sequence[Row], labels: np.ndarray, judged: np.ndarray | None, folds: int, overlap: bool
) -> list[dict]:
    """Prints each row's three scores with their bootstrap intervals; returns them."""
    table: list[dict] = []
    for row in rows:
        table.append(
            {
                'name': row.name,
                'optimistic': _score(row.fitted, labels),
                'cross_validated': _validation(row, labels, folds),
                'applied': None if judged is None or row.applied is None else _score(row.applied, judged),
            }
        )
    heads = [f'optimistic, {len(labels)} videos', f'cross-validated, {folds} folds']
    if judged is not None:
        heads.append(f'{"optimistic" if overlap else "never seen"}, {len(judged)} videos')
    print('\naccuracy and its 95% bootstrap interval over videos')
    print_rows(
        ['', *heads],
        [
            [row['name'], *(_cell(row[key]) for key in ('optimistic', 'cross_validated', 'applied')[: len(heads)])]
            for row in table
        ],
    )
    print(
        'optimistic: chosen and weighted on these same videos (method 3, all: neither); cross-validated: on the other '
        'folds only'
    )
    return table


def _cell(scored: dict | None) -> str:
    if scored is None:
        return '-'
    low, high = scored['interval_95']
    return f'{100 * scored["accuracy"]:.1f} [{100 * low:.1f}, {100 * high:.1f}]'


def _print_test(searched: Row, single: Row, labels: np.ndarray) -> dict:
    """Whether the ensemble beats the best single model, on videos that neither was chosen on; printed and returned."""
    assert searched.applied is not None
    assert single.applied is not None
    found = compare(labels, searched.applied, single.applied)
    low, high = found.interval_95
    print(
        f'searched ensemble against best single model, unseen videos: {100 * found.difference:+.1f} '
        f'[{100 * low:+.1f}, {100 * high:+.1f}], right alone {found.first_only} : {found.second_only}, '
        f'McNemar p {found.mcnemar:.3f}'
    )
    return found._asdict()


def _write_diversity(path: Path, paths: Sequence[str], diversity: Diversity) -> None:
    """A row for each file with its recalls and the videos it alone has right, then one for each two files."""
    with atomic_write(path) as file:
        rows = csv.writer(file, lineterminator='\n')
        rows.writerow(
            ['first', 'second', 'disagreement', 'q_statistic', 'oracle']
            + [f'recall_{name}' for name in EMOTIONS]
            + [f'alone_{name}' for name in EMOTIONS]
        )
        for first, path_of_first in enumerate(paths):
            recall = ['' if np.isnan(value) else f'{value:.6f}' for value in diversity.recall[first]]
            rows.writerow([path_of_first, '', '', '', '', *recall, *diversity.alone[first].tolist()])
        for first in range(len(paths)):
            for second in range(first + 1, len(paths)):
                q = diversity.q_statistic[first, second]
                rows.writerow(
                    [paths[first], paths[second], f'{diversity.disagreement[first, second]:.6f}']
                    + ['' if np.isnan(q) else f'{q:.6f}', f'{diversity.either[first, second]:.6f}']
                    + [''] * 14
                )
