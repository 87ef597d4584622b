"""What a second process brings: training by two processes, each on a core of its own, over training by one on one core.

    python benchmarks/speed/two_processes.py [--rounds 20] [--steps 2] [--batch-size 64] [--out FILE]

All make the same global batches of the same model by the library's own loop, so a ratio of times is one of samples per second. Two
that know nothing of each other, with half of the batch each, say beside it what the two cores bring where nothing is exchanged. The
processes stay alive and take turns in an order that changes; whoever has no turn waits for a line.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from difftuning.config.provenance import provenance
from difftuning.json_files import write_json

BOUND = 1.8
"""Two are to make at least so many times the samples per second of one."""
WARM = 2
"""Rounds that are not counted."""


def settings(folder: Path, batch_size: int, out: str = "none") -> list[str]:
    """The demo's recipe, without measurements and checkpoints, in one thread."""
    return [
        f"out={folder / out}",
        f"bank_folder={folder / 'bank'}",
        "bank.count=256",
        "bank.steps=2",
        f"training.batch_size={batch_size}",
        "training.steps=1000000",
        "training.save_every=1000000",
        "training.precision=no",
        "threads=1",
    ]


def worker(folder: Path, batch_size: int) -> None:
    """Run so many steps as each line says, and answer with the seconds that they took."""
    from difftuning.processes import part
    from difftuning.workflows import recipe
    from difftuning.workflows.assemble import assemble, prepare

    out = f"of-{os.environ.get('MASTER_PORT', os.getpid())}"  # one folder for those who know of each other
    trainer = assemble(prepare(recipe.load("demo", settings(folder, batch_size, out)))).trainer
    print("ready", flush=True)
    for line in sys.stdin:
        started = time.perf_counter()
        trainer.run(until=trainer.state.step + int(line))
        print(time.perf_counter() - started, flush=True)
    part()


def start(folder: Path, batch_size: int, cores: list[int]) -> list[subprocess.Popen[str]]:
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
        command = [sys.executable, __file__, "--worker", str(folder), "--batch-size", str(batch_size)]
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


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--steps", type=int, default=2)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--worker", type=Path, default=None, help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path, default=None)
    options = parser.parse_args()
    if options.worker:
        return worker(options.worker, options.batch_size)
    cores = sorted(os.sched_getaffinity(0))[:2]
    if len(cores) < 2:
        raise SystemExit("this needs two cores")
    with tempfile.TemporaryDirectory() as folder:
        build = [sys.executable, "-m", "difftuning", "bank", "build", "demo", "--quiet"]
        subprocess.run([*build, *settings(Path(folder), options.batch_size)], check=True, stdout=subprocess.DEVNULL)
        half = options.batch_size // 2
        setups = {
            "one": start(Path(folder), options.batch_size, cores[:1]),
            "two": start(Path(folder), options.batch_size, cores),
            "apart": [process for core in cores for process in start(Path(folder), half, [core])],
        }
        for made in setups.values():
            answers(made)
        taken: dict[str, list[float]] = {name: [] for name in setups}
        for number in range(options.rounds + WARM):
            for name in list(setups)[:: 1 if number % 2 else -1]:
                found = seconds(setups[name], options.steps)
                if number >= WARM:
                    taken[name].append(found)
        for one in (process for made in setups.values() for process in made):
            if one.stdin:
                one.stdin.close()
            one.wait()
    medians = {name: statistics.median(values) for name, values in taken.items()}
    samples = options.batch_size * options.steps

    def over_one(name: str) -> dict[str, float]:
        pairs = sorted(one / other for one, other in zip(taken["one"], taken[name], strict=True))
        return {
            "of_medians": medians["one"] / medians[name],
            "median_of_pairs": statistics.median(pairs),
            "quartile_low": pairs[len(pairs) // 4],
            "quartile_high": pairs[3 * len(pairs) // 4],
        }

    found = {
        "two_processes_over_one": over_one("two"),
        "two_apart_over_one": over_one("apart"),
        "samples_per_second": {name: samples / value for name, value in medians.items()},
        "bound": BOUND,
        "rounds": options.rounds,
        "steps_a_round": options.steps,
        "batch_size": options.batch_size,
        "threads": 1,
        "cores": cores,
        **provenance(),
    }
    print(json.dumps(found, indent=1))
    if options.out:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        write_json(options.out, found)


if __name__ == "__main__":
    main()
