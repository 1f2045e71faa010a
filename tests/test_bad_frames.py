# SPDX-License-Identifier: Apache-2.0
"""--on_bad_frame=skip leaves out exactly the unreadable frames, as if the manifest had never had their lines."""

import csv
import os
import shutil
import signal
from pathlib import Path

import cv2
import numpy as np
import pytest
from conftest import tiny_config
from test_stage_runs import assert_same_run, score

from fer.data.audio import FUNCTIONALS
from fer.data.bad_frames import Skip
from fer.data.file_checks import check_images
from fer.data.pipeline import Reading, build_pipeline
from fer.data.split import Contents, describe, load_split
from fer.errors import InputError
from fer.manifest import read_manifest
from fer.results.results_file import read_results
from fer.runs.config import read_flagfile
from fer.stop import Stopped
from fer.tf1 import tf
from fer.training.log import RunLog
from fer.training.train import train

# Its runs are shared, so they are made in one of pytest-xdist's processes.
pytestmark = [pytest.mark.xdist_group(__name__), pytest.mark.usefixtures('quick_runs')]

BOTH, FACES, AUDIO = Contents('frame', True, 112), Contents('frame', True, 0), Contents('frame', False, 112)


def damage_inside(path):
    content = path.read_bytes()
    path.write_bytes(content[:20] + bytes(len(content) - 40) + content[-20:])


def lose_last_feature(path):
    path.write_text('\n'.join(line.rsplit(',', 1)[0] for line in path.read_text().splitlines()))


# {line: (field of the line, damage to its file, message)}. Lines 7 and 8, 21 and 22 are whole videos.
IMAGE, CLIP = 1, 0
DAMAGES = {
    1: (CLIP, lose_last_feature, '111 values; expected 112'),  # the file that sets the features of the others
    2: (IMAGE, damage_inside, 'damaged inside, cannot be decoded'),
    5: (IMAGE, lambda path: path.write_bytes(path.read_bytes()[:300]), 'truncated JPEG'),
    7: (IMAGE, lambda path: path.write_bytes(b''), 'empty file'),
    8: (IMAGE, lambda path: path.write_text('not an image'), 'not a JPEG or PNG image'),
    10: (IMAGE, Path.unlink, 'No such file'),
    12: (CLIP, Path.unlink, 'No such file'),
    21: (CLIP, lambda path: path.write_bytes(b'\xff\xfe'), 'not UTF-8 text'),
    22: (CLIP, lambda path: path.write_text(path.read_text().replace('\n', '\n,', 1)), '113 values; expected 112'),
    30: (CLIP, lambda path: path.write_text('loudness\n1\n'), '1 values; expected 112'),
}
LOST = {IMAGE: 'train001', CLIP: 'train005'}


def lines_of(contents):
    """Returns the damaged lines whose damaged file is read with these contents."""
    return [n for n, (field, *_) in DAMAGES.items() if (contents.images if field == IMAGE else contents.audio_size)]


def file_of(data, line, field, split='train'):
    return data / (data / f'{split}_audiovisual.txt').read_text().splitlines()[line - 1].split(',')[field]


def without(data, lines, split='train'):
    """Writes a manifest without these lines, and its ledger."""
    kept = [
        text for n, text in enumerate((data / f'{split}_audiovisual.txt').read_text().splitlines(), 1) if n not in lines
    ]
    (data / f'{split}_whole.txt').write_text('\n'.join(kept))
    shutil.copy(data / f'{split}.ledger.csv', data / f'{split}_whole.ledger.csv')
    return data / f'{split}_whole.txt'


@pytest.fixture(scope='module')
def data(painted_sound, tmp_path_factory):
    """Copies the corpus, with a damaged file of each kind, and a readable image of another size."""
    data = shutil.copytree(painted_sound, tmp_path_factory.mktemp('damaged') / 'data')
    for line, (field, damage, _) in DAMAGES.items():
        damage(file_of(data, line, field))
    file_of(data, 4, CLIP, 'val').unlink()
    cv2.imwrite(str(file_of(data, 15, IMAGE)), np.full((20, 50, 3), 90, np.uint8))
    return data


def load(path, skip, contents=BOTH, seq_len=4):
    return load_split([str(path)], '', seq_len, 2, labelled=True, contents=contents, skip=skip)


def batches(split, contents):
    """Returns every value of an epoch's shuffled batches."""
    with tf.Graph().as_default(), tf.Session() as session:
        reading = Reading(32 if contents.images else 0, contents.audio_size)
        pipeline = build_pipeline(split, 3, reading, shuffle_seed=1)
        session.run(pipeline.initializer, {pipeline.epoch: 0, pipeline.skip: 0})
        parts = {name: part for name, part in pipeline.batch._asdict().items() if part is not None}
        return [session.run(parts) for _ in range(pipeline.num_batches)]


def test_exactly_the_damaged_frames_are_found(data):
    split = load(data / 'train_audiovisual.txt', Skip(0.5))
    assert [frame.line for frame in split.bad] == list(DAMAGES)
    for frame in split.bad:
        field, _, reason = DAMAGES[frame.line]
        assert reason in frame.reason
        assert frame.path == str(file_of(data, frame.line, field))
    gaps = {row.video_id: row.gap for row in split.ledger}
    assert {video_id for video_id, gap in gaps.items() if gap == 'undecodable'} == set(LOST.values())
    assert '9 videos (3 without frames), 21 frames in ' in describe(split)
    assert ', 10 bad frames left out' in describe(split)


@pytest.mark.parametrize('contents', [BOTH, FACES, pytest.param(AUDIO, marks=pytest.mark.slow)])
def test_batches_equal_those_without_the_lines(data, contents):
    """In images, audio, labels, windows and their order."""
    skipped = load(data / 'train_audiovisual.txt', Skip(0.5), contents)
    whole = load(without(data, lines_of(contents)), None, contents)
    found, expected = batches(skipped, contents), batches(whole, contents)
    assert sum(len(batch['labels']) for batch in expected) == len(whole.windows)
    for batch, other in zip(found, expected, strict=True):
        assert batch.keys() == other.keys()
        for name in batch:
            np.testing.assert_array_equal(batch[name], other[name])


def test_unreadable_stills_and_functionals_are_left_out(painted_sound, tmp_path):
    data = shutil.copytree(painted_sound, tmp_path / 'data')
    shutil.copytree(data / 'stills_a', tmp_path / 'stills')
    damage_inside(tmp_path / 'stills' / (data / 'stills_a' / 'train.txt').read_text().splitlines()[3].split(',')[0])
    paths = [str(data / 'stills_a' / 'train.txt'), str(tmp_path / 'stills' / 'train.txt')]
    split = load_split(paths, '', 1, 1, labelled=True, contents=Contents('still', True, 0), skip=Skip(0.5))
    assert [(frame.part, frame.line) for frame in split.bad] == [(2, 4)]
    assert len(split.ledger) == 18  # without a ledger, each still counts, readable or not
    assert len(split.videos) == 17
    (data / 'functionals' / 'train002.csv').write_text('')
    split = load_split(
        *([str(data / 'train_functionals.txt')], '', 1, 1),
        labelled=True,
        contents=Contents('video', False, FUNCTIONALS),
        skip=Skip(0.5),
    )
    assert [(frame.video_id, frame.reason[:7]) for frame in split.bad] == [('train002', '0 lines')]


def test_too_many_unreadable_frames_are_an_error(data):
    with pytest.raises(InputError) as caught:
        load(data / 'train.txt', Skip(0.1), FACES)
    line = str(caught.value)
    assert line.startswith(f'{data}/train.txt: 5 of 31 frames are bad (16.13%), the first {data}/train.txt:2: ')
    assert line.endswith('expected at most --max_bad_fraction=0.1 of them')
    assert len(load(data / 'train.txt', Skip(5 / 31), FACES).bad) == 5


CONTENTS = {'audio': AUDIO, 'early_fusion': BOTH}


def config(stage, data, run_dir, **changes):
    settings = {'run_dir': run_dir, 'fusion_option': 1, 'train_epochs': '2', 'on_bad_frame': 'skip'}
    settings |= {f'{split}_manifest': data / f'{split}_audiovisual.txt' for split in ('train', 'val')}
    model = 'audio_gru' if stage == 'audio' else 'vgg_face'
    return tiny_config(data, stage, model, **(settings | {'max_bad_fraction': 0.5} | changes))


@pytest.fixture(scope='module', params=['audio', pytest.param('early_fusion', marks=pytest.mark.slow)])
def skipped(request, data, tmp_path_factory):
    """Trains for two epochs of three steps on the damaged corpus, in a folder named after the stage."""
    run_dir = tmp_path_factory.mktemp('runs') / request.param
    train(config(request.param, data, run_dir), resume=False, overwrite=False)
    return run_dir


def read_rows(path):
    with open(path) as file:
        return list(csv.DictReader(file))


def test_a_run_lists_the_frames_it_left_out(data, skipped):
    found = read_rows(skipped / 'bad_frames.csv')
    assert [(row['split'], row['part'], int(row['line'])) for row in found] == [
        *(('train', '1', line) for line in lines_of(CONTENTS[skipped.name])),
        ('val', '1', 4),
    ]
    assert found[0] == {
        **{'split': 'train', 'part': '1', 'manifest': str(data / 'train_audiovisual.txt'), 'line': '1'},
        **{'video_id': 'train000', 'path': str(file_of(data, 1, CLIP)), 'reason': DAMAGES[1][2]},
    }
    assert read_flagfile(skipped / 'flags.txt').on_bad_frame == 'skip'


@pytest.mark.slow
def test_a_run_equals_one_without_the_lines(data, skipped, tmp_path):
    stage = skipped.name
    manifests = {'train_manifest': without(data, lines_of(CONTENTS[stage])), 'val_manifest': without(data, {4}, 'val')}
    train(config(stage, data, tmp_path / 'whole', on_bad_frame='error', **manifests), resume=False, overwrite=False)
    assert_same_run(tmp_path / 'whole', skipped)
    assert not (tmp_path / 'whole' / 'bad_frames.csv').exists()


def test_evaluation_still_answers_for_every_video(data, skipped, tmp_path):
    manifest, bad = data / 'train_audiovisual.txt', lines_of(CONTENTS[skipped.name])
    before = (skipped / 'bad_frames.csv').read_bytes()
    _, metrics = score(skipped, manifest, tmp_path)  # as in training
    assert metrics['bad_frames'] == len(bad)
    assert metrics['total'] == 9
    results = read_results(tmp_path / 'results_val.txt')
    answers = dict(zip(results.video_ids, zip(results.frames, results.fallback, strict=True), strict=True))
    assert answers[LOST[CLIP]] == (0, 'undecodable')
    assert answers['train000'] == (6 - sum(line <= 6 for line in bad), '-')
    assert [int(row['line']) for row in read_rows(tmp_path / 'bad_frames_val.csv')] == bad
    assert (skipped / 'bad_frames.csv').read_bytes() == before
    for changes, message in (
        ({'on_bad_frame': 'error'}, 'train_audiovisual.txt:[15]: '),
        ({'max_bad_fraction': 0.1}, f'{len(bad)} of 31 frames are bad'),
        ({'max_bad_fraction': 2.0}, '--max_bad_fraction=2.0: expected a share'),
        ({'on_bad_frame': 'drop'}, '--on_bad_frame=drop: expected one of error, skip'),
    ):
        with pytest.raises(InputError, match=message):
            score(skipped, manifest, tmp_path, **changes)
    score(skipped, without(data, {4}, 'val'), tmp_path, on_bad_frame='error')
    assert not (tmp_path / 'bad_frames_val.csv').exists()  # it belonged to the earlier results


def stop_after(monkeypatch, step):
    log_step = RunLog.log_step

    def log_and_stop(self, record):
        log_step(self, record)
        if record.step == step:
            os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(RunLog, 'log_step', log_and_stop)


def test_a_resumed_run_leaves_out_the_same_frames(data, skipped, tmp_path, monkeypatch):
    """In another folder, and after some were repaired. New damage is an error, and so is another manifest."""
    stage = skipped.name
    with monkeypatch.context() as patch:
        stop_after(patch, 1)
        with pytest.raises(Stopped):
            train(config(stage, data, tmp_path / 'run'), resume=False, overwrite=False)
    moved = shutil.copytree(data, tmp_path / 'moved')
    run_dir = (tmp_path / 'run').rename(tmp_path / 'elsewhere')
    for line, field in ((2, IMAGE), (12, CLIP)):
        shutil.copy(file_of(moved, 3, field), file_of(moved, line, field))
    resumed = config(stage, moved, run_dir)

    def assert_error(message):
        with pytest.raises(InputError, match=message):
            train(resumed, resume=True, overwrite=False)

    for field, message in ((CLIP, '1 lines'), (IMAGE, 'truncated JPEG.*bad_frames.csv of the run')):
        damaged = file_of(moved, 20, field)
        content = damaged.read_bytes()
        damaged.write_bytes(content[:200])
        if field == CLIP or stage == 'early_fusion':
            assert_error(f'train_audiovisual.txt:20: .*{message}')
        damaged.write_bytes(content)

    manifest = moved / 'train_audiovisual.txt'
    text = manifest.read_text()
    manifest.write_text(f'# a comment more\n{text}')
    assert_error('train_audiovisual.txt:1: no frame of video train000, which the run has left out')
    manifest.write_text(text)

    kept = (run_dir / 'bad_frames.csv').rename(tmp_path / 'kept.csv')
    assert_error('bad_frames.csv: .*No such file.*expected the bad frames of the run')
    kept.rename(run_dir / 'bad_frames.csv')

    train(resumed, resume=True, overwrite=False)
    assert_same_run(skipped, run_dir)
    rows = read_rows(run_dir / 'bad_frames.csv')
    assert [int(row['line']) for row in rows] == [*lines_of(CONTENTS[stage]), 4]
    assert rows[0]['path'] == str(file_of(moved, 1, CLIP))  # where it is now


def test_older_runs_have_the_defaults(skipped, tmp_path):
    """Their flags.txt does not have the two settings."""
    lines = (skipped / 'flags.txt').read_text().splitlines()
    (tmp_path / 'flags.txt').write_text('\n'.join(line for line in lines if '_bad_' not in line))
    found = read_flagfile(tmp_path / 'flags.txt')
    assert (found.on_bad_frame, found.max_bad_fraction) == ('error', 0.01)


@pytest.mark.parametrize(('name', 'value'), [('on_bad_frame', 'drop'), ('max_bad_fraction', 1.5)])
def test_settings_out_of_range_are_errors(data, tmp_path, name, value):
    with pytest.raises(InputError, match=f'--{name}={value}: expected'):
        train(config('audio', data, tmp_path / 'run', **{name: value}), resume=False, overwrite=False)


def test_the_first_undecodable_image_is_named(data):
    manifest = read_manifest(data / 'train.txt')
    with pytest.raises(InputError, match=r'train.txt:2: .*damaged inside, cannot be decoded'):
        check_images(manifest, decode=True)
    with pytest.raises(InputError, match=r'train.txt:5: .*truncated'):  # the ends alone
        check_images(manifest)
