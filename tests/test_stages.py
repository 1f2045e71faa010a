# SPDX-License-Identifier: Apache-2.0
"""The graphs of every stage: training and evaluation agree, and a phase moves only the layers that it trains."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from conftest import tiny_config

from fer.data.audio import FUNCTIONALS
from fer.data.pipeline import Batch
from fer.data.split import Split
from fer.data.windows import pad_index
from fer.nets import NETWORKS, get_network
from fer.nets.layers import dropout
from fer.runs.config import TrainConfig
from fer.tf1 import tf
from fer.training.graph import build_graph, build_step
from fer.training.optimizers import parameter_groups
from fer.training.restore import source_convention
from fer.training.run_inputs import apply_audio_scaling, fit_audio_scaling, load_data, open_origins
from fer.training.schedule import Phase
from fer.training.session import open_session
from fer.training.stages import Blueprint, get_stage, make_reading
from fer.training.tower import build_tower

# All tests of this file run in one process, because each process would build its graphs.
pytestmark = [pytest.mark.xdist_group(__name__), pytest.mark.usefixtures('quick_runs', 'shallow_networks')]

STAGES = {
    'pretrain': {'stage': 'pretrain'},
    'finetune vgg_face': {'stage': 'finetune', 'classify': 'padded', 'aggregate': 'median'},
    'finetune resnet50': {'stage': 'finetune', 'model': 'resnet50'},
    'temporal gru': {'stage': 'temporal', 'rnn_layers': 2},
    'temporal lstm': {'stage': 'temporal', 'rnn_cell': 'lstm', 'bidirectional': True},
    'temporal attention': {'stage': 'temporal', 'attention': True, 'bidirectional': True},
    'temporal plain cells': {
        **{'stage': 'temporal', 'rnn_cell': 'rnn', 'rnn_layers': 2, 'bidirectional': True},
        **{'bidirectional_kind': 'stacks', 'attention': True, 'attention_kind': 'softmax'},
    },
    'temporal wrapped cells': {  # and a last map of 2x2
        **{'stage': 'temporal', 'attention': True, 'attention_kind': 'wrapper', 'attention_length': 3},
        **{'vgg_pooling': 'same', 'image_size': 48},
    },
    'ffn': {'stage': 'audio', 'model': 'ffn', 'hidden_units': '6,4', 'batch_norm': True},
    'audio_gru': {'stage': 'audio', 'model': 'audio_gru', 'attention': True},
    **{f'early_fusion {option}': {'stage': 'early_fusion', 'fusion_option': option} for option in (1, 2, 3, 4)},
}
LENGTHS = [3, 1, 5, 4]
NORMALISED = [name for name, network in NETWORKS.items() if network.batch_norm]


def make_blueprint(**settings) -> Blueprint:
    """Returns the blueprint of a run without files. The GRUs that early fusion joins have other sizes than its own."""
    config = tiny_config(Path('nowhere'), **{'dropout': 0.0, 'seq_len': 5, **settings})
    convention = None
    if config.model in NETWORKS:
        convention = source_convention(get_network(config.model), None, 'source', config.vgg_pooling)
    audio_run = visual_run = None
    if config.stage == 'early_fusion':
        audio_run = dataclasses.replace(config, rnn_units=3, attention=True) if config.fusion_option > 1 else None
        visual_run = dataclasses.replace(config, rnn_units=4, rnn_cell='lstm') if config.fusion_option == 4 else None
    return Blueprint(config, get_stage(config.stage, config.model), convention, None, audio_run, visual_run)


def make_batch(blueprint: Blueprint, seed: int = 0) -> tuple[Batch, dict]:
    """Returns a batch of placeholders and random values for it. A still and a whole video are windows of one frame."""
    reading = make_reading(blueprint)
    alone = blueprint.config.stage == 'pretrain' or blueprint.config.model == 'ffn' or blueprint.config.seq_len == 1
    lengths = tf.placeholder(tf.int32, [None])
    images = (
        tf.placeholder(tf.float32, [None, reading.image_size, reading.image_size, 3]) if reading.image_size else None
    )
    audio_size = 11 if reading.audio_size == FUNCTIONALS else reading.audio_size
    audio = tf.placeholder(tf.float32, [None, audio_size]) if audio_size else None
    index = pad_index(lengths, 1 if alone else 5)
    batch = Batch(images, audio, lengths, index, tf.placeholder(tf.int32, [None]), tf.placeholder(tf.int32, [None]))
    values = {lengths: [1] * 4 if alone else LENGTHS, batch.labels: [1, 0, 6, 1], batch.windows: [0, 1, 2, 3]}
    rng, frames = np.random.default_rng(seed), 4 if alone else sum(LENGTHS)
    if images is not None:
        values[images] = rng.uniform(-1, 1, (frames, reading.image_size, reading.image_size, 3))
    if audio is not None:
        values[audio] = rng.normal(size=(frames, audio_size))
    return batch, values


def one_window(batch: Batch, values: dict, window: int) -> dict:
    """Returns the values of a batch that has only this window."""
    first = sum(values[batch.lengths][:window])
    frames = slice(first, first + values[batch.lengths][window])
    per_frame = {key: values[key][frames] for key in (batch.images, batch.audio) if key is not None}
    return per_frame | {key: values[key][window : window + 1] for key in (batch.lengths, batch.labels, batch.windows)}


def start(session: tf.Session, seed: int = 1) -> None:
    """Sets first values, with biases and moving averages as after training: none of them 0 or 1."""
    session.run(tf.global_variables_initializer())
    rng = np.random.default_rng(seed)
    low = {'biases': -0.2, 'beta': -0.2, 'gamma': 0.5, 'moving_mean': -0.2, 'moving_variance': 0.5}
    found = [(v, low[v.op.name.split('/')[-1]]) for v in tf.global_variables() if v.op.name.split('/')[-1] in low]
    feeds = {v.initializer.inputs[1]: rng.uniform(least, least + 0.7, v.shape.as_list()) for v, least in found}
    session.run([v.initializer for v, _ in found], feeds)


def assert_same(found, expected):
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5 * np.abs(expected).max())


@pytest.mark.parametrize('name', STAGES)
def test_training_and_evaluation_give_equal_logits(name):
    blueprint = make_blueprint(batch_norm_mode='frozen', **STAGES[name])
    with tf.Graph().as_default():
        tf.set_random_seed(1)
        batch, values = make_batch(blueprint)
        towers = [build_tower(blueprint, batch, is_training=False)]
        towers += [build_tower(blueprint, batch, is_training=True, phase=phase) for phase in Phase]
        with open_session() as session:
            start(session)
            logits, *others = session.run([tower.window_logits for tower in towers], values)
            alone = [session.run(towers[0].window_logits, one_window(batch, values, window)) for window in range(4)]
            _, trained_alone = session.run([t.window_logits for t in towers[1:]], one_window(batch, values, 2))
    assert logits.shape == (4, 7)
    assert (
        logits.std(axis=0) > 1e-3 * np.abs(logits).max()
    ).all()  # windows differ, so the comparisons below mean something
    for other in others:
        assert_same(other, logits)
    assert_same(np.concatenate(alone), logits)
    assert_same(trained_alone, logits[2:3])


def test_phase_two_normalises_with_batch_statistics():
    """Shows that the test above would fail if training and evaluation normalised differently."""
    blueprint = make_blueprint(batch_norm_mode='train', **STAGES['ffn'])
    with tf.Graph().as_default():
        batch, values = make_batch(blueprint)
        towers = [build_tower(blueprint, batch, is_training=False)]
        towers += [build_tower(blueprint, batch, is_training=True, phase=phase) for phase in Phase]
        with open_session() as session:
            start(session)
            logits, phase_one, phase_two = session.run([tower.window_logits for tower in towers], values)
    assert_same(phase_one, logits)
    assert np.abs(phase_two - logits).max() > 0.01 * np.abs(logits).max()


@pytest.mark.parametrize(
    ('model', 'chunk'),
    [
        *[('ffn', 0), ('resnet50', 0)],
        *(
            pytest.param(model, chunk, marks=pytest.mark.slow)
            for model, chunk in [('resnet50', 13), *((name, 0) for name in NORMALISED if name != 'resnet50')]
        ),
    ],
)
def test_batch_norm_decay_reaches_every_average(model, chunk):
    """On the same batch, the second step towards its statistics is `decay` times the first. A chunk has all frames."""
    settings = STAGES['ffn'] if model == 'ffn' else {'stage': 'finetune', 'model': model}
    blueprint = make_blueprint(batch_norm_decay=0.6, optimizer='sgd', **settings)
    with tf.Graph().as_default():
        tf.set_random_seed(1)
        tf.train.get_or_create_global_step()
        batch, values = make_batch(blueprint)
        tower = build_tower(blueprint, batch, is_training=True, chunk_size=chunk)
        groups = parameter_groups(blueprint.config, tf.constant(0.0), {Phase.ALL: tf.trainable_variables()})
        step = build_step(tower, groups[Phase.ALL], 0.0, Phase.ALL)
        averages = [v for v in tf.get_collection(tf.GraphKeys.MODEL_VARIABLES) if '/moving_' in v.op.name]
        with open_session() as session:
            start(session)
            course = [session.run(averages)]
            for _ in range(2):
                session.run(step.train, values)
                course.append(session.run(averages))
    assert len(averages) >= 4
    for first, second, third in zip(*course, strict=True):
        moved = second - first
        assert np.abs(moved).max() > 1e-4
        np.testing.assert_allclose(third - second, 0.6 * moved, rtol=0, atol=1e-3 * np.abs(moved).max())


@pytest.mark.parametrize(
    ('settings', 'still_same'),
    [
        ({'stage': 'early_fusion', 'fusion_option': 3, 'dropout': 0.5}, True),
        ({'stage': 'early_fusion', 'fusion_option': 3, 'dropout': 0.5, 'rnn_dropout': 0.5}, False),
        ({'stage': 'early_fusion', 'fusion_option': 3, 'fc6_dropout': 0.5}, False),
        ({'stage': 'early_fusion', 'fusion_option': 4, 'fc6_dropout': 0.5}, True),  # its visual GRU is restored
    ],
)
def test_dropout_acts_only_in_trained_parts(settings, still_same):
    """In phase one of early fusion the CNN acts as in evaluation, and so does a restored GRU, with its dropout."""
    blueprint = make_blueprint(**settings)
    with tf.Graph().as_default():
        tf.train.get_or_create_global_step()  # dropout masks depend on it
        batch, values = make_batch(blueprint)
        towers = [
            build_tower(blueprint, batch, is_training=False),
            build_tower(blueprint, batch, is_training=True, phase=Phase.NEW_LAYERS),
        ]
        with open_session() as session:
            start(session)
            logits, phase_one = session.run([tower.window_logits for tower in towers], values)
    assert np.allclose(phase_one, logits, rtol=1e-5, atol=1e-6) == still_same


def test_fc6_dropout_acts_on_cached_features():
    """The features that the network gets in training are those of evaluation, times the mask of its own name."""
    blueprint = make_blueprint(stage='temporal', fc6_dropout=0.4)
    with tf.Graph().as_default():
        tf.set_random_seed(1)
        tf.train.get_or_create_global_step()
        batch, values = make_batch(blueprint)
        del values[batch.images]
        features = tf.random.stateless_uniform([sum(LENGTHS), 205], [1, 2])
        mask = dropout(tf.ones_like(features), 0.4, is_training=True, scope='fc6_dropout')
        cached = batch._replace(images=None, features={'features': features})
        towers = [build_tower(blueprint, cached, is_training=True, phase=phase) for phase in Phase]
        towers += [build_tower(blueprint, cached, is_training=False)]
        masked = cached._replace(features={'features': features * mask})
        towers += [build_tower(blueprint, masked, is_training=False)]
        with open_session() as session:
            start(session)
            *trained, evaluated, expected, share = session.run(
                [*(tower.window_logits for tower in towers), tf.reduce_mean(tf.cast(tf.equal(mask, 0), tf.float32))],
                values,
            )
    assert 0.35 < share < 0.45
    for found in trained:
        assert_same(found, expected)
    assert np.abs(evaluated - expected).max() > 0.01 * np.abs(expected).max()


def test_classify_modes_agree_for_windows_of_one_frame():
    losses = []
    for classify, aggregate in (('frame', 'mean'), ('exact', 'mean'), ('padded', 'median')):
        blueprint = make_blueprint(stage='temporal', seq_len=1, classify=classify, aggregate=aggregate)
        with tf.Graph().as_default():
            tf.set_random_seed(1)
            batch, values = make_batch(blueprint)
            tower = build_tower(blueprint, batch, is_training=True)
            with open_session() as session:
                start(session)
                losses.append(session.run([tower.loss.total, tower.loss.per_item], values))
    for total, per_item in losses[1:]:
        np.testing.assert_allclose(total, losses[0][0], rtol=1e-6)
        np.testing.assert_allclose(per_item, losses[0][1], rtol=1e-6)


def test_frames_alone_and_a_loss_per_frame_agree():
    """The two readings of "per frame": windows of one frame, or long windows with a loss for each of their frames.

    On the same frames, a CNN has the same loss in both, and the same answer for each window.
    """

    def fetches(tower):
        return [tower.loss.total, tower.window_logits, tower.loss.per_item]

    long, short = (make_blueprint(stage='finetune', classify=c, seq_len=n) for c, n in (('frame', 5), ('exact', 1)))
    with tf.Graph().as_default():
        tf.set_random_seed(1)
        windows, values = make_batch(long)
        frames, single = make_batch(short)
        per_window, per_frame = (build_tower(*pair, is_training=True) for pair in ((long, windows), (short, frames)))
        single |= {
            frames.images: values[windows.images],
            frames.lengths: [1] * sum(LENGTHS),
            frames.labels: np.repeat(values[windows.labels], LENGTHS),
        }
        with open_session() as session:
            start(session)
            loss, logits, per_item = session.run(fetches(per_window), values)
            alone, rows, losses = session.run(fetches(per_frame), single)
    ends = np.cumsum(LENGTHS)[:-1]
    np.testing.assert_allclose(loss, alone, rtol=1e-6)
    assert_same(logits, np.stack([part.mean(axis=0) for part in np.split(rows, ends)]))
    np.testing.assert_allclose(per_item, [part.mean() for part in np.split(losses, ends)], rtol=1e-5)


def make_cnn_blueprint(config: TrainConfig) -> Blueprint:
    convention = source_convention(get_network(config.model), None, 'source')
    return Blueprint(config, get_stage(config.stage, config.model), convention)


def load(blueprint: Blueprint) -> tuple[Blueprint, Split]:
    config = blueprint.config
    split = load_data(blueprint, config.train_manifest, '', labelled=True)
    blueprint = fit_audio_scaling(blueprint, split)
    return blueprint, apply_audio_scaling(blueprint, split)


def moves(blueprint: Blueprint, split: Split, epochs: tuple[int, ...]) -> tuple[set[str], list[set[str]]]:
    """Returns the names of the network's variables, and of those that change in a step of each phase."""
    with tf.Graph().as_default():
        graph = build_graph(blueprint, split, None, epochs)
        variables = {v.op.name: v for v in tf.get_collection(tf.GraphKeys.MODEL_VARIABLES)}
        pipeline, moved = graph.training[Phase.ALL].pipeline, []
        with open_session() as session:
            start(session)
            session.run(pipeline.initializer, {pipeline.epoch: 0, pipeline.skip: 0})
            for phase in sorted(graph.steps):
                before = session.run(variables)
                session.run(graph.steps[phase].train)
                after = session.run(variables)
                moved.append({name for name in variables if (before[name] != after[name]).any()})
    return set(variables), moved


@pytest.mark.parametrize(
    ('settings', 'new'),
    [
        ({'stage': 'temporal'}, ('temporal/',)),
        ({'stage': 'early_fusion', 'fusion_option': 3, 'audio': True}, ('early_fusion/',)),
        ({'stage': 'early_fusion', 'fusion_option': 4, 'audio': True}, ('early_fusion/', 'temporal/')),
        pytest.param({'stage': 'pretrain'}, ('vgg_face/fc',), marks=pytest.mark.slow),
        pytest.param({'stage': 'early_fusion', 'fusion_option': 1}, ('early_fusion/',), marks=pytest.mark.slow),
        pytest.param(
            {'stage': 'early_fusion', 'fusion_option': 2, 'audio': True}, ('early_fusion/',), marks=pytest.mark.slow
        ),
        pytest.param(
            {'stage': 'early_fusion', 'fusion_option': 4, 'audio': True, 'visual': True},
            ('early_fusion/',),
            marks=pytest.mark.slow,
        ),
    ],
)
def test_phase_one_moves_new_layers_phase_two_all(painted_sound, settings, new):
    """L2 gives every kernel a gradient in phase two, even if units of this narrow network are dead."""
    settings = dict(settings)
    members = {name: settings.pop(name, False) for name in ('audio', 'visual')}
    config = tiny_config(painted_sound, l2=1e-2, **settings)
    runs = (config if exists else None for exists in members.values())
    blueprint = make_cnn_blueprint(config)._replace(**dict(zip(('audio_run', 'visual_run'), runs, strict=True)))
    names, (first, second) = moves(*load(blueprint), (1, 1))
    expected = {name for name in names if name.startswith(new)}
    assert expected
    assert expected < names
    assert first == expected
    kernels = {name for name in names if name.endswith(('weights', 'kernel'))}
    assert len(kernels) > 15
    assert second >= kernels


@pytest.mark.parametrize('mode', ['train', 'frozen'])
def test_moving_averages_of_ffn_stay_if_frozen(painted_sound, mode):
    config = tiny_config(painted_sound, 'audio', 'ffn', batch_norm=True, hidden_units='6,4', batch_norm_mode=mode)
    names, (moved,) = moves(*load(Blueprint(config, get_stage('audio', 'ffn'), None)), (2,))
    averages = {name for name in names if 'moving_' in name}
    assert len(averages) == 4
    assert moved & averages == (averages if mode == 'train' else set())
    assert {name for name in names if name.endswith('weights')} < moved


@pytest.mark.slow
@pytest.mark.parametrize('mode', ['train', 'frozen'])
def test_moving_averages_of_cnn_stay_if_frozen(painted_sound, mode):
    config = tiny_config(painted_sound, 'temporal', 'resnet50', batch_norm_mode=mode)
    names, (first, second) = moves(*load(make_cnn_blueprint(config)), (1, 1))
    averages = {name for name in names if 'moving_' in name}
    assert len(averages) == 106
    assert first == {name for name in names if name.startswith('temporal/')}
    assert second & averages == (averages if mode == 'train' else set())


def test_fresh_parts_name_the_missing_flag(painted_sound):
    """Without weights to start from, every part of a network is fresh."""
    blueprint, origins = open_origins(tiny_config(painted_sound, 'temporal'))
    assert [(origin.scope, origin.reason_fresh) for origin in origins] == [
        ('vgg_face', 'no --init_from'),
        ('temporal', 'no --init_from'),
    ]
    assert blueprint.scaling is None
