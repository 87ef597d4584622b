"""Write a sample of the formats that this version writes: python tests/formats/make.py tests/formats/FORMAT-OF-CHECKPOINTS

A small run under LoRA with everything that a later version has to read. Samples are made once, when a format is released.
"""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

sys.path.insert(0, str(Path(__file__).parents[1]))

import numpy as np
from PIL import Image

from difftuning.checksums import write_sums
from difftuning.workflows.evaluate import evaluate
from difftuning.workflows.recipe import load
from difftuning.workflows.train import train
from tiny import save_tiny_dit

RECIPE = """
model: model
out: run
data: {target: images, flip: false}
bank: {count: 5, steps: 2, batch_size: 2, shard_size: 3}
tuner: {kind: lora, rank: 1, targets: ["*.to_q"]}
training: {steps: 4, batch_size: 2, log_every: 2, save_every: 2, heldout_every: 2}
ema: {decay: 0.9}
sampling: {steps: 2}
evaluation: {samples: 4, heldout_draws: 2}
threads: 1
"""


def main(out: Path) -> None:
    """Make the run elsewhere, under relative paths, and keep what is read again."""
    with TemporaryDirectory() as folder:
        os.chdir(folder)
        os.environ["DIFFTUNING_CACHE"] = f"{folder}/cache"
        save_tiny_dit(Path("model"))
        for name, grey in (("dark", 40), ("light", 200)):
            (Path("images") / name).mkdir(parents=True)
            for index in range(4):
                Image.fromarray(np.full((8, 8, 3), grey + index, np.uint8)).save(f"images/{name}/{index}.png")
        Path("recipe.yaml").write_text(RECIPE)
        train(load("recipe.yaml", []))
        evaluate(Path("run"))
        left_out = ("model", "samples", "provenance.json", "step-*0002", "README.md", ".*lock")
        shutil.copytree("run", out, ignore=shutil.ignore_patterns(*left_out))
        write_sums(out / "tuner")


if __name__ == "__main__":
    main(Path(sys.argv[1]).absolute())
