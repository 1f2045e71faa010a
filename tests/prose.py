# SPDX-License-Identifier: Apache-2.0
"""Measures our English: python -m tests.prose [PATH ...] [--list]

Prints, for the documentation, the package and the tests, how long sentences are, how many semicolons and banned words
there are, and which docstrings begin with something else than a verb or the name of a thing. `--list` prints each
place. Paths restrict what is read. Only the banned words are asserted (tests/test_prose.py).
"""

import argparse
import ast
import io
import re
import statistics
import tokenize
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]
ROOMS = {
    'documentation': ('*.md', 'docs', '.github'),
    'package': ('train.py', 'evaluate.py', 'fusion.py', 'setup.py', 'fer', 'configs', 'gpu_jobs', 'Makefile'),
    'tests': ('tests',),
}
SUFFIXES = ('.md', '.py', '.sh', '.pbs', '.flags')

# A pattern, and what to write instead.
BANNED = {
    r'but for': 'except',
    r'tak(?:e|es|en|ing) away|took away': 'remove',
    r'(?:go|goes|going|gone|went) on': 'resume, continue',
    r'lack(?:s|ed|ing)?': 'has no, is missing',
    r'anew': 'again',
    r'sounds?|hear|hears|heard': 'audio',
    r'drawn': 'synthetic; sampled; plotted',
    r'say|says|said|sees|knows': 'prints, lists, means: code does not speak or see',
    r'(?<!there )is no|(?:is|are) (?-i:none)': 'is not',
    r'in vain': 'can never start',
    r'nobody|nothing else': 'name the subject',
}
_BANNED = {re.compile(rf'\b(?:{pattern})\b', re.IGNORECASE): instead for pattern, instead in BANNED.items()}
_NO_BEGINNING = ('what', 'whatever', 'whether', 'which', 'where', 'when', 'that', 'as', 'of', 'for', 'and', 'how')
_SENTENCE_END = re.compile(r'(?<=[.!?:])\s+(?=[A-Z`*(])')
_CODE = re.compile(r'``[^`]*``|`[^`]*`|\{[^{}]*\}|https?://\S+|\S*[/_=]\S*|--\w\S*')
_WORD = re.compile(r"[A-Za-z][A-Za-z'-]*")


class Passage(NamedTuple):
    """A comment, a docstring, a message or a paragraph."""

    path: Path
    line: int
    text: str
    kind: str  # `text`, `comment`, `message`, `cell` of a table, or `module`, `class` and `function` of a docstring


def read_passages(path: Path) -> list[Passage]:
    """Returns the prose of a file: of Python all but code, of Markdown all but code blocks."""
    text = path.read_text(encoding='utf-8')
    if path.suffix == '.py':
        return [*_docstrings_and_messages(path, text), *_comments(path, text)]
    if path.suffix == '.md':
        return list(_paragraphs(path, text))
    return [
        Passage(path, number, line.lstrip('#/ '), 'comment')
        for number, line in enumerate(text.splitlines(), 1)
        if line.startswith(('#', '//')) and not line.startswith(('#!', '#PBS'))
    ]


def _docstrings_and_messages(path: Path, text: str) -> Iterator[Passage]:
    tree = ast.parse(text)
    docstrings = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and (found := ast.get_docstring(node)):
            docstrings.add(id(node.body[0].value))
            kind = {ast.Module: 'module', ast.ClassDef: 'class'}.get(type(node), 'function')
            yield Passage(path, getattr(node, 'lineno', 1), found, kind)
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            docstrings |= {id(part) for part in node.values}
            parts = (part.value if isinstance(part, ast.Constant) else 'X' for part in node.values)
            message = ''.join(map(str, parts))
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docstrings:
            message = node.value
        else:
            continue
        if len(message.split()) >= 4:
            yield Passage(path, node.lineno, message, 'message')


def _comments(path: Path, text: str) -> Iterator[Passage]:
    """Yields comments, those of consecutive lines as one."""
    lines: list[str] = []
    first = last = 0
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type != tokenize.COMMENT or token.string.startswith('#!'):
            continue
        alone = token.line.lstrip().startswith('#')
        if lines and alone and token.start[0] == last + 1:
            lines.append(token.string.lstrip('# '))
        else:
            if lines:
                yield Passage(path, first, ' '.join(lines), 'comment')
            lines, first = [token.string.lstrip('# ')], token.start[0]
        last = token.start[0]
    if lines:
        yield Passage(path, first, ' '.join(lines), 'comment')


def _paragraphs(path: Path, text: str) -> Iterator[Passage]:
    fenced, block, first = False, [], 1
    for number, line in enumerate([*text.splitlines(), ''], 1):
        if line.lstrip().startswith('```'):
            fenced = not fenced
        skipped = fenced or line.lstrip().startswith(('```', '|', '#', ':::', '<'))
        if not fenced and line.startswith('|'):
            yield from (Passage(path, number, cell.strip(), 'cell') for cell in line.strip('|').split('|'))
        starts = line.lstrip().startswith(('- ', '* ', '1. '))
        if block and (skipped or starts or not line.strip()):
            yield Passage(path, first, ' '.join(block), 'text')
            block = []
        if not skipped and line.strip():
            first = first if block else number
            block.append(line.strip().lstrip('-* '))


def sentences(text: str) -> list[list[str]]:
    """Returns the words of each sentence of at least three words; code counts as one word."""
    paragraphs = re.split(r'\n\s*\n', re.sub(r'^\s*[A-Z]\w+:$', '', text, flags=re.MULTILINE))
    plain = [_CODE.sub('X', ' '.join(paragraph.split())) for paragraph in paragraphs]
    found = [_WORD.findall(sentence) for paragraph in plain for sentence in _SENTENCE_END.split(paragraph)]
    return [words for words in found if len(words) >= 3]


def banned(passages: Iterable[Passage], root: Path = ROOT) -> list[str]:
    """Returns `path:line: word (what to write instead)` of each banned word."""
    found = []
    for passage in passages:
        plain = _CODE.sub('X', passage.text)
        for pattern, instead in _BANNED.items():
            found += [
                f'{passage.path.relative_to(root)}:{passage.line}: {match.group()!r} ({instead})'
                for match in pattern.finditer(plain)
            ]
    return found


def badly_begun(passages: Iterable[Passage], root: Path = ROOT) -> list[str]:
    """Returns each docstring that begins like a subordinate clause, and functions' that begin without a verb."""
    found = []
    for passage in passages:
        if passage.kind not in ('module', 'class', 'function'):
            continue
        first = re.split(r'[\s,.:]', passage.text, maxsplit=1)[0].strip('`*_')
        is_test = passage.path.name.startswith('test_')
        verbless = passage.kind == 'function' and not is_test and not first.endswith('s')
        if first.lower() in _NO_BEGINNING or verbless:
            found.append(f'{passage.path.relative_to(root)}:{passage.line}: {passage.text[:70]!r}')
    return found


def long_test_names(paths: Iterable[Path]) -> list[str]:
    """Returns the tests whose names have more than eight words."""
    names = re.compile(r'^ *def test_(\w+)', re.MULTILINE)
    return [
        f'{path.relative_to(ROOT)}: test_{name}'
        for path in paths
        if path.name.startswith('test_')
        for name in names.findall(path.read_text(encoding='utf-8'))
        if len(name.split('_')) > 8
    ]


def find_files(places: Iterable[str]) -> list[Path]:
    """Returns the files with prose in them at or below some places, which may be patterns, below the root."""
    found = [path for place in places for path in ROOT.glob(place)]
    below = [path for folder in found if folder.is_dir() for path in folder.rglob('*')]
    files = {path for path in [*found, *below] if path.suffix in SUFFIXES or path.name == 'Makefile'}
    return sorted(path for path in files if path.is_file() and path != Path(__file__).resolve())


def _describe(title: str, paths: list[Path], listed: bool) -> None:
    passages = [passage for path in paths for passage in read_passages(path)]
    prose = [sentence for passage in passages for sentence in sentences(passage.text)]
    lengths = sorted(map(len, prose)) or [0]
    words = max(1, sum(lengths))
    # An error may have one, before what to do.
    semicolons = [passage for passage in passages if passage.kind != 'message' and ';' in _CODE.sub('X', passage.text)]
    count = sum(_CODE.sub('X', passage.text).count(';') for passage in semicolons)
    docstrings = [passage for passage in passages if passage.kind in ('module', 'class', 'function')]
    places = [f'{passage.path.relative_to(ROOT)}:{passage.line}: semicolon' for passage in semicolons]
    forbidden, begun, names = banned(passages), badly_begun(passages), long_test_names(paths)
    print(
        f'{title}: {len(paths)} files, {words} words; {1000 * count / words:.1f} semicolons per 1,000 words; '
        f'{statistics.median(lengths):.0f} words a sentence, {lengths[int(0.9 * (len(lengths) - 1))]} at the 90th '
        f'percentile; {len(begun)} of {len(docstrings)} docstrings begin without a verb or a thing; '
        f'{len(forbidden)} banned words; {len(names)} test names above eight words'
    )
    if listed:
        print('\n'.join([*places, *forbidden, *begun, *names]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('paths', nargs='*', help='files and folders below the root; all if none')
    parser.add_argument('--list', action='store_true', help='print each place')
    arguments = parser.parse_args()
    rooms = {' '.join(arguments.paths): arguments.paths} if arguments.paths else ROOMS
    for title, places in rooms.items():
        _describe(title, find_files(places), arguments.list)


if __name__ == '__main__':
    main()
