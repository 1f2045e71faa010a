# SPDX-License-Identifier: Apache-2.0
"""The views of an answer: every file that is made from frames.csv, segments.csv and summary.json."""

from collections.abc import Callable, Collection

from fer.predict.annotate import write_video
from fer.predict.answer import Answer
from fer.predict.page import write_page
from fer.predict.timelines import write_eaf, write_textgrid, write_vtt

# In the order in which they must be written: the page plays the annotated video if there is one. Each takes an answer.
# It returns remarks for the user or None.
VIEWS: dict[str, Callable[..., list[str] | None]] = {
    'vtt': write_vtt,
    'eaf': write_eaf,
    'textgrid': write_textgrid,
    'video': write_video,
    'html': write_page,
}
_BLURRED = 'video'  # takes `blur_others` too


def write_views(answer: Answer, names: Collection[str], *, blur_others: bool = False) -> list[str]:
    """Writes views of an answer into its folder.

    Args:
      answer: whose files are written.
      names: of VIEWS, in any order.
      blur_others: whether the annotated video hides the faces of everyone except the main person.

    Returns:
      Remarks for the user, a line each, such as audio that had to be encoded again.

    Raises:
      InputError: the video cannot be read any more.
    """
    remarks: list[str] = []
    for name, write in VIEWS.items():
        if name in names:
            options = {'blur_others': blur_others} if name == _BLURRED else {}
            remarks += write(answer, **options) or []
    return remarks
