# SPDX-License-Identifier: Apache-2.0
"""Networks for other programs: exported answers equal those of the session, of evaluate.py and of the starter set."""

import importlib.util
import json
import os
import resource
import shutil
import subprocess
import sys

import cv2
import numpy as np
import pytest
from conftest import tiny_config
from scipy.special import softmax

from fer.data import images as image_tensors
from fer.data.audio import SCALINGS, Scaling, scale_features
from fer.data.pipeline import Batch
from fer.data.windows import pad_index
from fer.emotions import EMOTIONS
from fer.errors import InputError
from fer.export import export as exporting
from fer.export import onnx_file
from fer.export.export import export
from fer.export.graph import build_served, has_windows, old_loops, resize
from fer.export.onnx_file import run_onnx, write_onnx
from fer.export.request import ExportRequest
from fer.export.saved_model import run_saved_model, write_saved_model
from fer.nets import NETWORKS
from fer.results.calibration import fit_temperature
from fer.results.results_file import read_results, take_rows, write_results
from fer.runs.config import TrainConfig
from fer.starter.listing import locate
from fer.starter.network import open_network as open_starter_network
from fer.starter.network import restored, unpack
from fer.tf1 import tf
from fer.training.aggregation import window_logits
from fer.training.evaluate import evaluate
from fer.training.requests import EvaluationRequest
from fer.training.schedule import Phase
from fer.training.stages import Blueprint, build_frames, get_stage
from fer.training.train import train

_MISSING = [name for name in ('tf2onnx', 'onnx', 'onnxruntime') if importlib.util.find_spec(name) is None]
needs_onnx = pytest.mark.skipif(bool(_MISSING), reason=f'{", ".join(_MISSING)} not installed (the extra `export`)')
# One process, because the tests share runs, and tf2onnx takes seconds to import.
pytestmark = pytest.mark.xdist_group(__name__)

TOLERANCE = 1e-4
STEPS = 5  # frames of the padded windows
WINDOWED = {
    'finetune_padded_median': ('finetune', 'vgg_face', {'classify': 'padded', 'aggregate': 'median', 'seq_len': 7}),
    'lstm_both_ways_gate': (
        *('audio', 'audio_gru'),
        {'rnn_cell': 'lstm', 'rnn_layers': 1, 'bidirectional': True, 'attention': True},
    ),
}
MORE_WINDOWED = {
    'lstm_on_faces': ('temporal', 'vgg_face', {'rnn_cell': 'lstm', 'bidirectional': True, 'attention': True}),
    'audio_gru_wrapper': (
        *('audio', 'audio_gru'),
        {'attention': True, 'attention_kind': 'wrapper', 'attention_length': 3, 'bidirectional': True},
    ),
    'early_fusion_4': ('early_fusion', 'vgg_face', {'fusion_option': 4}),
    'finetune_se_vgg': ('finetune', 'vgg_face', {'se_vgg': True, 'classify': 'frame'}),
    'finetune_median': ('finetune', 'resnet18', {'aggregate': 'median'}),
    'gru': ('temporal', 'resnet18', {}),
    'rnn_stacks_softmax': (
        *('temporal', 'vgg_face'),
        {'rnn_cell': 'rnn', 'bidirectional': True, 'bidirectional_kind': 'stacks'}
        | {'attention': True, 'attention_kind': 'softmax'},
    ),
    'audio_lstm_wrapper': (
        *('audio', 'audio_gru'),
        {'rnn_cell': 'lstm', 'attention': True, 'attention_kind': 'wrapper', 'attention_length': 3},
    ),
    'audio_gru': ('audio', 'audio_gru', {}),
    **{f'early_fusion_{option}': ('early_fusion', 'vgg_face', {'fusion_option': option}) for option in (1, 2, 3)},
}


def make_blueprint(stage, model, audio_scaling='zscore', **changes):
    """Returns what a narrow network is built from, its audio far from zero."""
    row = get_stage(stage, model)
    settings = {
        'width': 0.05,
        'image_size': 40,
        'seq_len': STEPS,
        'rnn_units': 5,
        'rnn_layers': 2,
        'hidden_units': (6,),
    }
    settings |= {'stage': stage, 'model': model, 'global_pool': model != 'vgg_face', 'run_dir': 'run'}
    settings |= {'initialiser': 'fan_out'}
    config = TrainConfig(**settings | {'train_manifest': ('train.txt',)} | changes)
    scaling = None
    if row.contents.audio_size:
        rng, size = np.random.default_rng(0), 11 if model == 'ffn' else row.contents.audio_size
        mean, scale = rng.normal(1e5, 1, size), rng.uniform(0.5, 2, size)
        scaling = Scaling(audio_scaling, [f'feature_{index}' for index in range(size)], mean, mean, scale)
    audio_run = None
    if stage == 'early_fusion' and config.fusion_option > 1:
        audio_run = TrainConfig(stage='audio', model='audio_gru', rnn_units=4, train_manifest=('a.txt',), run_dir='a')
    convention = NETWORKS[model].convention if row.contents.images else None
    return Blueprint(config, row, convention, scaling, audio_run)


def make_feeds(blueprint, items, seed, size=40):
    """Returns random inputs of an exported network, its windows of different lengths."""
    rng, feeds = np.random.default_rng(seed), {}
    shape = (items, STEPS) if has_windows(blueprint) else (items,)
    if blueprint.convention:
        feeds['images'] = rng.integers(0, 256, (*shape, size, size, 3), np.uint8)
    if scaling := blueprint.scaling:
        values = rng.normal(scaling.offset, scaling.scale, (*shape, len(scaling.names))).astype(np.float32)
        values.flat[:: 2 * len(scaling.names) + 1] = np.nan
        feeds['audio'] = values
    if has_windows(blueprint):
        feeds['lengths'] = rng.permutation(np.resize(np.arange(1, STEPS + 1, dtype=np.int32), items))
    return feeds


class Oracle:
    """A network in a session, fed with frames that NumPy packs and scales, as the pipeline of a run does."""

    def __init__(self, blueprint):
        self.blueprint, config = blueprint, blueprint.config
        size = config.image_size
        self.images = tf.placeholder(tf.uint8, [None, None, None, 3]) if blueprint.convention else None
        self.audio = tf.placeholder(tf.float32, [None, len(blueprint.scaling.names)]) if blueprint.scaling else None
        self.lengths = tf.placeholder(tf.int32, [None])
        padding = pad_index(self.lengths, config.seq_len if has_windows(blueprint) else 1)
        pixels = None
        if self.images is not None:
            pixels = image_tensors.scale_pixels(image_tensors.resize(self.images, size))
        batch = Batch(pixels, self.audio, self.lengths, padding, self.lengths, self.lengths)
        frames = build_frames(blueprint, batch, is_training=False, phase=Phase.ALL)
        self.logits = window_logits(frames.logits, self.lengths, padding, config.classify, config.aggregate)

    def answer(self, session, feeds):
        lengths = feeds.get('lengths', np.ones(len(next(iter(feeds.values()))), np.int32))
        if has_windows(self.blueprint):
            real = np.arange(STEPS) < lengths[:, np.newaxis]
            feeds = {name: values[real] for name, values in feeds.items() if name != 'lengths'}
        given = {self.lengths: lengths}
        if self.images is not None:
            given[self.images] = feeds['images']
        if self.audio is not None:
            values = np.where(np.isfinite(feeds['audio']), feeds['audio'], np.nan)
            given[self.audio] = scale_features(values, self.blueprint.scaling)
        return session.run(self.logits, given)


def shake(session, seed=0):
    """Gives every variable other values than a fresh network has, variances above zero."""
    rng = np.random.default_rng(seed)
    for variable in tf.global_variables():
        value = session.run(variable)
        variable.load(value * rng.uniform(0.8, 1.2, value.shape) + rng.uniform(0, 0.05, value.shape), session)


def assert_close(found, expected):
    assert found.shape == expected.shape
    assert np.max(np.abs(found - expected) / np.maximum(1, np.abs(expected))) < TOLERANCE


def assert_parity(blueprint, folder, formats=('onnx', 'saved_model'), batches=(1, 8), other_size=53):
    """Asserts that exported files answer as the session does, for each batch and for images of another size."""
    with tf.Graph().as_default(), old_loops(), tf.Session() as session:
        tf.set_random_seed(1)
        served = build_served(blueprint, 1.7)
        oracle = Oracle(blueprint)
        session.run(tf.global_variables_initializer())
        if blueprint.config.width < 1:  # in a wide network, sums of shifted weights overflow
            shake(session)
        feeds = [make_feeds(blueprint, items, seed=items) for items in batches]
        if blueprint.convention and other_size:
            feeds.append(make_feeds(blueprint, 2, seed=3, size=other_size))
        expected = [oracle.answer(session, values) for values in feeds]
        if 'onnx' in formats:
            write_onnx(folder / 'model.onnx', session, served, {})
        if 'saved_model' in formats:
            write_saved_model(folder / 'saved_model', session, served, {}, folder)
    runners = {'onnx': (run_onnx, folder / 'model.onnx'), 'saved_model': (run_saved_model, folder / 'saved_model')}
    assert np.ptp(expected[1], axis=0).max() > 20 * TOLERANCE  # items differ, so that a mixture of them is found
    for runner, path in (runners[name] for name in formats):
        for values, logits in zip(feeds, expected, strict=True):
            found = runner(path, values)
            assert_close(found['logits'], logits)
            assert_close(found['probabilities'], softmax(logits / 1.7, axis=1))
            assert ('frame_logits' in found) == has_windows(blueprint)


@needs_onnx
def test_exported_stills_answer_as_the_session(tmp_path):
    assert_parity(make_blueprint('pretrain', 'vgg_face'), tmp_path)


@needs_onnx
@pytest.mark.slow
@pytest.mark.parametrize('model', sorted(set(NETWORKS) - {'vgg_face'}))
def test_every_exported_network_answers_as_the_session(model, tmp_path, shallow_networks):
    assert_parity(make_blueprint('pretrain', model), tmp_path)


@needs_onnx
@pytest.mark.slow
@pytest.mark.parametrize('model', ['vgg_face', 'resnet50'])
def test_networks_of_full_width_answer_as_the_session(model, tmp_path):
    assert_parity(make_blueprint('pretrain', model, width=1.0, image_size=112), tmp_path, other_size=96)


@needs_onnx
@pytest.mark.parametrize('name', sorted(WINDOWED))
def test_exported_windows_answer_as_the_session(name, tmp_path):
    stage, model, changes = WINDOWED[name]
    assert_parity(make_blueprint(stage, model, **changes), tmp_path)


@needs_onnx
@pytest.mark.slow
@pytest.mark.parametrize('name', sorted(MORE_WINDOWED))
def test_every_kind_of_window_answers_as_the_session(name, tmp_path):
    stage, model, changes = MORE_WINDOWED[name]
    assert_parity(make_blueprint(stage, model, **changes), tmp_path)


@needs_onnx
@pytest.mark.parametrize('kind', SCALINGS)
def test_audio_is_scaled_inside_the_network(kind, tmp_path):
    assert_parity(make_blueprint('audio', 'ffn', kind, hidden_units=(9, 6), batch_norm=True), tmp_path)


@pytest.mark.parametrize('shape', [(48, 48), (112, 112), (7, 9), (130, 64)])
def test_images_are_resized_to_the_bit(shape):
    pixels = np.random.default_rng(0).integers(0, 256, (2, *shape, 3), np.uint8)
    with tf.Graph().as_default(), tf.Session() as session:
        images = tf.placeholder(tf.uint8, [None, None, None, 3])
        found, expected = session.run([resize(images, 48), image_tensors.resize(images, 48)], {images: pixels})
    np.testing.assert_array_equal(found, expected)


@needs_onnx
def test_padding_changes_nothing_and_wrong_lengths_are_nan(tmp_path):
    blueprint = make_blueprint('audio', 'audio_gru', rnn_layers=1)
    with tf.Graph().as_default(), old_loops(), tf.Session() as session:
        served = build_served(blueprint, 1.0)
        session.run(tf.global_variables_initializer())
        write_onnx(tmp_path / 'model.onnx', session, served, {})
    feeds = make_feeds(blueprint, 3, seed=0) | {'lengths': np.array([2, 5, 4], np.int32)}
    found = run_onnx(tmp_path / 'model.onnx', feeds)
    assert np.isfinite(found['logits']).all()
    # The mean over the real frames, which --classify=exact takes. Past the end, the last frame repeats.
    np.testing.assert_allclose(found['frame_logits'][0, :2].mean(axis=0), found['logits'][0], atol=1e-6)
    np.testing.assert_array_equal(found['frame_logits'][0, 2:], np.repeat(found['frame_logits'][:1, 1], 3, axis=0))
    changed = feeds['audio'].copy()
    changed[0, 2:], changed[2, 4:] = np.nan, 1e30
    again = run_onnx(tmp_path / 'model.onnx', feeds | {'audio': changed})
    np.testing.assert_array_equal(again['logits'], found['logits'])
    wrong = run_onnx(tmp_path / 'model.onnx', feeds | {'lengths': np.array([0, 5, 6], np.int32)})
    assert np.isnan(wrong['logits'][[0, 2]]).all()
    assert np.isnan(wrong['probabilities'][[0, 2]]).all()
    assert np.isnan(wrong['frame_logits'][[0, 2]]).all()
    np.testing.assert_allclose(wrong['logits'][1], found['logits'][1], atol=1e-6)


@pytest.fixture(scope='module')
def face(tmp_path_factory):
    """Exports starter:face once, as ONNX."""
    if _MISSING:
        pytest.skip(f'{", ".join(_MISSING)} not installed (the extra `export`)')
    folder = tmp_path_factory.mktemp('export') / 'face'
    lines = export(ExportRequest(run_dir='starter:face', output=str(folder)))
    return folder, lines


def run_example(folder, *items):
    """Runs example.py as somebody without fer does. Returns the probabilities of each item."""
    program = folder / 'example.py'
    code = f'import runpy, sys; sys.argv[:] = sys.argv[1:]; runpy.run_path({str(program)!r}, run_name="__main__"); '
    code += 'print(sorted({"fer", "tensorflow"} & {*sys.modules}))'
    environment = {name: value for name, value in os.environ.items() if name != 'PYTHONPATH'}
    words = [sys.executable, '-c', code, program, *items]
    done = subprocess.run([*map(str, words)], capture_output=True, text=True, env=environment, cwd=folder)
    assert done.returncode == 0, done.stderr[-2000:]
    *lines, imported = done.stdout.splitlines()
    assert imported == ("['tensorflow']" if (folder / 'saved_model').exists() else '[]')
    return [[float(word.rpartition('=')[2]) for word in line.split(' ')[2:]] for line in lines]


def test_example_answers_as_the_starter_network(face, tmp_path):
    folder, _ = face
    rng, paths = np.random.default_rng(5), []
    for index, size in enumerate((48, 112)):
        paths.append(tmp_path / f'{index}.png')
        cv2.imwrite(str(paths[-1]), rng.integers(0, 256, (size, size, 3), np.uint8))
    blueprint, weights = open_starter_network(locate('face'))
    with restored(blueprint, weights) as (session, inputs, logits):
        pixels = [cv2.imread(str(path))[np.newaxis, :, :, ::-1] for path in paths]
        resized = [session.run(image_tensors.scale_pixels(image_tensors.resize(p, 48))) for p in pixels]
        expected = np.concatenate([session.run(logits, {inputs: values}) for values in resized])
    temperature = json.loads((locate('face') / 'card.json').read_text())['calibration']['temperature']
    np.testing.assert_allclose(run_example(folder, *paths), softmax(expected / temperature, axis=1), atol=6e-4)


def test_card_and_file_carry_the_facts(face):
    import onnxruntime

    folder, lines = face
    card, starter = (json.loads((path / 'card.json').read_text()) for path in (folder, locate('face')))
    facts = onnxruntime.InferenceSession(folder / 'model.onnx').get_modelmeta().custom_metadata_map
    assert json.loads(facts['classes']) == card['classes'] == list(EMOTIONS)
    inside = json.loads(facts['card'])
    assert {name: card[name] for name in inside} == inside
    images = card['inputs']['images']
    assert (images['grey'], images['order'], images['resized_to']) == (True, 'RGB', [48, 48])
    assert (images['mean'], images['std']) == ([127.5] * 3, [127.5] * 3)
    assert card['calibration']['temperature'] == starter['calibration']['temperature']
    assert 'fitted on validation (card of starter:face)' in lines[1]
    assert card['starter']['not_for'] == starter['not_for']
    assert 'non-commercial research' in (folder / 'README.md').read_text()
    assert (folder / 'LICENSE').read_bytes() == (locate('face').parent / 'LICENSE').read_bytes()


def export_anything(tmp_path, **changes):
    settings = {'run_dir': 'starter:voice', 'output': str(tmp_path / 'out'), 'format': 'saved_model'}
    return export(ExportRequest(**settings | changes))


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        ({'run_dir': 'none'}, 'none/flags.txt'),
        ({'run_dir': 'starter:ear'}, "--run_dir=starter:ear: the starter set has no 'ear'"),
        ({'format': 'tflite'}, '--format=tflite: expected one of onnx, saved_model'),
        ({'checkpoint': 'best'}, '--checkpoint=best: a network of the starter set has none'),
        ({'calibrate_on': 'none.txt'}, 'none.txt: No such file or directory; expected a results file'),
    ],
)
def test_bad_requests_are_one_line(tmp_path, changes, message):
    with pytest.raises(InputError) as error:
        export_anything(tmp_path, **changes)
    assert message in str(error.value)
    assert list(tmp_path.iterdir()) == []


def test_used_output_is_an_error(tmp_path):
    (tmp_path / 'out').mkdir()
    (tmp_path / 'out/mine.txt').touch()
    with pytest.raises(InputError, match='already used; choose a new folder'):
        export_anything(tmp_path)
    (tmp_path / 'file').touch()
    with pytest.raises(InputError, match='already used'):
        export_anything(tmp_path, output=str(tmp_path / 'file'))


def test_missing_packages_are_named(tmp_path, monkeypatch):
    monkeypatch.setattr(onnx_file, '_PACKAGES', ('json', 'no_such_converter', 'no_such_runtime'))
    with pytest.raises(InputError) as error:
        export_anything(tmp_path, format='onnx')
    missing = '--format=onnx: no_such_converter, no_such_runtime not installed'
    assert str(error.value) == f"{missing}; run pip install -e '.[export]' in the checkout"


def test_other_answers_are_refused(tmp_path, monkeypatch):
    def run_badly(path, feeds):
        return {name: value + 2e-4 for name, value in run_saved_model(path, feeds).items()}

    monkeypatch.setattr(exporting, 'run_saved_model', run_badly)
    with pytest.raises(InputError, match=r'differ from those of the run by 2.0e-04'):
        export_anything(tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.fixture(scope='module')
def fused(painted_sound, tmp_path_factory, quick_runs):
    """Trains and evaluates a run on faces and audio. Returns its folder and its answers, without fallbacks."""
    folder = tmp_path_factory.mktemp('fused') / 'run'
    config = tiny_config(painted_sound, 'early_fusion', run_dir=folder, fusion_option=1, train_epochs=(1,))
    train(config, resume=False, overwrite=False)
    evaluate(EvaluationRequest(run_dir=str(folder), manifest=config.val_manifest[0]))
    results = read_results(folder / 'results_val.txt')
    return folder, take_rows(results, [row for row, reason in enumerate(results.fallback) if reason == '-'])


def run_example_on_videos(folder, data, results):
    """Returns the probabilities of each video, float [V, 7], from the folders of its faces and of its clips."""
    pairs = [(data / 'faces' / video_id, data / 'clips' / video_id) for video_id in results.video_ids]
    return run_example(folder, *(path for pair in pairs for path in pair))


@needs_onnx
def test_exported_run_answers_as_its_results_file(fused, painted_sound, tmp_path):
    run_dir, results = fused
    results_file = run_dir / 'results_val.txt'
    lines = export(ExportRequest(run_dir=str(run_dir), output=str(tmp_path / 'out'), calibrate_on=str(results_file)))
    temperature = fit_temperature(results.logits, results.labels)
    assert lines[1] == f'temperature: {temperature:.4f}, fitted on results_val.txt ({len(results.labels)} items)'
    expected = softmax(results.logits / temperature, axis=1)
    np.testing.assert_allclose(run_example_on_videos(tmp_path / 'out', painted_sound, results), expected, atol=6e-4)
    card = json.loads((tmp_path / 'out/card.json').read_text())
    metrics = json.loads((run_dir / 'metrics_val.json').read_text())
    assert card['scores'][0]['accuracy'] == metrics['accuracy']
    assert card['calibration']['results_sha256'] == metrics['results_sha256']
    assert card['windows'] == {'seq_len': 4, 'classify': 'exact', 'aggregate': 'mean', 'video_answer': 'frames'}
    assert card['network']['fusion_option'] == '1'
    assert str(run_dir.parent) not in json.dumps(card)  # folders of this machine
    assert (tmp_path / 'out/audio_scaling.txt').read_bytes() == (run_dir / 'audio_scaling.txt').read_bytes()


def test_saved_model_answers_in_plain_tensorflow(fused, painted_sound, tmp_path):
    run_dir, results = fused
    lines = export(ExportRequest(run_dir=str(run_dir), output=str(tmp_path / 'out'), format='saved_model'))
    assert lines[1] == 'temperature: 1, so probabilities are not calibrated; --calibrate_on=results_val.txt fits it'
    expected = softmax(results.logits, axis=1)
    np.testing.assert_allclose(run_example_on_videos(tmp_path / 'out', painted_sound, results), expected, atol=6e-4)
    metadata = json.loads((tmp_path / 'out/saved_model/assets.extra/metadata.json').read_text())
    assert json.loads(metadata['classes']) == list(EMOTIONS)


@pytest.fixture(scope='module')
def unpacked(tmp_path_factory):
    """Makes the run folder of starter:voice."""
    folder = tmp_path_factory.mktemp('unpacked') / 'voice'
    unpack(locate('voice'), folder)
    return folder


@needs_onnx
def test_unpacked_starter_network_keeps_card_and_terms(unpacked, tmp_path):
    export_anything(tmp_path, run_dir=str(unpacked), format='onnx')
    card, starter = (json.loads((folder / 'card.json').read_text()) for folder in (tmp_path / 'out', locate('voice')))
    assert card['calibration']['temperature'] == starter['calibration']['temperature'] != 1
    assert card['starter']['notice'] == starter['notice']
    assert (tmp_path / 'out/LICENSE').exists()
    blueprint, weights = open_starter_network(locate('voice'))
    feeds = make_feeds(blueprint, 8, seed=1)
    with restored(blueprint, weights) as (session, inputs, logits):
        expected = session.run(logits, {inputs: scale_features(feeds['audio'], blueprint.scaling)})
    assert_close(run_onnx(tmp_path / 'out/model.onnx', feeds)['logits'], expected)


def test_damaged_runs_are_one_line(unpacked, tmp_path):
    run_dir = tmp_path / 'run'
    shutil.copytree(unpacked, run_dir)
    (weights,) = run_dir.glob('*.data-00000-of-00001')
    content = weights.read_bytes()
    weights.write_bytes(content[: len(content) // 2])
    with pytest.raises(InputError, match='cannot be restored into this network'):
        export_anything(tmp_path, run_dir=str(run_dir))
    weights.unlink()
    with pytest.raises(InputError, match='no last checkpoint'):
        export_anything(tmp_path, run_dir=str(run_dir))
    weights.write_bytes(content)
    (run_dir / 'card.json').write_text('{}')
    with pytest.raises(InputError, match=r"card\.json: KeyError: 'recipe'; unpack the network"):
        export_anything(tmp_path, run_dir=str(run_dir))
    assert [path.name for path in tmp_path.iterdir()] == ['run']


def test_results_without_labels_are_no_calibration(fused, tmp_path):
    _, results = fused
    path = tmp_path / 'results_test.txt'
    write_results(path, results._replace(labels=np.full(len(results.labels), -1)))
    with pytest.raises(InputError, match='no item has a label and an answer of the network'):
        export_anything(tmp_path, calibrate_on=str(path))


@pytest.mark.parametrize('form', ['saved_model', pytest.param('onnx', marks=needs_onnx)])
def test_full_disk_leaves_nothing(form, tmp_path):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))  # bytes of a file, less than the network has
    try:
        with pytest.raises(OSError, match='File too large') as error:
            export_anything(tmp_path, format=form)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert str(error.value.filename).startswith(str(tmp_path / 'out'))
    assert list(tmp_path.iterdir()) == []
