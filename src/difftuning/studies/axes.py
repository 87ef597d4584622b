"""What the studies vary: targets, methods, seeds."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import groupby
from types import MappingProxyType

from pydantic import JsonValue

from difftuning.studies.base import Cell

MICRO = "studies/micro"
"""The recipe of the small scale: 16x16 pixels."""
TARGETS = (
    "pacs-photo",
    "pacs-art-painting",
    "pacs-cartoon",
    "flowers5",
    "noto",
    "twemoji",
    "openmoji",
    "fashion-mnist",
)
"""From the source's own kind, photographs, to what is far from it."""
TUNING_TARGETS = ("pacs-photo", "openmoji")
"""A near and a far one, on which settings are chosen and single questions are asked."""
SEEDS = (0, 1, 2)
FINETUNE, DIFF_TUNING, MEASURED = "finetune", "diff-tuning", "measured"
RETENTION, MEASURED_RETENTION, ADAPTIVE = "retention only", "measured retention", "adaptive"
METHODS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        FINETUNE: ("coefficients.psi.kind=power", "coefficients.psi.tau=0"),
        DIFF_TUNING: ("coefficients.psi.kind=power", "coefficients.psi.tau=1"),
    }
)
"""The two that everything is about: tau = 0 and the paper's tau = 1."""
BESIDE: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        # Section 4.4: the target at its whole weight, xi = 1 - u beside it.
        # Written out and not by `whole_target`, since finished cells are keyed by their recipe.
        RETENTION: (
            "coefficients.psi={kind: constant, value: 1}",
            "coefficients.xi={kind: power-of-complement, tau: 1}",
        )
    }
)
"""Retention that takes nothing from the target; the paper has it among its ablations."""
LABELS_TOO = ("training.retention_labels=0.5",)
"""Half of the bank under the target's classes, which the paper does not have: the other half of what `MEASURED` stands for."""
WHOLE_TARGET = ("coefficients.whole_target=true",)
"""Retention beside the whole weight of the target."""


ADAPTING: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {ADAPTIVE: ("coefficients.psi.kind=adaptive", *WHOLE_TARGET)}
)
"""Retention beside the whole target, by what the training itself has measured so far: without a probe."""


def cells(
    targets: Iterable[str],
    methods: Mapping[str, Sequence[str]],
    settings: Mapping[str, Sequence[str]] | None = None,
    key: str = "",
    seeds: Iterable[int] = SEEDS,
) -> tuple[Cell, ...]:
    """Every target x setting x method x seed, the seeds outermost: a table of one seed is there first.

    Args:
        targets: names of the catalogue.
        methods: name in tables -> overrides.
        settings: value in tables -> overrides; a value that is a number is shown as one.
        key: the name of the setting.
        seeds: of the trainings.
    """
    return tuple(
        Cell(method, (f"data.target={target}", *changes, *overrides), seed, {key: _number(value)} if key else {})
        for seed in seeds
        for target in targets
        for value, changes in (settings or {"": ()}).items()
        for method, overrides in methods.items()
    )


def with_measured(plain: Sequence[Cell], method: str = MEASURED) -> tuple[Cell, ...]:
    """The cells and, behind those of one place, Diff-Tuning with the psi that the standard fine-tuning among them advises.

    As `MEASURED` its bank comes under the target's classes too; as `MEASURED_RETENTION` the target keeps its whole weight, beside 1
    less that psi as retention.
    """
    more = {MEASURED: LABELS_TOO, MEASURED_RETENTION: WHOLE_TARGET}[method]
    found: list[Cell] = []
    for _, place in groupby(plain, lambda cell: (cell.seed, cell.overrides[0], str(cell.setting))):
        together = list(place)
        found += together
        found += (
            replace(cell, method=method, overrides=(*cell.overrides, *more), advised=True)
            for cell in together
            if cell.method == FINETUNE
        )
    return tuple(found)


def _number(text: str) -> JsonValue:
    try:
        return float(text)
    except ValueError:
        return text
