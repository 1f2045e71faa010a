# SPDX-License-Identifier: Apache-2.0
"""The search for an ensemble, from results files to its answers and an estimate of its score on other videos."""

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from fer.emotions import EMOTIONS, NUM_CLASSES
from fer.errors import InputError
from fer.files import atomic_write
from fer.fusion.diversity import Diversity, measure_diversity
from fer.fusion.fuse import Fused, output_paths, print_notes, print_score, write_fused
from fer.fusion.members import Members, are_same_videos, fuse_members
from fer.fusion.methods import METHODS, Answers, accuracies_of, apply, fit
from fer.fusion.requests import SearchRequest, check_all_labelled
from fer.fusion.search import MOST_EXHAUSTIVE, Ensemble, fit_ensemble, nested_predictions, predict, search
from fer.fusion.submission import check_submission_folder, write_submission
from fer.fusion.tables import print_diversity, print_rows
from fer.fusion.validation import bootstrap_interval, cross_validated_method, summarise_predictions
from fer.results.metrics import describe_interval, score_results, write_metrics
from fer.results.significance import compare


class Candidate(NamedTuple):
    """One way to answer videos, made from the source videos. Its predictions are scored in up to three ways."""

    name: str
    fitted: np.ndarray  # int [V], predictions for the source videos, by weights and a choice made from all of them
    validated: np.ndarray | None  # int [repeats, V], predictions for the source videos, made from the other folds only
    applied: np.ndarray | None  # int [V'], predictions for the other videos, None without them


class Study(NamedTuple):
    """The answers that candidates are made from, and those that they are scored on."""

    answers: Answers  # for the source videos
    others: Answers | None  # for the other videos, None without them
    other_labels: np.ndarray | None  # int [V'], of the other videos, None if they have no labels
    overlap: bool  # whether the other videos are the source videos
    folds: int  # of the cross-validation, 0 for none
    repeats: int
    seed: int


def find(request: SearchRequest) -> None:
    """Searches for the best ensemble, and writes its answers and an estimate of its score on other videos.

    Writes what `fer.fusion.fuse.fuse` writes, search_<split>.json with all that is printed, and diversity_<split>.csv
    with the measures of each pair of files.

    Raises:
      InputError: files are malformed or disagree, a label is missing, or the search cannot be made.
    """
    check_methods(request.methods)
    source, members = request.read()
    check_all_labelled(source, '--search')
    kind = choose_search(request.search, len(source.paths))

    answers = source.answers
    ensemble = search(answers, request.methods, kind)
    fused = _fuse_ensemble(ensemble, source, members)
    outputs = output_paths({*source.paths, *members.paths}, members.paths, request.output)
    if request.submission:
        check_submission_folder(request.submission, fused.results)
    study = Study(
        answers=answers,
        others=None if source is members else members.answers,
        other_labels=None if source is members or fused.metrics is None else members.labels,
        overlap=fused.optimistic,
        folds=_limit_folds(request.folds, len(source.labels)),
        repeats=request.repeats,
        seed=request.seed,
    )
    single = _candidate_of_search(study, 'best single model', search(answers, ['3'], 'single'), ['3'], 'single')
    searched = _candidate_of_search(study, 'searched ensemble', ensemble, request.methods, kind)
    candidates = [single, *(_candidate_of_method(study, key) for key in '12345'), searched]
    diversity = measure_diversity(answers)

    print_files(source, members, ensemble)
    _print_ensemble(ensemble, kind, request.methods, answers)
    print_diversity(diversity, sorted(set(ensemble.models)))
    table = _print_table(candidates, study)
    test = _print_test(searched, single, study)
    report = _describe_search(ensemble, kind, request.methods, source.paths, table)
    report |= {} if test is None else {'against_best_single': test}

    def write_beside(folder: Path) -> None:
        split = outputs.metrics.stem.removeprefix('metrics_')
        write_metrics(folder / f'search_{split}.json', report)
        _write_diversity(folder / f'diversity_{split}.csv', source.paths, diversity)

    origin = {key: value for key, value in report.items() if key != 'table'}
    origin['weights_from'] = None if source is members else source.paths
    write_fused(outputs, fused._replace(origin=origin), write_beside)
    print(f'\n{outputs.results}: {len(fused.results.video_ids)} videos')
    print_score(fused)
    if request.submission:
        write_submission(request.submission, fused.results)


def _print_ensemble(ensemble: Ensemble, kind: str, methods: Sequence[str], answers: Answers) -> None:
    models, videos = answers.predictions.shape
    print(
        f'\n{kind} search, {ensemble.tried} candidates (methods {", ".join(methods)}; {models} files), {videos} videos'
        f': method {ensemble.method}, {METHODS[ensemble.method].title}, {len(ensemble.models)} members'
    )


def _describe_search(
    ensemble: Ensemble, kind: str, methods: Sequence[str], paths: Sequence[str], table: list[dict]
) -> dict:
    """Returns the content of search_<split>.json. The last row of the table is the ensemble's."""
    return {
        'search': kind,
        'methods': list(methods),
        'files': list(paths),
        'candidates': ensemble.tried,
        'method': ensemble.method,
        'method_title': METHODS[ensemble.method].title,
        'members': [paths[model] for model in ensemble.models],
        'optimistic_score': table[-1]['optimistic'],
        'cross_validated': table[-1]['cross_validated'],
        'table': table,
    }


def _fuse_ensemble(ensemble: Ensemble, source: Members, members: Members) -> Fused:
    """Returns the ensemble's answers for the videos of `members`, by weights made from `source`."""
    weights = fit_ensemble(ensemble, source.answers)
    chosen = members._replace(results=[members.results[model] for model in ensemble.models])
    results = fuse_members(chosen, *predict(ensemble, members.answers, weights))
    return Fused(
        results=results,
        metrics=score_results(results, ' + '.join(members.paths)),
        weights=weights,
        members=[members.paths[model] for model in ensemble.models],
        accuracies=accuracies_of(source.answers)[ensemble.models],
        title='searched',
        optimistic=are_same_videos(source, members),
        origin={},
    )


def check_methods(methods: Sequence[str]) -> None:
    """Raises InputError for a method that does not exist, or that is a regression."""
    known = [name for name, method in METHODS.items() if method.evidence is not None]
    for name in methods:
        if name not in known:
            raise InputError(f'--search_methods: {name!r}; expected some of {", ".join(known)}')


def choose_search(kind: str, models: int) -> str:
    """Returns `exhaustive` or `greedy`.

    Raises:
      InputError: an exhaustive search is requested for more than MOST_EXHAUSTIVE models.
    """
    if kind == 'exhaustive' and models > MOST_EXHAUSTIVE:
        raise InputError(f'--search=exhaustive: {models} files; expected at most {MOST_EXHAUSTIVE}, or --search=greedy')
    if kind != 'auto':
        return kind
    return 'exhaustive' if models <= MOST_EXHAUSTIVE else 'greedy'


def _limit_folds(folds: int, videos: int) -> int:
    """Returns the number of folds, limited to one per video. It is 0 for a single video."""
    return folds if folds <= videos else videos if videos > 1 else 0


def _candidate_of_search(study: Study, name: str, ensemble: Ensemble, methods: Sequence[str], kind: str) -> Candidate:
    """Returns the predictions of an ensemble. For cross-validation, the search is repeated on the other folds."""
    weights = fit_ensemble(ensemble, study.answers)
    validated = None
    if study.folds:
        validated = nested_predictions(study.answers, methods, kind, study.folds, study.repeats, study.seed)
    return Candidate(
        name,
        predict(ensemble, study.answers, weights)[1],
        validated,
        None if study.others is None else predict(ensemble, study.others, weights)[1],
    )


def _candidate_of_method(study: Study, key: str) -> Candidate:
    """Returns the predictions of a method that fuses all models."""
    method = METHODS[key]
    weights = fit(method, study.answers)
    validated = None
    if study.folds:
        validated = cross_validated_method(method, study.answers, None, study.folds, study.repeats, study.seed)
    return Candidate(
        f'method {key}, all',
        apply(method, study.answers, weights)[1],
        validated,
        None if study.others is None else apply(method, study.others, weights)[1],
    )


def print_files(source: Members, members: Members, ensemble: Ensemble) -> None:
    """Prints the source's files, numbered, with their accuracy and how often each is in the ensemble."""
    print_notes(source, members)
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


def _print_table(candidates: Sequence[Candidate], study: Study) -> list[dict]:
    """Prints the three scores of each candidate with their bootstrap intervals, and returns them."""
    labels, others, folds = study.answers.labels, study.other_labels, study.folds
    table: list[dict] = [
        {
            'name': candidate.name,
            'optimistic': _score(candidate.fitted, labels),
            'cross_validated': None
            if candidate.validated is None
            else summarise_predictions(candidate.validated, labels, folds),
            'applied': None if others is None or candidate.applied is None else _score(candidate.applied, others),
        }
        for candidate in candidates
    ]
    heads = [f'optimistic, {len(labels)} videos', f'cross-validated, {folds} folds']
    if others is not None:
        heads.append(f'{"optimistic" if study.overlap else "never seen"}, {len(others)} videos')
    print('\naccuracy and its 95% bootstrap interval over videos')
    print_rows(
        ['', *heads],
        [
            [row['name'], *(_cell(row[key]) for key in ('optimistic', 'cross_validated', 'applied')[: len(heads)])]
            for row in table
        ],
    )
    print(
        'optimistic: models chosen and weighted on these same videos (method 3, all, does neither); cross-validated: '
        'on the other folds only'
    )
    return table


def _cell(scored: dict | None) -> str:
    if scored is None:
        return '-'
    return f'{100 * scored["accuracy"]:.1f} {describe_interval(scored["interval_95"])}'


def _print_test(searched: Candidate, single: Candidate, study: Study) -> dict | None:
    """Tests whether the ensemble is better than the best single model, prints the result and returns it.

    The test is on videos that neither was chosen on. These are the other videos if they have labels, else the held-out
    folds of the first repeat of the cross-validation. Returns None without either.
    """
    if study.other_labels is not None:
        labels, first, second = study.other_labels, searched.applied, single.applied
    elif searched.validated is not None and single.validated is not None:
        labels, first, second = study.answers.labels, searched.validated[0], single.validated[0]
    else:
        return None
    assert first is not None
    assert second is not None
    found = compare(labels, first, second)
    print(
        f'searched ensemble against best single model, unseen videos: {100 * found.difference:+.1f} '
        f'{describe_interval(found.interval_95, signed=True)}, right alone {found.first_only} : {found.second_only}, '
        f'McNemar p {found.mcnemar:.3f}'
    )
    return found._asdict()


def _write_diversity(path: Path, paths: Sequence[str], diversity: Diversity) -> None:
    """Writes a row per file (recalls, and videos that only it answers correctly), then a row per pair of files."""
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
                    + [''] * 2 * NUM_CLASSES
                )
