"""The figures of a report: curves of training, of the error by u, of the swap, and the drift of layers."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from statistics import fmean

from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from difftuning.reporting.svg import COLOURS, INK, LETTER, LONGEST, columns_of, draw_svg, look, short_name

U_LABEL = "forgetting clock u   (0: data, 1: noise)"
HELDOUT = "held-out error of the target"
SIGNS = 20
"""At most about so many on a curve, so that a long one stays a line."""


def training_curves(
    series: Mapping[str, Sequence[tuple[int, float]]], what: str = HELDOUT, columns: Sequence[str] = ()
) -> bytes:
    """A measure against training steps; the axis fits what comes after the first point, which may lie above it.

    Args:
        series: run -> (step, value). Runs named `METHOD seed N` share the colour of their method; several of one method
            are drawn thin, with their mean over the steps that all of them have.
        what: is measured, for the axis.
        columns: all methods of the page, in order; those drawn where it names none.
    """
    return draw_svg(curve_panel(series, what, columns=columns))


def curve_panel(
    series: Mapping[str, Sequence[tuple[int, float]]], what: str, title: str = "", columns: Sequence[str] = ()
) -> Callable[[Axes], None]:
    """The axes of `training_curves`, for a figure of several."""

    def draw(axes: Axes) -> None:
        grouped = _by_method(series)
        for method, runs in grouped.items():
            looks = look(method, columns or grouped)
            if len(runs) > 1:
                for points in runs:
                    axes.plot(*columns_of(points), color=looks["color"], linewidth=0.9, alpha=0.5)
            mean = _mean(runs)
            axes.plot(
                *columns_of(mean), label=_legend(method, len(runs)), markevery=max(1, len(mean) // SIGNS), **looks
            )
            lowest = min(mean, key=lambda point: point[1])
            axes.plot(*lowest, marker="v", markersize=11, color=looks["color"], markeredgecolor=INK, zorder=4)
        # The fall of the first steps would press all that matters later into a line.
        later = [value for points in series.values() for _, value in points[1:]]
        if later and (height := max(later) - min(later)):
            least = min(value for points in series.values() for _, value in points)
            axes.set_ylim(least - 0.15 * height, max(later) + 0.3 * height)
        axes.set_title(title)
        axes.set_xlabel("training steps")
        # A network's name in brackets gets a line of its own.
        axes.set_ylabel(what.replace(" (", "\n("))
        axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))

    return draw


def error_by_u(
    curves: Mapping[str, Sequence[float]], reference: Sequence[float], what: str, columns: Sequence[str] = ()
) -> bytes:
    """Error in equal bins of u, in percent of the reference (the pretrained model), so that a few percent are seen.

    Args:
        curves: method -> error of each bin, from u = 0 to u = 1.
        reference: the errors above zero that they are measured against.
        what: the kind of error, for the axis.
        columns: see `training_curves`.
    """
    u = [(index + 0.5) / len(reference) for index in range(len(reference))]

    def draw(axes: Axes) -> None:
        axes.axhline(0, color=COLOURS["pretrained"], linestyle="--", label="pretrained")
        for name, errors in curves.items():
            change = [100 * (error / base - 1) for error, base in zip(errors, reference, strict=True)]
            axes.plot(u, change, label=name, **look(name, columns or curves))
        axes.set_xlim(0, 1)
        axes.set_xlabel(U_LABEL)
        axes.set_ylabel(f"{what}: change in %")

    return draw_svg(draw)


def heldout_by_u(
    curves: Mapping[str, Sequence[float]], what: str = "held-out error", columns: Sequence[str] = ()
) -> bytes:
    """The forgetting curve: `error_by_u` where the reference is the curve named `pretrained`."""
    trained = {name: curve for name, curve in curves.items() if name != "pretrained"}
    return error_by_u(trained, curves["pretrained"], what, columns)


def swap_curves(curves: Mapping[str, Sequence[tuple[float, float]]], ylabel: str, columns: Sequence[str] = ()) -> bytes:
    """Distance against the share (0 to 1) of the last steps given to the pretrained model; the lowest point is ringed."""

    def draw(axes: Axes) -> None:
        for name, points in curves.items():
            percents = [(100 * share, value) for share, value in points]
            looks = look(name, columns or curves)
            axes.plot(*columns_of(percents), label=name, **looks)
            lowest = min(percents, key=lambda point: point[1])
            axes.plot(*lowest, marker="o", markersize=12, markerfacecolor="none", color=looks["color"])
        axes.set_xlabel("last steps taken by the pretrained model, %")
        # A network's name in brackets gets a line of its own.
        axes.set_ylabel(ylabel.replace(" (", "\n("))

    return draw_svg(draw)


def coefficients(
    curves: Mapping[str, tuple[Sequence[float], Sequence[float], Sequence[float]]], columns: Sequence[str] = ()
) -> bytes:
    """Psi and xi over u.

    Args:
        curves: method -> u, psi(u), xi(u); of several methods psi alone is drawn.
        columns: see `training_curves`.
    """

    def draw(axes: Axes) -> None:
        for name, (u, psi, xi) in curves.items():
            if len(curves) == 1:
                axes.plot(u, psi, color=COLOURS["finetune"], label="ψ, reconsolidation (target)")
                axes.plot(u, xi, color=COLOURS["diff-tuning"], linestyle="--", label="ξ, retention (bank)")
            else:
                axes.plot(u, psi, color=look(name, columns or curves)["color"], label=f"ψ, {name}")
        axes.set_xlabel(U_LABEL)
        axes.set_ylabel("weight")
        axes.set_xlim(0, 1)
        axes.set_ylim(-0.03, 1.03)

    return draw_svg(draw)


def layer_drift(drift: Mapping[str, Mapping[str, float]], columns: Sequence[str] = ()) -> bytes:
    """The drift of each layer: a line a layer from the network's input down to its output, a sign a method.

    Args:
        drift: method -> layer -> the squared distance its weights went.
        columns: see `training_curves`.
    """
    layers = list(dict.fromkeys(layer for found in drift.values() for layer in found))

    def draw(axes: Axes) -> None:
        for name, found in drift.items():
            places = [(value, float(layers.index(layer))) for layer, value in found.items()]
            axes.plot(*columns_of(places), linestyle="none", label=name, **look(name, columns or drift))
        axes.set_yticks(range(len(layers)), [short_name(layer) for layer in layers])
        axes.set_ylim(len(layers) - 0.5, -0.5)
        axes.set_xlim(left=0)
        # Numbers as they are: a common factor at the end of the axis would stand upon its label.
        axes.xaxis.set_major_locator(MaxNLocator(4))
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:.2g}")
        axes.set_xlabel("squared distance from the pretrained weights")

    wide = 5.4 + LETTER * max(0, min(max(map(len, layers), default=0), LONGEST) - 16)
    return draw_svg(draw, width=wide, height=1.2 + 0.24 * len(layers), rows=layers)


def _by_method(series: Mapping[str, Sequence[tuple[int, float]]]) -> dict[str, list[Sequence[tuple[int, float]]]]:
    """The runs of each method; runs without a point are dropped."""
    grouped: dict[str, list[Sequence[tuple[int, float]]]] = {}
    for name, points in series.items():
        if points:
            grouped.setdefault(re.sub(r" seed \d+$", "", name), []).append(points)
    return grouped


def _mean(runs: Sequence[Sequence[tuple[int, float]]]) -> list[tuple[int, float]]:
    """The mean over runs at the steps that all of them have; the first run where they share none."""
    at: dict[int, list[float]] = defaultdict(list)
    for points in runs:
        for step, value in dict(points).items():
            at[step].append(value)
    shared = [(step, fmean(values)) for step, values in sorted(at.items()) if len(values) == len(runs)]
    return shared or list(runs[0])


def _legend(method: str, runs: int) -> str:
    return method if runs == 1 else f"{method}, mean of {runs} seeds"
