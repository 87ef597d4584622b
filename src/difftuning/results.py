"""The one currency of numbers, the result row, and the files that hold rows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, JsonValue, ValidationError

from difftuning.errors import CheckpointError
from difftuning.json_files import read_json, write_json

CURVE, BEST = "_curve", "_best"
"""How the metrics end that are a measure while training, and the lowest of it."""
SWAP = "swap_"
"""Before a measure: of samples whose last steps went to the pretrained model."""
OVER_NETWORK = ("frechet", "fid", "kid", "precision", "recall", "memorised")
"""Measures of samples by the features of a network, which their rows name."""
INNOCENT = 0.05
"""The share of held-out real images that the measure "memorised" calls copies, by its definition."""


class Row(BaseModel):
    """One measured number, with all that is needed to compare it with another."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    study: str
    """What the number was measured for: "demo", or the name of a study."""
    target: str
    """The target domain."""
    method: str
    """How the model was trained: "pretrained", "finetune", "diff-tuning", ..."""
    tuner: str = "full"
    """What was trained: "full", "lora", ..."""
    setting: dict[str, JsonValue] = Field(default_factory=dict)
    """What else sets this row apart, for instance {"u": 0.05, "source": "bank"}."""
    seed: int
    """The seed of the run."""
    step: int = Field(ge=0)
    """Optimiser steps done when it was measured."""
    metric: str
    """What was measured: "frechet", "kid", "heldout", "drift", ..."""
    value: FiniteFloat
    """The number; what could not be measured has no row."""
    network: str | None = None
    """The feature network behind a distance."""
    n: int | None = Field(None, ge=0)
    """How many samples it was measured on."""
    against: str | None = None
    """What tells the items that it was measured on, or compared with, from others; None where that is not told."""
    real: int | None = Field(None, ge=0)
    """Of a distance: with how many real images samples were compared."""
    cell: str | None = None
    """In a study: the digest of what decided the run and how it was judged, shared by all rows of that cell."""


def write_results(
    path: Path, rows: Iterable[Row], machine: Mapping[str, Any], commit: str | None, recipe: Mapping[str, Any]
) -> None:
    """Write `{"rows": [...], "machine": ..., "commit": ..., "recipe": ...}`, whole or not at all."""
    dumped = [row.model_dump(mode="json") for row in rows]
    write_json(path, {"rows": dumped, "machine": machine, "commit": commit, "recipe": recipe})


def read_rows(path: Path) -> list[Row]:
    """The rows of a `results.json` or of a committed study.

    Raises:
        CheckpointError: the file is missing or its rows do not fit the schema.
    """
    found = read_json(path)
    try:
        return [Row.model_validate(row) for row in found["rows"]]
    except (ValidationError, KeyError, TypeError) as reason:
        raise CheckpointError(
            f"{path} holds no result rows that this version can read; evaluate the run again"
        ) from reason
