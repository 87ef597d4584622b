"""The keys of recipes: what there is, and in which two differ."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from difftuning.config.difference import differences
from difftuning.config.loading import load_recipe
from difftuning.config.reference import reference
from difftuning.errors import ConfigError
from difftuning.workflows.recipe import LEFT_OUT, TELLS, Recipe, load


def diff(one: str, other: str) -> dict[str, Any]:
    """The keys in which two recipes differ, resolved: `{"differences": [{"key", "one", "other"}, ...]}`.

    Raises:
        ConfigError: one of them cannot be read.
    """
    resolved = [load(name, []).model_dump(mode="json") for name in (one, other)]
    found = differences(resolved)
    return {"differences": [{"key": key, "one": values[0], "other": values[1]} for key, values in found]}


def keys(prefix: str = "") -> dict[str, Any]:
    """The keys of a recipe, or those of one section: `{"keys": [{"path", "of", "values", "default", "about"}, ...]}`.

    Raises:
        ConfigError: a recipe has no such key.
    """
    return {"keys": [asdict(key) for key in reference(Recipe, prefix)]}


def changed(saved: Path, recipe: Recipe) -> str:
    """The keys that decide a training in which a saved recipe is another, as the rest of a sentence; "" where none is known."""
    try:
        before = load_recipe(saved)
    except ConfigError:
        return ""
    found = differences([before, recipe.model_dump(mode="json")])
    # Model, images and maps are told by their content, wherever they lie.
    beside = {*LEFT_OUT, "model", "data.target", "control.folder", *(f"training.{key}" for key in TELLS)}
    decide = [one for one in found if not {one[0], one[0].partition(".")[0]} & beside]
    return "".join(f"; {key} was {was!r} and is {now!r}" for key, (was, now) in decide)
