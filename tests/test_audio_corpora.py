# SPDX-License-Identifier: Apache-2.0
"""Corpora of audio without video: found by their names, split by speaker, prepared to clips and functionals."""

import subprocess

import pytest
from conftest import run
from test_datasets import find, put

from fer.data.audio import FUNCTIONALS, read_audio
from fer.emotions import EMOTIONS
from fer.errors import InputError
from fer.manifest import read_ledger, read_manifest
from fer.prepare.ffmpeg import FFMPEG
from fer.prepare.folds import number_folds

FILES = {
    'ravdess': [f'Actor_{a:02d}/03-01-{e:02d}-01-01-01-{a:02d}.wav' for a in range(1, 7) for e in (1, 2, 5)],
    'cremad': [f'AudioWAV/{a}_DFA_{e}_XX.wav' for a in range(1001, 1007) for e in ('ANG', 'NEU')],
    'emodb': [f'wav/{a:02d}a01{e}a.wav' for a in range(3, 9) for e in 'WLN'],
}
BEYOND = {'ravdess': {'Calm': 6}, 'cremad': {}, 'emodb': {'Boredom': 6}}


def put_all(root, names):
    for name in names:
        put(root / name)


@pytest.mark.parametrize('dataset', FILES)
def test_audio_is_split_by_speaker(tmp_path, dataset):
    put_all(tmp_path, FILES[dataset])
    splits = find(dataset, tmp_path)
    recordings = [item for items in splits.values() for item in items]
    assert all(item.audio_only for item in recordings)
    assert len(splits.subjects) == 6
    assert set(splits.subjects.values()) == {'train', 'val', 'test'}
    assert splits.left_out == BEYOND[dataset]
    assert sorted(EMOTIONS[item.label] for item in recordings) == ['Anger'] * 6 + ['Neutral'] * 6


def test_audio_is_left_out_beside_videos(tmp_path):
    put_all(tmp_path, FILES['ravdess'])
    put_all(tmp_path, [name.replace('/03-', '/01-').replace('.wav', '.mp4') for name in FILES['ravdess']])
    splits = find('ravdess', tmp_path)
    assert not any(item.audio_only for items in splits.values() for item in items)
    assert splits.left_out['.wav file'] == 18


TESS = {
    'OA': ['OAF_angry/OAF_back_angry.wav', 'OAF_neutral/OA_bite_neutral.wav'],  # published without the F of OAF
    'YA': ['YAF_pleasant_surprised/YAF_back_ps.wav', 'YAF_sad/YAF_back_sad.wav'],
}
SAVEE = {speaker: [f'{speaker}/{code}01.wav' for code in ('a', 'sa', 'n')] for speaker in ('DC', 'JE', 'JK', 'KL')}


@pytest.mark.parametrize(('dataset', 'names'), [('tess', TESS), ('savee', SAVEE)])
def test_few_speakers_are_held_out_in_turn(tmp_path, dataset, names):
    put_all(tmp_path, [name for of_speaker in names.values() for name in of_speaker])
    for fold, speaker in enumerate(names, start=1):
        splits = find(dataset, tmp_path, fold=fold)
        assert list(splits) == ['train', 'val']
        assert {item.video_id[:2] for item in splits['val']} == {speaker}
        assert len(splits['val']) == len(names[speaker])
        assert len(splits['train']) == sum(map(len, names.values())) - len(names[speaker])
        assert f'fold {fold} holds out {speaker}' in splits.notes[0]
    with pytest.raises(InputError, match=f'--fold={len(names) + 1}'):
        find(dataset, tmp_path, fold=len(names) + 1)


def test_audio_is_prepared_to_clips_and_functionals(tmp_path):
    """Audio in every format is prepared, although one file is not audio."""
    for number, suffix in enumerate(('.wav', '.flac', '.mp3', '.ogg', '.m4a')):
        path = tmp_path / 'raw' / 'train' / ('Sad', 'Fear')[number % 2] / f'{number}{suffix}'
        path.parent.mkdir(parents=True, exist_ok=True)
        tone = f'sine=frequency=440:sample_rate={(16000, 44100)[suffix == ".flac"]}:duration=0.5'
        subprocess.run([FFMPEG, '-v', 'error', '-f', 'lavfi', '-i', tone, str(path)], check=True)
    put(tmp_path / 'raw' / 'train' / 'Sad' / 'bad.wav', b'no audio at all')
    data = tmp_path / 'data'
    flags = ('--dataset=folder', f'--source={tmp_path / "raw"}', f'--output={data}', '--detector=none', '--jobs=1')
    done = run('-m', 'fer.prepare', *flags, ok=False)
    assert done.code == 1
    assert 'bad.wav: undecodable Invalid data found' in done.out
    assert f'train: 6 items, 5 usable; 0.0 min of audio; failures: 1 undecodable -> {data}' in done.out
    assert 'sampling rates differ: train 4 at 16000 Hz and 1 at 44100 Hz; features of' in done.out
    assert (data / 'train_clips.rates.csv').read_text() == 'sample_rate,videos\n16000,4\n44100,1\n'
    assert sorted(path.name for path in data.glob('train*.txt')) == ['train_clips.txt', 'train_functionals.txt']
    functionals = read_manifest(data / 'train_functionals.txt', item='video')
    clips = read_manifest(data / 'train_clips.txt')
    assert len(functionals.videos) == len(clips.videos) == 5
    assert {len(video.audio) for video in clips.videos} <= {12, 13}
    (row,) = [row for row in read_ledger(clips) if row.gap]
    assert (row.video_id, row.gap) == ('Sad_bad', 'undecodable')
    again = run('-m', 'fer.prepare', *flags, ok=False)
    assert again.out.splitlines()[:3] == done.out.splitlines()[:3]


def test_sets_and_folds_of_people_have_manifests(tmp_path):
    for name in FILES['cremad']:
        path = tmp_path / 'raw' / name
        path.parent.mkdir(parents=True, exist_ok=True)
        tone = f'sine=frequency={300 + len(list(path.parent.iterdir()))}:sample_rate=16000:duration=0.3'
        subprocess.run([FFMPEG, '-v', 'error', '-f', 'lavfi', '-i', tone, str(path)], check=True)
    data = tmp_path / 'data'
    flags = ('--dataset=cremad', f'--source={tmp_path / "raw"}', f'--output={data}', '--audio_features=functionals')
    run('-m', 'fer.prepare', *flags, '--opensmile_set=IS09,emobase', '--people_folds=5', '--jobs=1')
    assert not list(data.rglob('*_functionals.*'))
    sizes = {'IS09': 384, 'emobase': 988}
    for fold in range(5):
        for opensmile_set, size in sizes.items():
            parts = [data / f'fold{fold}' / f'{split}_functionals_{opensmile_set}.txt' for split in ('train', 'val')]
            train, val = (read_manifest(path, item='video') for path in parts)
            assert len(train.videos) + len(val.videos) == 12
            assert {int(video.video_id[:4]) % 5 for video in val.videos} == {fold}
            assert {int(video.video_id[:4]) % 5 for video in train.videos} == set(range(5)) - {fold}
            assert read_audio(val, FUNCTIONALS).values[0].shape == (1, size)
    refused = run('-m', 'fer.prepare', *flags, '--people_folds=7', '--overwrite', ok=False)
    assert refused.code == 2
    assert '--people_folds=7: found 6 people; expected at most as many folds' in refused.err


def test_folds_of_names_follow_their_order():
    assert number_folds({'KL', 'DC', 'JK', 'JE'}, 3) == {'DC': 0, 'JE': 1, 'JK': 2, 'KL': 0}
    assert number_folds({'07', '12', '03'}, 2) == {'07': 1, '12': 0, '03': 1}
