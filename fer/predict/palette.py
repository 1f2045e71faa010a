# SPDX-License-Identifier: Apache-2.0
"""A colour for each emotion that people with any kind of colour blindness can tell apart.

The colours are those of Okabe and Ito (2008, https://jfly.uni-koeln.de/color/), with grey instead of black, which a
dark page would hide, and without yellow, which a light page would hide.
"""

from fer.emotions import EMOTIONS

COLOURS = dict(
    zip(EMOTIONS, ('#999999', '#d55e00', '#009e73', '#cc79a7', '#e69f00', '#0072b2', '#56b4e9'), strict=True)
)


def to_rgb(colour: str) -> tuple[int, int, int]:
    """Returns red, green and blue of a colour such as `#d55e00`, each in 0..255."""
    return int(colour[1:3], 16), int(colour[3:5], 16), int(colour[5:7], 16)
