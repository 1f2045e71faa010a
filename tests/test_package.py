"""The house rules that a machine can check."""

import ast
import subprocess
import sys

import pytest
from conftest import ROOT, run

SOURCES = [*ROOT.glob('*.py'), *(ROOT / 'fer').rglob('*.py')]


def imports(path):
    """Top-level names of the modules that a file imports, and the whole names beside them."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f'{node.module}.{alias.name}' for alias in node.names)


def importers(*names):
    return sorted(
        str(path.relative_to(ROOT))
        for path in SOURCES
        if any(module == name or module.startswith(f'{name}.') for module in imports(path) for name in names)
    )


def test_tensorflow_has_one_door():
    """And a back door: the mtcnn package runs it eagerly, which fer/tf1.py turns off."""
    assert importers('tensorflow', 'tf_slim', 'tf_keras', 'keras', 'mtcnn') == ['fer/prepare/mtcnn.py', 'fer/tf1.py']


def test_rooms_look_one_way():
    graph = importers('fer.tf1')
    without = ('fer/prepare/', 'fer/evaluation/', 'fer/fusion/', 'fer/report/')
    assert not [path for path in graph if path.startswith(without)]
    for room, rooms_to_its_right in (
        ('fer/prepare/', ('fer.data', 'fer.nets', 'fer.training', 'fer.evaluation', 'fer.fusion', 'fer.report')),
        ('fer/data/', ('fer.prepare', 'fer.nets', 'fer.training', 'fer.evaluation', 'fer.fusion', 'fer.report')),
        ('fer/nets/', ('fer.prepare', 'fer.data', 'fer.training', 'fer.evaluation', 'fer.fusion', 'fer.report')),
        ('fer/evaluation/', ('fer.prepare', 'fer.data', 'fer.nets', 'fer.training', 'fer.fusion', 'fer.report')),
    ):
        assert not [path for path in importers(*rooms_to_its_right) if path.startswith(room)], room


def test_flags_are_read_in_entry_points_only():
    entries = {'train.py', 'evaluate.py', 'fusion.py', 'fer/cli.py', 'fer/demo/tables.py'}
    flagfiles = {'fer/flagfiles.py'}  # reads them with absl's own reader
    assert {path for path in importers('absl') if not path.endswith('__main__.py')} <= entries | flagfiles


@pytest.mark.parametrize(
    'command',
    [
        *[(script,) for script in ('train.py', 'evaluate.py', 'fusion.py')],
        ('-m', 'fer.data.check'),
        *[('-m', f'fer.prepare{room}') for room in ('', '.smile', '.statistics', '.synthetic')],
        ('-m', 'fer.extract'),
        ('-m', 'fer.report'),
        ('-m', 'fer.experiment'),
        ('-m', 'fer.demo'),
        ('-m', 'fer.demo.tables'),
        ('-m', 'fer.nets'),
    ],
)
def test_help(command):
    done = run(*command, '--help')
    assert '--' in done.out
    assert done.err == ''


def test_help_does_not_wait_for_tensorflow():
    """Which takes four seconds to import; SciPy and pandas take one together."""
    for module in (
        'train',
        'evaluate',
        'fusion',
        'fer.nets',
        'fer.nets.__main__',
        'fer.extract.__main__',
        'fer.data.check.__main__',
    ):
        heavy = f'import sys, {module}; print(sorted({{"tensorflow", "scipy", "pandas"}} & set(sys.modules)))'
        assert run('-c', heavy).out == '[]\n', module


def test_a_runs_output_is_ours():
    done = run('-c', 'from fer.tf1 import tf, slim; slim.batch_norm(tf.zeros([2, 3, 3, 1])); print(tf.__version__)')
    assert done.out == '2.15.1\n'
    assert done.err == ''


def test_another_python_gets_one_line(tmp_path):
    other = tmp_path / 'python3.12'
    other.write_text('#!/bin/sh\n[ "$1" = --version ] && echo Python 3.12.1 && exit 0\nexit 1\n')
    other.chmod(0o755)
    # From a folder without .venv, as in an empty clone.
    for name in ('Makefile', 'setup.py'):
        (tmp_path / name).write_text((ROOT / name).read_text())
    done = subprocess.run(
        ['make', '--no-print-directory', 'venv', f'PYTHON={other}'], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert 'CPython 3.10 and 3.11' in line
    assert 'found Python 3.12.1' in line
    assert not (tmp_path / '.venv').exists()


def test_this_python_is_supported():
    assert (3, 10) <= sys.version_info[:2] <= (3, 11)


# What would run code that a file brings, hand a file's name to a shell, or write where an archive says.
CODE_IN_DATA = ('pickle', 'cPickle', 'dill', 'cloudpickle', 'joblib', 'shelve', 'marshal', 'yaml', 'torch', 'commands')
FORBIDDEN_CALLS = (
    *('eval', 'exec', 'compile', '__import__', 'os.system', 'os.popen', 'subprocess.getoutput', 'tempfile.mktemp'),
    *('subprocess.getstatusoutput', 'torch.load', 'pd.read_pickle', 'pd.eval', 'shutil.unpack_archive', 'yaml.load'),
    *('tf.keras.models.load_model', 'tf.saved_model.load'),
)
FORBIDDEN_METHODS = ('extractall', 'extract', 'eval', 'query', 'read_pickle', 'load_model', 'unpack_archive')


def calls(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call):
            yield node, ast.unparse(node.func), {word.arg: ast.unparse(word.value) for word in node.keywords}


def test_nothing_that_is_read_is_run():
    """Modules that unpickle, calls that run text or unpack archives, and shells."""
    assert importers(*CODE_IN_DATA) == []
    for path in SOURCES:
        for node, name, keywords in calls(path):
            where = f'{path.relative_to(ROOT)}:{node.lineno}: {name}'
            assert name not in FORBIDDEN_CALLS, where
            assert name.rpartition('.')[2] not in FORBIDDEN_METHODS or '.' not in name, where
            assert keywords.get('shell', 'False') == 'False', where
            if name in ('np.load', 'numpy.load'):
                assert keywords.get('allow_pickle') == 'False', where
            assert keywords.get('allow_pickle', 'False') == 'False', where
            if name == 'Environment':  # of templates
                assert keywords['autoescape'] == 'True', where
