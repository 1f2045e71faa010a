# SPDX-License-Identifier: Apache-2.0
"""Statistics of prepared splits, compared with counts by hand and by pandas."""

import csv

import numpy as np
import pandas as pd
import pytest
from conftest import run

from fer.emotions import EMOTIONS, to_one_hot
from fer.errors import InputError
from fer.manifest import LEDGER_COLUMNS, LedgerRow, write_ledger, write_manifest
from fer.prepare.statistics.splits import find_splits, read_split
from fer.prepare.statistics.write import format_summaries, write_statistics

COMMAND = ('-m', 'fer.prepare.statistics')


def write_split(folder, name, rows, ledger=True, unused=()):
    """Writes a ledger, and a manifest with the `frames_kept` of each row without a gap."""
    lines = [
        (f'faces/{row.video_id}/{frame:05d}.jpg', *([] if row.label is None else [to_one_hot(row.label)]))
        for row in rows
        if not row.gap and row.video_id not in unused
        for frame in range(1, row.frames_kept + 1)
    ]
    write_manifest(folder / f'{name}.txt', lines)
    if ledger:
        write_ledger(folder / f'{name}.ledger.csv', rows)


def video(video_id, label, decoded, kept, gap=''):
    return LedgerRow(video_id, label, decoded, kept, 1.5, gap)


# Lengths 10, 11, 2 and 31 in the manifest.
BY_HAND = [
    video('a', 0, 10, 10),
    video('b', 4, 20, 11),
    video('c', 4, 30, 1, 'no_face'),
    video('d', 4, 0, 0, 'missing'),
    video('e', 6, 12, 0, 'undecodable'),
    video('f', 6, 2, 2),
    video('g', 0, 7, 5),
    video('h', 1, 40, 31),
    video('i', 1, 25, 0, 'no_face'),
]


def table(path):
    with open(path, newline='') as file:
        return list(csv.reader(file))


def summary_of(output):
    return {row['split']: row for row in pd.read_csv(output / 'summary.csv', dtype=str).to_dict('records')}


def names(output):
    return sorted(path.name for path in output.iterdir())


def test_tables_equal_counts_by_hand(tmp_path):
    write_split(tmp_path, 'val', BY_HAND, unused='g')
    write_statistics(tmp_path, tmp_path / 'new' / 'out', ['val'])
    out = tmp_path / 'new' / 'out'
    assert table(out / 'lengths_val.csv') == [
        ['frames_from', 'frames_to', 'videos'],
        ['1', '10', '2'],
        ['11', '20', '1'],
        ['21', '30', '0'],
        ['31', '40', '1'],
    ]
    assert table(out / 'classes_val.csv') == [
        ['class', 'videos', 'with_frames', 'no_face', 'no_audio', 'undecodable', 'missing', 'unstated', 'frames'],
        ['Neutral', '2', '1', '0', '0', '0', '0', '1', '10'],
        ['Anger', '2', '1', '1', '0', '0', '0', '0', '31'],
        ['Disgust', '0', '0', '0', '0', '0', '0', '0', '0'],
        ['Fear', '0', '0', '0', '0', '0', '0', '0', '0'],
        ['Happy', '3', '1', '1', '0', '0', '1', '0', '11'],
        ['Sad', '0', '0', '0', '0', '0', '0', '0', '0'],
        ['Surprise', '2', '1', '0', '0', '1', '0', '0', '2'],
    ]
    assert table(out / 'skipped_val.csv') == [
        ['reason', 'videos', 'frames'],
        ['no_face', '2', '55'],
        ['no_audio', '0', '0'],
        ['undecodable', '1', '12'],
        ['missing', '1', '0'],
        ['unstated', '1', '7'],
        ['frame_not_kept', '2', '18'],  # 9 of b, 9 of h
    ]
    summary = summary_of(out)['val']
    assert (summary['videos'], summary['with_frames'], summary['frames']) == ('9', '4', '54')
    assert (summary['shortest'], summary['median'], summary['longest']) == ('2', '10.5', '31')
    assert summary['mean'] == '13.50'


def test_skipped_table_counts_reasons_in_frames_csv(tmp_path):
    write_split(tmp_path, 'val', BY_HAND, unused=('g',))
    statuses = {
        'b': ['kept'] * 11 + ['no_face'] * 7 + ['other_person'] * 2,
        'h': ['no_face'] * 9 + ['kept'] * 30 + ['held'],
    }
    for video_id, rows in statuses.items():
        folder = tmp_path / 'faces' / video_id
        folder.mkdir(parents=True)
        pd.DataFrame({'frame': range(1, len(rows) + 1), 'status': rows}).to_csv(folder / 'frames.csv', index=False)
    write_statistics(tmp_path, tmp_path / 'out', ['val'])
    assert table(tmp_path / 'out' / 'skipped_val.csv')[6:] == [
        ['frame_not_kept', '2', '18'],
        ['frame_no_face', '2', '16'],
        ['frame_other_person', '1', '2'],
    ]
    assert summary_of(tmp_path / 'out')['val']['frame_not_kept'] == '18'
    (tmp_path / 'faces/h/frames.csv').write_text('frame\n1\n')
    with pytest.raises(InputError, match=r'h/frames\.csv: .*expected what preparation wrote'):
        write_statistics(tmp_path, tmp_path / 'out', ['val'])


def test_random_splits_agree_with_pandas(tmp_path):
    rng = np.random.default_rng(5)
    for name, count in (('train', 131), ('extra', 57)):
        kept = rng.integers(2, 97, count)
        rows = [video(f'v{k:03d}', int(rng.integers(7)), int(n + rng.integers(9)), int(n)) for k, n in enumerate(kept)]
        rows = [row._replace(gap='no_face') if rng.random() < 0.1 else row for row in rows]
        write_split(tmp_path, name, rows)
    out = tmp_path / 'out'
    write_statistics(tmp_path, out, ['train', 'extra'])
    for name, summary in summary_of(out).items():
        ledger = pd.read_csv(tmp_path / f'{name}.ledger.csv', keep_default_na=False)
        frames = pd.read_csv(tmp_path / f'{name}.txt', names=['path', 'label'], dtype=str)
        lengths = frames.groupby(frames['path'].str.split('/').str[1]).size()
        used = ledger[ledger['gap'] == '']

        bins = pd.read_csv(out / f'lengths_{name}.csv')
        edges = np.arange(0, lengths.max() + 10, 10)
        expected = pd.cut(lengths, edges).value_counts(sort=False)
        assert bins['videos'].tolist() == expected.tolist()
        assert bins['frames_to'].tolist() == [interval.right for interval in expected.index]

        classes = pd.read_csv(out / f'classes_{name}.csv', index_col='class')
        assert classes['videos'].to_dict() == ledger['label'].value_counts().reindex(EMOTIONS, fill_value=0).to_dict()
        by_class = frames['label'].value_counts()
        assert [by_class.get(to_one_hot(k), 0) for k in range(7)] == classes['frames'].tolist()
        assert (classes['with_frames'] + classes['no_face'] == classes['videos']).all()

        skipped = pd.read_csv(out / f'skipped_{name}.csv', index_col='reason')
        assert skipped.loc['no_face', 'frames'] == ledger.loc[ledger['gap'] == 'no_face', 'frames_decoded'].sum()
        lost = used['frames_decoded'] - used['frames_kept']
        assert skipped.loc['frame_not_kept'].tolist() == [(lost > 0).sum(), lost.sum()]

        assert float(summary['q25']) == lengths.quantile(0.25)
        assert float(summary['q95']) == pytest.approx(lengths.quantile(0.95), abs=1e-3)
        centred = lengths - lengths.mean()
        count = len(lengths)
        skewness = (centred**3).mean() / (centred**2).mean() ** 1.5 * (count * (count - 1)) ** 0.5 / (count - 2)
        assert float(summary['skewness']) == pytest.approx(skewness, abs=6e-4)


def test_second_command_writes_the_same_bytes(painted, tmp_path):
    data = tmp_path / 'data'
    data.mkdir()
    for path in [*painted.glob('*.txt'), *painted.glob('*.csv')]:
        (data / path.name).write_bytes(path.read_bytes())
    (data / 'prepare_flags.txt').write_text('--dataset=afew\n')
    printed = run(*COMMAND, f'--data={data}').out
    assert printed.splitlines()[0].split() == ['split', 'train', 'val']
    assert ['videos', '15', '10'] in [line.split() for line in printed.splitlines()]
    out = data / 'statistics'
    first = {name: (out / name).read_bytes() for name in names(out)}
    assert sorted(first) == [
        *('classes_train.csv', 'classes_train.png', 'classes_val.csv', 'classes_val.png'),
        *('lengths_train.csv', 'lengths_train.png', 'lengths_val.csv', 'lengths_val.png'),
        *('skipped_train.csv', 'skipped_val.csv', 'summary.csv'),
    ]
    assert first['lengths_train.png'].startswith(b'\x89PNG')
    assert first['lengths_train.png'] != first['lengths_val.png']
    assert run(*COMMAND, f'--data={data}').out == printed
    assert {name: (out / name).read_bytes() for name in names(out)} == first
    run(*COMMAND, f'--data={data}', '--splits=val', f'--output={tmp_path / "other"}')
    assert names(tmp_path / 'other') == sorted([name for name in first if 'val' in name] + ['summary.csv'])
    assert (tmp_path / 'other' / 'lengths_val.csv').read_bytes() == first['lengths_val.csv']


def test_unlabelled_split_has_no_class_figure(tmp_path):
    write_split(tmp_path, 'test', [video('x', None, 9, 9), video('y', None, 14, 12), video('z', None, 3, 0, 'no_face')])
    summaries = write_statistics(tmp_path, tmp_path, ['test'])
    assert table(tmp_path / 'classes_test.csv')[1:] == [['-', '3', '2', '1', '0', '0', '0', '0', '21']]
    assert not (tmp_path / 'classes_test.png').exists()
    assert (tmp_path / 'lengths_test.png').exists()
    assert 'test: no labels' in format_summaries(summaries)
    assert summaries[0]['Happy'] == '-'


def test_split_without_ledger_has_no_skipped_table(tmp_path):
    write_split(tmp_path, 'val', BY_HAND, ledger=False)
    (summary,) = summaries = write_statistics(tmp_path, tmp_path, ['val'])
    assert (summary['videos'], summary['with_frames'], summary['no_face']) == ('5', '5', '-')
    assert not (tmp_path / 'skipped_val.csv').exists()
    assert 'val: no ledger' in format_summaries(summaries)


def test_split_of_gaps_only_has_no_lengths(tmp_path):
    write_split(tmp_path, 'val', [row._replace(gap='no_face') for row in BY_HAND])
    (tmp_path / 'lengths_val.csv').write_text('of an earlier preparation\n')
    summaries = write_statistics(tmp_path, tmp_path, ['val'])
    assert not (tmp_path / 'lengths_val.csv').exists()
    assert table(tmp_path / 'skipped_val.csv')[1] == ['no_face', '9', '146']
    assert (tmp_path / 'classes_val.png').exists()
    assert 'val: no video with frames' in format_summaries(summaries)


def write_audio(folder):
    rows = [video(f'{k:03d}', k % 7, 50 + k, 40 + k) for k in range(9)]
    lines = [(f'functionals/Val_AFEW/{EMOTIONS[r.label]}/{r.video_id}.csv', to_one_hot(r.label)) for r in rows]
    write_manifest(folder / 'val.txt', sorted(lines))
    write_ledger(folder / 'val.ledger.csv', [*rows, video('silent', 3, 8, 8, 'no_audio')])
    return 'video', 'val: a line is the audio of a whole video, so no lengths'


def write_stills(folder):
    lines = [(f'source/{EMOTIONS[k % 7]}/{k}.png', to_one_hot(k % 7)) for k in range(9)]
    write_manifest(folder / 'val.txt', lines)
    rows = [LedgerRow(f'source/{EMOTIONS[k % 7]}/{k}', k % 7, 1, 1, None, '') for k in range(9)]
    write_ledger(folder / 'val.ledger.csv', [*rows, LedgerRow('source/Fear/9', 3, 0, 0, None, 'missing')])
    return 'still', 'val: a line is an image, so no lengths'


@pytest.mark.parametrize('write', [write_audio, write_stills])
@pytest.mark.parametrize('ledger', [True, False])
def test_audio_and_stills_have_no_lengths(write, ledger, tmp_path):
    item, note = write(tmp_path)
    if not ledger:  # then folders named after classes decide, so the lines of each class must stand together
        (tmp_path / 'val.ledger.csv').unlink()
        path = tmp_path / 'val.txt'
        path.write_text(''.join(sorted(path.read_text().splitlines(keepends=True))))
    summaries = write_statistics(tmp_path, tmp_path, ['val'])
    assert note in format_summaries(summaries)
    assert summaries[0]['item'] == item
    assert summaries[0]['videos'] == ('10' if ledger else '9')
    assert summaries[0]['frame_not_kept'] == summaries[0]['median'] == '-'
    classes = pd.read_csv(tmp_path / 'classes_val.csv', index_col='class')
    assert classes['with_frames'].tolist() == classes['frames'].tolist() == [2, 2, 1, 1, 1, 1, 1]
    assert names(tmp_path) == sorted(
        ['classes_val.csv', 'classes_val.png', 'summary.csv', 'val.txt']
        + (['skipped_val.csv', 'val.ledger.csv'] if ledger else [])
    )


def test_audio_clips_have_lengths(tmp_path):
    write_manifest(tmp_path / 'val.txt', [(f'clips/{v}/{k:05d}.csv', '0000010') for v in 'ab' for k in range(1, 4)])
    write_ledger(tmp_path / 'val.ledger.csv', [video('a', 5, 5, 3), video('b', 5, 3, 3)])
    split = read_split(tmp_path / 'val.txt')
    assert split.item == 'frame'
    assert split.lengths.tolist() == [3, 3]


def test_splits_are_found_in_order(tmp_path):
    for name in ('test.txt', 'audio.txt', 'val.txt', 'train.txt', 'flags.txt', 'prepare_flags.txt', '.hidden.txt'):
        (tmp_path / name).touch()
    assert find_splits(tmp_path) == ['train', 'val', 'test', 'audio']


def test_wrong_item_is_refused(tmp_path):
    write_stills(tmp_path)
    with pytest.raises(InputError, match=r'has no row in .*val\.ledger\.csv'):
        read_split(tmp_path / 'val.txt', 'video')


def replace(path, old, new):
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


DAMAGES = {
    'no folder': (lambda data: data.rename(data.with_name('gone')), 'not found'),
    'no manifest': (lambda data: [path.unlink() for path in data.glob('*.txt')], 'no manifest'),
    'wrong label': (lambda data: replace(data / 'val.txt', '1000000', '1100000'), 'val.txt:1: '),
    'a video without a row': (lambda data: replace(data / 'val.ledger.csv', '\na,', '\nz,'), 'video a has no row'),
    'wrong gap': (lambda data: replace(data / 'val.ledger.csv', 'missing', 'lost'), 'val.ledger.csv:5: '),
    'wrong header': (lambda data: replace(data / 'val.ledger.csv', ','.join(LEDGER_COLUMNS), 'id'), 'header'),
    'more frames than decoded': (lambda data: replace(data / 'val.ledger.csv', '20,11', '10,11'), '11 of 10 frames'),
    'a file in the way': (lambda data: (data / 'statistics').touch(), 'statistics'),
    'an empty manifest': (lambda data: (data / 'train.txt').touch(), 'train.txt: no lines'),
}


@pytest.fixture
def data(tmp_path):
    folder = tmp_path / 'data'
    folder.mkdir()
    write_split(folder, 'val', BY_HAND)
    return folder


@pytest.mark.parametrize('damage', DAMAGES)
def test_bad_input_writes_nothing(damage, data):
    spoil, expected = DAMAGES[damage]
    spoil(data)
    with pytest.raises((InputError, FileExistsError)) as caught:
        write_statistics(data, data / 'statistics', find_splits(data))
    assert expected in str(caught.value)
    assert not (data / 'statistics').is_dir()


@pytest.mark.parametrize('damage', ['wrong gap', 'a file in the way'])
def test_bad_input_prints_one_line(damage, data):
    spoil, expected = DAMAGES[damage]
    spoil(data)
    done = run(*COMMAND, f'--data={data}', ok=False)
    (line,) = done.err.splitlines()
    assert done.code == 2
    assert line.startswith('python -m fer.prepare.statistics: ')
    assert expected in line
    assert done.out == ''
    assert not (data / 'statistics').is_dir()


def test_unknown_split_is_refused(data):
    done = run(*COMMAND, f'--data={data}', '--splits=val,test', ok=False)
    assert done.code == 2
    assert 'test.txt; expected some of val' in done.err
