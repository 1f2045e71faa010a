# SPDX-License-Identifier: Apache-2.0
"""Tests of every network and of their layers: sizes, costs, widths and training mode."""

import functools
import json
from pathlib import Path

import numpy as np
import pytest
from conftest import run, tiny_flags
from nets import load, load_seeded, one_shot_session, random_images

from fer.nets import NETWORKS
from fer.nets.conventions import Convention, source_pixels
from fer.nets.layers import (
    BATCH_NORM_DECAY,
    STEM_STRIDES,
    batch_norm,
    batch_norm_arg_scope,
    build_stem,
    conv2d,
    pool_3x3,
    scale_channels,
)
from fer.nets.published import PUBLISHED
from fer.nets.resnet import SLIM, TORCH
from fer.nets.se_resnet import squeeze_excite
from fer.nets.summary import summarise, summarise_published
from fer.tf1 import slim, tf
from fer.training import chunks

GOLDEN = Path(__file__).with_name('features.json')
NARROW = 0.05
# NASNet's graphs take many times as long to build as the others.
NASNET_SLOW = [pytest.param(n, marks=[pytest.mark.slow] if n.startswith('nasnet') else []) for n in NETWORKS]
LARGE_SLOW = [pytest.param(n, marks=[pytest.mark.slow] if n == 'nasnet' else []) for n in NETWORKS]


@pytest.mark.parametrize('name', LARGE_SLOW)
def test_costs_equal_published_ones(name):
    """Without a published row, only the memory is checked, at 224x224 pixels."""
    published, network = PUBLISHED.get(name), NETWORKS[name]
    row = summarise_published(name) if published else summarise(network, 224, 1000, network.global_pool[0])
    # Small batches are computed without an estimate, on the assumption that no network keeps more per pixel.
    assert row.kept <= chunks._MOST_PER_PIXEL * (published.image_size if published else 224) ** 2
    if published:
        assert row.parameters == published.parameters
        assert row.without_classifier == published.without_classifier
        assert row.multiply_adds == pytest.approx(published.multiply_adds, rel=0.01)


def test_slims_strides_need_a_tenth_less():
    at = {
        stride: summarise(NETWORKS['resnet50'], 224, 7, True, convention=SLIM._replace(stride=stride))
        for stride in ('last_3x3', 'first_3x3')
    }
    assert [round(summary.multiply_adds / 1e9, 2) for summary in at.values()] == [3.48, 4.09]


@pytest.mark.parametrize('name', LARGE_SLOW)
def test_features_are_those_committed(name):
    """Any change of numerics fails here. `python tests/test_nets.py` writes the file again if a change is intended."""
    golden = json.loads(GOLDEN.read_text())
    assert name in golden, f'run python tests/test_nets.py, which adds {name} to {GOLDEN.name}'
    expected = golden[name]
    found = features_of_seeded(name)
    assert list(found.shape) == expected['shape']
    assert np.linalg.norm(found) == pytest.approx(expected['norm'], rel=1e-4)
    np.testing.assert_allclose(found[0, :6], expected['first'], rtol=1e-4, atol=1e-4 * np.abs(found).max())


def features_of_seeded(name):
    """Returns the features of a seeded 65x65 image on seeded weights, at a sixteenth of the width."""
    with tf.Graph().as_default(), one_shot_session() as session:
        images = tf.placeholder(tf.float32, [None, 65, 65, 3])
        network = NETWORKS[name]
        features, _ = network.build(images, width=1 / 16, global_pool=network.global_pool[0])
        load_seeded(session, name)
        return session.run(features, {images: random_images(65, number=1)})


@pytest.mark.parametrize('name', NASNET_SLOW)
@pytest.mark.usefixtures('shallow_networks')
def test_width_scales_channels_and_not_the_graph(name):
    graphs = []
    for width in (0.5, 0.004):
        with tf.Graph().as_default() as graph:
            images = tf.placeholder(tf.float32, [None, 64, 64, 3])
            features, end_points = NETWORKS[name].build(images, width=width)
            names = [operation.name for operation in graph.get_operations()]
            graphs.append(([n for n in names if '/Initializer/' not in n], list(end_points)))  # zeros have two forms
            assert features.shape[1] > 0
    assert graphs[0] == graphs[1]


@pytest.mark.parametrize('name', NASNET_SLOW)
@pytest.mark.usefixtures('shallow_networks')
def test_every_mode_of_a_network_works(name):
    """Modes: no classifier, flat map, frozen, training. All are in one graph, because its variables take longest."""
    with tf.Graph().as_default(), one_shot_session() as session:
        tf.train.get_or_create_global_step()
        images = tf.constant(random_images(64, number=4))
        build = functools.partial(NETWORKS[name].build, images, width=NARROW)
        bare, end_points = build(num_classes=0)
        names = {v.op.name for v in tf.get_collection(tf.GraphKeys.MODEL_VARIABLES)}
        features, evaluated = build()
        added = {v.op.name for v in tf.get_collection(tf.GraphKeys.MODEL_VARIABLES)} - names
        flat = [] if name.startswith(('vgg', 'nasnet')) else build_flat_map(name)
        with slim.arg_scope([batch_norm], frozen=True):
            _, frozen = build(is_training=True)
        assert tf.get_collection(tf.GraphKeys.UPDATE_OPS) == []
        _, trained = build(is_training=True)
        scaled = [v for v in tf.trainable_variables() if v.op.name.endswith(('/gamma', '/beta'))]
        slopes = tf.gradients(tf.reduce_sum(frozen['logits'] ** 2), scaled)
        step = build_step(trained['logits'])
        session.run(tf.global_variables_initializer())
        load_seeded(session, name)
        # A narrow SE block has a single hidden unit, and a large bias keeps it above 0.
        load(session, {v: np.full(v.shape, 9) for v in tf.global_variables() if v.op.name.endswith('se/reduce/biases')})

        past = {'vgg_face': ('fc7', 'fc8')}.get(name, ('logits',))
        assert added == {f'{name}/{layer}/{kind}' for layer in past for kind in ('weights', 'biases')}
        assert evaluated.keys() - end_points.keys() == {'logits'} | {'fc7'} & evaluated.keys()
        without, with_classifier, last_map = session.run([bare, features, evaluated['last_map']])
        np.testing.assert_allclose(without, with_classifier, rtol=1e-5, atol=1e-6)
        if name != 'vgg_face':
            np.testing.assert_allclose(last_map.mean((1, 2)), with_classifier, rtol=1e-4, atol=1e-5)
        if flat:
            check_flat_map(*session.run(flat))
        if NETWORKS[name].batch_norm:
            check_frozen(*session.run([net['logits'] for net in (frozen, evaluated, trained)]), session.run(slopes))
        check_step(session, step, name)


def build_flat_map(name):
    """Returns features with a flat last map and with its average, of images that are not square."""
    images = tf.constant(np.random.default_rng(0).uniform(-1, 1, (2, 97, 64, 3)), tf.float32)
    return [NETWORKS[name].build(images, num_classes=0, width=NARROW, global_pool=pool)[0] for pool in (False, True)]


def check_flat_map(flat, pooled):
    channels = pooled.shape[1]
    assert flat.shape[1] > channels
    np.testing.assert_allclose(flat.reshape(2, -1, channels).mean(1), pooled, rtol=1e-4, atol=1e-5)


def check_frozen(frozen, evaluated, trained, slopes):
    """Checks that a frozen network uses its averages and never changes them, and that gamma and beta still learn."""
    np.testing.assert_allclose(frozen, evaluated, rtol=1e-4, atol=1e-5)
    assert np.abs(trained - evaluated).max() > 1e-2
    assert len(slopes) > 30
    assert all(np.isfinite(slope).all() and slope.any() for slope in slopes)


def build_step(logits):
    loss = tf.losses.sparse_softmax_cross_entropy([1, 2, 3, 6], logits)
    with tf.control_dependencies(tf.get_collection(tf.GraphKeys.UPDATE_OPS)):
        return tf.train.GradientDescentOptimizer(1.0).minimize(loss)


def check_step(session, step, name):
    """Checks that a step changes every trainable variable and every moving average."""
    variables = tf.get_collection(tf.GraphKeys.MODEL_VARIABLES)
    names = [v.op.name for v in variables]
    assert len(names) == len(set(names))
    before = session.run(variables)
    session.run(step)
    after = session.run(variables)
    assert [key for key, old, new in zip(names, before, after, strict=True) if (old == new).all()] == []
    assert any('/moving_variance' in key for key in names) == NETWORKS[name].batch_norm


def test_vgg_face_pools_before_fc6():
    with tf.Graph().as_default():
        NETWORKS['vgg_face'].build(tf.zeros([1, 97, 64, 3]), width=0.125, global_pool=True)
        (kernel,) = tf.trainable_variables('vgg_face/fc6/weights')
    assert kernel.shape == (64, 512)


@pytest.mark.parametrize('name', ['nasnet', 'nasnet_mobile'])
def test_nasnet_has_no_flat_map(name):
    with tf.Graph().as_default(), pytest.raises(ValueError, match='global_pool'):
        NETWORKS[name].build(tf.zeros([1, 64, 64, 3]), global_pool=False)


def test_moving_averages_move_towards_the_batch():
    images = random_images(5, number=3)
    with tf.Graph().as_default(), one_shot_session() as session, batch_norm_arg_scope(is_training=True, epsilon=1e-3):
        net = conv2d(tf.constant(images), 2, 3, scope='c', activation_fn=None)
        values = load_seeded(session, 'c')
        before = session.run(tf.nn.conv2d(images, values['c/weights'], 1, 'SAME'))
        found, _ = session.run([net, tf.get_collection(tf.GraphKeys.UPDATE_OPS)])
        moved = {v.op.name: session.run(v) for v in tf.global_variables()}
    mean, variance = before.mean((0, 1, 2)), before.var((0, 1, 2))
    normalised = (before - mean) / np.sqrt(variance + 1e-3)
    expected = normalised * values['c/BatchNorm/gamma'] + values['c/BatchNorm/beta']
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
    unbiased = before.reshape(-1, 2).var(axis=0, ddof=1)
    for key, batch in (('moving_mean', mean), ('moving_variance', unbiased)):
        old = values[f'c/BatchNorm/{key}']
        step = old * BATCH_NORM_DECAY + batch * (1 - BATCH_NORM_DECAY)
        np.testing.assert_allclose(moved[f'c/BatchNorm/{key}'], step, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize('stride', [1, 2])
@pytest.mark.parametrize('padding', ['same', 'symmetric'])
@pytest.mark.parametrize('is_training', [False, True])
def test_grouped_convolution_equals_split_convolutions(stride, padding, is_training):
    images = np.random.default_rng(0).normal(size=(2, 10, 7, 12)).astype(np.float32)
    with tf.Graph().as_default(), one_shot_session() as session, batch_norm_arg_scope(is_training, epsilon=1e-3):
        inputs = tf.constant(images)
        grouped = conv2d(inputs, 24, 3, stride, padding, groups=4, scope='grouped')
        dense = conv2d(inputs, 24, 3, stride, padding, scope='dense')
        values = load_seeded(session, 'grouped')
        kernel = np.zeros([3, 3, 12, 24], np.float32)  # a dense kernel that is zero between groups
        for group in range(4):
            outputs = slice(group * 6, group * 6 + 6)
            kernel[:, :, group * 3 : group * 3 + 3, outputs] = values['grouped/weights'][..., outputs]
        values['grouped/weights'] = kernel
        load(session, {v: values[v.op.name.replace('dense', 'grouped')] for v in tf.global_variables('dense/')})
        found, expected = session.run([grouped, dense])
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize('size', [6, 7])
def test_pools_follow_the_convention(size):
    images = np.random.default_rng(0).normal(size=(2, size, size, 3)).astype(np.float32)
    images[:, -1] = -5  # zeros would win a maximum here
    pads = {'same': (size % 2, 1), 'symmetric': (1, 1), 'zeros': (size % 2, 1), 'after': (0, 1)}
    for pool, pad in pads.items():
        batch = np.abs(images) if pool in ('symmetric', 'after') else images
        fill = 0 if pool == 'zeros' else np.nan
        padded = np.pad(batch, [(0, 0), pad, pad, (0, 0)], constant_values=fill)
        windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(1, 2))[:, ::2, ::2]
        with tf.Graph().as_default(), one_shot_session() as session:
            found = session.run([pool_3x3(tf.constant(batch), kind, pool) for kind in ('MAX', 'AVG')])
        np.testing.assert_allclose(found[0], np.nanmax(windows, axis=(-2, -1)))
        if pool in ('same', 'zeros'):  # only these have average pools
            np.testing.assert_allclose(found[1], np.nanmean(windows, axis=(-2, -1)), rtol=1e-5, atol=1e-6)


def test_pixels_follow_the_source():
    pixels = np.random.default_rng(0).integers(0, 256, (2, 3, 4, 3))
    images = (pixels / 127.5 - 1).astype(np.float32)
    source = Convention(order='BGR', mean=(103.9, 116.8, 123.7), std=(57.0, 58.0, 59.0))
    with tf.Graph().as_default() as graph, one_shot_session() as session:
        found = session.run(source_pixels(tf.constant(images), source))
        count = len(graph.get_operations())
        inputs = tf.zeros([1, 2, 2, 3])
        assert source_pixels(inputs, Convention()) is inputs
        assert len(graph.get_operations()) == count + 1
    np.testing.assert_allclose(found, (pixels[..., ::-1] - source.mean) / source.std, rtol=1e-4, atol=1e-4)
    for name in ('padding', 'pool', 'stride', 'order'):
        with pytest.raises(ValueError, match=name):
            source_pixels(images, source._replace(**{name: 'x'}))


def test_squeeze_excite_equals_its_formula():
    maps = np.random.default_rng(0).normal(size=(2, 5, 4, 32)).astype(np.float32)
    with tf.Graph().as_default(), one_shot_session() as session:
        net = squeeze_excite(tf.constant(maps), scope='se')
        values = load_seeded(session, 'se')
        found = session.run(net)
    assert values['se/reduce/weights'].shape == (32, 2)
    hidden = np.maximum(maps.mean((1, 2)) @ values['se/reduce/weights'] + values['se/reduce/biases'], 0)
    gate = 1 / (1 + np.exp(-(hidden @ values['se/excite/weights'] + values['se/excite/biases'])))
    np.testing.assert_allclose(found, maps * gate[:, None, None], rtol=1e-5, atol=1e-6)


def test_se_vgg_gates_every_convolution():
    images = random_images(32)
    with tf.Graph().as_default(), one_shot_session() as session:
        inputs = tf.constant(images)
        _, plain = NETWORKS['vgg_face'].build(inputs, width=NARROW)
        _, gated = NETWORKS['vgg_face'].build(inputs, width=NARROW, se=True)
        session.run(tf.global_variables_initializer())
        gates = [v for v in tf.trainable_variables() if '/se/' in v.name]
        assert len(gates) == 13 * 4
        first, second = session.run([plain['conv1/conv1_1'], gated['conv1/conv1_1']])
        opened = {v: np.full(v.shape, 50.0) for v in gates if v.op.name.endswith('excite/biases')}
        load(session, opened)  # gates of 1
        found, expected = session.run([gated['logits'], plain['logits']])
    assert 0.9 < second.sum() / first.sum() < 0.98
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)


def test_scaled_channels_are_multiples():
    assert [scale_channels(128, width, 32) for width in (1, 0.5, 0.3, 0.01)] == [128, 64, 32, 32]
    assert scale_channels(42, 0.1) == 4


@pytest.mark.slow
def test_summary_is_printed():
    done = run('-m', 'fer.nets')
    costs, published = (table.splitlines() for table in done.out.split('\n\n'))
    rows = [line.split() for line in costs]
    assert [row[0] for row in rows[1 : 1 + 2 * len(NETWORKS) : 2]] == list(NETWORKS)
    assert rows[8][:6] == ['densenet121', '224', 'True', '6,961,031', '6,953,856', '2.833']
    rows = [line.split() for line in published[1 : 1 + len(PUBLISHED)]]
    assert [row[0] for row in rows] == list(PUBLISHED)
    assert all(row[2] == row[3] and row[4] == row[5] for row in rows)
    assert rows[1][6:] == ['3.858', 'G', '3.860', 'G', '(-0.1%)']
    assert 'Hu et al. 2018, table 2' in published[1 + len(PUBLISHED)]


def checkpoint_values(run_dir):
    reader = tf.train.load_checkpoint(str(run_dir))
    return {key: reader.get_tensor(key) for key in reader.get_variable_to_shape_map()}


STEMMED = [name for name, network in NETWORKS.items() if network.has_stem]


@pytest.mark.parametrize('name', STEMMED)
@pytest.mark.usefixtures('shallow_networks')
def test_stem_stride_changes_maps_and_no_variable(name):
    sides, shapes = [], []
    for stride in STEM_STRIDES:
        with tf.Graph().as_default():
            images = tf.placeholder(tf.float32, [None, 64, 64, 3])
            _, end_points = NETWORKS[name].build(images, width=NARROW, global_pool=True, stem_stride=stride)
            assert ('pool1' in end_points) == (stride > 1)
            sides.append(int(next(net for key, net in end_points.items() if key.startswith('block1')).shape[1]))
            shapes.append({variable.op.name: variable.shape.as_list() for variable in tf.global_variables()})
    full = 64 // sides[2]  # slim's ResNet-50 strides once more in block 1
    assert sides == [16 // full, 32 // full, 64 // full]
    assert shapes[0] == shapes[1] == shapes[2]


def test_stem_without_stride_equals_numpy():
    """A 7x7 convolution of stride 1, with zeros around, at two places. Then a 3x3 maximum of stride 2."""
    pixels = random_images(32, number=1)
    with tf.Graph().as_default(), one_shot_session() as session:
        images = tf.constant(pixels)
        net, end_points = build_stem(images, 2, TORCH, 2)
        assert net is end_points['pool1']
        session.run(tf.global_variables_initializer())
        maps, pooled, kernel = session.run([end_points['conv1'], end_points['pool1'], tf.global_variables()[0]])
    around = np.pad(pixels[0], [(3, 3), (3, 3), (0, 0)])
    for row, column in ((0, 0), (17, 31)):
        expected = np.einsum('hwc,hwco->o', around[row : row + 7, column : column + 7], kernel)
        np.testing.assert_allclose(maps[0, row, column], expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(pooled[0, 3, 4], maps[0, 5:8, 7:10].max((0, 1)), rtol=1e-6)


@pytest.mark.slow
def test_phases_and_resuming_work_with_batch_norm(painted, tmp_path):
    """Phase one changes the classifier only and no moving average. Phase two changes all. A resumed run is equal."""
    flags = [*tiny_flags(painted), '--model=resnet50', '--global_pool=True', '--val_manifest=']
    whole, parts, first = tmp_path / 'whole', tmp_path / 'parts', tmp_path / 'first'
    run('train.py', *flags, f'--run_dir={first}', '--max_steps=1')
    run('train.py', *flags, f'--run_dir={parts}', '--max_steps=5')
    second = checkpoint_values(parts)
    run('train.py', *flags, f'--run_dir={parts}', '--resume')
    run('train.py', *flags, f'--run_dir={whole}')
    started, ended = checkpoint_values(first), checkpoint_values(whole)
    model = [key for key in ended if key.startswith('resnet50/')]
    assert len(model) == 267
    moved = {key for key in model if (started[key] != second[key]).any()}
    assert moved == {'resnet50/logits/weights', 'resnet50/logits/biases'}
    assert all((second[key] != ended[key]).any() for key in model)
    resumed = checkpoint_values(parts)
    assert all((resumed[key] == ended[key]).all() for key in ended)
    run('evaluate.py', f'--run_dir={whole}', f'--manifest={painted / "val.txt"}')
    restored = (whole / 'restored.txt').read_text()
    assert 'resnet50/block1/unit_1/conv1/BatchNorm/moving_mean' in restored


@pytest.mark.slow
def test_flags_of_another_network_are_refused(painted, tmp_path):
    for flags, found in (
        (('--model=nasnet_mobile', '--global_pool=False'), '--global_pool=False'),
        (('--model=resnet50', '--se_vgg'), '--se_vgg'),
        (('--model=alexnet',), '--model=alexnet'),
    ):
        done = run('train.py', *tiny_flags(painted), *flags, f'--run_dir={tmp_path / "r"}', ok=False)
        assert done.code == 2
        assert found in done.err
        assert not (tmp_path / 'r').exists()


def test_training_groups_without_onednn_is_refused(painted, tmp_path, monkeypatch):
    """Without the check, the first step would end in a TensorFlow error."""
    monkeypatch.setenv('TF_ENABLE_ONEDNN_OPTS', '0')
    flags = [*tiny_flags(painted), '--model=se_resnext50', '--width=0.02', '--train_epochs=1', '--max_steps=1']
    done = run('train.py', *flags, f'--run_dir={tmp_path / "run"}', ok=False)
    assert (done.code, done.out) == (2, '')
    (line,) = done.err.splitlines()
    assert 'TF_ENABLE_ONEDNN_OPTS=0: expected 1 to train --model=se_resnext50' in line
    assert not (tmp_path / 'run').exists()


def write_golden():
    golden = {}
    for name in NETWORKS:
        found = features_of_seeded(name)
        golden[name] = {
            'shape': list(found.shape),
            'norm': round(float(np.linalg.norm(found)), 5),
            'first': [round(float(value), 6) for value in found[0, :6]],
        }
    GOLDEN.write_text(json.dumps(golden, indent=1) + '\n')


if __name__ == '__main__':
    write_golden()
