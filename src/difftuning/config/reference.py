"""Every key of a recipe in a table: what it may be, what it is without being given, what it means."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel

from difftuning.config.schema import KIND
from difftuning.errors import ConfigError, did_you_mean

_LIMITS = {"minimum": ">=", "exclusiveMinimum": ">", "maximum": "<=", "exclusiveMaximum": "<"}


@dataclass(frozen=True, slots=True)
class Key:
    """One key of a recipe.

    Attributes:
        path: as it is written in an override, `optim.lr`.
        of: the `kind` of its section that knows it; empty where every kind does.
        values: what it may be.
        default: as YAML writes it; None where a value must be given.
        about: what it means.
    """

    path: str
    of: str
    values: str
    default: str | None
    about: str


def reference(model: type[BaseModel], prefix: str = "") -> list[Key]:
    """The keys of a recipe schema, sections in their own order.

    Args:
        model: the schema.
        prefix: a key or a section to be shown alone; empty for all.

    Raises:
        ConfigError: nothing in a recipe has that name.
    """
    schema = model.model_json_schema()
    keys = list(_section(schema, schema["$defs"], (), {}, ""))
    found = [key for key in keys if not prefix or f"{key.path}.".startswith(f"{prefix}.")]
    if not found:
        parts = [key.path.split(".") for key in keys]
        known = dict.fromkeys(".".join(part[:depth]) for part in parts for depth in range(1, len(part) + 1))
        raise ConfigError(f"a recipe has no key {prefix!r}{did_you_mean(prefix, known)}")
    return found


def _section(
    schema: Mapping[str, Any], definitions: Mapping[str, Any], path: tuple[str, ...], default: Any, of: str
) -> Iterator[Key]:
    for name, field in schema["properties"].items():
        if name == KIND and "const" in field:
            continue  # told by the choice between the sections
        here = (*path, name)
        value = default[name] if isinstance(default, Mapping) and name in default else field.get("default")
        given = name not in schema.get("required", ()) or (isinstance(default, Mapping) and name in default)
        sections = list(_sections(field, definitions))
        kinds = [section["properties"].get(KIND, {}).get("const") for section in sections]
        about = " ".join(field.get("description", "").split())
        if not sections:
            yield Key(".".join(here), of, _values(field), _yaml(value) if given else None, about)
        elif all(kinds):
            chosen = value.get(KIND) if isinstance(value, Mapping) else value
            known = {str(kind): section for kind, section in zip(kinds, sections, strict=True)}
            means = "; ".join(f"{kind}: {_about(section)}" for kind, section in known.items())
            yield Key(".".join((*here, KIND)), of, ", ".join(known), _yaml(chosen), f"{about} {means}.".strip())
            for kind, section in known.items():
                yield from _section(section, definitions, here, value if kind == chosen else None, kind)
        else:
            if given and value is None:
                yield Key(".".join(here), of, "null, or a section with the keys below", "null", about)
            yield from _section(sections[0], definitions, here, value, of)


def _sections(field: Mapping[str, Any], definitions: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """The sections that a field may be."""
    if "$ref" in field:
        yield definitions[field["$ref"].rpartition("/")[2]]
    for part in (*field.get("oneOf", ()), *field.get("anyOf", ())):
        yield from _sections(part, definitions)


def _about(section: Mapping[str, Any]) -> str:
    return " ".join(section.get("description", "").split()).rstrip(".")


def _values(field: Mapping[str, Any]) -> str:
    """What a field may be, in words."""
    if "$ref" in field:
        return "section"
    if "anyOf" in field:
        return " or ".join(_values(part) for part in field["anyOf"])
    if "enum" in field:
        return ", ".join(str(value) for value in field["enum"])
    if "const" in field:
        return str(field["const"])
    if field["type"] == "array":
        parts = field.get("prefixItems") or [field["items"]]
        return f"[{', '.join(_values(part) for part in parts)}{'' if 'prefixItems' in field else ', ...'}]"
    if field["type"] == "object":
        values = field["additionalProperties"]
        return f"name: {'value' if values is True else _values(values)}"
    word = {"string": "text", "boolean": "true or false"}.get(field["type"], field["type"])
    limits = [f"{sign} {field[limit]:g}" for limit, sign in _LIMITS.items() if limit in field]
    return f"{word} {', '.join(limits)}".rstrip()


def _yaml(value: Any) -> str:
    """A value as YAML writes it in one line."""
    return value if isinstance(value, str) else json.dumps(value)
