"""How the targets of the studies are split: which images are trained on, held out, and left over.

    python benchmarks/splits.py [--out benchmarks/results/splits.json]

`held_out_digest` is the sha256 over the sorted digests of the held-out images, so that anyone can see that they have the same ones.
"""

from __future__ import annotations

import argparse
import hashlib
from pathlib import Path
from typing import Any

from difftuning.config.provenance import provenance
from difftuning.data.cache import cache_folder
from difftuning.data.sources import open_source
from difftuning.data.splits import split
from difftuning.json_files import write_json
from difftuning.reporting.text_table import TextTable
from difftuning.studies.axes import MICRO, TARGETS
from difftuning.workflows.recipe import load


def measure(target: str) -> dict[str, Any]:
    """The numbers of a target."""
    config = load(MICRO, [f"data.target={target}"]).data
    source = open_source(config, 16, cache_folder())
    keys, labels = zip(*((source.key(index), source.label(index)) for index in range(len(source))), strict=True)
    parts = split(keys, labels, config.heldout, config.per_class, config.seed)
    held = "/".join(sorted(keys[index] for index in parts.heldout))
    return {
        "images": len(source),
        "classes": len(source.class_names),
        "trained_on": len(parts.train),
        "held_out": len(parts.heldout),
        "left_over": len(parts.test),
        "held_out_digest": hashlib.sha256(held.encode()).hexdigest(),
    }


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, help="write the numbers there")
    options = parser.parse_args()
    found = {target: measure(target) for target in TARGETS}
    head = ("target", *next(iter(found.values())))
    print(TextTable(head, tuple((name, *map(str, one.values())) for name, one in found.items())).markdown())
    if options.out:
        write_json(options.out, {**provenance(), "recipe": MICRO, "targets": found})


if __name__ == "__main__":
    main()
