"""Kill verbs at random moments, run them again, and compare what they end with: byte for byte, bit for bit.

After each kill all that lies there under its final name is read: nothing may be half, and nothing behind what was there before.
"""

from __future__ import annotations

import os
import random
import shutil
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from difftuning.bank.card import CARD
from difftuning.bank.card_file import read_card
from difftuning.bank.store import PATTERN, read_shard
from difftuning.checksums import SUMS, check_sums
from difftuning.cli.main import PREEMPTED
from difftuning.data.tensors import read_tensors
from difftuning.errors import DifftuningError
from difftuning.training.checkpoints import Checkpoints, read
from faults import forking
from faults.verbs import Verb, verbs

JUDGED = 10**9
"""Further than any step."""


def standing(folder: Path) -> Counter[str]:
    """How far each bank, cache and run below a folder is, by its path: items, latents, steps.

    Raises:
        DifftuningError: something that has its final name is not whole.
    """
    found: Counter[str] = Counter()
    for path in _named(folder, PATTERN):
        begin, stop = map(int, path.stem.removeprefix("items-").split("-"))
        if len(read_shard(path)) != stop - begin:
            raise DifftuningError(f"{path} is not whole")
        name = str(path.parent)
        found[name] = max(
            found[name], stop
        )  # of a bank that is extended, both the short shard and the long one lie there
    for path in _named(folder, "latents/*/*.safetensors"):
        if (kept := read_tensors(path)) is None:
            raise DifftuningError(f"{path} is not whole")
        found["latents"] += len(kept)
    for path in _named(folder, "checkpoints"):
        if not any(path.parent.glob("judged/*.json")) and (last := Checkpoints(path).last()) is not None:
            found[str(path.parent)] = int(read(last)[1]["step"])
    for path in _named(folder, "judged"):
        # A cell of a study: its checkpoints are removed then, so that many of them do not fill a disk.
        if any(path.glob("*.json")):
            found[str(path.parent)] = JUDGED
    for path in _named(folder, CARD):
        read_card(path.parent)
    for path in _named(folder, SUMS):
        check_sums(path.parent, "")
    return found


def _named(folder: Path, pattern: str) -> list[Path]:
    """All of a pattern, but for what is being written aside, which its name says."""
    found = (path for path in folder.rglob(pattern) if path.exists())
    return [path for path in found if not any(part.startswith(".") for part in path.relative_to(folder).parts)]


def survive(verb: Verb, folder: Path, kills: int, chance: random.Random) -> dict[str, Any]:
    """Kill a verb so many times or a few more, in as many folders as that takes, each until the verb gets to its end.

    Returns:
        `kills`, `folders`, `saved` (how many of the kills ended with all saved and the code for it), `worse`: kills after which
        something was half or behind what was there before; and `lost`: folders that ended with something else than without kills.
    """
    folder.mkdir(parents=True, exist_ok=True)
    log = folder / "log.txt"
    begin = time.monotonic()
    assert forking.end(verb.start(folder / "whole", log)) == 0, log.read_text()
    whole, expected = time.monotonic() - begin, verb.result(folder / "whole")
    codes: Counter[int] = Counter()
    folders = lost = worse = 0
    while sum(codes.values()) < kills:
        out, tries, before = folder / f"killed-{folders}", 0, Counter[str]()
        while True:
            number = chance.choice(verb.signals)
            # Later attempts live longer, so that all folders end.
            delay = chance.uniform(*verb.window) * whole * (1 + tries / 8)
            code = forking.kill(verb.start(out, log), delay, number)
            if code == 0:
                break
            assert code in (-number, PREEMPTED), f"{code}: {log.read_text()}"
            codes[code] += 1
            tries += 1
            try:
                now = standing(out)
                worse += any(now[name] < far for name, far in before.items())
                before = now
            except DifftuningError as reason:
                print(reason, flush=True)
                worse += 1
        lost += verb.result(out) != expected
        shutil.rmtree(out, ignore_errors=True)
        folders += 1
    counts = {"kills": sum(codes.values()), "folders": folders, "saved": codes[PREEMPTED]}
    return {**counts, "worse": worse, "lost": lost}


def all_kills(folder: Path, kills: Mapping[str, int], seed: int = 0) -> Iterator[tuple[str, dict[str, Any]]]:
    """The figures verb by verb."""
    os.environ["DIFFTUNING_CACHE"] = str(folder / "cache")
    chance = random.Random(seed)
    for name, verb in verbs(folder).items():
        if kills.get(name):
            yield name, survive(verb, folder / name.replace(", ", "-").replace(" ", "-"), kills[name], chance)
