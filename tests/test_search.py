# SPDX-License-Identifier: Apache-2.0
"""The search for an ensemble, compared with a loop over dictionaries and tested for leaks between folds."""

import csv
import json

import numpy as np
import pytest
from conftest import run
from ensembles import loop_correct, make_answers

from fer.fusion.diversity import measure_diversity
from fer.fusion.folds import stratified_folds
from fer.fusion.methods import METHODS, Answers, apply, fit, take_models, take_videos
from fer.fusion.search import (
    GREEDY_ROUNDS,
    count_correct,
    fit_ensemble,
    nested_predictions,
    predict,
    search,
)
from fer.results.results_file import Results, write_results

SEARCHABLE = [name for name, method in METHODS.items() if method.evidence]


def subset(number):
    return [k for k in range(20) if number >> k & 1]


@pytest.mark.parametrize('method', SEARCHABLE)
def test_every_subset_scores_like_its_fusion(method):
    """Some models are copies of others or never right, and votes often tie. There are eight classes."""
    answers = make_answers(7, 61, seed=3, classes=8)
    logits = answers.logits.copy()
    logits[4] = logits[1]
    logits[5] = -50 * np.eye(8)[answers.labels]
    logits[6] = np.round(logits[6])
    answers = Answers(logits, logits.argmax(axis=2), answers.labels)
    counts = count_correct(answers, method)
    assert counts.shape == (128,)
    assert counts[0] == 0
    for number in range(1, 128):
        members = take_models(answers, subset(number))
        _, predictions = apply(METHODS[method], members, fit(METHODS[method], members))
        assert counts[number] == (predictions == answers.labels).sum()


@pytest.mark.parametrize('method', ['1', '2', '3', '4', '4-normalised'])
def test_subset_counts_equal_a_plain_loop(method):
    """Compares every subset of ten models, and every 50th of twelve, whose two halves both have models."""
    answers = make_answers(10, 40)
    counts = count_correct(answers, method)
    assert counts[1:].tolist() == loop_correct(answers, method, map(subset, range(1, 1024)))
    answers = make_answers(12, 60, seed=1)
    numbers = range(1, 4096, 50)
    counts = count_correct(answers, method)
    assert counts[list(numbers)].tolist() == loop_correct(answers, method, map(subset, numbers))


def test_counts_exceed_a_byte():
    answers = make_answers(11, 600)
    for method in ('3', '4', '4-normalised'):
        counts = count_correct(answers, method)
        numbers = [1, 1024, 2047, 777]
        assert counts[numbers].tolist() == loop_correct(answers, method, map(subset, numbers))
    assert counts.max() > 255


def test_exhaustive_search_finds_the_best_and_smallest():
    answers = make_answers(6, 80, seed=2)
    found = search(answers, ['1', '2', '4', '4-normalised'], 'exhaustive')
    numbers = range(1, 64)
    scores = {}
    for method in ('1', '2', '4', '4-normalised'):
        by_loop = loop_correct(answers, method, map(subset, numbers))
        scores.update({(method, number): score for number, score in zip(numbers, by_loop, strict=True)})
    best = max(scores.values())
    assert found.correct == best
    assert found.tried == 4 * 63
    candidates = [(len(subset(n)), m, n) for (m, n), score in scores.items() if score == best]
    assert (len(found.models), found.method, found.models) == (lambda c: (c[0], c[1], subset(c[2])))(min(candidates))
    weights = fit_ensemble(found, answers)
    assert (predict(found, answers, weights)[1] == answers.labels).sum() == best


@pytest.mark.parametrize('method', SEARCHABLE)
def test_greedy_search_equals_fusing_each_model(method):
    answers = make_answers(5, 70, seed=4, classes=8)
    chosen, best = [], (-1, [])
    for _ in range(GREEDY_ROUNDS):
        right = []
        for model in range(5):
            members = take_models(answers, [*chosen, model])
            predictions = apply(METHODS[method], members, fit(METHODS[method], members))[1]
            right.append(int((predictions == answers.labels).sum()))
        chosen.append(int(np.argmax(right)))
        if max(right) > best[0]:
            best = (max(right), sorted(chosen))
    found = search(answers, [method], 'greedy')
    assert (found.correct, found.models) == best
    assert found.tried == 5 * GREEDY_ROUNDS
    assert (predict(found, answers, fit_ensemble(found, answers))[1] == answers.labels).sum() == found.correct


def test_best_single_model_is_found():
    answers = make_answers(5, 70, seed=4)
    right = (answers.predictions == answers.labels).sum(axis=1)
    found = search(answers, ['3'], 'single')
    assert (found.models, found.correct, found.tried) == ([right.argmax()], right.max(), 5)


@pytest.mark.parametrize('kind', ['exhaustive', 'greedy', 'single'])
def test_nested_search_never_uses_the_predicted_fold(kind):
    answers = make_answers(5, 50)
    fold = stratified_folds(answers.labels, 5, 9)
    nested = nested_predictions(answers, ['2', '4'], kind, folds=5, repeats=1, seed=9)[0]
    for k in range(5):
        others = take_videos(answers, fold != k)
        found = search(others, ['2', '4'], kind)
        expected = predict(found, take_videos(answers, fold == k), fit_ensemble(found, others))[1]
        assert (nested[fold == k] == expected).all()


def test_nested_search_finds_nothing_in_noise():
    """The models answer at random. The score of the search is above chance, but the nested score is not."""
    optimistic, nested = [], []
    for seed in range(8):
        rng = np.random.default_rng(seed)
        logits, labels = rng.normal(size=(5, 150, 7)), rng.integers(0, 7, 150)
        answers = Answers(logits, logits.argmax(axis=2), labels)
        optimistic.append(search(answers, ['1', '2', '3'], 'exhaustive').correct / 150)
        nested.append((nested_predictions(answers, ['1', '2', '3'], 'exhaustive', 5, 1, 0) == labels).mean())
    assert np.mean(optimistic) > 1 / 7 + 0.04
    assert abs(np.mean(nested) - 1 / 7) < 0.025


def test_diversity_equals_counts_per_video():
    answers = make_answers(4, 90, seed=6, classes=8)
    measured = measure_diversity(answers)
    right = [[p == y for p, y in zip(row, answers.labels, strict=True)] for row in answers.predictions]
    for i in range(4):
        for j in range(4):
            pairs = list(zip(right[i], right[j], strict=True))
            a, b, c, d = (pairs.count(pair) for pair in ((True, True), (True, False), (False, True), (False, False)))
            assert measured.q_statistic[i, j] == pytest.approx((a * d - b * c) / (a * d + b * c))
            differ = sum(answers.predictions[i] != answers.predictions[j])
            assert measured.disagreement[i, j] == pytest.approx(differ / 90)
            assert measured.either[i, j] == pytest.approx((a + b + c) / 90)
        for k in range(8):
            videos = np.flatnonzero(answers.labels == k)
            assert measured.recall[i, k] == pytest.approx(np.mean([right[i][v] for v in videos]))
            alone = [v for v in videos if right[i][v] and sum(row[v] for row in right) == 1]
            assert measured.alone[i, k] == len(alone)
    assert measured.oracle == pytest.approx(np.mean([any(video) for video in zip(*right, strict=True)]))


def test_diversity_of_equal_and_opposite_models():
    labels = np.array([0, 1, 2, 2])
    perfect, opposite = np.array([labels, labels]), np.array([[0, 1, 0, 0], [1, 0, 2, 2]])
    assert np.isnan(measure_diversity(Answers(np.eye(7)[perfect], perfect, labels)).q_statistic).all()
    measured = measure_diversity(Answers(np.eye(7)[opposite], opposite, labels))
    assert measured.q_statistic[0, 1] == -1
    assert measured.oracle == 1
    assert np.isnan(measured.recall[:, 3:]).all()


@pytest.fixture
def runs(tmp_path):
    """Writes run folders of five models with answers to two splits, and returns the answers."""
    splits = {}
    for split, videos, seed in (('val', 60, 1), ('holdout', 45, 2)):
        splits[split] = answers = make_answers(5, videos, seed)
        for model in range(5):
            path = tmp_path / 'runs' / f'r{model}' / f'results_{split}.txt'
            path.parent.mkdir(parents=True, exist_ok=True)
            ids = [f'{split}{k}' for k in range(videos)]
            rest = (answers.labels, np.full(videos, 5), ['-'] * videos)
            write_results(path, Results(ids, answers.logits[model], answers.predictions[model], *rest))
    return splits


@pytest.mark.parametrize('kind', ['auto', 'greedy'])
def test_search_command_writes_all_files(runs, tmp_path, kind):
    patterns = [f'{tmp_path}/runs/*/results_{split}.txt' for split in ('val', 'holdout')]
    command = ('fusion.py', f'--search={kind}', f'--weights_from={patterns[0]}', f'--apply_to={patterns[1]}')
    done = run(*command, f'--output={tmp_path}/f', '--repeats=2')
    found = search(runs['val'], '1234', 'exhaustive' if kind == 'auto' else kind)
    weights = fit_ensemble(found, runs['val'])
    predictions = predict(found, runs['holdout'], weights)[1]
    metrics = json.loads((tmp_path / 'f' / 'metrics_holdout.json').read_text())
    assert metrics['correct'] == (predictions == runs['holdout'].labels).sum()
    assert metrics['optimistic'] is False
    report = json.loads((tmp_path / 'f' / 'search_holdout.json').read_text())
    assert report['candidates'] == found.tried == (4 * 31 if kind == 'auto' else 4 * 5 * GREEDY_ROUNDS)
    assert f'{found.tried} candidates' in done.out
    assert report['optimistic_score']['correct'] == found.correct
    assert report['members'] == [f'{tmp_path}/runs/r{model}/results_val.txt' for model in found.models]
    names = ['best single model', *(f'method {k}, all' for k in range(1, 6)), 'searched ensemble']
    assert [row['name'] for row in report['table']] == names
    for row, method in zip(report['table'][1:6], '12345', strict=True):
        fitted = fit(METHODS[method], runs['val'])
        for split, key in (('val', 'optimistic'), ('holdout', 'applied')):
            right = (apply(METHODS[method], runs[split], fitted)[1] == runs[split].labels).sum()
            assert row[key]['correct'] == right
    assert report['table'][-1]['applied']['correct'] == metrics['correct']
    nested = nested_predictions(runs['val'], '1234', report['search'], 5, 2, 0)
    assert report['cross_validated']['accuracy'] == pytest.approx((nested == runs['val'].labels).mean())
    rows = list(csv.DictReader((tmp_path / 'f' / 'diversity_holdout.csv').open()))
    assert len(rows) == 5 + 10
    assert 'never seen, 45 videos' in done.out
    assert (tmp_path / 'f' / 'weights_holdout.csv').exists()


def test_search_on_one_split_is_called_optimistic(runs, tmp_path):
    done = run('fusion.py', '--search=auto', f'--results={tmp_path}/runs/*/results_val.txt', f'--output={tmp_path}/f')
    assert 'fused: optimistic' in done.out
    metrics = json.loads((tmp_path / 'f' / 'metrics_val.json').read_text())
    assert metrics['optimistic'] is True
    assert metrics['correct'] == metrics['optimistic_score']['correct']
    assert metrics['cross_validated']['folds'] == 5
    assert 'never seen' not in done.out


@pytest.mark.parametrize(
    ('flags', 'message'),
    [
        (('--search_methods=1,5',), "'5'; expected some of 1, 2, 3, 4, vote"),
        (('--search_methods=9',), "'9'; expected some of"),
        (('--method=2',), '--method: not allowed with --search'),
        (('--accuracies=0.1',), '--accuracies: not allowed with --search'),
        (('--search=most',), 'search'),
        (('--results={runs}/r0/results_val.txt,{runs}/r1/results_holdout.txt',), 'expected the same videos'),
        (('--results={runs}/unlabelled.txt',), 'video val7 has no label'),
        (('--results={runs}/many*.txt', '--search=exhaustive'), '21 files; expected at most 20'),
    ],
)
def test_bad_searches_are_refused(runs, tmp_path, flags, message):
    folder = tmp_path / 'runs'
    lines = (folder / 'r0' / 'results_val.txt').read_text().splitlines()
    fields = lines[8].split('\t')
    lines[8] = '\t'.join([*fields[:9], '-', *fields[10:]])
    (folder / 'unlabelled.txt').write_text('\n'.join(lines))
    for k in range(21):
        (folder / f'many{k}.txt').write_bytes((folder / 'r1' / 'results_val.txt').read_bytes())
    command = ('fusion.py', '--search=auto', f'--results={folder}/r*/results_val.txt', f'--output={tmp_path}/f')
    done = run(*command, *(flag.format(runs=folder) for flag in flags), ok=False)
    assert done.code == 2
    (line,) = done.err.splitlines()
    assert message in line
    assert not (tmp_path / 'f').exists()


def test_search_benchmark_runs():
    done = run('-m', 'tests.benchmarks.search', '--models=9', '--videos=40', '--rounds=1', '--loop_subsets=3')
    assert '511 subsets' in done.out
    assert 'peak memory' in done.out
