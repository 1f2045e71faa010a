# SPDX-License-Identifier: Apache-2.0
"""Explanations of an answer, against cases whose answer is known and against formulas of their own."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from conftest import tiny_config
from nets import load, load_seeded

from fer.nets import get_network
from fer.predict.explain.choice import deciding_frames
from fer.predict.explain.explainer import LEFT_OUT, SHARE, Window, open_explainer
from fer.tf1 import tf
from fer.training.restore import source_convention
from fer.training.stages import Blueprint, get_stage

pytestmark = [pytest.mark.xdist_group(__name__), pytest.mark.usefixtures('quick_runs', 'shallow_networks')]

SIZE = 48
WINDOWS = {
    'temporal': {'stage': 'temporal', 'bidirectional': True, 'attention': True},
    'early fusion': {'stage': 'early_fusion', 'fusion_option': 2},
    'median': {'stage': 'finetune', 'aggregate': 'median', 'classify': 'padded'},
}
RED_CLASS, COLD_CLASS, BLIND_CLASS = 4, 2, 6
DENSE = [f'{layer}/{kind}' for layer in ('fc6', 'fc7', 'fc8') for kind in ('weights', 'biases')]


def make_blueprint(scaling=None, **settings) -> Blueprint:
    """Returns the blueprint of a run without files, whose RNNs of early fusion are the run's own."""
    config = tiny_config(Path('nowhere'), **{'image_size': SIZE, 'seq_len': 5, **settings})
    network = None if config.stage == 'audio' else get_network(config.model)
    convention = source_convention(network, None, 'source', config.vgg_pooling) if network else None
    audio_run = dataclasses.replace(config, rnn_units=3) if config.stage == 'early_fusion' else None
    return Blueprint(config, get_stage(config.stage, config.model), convention, scaling, audio_run, None)


def restore_seeded(session):
    """Gives every variable of the graph a value that follows from its name."""
    for scope in {v.op.name.split('/')[0] for v in tf.global_variables()}:
        load_seeded(session, scope)


def restore_red_seeker(session):
    """Makes a VGG-Face of which one channel is how red a place is, and three classes read it: +, - and not at all.

    A recurrent cell on top takes that channel and forgets it at once.
    """
    values = {}
    for variable in tf.global_variables():
        value = np.zeros(variable.shape.as_list(), np.float32)
        name = variable.op.name.split('/')
        if name[-1] == 'weights' and name[-2] == 'conv1_1':
            value[1, 1, :, 0] = 1, -0.5, -0.5
        elif name[-1] == 'weights' and name[-2] in ('fc8', 'logits'):
            value[0, [RED_CLASS, COLD_CLASS]] = 1, -1
        elif name[-1] == 'weights':
            value[(1, 1, 0, 0) if value.ndim == 4 else (0, 0)] = 1
        values[variable] = value
    load(session, values)


def read_variable(explainer, name):
    (variable,) = (v for v in tf.global_variables() if v.op.name == name)
    return explainer._session.run(variable)


def run_cnn(explainer, faces, *names):
    return explainer._session.run([explainer._cnn[name] for name in names], {explainer._faces: faces})


def paint_patches(places):
    """Returns grey faces with a red patch of 16 pixels at (row, column), and a white one in a corner that distracts."""
    faces = np.full((len(places), SIZE, SIZE, 3), 90, np.uint8)
    faces[:, -12:, -12:] = 255
    for face, (row, column) in zip(faces, places, strict=True):
        face[row : row + 16, column : column + 16] = 220, 30, 30
    return faces


@pytest.mark.parametrize('stage', ['pretrain', 'finetune'])
def test_planted_patch_is_where_the_network_looks(stage):
    places = [(0, 0), (16, 16), (0, 32), (16, 0)]
    blueprint = make_blueprint(stage=stage, model='vgg_face', global_pool=True, vgg_pooling='same')
    with open_explainer(blueprint, restore_red_seeker) as explainer:
        window = Window(paint_patches(places))
        found = {emotion: explainer.show_places(window, emotion) for emotion in (RED_CLASS, COLD_CLASS, BLIND_CLASS)}
    expected = np.zeros((4, 3, 3), np.float32)
    for heat, (row, column) in zip(expected, places, strict=True):
        heat[row // 16, column // 16] = 1
    np.testing.assert_allclose(found[RED_CLASS].maps, expected, atol=1e-6)  # of 3x3 places, 16 pixels each
    assert (found[RED_CLASS].peaks > 0).all()
    for emotion in (COLD_CLASS, BLIND_CLASS):  # red speaks against the one, and means nothing to the other
        assert not found[emotion].maps.any()
        assert not found[emotion].peaks.any()


@pytest.mark.parametrize('name', ['resnet18', 'densenet121', 'se_resnext50'])
def test_pooled_network_has_its_class_activation_map(name):
    """Zhou et al. (2016): the classifier's weights, applied to each place of the last map instead of its average."""
    faces = np.random.default_rng(0).integers(0, 256, (3, 64, 64, 3)).astype(np.uint8)
    blueprint = make_blueprint(stage='pretrain', model=name, image_size=64, global_pool=True)
    with open_explainer(blueprint, restore_seeded) as explainer:
        found = explainer.show_places(Window(faces), 3)
        weights = read_variable(explainer, f'{name}/logits/weights')
        (last_map,) = run_cnn(explainer, faces, 'last_map')
    raw = np.maximum(last_map @ weights[:, 3], 0) / np.prod(last_map.shape[1:3])
    assert last_map.shape[1:3] == (2, 2)
    np.testing.assert_allclose(found.peaks, raw.max((1, 2)), rtol=1e-4)
    np.testing.assert_allclose(found.maps, raw / raw.max((1, 2), keepdims=True), rtol=1e-4, atol=1e-5)


def test_flat_vgg_equals_backpropagation_by_hand():
    """From fc8 back through two ReLUs and the flat pool5 to conv5_3, in NumPy."""
    faces = np.random.default_rng(1).integers(0, 256, (2, SIZE, SIZE, 3)).astype(np.uint8)
    with open_explainer(make_blueprint(stage='pretrain', width=0.1), restore_seeded) as explainer:
        found = explainer.show_places(Window(faces), 5)
        values = {name: read_variable(explainer, f'vgg_face/{name}') for name in DENSE}
        (last_map,) = run_cnn(explainer, faces, 'last_map')
    assert last_map.shape[1:3] == (3, 3)  # pool5 drops the last row and column
    for frame, net in enumerate(last_map):
        pooled = net[:2, :2].max((0, 1))
        fc6 = pooled @ values['fc6/weights'] + values['fc6/biases']
        fc7 = np.maximum(fc6, 0) @ values['fc7/weights'] + values['fc7/biases']
        slope = (values['fc7/weights'] @ (values['fc8/weights'][:, 5] * (fc7 > 0))) * (fc6 > 0)
        slope = values['fc6/weights'] @ slope  # of the one place with the maximum, 0 elsewhere
        raw = np.maximum(net @ slope / 9, 0)
        np.testing.assert_allclose(found.peaks[frame], raw.max(), rtol=1e-4)
        np.testing.assert_allclose(found.maps[frame], raw / raw.max(), rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize('name', WINDOWS)
def test_window_maps_equal_slopes_by_differences(name):
    """The window's logit is moved by small steps of the CNN's features, which are the averages of the last map."""
    blueprint = make_blueprint(model='resnet18', global_pool=True, image_size=64, **WINDOWS[name])
    rng = np.random.default_rng(2)
    audio = rng.normal(size=(3, 112)).astype(np.float32) if blueprint.stage.contents.audio_size else None
    window = Window(rng.integers(0, 256, (3, 64, 64, 3)).astype(np.uint8), audio)
    with open_explainer(blueprint, restore_seeded) as explainer:
        found = explainer.show_places(window, 2)
        features, last_map = run_cnn(explainer, window.faces, 'features', 'last_map')
        moves = 1e-2 * np.eye(features.size).reshape(-1, *features.shape)  # a window for each of the features
        ends = []
        for sign in (1, -1):
            feeds = {explainer._cnn['features']: (features + sign * moves).reshape(-1, features.shape[1])}
            if audio is not None:
                feeds[explainer._audio] = np.tile(audio, (len(moves), 1))
            ends.append(explainer._answer(feeds, [3] * len(moves))[:, 2])
        slopes = ((ends[0] - ends[1]) / 2e-2).reshape(features.shape)
    raw = np.maximum(np.einsum('nhwc,nc->nhw', last_map, slopes) / np.prod(last_map.shape[1:3]), 0)
    assert np.count_nonzero(raw.max((1, 2))) >= 1
    np.testing.assert_allclose(found.peaks, raw.max((1, 2)), rtol=2e-2, atol=2e-3 * raw.max())


def random_window(blueprint, length, seed=3):
    """Returns a window of random pixels and audio, as the stage reads them."""
    rng, contents = np.random.default_rng(seed), blueprint.stage.contents
    size = len(blueprint.scaling.names) if blueprint.scaling else contents.audio_size
    return Window(
        rng.integers(0, 256, (length, SIZE, SIZE, 3)).astype(np.uint8) if contents.images else None,
        rng.normal(size=(length, size)).astype(np.float32) if contents.audio_size else None,
    )


@pytest.mark.parametrize('classify', ['exact', 'padded'])
def test_shares_of_a_mean_add_up_to_it(classify):
    blueprint = make_blueprint(stage='finetune', width=0.02, classify=classify)
    window = random_window(blueprint, 3)
    with open_explainer(blueprint, restore_seeded) as explainer:
        found = explainer.explain_frames(window)
        (logits,) = run_cnn(explainer, window.faces, 'logits')
        (answer,) = explainer._session.run(explainer._logits, {explainer._faces: window.faces, explainer._lengths: [3]})
    counts = np.array([1, 1, 3 if classify == 'padded' else 1])[:, np.newaxis]  # windows have up to 5 frames
    assert found.method == SHARE
    np.testing.assert_allclose(found.values, logits * counts / counts.sum(), rtol=1e-6)
    np.testing.assert_allclose(found.values.sum(axis=0), answer, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(found.logits, answer, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    'settings',
    [
        {'stage': 'temporal', 'width': 0.02},
        {'stage': 'early_fusion', 'fusion_option': 1, 'width': 0.02},
        {'stage': 'finetune', 'aggregate': 'median', 'width': 0.02},
        {'stage': 'audio', 'model': 'audio_gru', 'bidirectional': True},
    ],
    ids=str,
)
def test_left_out_frames_equal_shorter_windows(settings, monkeypatch):
    """Each shorter window is answered on its own here, from its pixels. There they pass a few at a time."""
    monkeypatch.setattr('fer.predict.explain.explainer._VALUES', 1000)
    blueprint = make_blueprint(**settings)
    window = random_window(blueprint, 5)
    with open_explainer(blueprint, restore_seeded) as explainer:

        def answer(rows):
            feeds = {explainer._lengths: [len(rows)]}
            if window.faces is not None:
                feeds[explainer._faces] = window.faces[rows]
            if window.audio is not None:
                feeds[explainer._audio] = window.audio[rows]
            return explainer._session.run(explainer._logits, feeds)[0]

        found = explainer.explain_frames(window)
        whole = answer(range(5))
        without = [answer([row for row in range(5) if row != frame]) for frame in range(5)]
        alone = explainer.explain_frames(Window(*(part if part is None else part[:1] for part in window)))
    assert found.method == alone.method == LEFT_OUT
    np.testing.assert_allclose(found.logits, whole, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(found.values, whole - np.array(without), rtol=1e-3, atol=1e-5)
    np.testing.assert_array_equal(alone.values, alone.logits[np.newaxis])


def test_planted_frame_is_the_one_that_contributes():
    """One frame of five is red. Without it nothing is left, without another frame the mean is one over a frame less."""
    faces = np.full((5, SIZE, SIZE, 3), 90, np.uint8)
    faces[3, :32, :32] = 220, 30, 30
    blueprint = make_blueprint(stage='temporal', rnn_cell='rnn', width=0.02)
    with open_explainer(blueprint, restore_red_seeker) as explainer:
        found = explainer.explain_frames(Window(faces))
        peaks = explainer.show_places(Window(faces), RED_CLASS).peaks
    expected = np.full(5, 1 / 5 - 1 / 4)
    expected[3] = 1 / 5
    redness = found.logits[RED_CLASS] * 5
    assert redness > 0.5
    np.testing.assert_allclose(found.values[:, RED_CLASS], redness * expected, rtol=1e-5)
    np.testing.assert_allclose(found.values[:, COLD_CLASS], -redness * expected, rtol=1e-5)
    assert not found.values[:, BLIND_CLASS].any()
    assert peaks.argmax() == 3
    assert np.count_nonzero(peaks) == 1


def test_deciding_frames_are_apart():
    frames = np.array([1, 2, 3, 30, 40, 90])
    logits = np.array([0.0, 9.0, 8.0, 7.0, 9.0, -1.0])
    assert deciding_frames(frames, logits).tolist() == [1, 4, 5]  # of 9.0 the earlier one first, then a second away
    assert deciding_frames(frames, logits, most=1).tolist() == [1]
    assert deciding_frames(frames, logits, apart_s=0).tolist() == [1, 4, 2, 3, 0, 5]
    assert deciding_frames(frames[:0], logits[:0]).tolist() == []
