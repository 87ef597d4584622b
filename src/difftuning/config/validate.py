"""Checks values against a schema; an error is one line with the whole path, the value and the nearest known key."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from difftuning.config.schema import at, is_model, kinds, names, plain_path
from difftuning.errors import ConfigError, did_you_mean

Model = TypeVar("Model", bound=BaseModel)


def validate(model: type[Model], data: Mapping[str, Any], where: str = "") -> Model:
    """The checked, frozen object of a recipe or of one section of it.

    Args:
        model: the schema.
        data: the values.
        where: the path at which `data` stands in the recipe, put before every path of an error.

    Raises:
        ConfigError: a key is unknown or missing, or a value does not fit. Unknown keys are named first, since a
            misspelt key often makes another one look missing.
    """
    try:
        return model.model_validate(data)
    except ValidationError as reason:
        problems = reason.errors(include_url=False)
        problems.sort(key=lambda problem: problem["type"] != "extra_forbidden")
        others = [dotted(plain_path(model, problem["loc"]), where) for problem in problems[1:]]
        more = f" (also wrong: {', '.join(dict.fromkeys(others))})" if others else ""
        raise ConfigError(_sentence(model, data, problems[0], where) + more) from reason


def dotted(path: Sequence[str | int], where: str = "") -> str:
    """A path as it is written in an override: `a.b.0`."""
    return ".".join([*([where] if where else []), *(str(part) for part in path)])


def short(value: Any) -> str:
    """A value as Python writes it, cut to 60 characters."""
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _sentence(model: type[BaseModel], data: Mapping[str, Any], problem: ErrorDetails, where: str) -> str:
    path = plain_path(model, problem["loc"])
    place, value, kind = dotted(path, where), problem["input"], problem["type"]
    context: Mapping[str, Any] = problem.get("ctx", {})
    if kind == "extra_forbidden":
        known = names(at((model,), path[:-1], data))
        return f"{place} = {short(value)}: unknown key {str(path[-1])!r}{did_you_mean(str(path[-1]), known)}"
    if kind == "missing":
        return f"{place} is missing; give it a value in the recipe or as {place}=VALUE"
    if kind in ("union_tag_invalid", "union_tag_not_found"):
        key = dotted([*path, str(context["discriminator"]).strip("'")], where)
        if kind == "union_tag_not_found":
            known = sorted({tag for one in at((model,), path, data) if is_model(one) for tag in kinds(one)})
            return f"{key} is missing. Known: {', '.join(known)}"
        tag = str(context["tag"])
        return f"{key} = {tag!r} is unknown{did_you_mean(tag, _quoted(str(context['expected_tags'])))}"
    if kind == "literal_error":
        return f"{place} = {short(value)} is unknown{did_you_mean(str(value), _quoted(str(context['expected'])))}"
    if kind in ("model_type", "model_attributes_type", "dict_type"):
        known = names(at((model,), path, data))
        return f"{place} = {short(value)}: a section with keys is expected. Known: {', '.join(known)}"
    if kind == "string_type" and isinstance(value, Mapping) and not any(value.values()):
        meant = "{" + ", ".join(map(str, value)) + "}"
        return (
            f"{place} = {short(value)}: it should be a text, and braces are a map in YAML; write {place}=\"'{meant}'\""
        )
    message = problem["msg"].removeprefix("Value error, ").replace("Input should be", "it should be", 1)
    # A value that does not fit the whole recipe has no path; its message says what it is about.
    return f"{place} = {short(value)}: {message}" if place else message


def _quoted(text: str) -> list[str]:
    """The names in pydantic's list of what it expected: `'a', 'b' or 'c'`."""
    return re.findall(r"'([^']*)'", text)
