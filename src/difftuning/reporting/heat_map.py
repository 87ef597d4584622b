"""What was measured after each phase on each phase, as a heat map: a panel a measure, a line a model, a column a phase."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import partial

from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import TwoSlopeNorm

from difftuning.reporting.svg import draw_svg
from difftuning.reporting.text_table import percent

Grid = Sequence[Sequence[float | None]]
"""Lines of values; None leaves a place empty."""
LIMIT = 0.5
"""The change that has the fullest colour."""
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


def _panel(title: str, grid: Grid, models: Sequence[str], phases: Sequence[str], axes: Axes) -> None:
    norm = TwoSlopeNorm(0, -LIMIT, LIMIT)
    changes = [[_change(grid, line, column) for column in range(len(phases))] for line in range(len(models))]
    axes.pcolormesh(changes, cmap=COLOURS, norm=norm, edgecolors="none")
    for line, values in enumerate(grid):
        for column, value in enumerate(values):
            if value is None:
                continue
            change = changes[line][column]
            own = line == column + 1
            text = f"{value:.4g}" if own or math.isnan(change) else f"{value:.4g}\n{percent(change)}"
            # Cells have colours of their own on any page, and so has what is written on them.
            dark = not math.isnan(change) and abs(change) > 0.6 * LIMIT
            axes.text(
                column + 0.5,
                line + 0.5,
                text,
                ha="center",
                va="center",
                fontsize=8.5,
                fontweight="bold" if own else "normal",
                color="#ffffff" if dark else "#1f1f24",
            )
    axes.set_xticks([column + 0.5 for column in range(len(phases))], phases)
    axes.set_yticks([line + 0.5 for line in range(len(models))], models)
    axes.invert_yaxis()
    axes.tick_params(length=0)
    axes.grid(visible=False)
    axes.spines[:].set_visible(False)
    axes.set_xlabel("measured on")
    axes.set_ylabel("after")
    axes.set_title(title)


def _change(grid: Grid, line: int, column: int) -> float:
    """The share by which a value lies above that of its column's own model; not a number where one of them is missing."""
    value, own = grid[line][column], grid[column + 1][column]
    return value / own - 1 if value is not None and own else math.nan
