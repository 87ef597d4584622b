"""Storage faults that are really injected into verbs: disks that fill up or turn read-only, missing and damaged files, two
processes on one folder, files with impossible times. Each is refused with what, where and how to mend, and after the mend a run
ends with what it ends with without the fault.
"""

from __future__ import annotations

import ctypes
import os
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from faults import forking
from faults.clock import jumping_clock
from faults.kills import standing
from faults.miniature import write_miniature
from faults.verbs import bytes_of, trained

_NEW_MOUNTS, _NEW_USER, _PRIVATE, _REMOUNT, _READ_ONLY = 0x20000, 0x10000000, 0x44000, 32, 1


def _system(call: str, *arguments: object) -> None:
    library = ctypes.CDLL(None, use_errno=True)
    if getattr(library, call)(*arguments):
        raise OSError(ctypes.get_errno(), f"{call}: {os.strerror(ctypes.get_errno())}")


def _mount(path: Path, flags: int, kib: int) -> None:
    _system("mount", b"none", bytes(path), b"tmpfs", flags, f"size={kib}k".encode())


def small_disk(path: Path, kib: int) -> Callable[..., None]:
    """Give this process a disk of its own of that size; returns what mounts it anew with `kib` and `read_only`.

    It needs no rights but those to a user namespace, which some containers withhold: an OSError then.
    """
    path.mkdir(parents=True, exist_ok=True)
    _system("unshare", _NEW_MOUNTS | (0 if os.geteuid() == 0 else _NEW_USER))
    _system("mount", None, b"/", None, _PRIVATE, None)
    _mount(path, 0, kib)
    return lambda kib, read_only=False: _mount(path, _REMOUNT | (_READ_ONLY if read_only else 0), kib)


class Faults:
    """Injects faults into runs of one recipe, and counts.

    Args:
        folder: scratch.
    """

    def __init__(self, folder: Path) -> None:
        os.environ["DIFFTUNING_CACHE"] = str(folder / "cache")
        self.folder, self.log = folder, folder / "log.txt"
        self.recipe = str(write_miniature(folder / "small"))
        self.whole = folder / "whole"
        assert self.run(self.train(self.whole)) == 0, self.told()
        self.expected = trained(self.whole)
        self.found: dict[str, dict[str, Any]] = {}

    def train(self, out: Path) -> Callable[[], int]:
        return forking.verb("train", self.recipe, f"out={out}")

    def run(self, task: Callable[[], int]) -> int:
        return forking.run(task, self.log)

    def told(self) -> str:
        return self.log.read_text()

    def copy(self, name: str) -> Path:
        """A finished run that may be harmed."""
        shutil.rmtree(self.folder / name, ignore_errors=True)
        shutil.copytree(self.whole, self.folder / name)
        return self.folder / name

    def put(self, fault: str, detected: bool, recovered: bool, answer: str = "") -> None:
        """Count a fault; `answer` is what the verb said of it."""
        entry = self.found.setdefault(fault, {"injected": 0, "detected": 0, "recovered": 0, "answer": ""})
        entry["injected"] += 1
        entry["detected"] += detected
        entry["recovered"] += recovered
        errors = [line for line in answer.splitlines() if line.startswith("error: ")]
        entry["answer"] = entry["answer"] or (errors or ["made again"])[0].replace(str(self.folder), "...")

    def same(self, out: Path) -> bool:
        return bool(trained(out) == self.expected)

    def full_disk(self, sizes: list[int]) -> None:
        """Train on disks that are too small, make them large, train again."""
        disk = self.folder / "disk"

        for kib in sizes:

            def task(kib: int = kib) -> int:
                again = small_disk(disk, kib)
                first = self.train(disk / "run")()
                standing(disk / "run")  # whatever has its final name is whole
                again(65_536)
                second = self.train(disk / "run")()
                return (first == 2) + 2 * (second == 0 and self.same(disk / "run")) + 4 * (first == 0)

            code = self.run(task)
            if not code & 4:  # a disk that was large enough after all is no fault
                self.put("disk full", bool(code & 1) and "No space left" in self.told(), bool(code & 2), self.told())

    def read_only(self) -> None:
        """A folder that cannot be written to, before anything is there and after some of it is."""
        disk = self.folder / "disk"
        for steps in (None, 30):

            def task(steps: int | None = steps) -> int:
                again = small_disk(disk, 65_536)
                if steps:
                    forking.verb("bank", "build", self.recipe, f"out={disk / 'run'}")()
                again(65_536, read_only=True)
                first = self.train(disk / "run")()
                again(65_536)
                return (first == 2) + 2 * (self.train(disk / "run")() == 0 and self.same(disk / "run"))

            code = self.run(task)
            self.put("read-only folder", bool(code & 1), bool(code & 2), self.told())

    def harmed(self, fault: str, path: str, harm: Callable[[Path], None], mend: Callable[[Path], None] | None) -> None:
        """Harm a file of a finished run and train again: the run mends it by itself, or says how before it goes on.

        Args:
            fault: what to call it.
            path: of the file, within the run; a pattern, of which the last match is taken.
            harm: done to the file.
            mend: what the message asks for, given the run; None where the run is to mend it by itself.
        """
        run = self.copy("harmed")
        harm(sorted(run.glob(path))[-1])
        code = self.run(self.train(run))
        answer, refused = self.told(), code == 2
        if mend is not None:
            mend(run)
            code = self.run(self.train(run))
        self.put(fault, refused or (mend is None and code == 0), code == 0 and self.same(run), answer)

    def files(self, tries: int, seed: int = 0) -> None:
        """A missing, torn or changed file of each kind."""
        chance = random.Random(seed)

        def cut(path: Path) -> None:
            path.write_bytes(path.read_bytes()[: chance.randrange(path.stat().st_size)])

        def flip(path: Path) -> None:
            data = bytearray(path.read_bytes())
            data[chance.randrange(len(data) // 2, len(data) - 2)] ^= 0x55
            path.write_bytes(data)

        def earlier(run: Path) -> None:
            shutil.rmtree(sorted((run / "checkpoints").glob("step-*"))[-1])

        def anew(run: Path) -> None:
            shutil.rmtree(run / "bank")

        for harm, name in ((Path.unlink, "missing"), (cut, "torn"), (flip, "changed byte in a")):
            for _ in range(tries if name != "missing" else 1):
                self.harmed(f"{name} bank shard", "bank/items-*", harm, None)
                self.harmed(f"{name} checkpoint", "checkpoints/*/[eop]*.safetensors", harm, earlier)
                self.harmed(f"{name} checkpoint state", "checkpoints/*/state.json", harm, earlier)
                self.harmed(f"{name} model", "model/transformer/*.safetensors", harm, None)
                self.harmed(f"{name} bank card", "bank/card.json", harm, anew)

    def cache(self) -> None:
        """A changed byte in the cached latents."""
        for path in (self.folder / "cache").rglob("*.safetensors"):
            data = bytearray(path.read_bytes())
            data[-3] ^= 1
            path.write_bytes(data)
        out = self.folder / "recomputed"
        code = self.run(lambda: forking.main(["train", self.recipe, f"out={out}"]))
        told = self.told()
        self.put("changed byte in a cache entry", "were damaged" in told, code == 0 and self.same(out))

    def two_processes(self) -> None:
        """A second process on a run folder while the first one trains."""
        out = self.folder / "shared"
        first = forking.start(self.train(out), self.folder / "first.txt")
        while not (out / "checkpoints").is_dir():
            time.sleep(0.01)
        code = self.run(self.train(out))
        told = self.told()
        self.put("two processes on one run folder", code == 2, forking.end(first) == 0 and self.same(out), told)

    def times(self) -> None:
        """A clock that was wrong: files of 1970, files of 2100, between a stop and the next start."""
        for year, stamp in (("1970", 1), ("2100", 4_102_444_800)):
            out = self.folder / f"clock-{year}"
            forking.run(self.train(out), self.log, 0.7, 9)
            for path in out.rglob("*"):
                os.utime(path, (stamp, stamp))
            code = self.run(self.train(out))
            self.put("files dated 1970 and 2100", True, code == 0 and self.same(out))

    def jumps(self) -> None:
        """A clock that jumps by years while a run goes, is killed, and goes on."""
        environment = jumping_clock(self.folder)
        out = self.folder / "jumps"
        looks = "import time; print(len({int(time.time()) // 86400 for _ in range(9)}))"
        days = subprocess.run(
            [sys.executable, "-c", looks], env=os.environ | environment, capture_output=True, check=True
        )
        assert int(days.stdout) > 5, "the clock does not jump"

        def train() -> int:
            return forking.command("train", self.recipe, f"out={out}", log=self.log, environment=environment)

        child = train()
        while not (out / "checkpoints/step-00000010").is_dir():
            assert os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None, self.told()
            time.sleep(0.01)
        os.kill(child, 9)
        killed, code = forking.end(child), forking.end(train())
        self.put("a clock that jumps", killed == -9, code == 0 and self.same(out))

    def foreign(self) -> None:
        """Another model under the same name: a run and a bank are of the one that they began with."""
        for tau in (0, 1):
            out = self.folder / f"foreign-{tau}"
            train = forking.verb("train", self.recipe, f"out={out}", f"coefficients.psi.tau={tau}")
            self.run(train)
            kept = bytes_of(out)
            model, aside = self.folder / "small/model", self.folder / "aside"
            shutil.copytree(model, aside)
            config = model / "scheduler/scheduler_config.json"
            config.write_text(config.read_text().replace("squaredcos_cap_v2", "linear"))
            weights = model / "transformer/diffusion_pytorch_model.safetensors"
            data = bytearray(weights.read_bytes())
            data[-1] ^= 1
            weights.write_bytes(data)
            code = self.run(train)
            told = self.told()
            shutil.rmtree(model)
            aside.rename(model)
            self.put("another model under the same name", code == 2, bytes_of(out) == kept, told)


def all_faults(folder: Path, sizes: list[int], tries: int) -> dict[str, dict[str, Any]]:
    """The figures by fault."""
    faults = Faults(folder)
    try:
        faults.full_disk(sizes)
        faults.read_only()
    except OSError as reason:
        print(f"no disk of its own for a process here, so none is filled ({reason})", flush=True)
    faults.files(tries)
    faults.cache()
    faults.two_processes()
    faults.times()
    try:
        faults.jumps()
    except OSError as reason:
        print(f"no clock that jumps here ({reason})", flush=True)
    faults.foreign()
    return faults.found
