# SPDX-License-Identifier: Apache-2.0
"""Metrics compared with the dissertation's printed tables and with scikit-learn."""

import json

import numpy as np
import pytest
import scipy.stats
import sklearn.metrics
from conftest import ROOT

from fer.errors import InputError
from fer.manifest import LedgerRow
from fer.results.metrics import score, score_results, summary, wilson_interval
from fer.results.results_file import Results
from fer.results.videos import answer_ledger, class_counts, combine_frames, combine_windows, prior_logits

# Every confusion matrix of the dissertation's chapter 6: the printed percent of each row, the class supports that these
# percentages allow, accuracy and F1. For figures 6.6 and 6.8 (46.0 / 42.0 and 44.1 / 38.7), and for the datasets other
# than AFEW, accuracy and F1 are those printed in the tables. Figures 6.10, 6.12 and 6.15 contradict their tables, so
# their values here are computed from their own counts.
FIGURES = json.loads((ROOT / 'tests' / 'confusion.json').read_text())


@pytest.mark.parametrize('figure', FIGURES, ids=[figure['figure'] for figure in FIGURES])
def test_the_dissertations_matrices_give_its_accuracies_and_f1(figure):
    supports = np.array(figure['supports'])
    counts = np.rint(np.array(figure['row_percent']) * supports[:, np.newaxis] / 100).astype(int)
    # A percentage with one decimal gives the exact count for up to 1,000 videos, and a close count for more.
    assert (abs(counts.sum(axis=1) - supports) <= (supports > 1000)).all()
    labels, predictions = np.indices((7, 7)).reshape(2, -1).repeat(counts.ravel(), axis=1)
    metrics = score(labels, predictions)
    assert (metrics['confusion'] == counts).all()
    if figure['dataset'] == 'AFEW':
        assert metrics['total'] == 383
        assert round(100 * metrics['accuracy'], 2) == figure['accuracy']
        assert round(100 * metrics['f1'], 2) == figure['f1']
    else:
        assert 100 * metrics['accuracy'] == pytest.approx(figure['accuracy'], abs=0.061)
        assert 100 * metrics['f1'] == pytest.approx(figure['f1'], abs=0.061)


def test_f1_averages_classes_that_have_videos():
    metrics = score(np.array([0, 0, 1]), np.array([0, 1, 1]))
    assert metrics['f1'] == pytest.approx(2 / 3)
    assert metrics['f1_seven'] == pytest.approx((2 / 3 + 2 / 3) / 7)
    assert metrics['classes_absent'] == ['Disgust', 'Fear', 'Happy', 'Sad', 'Surprise']
    assert metrics['per_class']['Neutral'] == pytest.approx({'precision': 1, 'recall': 0.5, 'f1': 2 / 3, 'support': 2})


def test_metrics_equal_scikit_learn():
    rng = np.random.default_rng(8)
    labels, predictions = rng.choice(5, 60), rng.choice([0, 1, 2, 3, 6], 60)
    metrics = score(labels, predictions)
    classes = list(range(7))
    precision, recall, f1, support = sklearn.metrics.precision_recall_fscore_support(
        labels, predictions, labels=classes, zero_division=0
    )
    rows = metrics['per_class'].values()
    for name, expected in (('precision', precision), ('recall', recall), ('f1', f1), ('support', support)):
        np.testing.assert_allclose([row[name] for row in rows], expected)
    assert metrics['confusion'] == sklearn.metrics.confusion_matrix(labels, predictions, labels=classes).tolist()
    assert metrics['accuracy'] == pytest.approx(sklearn.metrics.accuracy_score(labels, predictions))
    present = np.unique(labels)  # an absent class has no F1, even if it is predicted
    for key, averaged in (('f1', present), ('f1_seven', classes)):
        f1 = sklearn.metrics.f1_score(labels, predictions, labels=averaged, average='macro', zero_division=0)
        assert metrics[key] == pytest.approx(f1)
    assert metrics['classes_absent'] == ['Sad', 'Surprise']


def test_summary_names_an_absent_class():
    """In CREMA-D, which has no Surprise, perfect predictions have an F1 of 100."""
    labels = np.repeat(np.arange(6), 4)
    assert summary(score(labels, labels) | {'with_faces': score(labels, labels)}).startswith(
        '24/24 = 100.0% [86.2, 100.0], F1 100.0 over 6 of 7 classes (no Surprise)'
    )


@pytest.mark.parametrize(('correct', 'total'), [(176, 383), (0, 5), (7, 7), (1, 2)])
def test_interval_equals_scipy(correct, total):
    expected = scipy.stats.binomtest(correct, total).proportion_ci(method='wilson')
    assert wilson_interval(correct, total) == pytest.approx([expected.low, expected.high])


def results_of(labels, predictions, fallback):
    return Results(
        [str(k) for k in range(len(labels))],
        np.eye(7)[predictions],
        np.array(predictions),
        np.array(labels),
        np.ones(len(labels), int),
        fallback,
    )


def test_videos_without_faces_count():
    metrics = score_results(results_of([0, 1, 2, 0], [0, 1, 3, 4], ['-', '-', '-', 'no_face']), 'val.txt')
    assert (metrics['correct'], metrics['total']) == (2, 4)
    assert (metrics['with_faces']['correct'], metrics['with_faces']['total']) == (2, 3)
    assert '2/4 = 50.0%' in summary(metrics)
    assert 'with faces 2/3' in summary(metrics)


def test_partly_labelled_results_are_refused():
    assert score_results(results_of([-1, -1], [0, 1], ['-', '-']), 'val.txt') is None
    with pytest.raises(InputError, match=r'val\.txt: video 1 has no label'):
        score_results(results_of([3, -1], [0, 1], ['-', '-']), 'val.txt')


def test_all_videos_may_be_fallbacks():
    metrics = score_results(results_of([0, 1], [0, 0], ['no_face', 'no_face']), 'val.txt')
    assert metrics['with_faces']['total'] == 0


def test_windows_are_weighted_by_real_frames():
    rng = np.random.default_rng(0)
    frames = [rng.normal(size=(length, 7)) for length in (5, 3)]
    windows = [frames[0][:4], frames[0][4:], frames[1]]
    combined = combine_windows(
        np.array([window.mean(axis=0) for window in windows]), np.array([4, 1, 3]), np.array([0, 0, 1]), 2
    )
    np.testing.assert_allclose(combined, [video.mean(axis=0) for video in frames])


def test_equal_windows_are_a_plain_mean():
    logits = np.random.default_rng(1).normal(size=(4, 7))
    combined = combine_windows(logits, np.ones(4, int), np.array([1, 0, 1, 1]), 2)
    np.testing.assert_allclose(combined, [logits[1], logits[[0, 2, 3]].mean(axis=0)])


def test_median_of_frames_equals_a_sorted_list():
    """Three videos of 3, 1 and 6 frames, of which two count more than once, in mixed order."""
    rng = np.random.default_rng(2)
    video, counts = rng.permutation([0] * 3 + [1] + [2] * 6), np.ones(10, int)
    counts[[2, 7]] = 3, 2
    logits = rng.normal(size=(10, 7))
    expected = np.empty((3, 7))
    for index in range(3):
        for k in range(7):
            rows = [row for row in range(10) if video[row] == index for _ in range(counts[row])]
            ordered = sorted(logits[row, k] for row in rows)
            expected[index, k] = (ordered[(len(ordered) - 1) // 2] + ordered[len(ordered) // 2]) / 2
    np.testing.assert_array_equal(combine_frames(logits, counts, video, 3), expected)
    nothing = np.empty(0, int)
    assert combine_frames(logits[:0], nothing, nothing, 0).shape == (0, 7)


def test_every_ledger_row_is_answered_in_order():
    ledger = [
        LedgerRow('c', 2, 9, 9, None, ''),
        LedgerRow('a', 0, 9, 0, None, 'no_face'),
        LedgerRow('b', 1, 9, 9, None, ''),
    ]
    prior = prior_logits(class_counts(ledger))
    results = answer_ledger(ledger, ['b', 'c'], np.eye(7)[[5, 6]], [9, 4], prior)
    assert results.video_ids == ['c', 'a', 'b']
    assert results.predictions.tolist() == [6, 0, 5]
    assert results.labels.tolist() == [2, 0, 1]
    assert results.frames.tolist() == [4, 0, 9]
    assert results.fallback == ['-', 'no_face', '-']
    np.testing.assert_allclose(results.logits[1], np.log([0.2, 0.2, 0.2, 0.1, 0.1, 0.1, 0.1]))
