# SPDX-License-Identifier: Apache-2.0
"""The tests that docs/promises.md names: they exist, and are slow if it marks them (slow)."""

import ast
import re

import pytest
from conftest import ROOT

TEXT = (ROOT / 'docs' / 'promises.md').read_text()
NAMED = re.findall(r'`(tests/\w+\.py)::(\w+)`( \(slow\))?', TEXT)


@pytest.mark.parametrize(('path', 'name', 'slow'), NAMED)
def test_named_test_exists(path, name, slow):
    functions = [
        node
        for node in ast.parse((ROOT / path).read_text()).body
        if isinstance(node, ast.FunctionDef) and node.name == name
    ]
    assert len(functions) == 1
    marks = [ast.unparse(mark) for mark in functions[0].decorator_list]
    assert ('pytest.mark.slow' in marks) == bool(slow)


def test_one_row_names_no_test():
    rows = [line for line in TEXT.splitlines() if line.startswith('| ')]
    rows = [row for row in rows if not row.startswith(('| promise', '| change'))]
    without = [row for row in rows if '::' not in row]
    assert len(rows) > 20
    assert len(without) == 1  # it is about GPUs, and no test has one
