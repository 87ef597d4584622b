"""Walking a tree of pydantic models: which keys a place in a recipe knows, and what its sections are."""

from __future__ import annotations

import types
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel

KIND = "kind"
"""The key by which a section says which of several classes it configures."""


def alternatives(annotation: Any) -> tuple[Any, ...]:
    """What an annotation allows besides None, with `Annotated` and unions taken apart."""
    origin = get_origin(annotation)
    if origin is Annotated:
        return alternatives(get_args(annotation)[0])
    if origin in (Union, types.UnionType):
        return tuple(found for part in get_args(annotation) for found in alternatives(part))
    return () if annotation is types.NoneType else (annotation,)


def is_model(annotation: Any) -> bool:
    """Whether it is a pydantic model, so a section of a recipe."""
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)


def kinds(model: type[BaseModel]) -> frozenset[str]:
    """The values of `kind` that stand for a model; none when it has no such field."""
    field = model.model_fields.get(KIND)
    if field is None or get_origin(field.annotation) is not Literal:
        return frozenset()
    return frozenset(str(value) for value in get_args(field.annotation))


def _below(annotation: Any, key: str | int) -> tuple[Any, ...]:
    """What stands under a key of one annotation; nothing when it has no such key."""
    if is_model(annotation):
        field = annotation.model_fields.get(str(key))
        return () if field is None else alternatives(field.annotation)
    arguments = get_args(annotation)
    origin = get_origin(annotation)
    if not arguments or not isinstance(origin, type):
        return ()
    if issubclass(origin, Mapping):
        return alternatives(arguments[1])
    return alternatives(arguments[0]) if issubclass(origin, Sequence) else ()


def names(annotations: Iterable[Any]) -> list[str]:
    """The keys that the sections among some annotations know."""
    return sorted({name for one in annotations if is_model(one) for name in one.model_fields})


def of_kind(annotations: tuple[Any, ...], data: Any) -> tuple[Any, ...]:
    """Those of some annotations that the `kind` in `data` names, or all of them when it names none."""
    kind = data.get(KIND) if isinstance(data, Mapping) else None
    named = tuple(one for one in annotations if isinstance(kind, str) and is_model(one) and kind in kinds(one))
    return named or annotations


def at(annotations: tuple[Any, ...], path: Sequence[str | int], data: Any) -> tuple[Any, ...]:
    """What stands at a path of a recipe, the `kind`s in `data` deciding between classes."""
    for key in path:
        annotations = tuple(found for one in of_kind(annotations, data) for found in _below(one, key))
        data = data.get(key) if isinstance(data, Mapping) else None
    return of_kind(annotations, data)


def default_kind(model: type[BaseModel], path: Sequence[str]) -> str | None:
    """The `kind` that the section at a path has when a recipe does not mention it; None when it has none."""
    default: Any = None
    for key in path:
        field = model.model_fields.get(key)
        default = None if field is None else field.get_default(call_default_factory=True, validated_data={})
        if not isinstance(default, BaseModel):
            return None
        model = type(default)
    kind = getattr(default, KIND, None)
    return kind if isinstance(kind, str) else None


def kinds_knowing(annotations: Iterable[Any], keys: Collection[str]) -> list[str]:
    """The kinds among some annotations whose sections know all of these keys."""
    return [kind for one in annotations if is_model(one) and {*keys} <= {*names((one,))} for kind in sorted(kinds(one))]


def unsaid_kind(model: type[BaseModel], path: Sequence[str], keys: Iterable[str]) -> str | None:
    """The `kind` that the section at a path has when a recipe mentions only these keys of it.

    That of the default, or where it does not know them and only one other kind does, that one; None when the section has none.
    """
    asked, known, kind = set(keys), at((model,), path, {}), default_kind(model, path)
    if kind is not None and asked <= {KIND, *names(of_kind(known, {KIND: kind}))}:
        return kind
    fitting = kinds_knowing(known, asked)
    return fitting[0] if len(fitting) == 1 else kind


def plain_path(model: type[BaseModel], loc: Sequence[str | int]) -> list[str | int]:
    """The location of a pydantic error as a path in the recipe: without the names of union members in it."""
    path: list[str | int] = []
    annotations: tuple[Any, ...] = (model,)
    for part in loc:
        if len(annotations) > 1:  # pydantic names the member of the union before it goes on
            member = tuple(one for one in annotations if str(part) in (getattr(one, "__name__", ""), *_kinds_of(one)))
            if member or not any(_below(one, part) for one in annotations):
                annotations = (member or annotations)[:1]
                continue
        path.append(part)
        annotations = tuple(found for one in annotations for found in _below(one, part))
    return path


def _kinds_of(annotation: Any) -> frozenset[str]:
    return kinds(annotation) if is_model(annotation) else frozenset()
