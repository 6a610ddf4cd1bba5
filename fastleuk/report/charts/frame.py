"""A chart from matplotlib to the page: themed SVG, or PNG where that is smaller."""

from __future__ import annotations

import base64
import io
import itertools
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from markupsafe import Markup, escape

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# What is drawn in these becomes a colour of the page's theme; none of them occurs otherwise.
INK, MUTED, LINE, GROUND = "#101112", "#606162", "#c8c9ca", "#fdfeff"
FIRST, SECOND, THIRD = "#1f6fa1", "#c8641f", "#5f7f3f"
_THEME = {
    INK: "--ink", MUTED: "--muted", LINE: "--line", GROUND: "--card",
    FIRST: "--c1", SECOND: "--c2", THIRD: "--c3",
}  # fmt: skip
SERIES = (FIRST, SECOND, THIRD)

_SETTINGS: dict[str, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "fastleuk",
    "text.parse_math": False,
    "font.size": 8.5,
    "axes.titlesize": 8.5,
    "axes.labelsize": 8.5,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "legend.fontsize": 8,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": MUTED,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "axes.facecolor": "none",
    "figure.facecolor": "none",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": LINE,
    "grid.linewidth": 0.6,
    "axes.linewidth": 0.8,
    "lines.linewidth": 1.6,
    "legend.frameon": False,
    "legend.labelcolor": INK,
}
_numbers = itertools.count(1)


@dataclass(frozen=True, slots=True)
class Chart:
    """A chart for the page.

    Attributes:
        html: An ``svg`` or ``img`` element with the text for those who can't see it.
        size: Bytes.
    """

    html: Markup
    size: int


@contextmanager
def drawing(width: float = 4.3, height: float = 3.1) -> Iterator[Figure]:
    """Give a figure of inches; charts are made within the block, since that sets the style.

    Small, so that text stays legible where a phone scales the chart to its width.
    """
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    with rc_context(_SETTINGS):  # type: ignore[arg-type]
        yield Figure(figsize=(width, height), layout="constrained")


def finish(figure: Figure, text: str) -> Chart:
    """Return a figure as the smaller of themed SVG and PNG; within :func:`drawing`.

    Args:
        figure: Of :func:`drawing`.
        text: What it shows, for those who can't see it.
    """
    buffer = io.BytesIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    svg = _themed(buffer.getvalue().decode("utf-8"), text)
    if len(svg) < 60_000:
        return Chart(Markup(svg), len(svg))
    figure.patch.set_facecolor("white")  # a picture has no theme
    picture = io.BytesIO()
    figure.savefig(picture, format="png", dpi=170)
    data = base64.b64encode(picture.getvalue()).decode()
    if len(data) >= len(svg):
        return Chart(Markup(svg), len(svg))
    image = f'<img class="chart" src="data:image/png;base64,{data}" alt="{escape(text)}">'
    return Chart(Markup(image), len(image))


def _themed(svg: str, text: str) -> str:
    """Make matplotlib's SVG fit to stand in the page's own text."""
    svg = svg[svg.index("<svg") :].strip()
    svg = re.sub(r"<metadata>.*?</metadata>\s*", "", svg, flags=re.DOTALL)
    prefix = f"c{next(_numbers)}-"
    svg = re.sub(r'\bid="', f'id="{prefix}', svg)
    svg = re.sub(r"url\(#", f"url(#{prefix}", svg)
    svg = re.sub(r'href="#', f'href="#{prefix}', svg)
    for colour, name in _THEME.items():
        svg = svg.replace(colour, f"var({name})")
    svg = re.sub(r"font: ([\d.]+)px [^;\"]*", r"font-size: \1px", svg)
    svg = re.sub(r"\s*<g id=\"[^\"]*\"/>", "", svg)
    svg = re.sub(r"(\d\.\d{3})\d+", r"\1", svg)
    svg = re.sub(r"\n\s*", "\n", svg)
    head, rest = svg.split(">", 1)
    box = re.search(r'viewBox="[^"]*"', head)
    assert box is not None, "matplotlib writes a viewBox"
    return f'<svg class="chart" role="img" aria-label="{escape(text)}" {box[0]}>{rest}'


def share_axes(axis: Axes, x: str, y: str) -> None:
    """Give both axes the range 0 to 1, square, with their names."""
    axis.set_xlim(-0.01, 1.01)
    axis.set_ylim(-0.01, 1.01)
    axis.set_aspect("equal")
    axis.set_xlabel(x)
    axis.set_ylabel(y)
