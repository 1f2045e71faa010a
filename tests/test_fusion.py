# SPDX-License-Identifier: Apache-2.0
"""Late fusion: its methods compared with their formulas, its files, its errors and its command."""

import csv
import hashlib
import json
import math

import numpy as np
import pytest
import scipy.stats
from benchmarks import ravdess_fusion
from conftest import run
from ensembles import make_answers
from realmedia import realdata
from sklearn.linear_model import Ridge
from sklearn.preprocessing import StandardScaler

from fer.emotions import EMOTIONS
from fer.errors import InputError
from fer.fusion.folds import stratified_folds
from fer.fusion.fuse import warn_of_sum
from fer.fusion.methods import METHODS, Answers, accuracies_of, apply, fit, take_models, take_videos
from fer.fusion.regression import ridge_regression
from fer.fusion.submission import check_submission, read_expected, write_submission
from fer.fusion.validation import bootstrap_interval, cross_validated_method
from fer.results.results_file import LOGIT_COLUMNS, Results, read_results, write_results
from fer.results.significance import compare, mcnemar


def make_results(seed, videos=20, labelled=True, fallback=()):
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(videos, 7)).astype(np.float32)
    labels = np.random.default_rng(99).integers(0, 7, videos) if labelled else np.full(videos, -1)
    reasons = ['no_face' if k in fallback else '-' for k in range(videos)]
    return Results(
        [f'{k:09d}' for k in range(videos)],
        logits,
        logits.argmax(axis=1),
        labels,
        np.where([reason == '-' for reason in reasons], 50, 0),
        reasons,
    )


def shuffled(results, seed):
    order = np.random.default_rng(seed).permutation(len(results.video_ids))
    return Results(
        *([column[k] for k in order] if isinstance(column, list) else np.asarray(column)[order] for column in results)
    )


@pytest.fixture
def members(tmp_path):
    """Writes two results files of the same videos, the second in another order."""
    paths = [tmp_path / 'a' / 'results_val.txt', tmp_path / 'b' / 'results_val.txt']
    results = [make_results(1, fallback=(3, 4)), shuffled(make_results(2, fallback=(4,)), 0)]
    for path, result in zip(paths, results, strict=True):
        path.parent.mkdir()
        write_results(path, result)
    return paths


def test_results_are_restored_to_the_bit(tmp_path):
    results = make_results(5, fallback=(2,))
    write_results(tmp_path / 'r.txt', results)
    back = read_results(tmp_path / 'r.txt')
    assert (back.logits.astype(np.float32) == results.logits).all()
    for mine, theirs in zip(back, results, strict=True):
        assert list(map(str, mine)) == list(map(str, theirs)) or mine is back.logits


def test_results_columns_may_be_reordered_or_missing(tmp_path):
    write_results(tmp_path / 'r.txt', make_results(5))
    rows = [line.split('\t')[:-2] for line in (tmp_path / 'r.txt').read_text().splitlines()]
    (tmp_path / 's.txt').write_text('\n'.join('\t'.join([*row[::-1], 'x']) for row in rows))
    ours, theirs = read_results(tmp_path / 'r.txt'), read_results(tmp_path / 's.txt')
    assert (ours.logits == theirs.logits).all()
    assert theirs.frames.tolist() == [-1] * 20


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (lambda text: '', 'empty'),
        (lambda text: text.splitlines()[0], 'no videos'),
        (lambda text: text.replace('logit_Fear', 'logit_Contempt'), 'logit_Fear'),
        (lambda text: text.replace('000000003\t', '000000002\t'), 'second time'),
        (lambda text: text.replace('000000003\t', '000000003\tnan\t'), ':5:'),
        (lambda text: text.replace('000000003\t', '000000003'), ':5: 11 fields; expected 12'),
    ],
)
def test_malformed_results_are_refused(tmp_path, change, message):
    path = tmp_path / 'r.txt'
    write_results(path, make_results(5))
    path.write_text(change(path.read_text()))
    with pytest.raises(InputError) as caught:
        read_results(path)
    assert message in str(caught.value)


def test_infinite_logits_are_refused(tmp_path):
    results = make_results(5)
    results.logits[7, 2] = np.inf
    write_results(tmp_path / 'r.txt', results)
    with pytest.raises(InputError, match=r':9:.*finite'):
        read_results(tmp_path / 'r.txt')


@pytest.fixture(scope='module')
def answers():
    """Returns four models of different scales on 60 videos. Some predictions differ from the largest logit."""
    rng = np.random.default_rng(4)
    labels = rng.integers(0, 7, 60)
    logits = rng.normal(size=(4, 60, 7)) * np.array([0.1, 1, 1, 30])[:, None, None]
    logits += 1.5 * np.abs(logits).mean(axis=(1, 2), keepdims=True) * np.eye(7)[labels]
    predictions = logits.argmax(axis=2)
    predictions[:, ::9] = rng.integers(0, 7, (4, 7))
    return Answers(logits, predictions, labels)


def fused_scores(method, answers, accuracies=None):
    return apply(METHODS[method], answers, fit(METHODS[method], answers, accuracies))


def softmax_of(z):
    return np.exp(z) / np.exp(z).sum()


def stretched(z):
    return (z - z.min()) / (z.max() - z.min())


SUMS = ('4', '4-rescaled')


def formula(method, answers, v):
    """Returns the fused scores of one video by a loop over models and classes."""
    logits, predictions, labels = answers[:3]
    classes = range(logits.shape[2])
    accuracies = [np.mean(p == labels) for p in predictions]
    count = [np.sum(labels == k) for k in classes]
    mean_count = (len(labels) + len(classes)) / len(classes)
    total = np.zeros(len(classes))
    for k in classes:
        numerator = denominator = 0.0
        for m in range(len(logits)):
            z = {'-': logits[m, v], 'r': stretched(logits[m, v]), 's': softmax_of(logits[m, v])}
            right = np.sum((labels == k) & (predictions[m] == k))
            smoothed = (right + 1) / (count[k] + 2)
            weight, evidence, factor = {
                '1': (accuracies[m], predictions[m, v] == k, 1),
                'vote': (1, predictions[m, v] == k, 1),
                '2': (accuracies[m], z['-'][k], 1),
                '3': (1, z['-'][k], 1),
                '4': (accuracies[m] * (right / count[k]) ** 0.5, z['-'][k], 1),
                '4-normalised': (accuracies[m] * smoothed**0.5, z['-'][k], 1),
                '2-rescaled': (accuracies[m], z['r'][k], 1),
                '3-rescaled': (1, z['r'][k], 1),
                '4-rescaled': (accuracies[m] * (right / count[k]) ** 0.5, z['r'][k], 1),
                '4-normalised-rescaled': (accuracies[m] * smoothed**0.5, z['r'][k], 1),
                'softmax': (1, z['s'][k], 1),
                '4-frequency': (accuracies[m], z['-'][k], (mean_count / (count[k] + 1)) ** 0.5),
                'frequency': (accuracies[m], z['s'][k], mean_count / (count[k] + 1)),
            }[method]
            numerator += weight * evidence * factor
            denominator += weight
        total[k] = numerator if method in SUMS else numerator / denominator
    return total


@pytest.mark.parametrize('method', [name for name, method in METHODS.items() if method.evidence])
def test_methods_equal_their_formulas(answers, method):
    scores, predictions = fused_scores(method, answers)
    expected = [formula(method, answers, v) for v in range(60)]
    np.testing.assert_allclose(scores, expected, atol=1e-12)
    gaps = np.diff(np.sort(expected, axis=1), axis=1)[:, -1]
    clear = gaps > 1e-6
    assert (predictions == np.argmax(expected, axis=1))[clear].all()
    assert clear.sum() > 20


@pytest.mark.parametrize('method', [name for name, method in METHODS.items() if method.evidence])
@pytest.mark.parametrize('classes', [3, 8])
def test_methods_take_any_number_of_classes(method, classes):
    answers = make_answers(3, 40, seed=1, classes=classes)
    scores, _ = fused_scores(method, answers)
    np.testing.assert_allclose(scores, [formula(method, answers, v) for v in range(40)], atol=1e-12)


def plain_method4(logits, predictions, labels):
    """Returns the answers of accuracy x sqrt(class accuracy) x logit, summed over models (4.4, 6.5)."""
    weights = []
    for member in predictions:
        right = [int(prediction == label) for prediction, label in zip(member, labels, strict=True)]
        accuracy = sum(right) / len(right)
        of_class = [[r for r, label in zip(right, labels, strict=True) if label == k] for k in range(7)]
        weights.append([accuracy * math.sqrt(sum(some) / len(some) if some else accuracy) for some in of_class])
    chosen = []
    for v in range(len(labels)):
        scores = [sum(weight[k] * model[v][k] for weight, model in zip(weights, logits, strict=True)) for k in range(7)]
        chosen.append(scores.index(max(scores)))
    return chosen


def test_method_4_equals_the_plain_formula():
    """Compares each of 200 videos in 200 random cases of 5 models. The normalised weights answer some differently."""
    differing = 0
    for seed in range(200):
        answers = make_answers(5, 200, seed)
        if seed % 2:  # logits of models on different scales, a class without videos, a model that never answers Fear
            answers = Answers(answers.logits * np.array([0.1, 1, 1, 5, 30])[:, None, None], *answers[1:])
            answers.predictions[1][answers.predictions[1] == 3] = 4
            answers.labels[answers.labels == 5] = 6
        predicted = fused_scores('4', answers)[1].tolist()
        assert predicted == plain_method4(*(part.tolist() for part in answers[:3])), seed
        differing += sum(predicted != fused_scores('4-normalised', answers)[1])
    assert differing > 1000


def test_method_4_without_evidence_follows_its_formula():
    """No model is right on the only Disgust, and no video is Surprise. Two classes of score 0 tie."""
    labels = np.array([0, 0, 1, 2])
    predictions = np.array([[0, 1, 1, 0], [0, 0, 0, 0]])
    logits = -1.0 - np.arange(7) + np.eye(7)[predictions] * 9
    weights = fit(METHODS['4'], Answers(logits, predictions, labels))
    np.testing.assert_allclose(weights.by_class[0], 0.5 * np.sqrt([0.5, 1, 0, 0.5, 0.5, 0.5, 0.5]))
    np.testing.assert_allclose(weights.by_class[1], 0.5 * np.sqrt([1, 0, 0, 0.5, 0.5, 0.5, 0.5]))
    assert weights.model.tolist() == [0.5, 0.5]
    nothing = Answers(np.full((1, 2, 7), -1.0), np.array([[3, 3]]), np.array([0, 1]))  # a model that is never right
    scores, predicted = fused_scores('4', nothing)
    assert not scores.any()
    assert predicted.tolist() == [0, 0]


def test_method_4_warns_of_logarithms_and_missed_classes(answers):
    never = np.where(answers.predictions == 3, 0, answers.predictions)
    logarithms = Answers(np.log(softmax_of(answers.logits)), never, answers.labels)
    lines = {name: warn_of_sum(name, logarithms, fit(METHODS[name], logarithms)) for name in ('4', '4-normalised')}
    assert [line.split(':')[0] for line in lines['4'][:1]] == [
        "all logits are negative in 100.0% of the members' answers"
    ]
    assert lines['4'][1] == 'no member is right in Fear, so method 4 scores it 0 for every video'
    assert lines['4-normalised'] == []
    positive = answers._replace(logits=answers.logits - answers.logits.min() + 1)
    assert warn_of_sum('4', positive, fit(METHODS['4'], positive)) == []


def test_method_4_sums_over_the_models_that_answer(answers):
    """A video that a model does not answer gets the answer of the sum without that model."""
    answered = np.ones(answers.predictions.shape, bool)
    answered[1, ::4] = False
    partial = answers._replace(answered=answered)
    weights = fit(METHODS['4'], partial)
    _, predicted = apply(METHODS['4'], partial, weights)
    right = (answers.predictions == answers.labels) & answered
    for m in range(4):
        within = [right[m][answered[m] & (answers.labels == k)].mean() for k in range(7)]
        np.testing.assert_allclose(weights.by_class[m], right[m].sum() / answered[m].sum() * np.sqrt(within))
    for v in range(60):
        present = [m for m in range(4) if answered[m, v]]
        assert predicted[v] == sum(weights.by_class[m] * answers.logits[m, v] for m in present).argmax()


@pytest.mark.parametrize('method', METHODS)
def test_missing_video_is_answered_by_other_models(answers, method):
    """Its scores are those of the other models with their weights unchanged, times a factor of the class."""
    answered = np.ones(answers.predictions.shape, bool)
    answered[2, ::3] = False
    partial = answers._replace(answered=answered)
    weights = fit(METHODS[method], answers)
    scores, predictions = apply(METHODS[method], partial, weights)
    whole, _ = apply(METHODS[method], answers, weights)
    np.testing.assert_allclose(scores[answered[2]], whole[answered[2]], atol=1e-12)
    others = [0, 1, 3]
    less = weights._replace(model=weights.model[others], by_class=weights.by_class[others])
    left, predicted = apply(METHODS[method], take_models(answers, others), less)
    size = np.repeat(weights.model[:, np.newaxis], 7, axis=1) if method in SUMS else np.abs(weights.by_class)
    scale = size.sum(axis=0) / size[others].sum(axis=0)
    np.testing.assert_allclose(scores[::3] - weights.offset, ((left - weights.offset) * scale)[::3], atol=1e-12)
    if not weights.offset.any() and np.ptp(scale) < 1e-12:
        assert (predictions[::3] == predicted[::3]).all()


def test_accuracy_counts_only_videos_a_model_answers(answers):
    answered = np.random.default_rng(4).random(answers.predictions.shape) < 0.7
    found = accuracies_of(answers._replace(answered=answered))
    right = answers.predictions == answers.labels
    expected = [right[model][answered[model]].mean() for model in range(len(right))]
    np.testing.assert_allclose(found, expected)


def write_member(folder, name, ids, labels, seed):
    """Writes a results file of a model that is right on half of its videos."""
    rng = np.random.default_rng(seed)
    predictions = np.where(rng.random(len(ids)) < 0.5, labels, rng.integers(0, 7, len(ids)))
    logits = np.eye(7)[predictions] + rng.normal(0, 0.1, (len(ids), 7))
    path = folder / name / 'results_val.txt'
    path.parent.mkdir(parents=True, exist_ok=True)
    write_results(path, Results(ids, logits, logits.argmax(1), labels, np.full(len(ids), 5), ['-'] * len(ids)))
    return path


def test_file_with_missing_videos_is_completed_on_request(tmp_path):
    ids, labels = [f'v{k:02d}' for k in range(28)], np.arange(28) % 7
    whole = write_member(tmp_path, 'whole', ids, labels, 1)
    part = write_member(tmp_path, 'part', ids[:20], labels[:20], 2)
    flags = (f'--results={whole},{part}', '--method=3')
    done = run('fusion.py', *flags, f'--output={tmp_path / "error"}', ok=False)
    assert done.code == 2
    assert 'video v20 is not in' in done.err
    done = run('fusion.py', *flags, '--on_missing=others', f'--output={tmp_path / "others"}')
    assert f'{part}: 8 of 28 videos are missing, such as v20; answered by the other files' in done.out
    fused, alone = (read_results(path) for path in (tmp_path / 'others' / 'results_val.txt', whole))
    np.testing.assert_allclose(fused.logits[20:], alone.logits[20:], atol=1e-8)
    assert (fused.predictions[20:] == alone.predictions[20:]).all()

    done = run('fusion.py', *flags, '--on_missing=prior', f'--output={tmp_path / "prior"}', ok=False)
    assert done.code == 2
    assert 'class_counts.json' in done.err
    counts = dict.fromkeys(EMOTIONS, 1) | {'Sad': 1000}
    (part.parent / 'class_counts.json').write_text(json.dumps(counts))
    run('fusion.py', *flags, '--on_missing=prior', f'--output={tmp_path / "prior"}')
    fused = read_results(tmp_path / 'prior' / 'results_val.txt')
    prior = np.log((np.array(list(counts.values())) + 1) / (sum(counts.values()) + 7))
    np.testing.assert_allclose(fused.logits[20:], (alone.logits[20:] + prior) / 2, atol=1e-8)


def test_splits_sharing_few_ids_are_not_the_same(tmp_path):
    """A few ids of AFEW occur in both training and test."""
    labels = np.arange(40) % 7
    ours, theirs = [f'v{k:02d}' for k in range(40)], [f't{k:02d}' for k in range(39)] + ['v03']
    fitted = [write_member(tmp_path / 'val', name, ours, labels, seed) for seed, name in enumerate('ab')]
    applied = [write_member(tmp_path / 'test', name, theirs, labels, seed) for seed, name in enumerate('cd', 5)]
    paths = [','.join(map(str, members)) for members in (fitted, applied)]
    flags = (f'--weights_from={paths[0]}', f'--apply_to={paths[1]}')
    done = run('fusion.py', *flags, f'--output={tmp_path / "all"}')
    assert 'optimistic' not in done.out
    assert 'the ids of 1 of 40 videos are also in --weights_from; --leave_out_common' in done.out
    assert json.loads((tmp_path / 'all' / 'metrics_val.json').read_text())['total'] == 40
    done = run('fusion.py', *flags, '--leave_out_common', f'--output={tmp_path / "less"}')
    assert 'left out of the score' in done.out
    assert json.loads((tmp_path / 'less' / 'metrics_val.json').read_text())['total'] == 39
    assert len(read_results(tmp_path / 'less' / 'results_val.txt').video_ids) == 40


def test_accuracies_may_be_given(answers):
    given = np.array([0.2, 0.9, 0.4, 0.01])
    scores, _ = fused_scores('2', answers, given)
    np.testing.assert_allclose(scores, np.average(answers.logits, axis=0, weights=given))


def as_regression(inputs, targets, ridge):
    scaler = StandardScaler().fit(inputs)
    model = Ridge(alpha=ridge * len(inputs)).fit(scaler.transform(inputs), targets)
    slopes = model.coef_ / scaler.scale_
    return slopes, model.intercept_ - scaler.mean_ @ slopes


def test_ridge_regression_equals_scikit_learn(answers):
    inputs, targets = answers.logits[:, :, 2].T, (answers.labels == 2).astype(float)
    for ridge in (1e-3, 0.3, 50):
        for ours, theirs in zip(
            ridge_regression(inputs, targets, ridge), as_regression(inputs, targets, ridge), strict=True
        ):
            np.testing.assert_allclose(ours, theirs, atol=1e-12)
    slopes, offset = ridge_regression(np.ones((5, 2)), np.arange(5.0), 0.1)  # inputs that never vary
    assert slopes.tolist() == [0, 0]
    assert offset == 2


@pytest.mark.parametrize(('method', 'classes'), [('5', 7), ('per-class', 8)])
def test_regression_uses_the_ridge_that_predicts_best(answers, method, classes):
    answers = answers if classes == 7 else make_answers(4, 60, seed=2, classes=classes)
    targets = np.eye(classes)[answers.labels]

    def regress(logits, targets, ridge):
        if method == 'per-class':
            per_class = [as_regression(logits[:, :, k].T, targets[:, k], ridge) for k in range(classes)]
            return lambda new: np.stack([new[:, :, k].T @ a + b for k, (a, b) in enumerate(per_class)], axis=1)
        model, _ = as_regression(logits.reshape(len(logits), -1).T, targets.ravel(), ridge)
        fused = np.einsum('m,mvk->vk', model, logits)
        per_class = [as_regression(fused[:, [k]], targets[:, k], ridge) for k in range(classes)]
        return lambda new: np.stack(
            [np.einsum('m,mv->v', model, new[:, :, k]) * a[0] + b for k, (a, b) in enumerate(per_class)], axis=1
        )

    fold = stratified_folds(answers.labels, 5, 0)
    right = {}
    for ridge in (1e3, 1e2, 10, 1, 0.1, 0.01, 1e-3):
        right[ridge] = 0
        for k in range(5):
            predict = regress(answers.logits[:, fold != k], targets[fold != k], ridge)
            predictions = predict(answers.logits[:, fold == k]).argmax(axis=1)
            right[ridge] += np.sum(predictions == answers.labels[fold == k])
    assert len(set(right.values())) > 2
    predict = regress(answers.logits, targets, max(right, key=right.get))
    scores, predictions = fused_scores(method, answers)
    np.testing.assert_allclose(scores, predict(answers.logits), atol=1e-10)
    assert (predictions == scores.argmax(axis=1)).all()


def test_real_audio_and_face_scores_add_up():
    """Fuses eight classes of RAVDESS by weights from the other folds. The labels of a fold do not reach its answers."""
    scores = ravdess_fusion.read_scores(realdata() / 'scores' / 'ravdess_audiovisual.npz')
    answers, fold = ravdess_fusion.make_answers(scores), scores['fold']
    for member, predictions in zip(ravdess_fusion.MEMBERS, answers.predictions, strict=True):
        found = ravdess_fusion.mean_of_folds(predictions == answers.labels, fold)
        assert round(found, 2) == ravdess_fusion.PRINTED[member]
    fused = ravdess_fusion.predict_held_out(answers, fold, ['4-normalised'] * 5)
    assert ravdess_fusion.mean_of_folds(fused == answers.labels, fold) >= ravdess_fusion.GOAL
    changed = answers._replace(labels=np.where(fold == 2, 7 - answers.labels, answers.labels))
    without = ravdess_fusion.predict_held_out(changed, fold, ['4-normalised'] * 5)
    assert (without[fold == 2] == fused[fold == 2]).all()
    assert (without != fused).any()


@pytest.mark.parametrize('method', METHODS)
def test_order_of_models_and_videos_is_irrelevant(answers, method):
    scores, predictions = fused_scores(method, answers)
    models = [2, 0, 3, 1]
    other, others = fused_scores(method, take_models(answers, models))
    np.testing.assert_allclose(other, scores, rtol=1e-9, atol=1e-12)
    assert (others == predictions).all()
    if METHODS[method].evidence:  # the folds that choose a regression's ridge depend on the order
        videos = np.random.default_rng(0).permutation(60)
        other, others = fused_scores(method, take_videos(answers, videos))
        np.testing.assert_allclose(other, scores[videos], atol=1e-12)
        assert (others == predictions[videos]).all()


@pytest.mark.parametrize('method', [name for name in METHODS if 'softmax' != name != 'frequency'])
@pytest.mark.parametrize('scale', [1e-12, 3, 1e12])
def test_scale_of_all_logits_is_irrelevant(answers, method, scale):
    _, predictions = fused_scores(method, answers)
    _, scaled = fused_scores(method, answers._replace(logits=scale * answers.logits))
    assert (scaled == predictions).all()


@pytest.mark.parametrize('method', ['1', 'vote', '2-rescaled', '3-rescaled', '4-rescaled', '5', 'per-class'])
def test_scale_of_one_model_is_irrelevant_if_normalised(answers, method):
    """Votes have no scale, rescaled logits lose it, and a regression's weights adapt to it."""
    _, predictions = fused_scores(method, answers)
    scales = np.array([1e-3, 1, 50, 7])[:, None, None]
    _, scaled = fused_scores(method, answers._replace(logits=scales * answers.logits))
    assert (scaled == predictions).all()


@pytest.mark.parametrize('method', ['1', '2', '3', '4-normalised'])
@pytest.mark.parametrize('never_right', [False, True])
def test_single_model_keeps_its_answers(answers, method, never_right):
    alone = take_models(answers, [1])
    if never_right:
        alone = alone._replace(labels=(alone.predictions[0] + 1) % 7)
    scores, predictions = fused_scores(method, alone)
    expected = np.eye(7)[alone.predictions[0]] if method == '1' else alone.logits[0]
    np.testing.assert_allclose(scores, expected, rtol=1e-12)
    assert (predictions == expected.argmax(axis=1)).all()


def test_equal_accuracies_make_methods_equally_weighted(answers):
    for weighted, plain in (('2', '3'), ('1', 'vote'), ('2-rescaled', '3-rescaled')):
        scores, predictions = fused_scores(weighted, answers, np.full(4, 0.3))
        other, others = fused_scores(plain, answers)
        np.testing.assert_allclose(scores, other, atol=1e-12)
        assert (predictions == others).all()


def test_ties_go_to_the_first_class():
    # 0.4 + 0.2 and 0.3 + 0.3 are equal, but not in floating point.
    predictions = np.array([[5], [5], [2], [2]])
    tied = Answers(np.eye(7)[predictions], predictions, np.array([0]))
    for accuracies in ([0.4, 0.2, 0.3, 0.3], [0.3, 0.3, 0.4, 0.2], [0.1, 0.2, 0.3, 0.0]):
        assert fused_scores('1', tied, np.array(accuracies))[1] == [2]
        assert fused_scores('2', tied, np.array(accuracies))[1] == [2]
    assert fused_scores('1', tied, np.array([0.4, 0.2001, 0.3, 0.3]))[1] == [5]
    assert fused_scores('vote', tied)[1] == [2]
    nothing = Answers(np.zeros((2, 1, 7)), np.array([[3], [4]]), np.array([0]))
    assert fused_scores('3-rescaled', nothing)[1] == [0]


@pytest.mark.parametrize('method', METHODS)
def test_fusion_command_writes_all_files(members, tmp_path, method):
    done = run('fusion.py', f'--results={members[0]},{members[1]}', f'--method={method}', f'--output={tmp_path / "f"}')
    fused = read_results(tmp_path / 'f' / 'results_val.txt')
    first, second = make_results(1, fallback=(3, 4)), make_results(2, fallback=(4,))
    answers = Answers(
        np.stack([first.logits, second.logits]).astype(np.float64),
        np.stack([first.predictions, second.predictions]),
        first.labels,
    )
    scores, predictions = fused_scores(method, answers)
    np.testing.assert_allclose(fused.logits, scores, rtol=1e-6, atol=1e-7)
    assert fused.predictions.tolist() == predictions.tolist()
    assert fused.fallback[3] == '-'  # the second member has an answer for that video
    assert fused.fallback[4] == 'no_face'
    assert fused.frames[3:5].tolist() == [50, 0]
    metrics = json.loads((tmp_path / 'f' / 'metrics_val.json').read_text())
    assert metrics['correct'] == (predictions == first.labels).sum()
    assert metrics['total'] == 20
    assert metrics['results_sha256'] == hashlib.sha256((tmp_path / 'f' / 'results_val.txt').read_bytes()).hexdigest()
    assert f'{metrics["correct"]}/20' in done.out
    assert (tmp_path / 'f' / 'confusion_val.png').stat().st_size > 1000
    fitted = METHODS[method].needs != 'nothing'
    assert metrics['optimistic'] == fitted == ('fused: optimistic' in done.out) == ('cross-validated' in done.out)
    rows = list(csv.DictReader((tmp_path / 'f' / 'weights_val.csv').open()))
    assert [row['member'] for row in rows] == [*map(str, members), 'offset']
    weights = np.array([[float(row[f'weight_{name}']) for name in EMOTIONS] for row in rows])
    inputs = METHODS[method].inputs(answers)
    np.testing.assert_allclose(
        np.einsum('mvk,mk->vk', inputs, weights[:2]) + weights[2], fused.logits, rtol=1e-5, atol=1e-6
    )


def split_files(tmp_path, split, seeds, ids='', labelled=True, videos=20):
    paths = []
    for seed in seeds:
        paths.append(tmp_path / f'run{seed}' / f'results_{split}.txt')
        paths[-1].parent.mkdir(exist_ok=True)
        results = make_results(seed, labelled=labelled, videos=videos)
        write_results(paths[-1], results._replace(video_ids=[ids + video_id for video_id in results.video_ids]))
    return ','.join(map(str, paths))


@pytest.mark.parametrize('method', ['2', '4', '5'])
def test_weights_of_one_split_apply_to_another(tmp_path, method):
    val, test = split_files(tmp_path, 'val', (1, 2, 3)), split_files(tmp_path, 'test', (1, 2, 3), 't', videos=13)
    done = run(
        'fusion.py', f'--weights_from={val}', f'--apply_to={test}', f'--method={method}', f'--output={tmp_path}/f'
    )
    source, applied = (
        Answers(np.stack([r.logits for r in rs]).astype(float), np.stack([r.predictions for r in rs]), rs[0].labels)
        for rs in ([make_results(k, videos=videos) for k in (1, 2, 3)] for videos in (20, 13))
    )
    _, predictions = apply(METHODS[method], applied, fit(METHODS[method], source))
    assert read_results(tmp_path / 'f' / 'results_test.txt').predictions.tolist() == predictions.tolist()
    assert 'optimistic' not in done.out
    metrics = json.loads((tmp_path / 'f' / 'metrics_test.json').read_text())
    assert not metrics['optimistic']
    assert metrics['weights_from'] == val.split(',')
    assert metrics['correct'] == (predictions == applied.labels).sum()


def test_score_on_the_source_of_weights_is_optimistic(tmp_path):
    val, test = split_files(tmp_path, 'val', (1, 2)), split_files(tmp_path, 'test', (1, 2))
    done = run('fusion.py', f'--weights_from={val}', f'--apply_to={test}', f'--output={tmp_path}/f')
    assert 'fused: optimistic' in done.out


def test_cross_validated_weights_come_from_other_folds(answers):
    method = METHODS['per-class']
    folds = stratified_folds(answers.labels, 5, 3)
    before = cross_validated_method(method, answers, None, 5, 1, 3)[0]
    for k in range(5):
        held_out = folds == k
        weights = fit(method, take_videos(answers, ~held_out))
        assert (before[held_out] == apply(method, take_videos(answers, held_out), weights)[1]).all()
    repeated = cross_validated_method(method, answers, None, 5, 3, 3)
    assert (repeated[0] == before).all()
    assert (repeated[1] == cross_validated_method(method, answers, None, 5, 1, 4)[0]).all()


def test_folds_are_stratified():
    labels = np.random.default_rng(0).integers(0, 7, 383)
    fold = stratified_folds(labels, 5, 1)
    assert sorted(np.bincount(fold)) == [76, 76, 77, 77, 77]
    for k in range(7):
        assert np.ptp(np.bincount(fold[labels == k], minlength=5)) <= 1
    assert (fold != stratified_folds(labels, 5, 2)).any()


def test_bootstrap_interval_equals_scipy():
    values = np.random.default_rng(0).random(80)
    expected = scipy.stats.bootstrap((values,), np.mean, method='percentile', n_resamples=9999, rng=1)
    np.testing.assert_allclose(bootstrap_interval(values), expected.confidence_interval, atol=0.004)


def test_output_may_be_a_file(members, tmp_path):
    run('fusion.py', f'--results={members[0]},{members[1]}', f'--output={tmp_path / "out" / "results_best.txt"}')
    names = sorted(path.name for path in (tmp_path / 'out').iterdir())
    assert names == ['confusion_best.png', 'metrics_best.json', 'results_best.txt', 'weights_best.csv']


def test_unlabelled_files_need_accuracies(tmp_path):
    paths = [tmp_path / 'results_test.txt', tmp_path / 'results_test2.txt']
    for seed, path in enumerate(paths):
        write_results(path, make_results(seed, labelled=False))
    command = ('fusion.py', f'--results={paths[0]},{paths[1]}', f'--output={tmp_path / "f"}')
    refused = run(*command, ok=False)
    assert refused.code == 2
    assert '--accuracies' in refused.err
    done = run(*command, '--accuracies=0.4,0.5')
    assert 'no metrics' in done.out
    assert sorted(path.name for path in (tmp_path / 'f').iterdir()) == ['results_fused.txt', 'weights_fused.csv']


@pytest.mark.parametrize(
    ('which', 'where'),
    [
        ('first video missing', 'a/results_val.txt:2: video 000000000 is not in'),
        ('additional video', 'b/results_val.txt:2: video x is not in'),
        ('other labels', 'b/results_val.txt:'),
    ],
)
def test_files_that_disagree_are_refused(members, tmp_path, which, where):
    second = read_results(members[1])
    if which == 'first video missing':
        kept = [row for row, video_id in enumerate(second.video_ids) if video_id != '000000000']
        second = Results(*([column[row] for row in kept] for column in second))
    elif which == 'additional video':
        second = Results(*([column[0], *column] for column in second))
        second.video_ids[0] = 'x'
    else:
        second.labels[:] = (second.labels + 1) % 7
    write_results(members[1], second)
    done = run('fusion.py', f'--results={members[0]},{members[1]}', f'--output={tmp_path / "f"}', ok=False)
    assert done.code == 2
    (line,) = done.err.splitlines()
    assert f'{tmp_path}/{where}' in line
    assert not (tmp_path / 'f').exists()


def test_contradicting_labels_are_refused_after_unlabelled_file(tmp_path):
    paths = [tmp_path / f'results_{name}.txt' for name in 'abc']
    write_results(paths[0], make_results(0, labelled=False))
    write_results(paths[1], make_results(1))
    third = make_results(2)
    third.labels[5] = (third.labels[5] + 1) % 7
    write_results(paths[2], third)
    done = run('fusion.py', f'--results={",".join(map(str, paths))}', '--method=3', f'--output={tmp_path}/f', ok=False)
    assert done.code == 2
    assert 'results_c.txt:7: video 000000005' in done.err


def test_method_3_needs_no_accuracies(tmp_path):
    path = tmp_path / 'results_test.txt'
    write_results(path, make_results(0, labelled=False))
    done = run('fusion.py', f'--results={path}', '--method=3', f'--output={tmp_path / "f"}')
    assert 'accuracy' not in done.out


@pytest.mark.parametrize(
    ('flags', 'message'),
    [
        (('--output={inputs}',), 'one of the files to fuse'),
        (('--accuracies=inf,1',), 'expected numbers in [0, 1]'),
        (('--accuracies=0,0',), 'not all 0'),
        (('--accuracies=0.4',), '1 numbers for 2 files'),
        (('--results=',), 'no files'),
        (('--output={inputs}/results_val.txt/x',), 'results_val.txt'),
        (('--method=9',), 'method'),
        (('--folds=1',), '--folds=1: expected 2 or more'),
        (('--weights_from={inputs}/results_val.txt',), 'both --weights_from and --apply_to'),
        (('--results={inputs}/results_val.txt,{inputs}/../a/results_val.txt',), 'given twice'),
        (('--results={inputs}/*.tsv',), 'no such files'),
        (('--results=' + ','.join(f'{{inputs}}/{k}' for k in range(1001)),), '1001 files; expected at most 1000'),
        (('--submission={inputs}',), 'exists and is not empty'),
    ],
)
def test_bad_fusion_flags_are_refused(members, tmp_path, flags, message):
    before = members[0].read_bytes()
    command = ('fusion.py', f'--results={members[0]},{members[1]}', f'--output={tmp_path / "f"}')
    done = run(*command, *(flag.format(inputs=members[0].parent) for flag in flags), ok=False)
    assert done.code == 2
    (line,) = done.err.splitlines()
    assert message in line
    assert members[0].read_bytes() == before
    assert not (tmp_path / 'f').exists()


def test_fusion_never_imports_tensorflow(members, tmp_path):
    program = (
        'import sys, runpy\n'
        f"sys.argv = ['fusion.py', '--results={members[0]},{members[1]}', '--output={tmp_path / 'f'}']\n"
        'try:\n'
        "    runpy.run_path('fusion.py', run_name='__main__')\n"
        'except SystemExit:\n'
        '    pass\n'
        "print('loaded', sorted({name.partition('.')[0] for name in sys.modules} & "
        "{'tensorflow', 'tf_slim', 'tf_keras', 'keras', 'sklearn', 'pandas', 'scipy'}))\n"
    )
    done = run('-c', program)
    assert 'fused:' in done.out
    assert 'loaded []' in done.out


def test_ten_thousand_files_are_refused_at_once(tmp_path):
    flagfile = tmp_path / 'flags.txt'
    flagfile.write_text('--results=' + ','.join(f'run{k}/results_val.txt' for k in range(10_000)) + '\n')
    done = run('fusion.py', f'--flagfile={flagfile}', f'--output={tmp_path / "f"}', ok=False, timeout=20)
    assert done.code == 2
    (line,) = done.err.splitlines()
    assert '10000 files' in line


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (lambda text: '', 'b/results_val.txt: empty'),
        (lambda text: text.replace('logit_Surprise\t', ''), 'no column logit_Surprise'),
        (lambda text: text.replace('000000003\t', '000000002\t'), 'b/results_val.txt:'),
        (lambda text: text.replace('000000003\t', '\t'), 'is not in'),
    ],
)
def test_bad_results_files_are_refused(members, tmp_path, change, message):
    members[1].write_text(change(members[1].read_text()))
    done = run('fusion.py', f'--results={members[0]},{members[1]}', f'--output={tmp_path / "f"}', ok=False)
    assert done.code == 2
    (line,) = done.err.splitlines()
    assert message in line
    assert not (tmp_path / 'f').exists()


@pytest.mark.parametrize('method', ['1', '4', '5'])
def test_a_video_without_a_label_is_named(members, tmp_path, method):
    for path in members:
        results = read_results(path)
        results.labels[results.video_ids.index('000000006')] = -1
        write_results(path, results)
    command = ('fusion.py', f'--results={members[0]},{members[1]}', f'--output={tmp_path / "f"}')
    done = run(*command, f'--method={method}', ok=False)
    assert done.code == 2
    (line,) = done.err.splitlines()
    assert 'video 000000006 has no label' in line
    assert ('--accuracies' in line) == (method == '1')


def test_file_with_reordered_classes_is_named(members, tmp_path):
    expected = run('fusion.py', f'--results={members[0]},{members[1]}', f'--output={tmp_path / "f"}')
    assert 'reordered by name' not in expected.out
    before = (tmp_path / 'f' / 'results_val.txt').read_bytes()
    rows = [line.split('\t') for line in members[1].read_text().splitlines()]
    order = [0, 7, 6, 5, 4, 3, 2, 1, *range(8, 12)]
    members[1].write_text('\n'.join('\t'.join(row[k] for k in order) for row in rows))
    assert members[1].read_text().startswith(f'video_id\t{LOGIT_COLUMNS[-1]}')
    done = run('fusion.py', f'--results={members[0]},{members[1]}', f'--output={tmp_path / "f"}')
    assert 'b/results_val.txt: its classes are in the order Surprise, Sad' in done.out
    assert (tmp_path / 'f' / 'results_val.txt').read_bytes() == before


def test_same_models_in_another_order_are_refused(tmp_path):
    val, test = split_files(tmp_path, 'val', (1, 2)), split_files(tmp_path, 'test', (2, 1), 't')
    command = ('fusion.py', f'--weights_from={val}', f'--output={tmp_path}/f')
    done = run(*command, f'--apply_to={test}', ok=False)
    assert done.code == 2
    assert 'expected the same models in the same order' in done.err
    done = run(*command, f'--apply_to={test},{tmp_path}/x', ok=False)
    assert done.code == 2
    assert 'x: No such file' in done.err
    done = run(*command, f'--apply_to={test.split(",")[0]}', ok=False)
    assert '--apply_to: 1 files, --weights_from: 2' in done.err


def test_patterns_match_in_sorted_order(tmp_path):
    paths = split_files(tmp_path, 'val', (1, 2, 3))
    run('fusion.py', f'--results={paths}', f'--output={tmp_path}/f')
    run('fusion.py', f'--results={tmp_path}/run*/results_val.txt', f'--output={tmp_path}/g')
    for name in ('results_val.txt', 'weights_val.csv'):
        assert (tmp_path / 'f' / name).read_bytes() == (tmp_path / 'g' / name).read_bytes()
    ours, theirs = (json.loads((tmp_path / folder / 'metrics_val.json').read_text()) for folder in 'fg')
    assert ours | {'written': ''} == theirs | {'written': ''}


@pytest.mark.parametrize(('first_only', 'second_only'), [(0, 0), (5, 5), (3, 11), (40, 22), (1, 0)])
def test_mcnemar_equals_scipy(first_only, second_only):
    expected = scipy.stats.binomtest(first_only, max(first_only + second_only, 1)).pvalue
    assert mcnemar(first_only, second_only) == pytest.approx(expected if first_only + second_only else 1)


def test_paired_bootstrap_resamples_videos():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 7, 150)
    first, second = (np.where(rng.random(150) < p, labels, (labels + 1) % 7) for p in (0.55, 0.4))
    found = compare(labels, first, second)
    differences = (first == labels).astype(float) - (second == labels)
    assert found.difference == pytest.approx(differences.mean())
    assert found.first_only - found.second_only == differences.sum()
    means = differences[rng.integers(0, 150, (20_000, 150))].mean(axis=1)  # samples of videos, without a shortcut
    np.testing.assert_allclose(found.interval_95, np.percentile(means, [2.5, 97.5]), atol=0.011)
    assert found.bootstrap == pytest.approx(2 * (means <= 0).mean(), abs=0.01)
    same = compare(labels, first, first)
    assert (same.mcnemar, same.bootstrap, same.interval_95) == (1, 1, [0, 0])


def test_compare_command_prints_the_tests(members):
    done = run('fusion.py', '--compare', f'--results={members[0]},{members[1]}')
    first, second = make_results(1), make_results(2)
    found = compare(first.labels, first.predictions, second.predictions)
    assert f'{found.first_only} : {found.second_only}' in done.out
    assert f'{found.mcnemar:.3f}' in done.out
    alone = run('fusion.py', '--compare', f'--results={members[0]}', ok=False)
    assert alone.code == 2
    assert 'a single file' in alone.err


@pytest.mark.parametrize('video_id', ['../x', 'a/b', 'a\\b', '..', '', 'nul\0', 'x' * 252, 'é' * 126])
def test_ids_that_cannot_name_files_are_refused(tmp_path, video_id):
    """The submission is refused before any file is written."""
    results = Results(['a', video_id], np.eye(7)[:2], np.arange(2), np.full(2, -1), np.ones(2, int), ['-', '-'])
    with pytest.raises(InputError, match=r'cannot name a file; expected ids without / and \\'):
        write_submission(str(tmp_path / 'submission'), results)
    assert list(tmp_path.iterdir()) == []


def test_submission_command_writes_emotiw_files(members, tmp_path):
    command = ('fusion.py', f'--results={members[0]},{members[1]}', f'--output={tmp_path / "f"}')
    run(*command, f'--submission={tmp_path / "s"}')
    fused = read_results(tmp_path / 'f' / 'results_val.txt')
    assert len(list((tmp_path / 's').iterdir())) == 20
    for video_id, prediction in zip(fused.video_ids, fused.predictions, strict=True):
        message = (tmp_path / 's' / f'{video_id}.txt').read_text()
        assert message == EMOTIONS[prediction].replace('Anger', 'Angry') + '\n'
    assert 1 in fused.predictions
    check = ('fusion.py', f'--check_submission={tmp_path / "s"}', f'--expected={members[0]}')
    assert '20 videos, all there' in run(*check).out
    (tmp_path / 's' / '000000003.txt').unlink()
    done = run(*check, ok=False)
    assert (done.code, done.out) == (1, 'missing: 000000003.txt\n')


def test_faults_of_a_submission_are_listed(tmp_path):
    (tmp_path / 'sub').mkdir()
    for name, text in {
        'a.txt': 'Angry\n',
        'b.txt': 'Anger\n',
        'c.txt': 'Sad',
        'C.txt': 'Sad',
        'd.txt': '',
        'e.txt': 'Happy\nSad\n',
        'sub/f.txt': 'Fear\n',
        'x.txt': 'Fear\n',
        'g.csv': 'Neutral',
    }.items():
        (tmp_path / name).write_text(text)
    faults = check_submission(str(tmp_path), list('abcdefgh'))
    kinds = 'Angry, Disgust, Fear, Happy, Neutral, Sad, Surprise'
    assert sorted(faults) == sorted(
        [
            "misspelt: b.txt:1: 'Anger'; expected one of " + kinds,
            'extra: C.txt is not named c.txt',
            'duplicated: c has C.txt, c.txt',
            'misspelt: d.txt: empty; expected one of ' + kinds,
            'misspelt: e.txt:2: 2 lines; expected one class name',
            'extra: sub/f.txt is not named f.txt',
            'extra: x.txt belongs to no expected video',
            'extra: g.csv is not named g.txt',
            'missing: f.txt',
            'missing: g.txt',
            'missing: h.txt',
        ]
    )


@pytest.mark.parametrize(
    ('text', 'ids'),
    [
        ('000000002.avi\n\n# note\n000000001.avi\n', ['000000002', '000000001']),
        ('video_id,label,frames_decoded\nb,,3\na,,4\n', ['b', 'a']),
        ('video_id\tprediction\nb\tSad\n', ['b']),
    ],
)
def test_expected_videos_are_read_from_lists(tmp_path, text, ids):
    path = tmp_path / 'expected'
    path.write_text(text)
    assert read_expected(str(path)) == ids


@pytest.mark.parametrize(
    ('text', 'message'), [('', 'lists no video'), ('a.avi\nb\na.mp4\n', ':3: video a is already on line 1')]
)
def test_bad_lists_of_expected_videos_are_refused(tmp_path, text, message):
    path = tmp_path / 'expected'
    path.write_text(text)
    with pytest.raises(InputError, match=message):
        read_expected(str(path))
