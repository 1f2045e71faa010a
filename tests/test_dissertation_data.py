# SPDX-License-Identifier: Apache-2.0
"""The dissertation's tables and figures as data, and the errata that can be computed from them."""

from itertools import combinations

import numpy as np
import pytest
from conftest import ROOT, run

from fer.dissertation.chapter7 import read_comparisons
from fer.dissertation.confusion import read_figures
from fer.dissertation.entrants import PAPERS, read_entrants
from fer.dissertation.errata import read_errata
from fer.dissertation.runs import read_runs
from fer.emotions import EMOTIONS
from fer.report.counts import describe, printed_accuracies, unfit_accuracies
from fer.results.counts import nearest_count, possible_counts

RUNS = {row.run_id: row for row in read_runs()}
FIGURES = {figure.figure: figure for figure in read_figures()}
COMPARISONS = read_comparisons()
ERRATA = {erratum.number: erratum for erratum in read_errata()}

VIDEOS = 383  # of AFEW's validation set
SUPPORTS = (63, 64, 40, 46, 63, 61, 46)  # of its classes, in the order of EMOTIONS
UNLISTED = '6.2-t0-r1'  # only the text names it, no table lists it

# Stills of each class, computed from the matrices of both networks. If a range fits, the middle of it.
STILLS = {
    'FER2013': (617, 483, 55, 515, 864, 583, 402),
    'RAF-DB': (621, 162, 160, 74, 1183, 477, 329),
    'AffectNet': (490, 495, 490, 497, 495, 497, 493),
}


def scores(counts: np.ndarray) -> tuple[float, float]:
    """Returns accuracy and the mean of the classes' F1, in percent."""
    hits = np.diag(counts)
    return 100 * hits.sum() / counts.sum(), 100 * np.mean(2 * hits / (counts.sum(0) + counts.sum(1)))


def rounded(figure: str) -> tuple[float, float]:
    accuracy, f1 = scores(FIGURES[figure].counts)
    return round(accuracy, 1), round(f1, 1)


def afew(run_id: str) -> tuple[float | None, float | None]:
    return RUNS[run_id].afew_accuracy, RUNS[run_id].afew_f1


def concerned(number: int) -> set[str]:
    return set((ERRATA[number].runs or '').split(';')) - {''}


def table(section: str, number: int) -> dict[int, str]:
    """Returns {number of a run: its run id}. The section is given as in run ids."""
    return {row.run: run_id for run_id, row in RUNS.items() if run_id.startswith(f'{section}-t{number}-')}


def accuracies(run_ids) -> list[float]:
    return [RUNS[run_id].afew_accuracy for run_id in run_ids if run_id != UNLISTED]


def mean(run_ids) -> float:
    return float(np.mean(accuracies(run_ids)))


def rounds_to(value: float, text: float) -> bool:
    """Returns whether `value` may be printed as `text` with one decimal. A tie may be rounded both ways."""
    return abs(value - text) <= 0.05 + 1e-9


def members(run_id: str) -> list[str]:
    return RUNS[run_id].members.split(';')


# The data.


def test_figures_are_complete():
    assert list(FIGURES) == ['6.2a', '6.2b', '6.2c', '6.4a', '6.4b', '6.4c', '6.6', '6.8', '6.10', '6.12', '6.15']
    for figure in FIGURES.values():
        assert figure.row_percent.shape == (len(EMOTIONS),) * 2
        np.testing.assert_allclose(figure.row_percent.sum(1), 100, atol=0.35)  # seven roundings
        assert {figure.run_id, figure.matches} - {None} <= RUNS.keys()
        assert (figure.counts is None) == (figure.dataset != 'AFEW')


@pytest.mark.parametrize('name', [name for name, figure in FIGURES.items() if figure.counts is not None])
def test_counts_equal_the_printed_percentages(name):
    figure = FIGURES[name]
    assert figure.counts.sum() == VIDEOS
    percent = 100 * figure.counts / figure.counts.sum(1, keepdims=True)
    np.testing.assert_allclose(percent, figure.row_percent, atol=0.05 + 1e-9)
    assert (tuple(figure.counts.sum(1)) == SUPPORTS) == (name not in ('6.12', '6.15'))
    # The scores of all runs show which run the matrix belongs to.
    equal = [run_id for run_id, row in RUNS.items() if (row.afew_accuracy, row.afew_f1) == rounded(name)]
    assert equal == ([figure.matches] if figure.matches else [])


@pytest.mark.parametrize('name', [name for name, figure in FIGURES.items() if figure.counts is None])
def test_matrices_of_stills_match_their_runs(name):
    figure = FIGURES[name]
    counts = figure.row_percent * np.array(STILLS[figure.dataset])[:, None] / 100
    column = figure.dataset.lower().replace('-', '')
    row = RUNS[figure.matches]
    printed = [getattr(row, f'{column}_{metric}') for metric in ('accuracy', 'f1')]
    np.testing.assert_allclose(scores(counts), printed, atol=0.1)
    assert figure.run_id == figure.matches


def test_accuracies_are_shares_of_383_videos():
    """Only some 38% of all numbers with one decimal are such a share, so most copying errors would be found."""
    possible = {round(100 * videos / VIDEOS, 1) for videos in range(VIDEOS + 1)}
    single = [row for row in RUNS.values() if row.afew_f1 is not None]
    assert len(single) == 79
    assert {row.afew_accuracy for row in single} <= possible
    late = [run_id for run_id, row in RUNS.items() if row.stage == 'late_fusion']
    assert len(late) == 16
    # Erratum 32 covers the others.
    assert [i for i in late if RUNS[i].afew_accuracy not in possible] == ['6.5l-t2-r1', '6.5l-t4-r1', '6.5l-t4-r3']


def test_chapter_7_agrees_with_chapter_6():
    assert [sum(row.table == number for row in COMPARISONS) for number in (1, 2, 3, 4)] == [9, 4, 3, 6]
    assert {row.entrant for row in COMPARISONS} == {'TP', 'EmotiW', *PAPERS}
    own = {row.run_id: row.val_acc for row in COMPARISONS if row.entrant == 'TP'}
    assert all((row.run_id is None) == (row.entrant != 'TP') for row in COMPARISONS)
    # As in chapter 6, except the audio run of erratum 1.
    assert own == {run_id: RUNS[run_id].afew_accuracy for run_id in own} | {'6.4-t1-r5': 27.2}
    assert sorted(own) == ['6.4-t1-r5', '6.5l-t1-r3', '6.5l-t2-r2', '6.5l-t4-r7']


def test_entrants_are_complete():
    assert [(row.paper, row.model) for row in read_entrants()] == [
        *(('[18]', 'VGG-Face'), ('[18]', 'ResNet-50'), ('[18]', 'DenseNet-121')),
        *(('[48]', 'VGG-Face'), ('[48]', 'ResNet-50')),
    ]
    assert {(row.section, row.table) for row in read_entrants()} == {('6.2', 7)}


def test_members_have_the_printed_mean():
    """The mean of late fusion's members is the printed one, except where the row's doubt gives another."""
    off = set()
    for run_id, row in RUNS.items():
        if row.stage != 'late_fusion':
            assert row.members is None
            continue
        found = members(run_id)
        assert len(found) == len(set(found))
        assert set(found) <= RUNS.keys() | {UNLISTED}
        if UNLISTED not in found and not rounds_to(mean(found), row.avg_accuracy):
            off.add(run_id)
            assert f'mean is {mean(found):.1f}' in row.doubt
    assert off == {'6.5l-t2-r1', '6.5l-t2-r3', '6.5l-t4-r2', '6.5l-t4-r7'}
    # DenseNet-121 is a member of one late fusion only, the one that 6.5 names it for.
    dense = {run_id for run_id, row in RUNS.items() if row.model == 'densenet121'}
    late = [run_id for run_id, row in RUNS.items() if row.stage == 'late_fusion']
    assert [run_id for run_id in late if dense & set(members(run_id))] == ['6.5l-t4-r7']
    for number in (2, 3):
        first, second, both = (members(run_id) for run_id in table('6.5l', number).values())
        assert both == first + second
    assert members('6.5l-t4-r2') == [*members('6.5l-t4-r1'), '6.4-t1-r5']


def test_the_unlisted_member_joins_run_one():
    """With Run Two's ten members it would need a higher accuracy than every single network has."""
    row = RUNS['6.5l-t1-r3']
    others = [*members('6.5l-t1-r2'), '6.2-t1-r12']
    needed = row.avg_accuracy * (len(others) + 1) - sum(accuracies(others))
    assert round(needed, 1) == 48.7
    assert needed - 0.05 * (len(others) + 1) > max(r.afew_accuracy for r in RUNS.values() if r.afew_f1 is not None)
    assert set(members('6.5l-t1-r3')) == {*members('6.5l-t1-r1'), '6.2-t1-r12', UNLISTED}


# The errata, by number. Errata 6, 9, 24 and 27 concern the text alone and cannot be computed.


def test_errata_are_39_and_documented():
    assert list(ERRATA) == list(range(1, 40))
    for page in ('reproducing-the-dissertation', 'paper', 'CHANGELOG'):
        assert f'{len(ERRATA)} places' in (ROOT / f'docs/{page}.md').read_text()
    for erratum in ERRATA.values():
        assert concerned(erratum.number) <= RUNS.keys()
        assert erratum.text.endswith('.')


def test_erratum_1():
    assert rounded('6.10') == (27.2, 21.2)
    assert int(np.trace(FIGURES['6.10'].counts)) == 104
    assert afew('6.4-t1-r5') == (27.4, 23.5)
    best = max(accuracies(table('6.4', 2).values()))
    assert (round(27.2 - best, 1), round(27.4 - best, 1)) == (7.1, 7.3)


def test_erratum_2():
    assert FIGURES['6.12'].run_id == '6.4-t2-r6'
    assert afew('6.4-t2-r6') == (20.1, 8.6)
    assert rounded('6.12') == afew('6.4-t2-r7') == (17.0, 7.7)


def test_erratum_3():
    options = {RUNS[run_id].fusion_option: number for number, run_id in table('6.5e', 1).items() if number <= 4}
    assert (options[1], options[4]) == (1, 4)
    assert (afew('6.5e-t1-r4'), afew('6.5e-t1-r1')) == ((28.5, 24.3), (15.1, 6.2))
    assert rounded('6.15') == (40.7, 38.3)
    assert FIGURES['6.15'].run_id is FIGURES['6.15'].matches is None


def test_erratum_4():
    for name in ('6.6', '6.8', '6.10', '6.12', '6.15'):
        percent = FIGURES[name].row_percent
        supports = np.array(SUPPORTS)[:, None]
        nearest = np.round(percent * supports / 100)
        possible = (np.abs(100 * nearest / supports - percent) <= 0.05 + 1e-9).all(1)
        assert possible.all() == (name not in ('6.12', '6.15'))
    assert [FIGURES[name].counts[0].sum() for name in ('6.12', '6.15')] == [68, 67]


def test_erratum_5():
    (one,) = [row.afew_val_acc for row in read_entrants() if (row.paper, row.model) == ('[48]', 'ResNet-50')]
    (other,) = [row.val_acc for row in COMPARISONS if row.entrant == '[48]' and row.description.startswith('ResNet-50')]
    assert (one, other) == (48.1, 48.6)


def test_erratum_7():
    rows = [(row.val_acc, row.test_acc) for row in COMPARISONS if (row.table, row.entrant) == (1, '[47]')]
    assert rows == [(55.1, 55.4), (49.6, 59.1)]


def test_erratum_8():
    twice = [row.table for row in COMPARISONS if (row.entrant, row.val_acc, row.test_acc) == ('[56]', 62.7, 60.6)]
    assert twice == [1, 4]
    base, opt = [row for row in COMPARISONS if (row.table, row.entrant) == (1, '[18]')]
    assert base.description == opt.description
    assert (base.val_acc, base.test_acc) != (opt.val_acc, opt.test_acc)


def gains(before: str, after: str) -> dict[str, int]:
    """Returns {column of a score: 1 if it rises, 0 if it stays, -1 if it falls}."""
    names = [name for name in RUNS[before]._fields if name.endswith(('_accuracy', '_f1')) and name != 'avg_accuracy']
    pairs = {name: (getattr(RUNS[before], name), getattr(RUNS[after], name)) for name in names}
    return {name: int(np.sign(two - one)) for name, (one, two) in pairs.items() if one is not None}


def test_erratum_10():
    found = gains('6.1-t6-r1', '6.1-t6-r2')
    assert {name for name, sign in found.items() if sign > 0} == {'rafdb_accuracy', 'rafdb_f1'}
    assert set(found.values()) == {1, -1}
    assert (RUNS['6.1-t1-r1'].affectnet_accuracy, RUNS['6.1-t1-r3'].affectnet_accuracy) == (52.6, 52.1)


def test_erratum_11():
    anger, disgust, fear, surprise = (EMOTIONS.index(name) for name in ('Anger', 'Disgust', 'Fear', 'Surprise'))
    stills = [figure for figure in FIGURES.values() if figure.dataset != 'AFEW']
    assert len(stills) == 6
    assert {figure.run_id for figure in stills} == concerned(11)
    for figure in stills:
        assert figure.row_percent[disgust, anger] > 2.5 * figure.row_percent[disgust, fear]
        if figure.dataset == 'FER2013':
            order = np.argsort(np.diag(figure.row_percent))
            assert (order[0], order[-2]) == (fear, surprise)


def test_erratum_12():
    pooled, flat = RUNS['6.1-t2-r1'], RUNS['6.1-t2-r2']
    assert (pooled.global_pool, flat.global_pool) == (True, False)
    assert (pooled.fer2013_accuracy, flat.fer2013_accuracy) == (68.2, 67.5)


def test_erratum_13():
    first = {run_id for number in range(2, 7) for run, run_id in table('6.2', number).items() if run == 1}
    assert concerned(13) == {'6.2-t1-r3'} | first
    assert RUNS['6.2-t1-r3'].learning_rate == 1e-4
    assert {RUNS[run_id].learning_rate for run_id in first} == {1e-5}


def test_erratum_14():
    others = {run_id for number in range(2, 7) for run, run_id in table('6.2', number).items() if run > 1}
    assert RUNS['6.2-t1-r13'].seq_len == 80
    assert concerned(14) == {'6.2-t1-r13'} | {run_id for run_id in others if RUNS[run_id].seq_len == 40}


def test_erratum_15():
    found = {number: tuple(gains(f'6.2-t{number}-r1', f'6.2-t{number}-r2').values()) for number in range(2, 7)}
    assert found == {2: (-1, 1), 3: (1, -1), 4: (-1, -1), 5: (1, 1), 6: (-1, -1)}
    scores_of = [RUNS[f'6.2-t{number}-r{run}'].afew_f1 for number in (3, 2) for run in (1, 2)]
    assert scores_of == [24.9, 24.6, 37.2, 39.0]


def test_erratum_16():
    assert gains('6.2-t1-r6', '6.2-t1-r11') == {'afew_accuracy': 0, 'afew_f1': 1}
    assert RUNS['6.2-t1-r6'].afew_accuracy == 45.7


def test_erratum_17():
    epochs = {run: sum(map(int, RUNS[run_id].epochs.split(','))) for run, run_id in table('6.2', 1).items()}
    assert [run for run, number in epochs.items() if number != 30] == [16]


def test_erratum_18():
    assert RUNS['6.2-t1-r17'].afew_f1 == 31.8
    assert round(RUNS['6.2-t1-r13'].afew_f1 - 31.8, 1) == 10.2


def test_erratum_19():
    single = [run_id for run_id, row in RUNS.items() if row.afew_f1 is not None]
    pairs = [pair for pair in combinations(single, 2) if afew(pair[0]) == afew(pair[1])]
    assert pairs == [('6.2-t1-r9', '6.2-t1-r16'), ('6.2-t4-r2', '6.5e-t3-r1')]
    assert (afew('6.2-t1-r9'), afew('6.2-t4-r2')) == ((42.8, 38.1), (42.8, 37.9))
    assert concerned(19) == {run_id for pair in pairs for run_id in pair}


def test_erratum_20():
    assert RUNS['6.3-t1-r1'].epochs == '10,20'


def test_erratum_21():
    assert RUNS['6.3-t1-r7'].init_from == '6.2-t1-r13'
    assert accuracies(['6.3-t1-r7', '6.2-t1-r13']) == [45.4, 46.0]


def settings_apart(one: str, other: str) -> set[str]:
    """Returns the columns of settings in which two runs differ."""
    names = RUNS[one]._fields[: RUNS[one]._fields.index('avg_accuracy')]
    return {name for name in names if getattr(RUNS[one], name) != getattr(RUNS[other], name)} - {'run_id', 'run'}


def test_erratum_22():
    rows = [row for row in RUNS.values() if row.stage == 'temporal' and row.learning_rate != 1e-5]
    assert {row.run_id for row in rows} == concerned(22)
    assert {row.learning_rate for row in rows} == {1e-4}
    assert settings_apart('6.3-t2-r2', '6.3-t2-r3') == {'learning_rate', 'bidirectional'}


def test_erratum_23():
    rows = [row for row in RUNS.values() if row.stage == 'temporal' and row.table > 1 and row.seq_len != 40]
    assert [(row.run_id, row.seq_len) for row in rows] == [('6.3-t5-r2', 80)]
    assert settings_apart('6.3-t5-r1', '6.3-t5-r2') == {'seq_len', 'bidirectional'}


def test_erratum_25():
    runs = table('6.4', 1)
    assert accuracies(runs[run] for run in (1, 2, 3)) == [15.9, 13.3, 22.7]
    assert [RUNS[runs[run]].epochs for run in (1, 3)] == ['30', '100']


def test_erratum_26():
    assert [run for run, run_id in table('6.4', 1).items() if RUNS[run_id].batch_norm] == [8]


def test_erratum_28():
    options = [RUNS[run_id].fusion_option for run_id in table('6.5e', 1).values()]
    assert options.count(4) == 1
    # Apart from Run Four, only these two differ in phases, and in no other setting.
    pairs = [pair for pair in combinations(table('6.5e', 1).values(), 2) if settings_apart(*pair) == {'epochs'}]
    assert pairs == [('6.5e-t1-r5', '6.5e-t1-r6')]


def test_erratum_29():
    fused, temporal, one_way = {}, {}, {}
    for row in RUNS.values():
        if row.stage == 'early_fusion':
            fused[row.model] = max(fused.get(row.model, 0), row.afew_accuracy)
        elif row.stage == 'temporal':
            temporal[row.model] = max(temporal.get(row.model, 0), row.afew_accuracy)
            if not row.bidirectional:
                one_way[row.model] = max(one_way.get(row.model, 0), row.afew_accuracy)
    drops = {model: round(temporal[model] - accuracy, 1) for model, accuracy in fused.items()}
    assert drops == {'vgg_face': 0.8, 'se_resnet50': 3.2, 'resnet50': 3.9, 'se_resnext50': 6.3}
    assert (fused['vgg_face'], one_way['vgg_face']) == (44.6, 44.4)
    best = {run_id for run_id, row in RUNS.items() if row.stage == 'early_fusion'}
    assert concerned(29) == {run_id for run_id in best if RUNS[run_id].afew_accuracy == fused[RUNS[run_id].model]}


def test_erratum_30():
    assert RUNS['6.2-t3-r1'].model == 'densenet121'
    assert '6.2-t3-r1' in members('6.5l-t4-r7')


def test_erratum_31():
    ones, twos = ([members(f'6.5l-t{number}-r{run}') for number in (1, 2, 3)] for run in (1, 2))
    printed = RUNS['6.5l-t4-r3'].avg_accuracy
    assert rounds_to(mean(twos[0] + twos[1] + twos[2]), printed)
    assert not rounds_to(mean(ones[0] + twos[1] + twos[2]), printed)
    assert members('6.5l-t4-r3') == twos[0] + twos[1] + twos[2]


def test_erratum_32():
    """`test_accuracies_are_shares_of_383_videos` finds the accuracies that are not shares of 383 videos."""
    best = {}  # accuracy of each network in one direction. VGG-Face's two best are equal
    for row in RUNS.values():
        if row.stage == 'temporal' and not row.bidirectional:
            best[row.model] = max(best.get(row.model, 0), row.afew_accuracy)
    del best['densenet121']
    five, four = list(best.values()), [best[model] for model in best if model != 'nasnet']
    assert (len(five), len(four)) == (5, 4)
    both_ways = accuracies(members('6.5l-t2-r2'))
    for chosen in (five, four):
        assert not rounds_to(np.mean(chosen), RUNS['6.5l-t2-r1'].avg_accuracy)
        assert not rounds_to(np.mean(chosen + both_ways), RUNS['6.5l-t2-r3'].avg_accuracy)
    # One audio run lowers a mean of 42.7 to 40.8 only if it joins some seven others.
    before, after = (RUNS[f'6.5l-t4-r{run}'].avg_accuracy for run in (1, 2))
    audio = max(accuracies(table('6.4', 1).values()))
    fits = [n for n in range(1, 40) if rounds_to((n * before + audio) / (n + 1), after)]
    assert fits == [7]


def test_erratum_33():
    late = [row for row in RUNS.values() if row.stage == 'late_fusion']
    gained = {row.run_id: round(row.afew_accuracy - row.avg_accuracy, 1) for row in late}
    assert (min(gained, key=gained.get), max(gained, key=gained.get)) == ('6.5l-t2-r2', '6.5l-t4-r7')
    assert (min(gained.values()), max(gained.values())) == (4.2, 10.6)


def check_unfit(paper: str, *texts: str) -> None:
    """Asserts that chapters 6 and 7 print these accuracies for a paper, and that they are no rounded k of 383."""
    unfit = [(place, text) for place, text in unfit_accuracies(VIDEOS) if f', {paper} ' in f'{place} ']
    assert sorted({text for _, text in unfit}) == sorted(texts)


def test_erratum_34():
    check_unfit('[48]', '50.3', '48.1', '48.2')
    assert [possible_counts(text, VIDEOS) for text in ('48.1', '48.2')] == [{}, {}]
    assert possible_counts('50.3', VIDEOS) == {193: ('truncated',)}
    assert [f'{100 * k / VIDEOS:.1f}' for k in (192, 193, 184, 185)] == ['50.1', '50.4', '48.0', '48.3']


def test_erratum_35():
    for text, count in (('55.13', 360), ('56.05', 366), ('56.97', 372), ('57.43', 375)):
        assert possible_counts(text, VIDEOS) == {}
        assert list(possible_counts(text, 653)) == [count]
    printed = [f'{row.val_acc:.1f}' for row in COMPARISONS if row.entrant == '[18]']
    assert printed == ['55.1', '56.1', '57.4']
    assert [list(possible_counts(text, VIDEOS)) for text in printed] == [[211], [215], [220]]


def test_erratum_36():
    check_unfit('[18]', '40.1')
    assert list(possible_counts('40.99', VIDEOS)) == [157]
    assert [f'{100 * k / VIDEOS:.1f}' for k in (153, 154)] == ['39.9', '40.2']


def test_erratum_37():
    assert list(possible_counts('49.09', VIDEOS)) == [188]
    assert max(row.afew_val_acc for row in read_entrants() if row.paper == '[18]') < 49.09
    assert all(row.val_acc != 49.1 and 'FG-Net' not in row.description for row in COMPARISONS)


def test_erratum_38():
    """A ResNet with blocks of three convolutions has two more layers, the first and the last."""
    assert [3 * (3 + 4 + blocks + 3) + 2 for blocks in (23, 6)] == [101, 50]


def test_erratum_39():
    check_unfit('[56]', '49.7', '49.4', '33.5')
    check_unfit('[47]', '31.0')
    check_unfit('EmotiW', '38.8')
    assert [possible_counts(text, VIDEOS) for text in ('49.7', '49.4', '33.5', '38.8')] == [{}] * 4
    assert possible_counts('31.0', VIDEOS) == {119: ('truncated',)}
    assert 119 in possible_counts('31.1', VIDEOS)


def test_printed_accuracies_that_fit_no_count_are_errata():
    """Every other accuracy that chapters 6 and 7 print for AFEW's validation set is a rounded k of 383."""
    texts = ' '.join(ERRATA[number].text for number in (32, 34, 36, 39))
    unfit = unfit_accuracies(VIDEOS)
    assert (len(printed_accuracies()), len(unfit)) == (122, 13)
    for place, text in unfit:
        assert f'{text}%' in texts, place


@pytest.mark.parametrize('total', [1, 7, 383, 653])
@pytest.mark.parametrize('decimals', [0, 1, 2])
def test_every_count_is_found_from_its_printed_accuracy(total, decimals):
    for count in range(total + 1):
        unit = 10**decimals
        scaled, rest = divmod(100 * count * unit, total)
        half_up = scaled + (2 * rest >= total)
        even = scaled + (2 * rest > total or (2 * rest == total and scaled % 2 == 1))
        for units, name in ((scaled, 'truncated'), (half_up, 'half up'), (even, 'half to even')):
            text = f'{units // unit}.{units % unit:0{decimals}d}' if decimals else str(units)
            assert name in possible_counts(text, total)[count]
            assert abs(nearest_count(text, total) - count) <= total / 100 / unit + 1


def test_halves_tell_the_roundings_apart():
    assert possible_counts('12.5', 8) == {1: ('half up', 'half to even', 'truncated')}
    assert possible_counts('12', 8) == {1: ('half to even', 'truncated')}
    assert possible_counts('13', 8) == {1: ('half up',)}


@pytest.mark.parametrize('text', ['', '-1', '101', '1e1', '46,0', 'nan', '100.01'])
def test_accuracies_that_are_not_percent_are_refused(text):
    with pytest.raises(ValueError, match='expected percent'):
        possible_counts(text, VIDEOS)


def test_counts_command_prints_every_count():
    done = run('-m', 'fer.report.counts', '--accuracy=55.13,46.0%', '--of=383,653')
    assert done.out.splitlines() == [
        '55.13% of 383: none, nearest 211/383 = 55.0914%',
        '55.13% of 653: 360/653 = 55.1302%',
        '46.0% of 383: 176/383 = 45.9530% (half up, half to even)',
        '46.0% of 653: 301/653 = 46.0949% (truncated)',
    ]
    assert describe('46', 10_000) == '46% of 10000: 150 numbers, from 4550/10000 to 4699/10000'
    done = run('-m', 'fer.report.counts', '--of=0', ok=False)
    assert (done.code, done.out) == (2, '')
    assert done.err == 'python -m fer.report.counts: --of=0: expected numbers of videos from 1 to 1000000\n'
