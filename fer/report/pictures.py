# SPDX-License-Identifier: Apache-2.0
"""Pictures of curves and bars inside a page."""

import base64
import io
from collections.abc import Callable
from typing import Any, NamedTuple


class Image(NamedTuple):
    """An image without a file of its own."""

    source: str  # a data URI
    alt: str  # text for readers who do not see the image


class Picture(NamedTuple):
    """A figure of the dissertation, plotted from our numbers."""

    number: str  # of the dissertation's figure
    title: str
    note: str
    images: list[Image]  # side by side, empty if there are no data


def draw_image(draw: Callable[[Any], None], size: tuple[float, float], alt: str) -> Image:
    """Makes an SVG image, which is the same to the byte for the same data.

    Args:
      draw: draws the curves or bars on the matplotlib Axes that it receives.
      size: width and height in inches.
      alt: text for readers who do not see the image.
    """
    # Imported here, because it is the slowest import, and a report without pictures does not need it.
    import matplotlib
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    settings: dict[Any, Any] = {
        **{'svg.fonttype': 'none', 'svg.hashsalt': 'report', 'text.parse_math': False, 'font.size': 9},
        **{'axes.grid': True, 'grid.alpha': 0.3, 'axes.axisbelow': True},
        **{'axes.spines.top': False, 'axes.spines.right': False, 'legend.fontsize': 8},
    }
    with matplotlib.rc_context(settings):
        figure = Figure(figsize=size, layout='constrained')
        FigureCanvasSVG(figure)
        draw(figure.subplots())
        file = io.BytesIO()
        figure.savefig(file, format='svg', metadata={'Date': None})
    return Image(f'data:image/svg+xml;base64,{base64.b64encode(file.getvalue()).decode("ascii")}', alt)
