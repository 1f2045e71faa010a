"""fusion.py: its methods against one-line formulas, its files, its complaints."""

import json

import numpy as np
import pytest
from conftest import run

from fer.errors import InputError
from fer.evaluation.results import Results, read_results, write_results
from fer.fusion.methods import METHODS


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
    """Two results files of the same videos, the second in another order."""
    paths = [tmp_path / 'a' / 'results_val.txt', tmp_path / 'b' / 'results_val.txt']
    results = [make_results(1, fallback=(3, 4)), shuffled(make_results(2, fallback=(4,)), 0)]
    for path, result in zip(paths, results, strict=True):
        path.parent.mkdir()
        write_results(path, result)
    return paths


def test_results_survive_to_the_bit(tmp_path):
    results = make_results(5, fallback=(2,))
    write_results(tmp_path / 'r.txt', results)
    back = read_results(tmp_path / 'r.txt')
    assert (back.logits.astype(np.float32) == results.logits).all()
    for mine, theirs in zip(back, results, strict=True):
        assert list(map(str, mine)) == list(map(str, theirs)) or mine is back.logits


def test_results_in_other_column_orders_and_without_the_last_two(tmp_path):
    write_results(tmp_path / 'r.txt', make_results(5))
    rows = [line.split('\t')[:-2] for line in (tmp_path / 'r.txt').read_text().splitlines()]
    (tmp_path / 's.txt').write_text('\n'.join('\t'.join([*row[::-1], 'x']) for row in rows))
    ours, theirs = read_results(tmp_path / 'r.txt'), read_results(tmp_path / 's.txt')
    assert (ours.logits == theirs.logits).all()
    assert theirs.frames.tolist() == [-1] * 20


@pytest.mark.parametrize(
    ('change', 'says'),
    [
        (lambda text: '', 'empty'),
        (lambda text: text.splitlines()[0], 'no videos'),
        (lambda text: text.replace('logit_Fear', 'logit_Contempt'), 'logit_Fear'),
        (lambda text: text.replace('000000003\t', '000000002\t'), 'second time'),
        (lambda text: text.replace('000000003\t', '000000003\tnan\t'), ':5:'),
        (lambda text: text.replace('000000003\t', '000000003'), ':5: 11 fields; expected 12'),
    ],
)
def test_malformed_results(tmp_path, change, says):
    path = tmp_path / 'r.txt'
    write_results(path, make_results(5))
    path.write_text(change(path.read_text()))
    with pytest.raises(InputError) as caught:
        read_results(path)
    assert says in str(caught.value)


def test_infinite_logits(tmp_path):
    results = make_results(5)
    results.logits[7, 2] = np.inf
    write_results(tmp_path / 'r.txt', results)
    with pytest.raises(InputError, match=r':9:.*finite'):
        read_results(tmp_path / 'r.txt')


def test_methods_against_their_formulas():
    rng = np.random.default_rng(4)
    logits, accuracies = rng.normal(size=(3, 11, 7)), rng.uniform(0.2, 0.6, 3)
    predictions = rng.integers(0, 7, (3, 11))  # not the largest logits, as in files from elsewhere
    for v in range(11):
        votes = sum(a * (np.arange(7) == p[v]) for a, p in zip(accuracies, predictions, strict=True))
        weighted = sum(a * z[v] for a, z in zip(accuracies, logits, strict=True))
        for method, expected in ((1, votes), (2, weighted)):
            np.testing.assert_allclose(METHODS[method](logits, predictions, accuracies)[v], expected / sum(accuracies))
        np.testing.assert_allclose(METHODS[3](logits, predictions, accuracies)[v], sum(z[v] for z in logits) / 3)


@pytest.mark.parametrize('method', METHODS)
def test_one_model_alone_is_itself_and_order_does_not_matter(method):
    rng = np.random.default_rng(6)
    logits, accuracies = rng.normal(size=(4, 9, 7)), rng.uniform(0.2, 0.6, 4)
    predictions = logits.argmax(axis=2)
    alone = METHODS[method](logits[:1], predictions[:1], accuracies[:1])
    assert (alone.argmax(axis=1) == predictions[0]).all()
    fused = METHODS[method](logits, predictions, accuracies)
    order = [2, 0, 3, 1]
    np.testing.assert_allclose(METHODS[method](logits[order], predictions[order], accuracies[order]), fused)
    np.testing.assert_allclose(METHODS[method](logits, predictions, 5 * accuracies), fused)


def test_equal_accuracies_make_method_2_method_3():
    logits = np.random.default_rng(7).normal(size=(4, 9, 7))
    answers = (logits, logits.argmax(axis=2), np.full(4, 0.3))
    np.testing.assert_allclose(METHODS[2](*answers), METHODS[3](*answers))


@pytest.mark.parametrize('method', METHODS)
def test_command(members, tmp_path, method):
    done = run('fusion.py', f'--results={members[0]},{members[1]}', f'--method={method}', f'--output={tmp_path / "f"}')
    fused = read_results(tmp_path / 'f' / 'results_val.txt')
    first, second = make_results(1, fallback=(3, 4)), make_results(2, fallback=(4,))
    accuracies = np.array([(r.predictions == r.labels).mean() for r in (first, second)])
    logits = np.stack([first.logits, second.logits]).astype(np.float64)
    expected = METHODS[method](logits, logits.argmax(axis=2), accuracies)
    np.testing.assert_allclose(fused.logits, expected, rtol=1e-6)
    assert fused.fallback[3] == '-'  # the second member saw that video
    assert fused.fallback[4] == 'no_face'
    assert fused.frames[3:5].tolist() == [50, 0]
    metrics = json.loads((tmp_path / 'f' / 'metrics_val.json').read_text())
    assert metrics['correct'] == (expected.argmax(axis=1) == first.labels).sum()
    assert metrics['total'] == 20
    assert f'{metrics["correct"]}/20' in done.out
    assert (tmp_path / 'f' / 'confusion_val.png').stat().st_size > 1000


def test_output_may_be_a_file(members, tmp_path):
    run('fusion.py', f'--results={members[0]},{members[1]}', f'--output={tmp_path / "out" / "results_best.txt"}')
    names = sorted(path.name for path in (tmp_path / 'out').iterdir())
    assert names == ['confusion_best.png', 'metrics_best.json', 'results_best.txt']


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
    assert [path.name for path in (tmp_path / 'f').iterdir()] == ['results_fused.txt']


@pytest.mark.parametrize(
    ('which', 'where'),
    [
        ('lacks the first', 'a/results_val.txt:2: video 000000000 is not in'),
        ('has one more', 'b/results_val.txt:2: video x is not in'),
        ('other labels', 'b/results_val.txt:'),
    ],
)
def test_files_that_disagree(members, tmp_path, which, where):
    second = read_results(members[1])
    if which == 'lacks the first':
        kept = [row for row, video_id in enumerate(second.video_ids) if video_id != '000000000']
        second = Results(*([column[row] for row in kept] for column in second))
    elif which == 'has one more':
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


def test_labels_that_contradict_each_other_after_an_unlabelled_file(tmp_path):
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
    ('flags', 'says'),
    [
        (('--output={inputs}',), 'one of the files to fuse'),
        (('--accuracies=inf,1',), 'expected numbers in [0, 1]'),
        (('--accuracies=0,0',), 'not all 0'),
        (('--accuracies=0.4',), '1 numbers for 2 files'),
        (('--results=',), 'no files'),
        (('--output={inputs}/results_val.txt/x',), 'results_val.txt'),
        (('--method=9',), 'method'),
    ],
)
def test_bad_flags(members, tmp_path, flags, says):
    before = members[0].read_bytes()
    command = ('fusion.py', f'--results={members[0]},{members[1]}', f'--output={tmp_path / "f"}')
    done = run(*command, *(flag.format(inputs=members[0].parent) for flag in flags), ok=False)
    assert done.code == 2
    (line,) = done.err.splitlines()
    assert says in line
    assert members[0].read_bytes() == before
    assert not (tmp_path / 'f').exists()


def test_never_imports_tensorflow(members, tmp_path):
    program = (
        'import sys, runpy\n'
        f"sys.argv = ['fusion.py', '--results={members[0]},{members[1]}', '--output={tmp_path / 'f'}']\n"
        'try:\n'
        "    runpy.run_path('fusion.py', run_name='__main__')\n"
        'except SystemExit:\n'
        '    pass\n'
        "print('loaded', sorted({name.partition('.')[0] for name in sys.modules} & "
        "{'tensorflow', 'tf_slim', 'tf_keras', 'keras'}))\n"
    )
    done = run('-c', program)
    assert 'fused:' in done.out
    assert 'loaded []' in done.out
