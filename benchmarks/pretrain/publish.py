"""Copy the model of a finished, evaluated run in fp16, with a card that says what it was made from.

    python benchmarks/pretrain/publish.py RUN OUT --source "ImageNet, 200 classes at 32x32: for research" --about "..."

The card holds the recipe, the data, the licence, the loss and the held-out error while training, and the distances.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch

from difftuning.json_files import MetricsLog, write_json
from difftuning.results import read_rows
from difftuning.run_folder import RunFolder
from difftuning.workflows.runs import open_run

DISTANCES = ("frechet", "fid", "kid", "precision", "recall", "memorised")


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--source", action="append", required=True, help="a data source and its licence")
    parser.add_argument("--about", required=True, help="what the model draws, as looked at")
    options = parser.parse_args()
    run = open_run(options.run)
    run.model.save(options.out, dtype=torch.float16)
    folder = RunFolder(options.run)
    records = MetricsLog(folder.metrics).read().records
    measured = [row for row in read_rows(folder.results) if row.metric in DISTANCES]
    # Where the files lay says nothing to anybody else.
    recipe = run.recipe.model_dump(mode="json", exclude={"out": True, "bank_folder": True, "data": {"target"}})
    card = {
        "name": options.out.name,
        "about": options.about,
        "data": {
            "sources": options.source,
            "images": len(run.target.train),
            "held out": len(run.target.heldout),
            "classes": len(run.model.labels),
        },
        "parameters": sum(value.numel() for value in run.model.network.parameters()),
        "recipe": {key: value for key, value in recipe.items() if key != "model"},
        "log": {
            name: [[record["step"], round(record[name], 5)] for record in records if name in record]
            for name in ("loss", "heldout")
        },
        "distance": {
            **{row.metric: round(row.value, 4) for row in measured},
            "network": measured[0].network,
            "samples": measured[0].n,
            "against": "held-out images",
        },
    }
    write_json(options.out / "card.json", card)


if __name__ == "__main__":
    main()
