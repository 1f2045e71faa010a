# SPDX-License-Identifier: Apache-2.0
"""The first screen of a run: the manifests it takes, its device, precision, weights and validation, in its words."""

import dataclasses

import numpy as np
import pytest
from conftest import paint_split, run, tiny_config

from fer import gpus
from fer.data.split import describe, load_split
from fer.errors import InputError
from fer.gpus import Cards, Unused, explain_unused
from fer.results.metrics import score_results, summary
from fer.results.results_file import Results
from fer.runs.config import TrainConfig, read_flagfile
from fer.runs.default_data import add_manifests, default_datasets
from fer.stack import STACKS
from fer.tf1 import tf
from fer.training import device
from fer.training.device import Gpu, describe_device, describe_precision
from fer.training.restore import PartReport, VariableStart, describe_weights
from fer.training.run_inputs import read_inputs
from fer.training.session import SessionSettings, check_session, has_gpu, open_first_session, session_config
from fer.training.stages import get_stage
from fer.training.train import train

CARDS = [Gpu('NVIDIA A100', (8, 0)), Gpu('Tesla P100', (6, 0))]


@pytest.fixture
def two_cards(monkeypatch):
    """Lets TensorFlow list two cards."""
    details = {card.name: {'device_name': card.name, 'compute_capability': card.capability} for card in CARDS}
    monkeypatch.setattr(tf.config, 'list_physical_devices', lambda kind=None: [card.name for card in CARDS])
    monkeypatch.setattr(tf.config.experimental, 'get_device_details', details.get)


def test_the_literal_command_trains_and_names_its_device(tmp_path):
    for seed, split in enumerate(('train', 'val')):
        paint_split(tmp_path / 'data' / 'afew', split, [3, 2, 4, 2], seed)
    small = ('--image_size=32', '--width=0.05', '--train_epochs=1')
    command = ('train.py', '--model=vgg_face', '--stage=finetune', '--seq_len=80')
    done = run(*command, *small, folder=tmp_path, quick=True)
    lines = done.out.splitlines()
    manifests = '--train_manifest=data/afew/train.txt --val_manifest=data/afew/val.txt'
    assert lines[0] == f'manifests, the default: {manifests}'
    assert lines[1].startswith('device: ')
    assert lines[2].startswith('precision: float32')
    assert lines[3] == 'weights: nothing is restored: vgg_face fresh (no --init_from)'
    (validation,) = (line for line in lines if line.startswith('validation: '))
    assert f' from {tmp_path / "data/afew/val.txt"}' in validation
    (folder,) = (tmp_path / 'runs/finetune/vgg_face').iterdir()
    assert read_flagfile(folder / 'flags.txt').val_manifest == (str(tmp_path / 'data/afew/val.txt'),)
    # A resumed run keeps its manifests.
    done = run(*command, *small, '--resume', folder=tmp_path, quick=True)
    assert done.out.startswith(
        f'manifests, as in {folder.relative_to(tmp_path)}/flags.txt: --train_manifest={tmp_path}'
    )
    assert 'weights: resumed from' in done.out


def test_a_command_without_data_names_fer_prepare(tmp_path):
    done = run('train.py', '--model=ffn', '--stage=audio', folder=tmp_path, ok=False)
    assert (done.code, done.out) == (2, '')
    assert done.err == (
        'train.py: data/afew/train_functionals.txt, data/afew/val_functionals.txt: no such file, and --train_manifest '
        'is not given; prepare the dataset with python -m fer.prepare --dataset=afew --source=AFEW '
        '--output=data/afew, or give --train_manifest\n'
    )
    assert list(tmp_path.iterdir()) == []


def test_default_stills_are_those_that_exist(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    config = TrainConfig(stage='pretrain')
    with pytest.raises(InputError, match=r'data/fer2013/val.txt: no such file.*dataset=rafdb --detector=mtcnn'):
        add_manifests(config, has_val=False, resume=False)
    for dataset in default_datasets('pretrain', 'vgg_face')[1:]:
        (tmp_path / dataset.train).parent.mkdir(parents=True)
        (tmp_path / dataset.train).touch()
    (tmp_path / 'data/affectnet/val.txt').touch()
    found, lines = add_manifests(config, has_val=False, resume=False)
    assert (found.train_manifest, found.val_manifest) == (('data/affectnet/train.txt',), ('data/affectnet/val.txt',))
    assert lines[0].startswith('manifests, the default: --train_manifest=data/affectnet/train.txt')
    assert [line.partition(' (')[0] for line in lines[1:]] == [
        'not used: data/rafdb/train.txt, data/rafdb/test.txt',
        'not used: data/fer2013/val.txt',
    ]


def test_an_own_manifest_is_never_scored_elsewhere(tmp_path, monkeypatch):
    paint_split(tmp_path / 'data' / 'afew', 'val', [2], seed=0)
    monkeypatch.chdir(tmp_path)
    own = TrainConfig(train_manifest=('mine.txt',))
    assert add_manifests(own, has_val=False, resume=False) == (own, [])
    for val in ((), ('val.txt',)):
        config = dataclasses.replace(TrainConfig(), val_manifest=val)
        with pytest.raises(InputError, match=f'--val_manifest={",".join(val)}: given without --train_manifest; give b'):
            add_manifests(config, has_val=True, resume=False)


def test_a_run_without_validation_says_so(painted_sound, tmp_path, capsys, quick_runs):
    config = tiny_config(painted_sound, 'audio', 'ffn', val_manifest=(), run_dir=str(tmp_path / 'run'), max_steps=1)
    train(config, resume=False, overwrite=False)
    out = capsys.readouterr().out
    assert 'validation: none (no --val_manifest)' in out
    assert 'training: 9 videos (1 without audio) from' in out


@pytest.mark.parametrize(
    ('arguments', 'expected'),
    [
        (([], 0, 0, 2, ''), 'device: CPU, 2 threads'),
        (([], 0, 0, 1, 'No card.'), 'device: CPU, 1 thread. No card.'),
        ((CARDS[:1], 0, 39_500_000_000, 2, ''), 'device: GPU 0, NVIDIA A100, 39.5 GB of memory'),
        (
            (CARDS, 1, 8_000_000_000, 2, ''),
            'device: GPU 1, Tesla P100, 8.0 GB of memory; 1 of 2 GPUs, the others stay free',
        ),
    ],
)
def test_the_device_has_name_and_memory(arguments, expected):
    assert describe_device(*arguments) == expected


@pytest.mark.parametrize(
    ('gpu', 'is_mixed', 'expected'),
    [
        (None, False, 'precision: float32'),
        (None, True, 'precision: bfloat16 mixed with float32 (--mixed_precision)'),
        (CARDS[0], False, 'precision: float32, products in TensorFloat-32'),
        (CARDS[1], False, 'precision: float32'),
        (CARDS[1], True, 'precision: float16 mixed with float32 (--mixed_precision)'),
    ],
)
def test_the_precision_follows_device_and_flag(gpu, is_mixed, expected):
    assert describe_precision(gpu, is_mixed=is_mixed, has_tensor_float=True) == expected


@pytest.mark.skipif(has_gpu(), reason='TensorFlow uses the GPU of this machine')
def test_a_driver_without_use_is_explained(monkeypatch):
    monkeypatch.setattr(device, 'find_cards', lambda: Cards('Some card, 8 GB', True))
    monkeypatch.setattr(device, 'explain_unused', lambda *_, **__: Unused('libx cannot be opened', 'install it'))
    first, second = open_first_session(SessionSettings(intra_op_threads=3))
    assert first == (
        'device: CPU, 3 threads. TensorFlow cannot use the GPU here (Some card, 8 GB), because libx cannot be '
        'opened: install it'
    )
    assert second == 'precision: float32'


@pytest.mark.parametrize('stack', STACKS)
@pytest.mark.parametrize(
    ('visible', 'is_cuda_build', 'library', 'files', 'reason'),
    [
        ('', True, '', '*', 'CUDA_VISIBLE_DEVICES= hides every GPU'),
        ('-1,0', True, '', '*', 'CUDA_VISIBLE_DEVICES=-1,0 hides every GPU'),
        ('0', False, '', '*', 'TensorFlow was built for CPUs only'),
        ('0', True, 'cudnn', '*', 'libcudnn.so.'),
        (None, True, 'nothing', 'none', 'there is no /dev/nvidia0'),
        (None, True, 'nothing', '*', 'the reason is unknown'),
    ],
)
def test_reasons_for_an_unused_gpu(monkeypatch, tmp_path, stack, visible, is_cuda_build, library, files, reason):
    (tmp_path / 'nvidia0').touch()
    monkeypatch.setattr(gpus, '_DEVICES', str(tmp_path / files))
    monkeypatch.setattr(gpus, 'can_open', lambda name: library not in name)
    environment = {} if visible is None else {'CUDA_VISIBLE_DEVICES': visible}
    found = explain_unused(stack, is_cuda_build=is_cuda_build, environment=environment)
    assert found.reason.startswith(reason)
    assert found.remedy


def test_cards_are_found_without_nvidia_smi(monkeypatch, tmp_path):
    monkeypatch.setattr(gpus.shutil, 'which', lambda name: None)
    monkeypatch.setattr(gpus, 'can_open', lambda name: False)
    monkeypatch.setattr(gpus, '_DRIVER', tmp_path)
    assert not gpus.find_cards().has_driver
    (tmp_path / 'version').touch()
    assert gpus.find_cards() == Cards('a card without nvidia-smi', True)
    (tmp_path / 'gpus' / '0000:01:00.0').mkdir(parents=True)
    (tmp_path / 'gpus' / '0000:01:00.0' / 'information').write_text('Model: \t\t NVIDIA A100\nIRQ: 4\n')
    assert gpus.find_cards() == Cards('NVIDIA A100', True)


def test_a_gpu_that_is_not_there_is_refused(two_cards, monkeypatch):
    check_session(SessionSettings(gpu=1, gpu_memory_gb=4.0))
    with pytest.raises(InputError, match=r'--gpu=2: no such GPU; expected one of 0 \(NVIDIA A100\), 1 \(Tesla P100\)'):
        check_session(SessionSettings(gpu=2))
    monkeypatch.setattr(tf.config, 'list_physical_devices', lambda kind: [])
    for settings in (SessionSettings(gpu=0), SessionSettings(gpu_memory_gb=2.5)):
        with pytest.raises(InputError, match=r'--gpu(=0|_memory_gb=2\.5): TensorFlow finds no GPU; remove the flag'):
            check_session(settings)


def test_gpu_settings_reach_the_session(two_cards):
    options = session_config(SessionSettings()).gpu_options
    assert (options.visible_device_list, options.allow_growth) == ('0', True)
    assert not options.experimental.virtual_devices
    options = session_config(SessionSettings(gpu=1, gpu_memory_gb=2.0)).gpu_options
    assert (options.visible_device_list, options.allow_growth) == ('1', True)
    assert [list(one.memory_limit_mb) for one in options.experimental.virtual_devices] == [[1907.0]]


def test_a_gpu_without_memory_is_one_line(monkeypatch):
    def refuse(*_, **__):
        raise tf.errors.InternalError(None, None, 'CUDA_ERROR_OUT_OF_MEMORY: out of memory\nmore')

    monkeypatch.setattr('fer.training.session.open_session', refuse)
    with pytest.raises(InputError, match=r'^--gpu=0: CUDA_ERROR_OUT_OF_MEMORY: out of memory; another job'):
        open_first_session(SessionSettings())


def test_weights_are_named_part_by_part():
    restored = PartReport('vgg_face', 'this project, runs/a', [VariableStart('x', (1,), 'restored', 'x')], [], [])
    fresh = PartReport('temporal', '', [VariableStart('y', (1,), 'fresh', 'no --init_from')], [], [])
    assert describe_weights([restored, fresh]) == (
        'weights: vgg_face from this project, runs/a; temporal fresh (no --init_from)'
    )
    assert describe_weights([fresh]) == 'weights: nothing is restored: temporal fresh (no --init_from)'


@pytest.mark.parametrize(
    ('stage', 'model', 'expected'),
    [
        ('pretrain', 'vgg_face', '9 stills (0 without faces) from'),
        ('finetune', 'vgg_face', '6 videos (1 without frames), 20 frames in 7 windows from'),
        ('audio', 'ffn', '6 videos (1 without audio) from'),
        ('audio', 'audio_gru', '6 videos (1 without clips), 20 clips in 7 windows from'),
        ('early_fusion', 'vgg_face', '6 videos (1 without frames), 20 frames in 7 windows from'),
    ],
)
def test_the_words_follow_the_contents(painted_sound, stage, model, expected):
    config = tiny_config(painted_sound, stage, model)
    split = load_split(config.val_manifest, '', 4, 2, labelled=True, contents=get_stage(stage, model).contents)
    assert describe(split).startswith(expected)


def test_scores_name_what_the_model_answers():
    results = Results(['a', 'b'], np.eye(2, 7), np.array([0, 1]), np.array([0, 2]), np.array([3, 0]), ['-', 'no_audio'])
    metrics = score_results(results, 'a file')
    assert summary(metrics, 'with audio').partition('; ')[2].startswith('with audio 1/1')


def test_resumed_runs_count_classes_in_their_words(painted_sound, tmp_path, quick_runs):
    config = tiny_config(painted_sound, 'pretrain', run_dir=str(tmp_path / 'run'), max_steps=1, train_epochs=(1,))
    train(config, resume=False, overwrite=False)
    other = dataclasses.replace(config, train_manifest=(str(painted_sound / 'stills_b' / 'train.txt'),))
    with pytest.raises(InputError, match='has 7 stills, in classes'):
        read_inputs(other, resumed=True)
