# SPDX-License-Identifier: Apache-2.0
"""Writes the report: one self-contained HTML page, Markdown, and CSV files."""

import functools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from fer.dissertation.entrants import PAPERS
from fer.emotions import EMOTIONS
from fer.errors import InputError
from fer.files import atomic_files, atomic_write
from fer.report.csv_files import errata_csv, tables_csv, unfinished_seeds
from fer.report.figures import Matrices
from fer.report.intervals import ABOVE, BELOW, COVERED, MISSING, SAMPLES, Estimate
from fer.report.pictures import Picture
from fer.report.seeds import FLAGS
from fer.report.tables import MIXED, ReportTables, RunRow, ranges, section_title

PAGE, MARKDOWN, TABLES, ERRATA = 'index.html', 'report.md', 'tables.csv', 'errata.csv'
# The sign and the class in the style sheet of each verdict. The sign is for readers who do not see colours.
_MARKS = {COVERED: '✓', ABOVE: '▲', BELOW: '▼', MIXED: '◆', MISSING: '–', '': ''}
_STYLES = {COVERED: 'covered', ABOVE: 'above', BELOW: 'below', MIXED: 'mixed', MISSING: 'missing', '': 'none'}
_COMMIT_DIGITS = 8  # digits of a commit that are shown
_NAMES = 5  # number of ignored folders that are shown


class Figures(NamedTuple):
    """All figures of the report."""

    curves: Sequence[Picture]  # of chapter 6
    matrices: Sequence[Matrices]  # of chapter 6
    statistics: Sequence[tuple[str, Sequence[Picture]]]  # of chapter 2: the name and the pictures of each data folder


def write_report(output: Path, report: ReportTables, figures: Figures, note: str) -> list[Path]:
    """Writes index.html, report.md, tables.csv and errata.csv. After an error it writes none of them.

    Args:
      output: the folder, which is made if it does not exist.
      report: all numbers.
      figures: all figures.
      note: text at the top, or ''.

    Returns:
      The files written.

    Raises:
      InputError: the output is a file.
    """
    if output.exists() and not output.is_dir():
        raise InputError(f'--output={output}: a file; expected a folder')
    values: dict[str, Any] = {
        **figures._asdict(),
        **{'report': report, 'note': note},
        **{'emotions': EMOTIONS, 'papers': PAPERS, 'kinds': FLAGS, 'samples': SAMPLES},
    }
    templates = _templates()
    texts = {
        PAGE: templates.get_template('page.html').render(values),
        MARKDOWN: templates.get_template('report.md').render(values),
        TABLES: tables_csv(report),
        ERRATA: errata_csv(report),
    }
    with atomic_files(output) as files:
        for name, text in texts.items():
            with atomic_write(files / name) as file:
                file.write(text)
    return [output / name for name in texts]


@functools.cache
def _templates() -> Environment:
    """Returns the templates of the report. In Markdown, the filter `md` escapes each text from outside."""
    return make_templates(
        {
            'md': _escape_markdown,
            'ours': _ours,
            'interval': _interval,
            'short': _short_commits,
            'section': section_title,
            'ranges': ranges,
            'notes': _notes,
            'span': _date_span,
            'some': _first_names,
        }
    )


def make_templates(filters: Mapping[str, Callable[..., Any]]) -> Environment:
    """Returns the templates in fer/report/templates with some filters and those that all pages use.

    HTML is always escaped.
    """
    environment = Environment(
        loader=PackageLoader('fer.report'),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {'one': _one_decimal, 'mark': _MARKS.get, 'style': _STYLES.get, **filters}
    return environment


def _one_decimal(number: float | None) -> str:
    return '' if number is None else f'{number:.1f}'


def _ours(ours: Estimate | None) -> str:
    """Returns mean and spread, `45.3 ± 0.8`, or the mean alone for one seed."""
    if ours is None:
        return ''
    return f'{ours.mean:.1f}' if ours.spread is None else f'{ours.mean:.1f} ± {ours.spread:.1f}'


def _interval(ours: Estimate | None) -> str:
    return '' if ours is None else f'[{ours.low:.1f}, {ours.high:.1f}]'


def _short_commits(commits: Sequence[str]) -> str:
    return ', '.join(commit[:_COMMIT_DIGITS] for commit in commits)


def _notes(row: RunRow) -> str:
    """Returns the flags and unfinished seeds of a row in one line."""
    flags = [f'{flag.kind} ({who}): {flag.text}' for who, flag in row.flags]
    return '; '.join([*flags, *(f'unfinished, {text}' for text in unfinished_seeds(row))])


def _date_span(dates: Sequence[str]) -> str:
    """Returns the first and the last day, or the only one."""
    return ' to '.join(dict.fromkeys([dates[0], dates[-1]])) if dates else ''


def _first_names(names: Sequence[str]) -> str:
    """Returns the first few names, and how many more there are."""
    rest = len(names) - _NAMES
    return ', '.join(names[:_NAMES]) + (f' and {rest} more' if rest > 0 else '')


def _escape_markdown(value: object) -> Markup:
    """Returns one line of text that Markdown shows unchanged, also within a table."""
    text = ' '.join(str(value).split())
    for character in '\\`*_[]|~#$':
        text = text.replace(character, f'\\{character}')
    return Markup(text.replace('&', '&amp;').replace('<', '&lt;').replace('>', '&gt;'))
