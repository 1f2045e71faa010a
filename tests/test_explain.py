# SPDX-License-Identifier: Apache-2.0
"""Explanations of an answer, against cases whose answer is known and against formulas of their own."""

import csv
import dataclasses
import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from conftest import tiny_config
from nets import load, load_seeded

from fer.data.audio import Scaling, read_scaling
from fer.data.images import decode_content
from fer.emotions import EMOTIONS
from fer.nets import get_network
from fer.nets.weights.starter import SET
from fer.predict.explain.choice import deciding_frames
from fer.predict.explain.explainer import LEFT_OUT, SHARE, Window, open_explainer
from fer.predict.explain.feature_groups import OTHER, group_features
from fer.predict.explain.fields import Grid, find_grid
from fer.predict.explain.people import Overlay, Person, decode_faces, explain_audio, explain_person
from fer.predict.explain.write import FRAMES_FILE, GROUPS_FILE, INDEX_FILE, draw_overlay, write_explanations
from fer.runs.names import SCALING_FILE
from fer.tf1 import tf
from fer.training.restore import source_convention
from fer.training.session import open_session
from fer.training.stages import Blueprint, get_stage

pytestmark = [pytest.mark.xdist_group(__name__), pytest.mark.usefixtures('quick_runs', 'shallow_networks')]

SIZE = 48
WINDOWS = {
    'temporal': {'stage': 'temporal', 'bidirectional': True, 'attention': True},
    'early fusion': {'stage': 'early_fusion', 'fusion_option': 2},
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


@pytest.mark.parametrize('name', ['resnet18', 'densenet121'])
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
        {'stage': 'finetune', 'aggregate': 'median', 'classify': 'padded', 'width': 0.02},
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


def test_emo_large_falls_into_groups():
    """It has 39 functionals of 56 descriptors and of their first and second deltas."""
    names = read_scaling(SET / 'voice' / SCALING_FILE).names
    descriptors = {'pitch': 2, 'voice quality': 1, 'MFCC': 13, 'spectral bands': 26 + 4, 'energy': 2}
    groups = group_features(names)
    assert {group: len(columns) for group, columns in groups.items()} == {
        group: number * 117 for group, number in {**descriptors, 'spectral shape': 8}.items()
    }
    assert sorted(np.concatenate(list(groups.values()))) == list(range(6552))


@pytest.mark.parametrize(
    ('name', 'group'),
    [
        ('F0final_sma_ff0_segLenStddev', 'pitch'),
        ('F1amplitudeLogRelF0_sma3nz_stddevNorm', 'formants'),
        ('MeanUnvoicedSegmentLength', 'rhythm'),
        ('logRelF0-H1-H2_sma3nz_amean', 'voice quality'),
        ('pcm_fftMag_mfcc_sma[3]_rqmean', 'MFCC'),
        ('audSpec_Rfilt_sma[25]_amean', 'spectral bands'),
        ('audspecRasta_lengthL1norm_sma_amean', 'energy'),
        ('slopeUV0-500_sma3nz_amean', 'spectral shape'),
        ('feature_7', OTHER),
    ],
)
def test_features_of_other_sets_have_groups(name, group):
    assert list(group_features([name])) == [group]


AUDIO_NAMES = ['F0_sma_max', 'mfcc_sma[0]_max', 'mfcc_sma[1]_max', 'jitterLocal_sma_amean', 'pcm_zcr_sma_max']
PLANTED_GROUP, PLANTED_COLUMNS = 'MFCC', [1, 2]


def make_ffn(**settings):
    """Returns the blueprint of a FFN whose training mean is not 0 as the network gets it."""
    numbers = np.arange(1, 6, dtype=np.float64)
    scaling = Scaling('minmax', AUDIO_NAMES, numbers, numbers / 2, numbers * 4)
    return make_blueprint(scaling, stage='audio', model='ffn', **settings)


def test_planted_group_has_the_whole_contribution():
    """A network that reads two of five features, which are one group."""

    def restore(session):
        restore_seeded(session)
        (weights,) = (v for v in tf.global_variables() if v.op.name == 'ffn/hidden_1/weights')
        value = session.run(weights)
        value[[column for column in range(5) if column not in PLANTED_COLUMNS]] = 0
        load(session, {weights: value})

    values = np.array([9, -8, 7, -6, 5], np.float32)
    with open_explainer(make_ffn(), restore) as explainer:
        found = explain_audio(explainer, 'voice', values, 0, 4, emotion=3).groups
    assert found.names == ['pitch', 'voice quality', 'MFCC', 'energy']
    assert found.sizes == [1, 1, 2, 1]
    planted = found.names.index(PLANTED_GROUP)
    assert np.abs(found.values[planted]).min() > 0.01
    assert not np.delete(found.values, planted, axis=0).any()
    np.testing.assert_allclose(found.baseline + found.values[planted], found.logits, atol=1e-6)
    np.testing.assert_allclose(found.interaction, 0, atol=1e-6)


def test_groups_equal_a_forward_pass_by_hand():
    values = np.array([9, -8, 7, -6, 5], np.float32)
    with open_explainer(make_ffn(), restore_seeded) as explainer:
        found = explain_audio(explainer, 'voice', values, 0, 4, emotion=3).groups
        names = [f'ffn/{layer}/{kind}' for layer in ('hidden_1', 'logits') for kind in ('weights', 'biases')]
        hidden, hidden_biases, out, out_biases = (read_variable(explainer, name) for name in names)

    def answer(features):
        scale = np.arange(1, 6)
        return np.maximum((features - scale / 2) / (scale * 4) @ hidden + hidden_biases, 0) @ out + out_biases

    mean = np.arange(1, 6)
    without = [answer(np.where(np.isin(range(5), columns), mean, values)) for columns in ([0], [3], [1, 2], [4])]
    np.testing.assert_allclose(found.logits, answer(values), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(found.baseline, answer(mean), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(found.values, answer(values) - np.array(without), rtol=1e-4, atol=1e-6)
    assert np.abs(found.interaction).max() > 1e-3  # the ReLUs see to it


def test_faces_are_decoded_as_in_training():
    rng = np.random.default_rng(5)
    noise = cv2.GaussianBlur(rng.integers(0, 256, (40, 56, 3)).astype(np.uint8), (5, 5), 0)
    jpeg = cv2.imencode('.jpg', noise)[1].tobytes()
    with tf.Graph().as_default(), tf.Session() as session:
        expected = session.run(decode_content(jpeg))
    np.testing.assert_array_equal(decode_faces([jpeg])[0], expected)


def make_person(number, faces, logits, audio=None, emotion=RED_CLASS, step=13):
    """Returns a person who is seen in every 13th frame."""
    jpegs = [cv2.imencode('.png', face[..., ::-1])[1].tobytes() for face in faces]
    return Person(
        number,
        emotion,
        np.arange(len(faces)) * step + 1,
        logits,
        lambda positions: [jpegs[at] for at in positions],
        None if audio is None else lambda positions: audio[positions],
    )


def read_table(path):
    with open(path, newline='') as file:
        return list(csv.DictReader(file))


def test_explanation_of_stills_and_audio_is_written(tmp_path):
    """The right half of each picture has its colour where the red patch of the face is."""
    places = [(0, 0), (16, 16), (0, 32), (16, 0), (0, 16), (32, 0), (0, 0), (16, 16)]
    faces = paint_patches(places)
    rng = np.random.default_rng(6)
    logits = rng.normal(size=(8, 7)).astype(np.float32)
    logits[:, RED_CLASS] = [7, 9, 1, 8, 2, 3, 0, 4]  # frames 14, 40, 1 and 92 are highest and more than a second apart
    blueprint = make_blueprint(stage='pretrain', model='vgg_face', global_pool=True, vgg_pooling='same')
    with open_explainer(blueprint, restore_red_seeker) as explainer:
        people = [explain_person(explainer, 'face', make_person(number, faces, logits)) for number in (1, 2)]
        people.append(explain_person(explainer, 'other', make_person(1, faces, logits)))
    with open_explainer(make_ffn(), restore_seeded) as explainer:
        audio = explain_audio(explainer, 'voice', np.arange(5, dtype=np.float32), 2, 6, emotion=3)
    folder = write_explanations(tmp_path, people, [audio])
    assert folder == tmp_path / 'explain'
    index = json.loads((folder / INDEX_FILE).read_text())
    first, second, other = index['people']
    assert [picture['frame'] for picture in first['pictures']] == [14, 40, 92, 66]
    assert (first['emotion'], first['layer']) == (EMOTIONS[RED_CLASS], 'vgg_face/conv5/conv5_3/Relu')
    assert [p['file'] for p in second['pictures']] == [p['file'].replace('1.jpg', '2.jpg') for p in first['pictures']]
    assert other['pictures'][0]['file'] == 'frame_00014_person_1_member_2.jpg'
    assert first['windows'][0]['logit'] == pytest.approx(logits[:, RED_CLASS].mean(), abs=1e-5)
    for picture in first['pictures']:
        check_picture(folder / picture['file'], places[(picture['frame'] - 1) // 13])
    rows = read_table(folder / FRAMES_FILE)
    own = [row for row in rows if (row['member'], row['person']) == ('face', '2')]
    assert [(row['frame'], row['time_s']) for row in own[:2]] == [('1', '0.00'), ('14', '0.52')]
    for index_, name in enumerate(EMOTIONS):
        assert sum(float(row[f'c_{name}']) for row in own) == pytest.approx(logits[:, index_].mean(), abs=1e-5)
    table = read_table(folder / GROUPS_FILE)
    assert [row['group'] for row in table] == ['baseline', *audio.groups.names, 'interaction', 'total']
    assert {(row['person'], row['begin_s'], row['end_s']) for row in table} == {('', '2.00', '6.00')}
    for name in EMOTIONS:
        *parts, total = (float(row[f'c_{name}']) for row in table)
        assert sum(parts) == pytest.approx(total, abs=1e-5)


def check_picture(path, place):
    """Checks that the face is in the left half, and that the right half is changed most where the red patch is."""
    picture = cv2.imread(str(path)).astype(int)
    assert picture.shape == (244, 448, 3)
    left, right = picture[:224, :224], picture[:224, 224:]
    changed = cv2.resize(np.abs(left - right).sum(2).astype(np.float32), (3, 3), interpolation=cv2.INTER_AREA)
    assert np.unravel_index(changed.argmax(), (3, 3)) == (place[0] // 16, place[1] // 16)
    assert picture[224:].max() > 200  # a caption


def test_explanation_of_windows_reads_deciding_ones_only():
    """The deciding frame lies in the last of three windows. Frame 2 is less than a second before it."""
    scaling = Scaling('zscore', [f'mfcc_sma[{n}]' for n in range(112)], *np.ones((3, 112)))
    blueprint = make_blueprint(scaling, stage='early_fusion', fusion_option=2, model='vgg_face', width=0.02)
    rng = np.random.default_rng(8)
    faces = rng.integers(0, 256, (13, SIZE, SIZE, 3)).astype(np.uint8)
    audio = rng.normal(size=(13, 112)).astype(np.float32)
    logits = np.zeros((13, 7), np.float32)
    logits[:, 2] = [1, 5, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 6]
    person = make_person(1, faces, logits, audio, emotion=2, step=1)
    read = []
    person = person._replace(
        read_faces=lambda positions, inner=person.read_faces: read.append(positions) or inner(positions)
    )
    with open_explainer(blueprint, restore_seeded) as explainer:
        found = explain_person(explainer, 'both', person)
        heats = explainer.show_places(Window(faces[10:], audio[10:] - 1), 2)
    assert [window.frames.tolist() for window in found.windows] == [[11, 12, 13]]
    assert read == [[10, 11, 12]]
    (overlay,) = found.overlays
    assert (overlay.frame, overlay.logit) == (13, 6)
    np.testing.assert_array_equal(overlay.face, faces[12])
    np.testing.assert_allclose(overlay.heat, heats.maps[2], atol=1e-5)
    assert found.windows[0].groups.names == ['MFCC']
    assert found.windows[0].contributions.method == LEFT_OUT


@pytest.mark.parametrize(
    ('name', 'layer', 'size'),
    [('vgg_face', 'conv4/conv4_1', 97), ('resnet18', 'block2/unit_1', 128), ('densenet121', 'transition1', 128)],
)
def test_cells_lie_in_the_middle_of_what_they_read(name, layer, size):
    """The pixels that a cell is computed from are those on which its gradient depends."""
    with tf.Graph().as_default(), open_session() as session:
        images = tf.placeholder(tf.float32, [None, size, size, 3])
        _, end_points = get_network(name).build(images, num_classes=0, width=0.05)
        cells = end_points[layer]
        middle = int(cells.shape[1]) // 2
        (slope,) = tf.gradients(tf.reduce_sum(cells[:, middle, middle]), images)
        load_seeded(session, name)
        slopes = session.run(slope, {images: np.random.default_rng(9).uniform(-1, 1, (4, size, size, 3))})
        grid = find_grid(cells, images)
    rows = np.nonzero(slopes.any((0, 2, 3)))[0]
    assert 0 < rows[0] < rows[-1] < size - 1
    assert (grid.first + grid.step * middle) * size - 0.5 == pytest.approx((rows[0] + rows[-1]) / 2)


def test_cells_are_drawn_in_their_places():
    """The first cell is at the first quarter of the side, and each further one an eighth after it."""
    heat = np.zeros((4, 4), np.float32)
    heat[1, 2] = 1
    grey = np.full((10, 10, 3), 128, np.uint8)
    picture = draw_overlay(Overlay(1, grey, heat, Grid(0.25, 0.125), 1.0, 1.0), 'Happy').astype(int)
    changed = np.abs(picture[:224, 224:] - picture[:224, :224]).sum(2)
    rows, columns = np.nonzero(changed > 0.9 * changed.max())
    np.testing.assert_allclose([rows.mean() + 0.5, columns.mean() + 0.5], [224 * 0.375, 224 * 0.5], atol=0.6)
    assert changed[:50].max() == 0
