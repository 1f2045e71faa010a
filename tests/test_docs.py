# SPDX-License-Identifier: Apache-2.0
"""README.md and docs/: length, links, named files and flags, the table of rooms, one version."""

import functools
import re
from pathlib import Path

import flag_table
import markdown
import pytest
from conftest import ROOT, run

from tests.structure import import_graph, read_modules, room_graph

pytestmark = pytest.mark.xdist_group(__name__)  # --help of each program runs once
README = ROOT / 'README.md'
LANGUAGES = ('bash', 'text', '{toctree}')
SCRIPTS = ('train.py', 'evaluate.py', 'fusion.py')
# Programs that are not ours, whose flags are not checked.
FOREIGN = ('make', 'git', 'pip', 'bash', '.', 'cd', 'pre-commit', 'qsub')
FOREIGN_FLAGS = ('flagfile', 'help', 'logdir')

pages = pytest.mark.parametrize('page', markdown.PAGES, ids=lambda page: str(page.relative_to(ROOT)))


@functools.cache
def flags_of(program):
    """Names of the flags of a script or a module."""
    found = run(*(['-m'] if not program.endswith('.py') else []), program, '--help', ok=False).out
    flags = re.findall(r'^  (?:-\w,)?--(?:\[no\])?(\w+):', found, flags=re.MULTILINE)
    return {*flags, *(f'no{name}' for name in flags), 'flagfile', 'help'}


def program_of(words):
    """`train.py` of `python train.py ...`, `fer.prepare` of `python -m fer.prepare ...`."""
    if words[0] == 'python':
        return words[2] if words[1] == '-m' else words[1]
    return 'fer.experiment' if words[0] == 'gpu_jobs/submit.sh' else words[0]


def test_readme_has_at_most_130_lines():
    assert len(README.read_text().splitlines()) <= 130


@pages
def test_blocks_name_their_language(page):
    assert [block.name for block in markdown.read_blocks(page) if block.language not in LANGUAGES] == []


@pages
def test_lines_have_at_most_120_characters(page):
    lines = markdown.prose(page).splitlines()
    assert [line for line in lines if len(line) > 120 and not line.startswith('|')] == []


@pages
def test_flags_of_commands_exist(page):
    for block in markdown.read_blocks(page):
        for words in block.commands if block.language == 'bash' else ():
            program = program_of(words)
            if program in FOREIGN:
                continue
            given = {word[2:].partition('=')[0] for word in words if word.startswith('--')}
            assert given <= flags_of(program), f'{block.name}: {program}: {given - flags_of(program)}'


@pages
def test_flags_in_prose_exist(page):
    programs = (*SCRIPTS, 'fer.prepare', 'fer.experiment', 'fer.report', 'fer.extract', 'fer.data.check')
    programs += (
        'fer.export',
        'fer.prepare.statistics',
        'fer.report.counts',
        'fer.score',
        'fer.starter',
        'fer.predict',
        'tests.benchmarks',
        'tests.benchmarks.optimism',
    )
    known = set().union(FOREIGN_FLAGS, *map(flags_of, programs))
    named = {flag for code in markdown.inline_code(page) for flag in re.findall(r'(?<![\w-])--(\w+)', code)}
    assert named <= known, named - known


@pages
def test_make_targets_exist(page):
    targets = re.findall(r'^([\w-]+):', (ROOT / 'Makefile').read_text(), flags=re.MULTILINE)
    commands = [words for block in markdown.read_blocks(page) for words in block.commands if block.language == 'bash']
    commands += [code.split() for code in markdown.inline_code(page)]
    for words in commands:
        if words[0] == 'make' and len(words) > 1:
            assert words[1] in targets, words


@pages
def test_modules_in_prose_exist(page):
    for module in re.findall(r'python -m ((?:fer|tests)[\w.]*)', page.read_text()):
        path = ROOT / module.replace('.', '/')
        assert path.with_suffix('.py').exists() or (path / '__main__.py').exists(), module


@pages
def test_files_in_prose_exist(page):
    """Paths that begin with a folder of the repository."""
    begins = ('fer/', 'tests/', 'configs/', 'gpu_jobs/', 'requirements/', 'docs/', '.ci/', '.github/')
    for code in markdown.inline_code(page):
        path = code.partition('::')[0]
        if path.startswith(begins) and re.fullmatch(r'[\w./\-]+', path):
            assert (ROOT / path).exists(), path


@pages
def test_links_lead_to_files_and_headings(page):
    for path, anchor in markdown.links(page):
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), path
        assert not anchor or anchor in markdown.anchors(target), f'{path}#{anchor}'


@pytest.mark.parametrize(('page', 'command'), flag_table.TABLES)
def test_flag_tables_are_up_to_date(page, command):
    written = flag_table.page_with_table(page, command)
    assert (ROOT / page).read_text() == written, 'run make docs-flags'


def test_quoted_errors_stand_in_the_code():
    """`...` in a quoted error stands for what the code fills in."""
    sources = [*(ROOT / 'fer').rglob('*.py'), *(ROOT / 'gpu_jobs').iterdir()]
    code = ' '.join(re.sub(r"""['"]\s+f?['"]""", '', path.read_text()) for path in sources)
    quoted = re.findall(r'^\*\*`([^`]+)`\.\*\*', (ROOT / 'docs/faq.md').read_text(), re.MULTILINE)
    assert len(quoted) > 15
    parts = [part.strip(' ,:=;') for error in quoted for part in error.split('...')]
    assert [part for part in parts if part not in code] == []


def test_index_lists_every_page():
    listed = {word for block in markdown.read_blocks(ROOT / 'docs' / 'index.md') for word in block.text.split()}
    assert {page.stem for page in (ROOT / 'docs').glob('*.md')} - {'index', 'paper'} <= listed


def test_readme_links_every_page():
    linked = {Path(path).stem for path, _ in markdown.links(README) if path.startswith('docs/')}
    assert {page.stem for page in (ROOT / 'docs').glob('*.md')} - {'index', 'paper', 'testing'} <= linked


def test_table_of_rooms_matches_their_imports():
    rows = re.findall(r'^\| `fer/(\w+)/` \|.*\| (.+) \|$', (ROOT / 'docs/architecture.md').read_text(), re.MULTILINE)
    table = {f'fer.{room}': {f'fer.{other}' for other in re.findall(r'`(\w+)`', others)} for room, others in rows}
    rooms = room_graph(import_graph(read_modules()))
    assert table == {room: {other for other in rooms[room] if other in table} for room in table}
    assert {path.parent.name for path in (ROOT / 'fer').glob('*/__init__.py')} == {room[4:] for room in table}


def test_version_stands_in_one_place():
    from fer import __version__

    assert f"version='{__version__}'" not in (ROOT / 'setup.py').read_text()
    assert f'version: {__version__}\n' in (ROOT / 'CITATION.cff').read_text()
    assert re.search(rf'^## {re.escape(__version__)}\b', (ROOT / 'docs/CHANGELOG.md').read_text(), re.MULTILINE)


def test_hook_runs_make_lint():
    hooks = (ROOT / '.pre-commit-config.yaml').read_text()
    assert re.findall(r'repo: (.+)', hooks) == ['local']
    assert 'entry: make lint\n' in hooks


def test_citations_of_the_paper_have_entries():
    cited = set(re.findall(r'@(\w+\d{4})', (ROOT / 'docs/paper.md').read_text()))
    assert cited == set(re.findall(r'^@\w+\{(\w+),', (ROOT / 'docs/paper.bib').read_text(), re.MULTILINE))


def test_every_source_names_its_licence():
    places = [path for folder in ('fer', 'tests', 'docs', 'gpu_jobs') for path in (ROOT / folder).rglob('*')]
    sources = [
        path for path in (*ROOT.glob('*'), *places) if path.suffix in ('.py', '.sh', '.pbs') or path.name == 'Makefile'
    ]
    heads = {path: path.read_text().splitlines()[:2] for path in sources}
    assert [path for path, head in heads.items() if '# SPDX-License-Identifier: Apache-2.0' not in head] == []
