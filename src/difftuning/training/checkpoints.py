"""Checkpoints that a crash cannot harm: written aside, synced, renamed; only then is an old one pruned.

    checkpoints/step-00001234/   parameters.safetensors  ema.safetensors  optimizer.safetensors  state.json

The newest folder is the last one; its state names the step of the best one, so no pointer can lag behind.
No pickle: tensors are safetensors, everything else is JSON.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from difftuning.atomic import remove_folder, remove_left_over, write_folder
from difftuning.errors import CheckpointError, StorageError
from difftuning.json_files import read_sealed, write_sealed

STATE = "state.json"
FORMAT = 2
"""Of the folder: 2 seals state.json and names the model; 1 did not, and is read."""


def tensors_digest(tensors: Mapping[str, Tensor]) -> str:
    """The sha256 of named tensors, in the order of their names."""
    total = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        total.update(name.encode())
        total.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return total.hexdigest()


def flatten_optimizer(optimizer: torch.optim.Optimizer, names: list[str]) -> dict[str, Tensor]:
    """An optimiser's tensors as `parameter name/state name`; the hyper-parameters come from the recipe."""
    moved = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    return {
        f"{name}/{key}": torch.as_tensor(value)
        for name, parameter in zip(names, moved, strict=True)
        for key, value in optimizer.state.get(parameter, {}).items()
    }


def restore_optimizer(optimizer: torch.optim.Optimizer, names: list[str], tensors: Mapping[str, Tensor]) -> None:
    """The inverse of `flatten_optimizer`, into an optimiser over the same parameters in the same order."""
    state: dict[int, dict[str, Any]] = {}
    for key, value in tensors.items():
        name, _, entry = key.rpartition("/")
        # bitsandbytes counts its steps in a number of Python's, torch in a tensor of floats.
        counted = value.ndim == 0 and not value.is_floating_point()
        state.setdefault(names.index(name), {})[entry] = value.item() if counted else value
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})


class Checkpoints:
    """The checkpoints of one run folder.

    Args:
        folder: `RUN/checkpoints`, made when needed.
        keep: how many of the newest stay; the best one always stays too.
    """

    def __init__(self, folder: Path, keep: int = 2) -> None:
        self.folder, self.keep = folder, keep

    def save(self, step: int, groups: Mapping[str, Mapping[str, Tensor]], state: Mapping[str, Any]) -> Path:
        """Write the checkpoint of a step; `groups` are the safetensors files by name, `state["best_step"]` stays for good.

        Raises:
            StorageError: the disk does not take it; earlier checkpoints are untouched then.
        """
        target = self.folder / f"step-{step:08d}"

        def write(folder: Path) -> None:
            digests = {}
            for group, tensors in groups.items():
                detached = {key: value.detach().cpu().contiguous() for key, value in tensors.items()}
                save_file(detached, folder / f"{group}.safetensors")
                digests[group] = tensors_digest(detached)
            write_sealed(folder / STATE, {"format": FORMAT, "step": step, "digests": digests, **state})

        remove_left_over(self.folder)
        try:
            write_folder(target, write)
        except StorageError as reason:
            raise StorageError(f"{reason}; the last good checkpoint is of step {self.last_step()}") from reason
        self._prune()
        return target

    def _prune(self) -> None:
        best = self.best()
        for old in self.listing()[: -self.keep]:
            if old != best:
                remove_folder(old)

    def listing(self) -> list[Path]:
        """All checkpoints, oldest first."""
        return sorted(path for path in self.folder.glob("step-*") if path.name.removeprefix("step-").isdecimal())

    def last(self) -> Path | None:
        """The newest complete checkpoint, or None."""
        found = self.listing()
        return found[-1] if found else None

    def last_step(self) -> int:
        """The step of the newest complete checkpoint, 0 where there is none."""
        last = self.last()
        return 0 if last is None else int(last.name.removeprefix("step-"))

    def best(self) -> Path | None:
        """The checkpoint with the lowest held-out error, or None."""
        last = self.last()
        step = None if last is None else read_state(last).get("best_step")
        path = None if step is None else self.folder / f"step-{step:08d}"
        return path if path is not None and path.is_dir() else None


def read_state(checkpoint: Path) -> dict[str, Any]:
    """The state of a checkpoint without its tensors.

    Raises:
        CheckpointError: it cannot be read, is not what was written, or is of a later version.
    """
    state = read_sealed(checkpoint / STATE, f"remove {checkpoint} to go on from an earlier one")
    found = state.get("format", 1)
    if found not in range(1, FORMAT + 1):
        raise CheckpointError(
            f"{checkpoint} is of format {found!r}, and this version reads 1 to {FORMAT}; go on with the version that wrote it"
        )
    return state


def read(checkpoint: Path) -> tuple[dict[str, dict[str, Tensor]], dict[str, Any]]:
    """The tensors by group and the state of a checkpoint, verified against their digests.

    Raises:
        CheckpointError: a file is missing, torn or changed.
    """
    try:
        state = read_state(checkpoint)
        # Names of groups are words, so that none leads out of the folder.
        names = [group for group in state["digests"] if str.isidentifier(group)]
        groups = {group: load_file(checkpoint / f"{group}.safetensors") for group in names}
        digests = {group: str(state["digests"][group]) for group in names}
    except (OSError, KeyError, TypeError, SafetensorError) as reason:
        raise CheckpointError(
            f"checkpoint {checkpoint} cannot be read ({reason}); remove it to go on from an earlier one"
        ) from reason
    for group, tensors in groups.items():
        if tensors_digest(tensors) != digests[group]:
            raise CheckpointError(
                f"checkpoint {checkpoint}: {group}.safetensors is not what was written; remove it to go on from an earlier one"
            )
    return groups, state
