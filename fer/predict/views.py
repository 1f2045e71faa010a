# SPDX-License-Identifier: Apache-2.0
"""The views of an answer: every file that is made from frames.csv, segments.csv and summary.json."""

from collections.abc import Callable, Collection
from typing import Any

from fer.predict.annotate import VIDEO_FILE, write_video
from fer.predict.answer import Answer
from fer.predict.page import write_page
from fer.predict.timelines import write_eaf, write_textgrid, write_vtt
from fer.prepare.media import PLAYERS_CHOICE, Choice

# In the order in which they must be written: the page plays the annotated video if there is one. Each takes an answer.
# It returns remarks for the user or None.
VIEWS: dict[str, Callable[..., list[str] | None]] = {
    'vtt': write_vtt,
    'eaf': write_eaf,
    'textgrid': write_textgrid,
    'video': write_video,
    'html': write_page,
}
_READS_VIDEO = 'video'  # takes `blur_others` and `streams` too


def write_views(
    answer: Answer, names: Collection[str], *, blur_others: bool = False, streams: Choice = PLAYERS_CHOICE
) -> list[str]:
    """Writes views of an answer into its folder.

    Args:
      answer: whose files are written.
      names: of VIEWS, in any order.
      blur_others: whether the annotated video hides the faces of everyone except the main person.
      streams: of the video that the answer is for.

    Returns:
      Remarks for the user, a line each, such as audio that had to be encoded again.
    """
    remarks: list[str] = []
    for name, write in VIEWS.items():
        if name in names:
            options: dict[str, Any] = {'blur_others': blur_others, 'streams': streams} if name == _READS_VIDEO else {}
            remarks += write(answer, **options) or []
    if blur_others and 'html' in names and not (answer.folder / VIDEO_FILE).exists():
        remarks.append('the page plays the video itself, whose faces are not hidden; add video to --write')
    return remarks
