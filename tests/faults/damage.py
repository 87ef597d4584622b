"""Change or cut a byte anywhere in what a run leaves on the disk: each reader must refuse it, or find the same content."""

from __future__ import annotations

import random
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from torch import Tensor

from difftuning.bank.card_file import read_card
from difftuning.bank.store import read_shard
from difftuning.checksums import check_sums
from difftuning.data.tensors import read_tensors, write_tensors
from difftuning.errors import DataError, DifftuningError
from difftuning.training.checkpoints import read, read_state
from difftuning.tuning.store import read_tuner

SAMPLE = Path(__file__).parents[1] / "formats" / "2"
"""A small run as it is written now."""


def _plain(found: Any) -> Any:
    """Tensors as bytes, so that contents can be compared."""
    if isinstance(found, Tensor):
        return found.numpy().tobytes()
    if isinstance(found, dict):
        return {key: _plain(value) for key, value in found.items()}
    return [_plain(value) for value in found] if isinstance(found, tuple | list) else found


def _shard(path: Path) -> Any:
    shard = read_shard(path)
    return shard.labels.tolist(), shard.latents.tobytes()


def _cached(path: Path) -> Any:
    found = read_tensors(path)
    if found is None:  # which its caller takes for missing, and computes again
        raise DataError("not what was written")
    return found


def _tuner(path: Path) -> Any:
    check_sums(path.parent, "mend")
    return read_tuner(path.parent)


READERS: dict[str, Callable[[Path], Any]] = {
    "bank/items-00000000-00000003.safetensors": _shard,
    "bank/card.json": lambda path: read_card(path.parent),
    "checkpoints/step-00000004/parameters.safetensors": lambda path: read(path.parent),
    "checkpoints/step-00000004/optimizer.safetensors": lambda path: read(path.parent),
    "checkpoints/step-00000004/state.json": lambda path: read_state(path.parent),
    "tuner/tuner.safetensors": _tuner,
    "tuner/tuner.json": _tuner,
    "cache.safetensors": _cached,
}


def damage_each(folder: Path, tries: int, seed: int = 0) -> dict[str, dict[str, int]]:
    """Harm each kind of file so many times, half by a changed byte and half by a cut.

    Returns:
        By file: `injected`, `refused`, `same` (the reader found the content that was written), and `believed`.

    Raises:
        Exception: what a reader raised that is no difftuning error.
    """
    run, chance, found = folder / "run", random.Random(seed), {}
    shutil.copytree(SAMPLE, run)
    write_tensors(run / "cache.safetensors", read(run / "checkpoints/step-00000004")[0]["ema"])
    for name, reader in READERS.items():
        path, counts = run / name, Counter[str]()
        whole, expected = path.read_bytes(), _plain(reader(path))
        for number in range(tries):
            harmed = bytearray(whole)
            at = chance.randrange(len(whole))
            if number % 2:
                del harmed[at:]
            else:
                harmed[at] ^= chance.randrange(1, 256)
            path.write_bytes(harmed)
            try:
                counts["same" if _plain(reader(path)) == expected else "believed"] += 1
            except DifftuningError:
                counts["refused"] += 1
        path.unlink()
        try:
            reader(path)
            counts["believed"] += 1
        except DifftuningError:
            counts["refused"] += 1
        path.write_bytes(whole)
        found[name] = {"injected": tries + 1, **{kind: counts[kind] for kind in ("refused", "same", "believed")}}
    return found
