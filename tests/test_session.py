# SPDX-License-Identifier: Apache-2.0
"""Sessions: the settings for speed, and their effect on results and threads."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from conftest import run, tiny_config
from nets import load_seeded
from test_stages import make_batch, make_blueprint, start

from fer.errors import InputError
from fer.nets.resnet import SLIM
from fer.runs.config import TrainConfig, read_flagfile, write_flagfile
from fer.settings import settings_of
from fer.tf1 import tf
from fer.training.graph import LOSS_SCALE, build_graph, build_step
from fer.training.losses import Loss
from fer.training.optimizers import ParameterGroup
from fer.training.run_inputs import load_data
from fer.training.schedule import Phase
from fer.training.session import SessionSettings, check_session, open_session, session_config, session_settings
from fer.training.stages import Blueprint, get_stage
from fer.training.tower import Tower, build_tower
from fer.training.train import train


def test_default_settings_turn_nothing_on():
    config = session_config(SessionSettings())
    assert config.gpu_options.allow_growth
    assert config.graph_options.optimizer_options.global_jit_level == tf.OptimizerOptions.DEFAULT
    rewriting = config.graph_options.rewrite_options
    assert rewriting.auto_mixed_precision == rewriting.DEFAULT
    assert (config.intra_op_parallelism_threads, config.inter_op_parallelism_threads) == (0, 0)


@pytest.mark.parametrize('gpus', [[], ['a GPU']])
def test_settings_reach_the_session(monkeypatch, gpus):
    monkeypatch.setattr(tf.config, 'list_physical_devices', lambda kind: gpus)
    config = session_config(SessionSettings(True, True, 3, 2))
    options = config.graph_options.optimizer_options
    assert (options.global_jit_level, options.cpu_global_jit) == (tf.OptimizerOptions.ON_1, True)
    rewriting = config.graph_options.rewrite_options
    float16, bfloat16 = rewriting.auto_mixed_precision, rewriting.auto_mixed_precision_onednn_bfloat16
    assert (float16, bfloat16) == ((rewriting.ON, 0) if gpus else (0, rewriting.ON))
    assert (config.intra_op_parallelism_threads, config.inter_op_parallelism_threads) == (3, 2)


def test_mixed_precision_needs_hardware(monkeypatch, tmp_path):
    monkeypatch.setattr(tf.config, 'list_physical_devices', lambda kind: [])
    monkeypatch.setattr('fer.cpus.CPU_INFO', tmp_path / 'cpuinfo')
    mixed = SessionSettings(mixed_precision=True)
    for flags in (None, 'flags\t: fpu avx2 avx512_bf16x\n'):
        if flags:
            (tmp_path / 'cpuinfo').write_text(flags)
        with pytest.raises(
            InputError, match='--mixed_precision: found no GPU, and the CPU has none of amx_bf16, avx512_b'
        ):
            check_session(mixed)
    (tmp_path / 'cpuinfo').write_text('flags\t: fpu avx2 avx512_bf16\n')
    check_session(mixed)
    monkeypatch.setenv('TF_ENABLE_ONEDNN_OPTS', '0')
    with pytest.raises(InputError, match='or oneDNN is off'):
        check_session(mixed)
    monkeypatch.setattr(tf.config, 'list_physical_devices', lambda kind: ['a GPU'])
    check_session(mixed)


@pytest.mark.parametrize('chunk', [0, 5])
def test_gradients_in_mixed_precision_are_near_float32(chunk):
    """The gradients also differ a little, which shows that mixed precision has an effect."""
    mixed = SessionSettings(mixed_precision=True)
    try:
        check_session(mixed)
    except InputError as error:
        pytest.skip(str(error))
    blueprint = make_blueprint(stage='finetune', dropout=0.0)
    found = []
    for settings in (SessionSettings(), mixed):
        with tf.Graph().as_default():
            tf.train.get_or_create_global_step()
            batch, values = make_batch(blueprint)
            tower = build_tower(blueprint, batch, is_training=True, chunk_size=chunk)
            step = build_step(
                tower,
                [ParameterGroup(tf.train.AdamOptimizer(0.0), tf.trainable_variables())],
                0.0,
                Phase.ALL,
                mixed_precision=settings.mixed_precision,
            )
            with open_session(settings) as session:
                start(session)
                load_seeded(session, blueprint.config.model)
                found.append(session.run([tower.loss.total, step.norm], values))
    np.testing.assert_allclose(*found, rtol=0.03)
    assert np.abs(np.subtract(*found)).max() > 0


@pytest.mark.parametrize('name', ['intra_op_threads', 'inter_op_threads'])
def test_threads_out_of_range_are_refused(painted, tmp_path, name):
    config = tiny_config(painted, 'finetune', run_dir=tmp_path / 'run', **{name: -1})
    with pytest.raises(InputError, match=f'--{name}=-1: expected 0'):
        train(config, resume=False, overwrite=False)
    assert not (tmp_path / 'run').exists()


def test_loss_scale_keeps_the_steps():
    """The steps are in float32, where scaling the loss by a power of two is exact."""
    moved = []
    for mixed in (False, True):
        with tf.Graph().as_default(), tf.Session() as session:
            weights = tf.get_variable('weights', initializer=np.linspace(-1, 1, 5).astype(np.float32))
            loss = tf.reduce_sum(weights**3)
            tower = Tower(weights, weights, loss, Loss(loss, loss, []))
            tf.train.get_or_create_global_step()
            groups = [ParameterGroup(tf.train.AdamOptimizer(0.1), [weights])]
            step = build_step(tower, groups, 0.0, Phase.ALL, mixed_precision=mixed)
            session.run(tf.global_variables_initializer())
            norms = [session.run([step.norm, step.train])[0] for _ in range(3)]
            moved.append((norms, session.run(weights), session.run(tf.train.get_global_step())))
    assert np.log2(LOSS_SCALE).is_integer()
    for part, other in zip(*moved, strict=True):
        np.testing.assert_array_equal(part, other)


def test_older_flags_are_read_with_defaults(painted, tmp_path):
    config = tiny_config(painted, 'finetune', run_dir=tmp_path / 'run')
    write_flagfile(tmp_path / 'flags.txt', config)
    lines = (tmp_path / 'flags.txt').read_text().splitlines()
    new = [f'--{name}=' for name, one in settings_of(TrainConfig).items() if one.is_later]
    old = [line for line in lines if not line.startswith(tuple(new))]
    assert len(old) == len(lines) - len(new)
    (tmp_path / 'flags.txt').write_text('\n'.join(old) + '\n')
    before = dataclasses.replace(config, initialiser='fan_in')
    assert read_flagfile(tmp_path / 'flags.txt') == before  # every other default is what older runs did
    assert session_settings(config) == SessionSettings()


@pytest.mark.slow
def test_a_run_resumes_with_another_frame_cache(painted, tmp_path, capsys):
    settings = {'run_dir': tmp_path / 'run', 'bucket_by_length': True, 'intra_op_threads': 1, 'inter_op_threads': 1}
    plain = tiny_config(painted, 'finetune', **settings, max_steps=3)
    train(dataclasses.replace(plain, run_dir=str(tmp_path / 'plain')), resume=False, overwrite=False)
    train(dataclasses.replace(plain, max_steps=2), resume=False, overwrite=False)
    train(dataclasses.replace(plain, frame_cache=str(tmp_path / 'cache')), resume=True, overwrite=False)
    assert 'frame cache: filled' in capsys.readouterr().out
    first, second = (tf.train.load_checkpoint(str(tmp_path / name)) for name in ('plain', 'run'))
    for name in first.get_variable_to_shape_map():
        np.testing.assert_array_equal(first.get_tensor(name), second.get_tensor(name))
    with pytest.raises(InputError, match=r'--resume: .* settings differ from .*: --bucket_by_length=False'):
        train(dataclasses.replace(plain, bucket_by_length=False), resume=True, overwrite=False)


def test_gradients_wait_for_one_op(painted, tmp_path):
    """One op joins the updates of moving averages, 1,600 in NASNet. Each gradient op would wait for all of them."""
    config = tiny_config(painted, 'finetune', 'resnet50', run_dir=tmp_path / 'run', train_epochs='1')
    blueprint = Blueprint(config, get_stage('finetune', 'resnet50'), SLIM)
    split = load_data(blueprint, config.train_manifest, '', labelled=True)
    with tf.Graph().as_default() as graph:
        build_graph(blueprint, split, None, (1,))
        ties = [len(operation.control_inputs) for operation in graph.get_operations() if operation.type != 'NoOp']
    assert sum(number > 10 for number in ties) < 5  # the last ops of a step wait for every variable


@pytest.mark.slow
def test_checks_before_a_run_keep_its_threads(painted, tmp_path):
    """The first session of a process fixes the number of its threads."""
    if not Path('/proc/self/task').exists():
        pytest.skip('no /proc, where threads are counted')
    code = (
        'import os, sys\n'
        'from pathlib import Path\n'
        'sys.path.insert(0, "tests")\n'
        'from conftest import tiny_config\n'
        'from fer.training.train import train\n'
        'data, run_dir, threads = sys.argv[1:]\n'
        'settings = {"run_dir": run_dir, "max_steps": 1, "val_manifest": "", "on_bad_frame": "skip"}\n'
        'config = tiny_config(Path(data), "finetune", intra_op_threads=int(threads), **settings)\n'
        'train(config, resume=False, overwrite=False)\n'
        'print(len(os.listdir("/proc/self/task")))'
    )
    few, many = (int(run('-c', code, painted, tmp_path / n, n).out.splitlines()[-1]) for n in ('2', '32'))
    assert many - few >= 25
