"""Files of tensors that are whole, unharmed and of the right content, or taken for missing."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from difftuning.atomic import write_bytes


def write_tensors(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Write a file of named tensors with their digest: aside, synced, then renamed. Its folder is made when needed.

    Raises:
        StorageError: the disk refuses; nothing half-written is left.
    """
    write_bytes(path, save(dict(tensors), {"sha256": tensor_digest(tensors)}))


def read_tensors(path: Path) -> dict[str, Tensor] | None:
    """The tensors of a file; None where it is missing, truncated, damaged or not what was written."""
    try:
        with safe_open(path, "pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}
            expected = (file.metadata() or {}).get("sha256")
    except (OSError, SafetensorError):
        return None
    return tensors if tensor_digest(tensors) == expected else None


def tensor_names(path: Path) -> list[str] | None:
    """The names in a file, from its head alone; None where it is missing or truncated."""
    try:
        with safe_open(path, "pt") as file:
            return list(file.keys())
    except (OSError, SafetensorError):
        return None


def tensor_digest(tensors: Mapping[str, Tensor]) -> str:
    """The sha256 of named tensors."""
    total = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name]
        total.update(f"{name}/{tensor.dtype}/{tuple(tensor.shape)}/".encode())
        total.update(tensor.contiguous().numpy().tobytes())
    return total.hexdigest()
