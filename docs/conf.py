# SPDX-License-Identifier: Apache-2.0
"""Settings of the documentation's builder: `make docs` (Sphinx with MyST)."""

import re
from pathlib import Path

_PACKAGE = Path(__file__).resolve().parents[1] / 'fer/__init__.py'

project = 'afew-fer'
author = 'The afew-fer maintainers'
release = re.findall(r"^__version__ = '(.+)'", _PACKAGE.read_text(encoding='utf-8'), re.MULTILINE)[0]
extensions = ['myst_parser']
exclude_patterns = ['paper.md']  # an article, built by the journal
myst_heading_anchors = 3
html_theme_options = {'page_width': '1100px', 'description': 'Emotions in video, from faces and audio'}
