"""Kill verbs at random moments, run them again, and compare what they end with: byte for byte, bit for bit.

A child is a fork with everything imported (see `forking`); a few more kills are of full processes, `python -m difftuning`.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors.torch import load_file

from difftuning.cli.main import PREEMPTED
from difftuning.json_files import MetricsLog
from difftuning.studies.base import Cell, Study
from difftuning.training.checkpoints import Checkpoints, read, tensors_digest
from difftuning.workflows.display import Silent
from difftuning.workflows.study import Queue
from faults import forking
from faults.miniature import write_miniature

KILL, TERM = signal.SIGKILL, signal.SIGTERM


@dataclass(frozen=True)
class Verb:
    """Something that is killed.

    Attributes:
        task: what a child does, for a folder that begins empty.
        result: what it ended with there, to be compared.
        signals: by what it is killed.
    """

    task: Callable[[Path], Callable[[], int]]
    result: Callable[[Path], Any]
    signals: Sequence[signal.Signals] = (KILL, TERM)


def bytes_of(folder: Path) -> dict[str, bytes]:
    """Every file of a folder, hidden ones too."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def _cached(folder: Path) -> dict[str, Any]:
    """All cached latents by their key: how many share a file depends on where the writer was interrupted."""
    found: dict[str, Any] = {}
    for path in folder.rglob("*.safetensors"):
        found |= {key: value.numpy().tobytes() for key, value in load_file(path).items()}
    return found


def _trained(run: Path) -> dict[str, Any]:
    """All tensors of the last checkpoint and where it is, the model, and the bank."""
    last = Checkpoints(run / "checkpoints").last()
    assert last is not None
    groups, state = read(last)
    told = {key: value for key, value in state.items() if key != "seconds"}
    return {
        "tensors": {name: tensors_digest(tensors) for name, tensors in groups.items()},
        "state": told,
        **{name: bytes_of(run / name) for name in ("bank", "bank-heldout", "model")},
    }


def _trained_and_logged(run: Path) -> dict[str, Any]:
    """The log too; a run that saved when it was asked to stop has one more line there."""
    return {**_trained(run), "log": MetricsLog(run / "metrics.jsonl").read().records}


def verbs(folder: Path) -> dict[str, Verb]:
    """All that is killed, over a recipe that is made in a folder."""
    recipe = str(write_miniature(folder / "small"))
    many = str(write_miniature(folder / "many", images=600))

    def bank(out: Path) -> Callable[[], int]:
        def task() -> int:
            if not (out / "bank/card.json").exists():
                code = forking.verb("bank", "build", recipe, f"out={out}", "bank.count=10")()
                if code:
                    return code
            return forking.verb("bank", "extend", str(out / "bank"), "21")()

        return task

    def cache(out: Path) -> Callable[[], int]:
        def task() -> int:
            os.environ["DIFFTUNING_CACHE"] = str(out)
            return forking.verb("train", many, "--dry-run")()

        return task

    def train(out: Path) -> Callable[[], int]:
        return forking.verb("train", recipe, f"out={out}")

    cells = tuple(Cell(f"tau = {tau}", (f"coefficients.psi.tau={tau}", "training.steps=6"), 0) for tau in (0, 1))
    one = Study("small", "A small study", "Fig. 0", "Nothing.", recipe, cells, metrics=("heldout", "kid"))

    def study(out: Path) -> Callable[[], int]:
        return forking.work(lambda: Queue(out, Silent()).study(one, out / "results", out / "pages"))

    return {
        "bank": Verb(bank, bytes_of),
        "cache": Verb(cache, _cached),
        "train": Verb(train, _trained_and_logged, (KILL,)),
        "train, asked to stop": Verb(train, _trained, (TERM,)),
        "study": Verb(study, lambda out: {name: bytes_of(out / name) for name in ("results", "pages", "banks")}),
        # "continual": a stream of two phases goes here; until then tests/workflows/test_continual.py kills one.
    }


def survive(verb: Verb, folder: Path, kills: int, chance: random.Random) -> dict[str, Any]:
    """Kill a verb so many times or a few more, in as many folders as that takes, each until the verb gets to its end.

    Returns:
        `kills`, `folders`, `saved` (how many of the kills ended with all saved and the code for it), and `lost`: folders that
        ended with something else than without kills.
    """
    folder.mkdir(parents=True, exist_ok=True)
    log = folder / "log.txt"
    begin = time.monotonic()
    assert forking.run(verb.task(folder / "whole"), log) == 0, log.read_text()
    whole, expected = time.monotonic() - begin, verb.result(folder / "whole")
    codes: Counter[int] = Counter()
    folders = lost = 0
    while sum(codes.values()) < kills:
        out, tries = folder / f"killed-{folders}", 0
        while True:
            number = chance.choice(verb.signals)
            # Most attempts die before they have done a third of the work; later ones live longer, so that all folders end.
            code = forking.run(verb.task(out), log, chance.uniform(0, 0.5) * whole * (1 + tries / 8), number)
            if code == 0:
                break
            assert code in (-number, PREEMPTED), f"{code}: {log.read_text()}"
            codes[code] += 1
            tries += 1
        lost += verb.result(out) != expected
        shutil.rmtree(out, ignore_errors=True)
        folders += 1
    return {"kills": sum(codes.values()), "folders": folders, "saved": codes[PREEMPTED], "lost": lost}


def survive_full_processes(folder: Path, kills: int, chance: random.Random) -> dict[str, Any]:
    """The same for `python -m difftuning train`, imports and all."""
    recipe = str(write_miniature(folder / "small"))
    command = [sys.executable, "-m", "difftuning", "train", recipe, "training.steps=300", "--quiet"]

    def started(out: Path) -> subprocess.Popen[bytes]:
        return subprocess.Popen([*command, f"out={out}"], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)

    begin = time.monotonic()
    assert started(folder / "whole").wait() == 0
    whole, expected = time.monotonic() - begin, _trained(folder / "whole")
    codes: Counter[int] = Counter()
    folders = lost = 0
    while sum(codes.values()) < kills:
        out, tries = folder / f"killed-{folders}", 0
        while True:
            number = chance.choice((KILL, TERM))
            process = started(out)
            try:
                code = process.wait(chance.uniform(0.3, 1.0) * whole * (1 + tries / 10))
            except subprocess.TimeoutExpired:
                process.send_signal(number)
                code = process.wait()
            if code == 0:
                break
            assert process.stderr is not None
            assert code in (-number, PREEMPTED), f"{code}: {process.stderr.read()!r}"
            codes[code] += 1
            tries += 1
        lost += _trained(out) != expected
        folders += 1
    return {"kills": sum(codes.values()), "folders": folders, "saved": codes[PREEMPTED], "lost": lost}


def all_kills(folder: Path, kills: Mapping[str, int], full: int, seed: int = 0) -> Iterator[tuple[str, dict[str, Any]]]:
    """The figures verb by verb."""
    os.environ["DIFFTUNING_CACHE"] = str(folder / "cache")
    chance = random.Random(seed)
    for name, verb in verbs(folder).items():
        if kills.get(name):
            yield name, survive(verb, folder / name.replace(", ", "-").replace(" ", "-"), kills[name], chance)
    if full:
        yield "train, full processes", survive_full_processes(folder / "full", full, chance)
