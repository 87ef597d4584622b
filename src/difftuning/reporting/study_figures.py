"""The figures of a study: a measure over a setting, and changes against a baseline."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from matplotlib.axes import Axes

from difftuning.reporting.svg import COLOURS, LETTER, LONGEST, columns_of, draw_svg, look, short_name

WIDE = 20
"""Values of a setting that are further apart than by this factor stand on a logarithmic axis."""


def over_setting(panels: Mapping[tuple[str, str], Mapping[str, Sequence[tuple[float, float]]]], xlabel: str) -> bytes:
    """Measures against the value of a setting: a panel a measure and target, a curve a method.

    Args:
        panels: (measure, target) -> method -> (value, measure).
        xlabel: the setting.
    """
    names = list(dict.fromkeys(name for curves in panels.values() for name in curves))
    values = sorted({x for curves in panels.values() for points in curves.values() for x, _ in points})
    least = min((x for x in values if x > 0), default=1.0)

    def panel(key: tuple[str, str]) -> Callable[[Axes], None]:
        def draw(axes: Axes) -> None:
            for name, points in panels[key].items():
                axes.plot(*columns_of(points), label=name, **look(name, names))
            axes.set_title(key[1])
            axes.set_xlabel(xlabel)
            if values[-1] >= WIDE * least:
                axes.set_xscale("symlog", linthresh=least)  # which has a place for none
                axes.set_xticks(values, [f"{value:g}" for value in values])
                axes.minorticks_off()
            if key == next(one for one in panels if one[0] == key[0]):
                axes.set_ylabel(key[0].replace(" (", "\n("))

        return draw

    return draw_svg(*map(panel, panels), width=max(5.4, 3.4 * len(panels)))


@dataclass(frozen=True)
class Leaping:
    """The curves of a method, and when they leap.

    Attributes:
        runs: seed -> (step, control consistency).
        moments: the step of each run that leaps.
    """

    runs: Mapping[int, Sequence[tuple[int, float]]]
    moments: list[float]


def leaps(panels: Mapping[str, Mapping[str, Leaping]]) -> bytes:
    """How far ControlNets obey while they train: a panel a kind of control, thin lines the runs, a thick one their mean.

    An upright line is the mean moment of sudden convergence, and what is shaded reaches from the earliest to the latest.

    Args:
        panels: kind of control -> method -> its curves.
    """
    methods = [name for found in panels.values() for name in found]

    def panel(title: str) -> Callable[[Axes], None]:
        def draw(axes: Axes) -> None:
            for name, found in panels[title].items():
                looks, at = look(name, methods), defaultdict(list)
                for points in found.runs.values():
                    axes.plot(*columns_of(points), color=looks["color"], linewidth=0.8, alpha=0.5)
                    for step, value in points:
                        at[step].append(value)
                mean = [(step, fmean(values)) for step, values in sorted(at.items())]
                axes.plot(*columns_of(mean), label=name, markevery=max(1, len(mean) // 8), **looks)
                if found.moments:
                    axes.axvline(fmean(found.moments), color=looks["color"], linestyle="--", linewidth=1.2)
                    axes.axvspan(min(found.moments), max(found.moments), color=looks["color"], alpha=0.12, linewidth=0)
            axes.set_title(title)
            axes.set_xlabel("training steps")
            if title == next(iter(panels)):
                axes.set_ylabel("control consistency")

        return draw

    return draw_svg(*map(panel, panels), width=max(5.4, 3.4 * len(panels)))


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
            looks = look(name, values)
            for case, all_seeds in found.items():
                height = cases.index(case) + (index - (len(values) - 1) / 2) * width
                axes.plot([min(all_seeds), max(all_seeds)], [height] * 2, color=looks["color"], linewidth=1.2)
                axes.plot(fmean(all_seeds), height, linestyle="none", **looks)
            axes.plot([], [], linestyle="none", label=name, **looks)
        axes.set_yticks(range(len(cases)), [short_name(case) for case in cases])
        axes.set_ylim(len(cases) - 0.5, -0.5)
        axes.grid(visible=False, axis="y")
        axes.set_xlabel(f"{what}:\nchange against {baseline} in %")

    wide = 5.4 + LETTER * max(0, min(max(map(len, cases), default=0), LONGEST) - 16)
    return draw_svg(draw, width=wide, height=1.2 + 0.3 * len(cases) * max(1.0, len(values) / 2))
