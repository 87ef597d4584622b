"""Ten million items to train on: how long they take to open, how fast they are read at random, and what that adds to memory.

    python benchmarks/big_data.py [--count 10000000] [--batches 20000] [--out benchmarks/results/big_data.json]

Writes parts as a streamed target leaves them, of small latents (4x2x2 float16, 0.5 GB for ten million), into a temporary folder,
and reads them in a process of its own, in batches of 32 in the order of a training run. Items may be as large as they like: what is
in memory depends on the number of parts alone, 4,096 items each. Exits with 1 where a bound is not met.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil
import torch

from difftuning.config.provenance import provenance
from difftuning.data.latent_files import LatentFiles, Part, PartFolder, digest_of
from difftuning.data.order import Order
from difftuning.data.streamed import PART
from difftuning.json_files import write_json

SHAPE, CLASSES, BATCH = (4, 2, 2), 1000, 32
BOUNDS = {"items_per_second": 5_000.0, "added_mib": 100.0}


def write(folder: Path, count: int) -> None:
    """The parts of a set of one file."""
    parts, names = PartFolder(folder), tuple(sorted(map(str, range(CLASSES))))
    latents = torch.randn(PART, 1, *SHAPE).half()
    labels = torch.arange(PART, dtype=torch.int32) % CLASSES
    for number, start in enumerate(range(0, count, PART)):
        items = min(PART, count - start)
        end, marked = start + items == count, digest_of(labels[:items])
        part = Part(names, items, (), items, 0, (), end, marked, str(number))
        parts.write((0, number), part, latents[:items], labels[:items], {})


def measure(folder: Path, batches: int) -> dict[str, float]:
    """Open, and read batches in the order of a training run."""
    process = psutil.Process()
    torch.rand(BATCH, *SHAPE).half().float()  # torch's own first-use memory is not the set's
    before, begin = process.memory_info().rss, time.perf_counter()
    kept = PartFolder(folder)
    parts = kept.of(0)
    files = [kept.latents((0, number)) for number in range(len(parts))]
    names = tuple(map(str, range(CLASSES)))
    items = LatentFiles(files, parts, names, False, torch.arange(0), "")
    order, flip = Order(0, len(items)), torch.zeros(BATCH, dtype=torch.bool)
    open_seconds, begin = time.perf_counter() - begin, time.perf_counter()
    for step in range(batches):
        indices = order.indices(step * BATCH, BATCH)
        items.get(indices, flip)
        items.classes(indices)
    return {
        "count": len(items),
        "parts": len(parts),
        "open_seconds": open_seconds,
        "items_per_second": batches * BATCH / (time.perf_counter() - begin),
        "added_mib": (process.memory_info().rss - before) / 2**20,
    }


def main() -> int:
    """Print the measurement; 0 if all bounds are met."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=10_000_000)
    parser.add_argument("--batches", type=int, default=20_000)
    parser.add_argument("--read", type=Path, help="read these parts instead of synthetic ones")
    parser.add_argument("--out", type=Path, help="write the measurement there")
    arguments = parser.parse_args()
    if arguments.read:
        print(json.dumps(measure(arguments.read, arguments.batches)))
        return 0
    with tempfile.TemporaryDirectory() as folder:
        write(Path(folder), arguments.count)
        command = [sys.executable, __file__, "--read", folder, "--batches", str(arguments.batches)]
        found = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
    fast, small = (
        found["items_per_second"] >= BOUNDS["items_per_second"],
        found["added_mib"] <= BOUNDS["added_mib"],
    )
    print(json.dumps(found := {**found, "bounds": BOUNDS}))
    if arguments.out:
        write_json(arguments.out, {**found, **provenance()})
    return 0 if fast and small else 1


if __name__ == "__main__":
    sys.exit(main())
