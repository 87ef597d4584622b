"""What a second process brings: training by two processes, each on a core of its own, over training by one on one core.

    python benchmarks/speed/two_processes.py [FAMILY ...] [--rounds 20] [--steps 1] [--batch-size 64] [--out FILE]

All make the same global batches of the same model by the library's own loop, so a ratio of times is one of samples per second. Two
that know nothing of each other, with half of the batch each, say beside it what the two cores bring where nothing is exchanged. The
processes stay alive and take turns in an order that changes; whoever has no turn waits for a line. Rows of other families and
batches stay in the file. Exits with 1 where the bound is not met.
"""

from __future__ import annotations

import argparse
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from families import FAMILIES, recipe_of
from turns import options, publish, rows_with

from difftuning.config.provenance import provenance
from difftuning.processes import part
from difftuning.workflows import bank
from difftuning.workflows.assemble import assemble, prepare

BOUND = 1.8
"""Two are to make at least so many times the samples per second of one."""
WARM = 2
"""Rounds that are not counted."""


def worker(family: str, folder: Path, batch_size: int) -> None:
    """Run so many steps as each line says, and answer with the seconds that they took."""
    out = folder / f"of-{os.environ.get('MASTER_PORT', os.getpid())}"  # one for those who know of each other
    settings = recipe_of(family, folder, f"out={out}", f"training.batch_size={batch_size}", "threads=1")
    trainer = assemble(prepare(settings)).trainer
    print("ready", flush=True)
    for line in sys.stdin:
        started = time.perf_counter()
        trainer.run(until=trainer.state.step + int(line))
        print(time.perf_counter() - started, flush=True)
    part()


def start(family: str, folder: Path, batch_size: int, cores: list[int]) -> list[subprocess.Popen[str]]:
    """A process on each of some cores, which know of each other."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    # Only what a launcher tells: this process's own threads would be inherited.
    told = {
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": port,
        "WORLD_SIZE": str(len(cores)),
        "ACCELERATE_USE_CPU": "true",
    }
    made = []
    for rank, core in enumerate(cores):
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
        if len(cores) > 1:
            environment |= {**told, "RANK": str(rank), "LOCAL_RANK": str(rank), "LOCAL_WORLD_SIZE": str(len(cores))}
        command = [sys.executable, __file__, family, "--worker", str(folder), "--batch-size", str(batch_size)]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        one = subprocess.Popen(command, env=environment, text=True, **pipes)
        os.sched_setaffinity(one.pid, {core})
        made.append(one)
    return made


def answers(processes: list[subprocess.Popen[str]]) -> list[str]:
    """A line of each."""
    found = [one.stdout.readline().strip() for one in processes if one.stdout]
    if not all(found):
        raise SystemExit("a process ended early; its last words are above")
    return found


def seconds(processes: list[subprocess.Popen[str]], steps: int) -> float:
    """What so many steps take, to the last process."""
    for one in processes:
        if one.stdin:
            print(steps, file=one.stdin, flush=True)
    return max(map(float, answers(processes)))


def measure(family: str, batch_size: int, rounds: int, steps: int, cores: list[int]) -> dict[str, Any]:
    """The ratios of one family."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        bank.build(recipe_of(family, folder))
        setups = {
            "one": start(family, folder, batch_size, cores[:1]),
            "two": start(family, folder, batch_size, cores),
            "apart": [process for core in cores for process in start(family, folder, batch_size // 2, [core])],
        }
        for made in setups.values():
            answers(made)
        taken: dict[str, list[float]] = {name: [] for name in setups}
        for number in range(rounds + WARM):
            for name in list(setups)[:: 1 if number % 2 else -1]:
                found = seconds(setups[name], steps)
                if number >= WARM:
                    taken[name].append(found)
        for one in (process for made in setups.values() for process in made):
            if one.stdin:
                one.stdin.close()
            one.wait()
    medians = {name: statistics.median(values) for name, values in taken.items()}

    def over_one(name: str) -> dict[str, float]:
        pairs = sorted(one / other for one, other in zip(taken["one"], taken[name], strict=True))
        return {
            "of_medians": medians["one"] / medians[name],
            "ratio": statistics.median(pairs),
            "quartile_low": pairs[len(pairs) // 4],
            "quartile_high": pairs[3 * len(pairs) // 4],
        }

    return {
        "family": family,
        "batch_size": batch_size,
        "two_processes_over_one": over_one("two"),
        "two_apart_over_one": over_one("apart"),
        "samples_per_second": {name: batch_size * steps / value for name, value in medians.items()},
        "rounds": rounds,
        "steps_a_round": steps,
        "threads_a_process": 1,
        **provenance(),
    }


def key(row: dict[str, Any]) -> tuple[Any, ...]:
    """What tells the rows of the file apart."""
    return row["family"], row["batch_size"]


def main() -> int:
    """The command line."""
    parser = options(__doc__, 20, "two_processes")
    parser.add_argument("families", nargs="*", metavar="FAMILY", help=f"some of {', '.join(FAMILIES)}; dit without it")
    parser.add_argument("--steps", type=int, default=1)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--worker", type=Path, default=None, help=argparse.SUPPRESS)
    given = parser.parse_args()
    families = given.families or ["dit"]
    if given.worker:
        worker(families[0], given.worker, given.batch_size)
        return 0
    cores = sorted(os.sched_getaffinity(0))[:2]
    if len(cores) < 2:
        raise SystemExit("this needs two cores")
    rows: list[dict[str, Any]] = []
    for family in families:
        row = measure(family, given.batch_size, given.rounds, given.steps, cores)
        rows = rows_with(row, given.out, key)
        publish({"rows": rows, "bound": BOUND}, given.out)
    return 0 if all(row["two_processes_over_one"]["ratio"] >= BOUND for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
