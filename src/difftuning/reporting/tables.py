"""Result rows as a table: methods across, metrics down, mean and spread over seeds, the better value marked."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from difftuning.results import Row

LOWER_IS_BETTER = {
    "heldout": True,
    "heldout_bank": True,
    "frechet": True,
    "fid": True,
    "kid": True,
    "precision": False,
    "recall": False,
    "memorised": True,
}
"""Which way a metric is read; one that is not here, such as the drift, is shown and not judged."""

LABELS = {
    "heldout": "held-out error, target",
    "heldout_best": "held-out error, best checkpoint",
    "heldout_bank": "error on the bank",
    "frechet": "Frechet distance",
    "fid": "FID",
    "kid": "KID",
    "precision": "precision",
    "recall": "recall",
    "memorised": "memorised share",
    "drift": "weight drift",
}


@dataclass(frozen=True, slots=True)
class Cell:
    """One number of a table.

    Attributes:
        mean: over the seeds.
        spread: their standard deviation; None for one seed.
        best: whether no other method is better.
    """

    mean: float
    spread: float | None
    best: bool

    def __str__(self) -> str:
        text = f"{self.mean:.4g}" if self.spread is None else f"{self.mean:.4g} ± {self.spread:.2g}"
        return f"{text} *" if self.best else text


@dataclass(frozen=True, slots=True)
class Line:
    """One metric.

    Attributes:
        metric: its name in the rows.
        label: for people, with the network and the arrow of the better direction.
        cells: one a method, None where nothing was measured.
    """

    metric: str
    label: str
    cells: tuple[Cell | None, ...]


@dataclass(frozen=True, slots=True)
class Table:
    """Methods and the lines under them."""

    methods: tuple[str, ...]
    lines: tuple[Line, ...]


def pivot(rows: Sequence[Row], metrics: Sequence[str]) -> Table:
    """The table of some metrics; rows of one method and metric that differ in their seed are one cell."""
    methods = tuple(dict.fromkeys(row.method for row in rows))
    lines = []
    for metric in metrics:
        values = {name: [row.value for row in rows if row.metric == metric and row.method == name] for name in methods}
        means = {name: statistics.fmean(found) for name, found in values.items() if found}
        if not means:
            continue
        lower = LOWER_IS_BETTER.get(metric.removesuffix("_best"))
        # The pretrained model is where both started, not a competitor.
        judged = [mean for name, mean in means.items() if name != "pretrained"]
        undecided = lower is None or len(set(judged)) < 2
        winner = None if undecided else min(judged) if lower else max(judged)
        cells = tuple(
            Cell(
                means[name],
                statistics.stdev(values[name]) if len(values[name]) > 1 else None,
                name != "pretrained" and means[name] == winner,
            )
            if name in means
            else None
            for name in methods
        )
        network = next((row.network for row in rows if row.metric == metric and row.network), None)
        arrow = "" if lower is None else " ↓" if lower else " ↑"
        label = LABELS.get(metric, metric) + arrow + (f" ({network})" if network else "")
        lines.append(Line(metric, label, cells))
    return Table(methods, tuple(lines))


def gain(rows: Sequence[Row], metric: str, method: str, baseline: str) -> float | None:
    """By how much the method's mean is below the baseline's, as a share of it; None where one was not measured."""

    def mean(name: str) -> float | None:
        found = [row.value for row in rows if row.metric == metric and row.method == name]
        return statistics.fmean(found) if found else None

    ours, theirs = mean(method), mean(baseline)
    return None if ours is None or not theirs else (theirs - ours) / theirs


def verdict(rows: Sequence[Row], method: str = "diff-tuning", baseline: str = "finetune") -> str:
    """One sentence from the rows, as they fall: what is lower, what is higher."""
    table = pivot([row for row in rows if row.method in (method, baseline)], tuple(LOWER_IS_BETTER))
    if len(table.methods) < 2:
        return "There is one method here, so nothing is compared."
    at = {name: index for index, name in enumerate(table.methods)}
    better: list[str] = []
    worse: list[str] = []
    for line in table.lines:
        ours, theirs = line.cells[at[method]], line.cells[at[baseline]]
        if ours is None or theirs is None or ours.mean == theirs.mean:
            continue
        (better if ours.best else worse).append(f"{LABELS[line.metric]} ({ours.mean:.4g} against {theirs.mean:.4g})")
    said = [f"better in {', '.join(better)}"] if better else []
    said += [f"worse in {', '.join(worse)}"] if worse else []
    return (
        f"At equal steps, Diff-Tuning is {' and '.join(said)} than standard fine-tuning." if said else "Both are equal."
    )
