"""One metric of a study as a table: a line for each target or setting, a column for each method."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from difftuning.reporting.metrics import label, lower_is_better
from difftuning.reporting.tables import Cell, gain, pivot
from difftuning.reporting.text_table import TextTable
from difftuning.results import Row

COMPARED, BASELINE = ("diff-tuning", "retention only", "measured", "measured retention", "adaptive"), "finetune"
"""The methods whose change against the baseline is told."""
WIDE = 8
"""With more methods than these a table of targets is turned, and tells the change of all."""


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
    if down == "target" and len(methods) > WIDE:
        return _turned(shown, metric, methods)
    parts = {
        value: [row for row in shown if place(row, down) == value] for value in (place(row, down) for row in shown)
    }
    told = {name: {value: _change_text(part, metric, name) for value, part in parts.items()} for name in COMPARED}
    compared = [name for name in COMPARED if any(told[name].values())]
    lines, best = [], set()
    for number, (value, part) in enumerate(parts.items()):
        cells = _cells(part, metric)
        texts = (str(cells.get(name) or "") for name in methods)
        lines.append((value, *texts, *(told[name][value] for name in compared)))
        best |= {(number, column) for column, name in enumerate(methods, 1) if (cell := cells.get(name)) and cell.best}
    if down == "target" and len(lines) > 1 and compared:
        lines.append(("mean", *("" for _ in methods), *(_mean_change(shown, metric, name) for name in compared)))
    head = ("", *methods, *(f"{name} against {BASELINE}" for name in compared))
    return TextTable(head, tuple(lines), frozenset(best))


def _turned(shown: Sequence[Row], metric: str, methods: Sequence[str]) -> TextTable:
    """A line a method, and for each target its value and how that changes against standard fine-tuning."""
    targets = tuple(dict.fromkeys(row.target for row in shown))
    parts = {target: [row for row in shown if row.target == target] for target in targets}
    cells = {target: _cells(part, metric) for target, part in parts.items()}
    lines, best = [], set()
    for number, name in enumerate(methods):
        line = [name]
        for column, target in enumerate(targets):
            cell = cells[target].get(name)
            line += [str(cell or ""), "" if name == BASELINE else _change_text(parts[target], metric, name)]
            if cell is not None and cell.best:
                best.add((number, 1 + 2 * column))
        everywhere = name != BASELINE and all(cells[target].get(name) for target in targets)
        lines.append((*line, _mean_change(shown, metric, name) if everywhere else ""))
    head = ("", *(text for target in targets for text in (target, f"{target} against {BASELINE}")), "mean change")
    return TextTable(head, tuple(lines), frozenset(best))


def _cells(rows: Sequence[Row], metric: str) -> dict[str, Cell | None]:
    """Method -> its mean, spread and whether it is the best."""
    table = pivot(rows, [metric])
    return dict(zip(table.methods, table.lines[0].cells, strict=True))


def change(rows: Sequence[Row], metric: str, method: str) -> float | None:
    """The change of a method's mean against standard fine-tuning in percent; None where one was not measured."""
    share = gain(rows, metric, method, BASELINE)
    return None if share is None else -100 * share


def _change_text(rows: Sequence[Row], metric: str, method: str) -> str:
    """The change and whether it is a better one, in words; empty where one of the two was not measured."""
    return pivot(rows, [metric], method, BASELINE).lines[0].change_text


def _mean_change(rows: Sequence[Row], metric: str, method: str) -> str:
    """The mean of the changes over the targets that have both; empty where one of them has no share of its baseline."""
    targets = dict.fromkeys(row.target for row in rows)
    parts = ([row for row in rows if row.target == target] for target in targets)
    found = [change(part, metric, method) for part in parts if {method, BASELINE} <= {row.method for row in part}]
    known = [one for one in found if one is not None]
    if len(known) < len(found):
        return ""
    return f"{statistics.fmean(known):+.1f} %".replace("-", "\N{MINUS SIGN}") if known else ""


def heading(rows: Sequence[Row], metric: str) -> str:
    """The name of a metric, its better direction, its network and how many samples are behind it."""
    of_metric = [row for row in rows if row.metric == metric]
    arrow = {None: "", True: " ↓", False: " ↑"}[lower_is_better(metric)]
    networks = dict.fromkeys(row.network for row in of_metric if row.network)
    counts = sorted({row.n for row in of_metric if row.n is not None and row.network})
    behind = [*networks, *([f"{'/'.join(map(str, counts))} samples"] if counts else [])]
    return label(metric) + arrow + (f" ({', '.join(behind)})" if behind else "")
