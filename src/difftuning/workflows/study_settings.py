"""How the runs of a study were made, for its page: the values of the recipe that matter most, and what its methods change."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import yaml

from difftuning.config.difference import flat
from difftuning.config.overrides import parse_override
from difftuning.studies.base import Cell, Study
from difftuning.workflows import phases, recipe

KEYS = (
    "model",
    "data.per_class",
    "data.heldout",
    "training.steps",
    "training.batch_size",
    "optim.lr",
    "ema.decay",
    "bank.count",
    "bank.steps",
    "bank.guidance",
    "sampling.solver",
    "sampling.steps",
    "sampling.guidance",
    "evaluation.network",
    "evaluation.samples",
)
"""Told of every study."""
PSI = "coefficients.psi"
ADVISED = "psi as a probe advises"


def settings(one: Study) -> tuple[tuple[str, str], ...]:
    """(key, its values): of `KEYS`, and of what all runs change in the recipe; a key that is null in all runs is left out."""
    base = flat(recipe.load(one.recipe, []).model_dump(mode="json"))
    runs = [
        {".".join(path): value for text in changes for path, value in (parse_override(text),)}
        for changes in {_changes(cell) for cell in one.cells}
    ]
    shared = [key for key in runs[0] if all(key in run for run in runs) and _told(key)]
    lines = []
    for key in dict.fromkeys((*KEYS, *shared)):
        values = {_text(run[key] if key in run else base[key]) for run in runs}
        if values != {"null"}:
            lines.append((key, ", ".join(sorted(values, key=_order))))
    return tuple(lines)


def methods(one: Study) -> tuple[tuple[str, str], ...]:
    """(method, what all its runs change in the recipe that not all runs of the study do, or the psi that the recipe has)."""
    everywhere = {text for text in _common(one.cells) if _told(text.partition("=")[0])}
    lines = []
    for name in dict.fromkeys(cell.method for cell in one.cells):
        own = [cell for cell in one.cells if cell.method == name]
        changes = [text for text in _common(own) if text not in everywhere and not text.startswith("data.target=")]
        if not any(text.startswith(PSI) for text in own[0].overrides):
            psi = _recipe(one, own[0]).coefficients.psi
            changes.append(f"{PSI}={_text(psi.model_dump(mode='json'))}")
        told = " ".join(f"`{text}`" for text in changes)
        if all(cell.advised for cell in own):
            told += f" {ADVISED}" + (f", by `{' '.join(own[0].probe)}`" if own[0].probe else ", of as many steps")
        lines.append((name, told))
    return tuple(lines)


def _recipe(one: Study, cell: Cell) -> recipe.Recipe:
    """The recipe of a run, or of the last phase of a stream, whose method may set its psi."""
    if not cell.stream:
        return recipe.load(one.recipe, [*cell.overrides])
    name, *overrides = cell.stream
    return phases.recipes_of(phases.load(name, overrides, [*cell.overrides]))[-1]


def _common(cells: Iterable[Cell]) -> list[str]:
    """The changes that all of some cells have, in the order of the first."""
    every = [(*cell.stream[1:], *cell.overrides) for cell in cells]
    return [text for text in every[0] if all(text in changes for changes in every)]


def _told(key: str) -> bool:
    """Whether a key that all runs change is told of the study: not the target and what tells its methods apart."""
    return not key.startswith(("data.target", "coefficients.psi."))


def _changes(cell: Cell) -> tuple[str, ...]:
    """What a run changes in the recipe of its study: what its stream does, and then what it does itself."""
    stream = phases.load(cell.stream[0], []).changes if cell.stream else ()
    return (*stream, *cell.overrides)


def _text(value: Any) -> str:
    """As YAML has it, on one line."""
    if isinstance(value, float):
        return f"{value:g}"
    return str(yaml.safe_dump(value, default_flow_style=True, width=1_000)).removesuffix("\n...\n").strip()


def _order(text: str) -> tuple[float, str]:
    """Numbers by their size, before words."""
    try:
        return float(text), ""
    except ValueError:
        return float("inf"), text
