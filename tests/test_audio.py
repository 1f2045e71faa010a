# SPDX-License-Identifier: Apache-2.0
"""Reading and scaling of audio CSVs against scikit-learn."""

import numpy as np
import pytest
from sklearn.preprocessing import MinMaxScaler, StandardScaler

from fer.data.audio import LARGEST, fit_scaling, read_audio, read_scaling, scale_features, write_scaling
from fer.errors import InputError
from fer.manifest import read_manifest, write_manifest

NAMES = ['F0', 'energy', 'constant', 'rare']


def write_clips(folder, values, header=NAMES):
    """Writes a manifest of one video whose clips have the rows of `values`."""
    (folder / 'v').mkdir()
    for number, row in enumerate(values, start=1):
        text = ','.join(header) + '\n' + ','.join(map(str, row)) + '\n'
        (folder / 'v' / f'{number:05d}.csv').write_text(text)
    write_manifest(folder / 'm.txt', [(f'v/{number:05d}.csv', '0100000') for number in range(1, len(values) + 1)])
    return read_manifest(folder / 'm.txt')


@pytest.fixture
def frames():
    """Returns float32 [frames, 4] of three videos. The third feature is constant, the fourth mostly 0."""
    rng = np.random.default_rng(0)
    values = rng.normal([200, -3, 0.1, 0], [40, 0.01, 0, 1], (14, 4)).astype(np.float32)
    values[:, 3] *= np.arange(14) == 6
    return [values[:5], values[5:6], values[6:]]


def test_values_equal_those_of_the_files(tmp_path):
    values = np.random.default_rng(1).normal(size=(3, 4)).astype(np.float32)
    audio = read_audio(write_clips(tmp_path, values), size=4)
    assert (audio.names, audio.replaced) == (NAMES, 0)
    np.testing.assert_array_equal(audio.values, [values])


@pytest.mark.parametrize(('kind', 'oracle'), [('zscore', StandardScaler()), ('minmax', MinMaxScaler())])
def test_scaling_equals_that_of_scikit_learn(frames, kind, oracle):
    scaling = fit_scaling(NAMES, frames, kind)
    oracle.fit(np.concatenate(frames).astype(np.float64))
    new = np.random.default_rng(2).normal([200, -3, 0.1, 0], [40, 0.01, 0, 0.1], (6, 4)).astype(np.float32)
    expected = np.clip(oracle.transform(new.astype(np.float64)), -LARGEST, LARGEST)
    np.testing.assert_allclose(scale_features(new, scaling), expected, rtol=1e-5, atol=1e-5)


def test_log_scaling_compresses_standardised_values(frames):
    scaling = fit_scaling(NAMES, frames, 'log')
    standardised = scale_features(frames[0], fit_scaling(NAMES, frames, 'zscore'))
    scaled = scale_features(frames[0], scaling)
    np.testing.assert_allclose(np.expm1(np.abs(scaled)), np.abs(standardised), rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(np.sign(scaled), np.sign(standardised))
    assert scale_features(np.full((1, 4), 1e30, np.float32), scaling).max() == pytest.approx(np.log(11))


def test_unscaled_values_stay_unchanged(frames):
    scaling = fit_scaling(NAMES, frames, 'none')
    np.testing.assert_array_equal(scale_features(frames[0], scaling), frames[0])


def test_an_outlier_is_limited(frames):
    scaling = fit_scaling(NAMES, frames, 'zscore')
    assert scale_features(np.full((1, 4), 1e30, np.float32), scaling).max() == LARGEST


@pytest.mark.parametrize('kind', ['zscore', 'log', 'minmax', 'none'])
def test_the_training_mean_replaces_infinite_values(tmp_path, frames, kind):
    values = frames[2].astype(object)
    values[1, 0], values[3, 1] = 'nan', '-inf'
    audio = read_audio(write_clips(tmp_path, values), 4, nonfinite='mean')
    assert audio.replaced == 2
    scaling = fit_scaling(NAMES, audio.values, kind)
    others = np.delete(frames[2][:, 0], 1).astype(np.float64)
    assert scaling.mean[0] == pytest.approx(others.mean(), rel=1e-12)
    mean = np.where(np.isnan(audio.values[0]), scaling.mean, audio.values[0])
    scaled = scale_features(audio.values[0], scaling)
    np.testing.assert_allclose(scaled, scale_features(mean, scaling), rtol=1e-6)
    assert np.isfinite(scaled).all()


def test_a_scaling_survives_its_file_to_the_bit(tmp_path, frames):
    scaling = fit_scaling(NAMES, frames, 'zscore')
    write_scaling(tmp_path / 's.txt', scaling)
    found = read_scaling(tmp_path / 's.txt')
    assert (found.kind, found.names) == (scaling.kind, scaling.names)
    np.testing.assert_array_equal(found[2:], scaling[2:])


@pytest.mark.parametrize(
    'damage', ['# zscore\n', '', '# zscore\nfeature\tmean\toffset\tscale\na\t0\t0\t0\n', '# x\ny\n']
)
def test_a_damaged_scaling_is_an_error(tmp_path, damage):
    (tmp_path / 's.txt').write_text(damage)
    with pytest.raises(InputError, match=r's\.txt: .*expected the scaling'):
        read_scaling(tmp_path / 's.txt')


@pytest.mark.parametrize(
    ('text', 'message'),
    [
        ('F0,energy,constant,rare\n1,2,3\n', r'm\.txt:2: .*00002\.csv: 3 values; expected 4'),
        ('F0,energy,rare,constant\n1,2,3,4\n', r'm\.txt:2: .*other features'),
        ('F0,energy,constant,rare\n1,2,x,4\n', r'm\.txt:2: .*expected numbers'),
        ('F0,energy,constant,rare\n1,2,inf,4\n', r'm\.txt:2: .*constant is inf'),
        ('F0,energy,constant,rare\n1,2,1e300,4\n', r'm\.txt:2: .*constant is inf'),
        ('F0,energy,constant,rare\n', r'm\.txt:2: .*1 lines'),
        ('', r'm\.txt:2: .*0 lines'),
    ],
)
def test_damaged_files_are_named_by_line(tmp_path, text, message):
    manifest = write_clips(tmp_path, np.ones((3, 4)))
    (tmp_path / 'v' / '00002.csv').write_text(text)
    with pytest.raises(InputError, match=message):
        read_audio(manifest, 4)
