"""What docs/promises.md names is there, and slow where it says so."""

import ast
import re

import pytest
from conftest import ROOT

TEXT = (ROOT / 'docs' / 'promises.md').read_text()
NAMED = re.findall(r'`(tests/\w+\.py)::(\w+)`( \(slow\))?', TEXT)


@pytest.mark.parametrize(('path', 'name', 'slow'), NAMED)
def test_a_test_holds_it(path, name, slow):
    functions = [
        node
        for node in ast.parse((ROOT / path).read_text()).body
        if isinstance(node, ast.FunctionDef) and node.name == name
    ]
    assert len(functions) == 1
    marks = [ast.unparse(mark) for mark in functions[0].decorator_list]
    assert ('pytest.mark.slow' in marks) == bool(slow)


def test_every_row_names_one_or_says_nothing():
    rows = [
        line for line in TEXT.splitlines() if line.startswith('| ') and not line.startswith(('| promise', '| what'))
    ]
    without = [row for row in rows if '::' not in row]
    assert len(rows) > 20
    assert len(without) == 1  # a GPU is nowhere to be had for tests
