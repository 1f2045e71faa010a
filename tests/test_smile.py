# SPDX-License-Identifier: Apache-2.0
"""openSMILE's features compared with NumPy, and the command's messages about bad audio."""

import subprocess
import sys
import wave

import numpy as np
import pytest
from conftest import realdata, run
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from fer.errors import InputError
from fer.prepare.ffmpeg import FFMPEG
from fer.prepare.smile import extract
from fer.prepare.smile.sets import SETS

RATE = 16000
CLIP = 640  # samples of 40 ms

LLD = [
    'pcm_LOGenergy_sma{}',
    *(f'mfcc_sma{{}}[{index}]' for index in range(13)),
    *(f'pcm_fftMag_melspec_sma{{}}[{index}]' for index in range(26)),
    *('pcm_zcr_sma{}', 'voiceProb_sma{}', 'F0_sma{}', 'F0env_sma{}'),
    *(f'pcm_fftMag_fband{band}_sma{{}}' for band in ('0-250', '0-650', '250-650', '1000-4000')),
    *(f'pcm_fftMag_spectralRollOff{share}_sma{{}}' for share in ('25.0', '50.0', '75.0', '90.0')),
    *(f'pcm_fftMag_spectral{name}_sma{{}}' for name in ('Flux', 'Centroid', 'MaxPos', 'MinPos')),
]
FUNCTIONALS = [
    *('range', 'maxPos', 'minPos', 'maxameandist', 'minameandist'),
    *('linregc1', 'linregc2', 'linregerrA', 'linregerrQ'),
    *('qregc1', 'qregc2', 'qregc3', 'qregerrA', 'qregerrQ', 'centroid'),
    *('variance', 'stddev', 'skewness', 'kurtosis'),
    *('quartile1', 'quartile2', 'quartile3', 'iqr1-2', 'iqr2-3', 'iqr1-3', 'percentile95.0', 'percentile98.0'),
    *('zcr', 'numPeaks', 'meanPeakDist', 'peakMean', 'peakMeanMeanDist'),
    *('amean', 'absmean', 'qmean', 'nzabsmean', 'nzqmean', 'nzgmean', 'nnz'),
]


def names_of(*suffixes: str) -> list[str]:
    return [name.format(suffix) for suffix in suffixes for name in LLD]


def write_wav(path, samples, rate=RATE, width=2):
    """Writes int16 samples [length] or [length, channels]. For other widths the same bytes are written."""
    samples = np.asarray(samples, '<i2')
    with wave.open(str(path), 'wb') as file:
        file.setparams((samples.shape[1] if samples.ndim == 2 else 1, width, rate, 0, 'NONE', ''))
        file.writeframes(samples.tobytes())
    return path


def babble(seconds=1.1, rate=RATE, seed=0):
    """Returns noise and a gliding buzz like a voice, louder in the middle: int16 [length]."""
    rng = np.random.default_rng(seed)
    time = np.arange(int(seconds * rate)) / rate
    phase = 2 * np.pi * (180 * time + 40 * time**2)
    buzz = sum(np.cos(harmonic * phase) / harmonic for harmonic in range(1, 12))
    return (6000 * np.sin(np.pi * time / seconds) * buzz * (time % 0.3 > 0.1) + rng.normal(0, 200, len(time))).astype(
        'i2'
    )


@pytest.fixture(scope='module')
def babble_wav(tmp_path_factory):
    return write_wav(tmp_path_factory.mktemp('audio') / 'babble.wav', babble())


def speech():
    path = realdata() / 'speech' / 'media-interpretation.wav'
    if not path.is_file():
        pytest.skip(f'no {path.name}')
    return path


def columns(wav, **framing):
    names, values = extract.lld(wav, **framing)
    return dict(zip(names, values.T.astype(float), strict=True))


def test_feature_names_and_their_order(babble_wav):
    expected = [f'{name}_{functional}' for name in names_of('', '_de', '_de_de') for functional in FUNCTIONALS]
    names, values = extract.functionals(babble_wav)
    assert names == expected
    assert values.shape == (6552,)
    names, values = extract.lld(babble_wav)
    assert names == names_of('', '_de')
    assert values.shape == (110, 112)  # 109 frames whose second half lies within 1.1 s, and the smoother's line


def test_energy_and_crossings_agree_with_numpy(babble_wav):
    """Computes log energy and zero crossings from the samples."""
    samples = babble() / 32767
    energy, crossings = [], []
    for centre in range(320, 16000, 160):  # from frame 2 on, all samples exist
        frame = samples[centre - 200 : centre + 200]
        crossings.append(np.mean(frame[1:] * frame[:-1] < 0))
        emphasised = np.r_[0.03 * frame[0], frame[1:] - 0.97 * frame[:-1]]
        energy.append(np.log(np.mean((emphasised * np.hamming(400)) ** 2)))
    smooth = np.ones(3) / 3
    got = columns(babble_wav)
    count = len(energy) - 2
    np.testing.assert_allclose(got['pcm_LOGenergy_sma'][3 : 3 + count], np.convolve(energy, smooth, 'valid'), 2e-4)
    np.testing.assert_allclose(got['pcm_zcr_sma'][3 : 3 + count], np.convolve(crossings, smooth, 'valid'), 0.02, 0.003)


@pytest.mark.parametrize('clip', [3, 10, 20])
def test_spectrum_of_a_clip_agrees_with_numpy(clip, babble_wav):
    """Computes mel bands, MFCC and spectral statistics of an isolated, unsmoothed frame from the samples."""
    frame = babble()[clip * CLIP : (clip + 1) * CLIP] / 32767
    emphasised = np.r_[0.03 * frame[0], frame[1:] - 0.97 * frame[:-1]]
    magnitude = np.abs(np.fft.rfft(emphasised * np.hamming(CLIP), 1024))
    hertz = np.arange(513) * RATE / 1024
    mel = np.log(1 + hertz / 700)
    edges = np.linspace(0, np.log(1 + 8000 / 700), 28)  # 26 triangles, each from one neighbour's top to the other's
    rising, falling = mel - edges[:-2, None], edges[2:, None] - mel
    bands = np.clip(np.minimum(rising, falling) / edges[1], 0, None) @ (magnitude * (hertz > 0)) * 32767
    order = np.r_[1:13, 0]  # HTK's: mfcc[12] is coefficient 0
    cosines = np.sqrt(2 / 26) * np.cos(np.pi * order[:, None] * (np.arange(26) + 0.5) / 26)
    power = magnitude**2
    cumulated = np.cumsum(power) / power.sum()

    names, values = extract.clip_features(babble_wav, 27)[:2]
    got = dict(zip(names, values[clip], strict=True))
    np.testing.assert_allclose(values[clip, 14:40], bands, rtol=1e-4)
    mfcc = cosines @ np.log(bands) * (1 + 11 * np.sin(np.pi * order / 22))
    np.testing.assert_allclose(values[clip, 1:14], mfcc, rtol=1e-3, atol=1e-3)
    assert got['pcm_fftMag_spectralCentroid_sma'] == pytest.approx((hertz * power).sum() / power.sum(), rel=1e-4)
    for share in (25, 50, 75, 90):
        expected = hertz[np.searchsorted(cumulated, share / 100)]
        assert got[f'pcm_fftMag_spectralRollOff{share}.0_sma'] == expected
    for low, high in ((0, 250), (1000, 4000)):  # the other bands begin or end between spectral lines
        expected = power[(hertz >= low) & (hertz <= high)].sum() / 512
        assert got[f'pcm_fftMag_fband{low}-{high}_sma'] == pytest.approx(expected, rel=1e-4)
    assert got['pcm_fftMag_spectralMaxPos_sma'] == hertz[power.argmax()]


def delta(values):
    """Returns the HTK book's regression over two frames on each side. Ends are repeated."""
    padded = np.pad(values, 2, 'edge')
    return (padded[3:-1] - padded[1:-3] + 2 * (padded[4:] - padded[:-4])) / 10


def test_second_half_is_deltas_of_the_first(babble_wav):
    got = columns(babble_wav)
    for name in LLD:
        base = got[name.format('')]
        np.testing.assert_allclose(
            got[name.format('_de')][:-3], delta(base)[:-3], rtol=1e-4, atol=1e-5 * np.abs(base).max()
        )


@pytest.mark.parametrize('source', ['babble', 'speech'])
def test_functionals_agree_with_numpy(source, babble_wav):
    wav = babble_wav if source == 'babble' else speech()
    frames = columns(wav)
    summary = dict(zip(*extract.functionals(wav), strict=True))
    time = np.arange(len(frames['F0_sma']) - 5)  # the engine summarises before the last five lines are written
    for name in LLD:
        first = frames[name.format('_de')]
        for suffix, values in (('', frames[name.format('')]), ('_de', first), ('_de_de', delta(first))):
            values = values[: len(time)]
            slope, offset = np.polyfit(time, values, 1)
            quartiles = np.percentile(values, [25, 50, 75])
            parabola = np.polyval(np.polyfit(time, values, 2), time)
            expected = {
                'range': np.ptp(values),
                'maxameandist': values.max() - values.mean(),
                'linregc1': slope,
                'linregc2': offset,
                'linregerrQ': ((values - slope * time - offset) ** 2).mean(),
                'qregerrA': np.abs(values - parabola).sum(),  # not the mean: oldBuggyQerr
                'stddev': values.std(),
                'quartile1': quartiles[0],
                'quartile3': quartiles[2],
                'iqr1-2': quartiles[1] - quartiles[0],
                'percentile98.0': np.percentile(values, 98),
                'amean': values.mean(),
                'absmean': np.abs(values).mean(),
            }
            if suffix != '_de_de':  # rounding decides these two in the recomputed deltas
                expected |= {'maxPos': values.argmax(), 'nnz': np.count_nonzero(values)}
            for functional, value in expected.items():
                got = summary[f'{name.format(suffix)}_{functional}']
                tolerance = 2e-5 * np.abs(values).max() + 1e-7
                assert got == pytest.approx(value, rel=1e-4, abs=tolerance), (name, suffix, functional)
            weights = np.abs(values)
            if suffix != '_de_de' and weights.sum():
                centroid = (weights * time).sum() / weights.sum() / len(time)
                assert summary[f'{name.format(suffix)}_centroid'] == pytest.approx(centroid, rel=1e-4)


def test_command_and_library_agree_to_the_bit(babble_wav, tmp_path):
    names, values = extract.functionals(babble_wav)
    again, other = extract.functionals(babble_wav)
    assert names == again
    np.testing.assert_array_equal(values, other)

    output = tmp_path / 'functionals.csv'
    done = run('-m', 'fer.prepare.smile', '--features=functionals', f'--wav={babble_wav}', f'--output={output}')
    header, line = output.read_text().splitlines()
    assert header.split(',') == names
    np.testing.assert_array_equal(np.array(line.split(','), np.float32), values)
    assert (done.out, done.err) == ('', '')

    output = tmp_path / 'lld.arff'
    framing = ['--features=lld', '--frame_size=0.04', '--frame_step=0.04', '--format=arff']
    run('-m', 'fer.prepare.smile', *framing, f'--wav={babble_wav}', f'--output={output}')
    header, _, lines = output.read_text().partition('\n@data\n')
    names, values = extract.lld(babble_wav, 0.04, 0.04)
    assert [line.split()[1] for line in header.splitlines() if line.startswith('@attribute')] == names
    np.testing.assert_array_equal(np.array([line.split(',') for line in lines.splitlines()], np.float32), values)
    assert sorted(path.name for path in tmp_path.iterdir()) == ['functionals.csv', 'lld.arff']


@given(values=arrays.arrays(np.float32, (2, 3), elements=st.floats(width=32, allow_nan=False, allow_infinity=False)))
def test_written_numbers_restore_the_same_floats(values, tmp_path_factory):
    path = tmp_path_factory.getbasetemp() / 'numbers.csv'
    extract.write_features(path, ['a', 'b', 'c'], values)
    np.testing.assert_array_equal(np.loadtxt(path, np.float32, delimiter=',', skiprows=1), values)


@pytest.mark.parametrize('pitch', [220, 350])
def test_pitch_of_a_tone_is_found(pitch, tmp_path):
    time = np.arange(RATE) / RATE
    tone = sum(5000 / harmonic * np.cos(2 * np.pi * pitch * harmonic * time) for harmonic in range(1, 4000 // pitch))
    got = columns(write_wav(tmp_path / 'tone.wav', tone))
    lag = RATE / pitch  # in samples. openSMILE finds it to a whole sample
    assert RATE / (lag + 1) < np.median(got['F0_sma']) < RATE / (lag - 1)
    assert np.median(got['voiceProb_sma']) > 0.7


@pytest.mark.parametrize('rate', [8000, 11025, 48000])
def test_any_rate_and_silence_give_finite_features(rate, tmp_path):
    silence = write_wav(tmp_path / 'silence.wav', np.zeros(rate), rate)
    noise = write_wav(tmp_path / 'noise.wav', np.random.default_rng(0).normal(0, 3000, rate), rate)
    for wav in (silence, noise):
        assert np.isfinite(extract.functionals(wav)[1]).all()
    got = columns(noise)
    assert all(got[f'pcm_fftMag_melspec_sma[{band}]'].min() > 0 for band in range(26))


def test_features_are_the_same_after_tensorflow(babble_wav):
    """TensorFlow exports a Fourier transform with the same name as openSMILE's."""
    script = (
        f'import fer.tf1; from fer.prepare.smile.extract import lld; _, values = lld({str(babble_wav)!r}, 0.025, 0.010)'
    )
    done = run('-c', f'{script}; print(values.tobytes().hex())')
    assert done.out.strip() == extract.lld(babble_wav, 0.025, 0.010)[1].tobytes().hex()


def test_channels_are_mixed_down(babble_wav, tmp_path):
    mono = babble()
    _, expected = extract.lld(babble_wav)
    _, same = extract.lld(write_wav(tmp_path / 'same.wav', np.stack([mono, mono], 1)))
    np.testing.assert_array_equal(same, expected)
    left = columns(write_wav(tmp_path / 'left.wav', np.stack([mono, 0 * mono], 1)))
    quieter = expected[:, 0] - 2 * np.log(2)  # half the amplitude
    np.testing.assert_allclose(left['pcm_LOGenergy_sma'], quieter, rtol=1e-5)


def test_isolated_and_contextual_clips_agree_where_comparable(babble_wav, tmp_path):
    clips = {context: extract.clip_features(babble_wav, 30, context) for context in ('isolated', 'contextual')}
    for got in clips.values():
        assert got.names == names_of('', '_de')
        assert got.values.shape == (30, 112)
        assert got.padded == 3  # 1.1 s fill 27 clips
        np.testing.assert_array_equal(got.values[27:], got.values[[26] * 3])
        assert (got.values[25] != got.values[26]).any()
    alone, around = clips['isolated'].values, clips['contextual'].values
    assert not alone[:, 56:].any()  # no neighbours, no deltas
    # In context, features that need no earlier frames are the mean over a clip and its neighbours.
    memoryless = [index for index in range(55) if not LLD[index].startswith(('F0', 'pcm_fftMag_spectralFlux'))]
    mean = (alone[:25] + alone[1:26] + alone[2:27]) / 3
    np.testing.assert_allclose(around[1:26, memoryless], mean[:, memoryless], rtol=1e-4, atol=1e-3)
    assert around[:27, 42].any()
    assert not alone[:, 42].any()

    # A clip depends on its own samples only, and a file with a single clip gives the features of that clip.
    third = write_wav(tmp_path / 'third.wav', babble()[2 * CLIP : 3 * CLIP])
    for row in (extract.lld(third, 0.04, 0.04)[1], extract.clip_features(third, 1, 'contextual').values):
        np.testing.assert_array_equal(row, alone[2:3])
    few = extract.clip_features(babble_wav, 4, 'contextual')
    assert few.padded == 0
    np.testing.assert_array_equal(few.values, around[:4])


def test_real_speech_is_plausible():
    got = columns(speech())
    voiced = got['F0_sma'][got['F0_sma'] > 0]
    assert len(voiced)
    assert 75 < np.median(voiced) < 400  # smoothing with silence makes two values lower
    assert voiced.max() < 500
    assert -25 < got['pcm_LOGenergy_sma'].min() < got['pcm_LOGenergy_sma'].max() < 0
    assert 0 <= got['voiceProb_sma'].min() < got['voiceProb_sma'].max() <= 1
    assert np.all(got['pcm_fftMag_spectralRollOff25.0_sma'] <= got['pcm_fftMag_spectralRollOff90.0_sma'])


def bad_wav(case, path):
    noise = np.random.default_rng(0).normal(0, 3000, 8000)
    match case:
        case 'absent':
            pass
        case 'folder':
            path.mkdir()
        case 'text':
            path.write_text('not audio\n')
        case 'nothing':
            path.write_bytes(b'')
        case 'header only':
            path.write_bytes(write_wav(path, noise).read_bytes()[:30])
        case 'no samples':
            write_wav(path, [])
        case 'shorter than a frame':
            write_wav(path, noise[:399])
        case '8 bits' | '24 bits':
            write_wav(path, noise[:6000], width=int(case.split()[0]) // 8)
        case 'float':
            content = bytearray(write_wav(path, noise).read_bytes())
            content[20] = 3  # the format: IEEE float
            path.write_bytes(content)
        case 'chunk beyond the end':
            content = bytearray(write_wav(path, noise).read_bytes())
            content[4:8] = (30).to_bytes(4, 'little')  # declares a length shorter than its chunks
            path.write_bytes(content)
        case 'low rate':
            write_wav(path, noise, rate=4000)
    return path


@pytest.mark.parametrize(
    ('case', 'message'),
    [
        ('absent', 'No such file'),
        ('folder', 'Is a directory'),
        ('text', 'not a PCM wav'),
        ('nothing', 'not a PCM wav'),
        ('header only', 'not a PCM wav'),
        ('no samples', '0.0000 s of audio'),
        ('shorter than a frame', '0.0249 s of audio'),
        ('8 bits', '8-bit samples'),
        ('24 bits', '24-bit samples'),
        ('float', 'not a PCM wav'),
        ('chunk beyond the end', 'not a PCM wav'),
        ('low rate', '4000 samples/s'),
    ],
)
def test_bad_audio_is_refused_by_name(case, message, tmp_path):
    path = bad_wav(case, tmp_path / 'bad.wav')
    for compute in (extract.functionals, extract.lld, lambda wav: extract.clip_features(wav, 3)):
        with pytest.raises(InputError, match=r'^[^\n]*$') as error:
            compute(path)
        assert str(error.value).startswith(f'{path}: ')
        assert message in str(error.value)


def test_command_reads_what_ffmpeg_reads(babble_wav, tmp_path):
    """Reads the same samples from other containers, and expects the same features to the bit."""
    found = {}
    for name, options in {
        'audio.flac': ('flac',),
        'extensible.wav': ('pcm_s24le',),  # 24 bits need WAVE_FORMAT_EXTENSIBLE
        'audio.mkv': ('pcm_s16le',),
        'plain.wav': ('pcm_s16le',),
    }.items():
        command = [FFMPEG, '-v', 'error', '-i', str(babble_wav), '-c:a', *options, str(tmp_path / name)]
        subprocess.run(command, check=True)
        run('-m', 'fer.prepare.smile', f'--wav={tmp_path / name}', f'--output={tmp_path / "out.csv"}')
        found[name] = (tmp_path / 'out.csv').read_text()
    assert len(set(found.values())) == 1


def test_command_prints_one_line_about_bad_input(babble_wav, tmp_path):
    output = tmp_path / 'out.csv'
    text = bad_wav('text', tmp_path / 'text.wav')
    good = [f'--wav={babble_wav}', f'--output={output}']
    for arguments, message in [
        ([f'--wav={text}', f'--output={output}'], f'{text}: Invalid data found'),
        ([f'--wav={tmp_path / "none.wav"}', f'--output={output}'], 'No such file'),
        ([*good, '--features=lld', '--frame_size=0'], 'frame_size=0'),
        ([*good, '--features=lld', '--frame_size=10'], '2.048 s or less'),
        ([*good, '--features=lld', '--frame_step=-1'], 'frame_step=-1'),
        ([*good, '--features=functionals', '--frame_size=0.04'], '--features=lld'),
        ([f'--wav={babble_wav}', f'--output={tmp_path / "absent" / "out.csv"}'], 'no folder'),
        ([f'--wav={babble_wav}', f'--output={tmp_path}'], 'a folder'),
    ]:
        done = run('-m', 'fer.prepare.smile', *arguments, ok=False)
        assert done.code == 2
        assert message in done.err
        assert done.err.startswith('python -m fer.prepare.smile: ')
        assert len(done.err.splitlines()) == 1
        assert [path.name for path in tmp_path.iterdir()] == ['text.wav']


def test_truncated_wav_gives_the_samples_it_has(babble_wav, tmp_path):
    whole = babble_wav.read_bytes()
    broken = tmp_path / 'gebrochen ü, 1.wav'  # openSMILE itself does not accept this path
    broken.write_bytes(whole[: 44 + 2 * 8000 + 1])
    half = write_wav(tmp_path / 'half.wav', babble()[:8000])
    np.testing.assert_array_equal(extract.functionals(broken)[1], extract.functionals(half)[1])


def test_smile_benchmark_measures_every_method(tmp_path, monkeypatch):
    monkeypatch.setenv('FER_REALDATA', str(tmp_path / 'nowhere'))
    done = run('-m', 'tests.benchmarks.smile', '--rounds=1', '--clips=4', '--process_clips=2')
    title, header, *ways = [line.split() for line in done.out.splitlines()]
    assert title[:6] == ['a', 'synthetic', 'voice:', '4', 'clips', 'of']
    assert header == ['clips', 'a', 'round', 'clips/s:', 'median', 'lowest', 'highest']
    assert [(line[0], int(line[1])) for line in ways[:3]] == [('contextual', 40), ('isolated', 4), ('process', 2)]
    rates = {line[0]: float(line[2]) for line in ways[:3]}
    assert all(line[2] == line[3] == line[4] for line in ways[:3])  # one round is its own median
    for above, slash, below, ratio, *_ in ways[4:]:
        assert slash == '/'
        # Rates are rounded to a tenth, which matters most for `process`.
        assert float(ratio) == pytest.approx(rates[above] / rates[below], rel=0.1 / rates['process'], abs=0.1)
    assert len(ways) == 7


# The published numbers of features.
SIZES = {'IS09': 384, 'IS10': 1582, 'IS11': 4368, 'IS12': 6125, 'IS13': 6373, 'ComParE_2016': 6373, 'emobase': 988}
SIZES |= {'GeMAPSv01b': 62, 'eGeMAPSv02': 88, 'emo_large': 6552}


@pytest.mark.parametrize('opensmile_set', SETS)
def test_sets_have_their_published_sizes(opensmile_set, babble_wav):
    names, values = extract.functionals(babble_wav, opensmile_set)
    assert len(set(names)) == len(values) == SIZES[opensmile_set]
    assert not any(',' in name for name in names)


def test_sets_agree_with_package_opensmile(babble_wav, tmp_path):
    """Compares with the interface of the package, in a process of its own because it imports much."""
    code = (
        'import sys, opensmile\n'
        'smile = opensmile.Smile(feature_set=opensmile.FeatureSet.emobase)\n'
        'smile.process_file(sys.argv[1]).to_csv(sys.argv[2], index=False, float_format="%.9g")\n'
    )
    path = tmp_path / 'theirs.csv'
    subprocess.run([sys.executable, '-c', code, str(babble_wav), str(path)], check=True)
    header, line = path.read_text().splitlines()
    names, values = extract.functionals(babble_wav, 'emobase')
    assert names == header.split(',')
    np.testing.assert_allclose(values, np.array(line.split(','), float), rtol=1e-4, atol=1e-5)
