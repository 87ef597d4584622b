"""A real model, real image files and a small recipe for the verbs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from difftuning.config.loading import dump_recipe
from tiny import save_tiny_dit


@pytest.fixture
def recipe_file(tmp_path: Path) -> Path:
    """A recipe over a tiny DiT and two folders of six coloured squares."""
    model = save_tiny_dit(tmp_path / "model")
    random = np.random.default_rng(0)
    for name, base in (("dark", 40), ("light", 200)):
        (tmp_path / "images" / name).mkdir(parents=True)
        for index in range(6):
            pixels = (base + random.integers(-40, 40, (8, 8, 3))).astype(np.uint8)
            Image.fromarray(pixels).save(tmp_path / "images" / name / f"{index}.png")
    recipe = {
        "name": "test",
        "out": str(tmp_path / "run"),
        "model": str(model),
        "data": {"target": str(tmp_path / "images")},
        "bank": {"count": 12, "steps": 2, "batch_size": 4, "shard_size": 8},
        "coefficients": {"psi": {"kind": "power", "tau": 1}},
        "optim": {"lr": 1e-3},
        "training": {
            "steps": 12,
            "batch_size": 4,
            "log_every": 2,
            "heldout_every": 4,
            "sample_every": 6,
            "save_every": 3,
        },
        "ema": {"decay": 0.9},
        "sampling": {"solver": "ddim", "steps": 2},
        "evaluation": {"samples": 8, "heldout_draws": 8},
        "threads": 1,
    }
    file = tmp_path / "recipe.yaml"
    file.write_text(dump_recipe(recipe))
    return file
