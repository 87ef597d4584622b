"""Curves as SVG data, in colours and signs that colour-blind readers tell apart, for light and for dark pages.

Colours are CSS variables inside the SVG that follow `prefers-color-scheme`; a viewer without CSS draws the fallback.
"""

from __future__ import annotations

import io
import re
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from statistics import fmean
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from difftuning.reporting.images import image_grid, image_strip

__all__ = [
    "changes",
    "coefficients",
    "error_by_u",
    "heldout_by_u",
    "image_grid",
    "image_strip",
    "over_setting",
    "swap_curves",
    "training_curves",
]

INK, GRID = "#767677", "#8f8f90"
COLOURS = {"pretrained": "#7f7f80", "finetune": "#d55e00", "diff-tuning": "#0072b2", "measured": "#009e73"}
"""Okabe and Ito's palette, which colour-blind readers can tell apart; others follow."""
OTHERS = ("#cc79a7", "#e69f00", "#56b4e9", "#f0e442")
MARKERS = {"pretrained": "D", "finetune": "o", "diff-tuning": "s", "measured": "^"}
OTHER_MARKERS = ("v", "P", "X", "*")

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
U_LABEL = "forgetting clock u   (0: data, 1: noise)"
SIGNS = 20
"""At most about so many on a curve, so that a long one stays a line."""
LONGEST = 44
"""Characters of a name beside a row of a figure."""
LETTER = 0.075
"""Inches that a letter of a name takes, give or take."""


def training_curves(series: Mapping[str, Sequence[tuple[int, float]]]) -> bytes:
    """Held-out error against training steps; the axis fits what comes after the first point, which may lie above it.

    Args:
        series: run -> (step, error). Runs named `METHOD seed N` share the colour of their method; several of one method
            are drawn thin, with their mean over the steps that all of them have.
    """

    def draw(axes: Axes) -> None:
        for index, (method, runs) in enumerate(_by_method(series).items()):
            look = _look(method, index)
            if len(runs) > 1:
                for points in runs:
                    axes.plot(*_columns(points), color=look["color"], linewidth=0.9, alpha=0.5)
            mean = _mean(runs)
            axes.plot(*_columns(mean), label=_legend(method, len(runs)), markevery=max(1, len(mean) // SIGNS), **look)
            lowest = min(mean, key=lambda point: point[1])
            axes.plot(*lowest, marker="v", markersize=11, color=look["color"], markeredgecolor=INK, zorder=4)
        # The fall of the first steps would press all that matters later into a line.
        later = [value for points in series.values() for _, value in points[1:]]
        if later and (height := max(later) - min(later)):
            axes.set_ylim(min(later) - 0.15 * height, max(later) + 0.3 * height)
        axes.set_xlabel("training steps")
        axes.set_ylabel("held-out error of the target")
        axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))

    return as_svg(draw)


def error_by_u(curves: Mapping[str, Sequence[float]], reference: Sequence[float], what: str) -> bytes:
    """Error in equal bins of u, in percent of the reference (the pretrained model), so that a few percent are seen.

    Args:
        curves: method -> error of each bin, from u = 0 to u = 1.
        reference: the errors above zero that they are measured against.
        what: the kind of error, for the axis.
    """
    u = [(index + 0.5) / len(reference) for index in range(len(reference))]

    def draw(axes: Axes) -> None:
        axes.axhline(0, color=COLOURS["pretrained"], linestyle="--", label="pretrained")
        for index, (name, errors) in enumerate(curves.items()):
            change = [100 * (error / base - 1) for error, base in zip(errors, reference, strict=True)]
            axes.plot(u, change, label=name, **_look(name, index))
        axes.set_xlim(0, 1)
        axes.set_xlabel(U_LABEL)
        axes.set_ylabel(f"{what}: change in %")

    return as_svg(draw)


def heldout_by_u(curves: Mapping[str, Sequence[float]], what: str = "held-out error") -> bytes:
    """The forgetting curve: `error_by_u` where the reference is the curve named `pretrained`."""
    return error_by_u(
        {name: curve for name, curve in curves.items() if name != "pretrained"}, curves["pretrained"], what
    )


def swap_curves(curves: Mapping[str, Sequence[tuple[float, float]]], ylabel: str) -> bytes:
    """Distance against the share (0 to 1) of the last steps given to the pretrained model; the lowest point is ringed."""

    def draw(axes: Axes) -> None:
        for index, (name, points) in enumerate(curves.items()):
            percents = [(100 * share, value) for share, value in points]
            look = _look(name, index)
            axes.plot(*_columns(percents), label=name, **look)
            lowest = min(percents, key=lambda point: point[1])
            axes.plot(*lowest, marker="o", markersize=12, markerfacecolor="none", color=look["color"])
        axes.set_xlabel("last steps taken by the pretrained model, %")
        # A network's name in brackets gets a line of its own.
        axes.set_ylabel(ylabel.replace(" (", "\n("))

    return as_svg(draw)


def over_setting(panels: Mapping[str, Mapping[str, Sequence[tuple[float, float]]]], xlabel: str, ylabel: str) -> bytes:
    """A measure against the value of a setting: a panel a target, a curve a method.

    Args:
        panels: target -> method -> (value, measure).
        xlabel: the setting.
        ylabel: the measure.
    """
    names = list(dict.fromkeys(name for curves in panels.values() for name in curves))

    def panel(title: str) -> Callable[[Axes], None]:
        def draw(axes: Axes) -> None:
            for name, points in panels[title].items():
                axes.plot(*_columns(points), label=name, **_look(name, names.index(name)))
            axes.set_title(title)
            axes.set_xlabel(xlabel)
            if title == next(iter(panels)):
                axes.set_ylabel(ylabel.replace(" (", "\n("))

        return draw

    return as_svg(*map(panel, panels), width=max(5.4, 3.4 * len(panels)))


def changes(values: Mapping[str, Mapping[str, Sequence[float]]], baseline: str, what: str) -> bytes:
    """Changes against a baseline in percent: a line a case, a sign a series at the mean, and a bar from its lowest to its highest.

    Args:
        values: series -> case -> the change of each seed.
        baseline: what they are changes against, for the axis.
        what: that changed, for the axis.
    """
    cases = list(dict.fromkeys(case for found in values.values() for case in found))
    width = 0.6 / max(len(values), 1)

    def draw(axes: Axes) -> None:
        axes.axvline(0, color=COLOURS["finetune"], linestyle="--", linewidth=1.2)
        for index, (name, found) in enumerate(values.items()):
            look = _look(name, index)
            for case, all_seeds in found.items():
                height = cases.index(case) + (index - (len(values) - 1) / 2) * width
                axes.plot([min(all_seeds), max(all_seeds)], [height] * 2, color=look["color"], linewidth=1.2)
                axes.plot(fmean(all_seeds), height, linestyle="none", **look)
            axes.plot([], [], linestyle="none", label=name, **look)
        # The end of a path tells more than its start, and all of one would leave no room for the axes.
        axes.set_yticks(range(len(cases)), [case if len(case) <= LONGEST else f"…{case[-LONGEST:]}" for case in cases])
        axes.set_ylim(len(cases) - 0.5, -0.5)
        axes.grid(visible=False, axis="y")
        axes.set_xlabel(f"{what}:\nchange against {baseline} in %")

    wide = 5.4 + LETTER * max(0, min(max(map(len, cases), default=0), LONGEST) - 16)
    return as_svg(draw, width=wide, height=1.2 + 0.3 * len(cases) * max(1.0, len(values) / 2))


def coefficients(u: Sequence[float], psi: Sequence[float], xi: Sequence[float]) -> bytes:
    """Psi and xi over u."""

    def draw(axes: Axes) -> None:
        axes.plot(u, psi, color=COLOURS["finetune"], label="ψ, reconsolidation (target)")
        axes.plot(u, xi, color=COLOURS["diff-tuning"], linestyle="--", label="ξ, retention (bank)")
        axes.set_xlabel(U_LABEL)
        axes.set_ylabel("probability of the source")
        axes.set_xlim(0, 1)
        axes.set_ylim(-0.03, 1.03)

    return as_svg(draw)


def as_svg(*draws: Callable[[Axes], None], width: float = 5.4, height: float = 3.6) -> bytes:
    """What each of `draws` puts on axes of its own, side by side, as SVG bytes that are the same for the same numbers.

    Sizes are in inches.
    """
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(width, height), layout="constrained")
        panels = figure.subplots(1, len(draws), squeeze=False)[0]
        shown: dict[str, Any] = {}
        for draw, axes in zip(draws, panels, strict=True):
            draw(axes)
            handles, names = axes.get_legend_handles_labels()
            shown |= dict(zip(names, handles, strict=True))
        if shown:
            # Above the plot, where it hides no point; the sign before a name takes half an inch.
            columns = int(width // (0.5 + LETTER * max(map(len, shown))))
            figure.legend(
                shown.values(),
                shown,
                loc="outside upper left",
                ncols=min(len(shown), max(columns, 1)),
                columnspacing=1.4,
            )
        out = io.BytesIO()
        unsigned = {"Date": None, "Creator": None, "Format": None, "Type": None}
        figure.savefig(out, format="svg", transparent=True, metadata=unsigned)
    return _themed(out.getvalue().decode()).encode()


def _themed(svg: str) -> str:
    """The colours as CSS variables, and no reference to a document type on the network."""
    svg = re.sub(r"<!DOCTYPE[^>]*>\s*", "", svg)
    for colour, (name, _, _) in THEMED.items():
        svg = svg.replace(colour, f"var(--{name}, {colour})")
    light = "".join(f"--{name}:{value};" for name, value, _ in THEMED.values())
    dark = "".join(f"--{name}:{value};" for name, _, value in THEMED.values())
    style = f"<style>:root{{{light}}}@media(prefers-color-scheme:dark){{:root{{{dark}}}}}</style>"
    return svg.replace("<defs>", f"<defs>{style}", 1)


def _look(name: str, index: int) -> dict[str, Any]:
    """The colour and the sign of a method."""
    return {
        "color": COLOURS.get(name, OTHERS[index % len(OTHERS)]),
        "marker": MARKERS.get(name, OTHER_MARKERS[index % len(OTHER_MARKERS)]),
    }


def _by_method(series: Mapping[str, Sequence[tuple[int, float]]]) -> dict[str, list[Sequence[tuple[int, float]]]]:
    """The runs of each method; runs without a point are dropped."""
    grouped: dict[str, list[Sequence[tuple[int, float]]]] = {}
    for name, points in series.items():
        if points:
            grouped.setdefault(name.partition(" seed ")[0], []).append(points)
    return grouped


def _mean(runs: Sequence[Sequence[tuple[int, float]]]) -> list[tuple[int, float]]:
    """The mean over runs at the steps that all of them have; the first run where they share none."""
    at: dict[int, list[float]] = defaultdict(list)
    for points in runs:
        for step, value in dict(points).items():
            at[step].append(value)
    shared = [(step, fmean(values)) for step, values in sorted(at.items()) if len(values) == len(runs)]
    return shared or list(runs[0])


def _columns(points: Sequence[tuple[float, float]]) -> tuple[list[float], list[float]]:
    return [x for x, _ in points], [y for _, y in points]


def _legend(method: str, runs: int) -> str:
    return method if runs == 1 else f"{method}, mean of {runs} seeds"
