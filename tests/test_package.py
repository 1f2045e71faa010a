"""The house rules that a machine can check."""

import ast
import functools
import importlib.metadata
import subprocess
import sys

import pytest
from conftest import ROOT, run

SOURCES = [*ROOT.glob('*.py'), *(ROOT / 'fer').rglob('*.py')]


@functools.cache
def imports(path):
    """Top-level names of the modules that a file imports, and the whole names beside them."""
    return tuple(_imports(path))


def _imports(path):
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
    without = ('fer/prepare/', 'fer/results/', 'fer/fusion/', 'fer/report/')
    assert not [path for path in graph if path.startswith(without)]
    for room, rooms_to_its_right in (
        ('fer/prepare/', ('fer.data', 'fer.nets', 'fer.training', 'fer.results', 'fer.fusion', 'fer.report')),
        ('fer/data/', ('fer.prepare', 'fer.nets', 'fer.training', 'fer.results', 'fer.fusion', 'fer.report')),
        ('fer/nets/', ('fer.prepare', 'fer.data', 'fer.training', 'fer.results', 'fer.fusion', 'fer.report')),
        ('fer/results/', ('fer.prepare', 'fer.data', 'fer.nets', 'fer.training', 'fer.fusion', 'fer.report')),
    ):
        assert not [path for path in importers(*rooms_to_its_right) if path.startswith(room)], room


def test_tensorflow_addons_have_one_door():
    assert importers('tensorflow_addons') == ['fer/tf1.py']


def test_flags_are_read_in_entry_points_only():
    entries = {f'fer/commands/{name}.py' for name in ('train', 'evaluate', 'fusion')} | {'fer/cli.py'}
    entries |= {'fer/demo/tables.py', 'fer/flags.py'}
    assert {path for path in importers('absl') if not path.endswith('__main__.py')} <= entries


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
        ('-m', 'fer.doctor'),
    ],
)
def test_help(command):
    done = run(*command, '--help')
    assert '--' in done.out
    assert done.err == ''


def test_help_may_be_cut_short():
    done = subprocess.run(
        f'"{sys.executable}" train.py --help | true', shell=True, cwd=ROOT, capture_output=True, text=True
    )
    assert done.stderr == ''


def test_help_does_not_wait_for_tensorflow():
    """Which takes four seconds to import; SciPy and pandas take one together."""
    for module in (
        'fer.commands.train',
        'fer.commands.evaluate',
        'fer.commands.fusion',
        'fer.nets',
        'fer.nets.__main__',
        'fer.extract.__main__',
        'fer.data.check.__main__',
    ):
        heavy = f'import sys, {module}; print(sorted({{"tensorflow", "scipy", "pandas"}} & set(sys.modules)))'
        assert run('-c', heavy).out == '[]\n', module


def test_a_runs_output_is_ours():
    done = run('-c', 'from fer.tf1 import tf, slim; slim.batch_norm(tf.zeros([2, 3, 3, 1])); print(tf.__version__)')
    assert done.out == f'{importlib.metadata.version("tensorflow")}\n'
    assert done.err == ''


def test_preparation_prints_nothing_of_tensorflow():
    done = run('-c', 'import fer.prepare.mtcnn as mtcnn; mtcnn.Mtcnn()')
    assert (done.out, done.err) == ('', '')


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
