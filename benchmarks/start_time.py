"""How long `import difftuning` and `difftuning --help` take, wall clock, each in a process of its own.

python benchmarks/start_time.py [--times 15] [--out benchmarks/results/start_time.json]
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path

from difftuning.config.provenance import provenance
from difftuning.json_files import write_json

COMMANDS = {"import difftuning": ("-c", "import difftuning"), "difftuning --help": ("-m", "difftuning", "--help")}
BOUNDS = {"import difftuning": 0.3, "difftuning --help": 0.5}
"""Seconds, the interpreter's own start included."""


def main() -> int:
    """Print the measurements; 0 if the bounds are met."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--times", type=int, default=15)
    parser.add_argument("--out", type=Path, default=None)
    options = parser.parse_args()
    seconds: dict[str, list[float]] = {name: [] for name in COMMANDS}
    for _ in range(options.times):
        for name, command in COMMANDS.items():
            started = time.perf_counter()
            subprocess.run([sys.executable, *command], check=True, stdout=subprocess.DEVNULL)
            seconds[name].append(time.perf_counter() - started)
    found = {
        name: {"median": statistics.median(each), "slowest": max(each), "bound": BOUNDS[name]}
        for name, each in seconds.items()
    }
    print(json.dumps(found))
    if options.out:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        write_json(options.out, {"commands": found, "times": options.times, **provenance()})
    return 0 if all(one["median"] < one["bound"] for one in found.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
