"""Measure a zoo model against the icons it was trained on, note it in its card, and draw a sheet to look at.

    python benchmarks/pretrain/judge.py data/icons.parquet MODEL --sheet sheet.png

Distances compare `--count` samples, whose classes are spread over all, with as many training icons: they say how well the model
draws what it has seen, not how it generalises; that is the held-out error in the card's log.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from icon_model import read

from difftuning.backbones.loading import load
from difftuning.evaluation.features import feature_network
from difftuning.evaluation.fidelity import Reference, evaluate
from difftuning.json_files import read_json, write_json
from difftuning.reporting.images import image_grid
from difftuning.types import Condition
from difftuning.workflows.drawing import draw_images, spread
from difftuning.workflows.recipe import SamplingConfig

COLUMNS, LINES = 16, 8


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="the parquet stem that icons.py was given")
    parser.add_argument("model", type=Path)
    parser.add_argument("--count", type=int, default=1024)
    parser.add_argument("--guidance", type=float, default=1.5)
    parser.add_argument("--steps", type=int, default=16)
    parser.add_argument("--sheet", type=Path, default=None)
    options = parser.parse_args()
    model = load(str(options.model))
    images, _, _ = read(options.data.with_stem(f"{options.data.stem}-train"))
    real = images[spread(len(images), options.count)]
    sampling = SamplingConfig(solver="dpm++", steps=options.steps, guidance=options.guidance, precision="auto")
    samples = draw_images(model, Condition(spread(len(model.labels), options.count)), sampling)
    network = feature_network("efficientnet-lite0")
    measures = evaluate(samples, Reference.of(real, network), None, network)
    found = {
        **{name: round(value, 4) for name, value in measures.items()},
        "network": measures.network,
        "samples": options.count,
        "against": "as many training icons",
        "sampling": sampling.model_dump(mode="json"),
        "made_by": "benchmarks/pretrain/judge.py",
    }
    print(json.dumps(found, indent=1))
    card = options.model / "card.json"
    write_json(card, {**read_json(card), "distance": found})
    if options.sheet is not None:
        shown = samples[spread(options.count, COLUMNS * LINES)]
        options.sheet.write_bytes(image_grid(shown, COLUMNS, scale=3))


if __name__ == "__main__":
    main()
