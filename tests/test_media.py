# SPDX-License-Identifier: Apache-2.0
"""Decoding: every rate to 25 frames/s by time stamps, audio from the same instant on, damage reported."""

import os
from contextlib import nullcontext
from fractions import Fraction
from itertools import pairwise

import ffmpeg
import numpy as np
import pytest
from conftest import make_clip, realdata, run

from fer.prepare.ffmpeg import FFMPEG
from fer.prepare.media import Choice, Findings, MediaError, extract_wav, ffmpeg_build, read_frames
from fer.prepare.smile.extract import read_wav
from tests.benchmarks.instants import film, join, measure


def encode(path, *streams, **options):
    ffmpeg.output(*streams, str(path), loglevel='error', **options).run(cmd=FFMPEG, overwrite_output=True)


@pytest.mark.parametrize(
    ('rate', 'container', 'seconds', 'expected'),
    [('25', 'avi', 2, 50), ('30', 'mp4', 2, 50), ('24000/1001', 'mkv', 3, 75), ('50', 'mov', 1, 25)],
)
def test_any_rate_becomes_25(tmp_path, rate, container, seconds, expected):
    path = tmp_path / f'a clip, "quoted" {chr(0xE4)}.{container}'
    make_clip(path, rate, seconds)
    findings = Findings()
    frames = list(read_frames(path, findings=findings))
    assert abs(len(frames) - expected) <= 1
    assert {frame.shape for frame in frames} == {(48, 64, 3)}
    assert all(frame.dtype == np.uint8 for frame in frames)
    assert (findings.problems, findings.facts) == ([], {})
    wav = tmp_path / 'audio.wav'
    assert extract_wav(path, wav) == pytest.approx(seconds, abs=0.1)
    assert len(read_wav(wav).samples) == pytest.approx(44100 * seconds, abs=4410)


def source_indices(path, levels=8):
    """Returns the source frame that each decoded frame shows. Frame n of the source has grey level n x `levels`."""
    return [round(frame.mean() / levels) for frame in read_frames(path)]


def grey_clip(path, stamps):
    """Writes a lossless video whose frame n has grey level 8 n and is shown from `stamps[n]` seconds on."""
    changes = '+'.join(f'{after - before}*gt(N,{n})' for n, (before, after) in enumerate(pairwise(stamps)))
    picture = ffmpeg.input(f'color=black:size=32x32:rate=25:duration={len(stamps) / 25}', f='lavfi')
    picture = picture.filter('geq', lum='8*N', cb=128, cr=128).filter('scale', out_range='full', in_range='full')
    picture = picture.filter('settb', '1/1000').filter('setpts', f'({changes or 0})*1000+{stamps[0]}*1000')
    # Otherwise the encoder would round the stamps to 25 frames/s.
    encode(path, picture, vcodec='ffv1', pix_fmt='gray', fps_mode='passthrough', enc_time_base='1:1000')


@pytest.mark.parametrize(
    'stamps',
    [
        [k / 25 for k in range(20)],
        [k * 1001 / 24000 for k in range(20)],
        [k / 30 for k in range(25)],
        [k / 50 for k in range(30)],
        [k / 60 for k in range(30)],
        [k / 12 for k in range(12)],
        [0, 0.03, 0.09, 0.1, 0.11, 0.25, 0.3, 0.33, 0.5, 0.56, 0.9, 0.93, 0.98],  # as a telephone records
    ],
    ids=['25', '23.976', '30', '50', '60', '12', 'variable'],
)
def test_frame_k_shows_the_nearest_in_time(tmp_path, stamps):
    """The shown frame is the nearest of the source's frames that are due by 0.04 s later."""
    grey_clip(tmp_path / 'clip.mkv', stamps)
    shown = source_indices(tmp_path / 'clip.mkv')
    assert abs(len(shown) - (stamps[-1] + 0.04) * 25) <= 2.5
    for k, index in enumerate(shown):
        distance = [abs(stamp - k * 0.04) if stamp < k * 0.04 + 0.0411 else 1 for stamp in stamps]
        # Matroska rounds stamps to milliseconds, so either of two equally near frames may be shown.
        assert distance[index] < min(distance) + 0.0011


def test_50_frames_per_second_are_halved_exactly(tmp_path):
    grey_clip(tmp_path / 'clip.mkv', [k / 50 for k in range(30)])
    shown = source_indices(tmp_path / 'clip.mkv')
    assert shown[:14] == list(range(0, 28, 2))


def test_10_bit_video_is_decoded(tmp_path):
    make_clip(tmp_path / 'deep.mp4', 25, 1, pix_fmt='yuv420p10le', vcodec='libx264')
    frames = list(read_frames(tmp_path / 'deep.mp4'))
    assert len(frames) == 25
    assert {frame.shape for frame in frames} == {(48, 64, 3)}


def test_rotation_and_pixel_aspect_are_applied(tmp_path):
    make_clip(tmp_path / 'a.mp4', 25, 1)
    encode(tmp_path / 'turned.mp4', ffmpeg.input(str(tmp_path / 'a.mp4'), display_rotation=90), c='copy')
    (upright, *_), (turned, *_) = (list(read_frames(tmp_path / name)) for name in ('a.mp4', 'turned.mp4'))
    np.testing.assert_array_equal(turned, np.rot90(upright))
    encode(tmp_path / 'wide.mp4', ffmpeg.input(str(tmp_path / 'a.mp4')).video.filter('setsar', '3/2'))
    assert next(read_frames(tmp_path / 'wide.mp4')).shape == (48, 96, 3)


def flash_and_beep(path, rate, at=1.0, length=0.4, video_late=0.0, audio_late=0.0):
    """Writes a black, silent video that is white and loud for `length` seconds from `at` on.

    Either stream may begin late.
    """
    gate = f'between(T,{at},{at + length})'
    picture = ffmpeg.input(f'color=black:size=32x32:rate={rate}:duration=3', f='lavfi').filter(
        'geq', lum=f'255*{gate}', cb=128, cr=128
    )
    audio = ffmpeg.input(f"aevalsrc='0.8*sin(2*PI*1000*t)*{gate.lower()}':s=48000:d=3", f='lavfi')
    if video_late:
        picture = picture.filter('trim', start=video_late)
    if audio_late:
        audio = audio.audio.filter('atrim', start=audio_late)
    encode(path, picture, audio, acodec='pcm_s16le')


@pytest.mark.parametrize('rate', ['25', '24000/1001', '30', '50'])
@pytest.mark.parametrize(('video_late', 'audio_late'), [(0, 0), (0.5, 0), (0, 0.7), (0, 0.03)])
def test_frames_and_audio_are_of_one_instant(tmp_path, rate, video_late, audio_late):
    path = tmp_path / 'clip.mkv'
    flash_and_beep(path, rate, video_late=video_late, audio_late=audio_late)
    bright = np.flatnonzero([frame.mean() > 128 for frame in read_frames(path)])
    assert extract_wav(path, tmp_path / 'audio.wav') == pytest.approx(3, abs=0.01)
    audio = read_wav(tmp_path / 'audio.wav')
    loud = np.flatnonzero(np.abs(audio.samples) > 3000) / audio.rate
    # The first source frame at or after 1 s is at most one source frame late. Decoding adds half a frame at 25/s.
    source = 1 / float(Fraction(rate))
    for instant, frame in ((loud[0], bright[0]), (loud[-1], bright[-1] + 1)):
        assert -0.021 <= frame * 0.04 - instant <= source + 0.021
    assert loud[0] == pytest.approx(1, abs=0.002)
    assert loud[-1] == pytest.approx(1.4, abs=0.002)


def test_video_without_audio_writes_no_wav(tmp_path):
    make_clip(tmp_path / 'mute.avi', 25, 1, sound=False)
    assert extract_wav(tmp_path / 'mute.avi', tmp_path / 'mute.wav') == 0
    assert not (tmp_path / 'mute.wav').exists()


def test_full_disk_is_not_a_media_error(tmp_path, monkeypatch):
    make_clip(tmp_path / 'a.avi', 25, 1)
    with open('/dev/full', 'wb', buffering=0) as full:
        monkeypatch.setattr('fer.prepare.media.audio.atomic_write', lambda *_, **__: nullcontext(full))
        with pytest.raises(OSError, match='No space left'):
            extract_wav(tmp_path / 'a.avi', tmp_path / 'a.wav')


@pytest.mark.parametrize(
    ('content', 'message'), [(b'', 'an empty file'), (b'no video at all', 'Invalid data found')], ids=['empty', 'text']
)
def test_file_that_is_not_a_video(tmp_path, content, message):
    (tmp_path / 'clip.avi').write_bytes(content)
    with pytest.raises(MediaError, match=message):
        list(read_frames(tmp_path / 'clip.avi'))


@pytest.mark.parametrize('container', ['avi', 'mkv'])
def test_truncated_video_yields_its_beginning_and_a_problem(tmp_path, container):
    make_clip(tmp_path / f'whole.{container}', 25, 4)
    whole = list(read_frames(tmp_path / f'whole.{container}'))
    data = (tmp_path / f'whole.{container}').read_bytes()
    (tmp_path / f'cut.{container}').write_bytes(data[: len(data) // 2])
    findings = Findings()
    cut = list(read_frames(tmp_path / f'cut.{container}', findings=findings))
    assert 10 < len(cut) < len(whole)
    np.testing.assert_array_equal(cut[:10], whole[:10])
    (problem,) = findings.problems
    assert problem.startswith({'avi': f'breaks off at {len(data) // 2} of', 'mkv': 'File ended prematurely'}[container])
    assert '0x' not in problem


# A shell, and ffmpeg's options, protocols and numbered images, would misread these names.
ODD_NAMES = [
    *('-i.mp4', '-version', '$(touch x);`touch x`|touch x&.mp4', 'a "quoted\'s" \\name.mp4', 'line\nbreak\t.mp4'),
    *('*?[a]%03d.mp4', 'concat:a|b.mp4', 'pipe:0', 'x=1:y,@#~.mp4', 'é\u2028\u202e.mp4', 'no UTF-8 \udcff.mp4'),
]


def test_file_with_any_name_is_read(tmp_path, monkeypatch):
    make_clip(tmp_path / 'clip.mp4', 25, 0.2)
    monkeypatch.chdir(tmp_path)  # so that no folder stands before the name
    for name in ODD_NAMES:
        os.link('clip.mp4', name)
        assert len(list(read_frames(name))) == 5, name
        assert extract_wav(name, '-o.wav') > 0.1, name
    assert sorted(os.listdir()) == sorted([*ODD_NAMES, '-o.wav', 'clip.mp4'])


def test_reading_may_stop_early(tmp_path):
    make_clip(tmp_path / 'clip.avi', 25, 4)
    frames = read_frames(tmp_path / 'clip.avi')
    next(frames)
    frames.close()  # must not hang


def test_flash_and_beep_stay_together_in_every_container():
    """The benchmark's table covers containers, codecs, rates, late streams and joined recordings."""
    done = run('-m', 'tests.benchmarks.instants')
    rows = done.out.splitlines()[1:-1]
    assert len(rows) > 40
    assert done.out.splitlines()[-1] == f'{len(rows)} flashes, {len(rows)} within 20 ms of their beep'


def form_changes(folder, container, first, second):
    """Returns two films joined at 3 s without a jump of their stamps, so that only the form changes."""
    parts = [film(folder / '1.ts', first), film(folder / '2.ts', f'{second[0]} -output_ts_offset 3', **second[1])]
    return join(folder / f'changed.{container}', parts)


@pytest.mark.parametrize(
    ('options', 'fact'),
    [
        (('-c:v libx264 -bf 0 -c:a mp2', {'size': '128x96'}), 'picture size changes'),
        (('-c:v libx264 -bf 0 -color_range pc -c:a mp2', {}), ''),
        (('-c:v libx264 -bf 0 -c:a mp2 -ac 2', {}), 'audio changes'),
        (('-c:v libx264 -bf 0 -c:a mp2', {'sample_rate': 44100}), 'audio changes'),
    ],
    ids=['size', 'colour range', 'channels', 'sampling rate'],
)
def test_change_of_form_moves_no_frame(tmp_path, options, fact):
    path = form_changes(tmp_path, 'ts', '-c:v libx264 -bf 0 -c:a mp2', options)
    rows = measure('changed', path, [1.0, 4.0])
    assert all(row.apart <= 0.02 for row in rows)
    assert [row.flash for row in rows] == pytest.approx([1.0, 4.0], abs=0.041)
    findings = Findings()
    frames = list(read_frames(path, findings=findings))
    seconds = extract_wav(path, tmp_path / 'a.wav', findings=findings)
    assert len(frames) == pytest.approx(150, abs=1)
    assert seconds == pytest.approx(6, abs=0.05)
    assert findings.problems == []
    assert list(findings.facts) == ([fact] if fact else [])


def many_streams(folder):
    """Writes a cover image, a large video, a small video that is the default, and two audio streams."""
    picture = folder / 'cover.png'
    encode(picture, ffmpeg.input('color=red:size=640x480', f='lavfi'), vframes=1)
    videos = [ffmpeg.input(f'color=black:size={size}:rate=25:duration=1', f='lavfi') for size in ('96x64', '32x32')]
    tones = [ffmpeg.input(f'sine=frequency={hertz}:duration=1', f='lavfi') for hertz in (440, 1000)]
    options = {
        'c:v:0': 'png',
        'c:v:1': 'mpeg4',
        'c:v:2': 'mpeg4',
        'disposition:v:0': 'attached_pic',
        'disposition:v:1': '0',
    }
    options |= {'disposition:v:2': 'default', 'disposition:a:0': 'comment', 'disposition:a:1': 'default'}
    encode(folder / 'many.mp4', ffmpeg.input(str(picture)), *videos, *tones, acodec='aac', **options)
    return folder / 'many.mp4'


def test_streams_are_those_a_player_takes(tmp_path):
    path, findings = many_streams(tmp_path), Findings()
    assert next(read_frames(path, findings=findings)).shape == (32, 32, 3)
    extract_wav(path, tmp_path / 'a.wav', findings=findings)
    assert findings.facts == {
        'several video streams': 'took video stream 1 of 2',
        'several audio streams': 'took audio stream 1 of 2',
    }
    assert loudest_frequency(tmp_path / 'a.wav') == pytest.approx(1000, abs=10)
    assert next(read_frames(path, Choice(video=0))).shape == (64, 96, 3)
    extract_wav(path, tmp_path / 'a.wav', Choice(audio=0))
    assert loudest_frequency(tmp_path / 'a.wav') == pytest.approx(440, abs=10)
    with pytest.raises(MediaError, match='no video frames in video stream 2'):
        next(read_frames(path, Choice(video=2)))
    with pytest.raises(MediaError, match='no audio stream 2'):
        extract_wav(path, tmp_path / 'a.wav', Choice(audio=2))


def loudest_frequency(wav):
    audio = read_wav(wav)
    power = np.abs(np.fft.rfft(audio.samples.ravel().astype(float)))
    return power.argmax() * audio.rate / audio.samples.size


def test_gap_of_minutes_is_left_out_and_reported(tmp_path):
    late = "setpts='PTS+gte(T,2)*600/TB'"
    picture = ffmpeg.input('color=black:size=32x32:rate=25:duration=3', f='lavfi').filter('setpts', late[8:-1])
    audio = ffmpeg.input('sine=duration=3', f='lavfi').filter('asetpts', late[8:-1])
    for container in ('mkv', 'mp4', 'ts'):
        path = tmp_path / f'gap.{container}'
        encode(path, picture, audio, vcodec='libx264', bf=0, acodec='aac', fps_mode='passthrough')
        findings = Findings()
        assert 70 < sum(1 for _ in read_frames(path, findings=findings)) < 15 * 25
        assert extract_wav(path, tmp_path / 'a.wav', findings=findings) < 15
        (problem,) = findings.problems
        assert 'time stamps jump from' in problem, container
        assert ' 602.0' in problem or ' 603.4' in problem, container


def test_jitter_makes_no_gap_and_true_gaps_stay(tmp_path):
    """Packets of 20 ms, like those of Opus. First some stamps are 25 ms late, then half a second is missing."""
    tone = ffmpeg.input('sine=frequency=1000:duration=4', f='lavfi').audio
    encode(tmp_path / 'steady.mkv', tone, acodec='pcm_s16le')
    jitter = 'PTS+0.025/TB*eq(mod(floor(T*50),7),3)'
    encode(tmp_path / 'jitter.mkv', tone.filter('asetnsamples', 960, p=0).filter('asetpts', jitter), acodec='pcm_s16le')
    gap = tone.filter('asetnsamples', 960, p=0).filter('aselect', 'not(between(t,1,1.5))')
    encode(tmp_path / 'gap.mkv', gap, acodec='pcm_s16le')
    samples = {}
    for name in ('steady', 'jitter', 'gap'):
        extract_wav(tmp_path / f'{name}.mkv', tmp_path / f'{name}.wav')
        samples[name] = read_wav(tmp_path / f'{name}.wav').samples.ravel()
    np.testing.assert_array_equal(samples['jitter'], samples['steady'])
    assert len(samples['gap']) == pytest.approx(len(samples['steady']), abs=50)
    silent = np.flatnonzero(samples['gap'][: 2 * 44100] == 0)
    assert len(silent) / 44100 == pytest.approx(0.5, abs=0.05)
    assert silent.mean() / 44100 == pytest.approx(1.25, abs=0.05)


def test_interlaced_frames_are_deinterlaced(tmp_path):
    """A bar moves, so that even and odd lines of interlaced frames show two instants and differ."""
    bar = ffmpeg.input('nullsrc=size=64x64:rate=50:duration=2', f='lavfi')
    bar = bar.filter('geq', lum='255*between(mod(X-4*N,64),0,16)', cb=128, cr=128)
    woven = bar.filter('tinterlace', 'interleave_top').filter('setfield', 'tff')
    encode(tmp_path / 'woven.mkv', woven, vcodec='mpeg2video', qscale=1, flags='+ildct+ilme')
    findings = Findings()
    frames = [frame.mean(2) for frame in read_frames(tmp_path / 'woven.mkv', findings=findings)]
    assert findings.facts == {'interlaced': 'deinterlaced'}
    assert len(frames) == 50
    combs = [np.abs(frame[2:-2:2] - (frame[1:-3:2] + frame[3:-1:2]) / 2).mean() for frame in frames[2:-2]]
    assert np.mean(combs) < 8  # 30 before deinterlacing


def test_channels_that_cancel_out_are_reported(tmp_path):
    encode(tmp_path / 'a.mkv', ffmpeg.input("aevalsrc='sin(2000*t)|-sin(2000*t)':d=1", f='lavfi'), acodec='flac')
    findings = Findings()
    extract_wav(tmp_path / 'a.mkv', tmp_path / 'a.wav', findings=findings)
    (problem,) = findings.problems
    assert 'cancel out' in problem


def test_audio_is_resampled_on_request(tmp_path):
    make_clip(tmp_path / 'a.mp4', 25, 1)
    assert extract_wav(tmp_path / 'a.mp4', tmp_path / 'a.wav', sample_rate=16000) == pytest.approx(1, abs=0.03)
    assert read_wav(tmp_path / 'a.wav').rate == 16000
    assert loudest_frequency(tmp_path / 'a.wav') == pytest.approx(440, abs=5)


def test_ffmpeg_build_names_versions_and_options():
    version, *libraries = ffmpeg_build()
    assert version[0].isdigit()
    assert any(line.startswith('libavcodec ') and '--' in line for line in libraries)


def test_real_clips_keep_frames_and_audio_together():
    """The benchmark fails if a frame and its clip differ in time. `--detector=none` keeps every frame."""
    done = run('-m', 'tests.benchmarks.alignment', f'--clips={realdata()}', '--detector=none')
    for clip, kept in {'000000001': 205, '000000002': 60, '000000003': 100}.items():
        (row,) = [line for line in done.out.splitlines() if line.startswith(clip)]
        assert f'{kept} of {kept}' in row


def test_real_clips_become_25_frames_per_second():
    folder = realdata()
    # 194 frames at 23.976, 72 at 30 and 98 at 24 frames/s, by their own time stamps.
    expected = {'Val_AFEW/Sad/000000001.mp4': 205, 'Val_AFEW/Happy/000000002.mp4': 60, 'no_face/000000003.mp4': 100}
    found = {name: sum(1 for _ in read_frames(folder / name)) for name in expected}
    assert found == expected
