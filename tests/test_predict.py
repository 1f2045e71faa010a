# SPDX-License-Identifier: Apache-2.0
"""fer.predict: a video of one's own, from the file to frames, segments and a verdict."""

import csv
import dataclasses
import json
import shutil
from pathlib import Path

import cv2
import ffmpeg
import numpy as np
import pytest
from conftest import make_clip, run, tiny_config

from fer.emotions import EMOTIONS
from fer.errors import InputError
from fer.fusion.fuse import fuse
from fer.fusion.requests import FusionRequest
from fer.predict.answer import OPENFACE_COLUMNS, read_frames, read_segments
from fer.predict.one_video import Segments
from fer.predict.predict import predict
from fer.predict.request import PredictionRequest
from fer.predict.watch import cut_windows
from fer.prepare.ffmpeg import FFMPEG
from fer.results.results_file import read_results
from fer.training.evaluate import evaluate
from fer.training.requests import EvaluationRequest
from fer.training.train import train

# Stage, network and manifest of the runs that answer together: every kind of input that a network can have.
RUNS = {
    'finetune': ('finetune', 'vgg_face', 'val.txt', {}),
    'median': ('temporal', 'vgg_face', 'val.txt', {'video_answer': 'median'}),
    'early_fusion': ('early_fusion', 'vgg_face', 'val_audiovisual.txt', {'fusion_option': 1}),
    'gru': ('audio', 'audio_gru', 'val_clips.txt', {}),
    'ffn': ('audio', 'ffn', 'val_functionals.txt', {}),
}
QUICK = {'detector': 'skin', 'write': ('csv', 'segments', 'summary'), 'min_faces': 2, 'jobs': 1, 'threshold': 0.0}


@pytest.fixture(scope='module')
def corpus(tmp_path_factory):
    """Prepares a synthetic corpus of seven training videos and three of validation."""
    folder = tmp_path_factory.mktemp('predict')
    run(
        '-m',
        'fer.prepare.synthetic',
        f'--output={folder / "raw"}',
        *('--train_videos=7', '--val_videos=3', '--test_videos=0'),
    )
    flags = (f'--source={folder / "raw"}', f'--output={folder / "data"}', '--detector=skin', '--image_size=40')
    run('-m', 'fer.prepare', *flags)
    return folder


@pytest.fixture(scope='module')
def runs(corpus, quick_runs):
    """Trains and evaluates a tiny run of each kind."""
    folders = {name: corpus / 'runs' / name for name in RUNS}
    for name, (stage, model, manifest, own) in RUNS.items():
        train(
            tiny_config(
                corpus / 'data',
                stage,
                model,
                run_dir=folders[name],
                train_epochs='1,0' if stage != 'audio' else '1',
                **own,
            ),
            resume=False,
            overwrite=False,
        )
        request = EvaluationRequest(run_dir=str(folders[name]), manifest=str(corpus / 'data' / manifest), split='val')
        evaluate(request)
    return folders


@pytest.fixture(scope='module')
def answers(corpus, runs):
    """Answers for the videos of validation by all runs together."""
    output = corpus / 'answers'
    assert predict(make_request(corpus / 'raw' / 'Val_AFEW', output, runs.values())) == 0
    return output


def make_request(video, output, members, **changes):
    settings = {**QUICK, 'output': str(output), 'members': tuple(map(str, members))}
    return PredictionRequest(**({'video': (str(video),)} | settings | changes))


def read_summary(folder):
    return json.loads((folder / 'summary.json').read_text())


def fused(corpus, runs, output, method):
    """Returns the results of fusing the runs' results of validation."""
    paths = [str(folder / 'results_val.txt') for folder in runs.values()]
    fuse(FusionRequest(weights_from=paths, output=str(output), method=method, folds=0))
    return read_results(output / 'results_val.txt')


def test_verdicts_equal_prepare_evaluate_and_fusion(corpus, runs, answers, tmp_path):
    expected = fused(corpus, runs, tmp_path, '3')
    assert len(expected.video_ids) == 3
    for video_id, logits, prediction in zip(expected.video_ids, expected.logits, expected.predictions, strict=True):
        summary = read_summary(answers / video_id)
        np.testing.assert_allclose(summary['logits'], logits, atol=1e-4)
        assert summary['verdict'] == EMOTIONS[prediction]


def test_single_members_equal_their_evaluation(corpus, runs, tmp_path):
    for name in ('median', 'ffn'):
        expected = read_results(runs[name] / 'results_val.txt')
        predict(make_request(corpus / 'raw' / 'Val_AFEW', tmp_path / name, [runs[name]]))
        for video_id, logits in zip(expected.video_ids, expected.logits, strict=True):
            np.testing.assert_allclose(read_summary(tmp_path / name / video_id)['logits'], logits, atol=1e-4)


def test_weights_come_from_validation_of_members(corpus, runs, tmp_path):
    expected = fused(corpus, runs, tmp_path / 'fused', '2')
    predict(make_request(corpus / 'raw' / 'Val_AFEW', tmp_path / 'out', runs.values(), method='2'))
    for video_id, logits in zip(expected.video_ids, expected.logits, strict=True):
        np.testing.assert_allclose(read_summary(tmp_path / 'out' / video_id)['logits'], logits, atol=1e-4)


def test_frames_have_the_boxes_of_preparation(corpus, answers):
    for folder in answers.iterdir():
        (table,) = (corpus / 'data' / 'faces').rglob(f'{folder.name}/frames.csv')
        with open(table) as file:
            expected = list(csv.DictReader(file))
        rows = list(read_frames(folder / 'frames.csv'))
        summary = read_summary(folder)
        assert {row.frame for row in rows} == set(range(1, len(expected) + 1))
        own = {row.frame: row for row in rows if row.person == summary['main_person']}
        for row in expected:
            assert (row['status'] == 'kept') == (int(row['frame']) in own)
            if row['status'] == 'kept':
                box = [float(row[name]) for name in ('left', 'top', 'width', 'height')]
                np.testing.assert_allclose(own[int(row['frame'])].box, box, atol=0.06)
        for row in own.values():
            assert row.probabilities.sum() == pytest.approx(1, abs=1e-5)


def test_segments_cover_the_frames_of_people_and_audio(answers):
    for folder in answers.iterdir():
        rows = [row for row in read_frames(folder / 'frames.csv') if row.person]
        segments = read_segments(folder / 'segments.csv')
        spoken = [segment for segment in segments if segment.tier == 'audio']
        seconds = sum(segment.end_s - segment.begin_s for segment in segments if segment.tier != 'audio')
        assert seconds == pytest.approx(0.04 * len(rows), abs=1e-6)
        for row in rows:
            (own,) = [
                segment
                for segment in segments
                if segment.tier == f'person {row.person}'
                and segment.begin_s - 1e-6 <= row.time_s < segment.end_s - 1e-6
            ]
            assert own.label == EMOTIONS[int(np.argmax(row.probabilities))]
        is_silent = any('silent' in problem for problem in read_summary(folder)['problems'])
        assert [segment.begin_s for segment in spoken][:1] == ([] if is_silent else [0])


def test_same_command_resumes(corpus, runs, tmp_path, capsys):
    videos = corpus / 'raw' / 'Val_AFEW'
    predict(make_request(videos, tmp_path, [runs['ffn']]))
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob('*.json')}
    shutil.rmtree(next(iter(before)).parent)
    capsys.readouterr()
    predict(make_request(videos, tmp_path, [runs['ffn']]))
    assert '2 of 3 videos are answered already' in capsys.readouterr().out
    after = {path: path.stat().st_mtime_ns for path in tmp_path.rglob('*.json')}
    assert after.keys() == before.keys()
    assert sum(after[path] == before[path] for path in before) == 2
    with pytest.raises(InputError, match='made with other settings; give --overwrite'):
        predict(make_request(videos, tmp_path, [runs['ffn']], threshold=0.9))
    predict(make_request(videos, tmp_path, [runs['ffn']], threshold=0.9, overwrite=True))
    assert {read_summary(path.parent)['verdict'] for path in after} == {'uncertain'}


def test_video_without_faces_has_rows_and_no_verdict(runs, tmp_path):
    make_clip(tmp_path / 'a "b" <c>.mp4', 25, 1, sound=False)
    assert predict(make_request(tmp_path / 'a "b" <c>.mp4', tmp_path / 'out', [runs['finetune'], runs['ffn']])) == 0
    folder = tmp_path / 'out' / 'a "b" <c>'
    summary = read_summary(folder)
    assert (summary['verdict'], summary['probabilities'], summary['persons']) == (None, None, [])
    assert 'no audio' in summary['problems'][0]
    rows = list(read_frames(folder / 'frames.csv'))
    assert [row.frame for row in rows] == list(range(1, 26))
    assert not any(row.person for row in rows)
    assert read_segments(folder / 'segments.csv') == []


def test_two_people_are_two_tracks(corpus, runs, tmp_path):
    videos = sorted((corpus / 'raw').rglob('*.avi'))[:4:3]
    sides = [ffmpeg.input(str(path), t=1).video.filter('scale', 192, 144).filter('fps', 25) for path in videos]
    both = ffmpeg.filter(sides, 'hstack')
    ffmpeg.output(both, str(tmp_path / 'both.mp4'), loglevel='error').run(cmd=FFMPEG)
    predict(make_request(tmp_path / 'both.mp4', tmp_path / 'out', [runs['finetune']], columns='openface'))
    summary = read_summary(tmp_path / 'out' / 'both')
    assert [person['id'] for person in summary['persons']] == [1, 2]
    assert all(person['verdict'] in EMOTIONS for person in summary['persons'])
    path = tmp_path / 'out' / 'both' / 'frames.csv'
    assert set(OPENFACE_COLUMNS.values()) <= set(path.read_text().splitlines()[0].split(','))
    sides = {row.person: row.box[0] < 192 for row in read_frames(path) if row.person}
    assert set(sides.values()) == {True, False}
    tiers = {segment.tier for segment in read_segments(path.parent / 'segments.csv')}
    assert tiers == {'person 1', 'person 2'}


def test_few_faces_give_no_verdict(corpus, runs, tmp_path):
    members = [runs['finetune'], runs['ffn']]
    predict(make_request(corpus / 'raw' / 'Val_AFEW', tmp_path, members, min_faces=1000))
    for path in tmp_path.rglob('summary.json'):
        summary = read_summary(path.parent)
        assert summary['verdict'] is None
        assert '1000 are needed' in summary['why']
        assert summary['persons'][0]['frames'] > 0
        assert summary['audio']['verdict'] in EMOTIONS


def test_damaged_videos_are_listed(corpus, runs, tmp_path):
    folder = tmp_path / 'videos'
    folder.mkdir()
    (video, *_) = sorted((corpus / 'raw' / 'Val_AFEW').rglob('*.avi'))
    shutil.copy(video, folder / 'good.avi')
    (folder / 'text.avi').write_text('not a video')
    (folder / 'empty.avi').touch()
    assert predict(make_request(folder, tmp_path / 'out', [runs['finetune']])) == 1
    with open(tmp_path / 'out' / 'problems.csv') as file:
        assert sorted(Path(row['video']).name for row in csv.DictReader(file)) == ['empty.avi', 'text.avi']
    assert sorted(path.name for path in (tmp_path / 'out').iterdir()) == ['good', 'problems.csv']
    with pytest.raises(InputError, match=r'text\.avi: '):
        predict(make_request(folder / 'text.avi', tmp_path / 'other', [runs['finetune']]))


def test_single_picture_is_answered(runs, tmp_path):
    cv2.imwrite(str(tmp_path / 'one.png'), np.zeros((48, 64, 3), np.uint8))
    ffmpeg.input(str(tmp_path / 'one.png')).output(str(tmp_path / 'one.gif'), loglevel='error').run(cmd=FFMPEG)
    predict(make_request(tmp_path / 'one.gif', tmp_path / 'out', [runs['finetune']]))
    summary = read_summary(tmp_path / 'out' / 'one')
    assert (summary['frames'], summary['verdict']) == (
        len(list(read_frames(tmp_path / 'out' / 'one' / 'frames.csv'))),
        None,
    )


def test_bad_requests_are_one_line(corpus, runs, tmp_path):
    video = next((corpus / 'raw').rglob('*.avi'))
    bad = {
        'no such file': {'video': (str(tmp_path / 'missing.mp4'),)},
        'no video or audio in this folder': {'video': (str(tmp_path),)},
        'is named 2 times': {'video': (str(video), str(video))},
        'expected files, or --camera': {'video': ()},
        'camera=97: OpenCV finds no such camera': {'video': (), 'camera': 97},
        'its weights need answers': {'members': ('starter:face', 'starter:voice'), 'method': '2'},
        'expected one of 1, 2': {'method': '9'},
        'more than once': {'members': (str(runs['ffn']), str(runs['ffn']))},
        'faces cut in one way': {'members': ('starter:face', str(runs['finetune']))},
        'expected another detector': {'detector': 'boxes'},
        'expected video in --write': {'blur_others': True},
        'expected starter:face': {'members': ()},
    }
    request = make_request(video, tmp_path / 'out', [runs['finetune']])
    for message, changes in bad.items():
        with pytest.raises(InputError, match=message):
            predict(dataclasses.replace(request, **changes))
    (tmp_path / 'out' / video.stem).mkdir(parents=True)
    (tmp_path / 'out' / video.stem / 'mine.txt').touch()
    with pytest.raises(InputError, match='something else than an answer'):
        predict(make_request(video, tmp_path / 'out', [runs['finetune']]))


def test_explanations_name_every_member(corpus, runs, tmp_path):
    (video, *_) = sorted((corpus / 'raw' / 'Val_AFEW').rglob('*.avi'))
    predict(make_request(video, tmp_path, runs.values(), explain=True))
    index = json.loads((tmp_path / video.stem / 'explain' / 'explain.json').read_text())
    explained = {one['member'] for one in (*index['people'], *index['audio'])}
    assert explained == {str(folder) for folder in runs.values()}
    assert list((tmp_path / video.stem / 'explain').glob('frame_*_person_1.jpg'))


def test_explanations_leave_out_members_without_answer(corpus, runs, tmp_path):
    """Early fusion does not answer for a video without audio."""
    (video, *_) = sorted((corpus / 'raw' / 'Val_AFEW').rglob('*.avi'))
    silent = tmp_path / 'silent.avi'
    ffmpeg.input(str(video)).output(str(silent), an=None, c='copy', loglevel='error').run(cmd=FFMPEG)
    predict(make_request(silent, tmp_path / 'out', [runs['finetune'], runs['early_fusion']], explain=True))
    index = json.loads((tmp_path / 'out' / 'silent' / 'explain' / 'explain.json').read_text())
    assert [one['member'] for one in index['people']] == [str(runs['finetune'])]
    assert index['audio'] == []


def test_windows_of_audio_cover_it():
    assert cut_windows(2.5, 4) == [(0, 2.5)]
    assert cut_windows(4, 4) == [(0, 4)]
    assert cut_windows(9, 4) == [(0, 4), (2, 6), (4, 8), (6, 9)]


def test_segments_end_at_gaps():
    segments, sad, happy = Segments('person 1'), np.eye(7)[5], np.eye(7)[4] * 0.5
    for frame, probabilities in ((1, sad), (2, sad), (4, sad), (5, happy), (6, happy)):
        segments.add(frame, probabilities)
    found = [(round(one.begin_s, 2), round(one.end_s, 2), one.label, one.score) for one in segments.finish()]
    assert found == [(0, 0.08, 'Sad', 1), (0.12, 0.16, 'Sad', 1), (0.16, 0.24, 'Happy', 0.5)]


def test_command_answers_with_the_starter_set(corpus, tmp_path):
    video = next((corpus / 'raw').rglob('*.avi'))
    done = run('-m', 'fer.predict', f'--video={video}', f'--output={tmp_path}', '--detector=skin', '--write=segments')
    assert 'non-commercial research' in done.out
    assert f'{video}: ' in done.out
    assert sorted(path.name for path in (tmp_path / video.stem).iterdir()) == ['segments.csv', 'summary.json']
