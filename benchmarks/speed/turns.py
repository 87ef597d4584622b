"""What the scripts of this folder share: things take turns in one process, so that a machine that slows down slows all alike.

Each is timed twice: by the clock on the wall, which is what a user waits for, and by the processor time of the process, which other
work on the machine changes little. Ratios are medians over pairs of the same round.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from difftuning.config.provenance import provenance
from difftuning.json_files import write_json

RESULTS = Path(__file__).parents[1] / "results" / "speed"
Seconds = dict[str, list[tuple[float, float]]]
"""By name, of each round: on the wall, and of the processor."""


def options(description: str | None, rounds: int, name: str) -> argparse.ArgumentParser:
    """The command line of a script: `--rounds`, `--threads` and `--out`."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=rounds)
    parser.add_argument("--threads", type=int, default=None)
    parser.add_argument("--out", type=Path, default=RESULTS / f"{name}.json")
    return parser


def take_turns(runs: Mapping[str, Callable[[], Any]], rounds: int, warm_up: int = 1) -> Seconds:
    """Run everything once a round, beginning with another each time; the first `warm_up` rounds are not counted."""
    found: Seconds = {name: [] for name in runs}
    names = list(runs)
    for number in range(rounds + warm_up):
        first = number % len(names)
        for name in names[first:] + names[:first]:
            wall, processor = time.perf_counter(), time.process_time()
            runs[name]()
            if torch.cuda.is_available():
                torch.cuda.synchronize()
            if number >= warm_up:
                found[name].append((time.perf_counter() - wall, time.process_time() - processor))
    return found


def ratio(seconds: Seconds, one: str, other: str, factor: float = 1.0) -> dict[str, float]:
    """`factor` times the time of one over that of another: the median over the rounds, and the quartiles."""
    found = {}
    for clock, place in (("", 0), ("processor_", 1)):
        each = zip(seconds[one], seconds[other], strict=True)
        pairs = sorted(factor * a[place] / b[place] for a, b in each)
        found[f"{clock}ratio"] = statistics.median(pairs)
        found[f"{clock}quartile_low"], found[f"{clock}quartile_high"] = (
            pairs[len(pairs) // 4],
            pairs[3 * len(pairs) // 4],
        )
    return found


def medians(seconds: Seconds) -> dict[str, dict[str, float]]:
    """Of each: seconds on the wall and of the processor."""
    return {
        name: {
            clock: statistics.median(turn[place] for turn in turns) for place, clock in enumerate(("wall", "processor"))
        }
        for name, turns in seconds.items()
    }


def rows_with(row: dict[str, Any], out: Path, key: Callable[[dict[str, Any]], tuple[Any, ...]]) -> list[dict[str, Any]]:
    """The rows of a result file with a new one, which takes the place of one that `key` does not tell from it, in order."""
    rows = json.loads(out.read_text())["rows"] if out.is_file() else []
    return sorted([*(one for one in rows if key(one) != key(row)), row], key=key)


def publish(found: Mapping[str, Any], out: Path) -> None:
    """Print what was found, and write it with where it was found beside it."""
    print(json.dumps(found, indent=1))
    out.parent.mkdir(parents=True, exist_ok=True)
    write_json(out, {**found, "threads": torch.get_num_threads(), **provenance()})
