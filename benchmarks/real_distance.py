"""How far real images of a target are from its held-out ones: what the distances of the studies can come down to.

    python benchmarks/real_distance.py [--out benchmarks/results/real_distance.json]

Judged as the runs of the studies `targets` (16 pixels) and `headline` (32) are, as many images against the same held-out ones:
`unseen`, images that `data.per_class` leaves over, drawn three times; `copies`, the training images over and over, which a model
that has learned nothing but these would draw. A Frechet distance over n images is biased upwards, so that of unseen images is far
from 0.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from torch import Tensor

from difftuning.config.provenance import provenance
from difftuning.evaluation import fidelity
from difftuning.reporting.tables import pivot
from difftuning.results import Row, write_results
from difftuning.studies.axes import MICRO, SEEDS, TARGETS
from difftuning.workflows.assemble import target_of
from difftuning.workflows.judge import Judge
from difftuning.workflows.pretrained import pretrained
from difftuning.workflows.recipe import load

MODELS = ("dit-photo-16", "dit-photo-32")
"""Their size is that of the images."""
METRICS = ("frechet", "kid", "precision", "recall", "memorised")


def drawn(images: Tensor, count: int, seed: int) -> Tensor:
    """`count` of the images without one standing twice before all have stood once."""
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(seed))
    return images[order[torch.arange(count) % len(images)]]


def measure(target: str, model: str) -> list[Row]:
    """The rows of a target."""
    recipe = load(MICRO, [f"data.target={target}", f"model={model}"])
    images, _ = target_of(recipe, pretrained(recipe))
    judge = Judge(recipe, images)
    assert images.test is not None  # all targets have more than `data.per_class`
    unseen, copies = images.pictures(images.test), images.pictures(images.train)
    count = min(recipe.evaluation.samples, len(unseen))
    rows = []
    for seed in SEEDS:
        for method, pictures in (("unseen", unseen), ("copies", copies)):
            found = fidelity.evaluate([drawn(pictures, count, seed)], judge.heldout, judge.training, judge.network)
            made = [judge.row(method, metric, found[metric], 0, {"model": model}) for metric in METRICS]
            rows += [row.model_copy(update={"seed": seed, "n": count, "study": "real_distance"}) for row in made]
    print(
        model,
        target,
        len(unseen),
        "unseen,",
        len(copies),
        "training,",
        len(judge.heldout.features),
        "held out",
        flush=True,
    )
    return rows


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, help="write the rows there")
    options = parser.parse_args()
    rows = [row for model in MODELS for target in TARGETS for row in measure(target, model)]
    for model in MODELS:
        print(f"{model}\n{pivot([row for row in rows if row.setting['model'] == model], METRICS).markdown()}")
    if options.out:
        written = provenance()
        write_results(options.out, rows, written["machine"], written["commit"], {"recipe": MICRO})


if __name__ == "__main__":
    main()
