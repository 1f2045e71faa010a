# SPDX-License-Identifier: Apache-2.0
"""Interpreters, versions, the locks, the wheel, and `python -m fer.doctor`."""

import importlib.metadata
import json
import re
import shutil
import subprocess
import sys
import types
from pathlib import Path

import pytest
from conftest import ROOT, run
from packaging.requirements import Requirement

from fer import doctor, gpus, installation, interpreter, stack
from fer.cli import run as run_command
from fer.errors import InputError
from fer.runs import provenance
from fer.stack import STACKS, find_stack

MINORS = [f'3.{minor}' for minor in range(interpreter.OLDEST[1], interpreter.NEWEST[1] + 1)]


def locked(minor):
    """Returns {package: version} of a lock."""
    lines = (ROOT / 'requirements' / f'{minor}.txt').read_text().split()
    return dict(line.split('==') for line in lines)


def test_this_python_is_supported():
    assert interpreter.explain_unsupported() == ''


@pytest.mark.parametrize(
    ('name', 'says'),
    [
        ('CPython 3.9.18', 'found CPython 3.9.18, 64 bits'),
        ('CPython 3.14.0', 'found CPython 3.14.0, 64 bits'),
        ('PyPy 3.11.13', 'found PyPy 3.11.13, 64 bits'),
        ('CPython 3.12.1 on 32 bits', 'found CPython 3.12.1, 32 bits'),
        ('CPython 3.12.1 on Windows', 'use WSL2'),
    ],
)
def test_unsupported_python_gets_one_line(monkeypatch, capsys, name, says):
    kind, version = name.split()[:2]
    monkeypatch.setattr(interpreter.platform, 'python_implementation', lambda: kind)
    monkeypatch.setattr(interpreter.platform, 'python_version', lambda: version)
    fake = types.SimpleNamespace(**vars(sys))
    fake.version_info = tuple(map(int, version.split('.')))
    fake.maxsize = 2**31 - 1 if name.endswith('32 bits') else sys.maxsize
    monkeypatch.setattr(interpreter, 'sys', fake)
    monkeypatch.setattr(interpreter, 'os', types.SimpleNamespace(name='nt' if name.endswith('Windows') else 'posix'))
    fake.stderr = sys.stderr
    with pytest.raises(SystemExit) as ended:
        interpreter.require_supported()
    assert ended.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert says in line


@pytest.mark.parametrize('name', ['train.py', 'fer.prepare', 'fer.doctor'])
def test_a_command_on_another_python_is_one_line(name):
    """The check comes before other imports, whose syntax an older Python may not have."""
    start = f'runpy.run_path({name!r}' if name.endswith('.py') else f'runpy.run_module({name!r}'
    code = (
        f'import runpy, sys; sys.version_info = (3, 9, 18); sys.modules["absl"] = None; {start}, run_name="__main__")'
    )
    done = run('-c', code, ok=False)
    assert (done.code, done.out) == (2, '')
    (line,) = done.err.splitlines()
    assert 'runs on CPython 3.10 to 3.13' in line


def test_make_refuses_another_python_in_one_line(tmp_path):
    other = tmp_path / 'python3.9'
    other.write_text('#!/bin/sh\necho "found CPython 3.9.18" >&2\nexit 2\n')
    other.chmod(0o755)
    (tmp_path / 'fer').mkdir()
    for name in ('Makefile', 'setup.py', 'fer/interpreter.py'):  # a folder without .venv, like a fresh clone
        shutil.copy(ROOT / name, tmp_path / name)
    make = ['make', '--no-print-directory', 'venv']
    done = subprocess.run([*make, f'PYTHON={other}'], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr.splitlines()[0] == 'found CPython 3.9.18'
    assert not (tmp_path / '.venv').exists()
    done = subprocess.run([*make, 'PYTHON='], cwd=tmp_path, capture_output=True, text=True)
    assert 'expected CPython 3.10 to 3.13' in done.stderr
    assert done.returncode == 2


def pretend(monkeypatch, **versions):
    """Makes packages appear to have these versions. None means not installed."""
    found = {name.replace('_', '-'): release for name, release in versions.items()}
    monkeypatch.setattr(stack, 'version', lambda name: found.get(name))
    monkeypatch.delenv(stack.UNTESTED, raising=False)


@pytest.mark.parametrize('tested', STACKS, ids=lambda stack: stack.tensorflow)
def test_stacks_are_recognised(monkeypatch, tested):
    minor = tested.tensorflow.rpartition('.')[0]
    pretend(monkeypatch, tensorflow=tested.tensorflow, numpy=f'{tested.numpy}.26.4', tf_keras=f'{minor}.0')
    assert find_stack() == tested
    pretend(monkeypatch, tensorflow_cpu=f'{minor}.9', numpy=f'{tested.numpy}.1', tf_keras=f'{minor}.0')
    assert find_stack() == tested


@pytest.mark.parametrize(
    ('versions', 'says'),
    [
        ({'numpy': '2.1.0'}, 'TensorFlow is not installed'),
        ({'tensorflow': '2.13.0', 'numpy': '1.24.0', 'tf_keras': '2.13.0'}, 'TensorFlow 2.13.0 is installed; tested'),
        ({'tensorflow': '2.18.0', 'numpy': '2.0.0', 'tf_keras': '2.18.0'}, 'TensorFlow 2.18.0 is installed; tested'),
        ({'tensorflow': '2.22.0rc0', 'numpy': '2.5.0', 'tf_keras': '2.22.0'}, '2.22.0rc0 is installed; tested'),
        ({'tensorflow': '2.21.0', 'numpy': '1.26.4', 'tf_keras': '2.21.0'}, "pip install 'numpy==2.*'"),
        ({'tensorflow': '2.15.1', 'numpy': '2.0.0', 'tf_keras': '2.15.1'}, "pip install 'numpy==1.*'"),
        ({'tensorflow': '2.21.0', 'numpy': '2.5.0'}, 'tf-keras none is installed beside TensorFlow 2.21.0'),
        ({'tensorflow': '2.21.0', 'numpy': '2.5.0', 'tf_keras': '2.15.1'}, "pip install 'tf-keras==2.21.*'"),
    ],
)
def test_other_versions_get_one_line(monkeypatch, versions, says):
    pretend(monkeypatch, **versions)
    with pytest.raises(InputError, match=re.escape(says)):
        find_stack()
    if 'tensorflow' in versions:
        monkeypatch.setenv(stack.UNTESTED, '1')
        assert find_stack() == STACKS[versions['tensorflow'] >= '2.16']


def test_another_tensorflow_ends_in_one_line(tmp_path):
    """The version comes from metadata, here of a TensorFlow that is not really installed."""
    fake = tmp_path / 'tensorflow-2.18.0.dist-info'
    fake.mkdir()
    (fake / 'METADATA').write_text('Metadata-Version: 2.1\nName: tensorflow\nVersion: 2.18.0\n')
    code = f'import sys; sys.path.insert(0, {str(tmp_path)!r}); from fer.nets.__main__ import run; run()'
    done = run('-c', code, ok=False)
    assert done.code == 2
    (line,) = done.err.splitlines()
    assert 'TensorFlow 2.18.0 is installed; tested are 2.15.1' in line


def test_a_failed_import_shows_the_log(capfd):
    def fail():
        with stack.quiet_import():
            subprocess.run(['sh', '-c', 'echo why >&2'], check=True)
            raise ImportError

    with pytest.raises(ImportError):
        fail()
    assert capfd.readouterr().err == 'why\n'
    with stack.quiet_import():
        subprocess.run(['sh', '-c', 'echo noise >&2'], check=True)
    assert capfd.readouterr().err == ''


@pytest.mark.parametrize('minor', MINORS)
def test_locks_follow_the_stacks_and_setup_py(minor):
    packages = locked(minor)
    tested = STACKS[int(minor.split('.')[1]) >= 12]
    assert packages['tensorflow'] == tested.tensorflow
    assert packages['numpy'].startswith(f'{tested.numpy}.')
    assert ('tensorflow-addons' in packages) == tested.has_addons
    environment = {'python_version': minor, 'python_full_version': f'{minor}.0'}
    for needed in map(Requirement, importlib.metadata.requires(doctor.DISTRIBUTION)):
        if not needed.marker or needed.marker.evaluate({**environment, 'extra': ''}):
            assert needed.specifier.contains(packages[needed.name]), needed


def test_setup_py_names_the_supported_pythons():
    assert f'OLDEST, NEWEST = {interpreter.OLDEST}, {interpreter.NEWEST}' in (ROOT / 'setup.py').read_text()


def test_every_command_of_the_wheel_can_be_started():
    commands = importlib.metadata.distribution(doctor.DISTRIBUTION).entry_points
    assert len(commands) == 18
    for name, module in ((command.name, command.module) for command in commands):
        code = f'import sys; sys.argv = [{name!r}, "--help"]; import {module} as m; m.run()'
        done = run('-c', code)
        assert f'\n{name}:\n' in done.out or name in ('fer-doctor', 'fer-networks'), name  # these have no flags
        assert not done.out.startswith('\nUSAGE'), name  # absl prints this without a docstring


def test_configs_are_found_from_any_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    own = installation.find_config('configs/demo/vgg_face.flags')
    assert own == ROOT / 'configs' / 'demo' / 'vgg_face.flags'
    assert str(installation.find_config('configs/none.flags')) == 'configs/none.flags'
    assert str(installation.find_config('other/demo')) == 'other/demo'
    (tmp_path / 'configs' / 'demo').mkdir(parents=True)
    (tmp_path / 'configs' / 'demo' / 'vgg_face.flags').write_text('--width=1\n')
    assert str(installation.find_config('configs/demo/vgg_face.flags')) == 'configs/demo/vgg_face.flags'


def run_doctor(monkeypatch, capsys):
    """Runs the doctor in this process and returns its exit code and lines."""
    monkeypatch.setattr(sys, 'argv', ['fer.doctor'])
    with pytest.raises(SystemExit) as ended:
        run_command(doctor.main)
    return ended.value.code, capsys.readouterr().out.splitlines()


def test_doctor_finds_no_fault_here():
    done = run('-m', 'fer.doctor')
    assert done.out.endswith('all is well\n')
    assert len(done.out.splitlines()) < 25  # one screen
    for part in ('project', 'packages', 'CPU', 'TensorFlow', 'GPU', 'ffmpeg', 'openSMILE', 'disk here'):
        assert re.search(rf'^  {part} ', done.out, re.MULTILINE), part
    assert f'tensorflow {importlib.metadata.version("tensorflow")}' in done.out


@pytest.mark.parametrize(
    ('change', 'says'),
    [
        ({'_probe': lambda code: (-11, 'killed by signal 11; no message')}, 'killed by signal 11'),
        ({'version': lambda name: '22.5.1' if name == 'fer' else '1.0'}, 'pip uninstall fer afew-fer'),
        ({'_cpu_flags': lambda: frozenset(['sse4'])}, 'need AVX'),
        ({'_LEAST_DISK': 2**80}, 'free some space'),
        (
            {
                'find_cards': lambda: gpus.Cards('Some card, 8 GB', True),
                'explain_unused': lambda *_, **__: gpus.Unused('libcudnn.so.8 cannot be opened', 'install it'),
            },
            'libcudnn',
        ),
    ],
)
def test_doctor_names_the_remedy(monkeypatch, capsys, change, says):
    monkeypatch.setattr(doctor, '_probe', lambda code: (0, '[[], true]'))
    for name, value in change.items():
        monkeypatch.setattr(doctor, name, value)
    code, lines = run_doctor(monkeypatch, capsys)
    assert code == 1
    index = next(index for index, line in enumerate(lines) if says in line)
    marked = [line for line in lines if line.startswith('!')]
    assert marked
    assert any(lines[index - back].startswith('!') for back in (0, 1))
    assert lines[-1] == f'{len(marked)} to be repaired'


@pytest.mark.slow
def test_a_wheel_works_without_the_checkout(tmp_path):
    """A wheel of this checkout, installed elsewhere, prepares, trains, evaluates, fuses and plans tables."""
    pip = [sys.executable, '-m', 'pip', '--quiet', '--disable-pip-version-check']
    subprocess.run([*pip, 'wheel', '--no-deps', f'--wheel-dir={tmp_path}', str(ROOT)], check=True)
    (wheel,) = tmp_path.glob('afew_fer-*.whl')
    subprocess.run([sys.executable, '-m', 'venv', tmp_path / 'venv'], check=True)
    # Adds the packages of this environment without the checkout, because .pth files in an added folder are not read.
    (folder,) = (tmp_path / 'venv').glob('lib/python*/site-packages')
    (folder / 'dependencies.pth').write_text(f'{Path(pytest.__file__).parents[1]}\n')
    target = [f'--target={folder}', '--no-deps', '--no-index', str(wheel)]
    subprocess.run([*pip, 'install', *target], check=True)
    work = tmp_path / 'work'
    work.mkdir()

    def command(name, *flags):
        done = subprocess.run(
            [tmp_path / 'venv' / 'bin' / 'python', folder / 'bin' / name, *flags],
            cwd=work,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr[-3000:]
        return done.stdout

    assert f'installed package {folder}' in command('fer-doctor')
    assert 'starter:voice' in command('fer-starter')
    about = next(folder.glob('afew_fer-*.dist-info'))
    assert 'License-Expression: Apache-2.0 AND LicenseRef-' in (about / 'METADATA').read_text()
    assert (about / 'licenses' / 'fer' / 'starter' / 'LICENSE').exists()
    command('fer-synthetic', '--output=raw', '--train_videos=8', '--val_videos=7', '--test_videos=0')
    command('fer-prepare', '--source=raw', '--output=data', '--detector=skin', '--image_size=32', '--margin=0')
    settings = ('--flagfile=configs/demo/vgg_face.flags', '--image_size=32', '--max_steps=4')
    manifests = ('--train_manifest=data/train.txt', '--val_manifest=data/val.txt')
    for seed in (0, 1):
        command('fer-train', *settings, *manifests, f'--seed={seed}', f'--run_dir=runs/{seed}')
        command('fer-evaluate', f'--run_dir=runs/{seed}', '--manifest=data/val.txt')
    command('fer-fuse', '--results=runs/0/results_val.txt,runs/1/results_val.txt', '--method=2', '--output=fused')
    assert json.loads((work / 'fused' / 'metrics_val.json').read_text())['total'] == 7
    assert '0/1 runs done' in command('fer-experiment', 'plan', '--table=6.2-t1-r13')
    about = json.loads((work / 'runs' / '0' / 'environment.json').read_text())
    assert about['commit'] in (provenance.commit(), None)  # None if the checkout has uncommitted changes
    command('fer-report', '--runs=runs', '--output=report')
    assert (work / 'report' / 'index.html').exists()
