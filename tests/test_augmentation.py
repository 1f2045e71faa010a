# SPDX-License-Identifier: Apache-2.0
"""Augmentation compared with OpenCV, SciPy and NumPy. Its random numbers follow from the seed alone."""

import sys

import cv2
import numpy as np
import pytest
from conftest import run
from scipy import ndimage, stats

from fer import tf1
from fer.data.augmentation import (
    GREY,
    KINDS,
    RANGES,
    VIEWS,
    RandomChoices,
    augment_audio,
    augment_view,
    augment_window,
    draw_choices,
)
from fer.tf1 import STACK, import_addons, tf

GEOMETRY = ('flip', 'crop', 'rotate', 'shift')
HEIGHT, WIDTH = 37, 49  # neither square nor even, so that a swapped axis or a wrong centre cannot pass
SEEDS = [(1, 0), (1, 1), (7, 3), (-5, 2**31 - 1)]


@pytest.fixture(params=['no addons', *['addons'] * STACK.has_addons])
def addons(request, monkeypatch):
    """Runs a test with tensorflow-addons, on the stack that has them, and without."""
    if request.param == 'no addons':
        monkeypatch.setattr(tf1, 'STACK', STACK._replace(has_addons=False))
    else:
        assert import_addons() is not None


def make_images(frames=3, smooth=0.0, height=HEIGHT, width=WIDTH):
    images = np.random.default_rng(4).uniform(0, 255, (frames, height, width, 3))
    if smooth:
        images = ndimage.gaussian_filter(images, (0, smooth, smooth, 0))
        images = (images - images.min()) / (images.max() - images.min()) * 255
    return images.astype(np.float32)


def augment(images, seeds, kinds) -> tuple[list[np.ndarray], list[RandomChoices]]:
    """Returns the augmented window and its random choices for each seed."""
    with tf.Graph().as_default(), tf.Session() as session:
        seed = tf.placeholder(tf.int64, [2])
        fetches = augment_window(tf.constant(images), seed, kinds), draw_choices(seed)
        windows, choices = zip(*(session.run(fetches, {seed: value}) for value in seeds), strict=True)
    return list(windows), list(choices)


def forward_matrix(chosen: RandomChoices, kinds, height=HEIGHT, width=WIDTH) -> np.ndarray:
    """Returns OpenCV's matrix [3, 3], from a point of the image to one of the result."""
    matrix = np.eye(3)
    if 'flip' in kinds and chosen.mirror >= 0.5:
        matrix = np.array([[-1, 0, width - 1], [0, 1, 0], [0, 0, 1]]) @ matrix
    if 'rotate' in kinds:
        centre = ((width - 1) / 2, (height - 1) / 2)
        matrix = np.vstack([cv2.getRotationMatrix2D(centre, float(chosen.angle), 1.0), [0, 0, 1]]) @ matrix
    if 'shift' in kinds:
        matrix = np.array([[1, 0, chosen.right * width], [0, 1, chosen.down * height], [0, 0, 1]]) @ matrix
    if 'crop' in kinds:
        # The crop's outer corners become the image's, which are half a pixel outside of the outermost centres.
        left, top = chosen.left * (1 - chosen.scale) * width - 0.5, chosen.top * (1 - chosen.scale) * height - 0.5
        right, bottom = left + chosen.scale * width, top + chosen.scale * height
        corners = np.array([[left, top], [right, top], [left, bottom]], np.float32)
        outer = np.array([[-0.5, -0.5], [width - 0.5, -0.5], [-0.5, height - 0.5]], np.float32)
        matrix = np.vstack([cv2.getAffineTransform(corners, outer), [0, 0, 1]]) @ matrix
    return matrix


def warp(image: np.ndarray, forward: np.ndarray) -> np.ndarray:
    """Samples [H, W, 3] bilinearly in float64 with SciPy, where rows come before columns."""
    inverse = np.linalg.inv(forward)[:2]
    matrix, offset = inverse[::-1, 1::-1], inverse[::-1, 2]
    channels = [
        ndimage.affine_transform(image[..., c].astype(float), matrix, offset, order=1, mode='nearest') for c in range(3)
    ]
    return np.stack(channels, -1)


def test_without_kinds_nothing_changes():
    images = make_images()
    windows, _ = augment(images, SEEDS[:1], ())
    np.testing.assert_array_equal(windows[0], images)


def test_flip_mirrors_some_windows(addons):
    images = make_images()
    windows, choices = augment(images, [(2, n) for n in range(12)], ['flip'])
    flipped = [chosen.mirror >= 0.5 for chosen in choices]
    assert 0 < sum(flipped) < 12
    for window, flip in zip(windows, flipped, strict=True):
        np.testing.assert_array_equal(window, np.flip(images, 2) if flip else images)


@pytest.mark.parametrize('kinds', [*[(kind,) for kind in GEOMETRY], GEOMETRY])
def test_geometry_equals_scipy_with_its_matrix(addons, kinds):
    images = make_images()
    windows, choices = augment(images, SEEDS, kinds)
    for window, chosen in zip(windows, choices, strict=True):
        expected = np.stack([warp(image, forward_matrix(chosen, kinds)) for image in images])
        # Neighbouring pixels differ by up to 255, and float32 coordinates of 49 pixels by 4e-6.
        np.testing.assert_allclose(window, expected, atol=0.02)
    assert kinds == ('flip',) or all(np.abs(window - images).mean() > 1 for window in windows)


def test_geometry_equals_opencv_warp_affine(addons):
    images = make_images(smooth=3.0)  # OpenCV rounds coordinates to a 32nd of a pixel
    windows, choices = augment(images, SEEDS, GEOMETRY)
    for window, chosen in zip(windows, choices, strict=True):
        matrix = forward_matrix(chosen, GEOMETRY)[:2]
        for image, augmented in zip(images, window, strict=True):
            expected = cv2.warpAffine(
                image, matrix, (WIDTH, HEIGHT), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
            )
            assert np.abs(augmented - expected).max() < 1.5
            assert np.abs(augmented - expected).mean() < 0.2


def test_directions_are_as_named():
    """A dot right of the centre moves up when turned anti-clockwise. Shifts move it right and down."""
    images = np.zeros((1, 41, 41, 3), np.float32)
    images[0, 19:22, 34:37] = 255
    for kind in ('rotate', 'shift'):
        windows, choices = augment(images, [(3, n) for n in range(8)], [kind])
        for window, chosen in zip(windows, choices, strict=True):
            y, x = ndimage.center_of_mass(window[0, ..., 0])
            if kind == 'rotate':
                angle = np.deg2rad(chosen.angle)
                expected = 20 - 15 * np.sin(angle), 20 + 15 * np.cos(angle)
            else:
                expected = 20 + chosen.down * 41, 35 + chosen.right * 41
            assert (y, x) == pytest.approx(expected, abs=0.05)


def test_colours_follow_their_formula():
    images = make_images()
    windows, choices = augment(images, SEEDS, ['colour'])
    for window, chosen in zip(windows, choices, strict=True):
        grey = np.stack([cv2.cvtColor(image, cv2.COLOR_RGB2GRAY) for image in images])[..., np.newaxis]
        saturated = chosen.saturation * images + (1 - chosen.saturation) * grey
        contrasted = chosen.contrast * saturated + (1 - chosen.contrast) * grey.mean()
        np.testing.assert_allclose(window, np.clip(chosen.brightness * contrasted, 0, 255), atol=1e-3)


def test_cutout_is_one_grey_square():
    images = make_images(height=40, width=64)
    windows, choices = augment(images, [(9, n) for n in range(16)], ['cutout'])
    whole = 0
    for window, chosen in zip(windows, choices, strict=True):
        changed = (window != images).any(axis=(0, 3))
        assert (window[:, changed] == GREY).all()
        rows, columns = np.flatnonzero(changed.any(1)), np.flatnonzero(changed.any(0))
        assert changed.sum() == len(rows) * len(columns)  # one rectangle in all frames
        assert changed[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].all()
        for found, centre, length in ((rows, chosen.centre_y * 40, 40), (columns, chosen.centre_x * 64, 64)):
            low, high = max(0, centre - chosen.side * 20), min(length, centre + chosen.side * 20)
            assert len(found) == pytest.approx(high - low, abs=1)
            assert found.mean() + 0.5 == pytest.approx((low + high) / 2, abs=1)
            whole += length > high and low > 0
    assert whole  # some squares are not clipped


def test_frames_of_a_window_move_together(addons):
    images = np.repeat(make_images(1), 5, axis=0)
    windows, _ = augment(images, SEEDS, KINDS)
    still, _ = augment(images[:1], SEEDS, KINDS)
    for window, alone in zip(windows, still, strict=True):
        np.testing.assert_array_equal(window, np.repeat(window[:1], 5, axis=0))
        # A still is a window of one frame. Only the sum for the mean grey has other terms.
        np.testing.assert_allclose(window[:1], alone, atol=1e-3)


def test_addons_and_tensorflow_give_the_same_pixels(monkeypatch):
    pytest.importorskip('tensorflow_addons', exc_type=ImportError)
    images = make_images()
    with_addons, _ = augment(images, SEEDS, KINDS)
    monkeypatch.setitem(sys.modules, 'tensorflow_addons', None)
    without, _ = augment(images, SEEDS, KINDS)
    np.testing.assert_array_equal(with_addons, without)


def test_addons_are_used_where_they_can_be_imported(monkeypatch):
    image_ops = pytest.importorskip('tensorflow_addons', exc_type=ImportError).image
    calls = []
    monkeypatch.setattr(image_ops, 'transform', lambda images, *_, **__: calls.append(1) or images)
    augment(make_images(), SEEDS[:1], ['rotate'])
    assert calls == [1]
    monkeypatch.setitem(sys.modules, 'tensorflow_addons', None)
    augment(make_images(), SEEDS[:1], ['rotate'])
    assert calls == [1]


SCRIPT = """
import sys
{block}
from fer.data import augmentation
assert sys.modules.get('tensorflow_addons') is None  # imported when it is first needed
from fer.tf1 import STACK, import_addons, tf
seeds = tf.data.Dataset.range(3)
images = tf.random.stateless_uniform([2, 9, 11, 3], [1, 2], 0.0, 255.0)
windows = seeds.map(lambda seed: augmentation.augment_window(images, tf.stack([seed, 5]), augmentation.KINDS))
window = tf.data.make_one_shot_iterator(windows).get_next()
with tf.Session() as session:
    for _ in range(3):
        print(session.run(window).tobytes().hex())
assert (sys.modules.get('tensorflow_addons') is None) == {blocked}
"""


def test_a_process_without_addons_prints_the_same():
    pytest.importorskip('tensorflow_addons', exc_type=ImportError)
    plain = run('-c', SCRIPT.format(block='', blocked=False))
    blocked = run('-c', SCRIPT.format(block="sys.modules['tensorflow_addons'] = None", blocked=True))
    assert plain.out == blocked.out
    assert len(set(plain.out.split())) == 3
    assert plain.err == blocked.err == ''


def read_in_parallel(images, threads):
    """Returns the windows of 12 seeds, read by tf.data in a graph."""
    with tf.Graph().as_default(), tf.Session() as session:
        dataset = tf.data.Dataset.range(12).map(
            lambda index: augment_window(tf.constant(images), tf.stack([index, 3]), KINDS), num_parallel_calls=threads
        )
        window = tf.data.make_one_shot_iterator(dataset).get_next()
        assert window.shape.as_list() == list(images.shape)
        return [session.run(window) for _ in range(12)]


def test_pixels_follow_from_the_seed_alone(addons):
    images = make_images(2, height=19, width=17)
    parallel = read_in_parallel(images, 4)
    np.testing.assert_array_equal(parallel, read_in_parallel(images, 1))
    again, _ = augment(images, [(5, 3)], KINDS)  # as in a run that resumes there
    np.testing.assert_allclose(again[0], parallel[5], atol=1e-3)  # the mean grey may be summed in another order
    for index, window in enumerate(parallel):
        for other in parallel[:index]:
            assert np.abs(window - other).mean() > 1


def test_other_kinds_do_not_change_a_kind():
    images = make_images()
    both, _ = augment(images, SEEDS, ['rotate', 'cutout'])
    alone, _ = augment(images, SEEDS, ['rotate'])
    for window, rotated in zip(both, alone, strict=True):
        uncut = (window != GREY).any(axis=-1)
        assert 0.5 < uncut.mean() < 1
        np.testing.assert_array_equal(window[uncut], rotated[uncut])


def test_random_choices_fill_their_ranges():
    count = 2000
    with tf.Graph().as_default(), tf.Session() as session:
        seeds = np.stack([np.full(count, 11), np.arange(count)], 1)  # as close as seeds of neighbouring windows
        chosen = session.run(
            tf.map_fn(draw_choices, tf.constant(seeds), fn_output_signature=RandomChoices(*[tf.float32] * len(RANGES)))
        )
    values = np.array(chosen, float)
    for (low, high), of_seeds in zip(RANGES, values, strict=True):
        share = (of_seeds - low) / (high - low)
        assert share.min() >= -1e-6
        assert share.max() <= 1 + 1e-6
        counts, _ = np.histogram(share, 10, (-1e-6, 1 + 1e-6))
        assert ((counts - count / 10) ** 2 / (count / 10)).sum() < 33  # chi-squared of 9 degrees, p = 1e-4
    assert (values[RandomChoices._fields.index('mirror')] >= 0.5).mean() == pytest.approx(0.5, abs=0.05)
    correlation = np.corrcoef(values) - np.eye(len(RANGES))
    assert np.abs(correlation).max() < 0.1


def test_pixels_stay_in_range(addons):
    extremes = np.where(make_images() > 127, 255, 0).astype(np.float32)
    windows, _ = augment(extremes, [(6, n) for n in range(20)], KINDS)
    assert np.min(windows) == 0
    assert np.max(windows) == 255


def view_of(images, view):
    with tf.Graph().as_default(), tf.Session() as session:
        return session.run(augment_view(tf.constant(images), view))


def test_first_views_are_the_image_and_its_mirror(addons):
    images = make_images() / 127.5 - 1  # as a network's input
    assert len(VIEWS) == 10
    np.testing.assert_array_equal(view_of(images, 0), images)
    np.testing.assert_array_equal(view_of(images, 1), np.flip(images, 2))


@pytest.mark.parametrize('corner', range(4))
def test_corner_views_equal_opencv_crops(addons, corner):
    images = make_images(height=40, width=60)  # crops of whole pixels: 36x54
    crops = images[:, 4 * (corner // 2) :][:, :36, 6 * (corner % 2) :][:, :, :54]
    expected = np.stack([cv2.resize(crop, (60, 40), interpolation=cv2.INTER_LINEAR) for crop in crops])
    view = view_of(images, 2 + 2 * corner)
    # Where the crop ends inside the image, OpenCV repeats the crop's last pixel, and ours has the next one.
    np.testing.assert_allclose(view[:, 1:-1, 1:-1], expected[:, 1:-1, 1:-1], atol=0.02)
    corners = [(0, 0), (0, -1), (-1, 0), (-1, -1)]
    y, x = corners[corner]
    np.testing.assert_allclose(view[:, y, x], images[:, y, x], atol=0.02)  # the image's own corner stays a corner
    np.testing.assert_allclose(view_of(images, 3 + 2 * corner), np.flip(view, 2), atol=0.02)


def test_a_placeholder_may_select_the_view():
    images = make_images()
    with tf.Graph().as_default(), tf.Session() as session:
        view = tf.placeholder(tf.int32, [])
        fed = augment_view(tf.placeholder_with_default(images, [None, HEIGHT, WIDTH, 3]), view)
        assert fed.shape.as_list() == [None, HEIGHT, WIDTH, 3]
        views = [session.run(fed, {view: index}) for index in range(10)]
    for index, found in enumerate(views):
        np.testing.assert_array_equal(found, view_of(images, index))
        assert all(np.abs(found - other).mean() > 1 for other in views[:index])


def augment_features(features, seeds, noise, time_mask):
    with tf.Graph().as_default(), tf.Session() as session:
        seed = tf.placeholder(tf.int32, [2])
        augmented = augment_audio(
            tf.placeholder_with_default(features, [None, features.shape[1]]), seed, noise, time_mask
        )
        assert augmented.shape.as_list() == [None, features.shape[1]]
        return np.stack([session.run(augmented, {seed: value}) for value in seeds])


def make_features(frames, size=5):
    return np.random.default_rng(8).uniform(1, 2, (frames, size)).astype(np.float32)  # no value is 0


def test_audio_without_augmentation_stays_unchanged():
    features = make_features(13)
    np.testing.assert_array_equal(augment_features(features, [(1, 2)], 0.0, 0.0)[0], features)


def test_audio_noise_is_gaussian():
    features = make_features(200, 112)
    seeds = [(1, 2), (1, 3)]
    first, second = augment_features(features, seeds, 0.25, 0.0) - features
    for noise in (first, second):
        assert noise.mean() == pytest.approx(0, abs=0.01)
        assert noise.std() == pytest.approx(0.25, rel=0.02)
        assert np.mean(np.abs(noise) < 0.25) == pytest.approx(0.6827, abs=0.01)  # as of a Gaussian
    assert abs(np.corrcoef(first.ravel(), second.ravel())[0, 1]) < 0.05
    np.testing.assert_array_equal(augment_features(features, seeds[:1], 0.25, 0.0)[0] - features, first)


@pytest.mark.parametrize(('frames', 'time_mask'), [(20, 0.3), (7, 0.99), (80, 1 - 1e-9), (2, 0.5)])
def test_an_audio_mask_is_one_span(frames, time_mask):
    features = make_features(frames)
    longest = min(int(time_mask * frames), frames - 1)
    augmented = augment_features(features, [(4, n) for n in range(400)], 0.0, time_mask)
    spans = set()
    for window in augmented:
        masked = (window == 0).all(axis=1)
        np.testing.assert_array_equal(window[~masked], features[~masked])
        where = np.flatnonzero(masked)
        assert len(where) == 0 or where[-1] - where[0] + 1 == len(where)
        spans.add((int(where[0]) if len(where) else -1, len(where)))
    lengths, starts = {length for _, length in spans}, {start for start, length in spans if length == 1}
    if frames < 80:  # few enough spans for 400 seeds to meet each length, and each place of a single frame
        assert lengths == set(range(longest + 1))
        assert len(starts) >= min(frames, 5)
    assert max(lengths) <= longest
    assert max(start + length for start, length in spans) == frames  # the last frame may be masked


def test_a_single_frame_of_audio_is_never_masked():
    features = make_features(1)
    augmented = augment_features(features, [(4, n) for n in range(50)], 0.0, 0.99)
    np.testing.assert_array_equal(augmented, np.repeat(features[np.newaxis], 50, axis=0))


def test_an_audio_mask_hides_noise():
    augmented = augment_features(make_features(30), [(4, n) for n in range(20)], 0.5, 0.5)
    masked = (augmented == 0).all(axis=2)
    assert 0 < masked.mean() < 0.5
    assert np.count_nonzero(augmented == 0) == masked.sum() * 5


def test_random_numbers_of_audio_and_images_are_independent():
    seeds = [(4, n) for n in range(300)]
    features = make_features(40, 4)
    noise = (augment_features(features, seeds, 1.0, 0.0) - features)[:, 0]  # [300, 4], of each seed's first numbers
    masked = (augment_features(features, seeds, 0.0, 0.9) == 0).all(axis=2)  # [300, 40]
    _, choices = augment(make_images(1, height=3, width=5), seeds, ())
    # A Gaussian pair is a radius and an angle from two uniform numbers.
    radius = np.hypot(noise[:, ::2], noise[:, 1::2])
    chosen = [*noise.T, *radius.T], [masked.sum(1), masked.argmax(1)], np.array(choices).T
    for index, ones in enumerate(chosen):
        for others in chosen[:index]:
            for one in ones:
                for other in others:
                    assert abs(stats.spearmanr(one, other).statistic) < 0.25
