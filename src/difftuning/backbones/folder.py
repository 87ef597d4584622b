"""Pipeline folders as diffusers has them: `model_index.json`, and a folder a part."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import diffusers
import torch
import transformers
from torch import nn

from difftuning.errors import ModelError

INDEX = "model_index.json"


def read_index(folder: Path, name: str) -> dict[str, Any]:
    """The index of a folder.

    Raises:
        ModelError: there is none, or it cannot be read.
    """
    if not (folder / INDEX).is_file():
        raise ModelError(f"{name!r} has no {INDEX}, so it is not a diffusers pipeline folder")
    try:
        found: dict[str, Any] = dict(json.loads((folder / INDEX).read_text()))
    except ValueError as reason:
        raise ModelError(f"{name}: {folder / INDEX} is not readable ({reason})") from reason
    return found


def read_part(folder: Path, part: str, index: Mapping[str, Any], others: Mapping[str, Any] | None = None) -> Any:
    """One part of a pipeline, or None where the index has none of that name.

    Args:
        folder: of the pipeline.
        part: "unet", "vae", ...
        index: of the folder, which names the part's class.
        others: classes by name that are not diffusers' own.

    Raises:
        ModelError: its class is not known, or its files cannot be read.
    """
    kind = (index.get(part) or [None, None])[1]
    if kind is None:
        return None
    made = (others or {}).get(kind) or getattr(diffusers, kind, None)
    if made is None:
        raise ModelError(
            f"{folder / part} is of the class {kind!r}, which diffusers {diffusers.__version__} does not have"
        )
    # Weights on this disk only: a part that is missing is an error here and not a download.
    options = {"local_files_only": True} if issubclass(made, nn.Module) else {}
    try:
        return made.from_pretrained(folder / part, **options)
    except (OSError, ValueError, KeyError, RuntimeError) as reason:
        raise ModelError(f"{folder / part} cannot be read ({reason})") from reason


def names_of(index: Mapping[str, Any]) -> tuple[str, ...] | None:
    """The class names that an index lists, in the order of their rows; None where it lists none."""
    id2label = index.get("id2label") or {}
    return tuple(str(id2label[key]) for key in sorted(id2label, key=int)) or None


def write_pipeline(folder: Path, pipeline: str, parts: Mapping[str, Any], names: tuple[str, ...]) -> None:
    """Write parts and index.

    Args:
        folder: made where it is missing.
        pipeline: the class that reads it.
        parts: by name; None for one that a pixel model does not have.
        names: of the classes.
    """
    index: dict[str, Any] = {"_class_name": pipeline, "_diffusers_version": diffusers.__version__}
    if names:
        index["id2label"] = dict(enumerate(names))
    for part, content in sorted(parts.items()):
        if content is not None:
            content.save_pretrained(folder / part)
        library = type(content).__module__.split(".")[0]
        index[part] = [None, None] if content is None else [library, type(content).__name__]
    (folder / INDEX).write_text(json.dumps(index, indent=2) + "\n")


@contextmanager
def no_bars() -> Iterator[None]:
    """Without the progress bars that diffusers and transformers draw while they read and write; ours say more."""
    both = (diffusers.utils.logging, transformers.utils.logging)
    shown = [library.is_progress_bar_enabled() for library in both]
    for library in both:
        library.disable_progress_bar()
    try:
        yield
    finally:
        for library, was in zip(both, shown, strict=True):
            if was:
                library.enable_progress_bar()


@contextmanager
def only_errors() -> Iterator[None]:
    """Without the warnings of diffusers and transformers, where we count what they would say of each prompt."""
    both = (diffusers.utils.logging, transformers.utils.logging)
    levels = [library.get_verbosity() for library in both]
    for library in both:
        library.set_verbosity_error()
    try:
        yield
    finally:
        for library, level in zip(both, levels, strict=True):
            library.set_verbosity(level)


def in_dtype(network: nn.Module, dtype: torch.dtype) -> Any:
    """A copy of a network on the CPU in another precision."""
    return nn.Module.to(copy.deepcopy(network), "cpu", dtype)
