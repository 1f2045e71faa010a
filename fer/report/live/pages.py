# SPDX-License-Identifier: Apache-2.0
"""Writes the pages of the live view as HTML. Every text from a run is escaped."""

import functools
import os
import time
from collections import Counter
from collections.abc import Callable, Mapping
from datetime import datetime
from importlib.resources import files
from typing import Any
from urllib.parse import quote, urlencode

from jinja2 import Environment

from fer.emotions import EMOTIONS
from fer.errors import one_line
from fer.report.live.comparison import Comparison
from fer.report.live.details import RunPage
from fer.report.live.folders import Root
from fer.report.live.listing import (
    FINISHED,
    RUNNING,
    SILENT,
    SORTS,
    UNFINISHED,
    RunFolder,
    describe_age,
    list_runs,
    select,
)
from fer.report.page import make_templates
from fer.results.metrics import describe_interval
from fer.runs.status import FAILED, QUEUED, STOPPED

_PAGE_ROWS = 200
_MOST_SCORES = 3  # of a run in the list
# The sign and the class in the style sheet of each state. The sign is for readers who do not see colours.
_MARKS = {RUNNING: '▶', SILENT: '◌', FINISHED: '✓', UNFINISHED: '◧', STOPPED: '◧', FAILED: '✕', QUEUED: '…'}
_STYLES = {RUNNING: 'below', SILENT: 'mixed', FINISHED: 'covered', FAILED: 'above'}
_COLUMNS = {
    'state': 'State',
    'name': 'Run',
    'stage': 'Stage, network',
    'epoch': 'Epoch',
    'accuracy': 'Accuracy',
    'f1': 'F1',
    'changed': 'Written',
    'compare': 'Compare',
}
_DIRECTIONS = dict.fromkeys(SORTS, 'ascending') | dict.fromkeys(('accuracy', 'f1', 'changed'), 'descending')
STATIC = {'/style.css': ('text/css', ('style.css', 'live.css')), '/live.js': ('text/javascript', ('live.js',))}


@functools.cache
def read_static(address: str) -> tuple[str, bytes]:
    """Returns the content type and the bytes of a key of STATIC."""
    kind, names = STATIC[address]
    folder = files('fer.report') / 'templates'
    return f'{kind}; charset=utf-8', b''.join((folder / name).read_bytes() for name in names)


def write_list(root: Root, query: Mapping[str, str], first: RunFolder | None) -> str:
    """Returns the page that lists the runs.

    Args:
      root: of the runs.
      query: `find`, `sort` and `page` of the address. Unknown values count as missing.
      first: the run that is to be compared with another, None for none.
    """
    rows, notes = list_runs(root)
    find, sort = query.get('find', ''), query.get('sort', 'changed')
    sort = sort if sort in SORTS else 'changed'
    chosen = select(rows, find, sort)
    pages = max(-(-len(chosen) // _PAGE_ROWS), 1)
    wanted = query.get('page', '1')
    page = min(max(int(wanted), 1), pages) if wanted.isascii() and wanted.isdigit() and len(wanted) < 9 else 1
    current = {'find': find, 'sort': sort, 'first': first.name if first else None}

    def link(**changes: Any) -> str:
        values = {name: value for name, value in (current | changes).items() if value not in (None, '')}
        return '/?' + urlencode({name: os.fsencode(str(value)) for name, value in values.items()})

    return _render(
        'live_runs.html',
        root=str(root.path),
        notes=notes,
        rows=chosen[(page - 1) * _PAGE_ROWS : page * _PAGE_ROWS],
        chosen=len(chosen),
        total=len(rows),
        states=dict(Counter(row.state.kind for row in chosen).most_common()),
        columns=_COLUMNS,
        directions=_DIRECTIONS,
        most_scores=_MOST_SCORES,
        link=link,
        **{'first': first, 'find': find, 'sort': sort, 'page': page, 'pages': pages},
    )


def write_run(run: RunPage) -> str:
    """Returns the page of a run."""
    return _render('live_run.html', run=run, emotions=EMOTIONS)


def write_comparison(compared: Comparison) -> str:
    """Returns the page of two runs."""
    return _render('live_compare.html', compared=compared)


def write_error(title: str, text: str) -> str:
    """Returns a page that gives the reason why there is no other."""
    return _render('live_error.html', title=title, text=text)


def _render(template: str, **values: Any) -> str:
    made = datetime.now().astimezone().strftime('%Y-%m-%d %H:%M:%S %Z')
    return _templates().get_template(template).render(made=made, **values)


@functools.cache
def _templates() -> Environment:
    filters: dict[str, Callable[..., Any]] = {
        'shown': lambda text: one_line(str(text)),
        'address': lambda name: quote(os.fsencode(name)),
        'argument': lambda name: quote(os.fsencode(name), safe=''),
        'percent': lambda share: f'{share:.1%}',
        'points': lambda share: f'{100 * share:+.1f}',
        'interval': describe_interval,
        'signed': lambda interval: describe_interval(interval, signed=True),
        'p': lambda value: f'{value:.3f}' if value >= 0.01 else f'{value:.2g}',
        'age': lambda changed: describe_age(time.time() - changed),
        'state_mark': _MARKS.get,
        'state_style': lambda kind: _STYLES.get(kind, 'missing'),
    }
    return make_templates(filters)
