"""All faults at full length: python tests/faults/run.py [--out benchmarks/results/faults.json] [--only kills storage damage inputs]
    [--entries train continual]

`--quick` is what the ordinary tests run.
"""

from __future__ import annotations

import argparse
import logging
import sys
import time
from collections.abc import Callable, Collection, Iterable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

import torch

from difftuning.config.provenance import provenance
from difftuning.json_files import read_json, write_json
from faults.damage import damage_each
from faults.inputs import all_inputs
from faults.kills import all_kills
from faults.storage import all_faults
from faults.verbs import FULL

KILLS = {
    "bank": 110,
    "cache": 30,
    "train": 30,
    "train, asked to stop": 25,
    "study": 8,
    "continual": 15,
    f"bank{FULL}": 8,
    f"train{FULL}": 12,
    f"continual{FULL}": 10,
}
QUICK = {"bank": 3, "cache": 2, "train": 3, "train, asked to stop": 3}
SIZES = (16, 150, 450, 750)
"""KiB of the disks that fill up: a run takes about a thousand."""
TURNS = 300
"""Changes of each kind of file."""


PARTS = ("kills", "storage", "damage", "inputs")


def parts(quick: bool, wanted: Collection[str]) -> dict[str, Callable[[Path], Iterable[tuple[str, Any]]]]:
    """What is done, by name; each tells its figures one after the other."""
    kills = {name: count for name, count in (QUICK if quick else KILLS).items() if not wanted or name in wanted}
    return {
        "kills": lambda folder: all_kills(folder, kills),
        "storage": lambda folder: all_faults(folder, [150] if quick else list(SIZES), 1 if quick else 3).items(),
        "damage": lambda folder: damage_each(folder, 20 if quick else TURNS).items(),
        "inputs": lambda folder: all_inputs(folder, 0.002 if quick else 1.0, wanted),
    }


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=None)
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--entries", nargs="+", default=[], help="of kills or inputs, these lines alone; others stay")
    parser.add_argument("--quick", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(1)
    logging.disable(logging.WARNING)  # diffusers warns of every key that it does not know
    found = read_json(options.out) if options.out and options.out.is_file() else {}
    by = provenance()
    for name in options.only:
        begin = time.monotonic()
        with TemporaryDirectory() as folder:
            found[name] = dict(found.get(name, {})) if options.entries else {}
            for key, entry in parts(options.quick, options.entries)[name](Path(folder)):
                # Lines of one file may be of several runs, so each tells its own commit.
                told = {**entry, "commit": by["commit"]} if isinstance(entry, dict) else entry
                found[name] |= {key: told, "seconds": round(time.monotonic() - begin)}
                print(f"{name}: {key}: {entry}", flush=True)
                if options.out:
                    write_json(options.out, {**found, **by})
    for line in summary(found):
        print(line, flush=True)
    if lost(found):
        sys.exit(f"lost: {lost(found)}")


def _sum(entries: dict[str, Any], key: str) -> int:
    return sum(entry[key] for entry in entries.values() if isinstance(entry, dict))


def summary(found: dict[str, Any]) -> list[str]:
    """The figures in four lines."""
    lines = []
    if kills := found.get("kills"):
        looked = {name: entry for name, entry in kills.items() if isinstance(entry, dict) and "worse" in entry}
        lines.append(
            f"kills survived: {_sum(kills, 'kills')} in {_sum(kills, 'folders')} runs, {_sum(kills, 'lost')} lost; "
            f"{_sum(looked, 'worse')} of {_sum(looked, 'kills')} left anything half or behind"
        )
    if storage := found.get("storage"):
        told = (f"{_sum(storage, key)} {key}" for key in ("injected", "detected", "recovered"))
        lines.append(f"storage faults: {', '.join(told)}")
    if damage := found.get("damage"):
        told = (f"{_sum(damage, key)} {key}" for key in ("injected", "refused", "same", "believed"))
        lines.append(f"damaged files: {', '.join(told)}")
    if inputs := found.get("inputs"):
        told = (f"{_sum(inputs, key)} {key}" for key in ("tried", "tracebacks", "hangs"))
        lines.append(f"inputs: {', '.join(told)}")
    return lines


def tables(found: dict[str, Any]) -> dict[str, str]:
    """The figures as Markdown, part by part."""
    heads = {"folders": "runs", "saved": "of them saved and left with 143", "worse": "anything half or behind"}
    heads["lost"] = "ended differently"
    columns = {
        "kills": ("verb", ("kills", "folders", "saved", "worse", "lost")),
        "storage": ("storage", ("injected", "detected", "recovered", "answer")),
        "damage": ("damage", ("injected", "refused", "same", "believed")),
        "inputs": ("inputs", ("tried", "taken", "refused", "tracebacks", "hangs")),
    }
    made = {}
    for part, (first, names) in columns.items():
        if part not in found:
            continue
        told = (heads.get(name, name) for name in names)
        lines = [f"| {first} | {' | '.join(told)} |", f"|---{'|---' * len(names)}|"]
        for name, entry in _each(found, part):
            cells = (str(entry.get(key, "")).replace("|", "\\|") for key in names)
            lines.append(f"| {name} | {' | '.join(cells)} |")
        made[part] = "\n".join(lines)
    return made


def lost(found: dict[str, Any]) -> list[str]:
    """What must not be."""
    wrong = [f"kills of {name}" for name, entry in _each(found, "kills") if entry["lost"] or entry.get("worse")]
    wrong += [
        name
        for name, entry in _each(found, "storage")
        if not entry["injected"] == entry["detected"] == entry["recovered"]
    ]
    wrong += [f"damage in {name}" for name, entry in _each(found, "damage") if entry["believed"]]
    wrong += [f"inputs: {name}" for name, entry in _each(found, "inputs") if entry["tracebacks"] or entry["hangs"]]
    return wrong + list(found.get("inputs", {}).get("written outside", []))


def _each(found: dict[str, Any], part: str) -> list[tuple[str, dict[str, Any]]]:
    return [(name, entry) for name, entry in found.get(part, {}).items() if isinstance(entry, dict)]


if __name__ == "__main__":
    main()
