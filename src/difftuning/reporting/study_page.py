"""The page of a study in Markdown, with a figure beside it; it states only what is in the rows."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

from difftuning.atomic import write_bytes
from difftuning.json_files import write_text
from difftuning.reporting import figures, study_figures
from difftuning.reporting.heat_map import change_map
from difftuning.reporting.metrics import LABELS, label
from difftuning.reporting.noise_table import noise_table
from difftuning.reporting.settings_table import BASELINE, heading, place, settings_table
from difftuning.reporting.svg import draw_svg
from difftuning.reporting.text_table import TextTable
from difftuning.results import CURVE, Row

CURVES = ("heldout", "frechet")
"""The measures that are drawn while training, or against a setting."""
CONSISTENCY, LEAP, REACHED = "consistency_curve", "convergence", "convergence_reached"
"""The measures of how far a ControlNet obeys while it trains, of the step at which it begins to, and of whether it does."""
FALLING = ("MSE",)
"""Measures of consistency that are lower the better it is."""
MOST_SIGNS = 3
"""So many methods can be told apart by their signs."""
MOST_LINES = 16
"""So many cases fit on a page, one below the other."""
BY_NOISE = (
    "## held-out error, target, by noise\n\nIn ten bins of u, from low noise to high: means over all runs, and the mean change of "
    "pairs that share target, seed and setting."
)
SMALL_SAMPLES = (
    "Distances are against held-out images, counted in `docs/how-to/studies.md`. A Frechet distance of so few samples is biased "
    "upwards, of all methods alike; `docs/gain.md` tells how far from them as many real images are. KID has no such bias."
)
HELD_OUT = "held-out images"
"""The line above those of the methods."""


def picture_name(study: str, cell: str, line: str = "") -> str:
    """The file of what a cell drew, or of another line of its pictures, beside the page of its study."""
    return "-".join(part.replace(" ", "-") for part in (study, cell, line) if part) + ".png"


@dataclass(frozen=True)
class StudyPage:
    """What a page is made from.

    Attributes:
        name: of the study, and of its files.
        title: the heading.
        asked: what the paper says, and where, or what is asked.
        note: what else to know before reading its numbers; empty where there is nothing.
        down: what the lines of its tables are: "target", or the key of a setting.
        metrics: the tables, the first ones drawn.
        curves: draw error and distance while training instead.
        leaps: draw the control consistency while training instead, with the moment of its leap.
        pictures: what the pictures of its runs show, in a sentence.
        recipe: the shipped one that its runs change.
        settings: (key of the recipe, its values in the runs).
        methods: (method, what it changes in the recipe).
        rows: measured numbers.
        finished: how many cells they come from.
        cells: of so many that are planned.
    """

    name: str
    title: str
    asked: str
    note: str
    down: str
    metrics: tuple[str, ...]
    curves: bool
    leaps: bool
    pictures: str
    recipe: str
    settings: tuple[tuple[str, str], ...]
    methods: tuple[tuple[str, str], ...]
    rows: tuple[Row, ...]
    finished: int
    cells: int

    def write(self, path: Path) -> None:
        """Write the page, and its figure as SVG under the same name; it shows the pictures of its runs that lie beside it."""
        picture = self._figure()
        if picture is not None:
            write_bytes(path.with_suffix(".svg"), picture)
        write_text(path, self.markdown(picture is not None, path.parent))

    def markdown(self, figure: bool, folder: Path) -> str:
        """The page; with the figure, if there is one, and those pictures of its runs that are in its folder."""
        left = self.cells - self.finished
        seeds = sorted({row.seed for row in self.rows})
        done = f"Measured: {self.finished} of {self.cells} runs, seeds {', '.join(map(str, seeds))}."
        parts = [
            f"# {self.title}",
            self.asked,
            done + (f" {left} {'run is' if left == 1 else 'runs are'} still to be made." if left else ""),
        ]
        if self.note:
            parts.append(self.note)
        if figure:
            parts.append(f"![{self.title}]({self.name}.svg)")
        for metric in self.metrics:
            for target, rows in self._by_table().items():
                table = settings_table(rows, metric, self.down)
                if table is not None:
                    where = f", {target}" if target else ""
                    parts += [f"## {heading(rows, metric)}{where}", table.markdown().rstrip()]
        noise = noise_table(self.rows)
        if noise is not None:
            parts += [BY_NOISE, noise.markdown().rstrip()]
        parts += self._pictures(folder)
        parts += self._made()
        if any(row.network for row in self.rows):
            parts.append(SMALL_SAMPLES)
        parts.append(
            "Mean ± standard deviation over seeds; a star marks the best mean over the seeds that all methods of a line have, and "
            "a judgement stands where all seeds agree; of one seed it only tells the direction. "
            f"The numbers are those of `{self.name}.json`, written by `difftuning study {self.name}`."
        )
        return "\n\n".join(parts) + "\n"

    def _pictures(self, folder: Path) -> list[str]:
        """A heading and a table for each target of whose runs there are pictures, a line a method."""
        found: dict[str, dict[str, str]] = defaultdict(dict)
        for cell, row in {row.cell: row for row in self.rows if row.cell}.items():
            for line, name in ((HELD_OUT, HELD_OUT), (row.method, "")):
                if (folder / picture_name(self.name, cell, name)).is_file():
                    found[row.target].setdefault(line, picture_name(self.name, cell, name))
        parts = []
        for target, names in found.items():
            lines = tuple((line, f"![{target}, {line}]({name})") for line, name in names.items())
            parts += [f"## Pictures, {target}", self.pictures, TextTable(("", ""), lines, prose=True).markdown()]
        return [part.rstrip() for part in parts]

    def _made(self) -> list[str]:
        """What its runs have in common, what sets its methods apart."""
        return [
            "## How it was run",
            f"By the recipe `{self.recipe}`. These values of it, or of what changes it, matter most; several stand for those of "
            "several runs.",
            TextTable(("key", "values in the runs"), self.settings, prose=True).markdown().rstrip(),
            TextTable(("method", "its part of the recipe"), self.methods, prose=True).markdown().rstrip(),
        ]

    def _by_table(self) -> dict[str, list[Row]]:
        """The rows of each table: all in one where its lines are targets, else one table a target."""
        if self.down == "target":
            return {"": list(self.rows)}
        found: dict[str, list[Row]] = defaultdict(list)
        for row in self.rows:
            found[row.target].append(row)
        return dict(found)

    def _figure(self) -> bytes | None:
        if self.leaps:
            return self._leaps()
        if self.curves:
            return self._curves()
        shown = [row for row in self.rows if row.metric == self.metrics[0]]
        if not shown:
            return None
        # Only numbers can be an axis; names of targets and of settings are none.
        if any(not isinstance(row.setting.get(self.down), int | float) for row in shown):
            return self._changes(shown)
        panels: dict[tuple[str, str], dict[str, dict[float, list[float]]]] = {}
        for metric in [metric for metric in self.metrics if metric in CURVES] or self.metrics[:1]:
            measured = [row for row in self.rows if row.metric == metric]
            for row in measured:
                curves = panels.setdefault((heading(measured, metric), row.target), {})
                curves.setdefault(row.method, defaultdict(list))[float(place(row, self.down))].append(row.value)
        means = {
            key: {name: [(x, fmean(found)) for x, found in sorted(at.items())] for name, at in curves.items()}
            for key, curves in panels.items()
        }
        return study_figures.over_setting(means, self.down)

    def _curves(self) -> bytes | None:
        """A panel a target and a measure: each method while it trains."""
        series: dict[tuple[str, str], dict[str, list[tuple[int, float]]]] = defaultdict(lambda: defaultdict(list))
        for row in self.rows:
            metric = row.metric.removesuffix(CURVE)
            if row.metric.endswith(CURVE) and metric in CURVES:
                series[metric, row.target][f"{row.method} seed {row.seed}"].append((row.step, row.value))
        panels = [
            figures.curve_panel(runs, LABELS[metric], target)
            for (metric, target), runs in sorted(series.items(), key=lambda item: CURVES.index(item[0][0]))
        ]
        return draw_svg(*panels, width=max(5.4, 3.4 * len(panels))) if panels else None

    def _leaps(self) -> bytes | None:
        """A panel a line of the tables: the consistency of each method, and when it leaps."""
        curves: dict[tuple[str, str], dict[int, list[tuple[int, float]]]] = defaultdict(lambda: defaultdict(list))
        moments: dict[tuple[str, str], list[float]] = defaultdict(list)
        titles: dict[str, str] = {}
        never = {
            (place(row, self.down), row.method, row.seed)
            for row in self.rows
            if row.metric == REACHED and not row.value
        }
        for row in self.rows:
            if row.metric == CONSISTENCY:
                line, measure = place(row, self.down), str(row.setting.get("measure", ""))
                titles[line] = f"{line}, {measure} {'↓' if measure in FALLING else '↑'}" if measure else line
                curves[line, row.method][row.seed].append((row.step, row.value))
            elif row.metric == LEAP and (place(row, self.down), row.method, row.seed) not in never:
                moments[place(row, self.down), row.method].append(row.value)
        panels: dict[str, dict[str, study_figures.Leaping]] = defaultdict(dict)
        for (line, method), runs in curves.items():
            panels[titles[line]][method] = study_figures.Leaping(runs, moments[line, method])
        return study_figures.leaps(panels) if panels else None

    def _changes(self, shown: Sequence[Row]) -> bytes | None:
        """Each method against standard fine-tuning, in pairs of the same seed.

        Few methods are signs, and more of them are lines; of many in many cases there is a map, of the distance too.
        """
        methods = [name for name in dict.fromkeys(row.method for row in shown) if name != BASELINE]
        found = self._against(shown[0].metric)
        compared = {case for changes in found.values() for case in changes}
        cases = [case for case in dict.fromkeys(map(self._case, shown)) if case in compared]
        if not cases:
            return None
        if min(len(methods), len(cases)) > MOST_SIGNS or len(cases) > MOST_LINES:
            maps = {shown[0].metric: found}
            maps.setdefault("frechet", self._against("frechet"))
            return change_map(
                {
                    label(metric): [
                        [fmean(one) if (one := changes[name].get(case)) else None for name in methods] for case in cases
                    ]
                    for metric, changes in maps.items()
                    if changes
                },
                cases,
                methods,
            )
        percents: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
        for name, changes in found.items():
            for case, shares in changes.items():
                series, line = (name, case) if len(methods) <= MOST_SIGNS else (case, name)
                percents[series][line] += [100 * share for share in shares]
        return study_figures.changes(percents, BASELINE, label(shown[0].metric))

    def _against(self, metric: str) -> dict[str, dict[str, list[float]]]:
        """Method -> case -> the change of each seed against standard fine-tuning, as a share."""
        rows = [row for row in self.rows if row.metric == metric]
        base = {(row.target, place(row, self.down), row.seed): row.value for row in rows if row.method == BASELINE}
        found: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
        for row in rows:
            line = place(row, self.down)
            before = base.get((row.target, line, row.seed), 0.0)
            if row.method != BASELINE and before > 0:
                found[row.method][self._case(row)].append(row.value / before - 1)
        return found

    def _case(self, row: Row) -> str:
        line = place(row, self.down)
        return line if self.down == "target" else f"{row.target}, {line}"
