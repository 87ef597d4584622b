"""Axes as SVG data, in colours and signs that colour-blind readers tell apart, for light and for dark pages.

Colours are CSS variables inside the SVG that follow `prefers-color-scheme`; a viewer without CSS draws the fallback. A figure of
one panel carries its numbers in `<metadata>`, from which a page makes a table and lets one point at them.
"""

from __future__ import annotations

import io
import json
import math
import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
from markupsafe import escape
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

INK, GRID = "#767677", "#8f8f90"
COLOURS = {"pretrained": "#7f7f80", "finetune": "#d55e00", "diff-tuning": "#0072b2", "measured": "#009e73"}
"""Okabe and Ito's palette, which colour-blind readers can tell apart; others follow."""
OTHERS = ("#cc79a7", "#e69f00", "#56b4e9", "#f0e442")
MARKERS = {"pretrained": "D", "finetune": "o", "diff-tuning": "s", "measured": "^"}
OTHER_MARKERS = ("v", "P", "X", "*", "<")
"""One more than there are colours, so that twenty look different."""

THEMED = {
    INK: ("ink", "#3f3f48", "#cfcfd8"),
    GRID: ("grid", "#b9b9c2", "#56565f"),
    COLOURS["pretrained"]: ("start", "#6c6c74", "#a0a0aa"),
    COLOURS["finetune"]: ("finetune", "#c85200", "#ff9a55"),
    COLOURS["diff-tuning"]: ("diff", "#0068a6", "#62b8f0"),
}
"""What the page may restyle: drawn colour -> CSS variable, its value on a light and on a dark page."""

STYLE: dict[Any, Any] = {
    "font.size": 10.5,
    "axes.titlesize": 10.5,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": GRID,
    "grid.alpha": 0.45,
    "grid.linewidth": 0.7,
    "lines.linewidth": 2.0,
    "lines.markersize": 5.5,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "legend.frameon": False,
    "legend.handlelength": 1.8,
    # A name is a text, not a formula.
    "text.parse_math": False,
    "svg.fonttype": "path",
    "svg.hashsalt": "difftuning",
}
POINTS = 72
"""An inch, in the units of an SVG of matplotlib."""
ABREAST = 4
"""Panels in a line: more would be too small on a page."""
LONGEST = 44
"""Characters of a name beside a row of a figure."""
LETTER = 0.075
"""Inches that a letter of a name takes, give or take."""
LINE = 0.23
"""The height of a line of a legend, in inches."""


def draw_svg(
    *draws: Callable[[Axes], None], width: float = 5.4, height: float = 3.6, rows: Sequence[str] = ()
) -> bytes:
    """What each of `draws` puts on axes of its own, `ABREAST` in a line, as SVG bytes that are the same for the same numbers.

    Args:
        draws: one a panel.
        width: in inches, of all side by side.
        height: in inches, of a line with a legend of one line.
        rows: what the whole numbers of the y axis of a single panel stand for, where they are names.
    """
    with mpl.rc_context(STYLE):
        lines = math.ceil(len(draws) / ABREAST)
        across = math.ceil(len(draws) / lines)
        width, height = width * across / len(draws), height * lines
        figure = Figure(figsize=(width, height), layout="constrained")
        panels, spare = np.split(figure.subplots(lines, across, squeeze=False).ravel(), [len(draws)])
        for axes in spare:
            axes.remove()
        shown: dict[str, Any] = {}
        for draw, axes in zip(draws, panels, strict=True):
            draw(axes)
            handles, names = axes.get_legend_handles_labels()
            shown |= dict(zip(names, handles, strict=True))
        if shown:
            # Above the plot, where it hides no point; the sign before a name takes half an inch.
            columns = min(len(shown), max(int(width // (0.5 + LETTER * max(map(len, shown)))), 1))
            # A plot keeps its height below a legend of many lines.
            figure.set_figheight(height + LINE * (math.ceil(len(shown) / columns) - 1))
            figure.legend(
                shown.values(),
                shown,
                loc="outside upper left",
                ncols=columns,
                columnspacing=1.4,
            )
        out = io.BytesIO()
        unsigned = {"Date": None, "Creator": None, "Format": None, "Type": None}
        figure.savefig(out, format="svg", transparent=True, metadata=unsigned)
    numbers = json.dumps(_numbers(panels[0], rows)) if len(draws) == 1 else None
    return _themed(out.getvalue().decode(), numbers).encode()


def look(name: str, names: Iterable[str]) -> dict[str, Any]:
    """The colour and the sign of a method among these, which a page gives to all its figures in one order."""
    others = [one for one in dict.fromkeys((*names, name)) if one not in COLOURS]
    index = others.index(name) if name in others else 0
    return {
        "color": COLOURS.get(name, OTHERS[index % len(OTHERS)]),
        "marker": MARKERS.get(name, OTHER_MARKERS[index % len(OTHER_MARKERS)]),
    }


def short_name(name: str) -> str:
    """A name that fits beside a row: the end of a path tells more than its start, and all of one would leave no room."""
    return name if len(name) <= LONGEST else f"…{name[-LONGEST:]}"


def columns_of(points: Sequence[tuple[float, float]]) -> tuple[list[float], list[float]]:
    """The x and the y of points."""
    return [x for x, _ in points], [y for _, y in points]


def _numbers(axes: Axes, rows: Sequence[str]) -> dict[str, Any]:
    """What the axes show: their labels, limits and place in the drawing, and the points of every line that has a name."""
    inches = axes.get_figure(root=True)
    assert inches is not None
    wide, high = (POINTS * side for side in inches.get_size_inches())
    place = axes.get_position()
    lines = [line for line in axes.lines if not str(line.get_label()).startswith("_")]
    return {
        "x": axes.get_xlabel(),
        "y": axes.get_ylabel(),
        "box": [
            round(value, 2)
            for value in (place.x0 * wide, (1 - place.y1) * high, place.x1 * wide, (1 - place.y0) * high)
        ],
        "xlim": list(axes.get_xlim()),
        "ylim": list(axes.get_ylim()),
        "rows": list(rows),
        "series": [
            {"name": str(line.get_label()), "colour": _variable(str(line.get_color())), "points": _points(line)}
            for line in lines
        ],
    }


def _points(line: Line2D) -> list[list[float]]:
    points = np.column_stack([line.get_xdata(orig=False), line.get_ydata(orig=False)]).tolist()
    return [[float(f"{value:.6g}") for value in point] for point in points]


def _variable(colour: str) -> str:
    return f"var(--{THEMED[colour][0]}, {colour})" if colour in THEMED else colour


def _themed(svg: str, numbers: str | None) -> str:
    """The colours as CSS variables, the numbers, and no reference to a document type on the network."""
    svg = re.sub(r"<!DOCTYPE[^>]*>\s*", "", svg)
    for colour in THEMED:
        svg = svg.replace(colour, _variable(colour))
    light = "".join(f"--{name}:{value};" for name, value, _ in THEMED.values())
    dark = "".join(f"--{name}:{value};" for name, _, value in THEMED.values())
    style = f"<style>:root{{{light}}}@media(prefers-color-scheme:dark){{:root{{{dark}}}}}</style>"
    told = "" if numbers is None else f"<metadata>{escape(numbers)}</metadata>\n "
    return svg.replace("<defs>", f"{told}<defs>{style}", 1)
