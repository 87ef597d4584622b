"""How fast a large bank opens and is read at random, and what it adds to memory.

    python benchmarks/bank_read.py [--count 200000] [--out benchmarks/results/bank_read.json]

Writes a synthetic bank of 4x64x64 float16 latents, those of Stable Diffusion, into a temporary folder (6.6 GB for 200,000
items), reads it in a process of its own, prints one JSON object, and exits with 1 where a bound is not met. The files are in the
page cache, as they are in training after the first epoch.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import psutil
import torch

from difftuning.bank.card import CARD, BankCard, BankConfig, BankModel
from difftuning.bank.card_file import write_card
from difftuning.bank.read import Bank
from difftuning.bank.store import Shard, shard_spans, write_shard
from difftuning.config.provenance import provenance
from difftuning.json_files import write_json

SHAPE = (4, 64, 64)
BATCH = 32
BOUNDS = {"open_seconds": 1.0, "items_per_second": 20_000.0, "added_mib": 300.0}


def write_bank(folder: Path, count: int) -> None:
    """A bank of random latents, in the layout that `bank build` writes by default."""
    config = BankConfig(count=count, labels="null", guidance=1)
    random = np.random.default_rng(0)
    entries = []
    for start, stop in shard_spans(count, config.shard_size):
        latents = random.standard_normal((stop - start, *SHAPE), np.float32).astype(np.float16)
        entries.append(write_shard(folder, start, Shard(np.full(stop - start, 1000), latents)))
    model = BankModel(name="synthetic", digest="", sample_shape=SHAPE, classes=1000, null_label=1000, scheduler={})
    card = BankCard(model=model, clip=None, config=config, shards=tuple(entries), versions={})
    write_card(card, folder / CARD)


def measure(folder: Path) -> dict[str, float]:
    """Open and read as many items as there are, in batches of 32, each item at random."""
    process = psutil.Process()
    generator = torch.Generator().manual_seed(0)
    torch.rand(BATCH, *SHAPE).half().float()  # torch's own first-use memory is not the bank's
    before = process.memory_info().rss
    begin = time.perf_counter()
    bank = Bank(folder)
    open_seconds = time.perf_counter() - begin
    peak, seconds = process.memory_info().rss, 0.0
    batches = len(bank) // BATCH
    for step in range(batches):
        indices = torch.randint(len(bank), (BATCH,), generator=generator)
        begin = time.perf_counter()
        bank.get(indices)
        seconds += time.perf_counter() - begin
        if step % 50 == 0:
            peak = max(peak, process.memory_info().rss)
    peak = max(peak, process.memory_info().rss)
    return {
        "open_seconds": open_seconds,
        "items_per_second": batches * BATCH / seconds,
        "added_mib": (peak - before) / 2**20,
    }


def main() -> int:
    """Print the measurement; 0 if all bounds are met."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--count", type=int, default=200_000, help="items of the bank")
    parser.add_argument("--read", type=Path, help="read this bank instead of a synthetic one")
    parser.add_argument("--out", type=Path, help="write the measurement there")
    arguments = parser.parse_args()
    if arguments.read:
        print(json.dumps(measure(arguments.read)))
        return 0
    with tempfile.TemporaryDirectory() as folder:
        print(f"writing {arguments.count} items to {folder}", file=sys.stderr)
        write_bank(Path(folder), arguments.count)
        command = [sys.executable, __file__, "--read", folder]
        measured = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
    passed = {
        "open_seconds": measured["open_seconds"] < BOUNDS["open_seconds"],
        "items_per_second": measured["items_per_second"] >= BOUNDS["items_per_second"],
        "added_mib": measured["added_mib"] < BOUNDS["added_mib"],
    }
    found = {"count": arguments.count, "batch": BATCH, **measured, "bounds": BOUNDS, "passed": passed}
    print(json.dumps(found))
    if arguments.out:
        arguments.out.parent.mkdir(parents=True, exist_ok=True)
        write_json(arguments.out, {**found, **provenance()})
    return 0 if all(passed.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
