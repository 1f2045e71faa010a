# SPDX-License-Identifier: Apache-2.0
"""python -m fer.score: its scores compared with scikit-learn's, its columns, its errors and its command."""

import json

import numpy as np
import pytest
import scipy.stats
from conftest import run
from sklearn.metrics import accuracy_score, f1_score, recall_score

from fer.emotions import EMOTIONS
from fer.errors import InputError
from fer.manifest import LedgerRow, write_ledger
from fer.results.metrics import score
from fer.score.predictions import LOST, PROBABILITY_COLUMNS, Predictions, read_predictions
from fer.score.sheet import compare_predictions, score_predictions

LABELS = np.random.default_rng(0).integers(0, 7, 90)
IDS = [f'v{row}' for row in range(len(LABELS))]


def predict(seed, lost=0):
    """Returns predictions that are right half of the time. The last ones are lost."""
    rng = np.random.default_rng(seed)
    answers = np.where(rng.random(len(LABELS)) < 0.5, LABELS, rng.integers(0, 7, len(LABELS)))
    answers[len(answers) - lost :] = LOST
    return Predictions('file.csv', 'ledger.csv', IDS, LABELS, answers, [])


@pytest.fixture
def ledger(tmp_path):
    path = tmp_path / 'val.ledger.csv'
    write_ledger(path, [LedgerRow(name, int(label), 9, 9, None, '') for name, label in zip(IDS, LABELS, strict=True)])
    return path


def write_rows(path, header, rows):
    path.write_text('\n'.join([header, *rows]) + '\n')
    return path


def write_predictions(path, predictions):
    named = zip(IDS, predictions.predictions, strict=True)
    return write_rows(path, 'id,prediction', [f'{name},{EMOTIONS[answer]}' for name, answer in named if answer != LOST])


@pytest.mark.parametrize('present', [7, 5])
def test_scores_equal_scikit_learns_and_count_lost_videos(present):
    predictions = predict(1, lost=12)
    predictions = predictions._replace(labels=predictions.labels % present)
    sheet = score_predictions(predictions)
    truth, answers = predictions.labels, predictions.predictions
    classes = {'labels': list(range(present)), 'zero_division': 0}
    assert (sheet['total'], sheet['lost']) == (90, 12)
    assert sheet['accuracy'] == pytest.approx(accuracy_score(truth, answers))
    assert sheet['uar'] == pytest.approx(recall_score(truth, answers, average='macro', **classes))
    assert sheet['f1'] == pytest.approx(f1_score(truth, answers, average='macro', **classes))
    assert sheet['f1_weighted'] == pytest.approx(f1_score(truth, answers, average='weighted', **classes))
    recalls = recall_score(truth, answers, average=None, **classes)
    assert [one['recall'] for one in sheet['per_class'].values()][:present] == pytest.approx(recalls)
    assert sheet['classes_absent'] == list(EMOTIONS[present:])
    assert sum(one['lost'] for one in sheet['per_class'].values()) == 12
    answered = sheet['answered']
    assert (answered['total'], answered['correct']) == (78, sheet['correct'])


def test_scores_without_lost_videos_equal_those_of_evaluation():
    sheet, metrics = score_predictions(predict(2)), score(LABELS, predict(2).predictions)
    for name in ('accuracy', 'f1', 'correct', 'interval_95'):
        assert sheet[name] == pytest.approx(metrics[name])
    for name, one in metrics['per_class'].items():
        assert {key: sheet['per_class'][name][key] for key in one} == pytest.approx(one)
    assert [row[:7] for row in sheet['confusion']] == metrics['confusion']


def test_intervals_are_those_of_resampled_videos():
    predictions = predict(3, lost=5)
    sheet = score_predictions(predictions)
    rng = np.random.default_rng(8)
    found = []
    for _ in range(600):
        rows = rng.integers(0, 90, 90)
        truth, answers = LABELS[rows], predictions.predictions[rows]
        found.append(f1_score(truth, answers, labels=np.unique(truth), average='macro', zero_division=0))
    np.testing.assert_allclose(sheet['f1_interval_95'], np.percentile(found, [2.5, 97.5]), atol=0.025)


def test_comparison_counts_a_lost_video_as_wrong():
    first, second = predict(4), predict(5, lost=30)
    found = compare_predictions(first, second)
    right = first.predictions == LABELS, second.predictions == LABELS
    only = [int((right[0] & ~right[1]).sum()), int((right[1] & ~right[0]).sum())]
    assert [found['first_only'], found['second_only'], found['lost']] == [*only, 30]
    assert found['mcnemar'] == pytest.approx(scipy.stats.binomtest(only[0], sum(only)).pvalue)


def test_columns_are_found_by_name(ledger, tmp_path):
    """Probabilities in another order of the classes, further columns, AFEW's spelling, an unanswered row."""
    columns = PROBABILITY_COLUMNS[::-1]
    likely = {name: dict.fromkeys(columns, 0.1) for name in IDS[:3]}
    likely['v0']['p_Happy'] = 0.4
    likely['v1'] |= {'p_Sad': 0.3, 'p_Fear': 0.3}
    rows = [f'{",".join(str(likely[name][column]) for column in columns)},x,{name}' for name in IDS[:2]]
    path = write_rows(tmp_path / 'p.csv', f'{",".join(columns)},model,id', [*rows, f'{"," * 6},x,v2'])
    found = read_predictions(path, ledger)
    assert [*found.predictions[:3]] == [EMOTIONS.index('Happy'), EMOTIONS.index('Fear'), LOST]
    assert found.notes == [
        f'{path}: in 1 rows several classes have the largest probability, and the first of them counts'
    ]
    path = write_rows(tmp_path / 'p.csv', 'p_Neutral,prediction,id', ['0.9,Angry,v5'])
    found = read_predictions(path, ledger)
    assert [found.predictions[5], (found.predictions == LOST).sum()] == [EMOTIONS.index('Anger'), 89]


def test_labels_may_stand_with_the_predictions(tmp_path):
    write_ledger(tmp_path / 'test.ledger.csv', [LedgerRow(name, None, 9, 9, None, '') for name in IDS[:2]])
    path = write_rows(tmp_path / 'p.csv', 'id,label,prediction', ['v1,Sad,Sad', 'v0,Fear,Sad'])
    assert [*read_predictions(path, tmp_path / 'test.ledger.csv').labels] == [3, 5]
    path = write_rows(tmp_path / 'p.csv', 'id,label,prediction', ['v1,-,Sad'])
    with pytest.raises(InputError, match=r'test.ledger.csv: video v0 has no label; add it'):
        read_predictions(path, tmp_path / 'test.ledger.csv')


@pytest.mark.parametrize(
    ('header', 'rows', 'message'),
    [
        ('id,prediction', ['v0,Sad', 'w9,Sad'], "p.csv:3: id 'w9' is not in the ledger; remove the row"),
        ('id,prediction', ['v0,Sad', 'v1,Sad', 'v0,Sad'], "p.csv:4: id 'v0' is already in line 2; remove one"),
        ('id,prediction', ['v0,Bored'], "p.csv:2: class 'Bored': expected one of Neutral"),
        ('id,prediction', ['v0,Sad,1'], 'p.csv:2: 3 fields; expected 2, as in the header'),
        ('id,prediction', [',Sad'], 'p.csv:2: an empty id; expected'),
        ('id,prediction', [], 'p.csv: no rows under the header'),
        ('video,prediction', ['v0,Sad'], 'p.csv:1: no column id; found video, prediction'),
        ('id,answer', ['v0,Sad'], 'p.csv:1: no column prediction and none of p_Neutral'),
        ('id,id,prediction', ['v0,v0,Sad'], 'p.csv:1: column id comes more than once'),
        (f'id,{",".join(PROBABILITY_COLUMNS[:6])}', ['v0' + ',0' * 6], 'p.csv:1: no column p_Surprise; expected'),
        (f'id,{",".join(PROBABILITY_COLUMNS)}', ['v0' + ',0' * 6 + ',nan'], "p.csv:2: p_Surprise is 'nan'; expected a"),
        (f'id,{",".join(PROBABILITY_COLUMNS)}', ['v0' + ',40' * 7], "p.csv:2: p_Neutral is '40'; expected a probab"),
        ('id,label,prediction', [f'v0,{EMOTIONS[(LABELS[0] + 1) % 7]},Sad'], 'p.csv:2: video v0 is '),
    ],
)
def test_bad_predictions_are_refused(ledger, tmp_path, header, rows, message):
    path = write_rows(tmp_path / 'p.csv', header, rows)
    with pytest.raises(InputError) as caught:
        read_predictions(path, ledger)
    assert message in str(caught.value)
    assert '\n' not in str(caught.value)


def test_the_command_prints_and_writes_a_sheet(ledger, tmp_path):
    first = write_predictions(tmp_path / 'a.csv', predict(6, lost=4))
    second = write_predictions(tmp_path / 'b.csv', predict(7))
    flags = (f'--predictions={first}', f'--ledger={ledger}', f'--against={second}', f'--output={tmp_path / "out"}')
    done = run('-m', 'fer.score', *flags)
    sheet = json.loads((tmp_path / 'out' / 'score.json').read_text())
    assert f'{first}: 90 videos of {ledger}, 4 of them lost, which count as wrong' in done.out
    assert f'accuracy {sheet["correct"]}/90 = {sheet["accuracy"]:.1%} [' in done.out
    assert f'weighted F1 {sheet["f1_weighted"]:.1%} [' in done.out
    assert f'McNemar p = {sheet["against"]["mcnemar"]:.3g}' in done.out
    assert (sheet['total'], sheet['lost'], sheet['against']['lost']) == (90, 4, 0)
    bad = run('-m', 'fer.score', f'--predictions={ledger}', *flags[1:3], f'--output={tmp_path / "bad"}', ok=False)
    assert (bad.code, bad.err.count('\n')) == (2, 1)
    assert not (tmp_path / 'bad').exists()
