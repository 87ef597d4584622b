"""What differs between recipes, key by key."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

Difference = tuple[str, tuple[Any, ...]]
"""A dotted key, and its value in each recipe; a recipe without the key has None."""


def differences(recipes: Sequence[Mapping[str, Any]]) -> list[Difference]:
    """The keys whose values are not the same in all recipes, in the order in which they first stand.

    A section that a recipe does not have, or has in another kind, is told by its keys too.

    Args:
        recipes: resolved ones, as plain values.
    """
    all_keys = [flat(recipe) for recipe in recipes]
    keys = dict.fromkeys(key for one in all_keys for key in one)
    found = [(key, tuple(one.get(key) for one in all_keys)) for key in keys]
    return [(key, values) for key, values in found if any(value != values[0] for value in values)]


def flat(value: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested sections under dotted keys."""
    found: dict[str, Any] = {}
    for key, entry in value.items():
        found |= flat(entry, f"{prefix}{key}.") if isinstance(entry, Mapping) else {prefix + key: entry}
    return found
