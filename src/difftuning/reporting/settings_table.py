"""One metric of a study as a table: a line for each target or setting, a column for each method."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from difftuning.reporting.tables import LABELS, LOWER_IS_BETTER, Line, Table, gain, pivot
from difftuning.reporting.text_table import TextTable
from difftuning.results import Row

METHOD, BASELINE = "diff-tuning", "finetune"


def place(row: Row, down: str) -> str:
    """In which line a row stands: its target, or the value of a setting."""
    value = row.target if down == "target" else row.setting.get(down, "")
    return f"{value:g}" if isinstance(value, float) else str(value)


def settings_table(rows: Sequence[Row], metric: str, down: str) -> TextTable | None:
    """The table of a metric; None where nothing was measured.

    Args:
        rows: measured numbers.
        metric: the one shown.
        down: "target", or the key of a setting, whose values are the lines.
    """
    shown = [row for row in rows if row.metric == metric]
    if not shown:
        return None
    methods = tuple(dict.fromkeys(row.method for row in shown))
    lines = []
    for value in dict.fromkeys(place(row, down) for row in shown):
        found = pivot([row for row in shown if place(row, down) == value], [metric], METHOD, BASELINE)
        cells = dict(zip(found.methods, found.lines[0].cells, strict=True))
        lines.append(
            Line(
                metric, value, tuple(cells.get(name) for name in methods), found.lines[0].change, found.lines[0].judged
            )
        )
    table = Table(methods, tuple(lines), f"{METHOD} against {BASELINE}").text()
    means = [] if down != "target" else changes(shown, metric)
    if len(means) < 2:
        return table
    spread = f"{statistics.fmean(means):+.1f} %".replace("-", "\N{MINUS SIGN}")
    return TextTable(table.head, (*table.lines, ("mean", *("" for _ in methods), spread)), table.marked)


def changes(rows: Sequence[Row], metric: str) -> list[float]:
    """The change of Diff-Tuning against standard fine-tuning on each target, in percent."""
    targets = dict.fromkeys(row.target for row in rows)
    shares = [gain([row for row in rows if row.target == target], metric, METHOD, BASELINE) for target in targets]
    return [-100 * share for share in shares if share is not None]


def heading(rows: Sequence[Row], metric: str) -> str:
    """The name of a metric, its better direction, its network and how many samples are behind it."""
    of_metric = [row for row in rows if row.metric == metric]
    name = metric.removeprefix("swap_")
    lower = LOWER_IS_BETTER.get(name.removesuffix("_best"))
    arrow = {None: "", True: " ↓", False: " ↑"}[lower]
    networks = dict.fromkeys(row.network for row in of_metric if row.network)
    counts = sorted({row.n for row in of_metric if row.n is not None and row.network})
    behind = [*networks, *([f"{'/'.join(map(str, counts))} samples"] if counts else [])]
    swapped = ", last steps swapped" if metric != name else ""
    return LABELS.get(name, name) + swapped + arrow + (f" ({', '.join(behind)})" if behind else "")
