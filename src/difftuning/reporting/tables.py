"""Result rows as a table: methods across, metrics down, mean and spread over seeds, the better value marked, the change."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from difftuning.reporting.metrics import DISTANCES, LABELS, LOWER_IS_BETTER, counted, label, lower_is_better
from difftuning.reporting.text_table import TextTable
from difftuning.results import Row


@dataclass(frozen=True, slots=True)
class Cell:
    """One number of a table.

    Attributes:
        mean: over the seeds.
        spread: their standard deviation (n - 1); None for one seed.
        best: whether no other method is better, over the seeds that all have.
        seeds: how many, where other methods have other ones; None where all have the same.
    """

    mean: float
    spread: float | None
    best: bool
    seeds: int | None = None

    def __str__(self) -> str:
        text = f"{self.mean:.4g}" if self.spread is None else f"{self.mean:.4g} ± {self.spread:.2g}"
        told = "" if self.seeds is None else f" ({self.seeds} seed{'' if self.seeds == 1 else 's'})"
        return f"{text}{told} *" if self.best else f"{text}{told}"


@dataclass(frozen=True, slots=True)
class Line:
    """One metric.

    Attributes:
        metric: its name in the rows.
        label: for people, with the network and the arrow of the better direction.
        cells: one a method, None where nothing was measured.
        change: the method's mean against the baseline's in percent of it, over the seeds that both have; None where there is
            no such share.
        judged: "better", "worse", "equal", "unclear" where the seeds disagree, that they were measured in other ways, or empty
            where nothing is judged.
    """

    metric: str
    label: str
    cells: tuple[Cell | None, ...]
    change: float | None = None
    judged: str = ""

    @property
    def change_text(self) -> str:
        """The change and what it means, such as `+2.9 %, worse`; one of them alone where there is no other."""
        # Adding zero turns a rounded -0.0 into 0.0.
        parts = [] if self.change is None else [f"{round(self.change, 1) + 0.0:+.1f} %".replace("-", "\N{MINUS SIGN}")]
        parts += [{"unclear": "seeds disagree"}.get(self.judged, self.judged)] if self.judged else []
        return ", ".join(parts)


@dataclass(frozen=True, slots=True)
class Table:
    """Methods and the lines under them; `change_of` heads the column of changes, empty where there is none."""

    methods: tuple[str, ...]
    lines: tuple[Line, ...]
    change_of: str = ""

    def html(self) -> Markup:
        """The table as HTML, every text escaped."""
        return self.text().html()

    def markdown(self) -> str:
        """The table in GitHub's Markdown."""
        return self.text().markdown()

    def text(self) -> TextTable:
        """The same as plain cells, the better value with a star."""
        changes = any(line.change_text for line in self.lines)
        head = ("", *self.methods, *((self.change_of,) if changes else ()))
        lines = tuple(
            (
                line.label,
                *(str(cell) if cell else "" for cell in line.cells),
                *((line.change_text,) if changes else ()),
            )
            for line in self.lines
        )
        best = frozenset(
            (row, column + 1)
            for row, line in enumerate(self.lines)
            for column, cell in enumerate(line.cells)
            if cell is not None and cell.best
        )
        return TextTable(head, lines, best)


def pivot(
    rows: Sequence[Row], metrics: Sequence[str], method: str = "diff-tuning", baseline: str = "finetune"
) -> Table:
    """The table of some metrics; rows of one method and metric that differ in their seed are one cell.

    Args:
        rows: measured numbers.
        metrics: the lines, in order; one that no row has is left out.
        method: whose change is given, against
        baseline: this one.
    """
    methods = tuple(dict.fromkeys(row.method for row in rows))
    lines = []
    for metric in metrics:
        values = {name: one for name in methods if (one := _by_seed(rows, metric, name))}
        if not values:
            continue
        lower = lower_is_better(metric)
        # The pretrained model is where both started, not a competitor.
        competing = {name: counted(metric, found) for name, found in values.items() if name != "pretrained"}
        alike = _alike(rows, metric, competing)
        best = set() if lower is None or not alike else _best(competing, lower)
        uneven = len({frozenset(found) for found in competing.values()}) > 1
        cells = tuple(
            Cell(
                statistics.fmean(found.values()),
                statistics.stdev(found.values()) if len(found) > 1 else None,
                name in best,
                len(found) if uneven and name in competing else None,
            )
            if (found := values.get(name, {}))
            else None
            for name in methods
        )
        arrow = "" if lower is None else " ↓" if lower else " ↑"
        network = _network(rows, metric)
        name = label(metric) + arrow + (f" ({network})" if network else "")
        share = gain(rows, metric, method, baseline)
        ours, theirs = _paired(rows, metric, method, baseline)
        ours, theirs = counted(metric, ours), counted(metric, theirs)
        judgement = _judged(ours, theirs, lower) if lower is not None and ours and theirs else ""
        if ours and theirs and not _alike(rows, metric, (method, baseline)):
            share, judgement = None, "measured in other ways"
        lines.append(Line(metric, name, cells, None if share is None else -100 * share, judgement))
    return Table(methods, tuple(lines), f"{method} against {baseline}")


def gain(rows: Sequence[Row], metric: str, method: str, baseline: str) -> float | None:
    """By how much the method's mean is below the baseline's, as a share of it, over the seeds that both have.

    None where one was not measured, or where the baseline is not above zero (an unbiased KID may be negative),
    since a share of it would say nothing.
    """
    ours, theirs = _paired(rows, metric, method, baseline)
    if not ours or not theirs:
        return None
    ours, theirs = counted(metric, ours), counted(metric, theirs)
    base = statistics.fmean(theirs.values())
    return (base - statistics.fmean(ours.values())) / base if base > 0 else None


def verdict(rows: Sequence[Row], method: str = "diff-tuning", baseline: str = "finetune") -> str:
    """One sentence from the rows, as they fall: what is better, what is worse, and where the seeds disagree."""
    both = [row for row in rows if row.method in (method, baseline)]
    if not rows:
        return "Nothing is judged yet."
    if len({row.method for row in both}) < 2:
        return "There is one method here, so nothing is compared."
    groups: dict[str, list[str]] = {"better": [], "worse": [], "equal": [], "unclear": [], "other": []}
    for metric, lower in LOWER_IS_BETTER.items():
        ours, theirs = _paired(both, metric, method, baseline)
        if ours and theirs and not _alike(both, metric, (method, baseline)):
            groups["other"].append(LABELS.get(metric, metric))
        elif ours and theirs:
            mean, base = statistics.fmean(ours.values()), statistics.fmean(theirs.values())
            said = f"{LABELS.get(metric, metric)} ({mean:.4g} against {base:.4g})"
            groups[_judged(counted(metric, ours), counted(metric, theirs), lower)].append(said)
    words = {
        "better": "better in",
        "worse": "worse in",
        "equal": "equal in",
        "unclear": "not clearly different, because the seeds disagree, in",
        "other": "not compared, because they were measured by other networks, on other items or on other numbers of samples, in",
    }
    parts = [f"{words[kind]} {', '.join(said)}" for kind, said in groups.items() if said]
    if not parts:
        return "Both methods were trained, but no metric was measured for both."
    judged = [row for row in both if row.metric in LOWER_IS_BETTER]
    steps = {name: sorted({row.step for row in judged if row.method == name}) for name in (method, baseline)}
    when = "At equal steps" if steps[method] == steps[baseline] else f"At different steps ({_steps(steps)})"
    seeds = {name: {row.seed for row in judged if row.method == name} for name in (method, baseline)}
    count = len(seeds[method] & seeds[baseline])
    over = f"over {count} seeds" if count > 1 else "with one seed" if count else "with different seeds"
    networks = ", ".join(dict.fromkeys(row.network for row in judged if row.metric in DISTANCES and row.network))
    tail = f" (distances over {networks})" if networks else ""
    names = {"diff-tuning": "Diff-Tuning", "finetune": "standard fine-tuning"}
    ours_name, theirs_name = names.get(method, method), names.get(baseline, baseline)
    return f"{when} and {over}, {ours_name} against {theirs_name} is {'; '.join(parts)}{tail}."


def _by_seed(rows: Sequence[Row], metric: str, method: str) -> dict[int, float]:
    """The mean of each seed, so that a seed measured twice weighs no more than another."""
    found: dict[int, list[float]] = {}
    for row in rows:
        if row.metric == metric and row.method == method:
            found.setdefault(row.seed, []).append(row.value)
    return {seed: statistics.fmean(values) for seed, values in found.items()}


def _paired(rows: Sequence[Row], metric: str, method: str, baseline: str) -> tuple[dict[int, float], dict[int, float]]:
    """The values of two methods by seed, of the seeds that both have; all of them where they have none in common."""
    ours, theirs = _by_seed(rows, metric, method), _by_seed(rows, metric, baseline)
    if common := ours.keys() & theirs.keys():
        ours, theirs = ({seed: values[seed] for seed in sorted(common)} for values in (ours, theirs))
    return ours, theirs


def _best(values: Mapping[str, Mapping[int, float]], lower: bool) -> set[str]:
    """The methods of the best mean over the seeds that all have; none where nothing is better than another."""
    common = frozenset.intersection(*(frozenset(found) for found in values.values())) if values else frozenset()
    means = {name: statistics.fmean(found[seed] for seed in sorted(common)) for name, found in values.items() if common}
    if len(set(means.values())) < 2:
        return set()
    winner = min(means.values()) if lower else max(means.values())
    return {name for name, mean in means.items() if mean == winner}


def _alike(rows: Sequence[Row], metric: str, methods: Iterable[str]) -> bool:
    """Whether a metric of some methods was measured by one network on one number of samples, and on the same items.

    An earlier version did not tell the items, and then they are taken to be the same.
    """
    chosen = {*methods}
    found = [row for row in rows if row.metric == metric and row.method in chosen]
    items = ({row.against for row in found} - {None}, {row.real for row in found} - {None})
    return len({(row.network, row.n) for row in found}) < 2 and all(len(one) < 2 for one in items)


def _network(rows: Sequence[Row], metric: str) -> str:
    """The networks behind a metric; usually one."""
    return ", ".join(dict.fromkeys(row.network for row in rows if row.metric == metric and row.network))


def _judged(ours: Mapping[int, float], theirs: Mapping[int, float], lower: bool) -> str:
    """How one method stands to another in a metric: "better", "worse", "equal", or "unclear".

    The mean decides. Seeds that both have are compared in pairs, since they share their data order and noise: where not
    all pairs say what the mean says, the difference is unclear.

    Args:
        ours: seed -> value.
        theirs: seed -> value, of the other method.
        lower: whether less is better.
    """
    difference = statistics.fmean(ours.values()) - statistics.fmean(theirs.values())
    if difference == 0:
        return "equal"
    pairs = [ours[seed] - theirs[seed] for seed in ours.keys() & theirs.keys()]
    if any(pair * difference <= 0 for pair in pairs):
        return "unclear"
    return "better" if (difference < 0) == lower else "worse"


def _steps(steps: Mapping[str, Sequence[int]]) -> str:
    return ", ".join(f"{name}: {'/'.join(map(str, found))}" for name, found in steps.items())
