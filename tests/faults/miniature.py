"""A recipe at miniature size: a tiny DiT, two folders of coloured squares, and everything small enough to be killed often."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from difftuning.config.loading import dump_recipe
from tiny import save_tiny_dit


def write_miniature(folder: Path, images: int = 12) -> Path:
    """Model, images and recipe; returns the recipe's file. Runs go where the override `out` says."""
    model = save_tiny_dit(folder / "model")
    random = np.random.default_rng(0)
    for name, base in (("dark", 40), ("light", 200)):
        (folder / "images" / name).mkdir(parents=True)
        for index in range(images // 2):
            pixels = (base + random.integers(-40, 40, (8, 8, 3))).astype(np.uint8)
            Image.fromarray(pixels).save(folder / "images" / name / f"{index:03d}.png")
    recipe = {
        "model": str(model),
        "data": {"target": str(folder / "images")},
        "bank": {"count": 21, "steps": 2, "batch_size": 2, "shard_size": 4},
        "coefficients": {"psi": {"kind": "power", "tau": 1}},
        "optim": {"lr": 1e-3},
        "training": {"steps": 40, "batch_size": 4, "log_every": 5, "heldout_every": 20, "save_every": 10},
        "ema": {"decay": 0.9},
        "sampling": {"solver": "ddim", "steps": 2},
        "evaluation": {"samples": 4, "heldout_draws": 4},
        "threads": 1,
    }
    file = folder / "recipe.yaml"
    file.write_text(dump_recipe(recipe))
    return file


def write_stream(folder: Path) -> Path:
    """A stream of the two halves of such a recipe's images, dark and light, in few steps; returns its file."""
    recipe = write_miniature(folder)
    for name in ("dark", "light"):
        (folder / name).mkdir()
        (folder / "images" / name).rename(folder / name / name)
    phases = [{"name": name, "changes": [f"data.target={folder / name}"]} for name in ("dark", "light")]
    changes = [
        "training.steps=6",
        "training.save_every=2",
        "training.heldout_every=3",
        "bank.count=10",
        "data.heldout=2",
    ]
    stream = {"name": "small", "recipe": str(recipe), "changes": changes, "phases": phases}
    (folder / "stream.yaml").write_text(dump_recipe(stream))
    return folder / "stream.yaml"
