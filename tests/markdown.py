# SPDX-License-Identifier: Apache-2.0
"""The documentation as tests read it: its pages, code blocks, commands, links and flag tables."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted([*ROOT.glob('*.md'), *(ROOT / 'docs').glob('*.md'), *(ROOT / '.github').rglob('*.md')])
NEEDS = re.compile(r'# needs: (.+)')  # the first line of a block that no test runs
SEPARATORS = ('&&', ';', '|')


class Block(NamedTuple):
    """A fenced block of a page."""

    page: Path
    line: int  # of its opening fence, from 1
    language: str
    text: str

    @property
    def name(self) -> str:
        return f'{self.page.relative_to(ROOT)}:{self.line}'

    @property
    def needs(self) -> str:
        """Names what no test machine has, or '' if a test runs the block."""
        found = NEEDS.match(self.text)
        return found.group(1) if found else ''

    @property
    def commands(self) -> list[list[str]]:
        """Lists the words of each command, without comments."""
        joined = re.sub(r' *\\\n *', ' ', self.text)
        found = []
        for line in joined.splitlines():
            words = shlex.split(line, comments=True)
            for separator in SEPARATORS:
                words = ['\n' if word == separator else word for word in words]
            found += [part.split('\0') for part in '\0'.join(words).split('\0\n\0')]
        return [words for words in found if words != ['']]


def read_blocks(page: Path) -> list[Block]:
    """Returns the fenced blocks of a page."""
    blocks, lines = [], page.read_text(encoding='utf-8').splitlines()
    opened = None
    for number, line in enumerate(lines, 1):
        if not line.startswith('```'):
            continue
        if opened is None:
            opened = number
        else:
            text = '\n'.join(lines[opened : number - 1])
            blocks.append(Block(page, opened, lines[opened - 1].strip('`'), text))
            opened = None
    assert opened is None, f'{page}:{opened}: a fence that does not end'
    return blocks


def prose(page: Path) -> str:
    """Returns a page without its fenced blocks."""
    return re.sub(r'^```.*?^```$', '', page.read_text(encoding='utf-8'), flags=re.MULTILINE | re.DOTALL)


def inline_code(page: Path) -> list[str]:
    """Returns what stands between backticks in the prose of a page."""
    return re.findall(r'`([^`\n]+)`', prose(page))


def links(page: Path) -> Iterator[tuple[str, str]]:
    """Yields (path, anchor) of each link of a page to another place in the repository."""
    for target in re.findall(r'\]\(([^)\s]+)\)', prose(page)):
        if not target.startswith(('http:', 'https:', 'mailto:')):
            path, _, anchor = target.partition('#')
            yield path, anchor


def anchors(page: Path) -> set[str]:
    """Returns the anchors of the headings of a page, as GitHub makes them."""
    headings = re.findall(r'^#+ (.+)$', prose(page), flags=re.MULTILINE)
    return {re.sub(r'[^\w\- ]', '', heading.lower()).replace(' ', '-') for heading in headings}
