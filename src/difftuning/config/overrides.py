"""Overrides on the command line: `optim.lr=1e-4`, values as YAML writes them."""

from __future__ import annotations

import copy
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from pydantic import BaseModel

from difftuning.config.loading import parse_yaml
from difftuning.config.schema import KIND, at, is_model, kinds, kinds_knowing, names, unsaid_kind
from difftuning.config.validate import short
from difftuning.errors import ConfigError, did_you_mean


def parse_override(text: str) -> tuple[list[str], Any]:
    """`a.b=VALUE` as its path and its value.

    Raises:
        ConfigError: there is no `=`, a key is empty, or the value is not YAML.
    """
    name, equals, value = text.partition("=")
    path = name.strip().split(".")
    if not equals or not all(path):
        raise ConfigError(f"override {text!r} must read key.path=value, for instance optim.lr=1e-4")
    return path, parse_yaml(value, f"override {text!r}")


def apply_overrides(recipe: Mapping[str, Any], overrides: Sequence[str], model: type[BaseModel]) -> dict[str, Any]:
    """A recipe with some values replaced; the given one is left as it is.

    Args:
        recipe: the values of a recipe file.
        overrides: `key.path=value` each; a later one wins. A list index counts as a key (`a.0=1`).
        model: the schema of the recipe.

    A section that is given another `kind` loses what that kind does not know (`psi.kind=ramp` drops `tau`), and one
    that the recipe leaves to its default keeps the default's kind, or becomes of the only kind that knows its keys.

    Raises:
        ConfigError: an override cannot be read, names an unknown key, or leads through something that is no section.
    """
    changed = copy.deepcopy(dict(recipe))
    pairs = _kinds_first([(text, *parse_override(text)) for text in overrides], model)
    asked: dict[tuple[str, ...], set[str]] = defaultdict(set)
    for _, path, _ in pairs:
        for depth in range(1, len(path)):
            asked[tuple(path[:depth])].add(path[depth])
    for text, path, value in pairs:
        _check(model, path, changed, text)
        _put(changed, path, value, text, lambda section: unsaid_kind(model, section, asked[tuple(section)]))
        if path[-1] == KIND:
            _drop_strangers(model, path[:-1], changed)
    return changed


def _kinds_first(
    pairs: Sequence[tuple[str, list[str], Any]], model: type[BaseModel]
) -> list[tuple[str, list[str], Any]]:
    """Each `kind=` before the keys that belong to it, whose order does not matter then, but behind what it takes the place of."""
    ordered: list[tuple[str, list[str], Any]] = []
    for pair in pairs:
        path = pair[1]
        section = path[:-1]
        if path[-1] != KIND:
            ordered.append(pair)
            continue
        # The section as a whole, one that it is in, or another kind of it.
        before = [n for n, (_, other, _) in enumerate(ordered, 1) if other in (path, section[: len(other)])]
        place = before[-1] if before else 0
        if before and ordered[place - 1][1] == path:
            gone = _known_to_one_alone(model, section, ordered[place - 1][2], pair[2])
            ordered[place - 1 :] = [
                pair,
                *(one for one in ordered[place:] if one[1][: len(path)] not in [[*section, key] for key in gone]),
            ]
        else:
            ordered.insert(place, pair)
    return ordered


def _known_to_one_alone(model: type[BaseModel], section: Sequence[str], before: Any, now: Any) -> set[str]:
    """The keys of a section that its kind before knows and that of now does not; they go with it."""
    known = {kind: {*names((one,))} for one in at((model,), section, {}) if is_model(one) for kind in kinds(one)}
    return known.get(str(before), set()) - known.get(str(now), set())


def _check(model: type[BaseModel], path: Sequence[str], recipe: Mapping[str, Any], text: str) -> None:
    for depth, key in enumerate(path):
        known = names(at((model,), path[:depth], recipe))
        if known and key not in known:
            others, section = kinds_knowing(at((model,), path[:depth], {}), [key]), ".".join(path[:depth])
            mend = (
                f"; kind {others[0]} has it: set {section}.kind={others[0]} too" if others else did_you_mean(key, known)
            )
            raise ConfigError(f"override {text!r}: unknown key {'.'.join(path[: depth + 1])!r}{mend}")


def _put(
    recipe: dict[str, Any], path: Sequence[str], value: Any, text: str, kind_of: Callable[[Sequence[str]], str | None]
) -> None:
    """Put a value at its path; `kind_of` says of what kind a section is that is not there yet."""
    place: Any = recipe
    for depth, key in enumerate(path):
        last = depth == len(path) - 1
        if isinstance(place, list):
            if not key.isdecimal() or int(key) >= len(place):
                raise ConfigError(
                    f"override {text!r}: {'.'.join(path[:depth])} is a list of {len(place)}, which has no item {key!r}"
                )
            if last:
                place[int(key)] = value
            place = place[int(key)]
        elif isinstance(place, dict):
            if last:
                place[key] = value
            elif place.get(key) is None:
                kind = kind_of(path[: depth + 1])
                place[key] = {} if kind is None else {KIND: kind}
            place = place[key]
        else:
            raise ConfigError(
                f"override {text!r}: {'.'.join(path[:depth])} is {short(place)}, which has no key {key!r}"
            )


def _drop_strangers(model: type[BaseModel], path: Sequence[str], recipe: dict[str, Any]) -> None:
    section: Any = recipe
    for key in path:
        section = section[int(key)] if isinstance(section, list) else section[key]
    known = names(at((model,), path, recipe))
    for key in [key for key in section if known and key not in known]:
        del section[key]
