"""Heat maps: what was measured after each phase on each phase, and changes against a baseline in many cases."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial

from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import TwoSlopeNorm

from difftuning.reporting.svg import LETTER, draw_svg
from difftuning.reporting.text_table import percent

Grid = Sequence[Sequence[float | None]]
"""Lines of values; None leaves a place empty."""
LIMIT, CHANGE_LIMIT = 0.5, 0.15
"""The change that has the fullest colour: since the phase itself, and against a baseline."""
COLOURS = colormaps["PuOr_r"]
"""Violet below, orange above, which colour-blind readers tell apart; the middle is near to white."""


def heat_map(panels: Mapping[str, Grid], models: Sequence[str], phases: Sequence[str]) -> bytes:
    """Values with their colour: how far each lies above or below that of the model just after the phase of its column.

    Args:
        panels: measure -> a line for each model, of values above zero for each phase.
        models: what the lines are called.
        phases: what the columns are called; the model after phase k is line k.
    """
    width, height = 1.6 + 0.95 * len(phases), 1.3 + 0.42 * len(models)
    draws = [partial(_panel, title, grid, models, phases) for title, grid in panels.items()]
    return draw_svg(*draws, width=width * len(panels), height=height)


def change_map(panels: Mapping[str, Grid], cases: Sequence[str], methods: Sequence[str]) -> bytes:
    """Changes against a baseline with their colour: a panel a measure, a line a case, a column a method.

    Args:
        panels: measure -> a line for each case, of shares for each method, below zero for less than the baseline.
        cases: what the lines are called.
        methods: what the columns are called.
    """

    def panel(title: str, grid: Grid) -> Callable[[Axes], None]:
        def draw(axes: Axes) -> None:
            changes = [[math.nan if value is None else value for value in line] for line in grid]
            texts = [["" if math.isnan(value) else percent(value) for value in line] for line in changes]
            _cells(axes, changes, texts, CHANGE_LIMIT)
            first = title == next(iter(panels))
            _name(axes, [name.replace(" ", "\n") for name in methods], cases if first else [""] * len(cases))
            axes.set_title(title)

        return draw

    draws = [panel(title, grid) for title, grid in panels.items()]
    width = LETTER * max(map(len, cases)) + (0.5 + 0.85 * len(methods)) * len(panels)
    return draw_svg(*draws, width=width, height=1.2 + 0.3 * len(cases))


def _panel(title: str, grid: Grid, models: Sequence[str], phases: Sequence[str], axes: Axes) -> None:
    changes = [[_change(grid, line, column) for column in range(len(phases))] for line in range(len(models))]
    texts = [
        [_text(value, changes[line][column], line == column + 1) for column, value in enumerate(values)]
        for line, values in enumerate(grid)
    ]
    _cells(axes, changes, texts, LIMIT, own=True)
    _name(axes, phases, models)
    axes.set_xlabel("measured on")
    axes.set_ylabel("after")
    axes.set_title(title)


def _text(value: float | None, change: float, own: bool) -> str:
    if value is None:
        return ""
    return f"{value:.4g}" if own or math.isnan(change) else f"{value:.4g}\n{percent(change)}"


def _cells(
    axes: Axes, changes: Sequence[Sequence[float]], texts: Sequence[Sequence[str]], limit: float, own: bool = False
) -> None:
    """A colour and a text for each place; with `own`, what a model has on its own phase is bold."""
    axes.pcolormesh(changes, cmap=COLOURS, norm=TwoSlopeNorm(0, -limit, limit), edgecolors="none")
    for line, words in enumerate(texts):
        for column, text in enumerate(words):
            if not text:
                continue
            change = changes[line][column]
            # Cells have colours of their own on any page, and so has what is written on them.
            dark = not math.isnan(change) and abs(change) > 0.5 * limit
            axes.text(
                column + 0.5,
                line + 0.5,
                text,
                ha="center",
                va="center",
                fontsize=8.5,
                fontweight="bold" if own and line == column + 1 else "normal",
                color="#ffffff" if dark else "#1f1f24",
            )


def _name(axes: Axes, columns: Sequence[str], lines: Sequence[str]) -> None:
    axes.set_xticks([column + 0.5 for column in range(len(columns))], columns)
    axes.set_yticks([line + 0.5 for line in range(len(lines))], lines)
    axes.invert_yaxis()
    axes.tick_params(length=0)
    axes.grid(visible=False)
    axes.spines[:].set_visible(False)


def _change(grid: Grid, line: int, column: int) -> float:
    """The share by which a value lies above that of its column's own model; not a number where one of them is missing."""
    value, own = grid[line][column], grid[column + 1][column]
    return value / own - 1 if value is not None and own else math.nan
