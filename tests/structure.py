# SPDX-License-Identifier: Apache-2.0
"""Measures our structure: python -m tests.structure

Prints the rooms of the package and what each imports, circles among rooms and among files, the longest functions and
files, functions with more than eight parameters, and classes of one name.
"""

import ast
from collections import defaultdict
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def read_modules() -> dict[str, ast.Module]:
    """Returns the syntax tree of each module of the package, by its dotted name."""
    modules = {}
    for path in sorted((ROOT / 'fer').rglob('*.py')):
        parts = path.relative_to(ROOT).with_suffix('').parts
        name = '.'.join(parts[:-1] if parts[-1] == '__init__' else parts)
        modules[name] = ast.parse(path.read_text(encoding='utf-8'))
    return modules


def import_graph(modules: dict[str, ast.Module]) -> dict[str, set[str]]:
    """Returns the modules of the package that each imports, at its start or in a function."""
    graph: dict[str, set[str]] = {name: set() for name in modules}
    for name, tree in modules.items():
        for node in ast.walk(tree):
            found = []
            if isinstance(node, ast.Import):
                found = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and node.module:
                inner = [f'{node.module}.{alias.name}' for alias in node.names]
                found = [whole if whole in modules else node.module for whole in inner]
            graph[name] |= {target for target in found if target in modules and target not in (name, 'fer')}
    return graph


def room_of(module: str) -> str:
    """Returns the folder below fer/ that a module is in, or its own name at the top."""
    top = '.'.join(module.split('.')[:2])
    return top if (ROOT / top.replace('.', '/')).is_dir() else f'{top}.py'


def room_graph(graph: dict[str, set[str]]) -> dict[str, set[str]]:
    """Returns the rooms that each room imports."""
    rooms: dict[str, set[str]] = defaultdict(set)
    for name, targets in graph.items():
        rooms[room_of(name)] |= {room_of(target) for target in targets} - {room_of(name)}
    return dict(rooms)


def find_circle(graph: dict[str, set[str]]) -> list[str]:
    """Returns the names along a circle, none without a circle."""
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return error.args[1]
    return []


def functions(modules: dict[str, ast.Module]) -> list[tuple[int, int, str]]:
    """Returns lines, number of parameters and name of each function and method."""
    return [
        (node.end_lineno - node.lineno + 1, _parameters(node), f'{name}.{node.name}')
        for name, tree in modules.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef)
    ]


def _parameters(node: ast.FunctionDef) -> int:
    return sum(map(len, (node.args.posonlyargs, node.args.args, node.args.kwonlyargs)))


def classes_of_one_name(modules: dict[str, ast.Module]) -> dict[str, list[str]]:
    """Returns the modules of each class name that several have."""
    places = defaultdict(list)
    for name, tree in modules.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.ClassDef):
                places[node.name].append(name)
    return {name: found for name, found in places.items() if len(found) > 1}


def main() -> None:
    modules = read_modules()
    graph = import_graph(modules)
    rooms = room_graph(graph)
    print('rooms:')
    for room, targets in sorted(rooms.items()):
        if not room.endswith('.py'):
            print(f'  {room} -> {", ".join(sorted(target for target in targets if not target.endswith(".py"))) or "-"}')
    print(f'circle of rooms: {" -> ".join(find_circle(rooms)) or "none"}')
    print(f'circle of files: {" -> ".join(find_circle(graph)) or "none"}')
    found = functions(modules)
    print('longest functions:')
    for lines, _, name in sorted(found, reverse=True)[:10]:
        print(f'  {lines} lines: {name}')
    print('functions with more than eight parameters:')
    for _, number, name in sorted(found, key=lambda row: -row[1]):
        if number > 8:
            print(f'  {number}: {name}')
    sizes = {path: len(path.read_text(encoding='utf-8').splitlines()) for path in (ROOT / 'fer').rglob('*.py')}
    print('longest files:')
    for path, lines in sorted(sizes.items(), key=lambda item: -item[1])[:5]:
        print(f'  {lines} lines: {path.relative_to(ROOT)}')
    tests = sum(len(path.read_text(encoding='utf-8').splitlines()) for path in (ROOT / 'tests').rglob('*.py'))
    print(f'lines of Python: {sum(sizes.values())} in fer/, {tests} in tests/')
    print('classes of one name:')
    for name, places in sorted(classes_of_one_name(modules).items()):
        print(f'  {name}: {", ".join(places)}')


if __name__ == '__main__':
    main()
