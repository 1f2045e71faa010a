# SPDX-License-Identifier: Apache-2.0
"""Gradients in chunks of frames against those of the whole batch, and the choice of the chunk size."""

import dataclasses

import numpy as np
import pytest
from conftest import tiny_config
from nets import load_seeded, random_images
from test_stage_runs import rows
from test_stages import make_batch, make_blueprint, start

from fer.nets import NETWORKS, get_network
from fer.nets.conventions import Convention
from fer.nets.summary import summarise
from fer.tf1 import slim, tf
from fer.training import chunks
from fer.training.chunks import Chunked, choose_chunk_size, chunked_gradients
from fer.training.schedule import Phase
from fer.training.session import open_session
from fer.training.stages import phase_chunk_size
from fer.training.tower import build_tower
from fer.training.train import train

# All tests of this file run in one process, because each process would build its graphs.
pytestmark = [pytest.mark.xdist_group(__name__), pytest.mark.usefixtures('quick_runs')]

TERMS = {'island_weight': 0.1, 'locality_weight': 0.1, 'locality_neighbours': 2, 'l2': 0.01}
# Of 13 frames, size 4 gives chunks of 4, 3, 3 and 3, size 5 gives 5, 4 and 4, and size 20 one chunk.
CASES = {
    'temporal, dropout': ({'stage': 'temporal', 'dropout': 0.5}, (4, 20)),
    'temporal, no dropout': ({'stage': 'temporal', 'dropout': 0.0}, (5,)),
    'finetune, dropout, every term': ({'stage': 'finetune', 'dropout': 0.5, **TERMS}, (5, 1)),
    'finetune, frames, median': ({'stage': 'finetune', 'classify': 'frame', 'aggregate': 'median', **TERMS}, (4,)),
    'finetune, squeeze and excitation': ({'stage': 'finetune', 'se_vgg': True}, (5,)),
    'early fusion 1': ({'stage': 'early_fusion', 'fusion_option': 1, 'dropout': 0.5}, (4,)),
    'early fusion 3, resnet50': ({'stage': 'early_fusion', 'fusion_option': 3, 'model': 'resnet50'}, (5,)),
    'temporal, resnet50': ({'stage': 'temporal', 'model': 'resnet50', 'l2': 0.01}, (20,)),
    'temporal, se_resnet50': ({'stage': 'temporal', 'model': 'se_resnet50'}, (4,)),
}


SLOW = ('temporal, se_resnet50', 'early fusion 3, resnet50', 'finetune, frames, median')


@pytest.mark.parametrize('name', [pytest.param(n, marks=[pytest.mark.slow] if n in SLOW else []) for n in CASES])
@pytest.mark.usefixtures('shallow_networks')
def test_gradients_in_chunks_equal_whole_batch(name):
    settings, sizes = CASES[name]
    blueprint = make_blueprint(batch_norm_mode='frozen', **settings)
    model = blueprint.config.model
    with tf.Graph().as_default():
        tf.set_random_seed(1)
        tf.train.get_or_create_global_step()  # dropout masks depend on it
        batch, values = make_batch(blueprint)
        whole = build_tower(blueprint, batch, is_training=True)
        variables = tf.trainable_variables()
        pairs = tf.train.GradientDescentOptimizer(1.0).compute_gradients(whole.loss.total, variables)
        expected = {v.op.name: g for g, v in pairs if g is not None}
        ways = []
        for size in sizes:
            tower = build_tower(blueprint, batch, is_training=True, chunk_size=size)
            found = chunked_gradients(tower.loss.total, tower.chunked, variables)
            ways.append(({v.op.name: g for g, v in found if g is not None}, tower.loss.total))
        with open_session() as session:
            start(session)
            load_seeded(session, model)  # small enough that no layer saturates
            expected, loss = session.run((expected, whole.loss.total), values)
            ways = session.run(ways, values)
    of_cnn = [key for key in expected if key.startswith(f'{model}/')]
    assert len(of_cnn) > 20
    # Few gradients are all zero, so the comparisons below mean something.
    assert np.mean([np.abs(expected[key]).max() > 0 for key in of_cnn]) > 0.8
    largest = max(np.abs(gradient).max() for gradient in expected.values())
    for found, loss_in_chunks in ways:
        assert sorted(found) == sorted(expected)
        np.testing.assert_allclose(loss_in_chunks, loss, rtol=1e-5)
        for key, gradient in expected.items():
            # A gradient far below the largest is the rounding of sums that cancel.
            bound = max(1e-4 * np.abs(gradient).max(), 5e-7 * largest)
            np.testing.assert_allclose(found[key], gradient, rtol=0, atol=bound, err_msg=key)


@pytest.mark.usefixtures('shallow_networks')
def test_batch_norm_treats_each_chunk_as_batch():
    """Compares gradients and moving averages with the network on each chunk alone. The averages move once per chunk."""

    def network(images):
        features, _ = NETWORKS['resnet50'].build(images, num_classes=0, is_training=True, width=0.03)
        return {'features': features}

    images = random_images(32, number=8)
    parts = np.array_split(images, 3)
    assert [len(part) for part in parts] == [3, 3, 2]
    with tf.Graph().as_default():
        frames = tf.placeholder(tf.float32, [None, 32, 32, 3])
        chunked = Chunked(network, frames, 3, ['features'])
        depth = int(chunked.outputs['features'].shape[1])
        upstream = np.random.default_rng(1).normal(size=(8, depth)).astype(np.float32)
        loss = tf.reduce_sum(chunked.outputs['features'] * upstream)
        variables = tf.trainable_variables()
        found = [gradient for gradient, _ in chunked_gradients(loss, chunked, variables)]
        assert tf.get_collection(tf.GraphKeys.UPDATE_OPS) == []  # they are in the loop
        alone = network(frames)['features']
        of_alone = tf.placeholder(tf.float32, [None, depth])
        expected = tf.gradients(alone, variables, of_alone)
        averages = {v.op.name: v for v in tf.global_variables() if 'moving_' in v.op.name}
        # The update of a layer moves its average towards the layer's statistics.
        updates = tf.get_collection(tf.GraphKeys.UPDATE_OPS)
        assert len(updates) == len(averages) == 46
        with open_session() as session:
            session.run(tf.global_variables_initializer())
            load_seeded(session, 'resnet50')
            before = session.run(averages)
            outputs = session.run(chunked.outputs['features'], {frames: images})
            unmoved = session.run(averages)
            sums = session.run(found, {frames: images})
            after = session.run(averages)
            load_seeded(session, 'resnet50')
            singles = []
            for part, gradient in zip(parts, np.array_split(upstream, 3), strict=True):
                singles.append(session.run((alone, expected), {frames: part, of_alone: gradient}))
                session.run(updates, {frames: part})
            in_turn = session.run(averages)
    assert all((before[name] == unmoved[name]).all() for name in averages)  # the first pass moves no average
    np.testing.assert_allclose(outputs, np.concatenate([features for features, _ in singles]), rtol=1e-4, atol=1e-4)
    for variable, total, *terms in zip(variables, sums, *(gradients for _, gradients in singles), strict=True):
        scale = max(np.abs(term).max() for term in terms)
        np.testing.assert_allclose(total, np.sum(terms, axis=0), rtol=0, atol=1e-3 * scale, err_msg=variable.op.name)
    for name in averages:
        np.testing.assert_allclose(after[name], in_turn[name], rtol=1e-4, atol=1e-5)
        assert (after[name] != before[name]).any()


def test_network_is_built_twice_for_any_batch():
    built = []

    def network(images):
        built.append(images)
        net = slim.fully_connected(slim.flatten(images), 3, scope='dense', reuse=tf.AUTO_REUSE)
        return {'features': net, 'twice': 2 * net}

    with tf.Graph().as_default() as graph:
        frames = tf.placeholder(tf.float32, [None, 2, 2, 1])
        chunked = Chunked(network, frames, 4, ['features', 'twice'])
        unused = tf.get_variable('unused', [3])
        loss = tf.reduce_sum(tf.square(chunked.outputs['features']))
        pairs = chunked_gradients(loss, chunked, [*tf.trainable_variables()])
        assert len(built) == 2
        assert [gradient is None for gradient, v in pairs] == [v is unused for _, v in pairs]
        gradients = [gradient for gradient, _ in pairs if gradient is not None]
        with open_session() as session:
            session.run(tf.global_variables_initializer())
            graph.finalize()
            for number in (1, 4, 5, 9, 40):
                values = np.random.default_rng(number).normal(size=(number, 2, 2, 1))
                outputs, (weights, biases) = session.run((chunked.outputs, gradients), {frames: values})
                upstream = 2 * outputs['features']  # also 0 where the ReLU gives 0
                flat = values.reshape(number, 4)
                np.testing.assert_allclose(weights, flat.T @ upstream, rtol=1e-4, atol=1e-5)
                np.testing.assert_allclose(biases, upstream.sum(axis=0), rtol=1e-4, atol=1e-5)
                np.testing.assert_allclose(outputs['twice'], 2 * outputs['features'])
                assert outputs['features'].shape == (number, 3)
    assert len(built) == 2


VGG = {'model': 'vgg_face', 'width': 1.0, 'global_pool': False}


@pytest.mark.parametrize(
    ('frames_per_chunk', 'frames', 'expected'),
    [(-1, 10**6, 0), (40, 320, 40), (320, 320, 0), (319, 320, 319), (1000, 320, 0), (1, 2, 1), (0, 4, 0), (0, 320, 0)],
)
def test_chunk_size_of_explicit_flag(frames_per_chunk, frames, expected):
    assert choose_chunk_size(frames_per_chunk, frames, image_size=112, **VGG) == expected


def test_automatic_chunk_size_fills_the_budget():
    kept = summarise(get_network('vgg_face'), 112, 0, False).kept
    size = choose_chunk_size(0, 10**4, image_size=112, **VGG)
    assert size * kept <= chunks.ACTIVATIONS < (size + 1) * kept
    assert 320 < size < 640  # 15 MB a frame
    assert choose_chunk_size(0, 10**4, image_size=224, **VGG) == pytest.approx(size / 4, rel=0.05)


@pytest.mark.parametrize('name', [pytest.param(n, marks=[pytest.mark.slow] if 'nasnet' in n else []) for n in NETWORKS])
@pytest.mark.usefixtures('shallow_networks')
def test_kept_bytes_match_the_gradient_graph(name):
    """The estimate comes from the forward graph alone."""
    network, options = NETWORKS[name], {'width': 0.1, 'global_pool': True}
    found = summarise(network, 48, 0, **options).kept
    with tf.Graph().as_default() as graph:
        tf.train.get_or_create_global_step()
        images = tf.placeholder(tf.float32, [1, 48, 48, 3])
        features, _ = network.build(images, num_classes=0, is_training=True, **options)
        forward = set(graph.get_operations())
        tf.gradients(features, tf.trainable_variables())
        read = {t for op in graph.get_operations() if op not in forward for t in op.inputs if t.op in forward}
        per_frame = [t for t in read if t.dtype == tf.float32 and t.shape.rank in (2, 4) and t.shape[0] == 1]
        # A kernel of 1x1 looks like a batch of one, but is not counted.
        expected = sum(4 * t.shape.num_elements() for t in per_frame if t.op.type != 'ReadVariableOp')
    assert found == pytest.approx(expected, rel=0.05)


@pytest.mark.parametrize(
    ('settings', 'expected'),
    [
        ({'stage': 'finetune'}, (0, 3)),
        ({'stage': 'temporal'}, (0, 3)),
        ({'stage': 'finetune', 'se_vgg': True}, (3, 3)),  # phase one trains the blocks between maps
        ({'stage': 'temporal', 'se_vgg': True}, (0, 3)),
        ({'stage': 'audio', 'model': 'audio_gru'}, (0, 0)),
    ],
)
def test_phase_without_maps_uses_no_chunks(settings, expected):
    blueprint = make_blueprint(frames_per_chunk=3, **settings)
    assert tuple(phase_chunk_size(blueprint, phase, 20) for phase in Phase) == expected


def test_estimate_accepts_conventions():
    blueprint = make_blueprint(stage='temporal', model='resnet50', frames_per_chunk=0, image_size=112, width=1.0)
    assert isinstance(blueprint.convention, Convention)
    large = dataclasses.replace(blueprint.config, image_size=224)
    sizes = [
        phase_chunk_size(blueprint._replace(config=config), Phase.ALL, 10**4) for config in (blueprint.config, large)
    ]
    assert 0 < sizes[1] * 3 < sizes[0] < 10**4


def test_runs_with_and_without_chunks_agree(painted_sound, tmp_path, capsys):
    """Includes both phases, dropout and a term of the loss. Phase two moves the CNN."""
    settings = {
        'stage': 'finetune',
        'train_epochs': '1,2',
        'dropout': 0.5,
        'island_weight': 0.01,
        'learning_rate': 1e-4,
    }
    configs = [
        tiny_config(painted_sound, run_dir=tmp_path / str(number), frames_per_chunk=number, **settings)
        for number in (-1, 5)
    ]
    for config in configs:
        train(config, resume=False, overwrite=False)
    assert 'phase 2 trains the CNN on at most 5 frames at a time' in capsys.readouterr().out
    whole, parts = (rows(tmp_path / name, 'train_log.csv') for name in ('-1', '5'))
    assert len(whole) == len(parts) == 9
    for one, other in zip(whole, parts, strict=True):
        assert float(other['loss']) == pytest.approx(float(one['loss']), rel=1e-4)
    readers = [tf.train.load_checkpoint(str(tmp_path / name)) for name in ('-1', '5')]
    assert readers[0].get_variable_to_shape_map() == readers[1].get_variable_to_shape_map()
    weights, others = (reader.get_tensor('vgg_face/conv1/conv1_1/weights') for reader in readers)
    np.testing.assert_allclose(others, weights, rtol=0, atol=2e-4)  # at most six steps of 1e-4
    train(
        dataclasses.replace(configs[1], frames_per_chunk=3), resume=True, overwrite=False
    )  # a resumed run may change it
