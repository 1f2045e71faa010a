# SPDX-License-Identifier: Apache-2.0
"""Writes the tables of flags into docs/: python -m tests.flag_table (make docs-flags)

Each table stands between two comments, and comes from the fields that the flags are made from.
"""

import re
from pathlib import Path

from fer.export.request import ExportRequest
from fer.extract.request import ExtractionRequest
from fer.predict.request import PredictionRequest
from fer.runs.config import TrainConfig
from fer.settings import describe_settings
from fer.training.requests import EvaluationRequest

ROOT = Path(__file__).resolve().parents[1]
TABLES = {
    ('docs/training.md', 'train.py'): TrainConfig,
    ('docs/training.md', 'evaluate.py'): EvaluationRequest,
    ('docs/weights.md', 'fer.extract'): ExtractionRequest,
    ('docs/export.md', 'fer.export'): ExportRequest,
    ('docs/your-own-video.md', 'fer.predict'): PredictionRequest,
}


def page_with_table(page: str, command: str) -> str:
    """Returns the text of a page, with the flags of a command written again."""
    lines = ['| flag | default | values | section | purpose |', '|---|---|---|---|---|']
    for row in describe_settings(TABLES[page, command]):
        is_value = row.default not in ('', 'required') and (' ' not in row.default or '<' in row.default)
        default = f'`{row.default}`' if is_value else row.default
        help = re.sub(r'\S*<\w+>\S*', lambda name: f'`{name.group()}`', row.help)
        lines.append(f'| {" | ".join((f"`{row.flag}`", default, row.values, row.section, help))} |')
    place = re.compile(rf'(<!-- flags of {re.escape(command)} -->\n).*?<!-- end -->', re.DOTALL)
    table = '\n'.join([*lines, '<!-- end -->'])
    written, count = place.subn(lambda found: found.group(1) + table, (ROOT / page).read_text(encoding='utf-8'))
    assert count == 1, f'{page}: no place for the flags of {command}'
    return written


def main() -> None:
    for page, command in TABLES:
        (ROOT / page).write_text(page_with_table(page, command), encoding='utf-8')


if __name__ == '__main__':
    main()
