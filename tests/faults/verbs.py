"""What is killed: verbs over recipes of miniature size, what each ends with, and how to start it."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from safetensors.torch import load_file

from difftuning.json_files import MetricsLog, read_json
from difftuning.studies.base import Cell, Study
from difftuning.training.checkpoints import Checkpoints, read, tensors_digest
from difftuning.workflows.display import Silent
from difftuning.workflows.study_queue import Queue
from faults import forking
from faults.miniature import write_miniature, write_stream

KILL, TERM = signal.SIGKILL, signal.SIGTERM
FULL = ", full processes"
"""Behind the names of verbs that are started as a user starts them, imports and all."""


@dataclass(frozen=True)
class Verb:
    """Something that is killed.

    Attributes:
        start: starts it in the background, for a folder that begins empty, with its output in a file; returns the process id.
        result: what it ended with there, to be compared.
        signals: by what it is killed.
        window: when a first attempt is killed, in shares of the time that it takes from beginning to end.
    """

    start: Callable[[Path, Path], int]
    result: Callable[[Path], Any]
    signals: Sequence[signal.Signals] = (KILL, TERM)
    window: tuple[float, float] = (0.0, 0.5)


def bytes_of(folder: Path) -> dict[str, bytes]:
    """Every file of a folder, hidden ones too, but for the one that says how long it took."""
    files = (path for path in sorted(folder.rglob("*")) if path.is_file() and path.name != "costs.json")
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def cached(folder: Path) -> dict[str, Any]:
    """All cached latents by their key: how many share a file depends on where the writer was interrupted."""
    found: dict[str, Any] = {}
    for path in folder.rglob("*.safetensors"):
        found |= {key: value.numpy().tobytes() for key, value in load_file(path).items()}
    return found


def trained(run: Path) -> dict[str, Any]:
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


def trained_and_logged(run: Path) -> dict[str, Any]:
    """The log too; a run that saved when it was asked to stop has one more line there."""
    return {**trained(run), "log": MetricsLog(run / "metrics.jsonl").read().records}


def streamed(out: Path) -> dict[str, Any]:
    """What the phases of a stream ended with, and what was measured of them."""
    written = {name: (out / name).read_bytes() for name in ("matrices.json", "stream.md", "stream.svg")}
    phases = {}
    for path in sorted(out.glob("phase-*")):
        # Banks and states name the model before by its path, which is below the stream's own folder: their tensors are compared.
        banks = {name: cached(path / name) for name in ("bank", "bank-heldout", "model")}
        phases[path.name] = {"tensors": trained(path)["tensors"], **banks}
    return {**written, "rows": read_json(out / "results.json")["rows"], **phases}


def forked(task: Callable[[Path], Callable[[], int]]) -> Callable[[Path, Path], int]:
    """What starts a task in a child of this process."""
    return lambda out, log: forking.start(task(out), log)


def whole_process(arguments: Callable[[Path], list[str]]) -> Callable[[Path, Path], int]:
    """What starts `python -m difftuning` with these arguments."""
    return lambda out, log: forking.command(*arguments(out), log=log)


def verbs(folder: Path) -> dict[str, Verb]:
    """All that is killed, over recipes that are made in a folder."""
    recipe = str(write_miniature(folder / "small"))
    many = str(write_miniature(folder / "many", images=600))
    stream = str(write_stream(folder / "stream"))

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

    def continual(out: Path) -> Callable[[], int]:
        return forking.verb("continual", stream, f"out={out}")

    cells = tuple(Cell(f"tau = {tau}", (f"coefficients.psi.tau={tau}", "training.steps=6"), 0) for tau in (0, 1))
    one = Study("small", "A small study", "Fig. 0", "Nothing.", recipe, cells, metrics=("heldout", "kid"))

    def study(out: Path) -> Callable[[], int]:
        return forking.work(lambda: Queue(out, Silent()).study(one, out / "results", out / "pages"))

    found = {
        "bank": Verb(forked(bank), bytes_of),
        "cache": Verb(forked(cache), cached),
        "train": Verb(forked(train), trained_and_logged, (KILL,)),
        "train, asked to stop": Verb(forked(train), trained, (TERM,)),
        "study": Verb(
            forked(study), lambda out: {name: bytes_of(out / name) for name in ("results", "pages", "banks")}
        ),
        "continual": Verb(forked(continual), streamed),
    }
    # Long enough that most of the time is not that of the imports.
    full = {
        "bank": lambda out: ["bank", "build", recipe, f"out={out}", "bank.count=200"],
        "train": lambda out: ["train", recipe, f"out={out}", "training.steps=100"],
        "continual": lambda out: ["continual", stream, f"out={out}"],
    }
    for name, arguments in full.items():
        found[f"{name}{FULL}"] = replace(found[name], start=whole_process(arguments), window=(0.3, 1.0))
    # Asked to stop, it has one line more in its log.
    found[f"train{FULL}"] = replace(found[f"train{FULL}"], result=trained, signals=(KILL, TERM))
    return found
