# SPDX-License-Identifier: Apache-2.0
"""python -m fer.report: its numbers, compared with other implementations, and its warnings about odd runs."""

import base64
import csv
import dataclasses
import html
import html.parser
import json
import math
import re
import shutil
import subprocess
import typing
from pathlib import Path

import numpy as np
import pytest
import scipy.stats
from conftest import ROOT, run, settings_from
from sklearn.metrics import accuracy_score, confusion_matrix, f1_score

from fer.dissertation.confusion import read_figures
from fer.dissertation.errata import read_errata
from fer.dissertation.runs import read_runs
from fer.emotions import EMOTIONS
from fer.errors import InputError
from fer.fusion.methods import METHODS
from fer.prepare.statistics.write import write_statistics
from fer.prepare_flags import write_run_prepare_flags
from fer.report.changed_settings import changed_fusion, changed_settings
from fer.report.describe import describe
from fer.report.figures import draw_all_curves, lay_out_matrices
from fer.report.intervals import ABOVE, BELOW, COVERED, MISSING, Estimate, estimate, judge
from fer.report.page import Figures, write_report
from fer.report.runs import read_seeds
from fer.report.seeds import Flag, SplitResults, datasets_of
from fer.report.statistics import draw_statistics
from fer.report.tables import VERDICTS, compile_report, ranges
from fer.results.metrics import score_results, write_metrics
from fer.results.results_file import Results, write_results
from fer.runs import provenance
from fer.runs.config import TrainConfig, write_flagfile
from fer.runs.flagfiles import find_runs, read_settings
from fer.runs.logs import TRAIN_COLUMNS, VALIDATION_COLUMNS
from fer.runs.names import TRAIN_LOG, VALIDATION_LOG
from fer.runs.status import write_status
from fer.settings import settings_of

CONFIGS = ROOT / 'configs'
CHECKPOINT = 'model.ckpt-24'
COMMIT = '0123456789abcdef0123456789abcdef01234567'
RUNS = {row.run_id: row for row in read_runs()}
CLASSES = list(range(7))
NO_FIGURES = Figures([], [], [])


def make_results(seed, videos=60, right=0.5):
    """Returns results of made-up videos, whose labels are the same for every seed."""
    rng = np.random.default_rng(seed)
    labels = np.random.default_rng(7).integers(0, 7, videos)
    predictions = np.where(rng.random(videos) < right, labels, rng.integers(0, 7, videos))
    logits = np.eye(7)[predictions] + rng.random((videos, 7)) / 2
    ids = [f'{index:06d}' for index in range(videos)]
    return Results(ids, logits, predictions, labels, np.full(videos, 20), ['-'] * videos)


def as_split(results):
    return SplitResults(results.video_ids, results.labels, results.predictions, None, False, '')


def config_of(run_id, **settings):
    """Returns the settings that train.py would run a flagfile with."""
    flagfiles = dict(find_runs(CONFIGS))
    given = read_settings(flagfiles[run_id]) if run_id in flagfiles else {}
    known = {name: text for name, text in given.items() if name in settings_of(TrainConfig)}
    return TrainConfig(**settings_from({'global_pool': False, 'batch_size': 1, **known, **settings}))


def write_split(folder, split, results, **more):
    write_results(folder / f'results_{split}.txt', results)
    # As `provenance.stamp` writes it, without its calls of git.
    origin = {
        'results_sha256': provenance.digest(folder / f'results_{split}.txt'),
        'written': '2026-03-04T06:07:08+00:00',
        'commit': COMMIT,
        'uncommitted_changes': False,
    }
    write_metrics(folder / f'metrics_{split}.json', score_results(results, 'made up') | more | origin)


def make_run(root, run_id, seed=0, results=None, steps=24, dataset='-', **settings):
    """Makes a finished run folder, as train.py and evaluate.py leave it, without its checkpoints."""
    folder = root / 'somewhere' / f'{run_id}-seed{seed}'
    folder.mkdir(parents=True)
    config = config_of(run_id)
    places = {name: getattr(config, name).replace('-seed0', f'-seed{seed}') for name in ('init_from', 'audio_run_dir')}
    write_flagfile(
        folder / 'flags.txt', dataclasses.replace(config, **settings_from({'seed': seed, **places, **settings}))
    )
    environment = {'started': '2026-03-04T05:06:07+00:00', 'commit': COMMIT, 'uncommitted_changes': False}
    (folder / 'environment.json').write_text(json.dumps(environment))
    with open(folder / TRAIN_LOG, 'w', newline='') as file:
        rows = csv.writer(file, lineterminator='\n')
        rows.writerow(TRAIN_COLUMNS)
        rows.writerows(
            (step, (step - 1) // 4 + 1, 2, f'{2 / step:.6g}', 0.25, 1e-5, 50) for step in range(1, steps + 1)
        )
    with open(folder / VALIDATION_LOG, 'w', newline='') as file:
        rows = csv.writer(file, lineterminator='\n')
        rows.writerow(VALIDATION_COLUMNS)
        rows.writerows((step, step // 4, 2, 1, 2, 0.5, 0.25, dataset) for step in range(4, steps + 1, 4))
    for index, split in enumerate(datasets_of(run_id).values()):
        write_split(folder, split, results or make_results(10 * seed + index), checkpoint=CHECKPOINT)
    finished = {'step': steps, 'reason': 'epochs', 'checkpoint': CHECKPOINT}
    (folder / 'finished.json').write_text(json.dumps(finished))
    return folder


def make_fusion(root, run_id, seed=0, **more):
    folder = root / 'late' / f'{run_id}-seed{seed}'
    folder.mkdir(parents=True)
    flags = read_settings(dict(find_runs(CONFIGS))[run_id])
    members = [path.replace('-seed0/', f'-seed{seed}/') for path in flags['results'].split(',')]
    write_split(folder, 'val', make_results(seed), **{'method': int(flags['method']), 'members': members, **more})
    return folder


def read(root, configs=CONFIGS):
    """Returns the report's rows by run id, including those that no table lists, and the whole report."""
    report = compile_report(read_seeds(root, configs))
    rows = {row.run_id: row for table in report.tables for row in table.rows}
    return rows | {row.run_id: row for row in report.others}, report


def write(root, output, note='', data=(), drawn=True):
    """Writes the report as the command does. Returns page and Markdown. `drawn` adds curves, the slowest part."""
    found = read_seeds(root, CONFIGS)
    curves = draw_all_curves(found.seeds) if drawn else []
    figures = Figures(curves, lay_out_matrices(found.seeds), draw_statistics(data))
    write_report(output, compile_report(found), figures, note)
    return (output / 'index.html').read_text(), (output / 'report.md').read_text()


def kinds(row):
    """Returns the kinds of a row's flags, except `data`, which all rows have: the made-up split is not AFEW's."""
    return [flag.kind for _, flag in row.flags if flag.kind != 'data']


def texts(row):
    return '; '.join(f'{who}: {flag.text}' for who, flag in row.flags)


def table_rows(output):
    with open(output / 'tables.csv', newline='') as file:
        return list(csv.DictReader(file))


# The printed numbers.


def test_without_runs_every_printed_row_is_listed(tmp_path):
    (tmp_path / 'runs').mkdir()
    page, markdown = write(tmp_path / 'runs', tmp_path / 'out')
    rows = table_rows(tmp_path / 'out')
    assert list(dict.fromkeys(row['run_id'] for row in rows)) == list(RUNS)
    printed = {(row['run_id'], row['dataset'], row['metric']): row['printed'] for row in rows}
    assert printed['6.2-t1-r13', 'AFEW', 'f1'] == '42.0'
    assert printed['6.1-t1-r1', 'FER2013', 'accuracy'] == '67.9'
    assert printed['6.5l-t4-r7', 'AFEW', 'f1'] == ''
    assert len(printed) == len(rows) == 2 * (3 * 17 + 95)
    assert {row['verdict'] for row in rows if row['printed']} == {MISSING}
    for run_id in RUNS:
        assert f'id="{run_id}"' in page
        assert f'| {run_id} |' in markdown
    for title in ('Table 7: other entrants of 2018', 'Table 3: Audio Models only', 'Errata of the dissertation'):
        assert title in page
        assert title in markdown
    assert page.count('No data for this figure.') == 7
    assert page.count('Ours is missing') == len(read_figures()) == 11
    assert page.count('<li id="erratum-') == len(read_errata()) == 39


def test_a_missing_folder_is_one_line(tmp_path):
    done = run('-m', 'fer.report', f'--runs={tmp_path}/none', f'--output={tmp_path}/out', ok=False)
    assert done.code == 2
    assert done.err == f'python -m fer.report: --runs={tmp_path}/none: not found; expected a folder of runs\n'
    assert not (tmp_path / 'out').exists()


# Our numbers.


def test_scores_equal_scikit_learns(tmp_path):
    several = [make_results(seed, right=0.3 + 0.1 * seed) for seed in range(3)]
    for seed, results in enumerate(several):
        make_run(tmp_path, '6.2-t1-r13', seed, results)
    (line,) = read(tmp_path)[0]['6.2-t1-r13'].lines
    for cell, score in (
        (line.accuracy, accuracy_score),
        (line.f1, lambda *pair: f1_score(*pair, labels=CLASSES, average='macro', zero_division=0)),
    ):
        values = [100 * score(results.labels, results.predictions) for results in several]
        assert cell.ours.mean == pytest.approx(np.mean(values))
        assert cell.ours.spread == pytest.approx(np.std(values, ddof=1))
        assert cell.ours.low < cell.ours.mean < cell.ours.high
    assert line.seeds == [0, 1, 2]
    assert (line.accuracy.printed, line.f1.printed) == (46.0, 42.0)


def test_the_interval_of_one_seed_equals_scipys():
    results = make_results(3, videos=500)
    ours = estimate([as_split(results)])

    def f1(*indices):
        (chosen,) = indices
        return _f1(results.labels[chosen], results.predictions[chosen])

    def accuracy(chosen):
        return (results.labels[chosen] == results.predictions[chosen]).mean()

    for metric, statistic in (('accuracy', accuracy), ('f1', f1)):
        theirs = scipy.stats.bootstrap(
            (np.arange(500),), statistic, n_resamples=1000, method='percentile', vectorized=False, rng=5
        ).confidence_interval
        # Each bound, ours and scipy's, has a standard error of about a fifth of a point.
        assert ours[metric].low == pytest.approx(100 * theirs.low, abs=1.2)
        assert ours[metric].high == pytest.approx(100 * theirs.high, abs=1.2)
        assert ours[metric].spread is None
        assert ours[metric].high - ours[metric].low > 6


def test_seeds_of_a_bootstrap_sample_share_videos():
    several = [make_results(seed, videos=300, right=right) for seed, right in enumerate((0.35, 0.55, 0.6, 0.5))]
    ours = estimate([as_split(results) for results in several])
    rng = np.random.default_rng(11)
    means = []
    for _ in range(2000):
        videos, seeds = rng.integers(0, 300, 300), rng.integers(0, 4, 4)
        chosen = [several[seed] for seed in seeds]
        means.append(
            [
                np.mean([(one.labels[videos] == one.predictions[videos]).mean() for one in chosen]),
                np.mean([_f1(one.labels[videos], one.predictions[videos]) for one in chosen]),
            ]
        )
    bounds = 100 * np.percentile(means, [2.5, 97.5], axis=0)
    for index, metric in enumerate(('accuracy', 'f1')):
        assert ours[metric].low == pytest.approx(bounds[0, index], abs=1.5)
        assert ours[metric].high == pytest.approx(bounds[1, index], abs=1.5)


def _f1(labels, predictions):
    confusion = np.bincount(7 * labels + predictions, minlength=49).reshape(7, 7)
    right = confusion.diagonal()
    return np.mean(2 * right / (confusion.sum(axis=0) + confusion.sum(axis=1)))


def test_copies_of_a_seed_keep_the_interval():
    """If each seed were sampled separately, five copies of one seed would halve the interval."""
    one = as_split(make_results(2))
    alone, copies = estimate([one]), estimate([one] * 5)
    for metric in alone:
        assert copies[metric].low == pytest.approx(alone[metric].low)
        assert copies[metric].high == pytest.approx(alone[metric].high)


@pytest.mark.parametrize(
    ('printed', 'verdict'),
    [(40.0, COVERED), (42.0, COVERED), (42.04, COVERED), (42.1, ABOVE), (37.9, BELOW), (37.96, COVERED), (None, '')],
)
def test_verdicts(printed, verdict):
    assert judge(printed, Estimate(40.0, None, 38.0, 42.0)) == verdict
    assert judge(printed, None) == ('' if printed is None else MISSING)


def test_a_rows_verdict_joins_those_of_its_datasets(tmp_path):
    run_id = '6.1-t2-r1'
    labels = make_results(0).labels
    for split in ('rafdb', 'affectnet', 'fer2013'):
        assert split in datasets_of(run_id).values()
    folder = make_run(tmp_path, run_id)
    perfect = make_results(0)._replace(predictions=labels)
    write_split(folder, 'rafdb', perfect)
    rows, report = read(tmp_path)
    by_dataset = {line.dataset: line for line in rows[run_id].lines}
    assert by_dataset['RAF-DB'].accuracy.verdict == by_dataset['RAF-DB'].f1.verdict == BELOW
    assert rows[run_id].verdict in (BELOW, 'printed above and below')
    assert sum(report.summary.verdicts.values()) == 112
    assert list(report.summary.verdicts) == list(VERDICTS)
    (folder / 'results_fer2013.txt').unlink()
    rows, report = read(tmp_path)
    by_dataset = {line.dataset: line for line in rows[run_id].lines}
    assert by_dataset['FER2013'].accuracy.verdict == MISSING
    assert by_dataset['RAF-DB'].accuracy.verdict == BELOW
    assert rows[run_id].verdict == MISSING
    assert report.summary.verdicts[MISSING] == 112
    assert rows[run_id].unfinished == [(0, 'no results_fer2013.txt', '')]


@pytest.mark.parametrize(
    ('run_id', 'settings'),
    [
        ('6.2-t1-r1', 'per frame, LR 0.0001, reduce, epochs 30, from 6.1-t1-r2'),
        ('6.2-t1-r13', 'windows of 80, exact, mean, LR 0.00001, reduce, batch 4, epochs 5 + 25, from 6.1-t1-r3'),
        ('6.4-t2-r6', 'GRU 4 x 64, attention, windows of 80, LR 0.00001, reduce, batch 16, epochs 30'),
        ('6.5l-t1-r3', 'method 1, 7 members, their mean accuracy 42.6'),
    ],
)
def test_settings_are_described_in_one_line(run_id, settings):
    assert describe(RUNS[run_id]) == settings


def test_chapter_7_has_our_numbers_beside_tp(tmp_path):
    make_run(tmp_path, '6.4-t1-r5')
    _, report = read(tmp_path)
    rows = {row.printed.run_id: row for table in report.chapter7 for row in table if row.printed.entrant == 'TP'}
    assert list(rows) == ['6.5l-t1-r3', '6.5l-t2-r2', '6.4-t1-r5', '6.5l-t4-r7']
    results = make_results(0)
    ours = rows['6.4-t1-r5'].ours
    assert ours.printed == 27.2  # chapter 7's own number, the table of 6.4 has 27.4
    assert ours.ours.mean == pytest.approx(100 * accuracy_score(results.labels, results.predictions))
    assert rows['6.5l-t4-r7'].ours.verdict == MISSING
    assert rows['6.5l-t4-r7'].printed.test_acc == 48.5


# Flags.


def test_a_correct_run_has_no_flag(tmp_path):
    make_run(tmp_path, '6.2-t1-r13', 3)
    rows, report = read(tmp_path)
    assert kinds(rows['6.2-t1-r13']) == []
    assert texts(rows['6.2-t1-r13']) == 'seeds: 60 videos; the validation set of AFEW has 383'
    assert rows['6.2-t1-r13'].dates[0] == '2026-03-04'
    assert rows['6.2-t1-r13'].commits == [COMMIT]
    assert report.summary.unchecked == []


def edit_metrics(folder, **changes):
    path = folder / 'metrics_val.json'
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def edit_environment(folder, **changes):
    path = folder / 'environment.json'
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def change_a_prediction(folder):
    path = folder / 'results_val.txt'
    header, first, *others = path.read_text().split('\n')
    *start, prediction, label, frames, fallback = first.split('\t')
    other = 'Sad' if prediction != 'Sad' else 'Fear'
    path.write_text('\n'.join([header, '\t'.join([*start, other, label, frames, fallback]), *others]))


@pytest.mark.parametrize(
    ('spoil', 'kind', 'message'),
    [
        (
            lambda f: edit_metrics(f, accuracy=0.99),
            'edited',
            'metrics_val.json: accuracy differs from results_val.txt',
        ),
        (lambda f: edit_metrics(f, confusion=[]), 'edited', 'confusion differs from'),
        (lambda f: edit_metrics(f, results_sha256='0' * 64), 'edited', 'not the file that metrics_val.json was'),
        (lambda f: edit_metrics(f, results_sha256=None), 'unsigned', 'no results_sha256'),
        (change_a_prediction, 'edited', 'results_val.txt: not the file'),
        (lambda f: edit_metrics(f, commit='f' * 40), 'commits', '01234567, ffffffff'),
        (lambda f: edit_environment(f, commit='e' * 40), 'commits', 'eeeeeeee, 01234567'),
        (lambda f: edit_environment(f, uncommitted_changes=True), 'uncommitted', 'environment.json: the code had'),
        (lambda f: edit_environment(f, uncommitted_changes=None), 'uncommitted', 'environment.json: unknown whether'),
        (lambda f: edit_environment(f, commit=None), 'uncommitted', 'environment.json: unknown commit'),
        (lambda f: edit_metrics(f, uncommitted_changes=True), 'uncommitted', 'metrics_val.json: the code had'),
        (lambda f: edit_metrics(f, commit=None), 'uncommitted', 'metrics_val.json: unknown commit'),
        (
            lambda f: edit_metrics(f, checkpoint='model.ckpt-8'),
            'checkpoint',
            'metrics_val.json: evaluated model.ckpt-8; training ended with model.ckpt-24',
        ),
        (lambda f: edit_metrics(f, checkpoint=None), 'checkpoint', 'metrics_val.json: evaluated None; training'),
        (
            lambda f: (f / 'environment_8.json').write_text(
                json.dumps({'commit': 'd' * 40, 'uncommitted_changes': False})
            ),
            'commits',
            '01234567, dddddddd',
        ),
    ],
)
def test_a_spoilt_run_is_flagged(tmp_path, spoil, kind, message):
    folder = make_run(tmp_path, '6.2-t1-r13')
    spoil(folder)
    rows, report = read(tmp_path)
    assert set(kinds(rows['6.2-t1-r13'])) == {kind}
    assert message in texts(rows['6.2-t1-r13'])
    assert report.summary.flags[kind] == 1
    assert rows['6.2-t1-r13'].lines[0].accuracy.ours is not None
    page, markdown = write(tmp_path, tmp_path / 'out', drawn=False)
    assert f'⚠ {kind}</span> ' in page
    assert f'- {kind}: 1, ' in markdown
    assert f'{kind} (' in markdown
    assert any(f'{kind}: ' in row['flags'] for row in table_rows(tmp_path / 'out'))


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        ({'width': 0.05}, '--width=0.05 (1.0)'),
        ({'train_epochs': '1,2'}, '--train_epochs=1,2 (5,25)'),
        ({'classify': 'frame', 'batch_size': 2}, '--classify=frame (exact), --batch_size=2 (4)'),
        ({'init_from': ''}, '--init_from= (6.1-t1-r3)'),
        ({'input_convention': 'source'}, '--input_convention=source (dissertation)'),  # configs/source_pixels.flags
        ({'init_from': '/elsewhere/6.1-t1-r2-seed4'}, '--init_from=6.1-t1-r2 (6.1-t1-r3)'),
        ({'train_manifest': '/data/train.txt,/data/val.txt'}, '--train_manifest=train.txt,val.txt (train.txt)'),
        # Other folders and another seed of the same run do not count as other settings.
        ({'init_from': '/elsewhere/6.1-t1-r3-seed7', 'val_manifest': '/elsewhere/val.txt', 'data_root': '/d'}, ''),
        ({'run_dir': '/elsewhere'}, ''),
    ],
)
def test_settings_are_compared_with_the_flagfile(tmp_path, changes, message):
    make_run(tmp_path, '6.2-t1-r13', **changes)
    row = read(tmp_path)[0]['6.2-t1-r13']
    found = [flag.text for _, flag in row.flags if flag.kind == 'settings']
    assert found == ([message] if message else [])


@pytest.mark.parametrize(
    ('run_id', 'contexts', 'message'),
    [
        ('6.4-t2-r6', ('isolated', 'isolated'), ''),
        ('6.4-t2-r6', ('contextual', 'contextual'), '--clip_context=contextual (isolated)'),
        ('6.5e-t1-r1', ('isolated', None), '--clip_context=isolated,unknown (isolated)'),
        ('6.5e-t1-r1', (), '--clip_context=unknown (isolated)'),
        ('6.4-t1-r5', (), ''),  # it reads functionals
    ],
)
def test_clips_that_were_not_isolated_are_flagged(tmp_path, run_id, contexts, message):
    folder = make_run(tmp_path, run_id)
    if contexts:
        flags = {
            name: {'clip_context': context} if context else {} for name, context in zip('tv', contexts, strict=True)
        }
        write_run_prepare_flags(folder / 'prepare_flags.json', flags)
    row = read(tmp_path)[0][run_id]
    assert [flag.text for _, flag in row.flags if flag.kind == 'clips'] == ([message] if message else [])
    (folder / 'prepare_flags.json').write_text('{"t": []}')
    assert ('prepare_flags.json' in str(read(tmp_path)[0][run_id].unfinished)) == (run_id != '6.4-t1-r5')


def test_a_flag_of_several_seeds_is_listed_once(tmp_path):
    for seed in (0, 1, 2, 5):
        make_run(tmp_path, '6.2-t1-r13', seed, width=0.05)
    row = read(tmp_path)[0]['6.2-t1-r13']
    assert ('seeds 0-2, 5', Flag('settings', '--width=0.05 (1.0)')) in row.flags
    assert kinds(row) == ['settings']
    assert ranges([3]) == '3'
    assert ranges([]) == ''


def test_a_late_fusion_is_compared_with_its_flagfile(tmp_path):
    make_fusion(tmp_path, '6.5l-t1-r3')
    assert kinds(read(tmp_path)[0]['6.5l-t1-r3']) == []
    make_fusion(tmp_path, '6.5l-t1-r1', method=3, members=['runs/x/6.2-t1-r7-seed0/results_val.txt'])
    row = read(tmp_path)[0]['6.5l-t1-r1']
    assert kinds(row) == ['settings']
    assert '--method=3 (4), --results=6.2-t1-r7 (6.2-t1-r7,6.2-t2-r1' in texts(row)


@pytest.mark.parametrize(
    ('method', 'record', 'found'),
    [
        ('4', {'method': 4, 'method_title': METHODS['4'].title}, ''),
        ('4', {'method': 4, 'method_title': METHODS['4-normalised'].title}, '--method=4-normalised (4)'),
        ('4', {'method': '4'}, '--method=4-normalised (4)'),  # an earlier search
        ('4', {'method': '4', 'method_title': METHODS['4'].title}, ''),
        ('4-normalised', {'method': 4, 'method_title': METHODS['4-normalised'].title}, ''),
        (
            '4-rescaled',
            {'method': '4-rescaled', 'method_title': METHODS['4-normalised-rescaled'].title},
            '--method=4-normalised-rescaled (4-rescaled)',
        ),
    ],
)
def test_an_earlier_method_4_is_called_normalised(method, record, found):
    members = ['runs/a-seed0/results_val.txt']
    flags = {'method': method, 'results': members[0]}
    assert ''.join(changed_fusion(record | {'members': members}, flags)) == found


def test_a_seed_unlike_its_name_is_flagged(tmp_path):
    make_run(tmp_path, '6.2-t1-r13', 0).rename(tmp_path / '6.2-t1-r13-seed1')
    row = read(tmp_path)[0]['6.2-t1-r13']
    assert kinds(row) == ['seed', 'seed']
    assert 'seed 1: named seed 1, ran with --seed=0' in texts(row)
    assert 'seed 1: flags.txt: built from 6.1-t1-r3-seed0, but this is seed 1' in texts(row)


@pytest.mark.parametrize(
    ('run_id', 'flag', 'path', 'parent'),
    [
        ('6.2-t1-r13', 'init_from', '/elsewhere-seed2/6.1-t1-r3-seed7', '6.1-t1-r3-seed7'),
        ('6.2-t1-r13', 'init_from', '/elsewhere/6.1-t1-r3-seed7/best-12', '6.1-t1-r3-seed7'),
        ('6.5e-t3-r2', 'audio_run_dir', '/elsewhere/mine-seed0', 'mine-seed0'),
    ],
)
def test_a_parent_of_another_seed_is_flagged(tmp_path, run_id, flag, path, parent):
    make_run(tmp_path, run_id, 2, **{flag: path})
    row = read(tmp_path)[0][run_id]
    assert ('seed 2', Flag('seed', f'flags.txt: built from {parent}, but this is seed 2')) in row.flags
    assert kinds(row).count('seed') == 1


def test_members_of_another_seed_are_flagged(tmp_path):
    folder = make_fusion(tmp_path, '6.5l-t1-r3', 3)
    assert kinds(read(tmp_path)[0]['6.5l-t1-r3']) == []
    first, *others = json.loads((folder / 'metrics_val.json').read_text())['members']
    edit_metrics(folder, members=[first.replace('-seed3/', '-seed4/'), *others])
    row = read(tmp_path)[0]['6.5l-t1-r3']
    assert kinds(row) == ['seed']
    assert re.search(r'metrics_val.json: built from 6\.2-t\d-r\d+-seed4, but this is seed 3', texts(row))


def test_seeds_with_identical_results_are_flagged(tmp_path):
    for seed in range(4):
        make_run(tmp_path, '6.2-t1-r13', seed, make_results(max(seed, 1), videos=383))
    assert read(tmp_path)[0]['6.2-t1-r13'].flags == [
        ('seeds 0-1', Flag('seed', 'AFEW: the results files are identical'))
    ]


def test_several_commits_in_a_table_are_flagged(tmp_path):
    make_run(tmp_path, '6.2-t1-r13', 0)
    other = make_run(tmp_path, '6.2-t1-r13', 1)
    edit_environment(other, commit='f' * 40)
    edit_metrics(other, commit='f' * 40)
    make_run(tmp_path, '6.2-t1-r12', 0)
    make_run(tmp_path, '6.2-t2-r1', 0)
    rows, report = read(tmp_path)
    assert kinds(rows['6.2-t1-r13']) == ['commits']
    assert kinds(rows['6.2-t1-r12']) == []
    commits = {(table.section, table.number): table.commits for table in report.tables}
    assert sorted(commits['6.2', 1]) == [COMMIT, 'f' * 40]
    assert commits['6.2', 2] == [COMMIT]
    page, _ = write(tmp_path, tmp_path / 'out', drawn=False)
    assert page.count('several commits made the runs of this table') == 1


def test_seeds_with_other_videos_are_flagged(tmp_path):
    make_run(tmp_path, '6.2-t1-r13', 0)
    make_run(tmp_path, '6.2-t1-r13', 1, make_results(1, videos=50))
    row = read(tmp_path)[0]['6.2-t1-r13']
    assert 'seeds: AFEW: the seeds have different videos or labels' in texts(row)
    assert '50 or 60 videos; the validation set of AFEW has 383' in texts(row)
    assert row.lines[0].seeds == [0, 1]


def test_383_videos_of_afew_are_not_flagged(tmp_path):
    make_run(tmp_path, '6.2-t1-r13', 0, make_results(0, videos=383))
    assert read(tmp_path)[0]['6.2-t1-r13'].flags == []


def test_optimistic_scores_come_with_cross_validated_scores(tmp_path):
    validation = {'accuracy': 0.437, 'interval_95': [0.4, 0.5], 'folds': 5, 'repeats': 2}
    make_fusion(tmp_path, '6.5l-t4-r7', optimistic=True, cross_validated=validation)
    make_fusion(tmp_path, '6.5l-t4-r4', optimistic=False, cross_validated=None)
    page, markdown = write(tmp_path, tmp_path / 'out', drawn=False)
    row = page[page.index('id="6.5l-t4-r7"') :].partition('</tr>')[0]
    assert 'optimistic</span>' in row
    assert 'cross-validated 43.7' in row
    assert 'optimistic' not in page[page.index('id="6.5l-t4-r4"') :].partition('</tr>')[0]
    assert '(optimistic; cross-validated 43.7)' in markdown
    rows = {(row['run_id'], row['metric']): row for row in table_rows(tmp_path / 'out')}
    assert float(rows['6.5l-t4-r7', 'accuracy']['cross_validated']) == pytest.approx(43.7)
    assert rows['6.5l-t4-r7', 'accuracy']['optimistic'] == 'True'
    chapter7 = page[page.index('id="chapter7"') :]
    assert 'optimistic' in chapter7[chapter7.index('6.5l-t4-r7') :].partition('</tr>')[0]


def test_a_run_of_no_table_is_listed_separately(tmp_path):
    make_run(tmp_path, '6.2-t0-r1')
    make_run(tmp_path, '6.2-t9-r9')
    rows, report = read(tmp_path)
    assert [row.run_id for row in report.others] == ['6.2-t0-r1', '6.2-t9-r9']
    assert rows['6.2-t0-r1'].lines[0].accuracy.ours is not None
    assert rows['6.2-t0-r1'].verdict == ''
    assert report.summary.unchecked == ['6.2-t9-r9']
    assert report.summary.verdicts[MISSING] == 112


# Incomplete folders.


def truncate(path):
    path.write_text(path.read_text()[:40])


@pytest.mark.parametrize(
    ('spoil', 'missing'),
    [
        (lambda f: (f / 'results_val.txt').unlink(), 'no results_val.txt'),
        (lambda f: (f / 'metrics_val.json').unlink(), 'no metrics_val.json'),
        (lambda f: truncate(f / 'metrics_val.json'), 'metrics_val.json: '),
        (lambda f: (f / 'metrics_val.json').write_text('[]'), 'metrics_val.json: not an object'),
        (
            lambda f: edit_metrics(f, accuracy=-(10**400)),
            'metrics_val.json: a whole number of 401 digits',
        ),
        (
            lambda f: (f / 'metrics_val.json').write_text('{"accuracy": ' + '9' * 5000 + '}'),
            'metrics_val.json: ',
        ),
        (
            lambda f: (f / 'metrics_val.json').write_text('[' * 100_000 + ']' * 100_000),
            'metrics_val.json: nested too deeply',
        ),
        (lambda f: (f / 'finished.json').unlink(), 'no finished.json'),
        (lambda f: truncate(f / 'finished.json'), 'finished.json: '),
        (lambda f: (f / 'finished.json').write_text('{"checkpoint": ""}'), 'finished.json: no checkpoint'),
        (lambda f: truncate(f / 'environment.json'), 'environment.json: '),
        (lambda f: (f / 'environment.json').unlink(), 'no environment.json'),
        (lambda f: (f / 'flags.txt').unlink(), 'no flags.txt'),
        (lambda f: truncate(f / 'flags.txt'), 'flags.txt: no --'),
        (lambda f: (f / 'train_log.csv').unlink(), 'no train_log.csv'),
        (lambda f: truncate(f / 'results_val.txt'), 'results_val.txt:1: no column'),
        (lambda f: (f / 'results_val.txt').write_bytes(b'\xff\xfe\x00'), 'results_val.txt: not UTF-8 text'),
        (lambda f: [path.unlink() for path in f.iterdir()], 'no flags.txt'),
    ],
)
def test_incomplete_folders_are_unfinished_and_not_counted(tmp_path, spoil, missing):
    make_run(tmp_path, '6.2-t1-r13', 0)
    spoil(make_run(tmp_path, '6.2-t1-r13', 1))
    rows, report = read(tmp_path)
    row = rows['6.2-t1-r13']
    assert row.lines[0].seeds == [0]
    ((seed, text, status),) = row.unfinished
    assert (seed, status) == (1, '')
    assert text.startswith(missing)
    assert str(tmp_path) not in text
    assert (report.summary.finished, report.summary.unfinished) == (1, 1)
    page, markdown = write(tmp_path, tmp_path / 'out', drawn=False)
    assert '⧗ unfinished</span> seed 1: ' in page
    assert 'unfinished, seed 1: ' in markdown


def test_unfinished_runs_show_their_status_lines(tmp_path):
    make_run(tmp_path, '6.2-t1-r13', 0)
    (make_run(tmp_path, '6.2-t1-r13', 1) / 'metrics_val.json').unlink()
    for name, state, text in (
        ('6.2-t1-r13-seed0', 'done', ''),
        ('6.2-t1-r13-seed1', 'started', ''),
        ('6.3-t1-r1-seed4', 'failed', 'step 3: the loss is nan'),
        ('6.3-t1-r1-seed5', 'queued', ''),
        ('notes', 'failed', 'nothing'),
    ):
        write_status(tmp_path, name, state, text)
    with open(tmp_path / 'status' / '6.2-t1-r13-seed1.txt', 'a') as file:  # as a job's script adds to it
        file.write('failed\t2026-03-04T05:06:07+00:00\tnode7\t12\texit code 1\n')
    (tmp_path / 'status' / '6.3-t1-r1-seed6.txt').write_text('damaged')
    rows, report = read(tmp_path)
    assert rows['6.2-t1-r13'].unfinished == [(1, 'no metrics_val.json', 'failed: exit code 1')]
    *others, (seed, missing, damaged) = rows['6.3-t1-r1'].unfinished
    assert others == [
        (4, 'no run folder', 'failed: step 3: the loss is nan'),
        (5, 'no run folder', 'queued'),
    ]
    assert (seed, missing) == (6, 'no run folder')
    assert damaged.endswith('6.3-t1-r1-seed6.txt: not a line of five fields')
    assert (report.summary.finished, report.summary.unfinished) == (1, 1)
    page, _ = write(tmp_path, tmp_path / 'out', drawn=False)
    assert 'status: failed: step 3: the loss is nan' in page


def test_links_are_followed_unless_circular(tmp_path):
    store, root = tmp_path / 'store', tmp_path / 'here' / 'runs'
    root.mkdir(parents=True)
    make_run(store, '6.2-t1-r13', 0)
    make_run(tmp_path / 'single', '6.2-t1-r12', 1)
    (root / 'linked').symlink_to(store)
    (root / 'again').symlink_to(store)
    (root / '6.2-t1-r12-seed1').symlink_to(tmp_path / 'single' / 'somewhere' / '6.2-t1-r12-seed1')
    (store / 'round').symlink_to(store)
    (root / 'up').symlink_to(tmp_path)
    (root / 'gone').symlink_to(tmp_path / 'gone')
    rows, report = read(root)
    assert rows['6.2-t1-r13'].lines[0].seeds == [0]
    assert rows['6.2-t1-r12'].lines[0].seeds == [1]
    assert (report.summary.finished, report.summary.ignored) == (2, [])


def test_own_runs_need_a_flagfile(tmp_path):
    """A folder <x>-seed<k> is listed as ignored if no flagfile describes run <x>."""
    runs, configs = tmp_path / 'runs', tmp_path / 'configs'
    for name in ('trial-seed3', *(f'x/other{index}-seed0' for index in range(6))):
        (runs / name).mkdir(parents=True)
    (configs / 'mine-x' / 't1-y').mkdir(parents=True)
    shutil.copy(CONFIGS / '6.2-finetune' / 't1-vgg_face' / 'r13.flags', configs / 'mine-x' / 't1-y' / 'r1.flags')
    make_run(runs, '6.2-t1-r13', 4).rename(runs / 'mine-t1-r1-seed4')
    rows, report = read(runs, configs)
    assert [row.run_id for row in report.others] == ['mine-t1-r1']
    assert kinds(rows['mine-t1-r1']) == []
    assert rows['mine-t1-r1'].lines[0].seeds == [4]
    assert report.summary.unchecked == []
    assert report.summary.ignored == ['trial-seed3', *(f'x/other{index}-seed0' for index in range(6))]
    write_report(tmp_path / 'out', report, NO_FIGURES, '')
    assert {(row['section'], row['table']) for row in table_rows(tmp_path / 'out')} >= {('mine', '1')}
    page, markdown = ((tmp_path / 'out' / name).read_text() for name in ('index.html', 'report.md'))
    for text in (page, markdown.replace('\\', '')):
        assert re.search(r'7\s+folders, trial-seed3, x/other0-seed0, .*x/other3-seed0 and 2 more\.', text)


def test_rows_of_few_seeds_are_counted(tmp_path):
    words = 'two to four seeds'
    for seed in range(5):
        make_run(tmp_path, '6.2-t1-r13', seed)
        _, report = read(tmp_path)
        assert report.summary.few_seeds == (1 if seed in (1, 2, 3) else 0)
        write_report(tmp_path / 'out', report, NO_FIGURES, '')
        page, markdown = ((tmp_path / 'out' / name).read_text() for name in ('index.html', 'report.md'))
        assert (words in page) == (words in markdown) == (seed in (1, 2, 3))


def test_a_stamp_has_gits_commit_and_changes(tmp_path, monkeypatch):
    """The three cases are a clean checkout, a changed one, and a folder without one."""
    results = tmp_path / 'results.txt'
    results.write_bytes(b'answers')
    monkeypatch.setattr(provenance, 'CHECKOUT', tmp_path)
    monkeypatch.setenv('GIT_CEILING_DIRECTORIES', str(tmp_path.parent))
    stamp = provenance.stamp(results)
    assert (stamp['commit'], stamp['uncommitted_changes']) == (None, None)
    assert stamp['results_sha256'] == subprocess.check_output(['sha256sum', results], text=True).split()[0]

    def git(*arguments):
        who = ['-c', 'user.name=x', '-c', 'user.email=x@example.org', '-c', 'commit.gpgsign=false']
        return subprocess.check_output(['git', '-C', tmp_path, *who, *arguments], text=True).strip()

    git('init', '-q')
    git('add', '.')
    git('commit', '-qm', 'one')
    stamp = provenance.stamp(results)
    assert (stamp['commit'], stamp['uncommitted_changes']) == (git('rev-parse', 'HEAD'), False)
    results.write_bytes(b'others')
    assert provenance.stamp(results)['uncommitted_changes'] is True
    monkeypatch.setenv('PATH', '')
    assert (provenance.commit(), provenance.uncommitted_changes()) == (None, None)


@pytest.mark.parametrize('twin', ['6.2-t1-r13-seed2', '6.2-t1-r13-seed02'])
def test_two_folders_of_one_seed_are_refused(tmp_path, twin):
    first = make_run(tmp_path / 'runs', '6.2-t1-r13', 2)
    second = tmp_path / 'runs' / 'z' / 'copies' / twin
    second.mkdir(parents=True)
    done = run('-m', 'fer.report', f'--runs={tmp_path}/runs', f'--output={tmp_path}/out', ok=False)
    assert done.code == 2
    assert done.err == (
        f'python -m fer.report: {first} and {second}: both claim run 6.2-t1-r13, seed 2; rename or remove one\n'
    )
    assert not (tmp_path / 'out').exists()


@pytest.mark.parametrize(
    ('text', 'message'),
    [
        ('width=0.1\n', "r1.flags: 'width=0.1'; expected --flag=value"),
        ('--flagfile=none.flags\n', 'none.flags'),
        ('--widht=0.1\n', '--widht is not a setting of train.py'),
        ('--width=broad\n', '--width=broad: expected a factor'),
        ('--bidirectional=maybe\n', '--bidirectional=maybe: expected True or False'),
    ],
)
def test_malformed_flagfiles_are_named(tmp_path, text, message):
    make_run(tmp_path / 'runs', '6.3-t1-r1')
    path = tmp_path / 'configs' / '6.3-x' / 't1-y' / 'r1.flags'
    path.parent.mkdir(parents=True)
    path.write_text(text)
    with pytest.raises(InputError, match=re.escape(message)) as error:
        read(tmp_path / 'runs', tmp_path / 'configs')
    assert '\n' not in str(error.value)


def test_every_flagfile_agrees_with_its_own_settings():
    found = dict(find_runs(CONFIGS))
    assert set(found) >= set(RUNS)
    for run_id, path in found.items():
        flags = read_settings(path)
        if run_id.startswith('6.5l'):
            assert changed_fusion({'method': int(flags['method']), 'members': flags['results'].split(',')}, flags) == []
        else:
            assert changed_settings(config_of(run_id), flags, path) == []
            assert changed_settings(config_of(run_id, width=0.25), flags, path) == ['--width=0.25 (1.0)']


# The page.


class Page(html.parser.HTMLParser):
    """The tags, links and loaded addresses of a page."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.ids, self.links, self.loads, self.headings, self.images = [], [], [], [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        if re.fullmatch('h[1-6]', tag):
            self.headings.append(int(tag[1]))
        if tag == 'img':
            self.images.append(dict(attrs))
        for name, value in attrs:
            assert not name.startswith('on'), (tag, name)
            if name == 'id':
                self.ids.append(value)
            elif name == 'href' and tag == 'a':
                self.links.append(value)
            elif name in ('src', 'href', 'xlink:href', 'data', 'poster', 'srcset', 'action'):
                self.loads.append(value)

    handle_startendtag = handle_starttag


class Written(typing.NamedTuple):
    """A report that several tests read and no test changes."""

    root: Path
    data: Path
    output: Path
    curves: list
    matrices: list
    page: str
    markdown: str


@pytest.fixture(scope='module')
def full(tmp_path_factory, painted):
    """Makes two seeds of each run with a figure, a late fusion, an incomplete run, and one with other settings."""
    root = tmp_path_factory.mktemp('full') / 'runs'
    for run_id in ('6.1-t1-r3', '6.2-t1-r13', '6.3-t4-r1', '6.4-t2-r6', '6.4-t2-r7', '6.5e-t3-r2'):
        for seed in (0, 1):
            make_run(root, run_id, seed)
    make_fusion(root, '6.5l-t1-r3', optimistic=True)
    (make_run(root, '6.4-t1-r5') / 'results_val.txt').unlink()
    make_run(root, '6.2-t1-r1', 4, width=0.5)
    data, output = root.parent / 'data', root.parent / 'out'
    write_statistics(painted, data / 'statistics', ['train', 'val'])
    found = read_seeds(root, CONFIGS)
    figures = Figures(draw_all_curves(found.seeds), lay_out_matrices(found.seeds), draw_statistics([data]))
    write_report(output, compile_report(found), figures, 'demo')
    page, markdown = ((output / name).read_text() for name in ('index.html', 'report.md'))
    return Written(root, data, output, figures.curves, figures.matrices, page, markdown)


def test_the_page_loads_no_other_file(full):
    text = full.page
    page = Page(text)
    assert not {'script', 'link', 'iframe', 'object', 'embed', 'svg', 'base'} & set(page.tags)
    assert page.loads == [image['src'] for image in page.images]
    assert all(value.startswith('data:image/svg+xml;base64,') for value in page.loads)
    assert all(value.startswith('#') for value in page.links)
    assert len(page.ids) == len(set(page.ids))
    assert {value[1:] for value in page.links} <= set(page.ids)
    assert not re.search(r'url\(|@import|https?://', text)
    assert page.headings[0] == 1
    assert all(after <= before + 1 for before, after in zip(page.headings, page.headings[1:], strict=False))
    assert page.tags.count('table') == page.tags.count('caption')
    assert len(page.images) == 2 * 6 + 4  # two panels for each figure of chapter 6 that has runs, and chapter 2
    assert all(len(image['alt']) > 30 for image in page.images)
    assert 'width=device-width' in text
    assert 'prefers-color-scheme: dark' in text


def test_names_from_outside_are_escaped(tmp_path, painted):
    root = tmp_path / 'runs'
    evil = '<script>alert(1)</script>|$x$'
    folder = tmp_path / 'data <script>'
    write_statistics(painted, folder / 'statistics', ['train'])
    make_run(root, '6.1-t5-r3', dataset='<script>x</script>')
    write_status(root, '6.4-t1-r5-seed0', 'failed', evil)
    spoilt = make_run(root, '6.2-t1-r12')
    edit_metrics(spoilt, commit='<script>', written='<b>', checkpoint='<script>')
    (root / '<script>-seed0').mkdir()
    text, markdown = write(root, tmp_path / 'out', note=evil, data=[folder])
    assert 'script' not in Page(text).tags
    assert text.count('&lt;script&gt;') >= 5
    assert f'<strong>Note.</strong> {"&lt;script&gt;alert(1)&lt;/script&gt;|$x$"}' in text
    assert '<script' not in markdown
    assert 'alert(1)&lt;/script&gt;\\|\\$x\\$' in markdown


def test_videos_and_flagfiles_from_outside_are_escaped(tmp_path):
    """The test also shows that no cell of a CSV file begins a formula."""
    root, configs = tmp_path / 'runs', tmp_path / 'configs'
    folder = make_run(root, '6.2-t1-r13')
    with open(folder / 'results_val.txt', 'a') as file:
        row = '\t'.join(['<script>|*x*', *['0'] * 7, 'Sad', 'Sad', '1', '-'])
        file.write(f'{row}\n{row}\n')
    edit_metrics(make_run(root, '6.2-t1-r12'), commit='=HYPERLINK("http://x")', written='@SUM(1+1)')
    (configs / '1-x' / '1-y').mkdir(parents=True)
    (configs / '1-x' / '1-y' / '<b>|z.flags').write_text('--model=ffn\n')
    make_run(root, '1-1-<b>|z')
    found = read_seeds(root, configs)
    write_report(tmp_path / 'out', compile_report(found), NO_FIGURES, '')
    text, markdown = (tmp_path / 'out' / 'index.html').read_text(), (tmp_path / 'out' / 'report.md').read_text()
    assert 'script' not in Page(text).tags
    assert 'video &lt;script&gt;|*x* is listed a second time' in text
    assert 'video &lt;script&gt;\\|\\*x\\* is listed a second time' in markdown
    assert '1-1-&lt;b&gt;|z' in text
    assert '| 1-1-&lt;b&gt;\\|z |' in markdown
    assert '<b>' not in markdown
    cells = [cell for row in table_rows(tmp_path / 'out') for cell in row.values()]
    assert any('=HYPERLINK' in cell for cell in cells)
    assert not [cell for cell in cells if cell.startswith(('=', '+', '-', '@'))]


def svg_of(image):
    """Returns the SVG text of a data URI."""
    return base64.b64decode(image.source.partition('base64,')[2]).decode()


def test_curves_and_matrices_show_the_right_runs(full):
    curves = {picture.number: picture for picture in full.curves}
    assert list(curves) == ['6.1', '6.3', '6.5', '6.7', '6.9', '6.11', '6.14']
    assert [len(curves[number].images) for number in curves] == [2, 0, 2, 2, 2, 2, 2]
    assert curves['6.5'].title == '6.2-t1-r13, 2 seeds, a line each; 24 steps in 6 epochs'
    assert curves['6.9'].title == '6.4-t1-r5, 1 seed; 24 steps in 6 epochs'  # unfinished runs have curves too
    assert curves['6.14'].title.startswith('6.5e-t3-r2')
    assert 'erratum 3' in curves['6.14'].note
    loss, accuracy = map(svg_of, curves['6.5'].images)
    assert loss.count('stroke: #1f77b4') == 3  # a line for each seed, and one in the legend
    assert ('>training</text>' in loss, '>validation</text>' in loss) == (True, False)
    assert accuracy.count('>training</text>') == accuracy.count('>validation</text>') == 1
    assert '>epoch</text>' in loss
    assert [image.alt for image in curves['6.5'].images] == [
        'Curves of 6.2-t1-r13: loss against the epoch, for training',
        'Curves of 6.2-t1-r13: accuracy against the epoch, for training, validation',
    ]
    matrices = {matrix.number: matrix for matrix in full.matrices}
    assert matrices['6.12'].run_id == '6.4-t2-r7'
    assert 'names 6.4-t2-r6' in matrices['6.12'].note
    assert matrices['6.15'].run_id == '6.5e-t3-r2'
    assert matrices['6.10'].counts is None
    both = [make_results(10 * seed) for seed in (0, 1)]
    expected = sum(confusion_matrix(one.labels, one.predictions, labels=CLASSES) for one in both)
    assert (matrices['6.6'].counts == expected).all()
    np.testing.assert_allclose(
        matrices['6.6'].percent,
        100 * expected / expected.sum(axis=1, keepdims=True),
    )
    stills = make_results(0), make_results(10)  # rafdb is the first of its splits
    expected = sum(confusion_matrix(one.labels, one.predictions, labels=CLASSES) for one in stills)
    assert (matrices['6.2b'].counts == expected).all()
    text = full.page
    table = text[text.index('Figure 6.6 as printed') :].partition('</table>')[0]
    assert re.findall(r'<th scope="col">(\w+)</th>', table) == list(EMOTIONS)
    printed = next(figure.row_percent for figure in read_figures() if figure.figure == '6.6')
    assert [float(value) for value in re.findall(r'>([\d.]+)</td>', table)] == printed.ravel().tolist()


def test_curves_of_a_cut_off_log_end_early(tmp_path):
    folder = make_run(tmp_path, '6.2-t1-r13')
    with open(folder / TRAIN_LOG, 'a') as file:
        file.write('25,7,2,0.0')
    (folder / VALIDATION_LOG).write_text('')
    picture = next(one for one in draw_all_curves(read_seeds(tmp_path, CONFIGS).seeds) if one.number == '6.5')
    assert '24 steps in 6 epochs' in picture.title
    assert 'validation' not in svg_of(picture.images[1])


def test_statistics_are_plotted(tmp_path, painted):
    write_statistics(painted, tmp_path / 'a' / 'statistics', ['train', 'val'])
    ((name, pictures),) = draw_statistics([tmp_path / 'a'])
    assert name == str(tmp_path / 'a')
    assert [picture.number for picture in pictures] == ['2.1', '2.2', '2.4', '2.5']
    titles = [picture.title for picture in pictures]
    assert titles[::2] == ['train: lengths of 14 videos', 'train: classes of 15 videos']
    with pytest.raises(InputError, match=r'no folder statistics; make it with `python -m fer.prepare.statistics'):
        draw_statistics([painted / 'faces'])
    for text, message in (
        ('a,b\n1,2\n', 'no column frames_from'),
        ('frames_from,frames_to,videos\n1,10,x\n', 'videos has values that are not whole numbers'),
    ):
        (tmp_path / 'a' / 'statistics' / 'lengths_train.csv').write_text(text)
        with pytest.raises(InputError, match=message) as error:
            draw_statistics([tmp_path / 'a'])
        assert '\n' not in str(error.value)


def test_csv_files_have_the_reports_numbers(full):
    rows, report = read(full.root)
    found = {(row['run_id'], row['dataset'], row['metric']): row for row in table_rows(full.output)}
    for run_id, row in rows.items():
        for line in row.lines:
            for metric in ('accuracy', 'f1'):
                cell, written = getattr(line, metric), found.pop((run_id, line.dataset, metric))
                assert written['printed'] == ('' if cell.printed is None else str(cell.printed))
                assert written['verdict'] == cell.verdict
                assert written['seeds'] == ' '.join(map(str, line.seeds))
                for name, field in (('ours', 'mean'), ('sd', 'spread'), ('low', 'low'), ('high', 'high')):
                    value = getattr(cell.ours, field, None)
                    assert (written[name] == '') == (value is None)
                    assert value is None or math.isclose(float(written[name]), value, abs_tol=1e-4)
                for _, flag in row.flags:
                    assert f'{flag.kind}: {flag.text}' in written['flags']
    assert not found
    with open(full.output / 'errata.csv', newline='') as file:
        errata = [(int(row['number']), row['place'], row['runs'] or None, row['text']) for row in csv.DictReader(file)]
    assert errata == [tuple(erratum) for erratum in report.errata]


def test_the_command_repeats_its_bytes_without_tensorflow(full, tmp_path):
    code = (
        'import sys; from absl import app; import fer.report.__main__ as report; '
        'from absl import flags; flags.FLAGS(sys.argv); report.main(); '
        'assert not {"tensorflow", "tf_slim", "keras"} & set(sys.modules), "TensorFlow"'
    )
    done = run('-c', code, f'--runs={full.root}', f'--output={tmp_path}/a', '--note=demo', f'--data={full.data}')
    assert done.err == ''
    assert done.out.startswith('14 finished runs, 1 unfinished\n112 rows: ')
    names = sorted(path.name for path in (tmp_path / 'a').iterdir())
    assert names == ['errata.csv', 'index.html', 'report.md', 'tables.csv']
    for name in names:
        assert (tmp_path / 'a' / name).read_bytes() == (full.output / name).read_bytes()


def test_an_output_file_is_refused(tmp_path):
    (tmp_path / 'runs').mkdir()
    (tmp_path / 'out').write_text('mine')
    with pytest.raises(InputError, match='a file; expected a folder'):
        write(tmp_path / 'runs', tmp_path / 'out')
    assert (tmp_path / 'out').read_text() == 'mine'


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which('chromium'), reason='no chromium on the PATH')
@pytest.mark.parametrize('dark', [False, True], ids=['light', 'dark'])
def test_a_browser_shows_every_table_on_phones(full, tmp_path, dark):
    """A second page shows the report in a frame and measures it, because the report forbids scripts."""
    shutil.copy(full.output / 'index.html', tmp_path / 'index.html')
    (tmp_path / 'around.html').write_text(
        '<!doctype html><iframe id="frame" src="index.html" style="width: 390px; height: 844px; border: 0"></iframe>'
        '<pre id="found"></pre><script>window.onload = () => {'
        'const page = document.getElementById("frame").contentDocument;'
        'const found = {width: page.documentElement.scrollWidth, room: page.documentElement.clientWidth,'
        ' window: page.defaultView.innerWidth,'
        ' dark: matchMedia("(prefers-color-scheme: dark)").matches,'
        ' back: getComputedStyle(page.body).backgroundColor, ink: getComputedStyle(page.body).color,'
        ' captions: [...page.querySelectorAll("table")].filter(table => table.tBodies[0].rows.length'
        ' && table.getBoundingClientRect().height).map(table => table.caption.textContent)};'
        'document.getElementById("found").textContent = JSON.stringify(found);};</script>'
    )
    around, _ = open_in_browser(tmp_path / 'around.html', tmp_path / 'profile', dark)
    found = json.loads(html.unescape(re.search('<pre id="found">(.*?)</pre>', around, re.DOTALL)[1]))
    assert found['window'] == 390
    assert found['width'] <= found['room'], 'the page is wider than its window'
    assert found['dark'] is dark
    brightness = [sum(map(int, re.findall(r'\d+', found[name])[:3])) / 765 for name in ('back', 'ink')]
    assert (brightness[0] < 0.2 and brightness[1] > 0.8) if dark else (brightness[0] > 0.8 and brightness[1] < 0.2)
    dom, errors = open_in_browser(tmp_path / 'index.html', tmp_path / 'profile', dark)
    assert 'CONSOLE' not in errors, errors
    for start in expected_captions():
        assert [caption.startswith(start) for caption in found['captions']].count(True) == 1, start
        assert dom.count(f'<caption>{start}') == 1
    for run_id in RUNS:
        assert f'id="{run_id}"' in dom


def expected_captions():
    """Returns the captions that the dissertation's own data give."""
    sections = {
        '6.1': '6.1 Pre-Training Visual',
        '6.2': '6.2 Fine-Tuning Visual',
        '6.3': '6.3 Temporal Visual',
        '6.4': '6.4 Audio',
        '6.5e': '6.5 Early Fusion',
        '6.5l': '6.5 Late Fusion',
    }
    tables = {(run_id.split('-')[0], row.table) for run_id, row in RUNS.items()}
    starts = [f'{sections[section]}, table {number}: ' for section, number in sorted(tables)]
    return [*starts, 'As printed: single networks of others', *(f'Chapter 7, table {n}: ' for n in range(1, 5))]


def open_in_browser(page, profile, dark):
    """Returns the page's DOM, and the messages of the browser and its console."""
    process = subprocess.run(
        [
            *('chromium', '--headless', '--no-sandbox', '--disable-gpu', '--no-first-run', '--disable-sync'),
            *('--disable-background-networking', '--disable-component-update', f'--user-data-dir={profile}'),
            *('--allow-file-access-from-files', '--enable-logging=stderr', '--log-level=0', '--window-size=1200,900'),
            *(['--blink-settings=preferredColorScheme=0'] if dark else ['--blink-settings=preferredColorScheme=1']),
            *('--virtual-time-budget=5000', '--dump-dom', page.as_uri()),
        ],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert process.returncode == 0, process.stderr[-2000:]
    return process.stdout, process.stderr
