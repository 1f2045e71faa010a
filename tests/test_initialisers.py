# SPDX-License-Identifier: Apache-2.0
"""Schemes of initial weights (--initialiser): their statistics, the layers that take them, and replay of older runs."""

import dataclasses
import math
import re

import numpy as np
import pytest
from conftest import choices, run, tiny_config
from nets import one_shot_session

from fer.commands.train import complete, keep_older_values, name_run
from fer.errors import InputError
from fer.nets import NETWORKS
from fer.nets.early_fusion import early_fusion
from fer.nets.ffn import ffn
from fer.nets.initialisers import SCHEMES, initialiser_scope
from fer.nets.layers import classifier, conv2d, separable_conv2d
from fer.nets.rnn import Recurrence, sequence_classifier
from fer.runs.config import TrainConfig, read_flagfile, write_flagfile
from fer.settings import settings_of, values_before
from fer.tf1 import tf
from fer.training.checks import check_config
from tests.benchmarks import torch_venv

pytestmark = pytest.mark.usefixtures('shallow_networks')
SIZE, INPUTS, OUTPUTS = 3, 96, 224  # of a convolution with enough weights for its statistics
OLDER = [name for name, one in settings_of(TrainConfig).items() if not one.is_later]


def start(build, scheme: str | None = None) -> dict[str, np.ndarray]:
    """Returns the initial variables of what `build()` adds to a graph, within a scheme or without one."""
    with tf.Graph().as_default(), one_shot_session() as session:
        if scheme is None:
            build()
        else:
            with initialiser_scope(scheme):
                build()
        session.run(tf.global_variables_initializer())
        return session.run({variable.op.name: variable for variable in tf.global_variables()})


def maps(channels: int) -> tf.Tensor:
    return tf.zeros([1, 5, 5, channels])


def test_schemes_are_the_choices_of_the_flag():
    assert choices('initialiser') == list(SCHEMES)


@pytest.mark.parametrize(
    ('scheme', 'fan'),
    [('fan_in', SIZE * SIZE * INPUTS), ('fan_out', SIZE * SIZE * OUTPUTS), (None, SIZE * SIZE * INPUTS)],
)
def test_convolutions_have_hes_deviation(scheme, fan):
    """torch.nn.init.kaiming_normal_ has the deviation sqrt(2 / fan), with mode fan_in or fan_out."""
    weights = start(lambda: conv2d(maps(INPUTS), OUTPUTS, SIZE), scheme)['conv/weights']
    assert weights.shape == (SIZE, SIZE, INPUTS, OUTPUTS)
    assert weights.std() == pytest.approx(math.sqrt(2 / fan), rel=0.01)
    assert abs(weights.mean()) < 0.02 * weights.std()


@pytest.mark.parametrize(('scheme', 'fan'), [('fan_in', SIZE * SIZE * INPUTS // 4), ('fan_out', SIZE * SIZE * OUTPUTS)])
def test_grouped_convolutions_count_their_own_inputs(scheme, fan):
    """PyTorch's kernel [out, in / groups, k, k] has the fan-in of one group and the fan-out of all groups."""
    weights = start(lambda: conv2d(maps(INPUTS), OUTPUTS, SIZE, groups=4), scheme)['conv/weights']
    assert weights.std() == pytest.approx(math.sqrt(2 / fan), rel=0.02)


def test_depthwise_kernels_have_one_output_per_channel():
    weights = start(lambda: separable_conv2d(maps(3000), 8, SIZE), 'fan_out')['separable/depthwise_weights']
    assert weights.std() == pytest.approx(math.sqrt(2 / SIZE**2), rel=0.02)


def test_small_classifiers_are_those_of_pytorch():
    """torch.nn.Linear is uniform within 1 / sqrt(fan-in), weights and biases."""
    inputs, classes = 400, 300
    found = start(lambda: classifier(tf.zeros([1, inputs]), classes), 'fan_out')
    bound = 1 / math.sqrt(inputs)
    for name in ('weights', 'biases'):
        values = found[f'logits/{name}']
        assert abs(values).max() <= bound
        assert values.std() == pytest.approx(bound / math.sqrt(3), rel=0.1)
    assert found['logits/weights'].std() == pytest.approx(bound / math.sqrt(3), rel=0.01)


def test_classifiers_of_older_runs_are_xaviers():
    inputs, classes = 400, 300
    found = start(lambda: classifier(tf.zeros([1, inputs]), classes), 'fan_in')
    assert found['logits/weights'].std() == pytest.approx(math.sqrt(2 / (inputs + classes)), rel=0.01)
    assert not found['logits/biases'].any()


def build_network(name: str):
    network = NETWORKS[name]
    return lambda: network.build(tf.zeros([1, 32, 32, 3]), width=0.05, global_pool=network.global_pool[0])


def build_sequence(build):
    """Returns a function that gives `build` the features of a window of two frames."""
    return lambda: build(tf.zeros([2, 40]), tf.constant([2]), tf.constant([[0, 1]]))


def build_dense_fusion():
    early_fusion(tf.zeros([2, 20]), tf.zeros([2, 20]), tf.constant([2]), tf.constant([[0, 1]]), rnn=None)


def build_ffn():
    tf.train.get_or_create_global_step()
    ffn(tf.zeros([2, 40]), hidden_units=(50,), dropout=0.0)


BUILDERS = {
    **{name: build_network(name) for name in NETWORKS if not name.startswith('nasnet')},
    'ffn': build_ffn,
    'temporal': build_sequence(lambda *inputs: sequence_classifier(*inputs, rnn=Recurrence(units=30))),
    'early_fusion': build_dense_fusion,
}


@pytest.mark.parametrize('name', [*BUILDERS, pytest.param('nasnet_mobile', marks=pytest.mark.slow)])
def test_every_network_takes_every_scheme(name):
    """Only convolutions under batch normalisation, branches and classifiers differ, and never names or shapes."""
    build = BUILDERS.get(name) or build_network(name)
    residual = name in NETWORKS and NETWORKS[name].residual
    found = {scheme: start(build, scheme) for scheme in SCHEMES if residual or scheme != 'zero_gamma'}
    before = found['fan_in']
    for variables in found.values():
        assert {n: v.shape for n, v in variables.items()} == {n: v.shape for n, v in before.items()}
    (scope,) = {n.rpartition('/')[0] for n in before if n.endswith(('logits/biases', 'fc8/biases'))}
    bound = 1 / math.sqrt(before[f'{scope}/weights'].shape[0])
    if residual:
        zeroed = [n for n, v in found['zero_gamma'].items() if n.endswith('/gamma') and not v.any()]
        assert len(zeroed) == len(set(re.findall(r'block\d/unit_\d', ' '.join(before))))
    small = found['fan_out']
    assert 0 < abs(small[f'{scope}/biases']).max() <= bound
    assert 0.4 * bound < small[f'{scope}/weights'].std() < 0.7 * bound  # 0.577
    if name in NETWORKS and name != 'vgg_face':
        stem = next(n for n in before if n.endswith(('conv1/weights', 'conv0/weights')))
        *_, inputs, outputs = before[stem].shape
        ratio = small[stem].std() / before[stem].std()
        assert ratio == pytest.approx(math.sqrt(inputs / outputs), rel=0.2)


def test_builders_start_as_older_runs_without_a_scheme():
    np.testing.assert_equal(start(build_ffn), start(build_ffn, 'fan_in'))


def test_centred_weights_of_vgg_ignore_the_scheme():
    first, second = (start(build_network('vgg_face'), scheme) for scheme in ('fan_in', 'fan_out'))
    alike = [name for name in first if (first[name] == second[name]).all()]
    assert sorted(set(first) - set(alike)) == ['vgg_face/fc8/biases', 'vgg_face/fc8/weights']


def write_older_flags(path, config):
    """Writes the flags.txt of a run from before --initialiser."""
    write_flagfile(path, config)
    path.write_text(''.join(line for line in path.open() if not line.startswith('--initialiser=')))


def test_older_flags_have_the_older_scheme(painted, tmp_path):
    config = tiny_config(painted, 'finetune')
    write_older_flags(tmp_path / 'flags.txt', config)
    assert config.initialiser == 'fan_out'
    assert read_flagfile(tmp_path / 'flags.txt') == dataclasses.replace(config, initialiser='fan_in')


def test_residual_networks_start_with_zero_branches():
    defaults = {model: complete(TrainConfig(model=model)).initialiser for model in NETWORKS}
    assert defaults['resnet50'] == defaults['se_resnext50'] == 'zero_gamma'
    assert defaults['vgg_face'] == defaults['densenet121'] == 'fan_out'
    assert complete(TrainConfig(model='resnet50', initialiser='fan_in')).initialiser == 'fan_in'


def test_only_complete_flags_are_an_older_run():
    assert values_before(TrainConfig, OLDER) == {'initialiser': 'fan_in'}
    assert values_before(TrainConfig, [*OLDER, 'initialiser']) == {}
    assert values_before(TrainConfig, OLDER[1:]) == {}


def test_a_resumed_run_keeps_its_scheme(painted, tmp_path):
    config = tiny_config(painted, 'finetune', run_dir=tmp_path)
    write_older_flags(tmp_path / 'flags.txt', config)
    assert keep_older_values(config, ['model'], resume=True).initialiser == 'fan_in'
    assert keep_older_values(config, ['model'], resume=False).initialiser == 'fan_out'
    assert keep_older_values(config, ['model', 'initialiser'], resume=True).initialiser == 'fan_out'


def test_names_of_runs_tell_schemes_apart():
    assert 'init' not in name_run(TrainConfig())
    assert 'init' not in name_run(TrainConfig(model='resnet50', initialiser='zero_gamma'))
    assert '_init_fan_out_' in f'_{name_run(TrainConfig(model="resnet50", initialiser="fan_out"))}'
    assert '_init_fan_in_' in f'_{name_run(TrainConfig(initialiser="fan_in"))}'


def test_learning_benchmark_compares_both_sides_and_resumes(painted_sound, tmp_path):
    if not torch_venv.PYTHON.exists():
        pytest.skip(f'no PyTorch in {torch_venv.FOLDER} (python -m tests.benchmarks.torch_venv)')
    command = ('-m', 'tests.benchmarks.learning', '--networks=resnet18', '--seeds=1', '--epochs=1', '--images=8')
    command += (f'--data={painted_sound / "stills_a"}', f'--output={tmp_path}', '--image_size=32', '--batch_size=4')
    first = run(*command, '--threads=1')
    (ours,) = re.findall(r'\| zero_gamma \| (\d+\.\d\d) \| (\d+\.\d) \|', first.out)
    (theirs,) = re.findall(r'\| PyTorch \| (\d+\.\d\d) \| (\d+\.\d) \|', first.out)
    assert 0 < float(ours[0]) < 20
    assert 0 < float(theirs[0]) < 20
    assert f'zero_gamma - PyTorch: {float(ours[1]) - float(theirs[1]):+.1f} points' in first.out
    second = run(*command, '--threads=1')
    assert second.out == first.out
    assert (first.err.count('$ '), second.err.count('$ ')) == (2, 0)
    refused = run(*command, '--threads=1', '--learning_rate=0.1', ok=False)
    assert (refused.code, refused.err.count('choose another --output')) == (2, 1)


def test_zero_gamma_without_branches_is_refused(painted):
    check_config(tiny_config(painted, 'finetune', 'resnet50', initialiser='zero_gamma'))
    with pytest.raises(InputError, match='--initialiser=zero_gamma: --model=vgg_face has no residual branches'):
        check_config(tiny_config(painted, 'finetune', initialiser='zero_gamma'))
