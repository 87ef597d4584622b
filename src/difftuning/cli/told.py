"""What a person reads of a result that is made of records; all of them are in the files that it names, and in `--json`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from difftuning.reporting.metrics import label
from difftuning.results import CURVE


def evaluation(result: Mapping[str, Any]) -> dict[str, Any]:
    """The numbers that sum a run up, without those of single layers, noise levels and steps."""
    rows = [row for row in result["rows"] if not row.get("setting") and not row["metric"].endswith(CURVE)]
    values = {label(row["metric"]): _number(row["value"]) for row in rows}
    return values | {key: value for key, value in result.items() if key != "rows"}


def diagnosis(result: Mapping[str, Any]) -> dict[str, Any]:
    """The distance at each share of the last steps that the pretrained model takes, and the errors by u."""
    told: dict[str, Any] = {}
    for point in result["swap"]:
        values = ", ".join(f"{label(name)} {_number(value)}" for name, value in point.items() if name != "share")
        told[f"last {100 * point['share']:.0f} % of the steps swapped"] = values
    for where in ("target", "bank"):
        for model, errors in result.get(where, {}).items():
            told[f"error on the {where} by u, {model}"] = [_number(error) for error in errors]
    return told | {key: value for key, value in result.items() if key not in ("swap", "target", "bank")}


def _number(value: float) -> str:
    return f"{value:.4g}"
