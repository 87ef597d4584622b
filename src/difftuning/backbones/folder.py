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
_PARTS = (nn.Module, diffusers.SchedulerMixin)


def read_index(folder: Path, name: str) -> dict[str, Any]:
    """The index of a folder.

    Raises:
        ModelError: there is none, or it cannot be read.
    """
    if not (folder / INDEX).is_file():
        raise ModelError(f"{name!r} has no {INDEX}, so it is not a diffusers pipeline folder")
    try:
        found = json.loads((folder / INDEX).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as reason:
        raise ModelError(f"{name}: {folder / INDEX} is not readable ({reason})") from reason
    if not isinstance(found, dict):
        raise ModelError(f"{name}: {folder / INDEX} must be an object with entries, not {type(found).__name__}")
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
    entry = index.get(part) or [None, None]
    kind = entry[1] if isinstance(entry, list) and len(entry) == 2 else entry
    if kind is None:
        return None
    made = (others or {}).get(str(kind)) or getattr(diffusers, str(kind), None)
    # The name comes from a file: it picks among networks and schedulers, and nothing else of the library.
    if not (isinstance(made, type) and issubclass(made, _PARTS)):
        raise ModelError(
            f"{folder / part} is of the class {kind!r}, which is no network or scheduler of diffusers {diffusers.__version__}"
        )
    # Weights on this disk only: a part that is missing is an error here and not a download.
    network = issubclass(made, nn.Module)
    options = {"local_files_only": True, "output_loading_info": True} if network else {}
    reader: Any = made
    try:
        read = reader.from_pretrained(folder / part, **options)
    except Exception as reason:  # what diffusers answers to damaged configs and weights is of a dozen kinds
        raise ModelError(f"{folder / part} cannot be read ({type(reason).__name__}: {reason})") from reason
    if not network:
        return read
    found, told = read
    if missing := told["missing_keys"]:
        some = ", ".join(sorted(missing)[:3])
        raise ModelError(f"{folder / part} lacks {len(missing)} of its weights ({some}); fetch it again")
    return found


def names_of(index: Mapping[str, Any]) -> tuple[str, ...] | None:
    """The class names that an index lists, in the order of their rows; None where it lists none.

    Raises:
        ModelError: the list is not one of names by row.
    """
    id2label = index.get("id2label") or {}
    if not isinstance(id2label, dict) or not all(
        key.isascii() and key.isdecimal() and len(key) < 10 for key in id2label
    ):
        raise ModelError(f'id2label of {INDEX} must be names by row, as in {{"0": "cat"}}, not {str(id2label)[:60]}')
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
    """A copy of a network on the CPU in another precision, made tensor by tensor: a device need not hold it twice."""

    def moved(value: torch.Tensor) -> torch.Tensor:
        return value.detach().to("cpu", dtype if value.is_floating_point() else value.dtype, copy=True)

    parameters = {id(one): nn.Parameter(moved(one), one.requires_grad) for one in network.parameters()}
    return copy.deepcopy(network, {**parameters, **{id(one): moved(one) for one in network.buffers()}})
