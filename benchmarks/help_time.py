"""How long `difftuning --help` takes, wall clock, from a process of its own.

python benchmarks/help_time.py [--times 15] [--out benchmarks/results/help_time.json]
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

BOUND_SECONDS = 0.5


def main() -> int:
    """Print the measurement; 0 if the bound is met."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--times", type=int, default=15)
    parser.add_argument("--out", type=Path, default=None)
    options = parser.parse_args()
    seconds = []
    for _ in range(options.times):
        started = time.perf_counter()
        subprocess.run([sys.executable, "-m", "difftuning", "--help"], check=True, stdout=subprocess.DEVNULL)
        seconds.append(time.perf_counter() - started)
    found = {
        "median": statistics.median(seconds),
        "slowest": max(seconds),
        "times": options.times,
        "bound": BOUND_SECONDS,
    }
    print(json.dumps(found))
    if options.out:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        write_json(options.out, {**found, **provenance()})
    return 0 if found["median"] < BOUND_SECONDS else 1


if __name__ == "__main__":
    sys.exit(main())
