"""`sample`: draw images from a trained run or from any model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from PIL import Image

from difftuning.backbones.loading import load
from difftuning.types import Condition
from difftuning.workflows.display import Display, Silent
from difftuning.workflows.drawing import draw_images, spread
from difftuning.workflows.pretrained import device_of
from difftuning.workflows.recipe import SamplingConfig
from difftuning.workflows.runs import drawn_from, model_of, models_of, recipe_of

NAME_BYTES = 120
"""Of a class or a prompt in the name of a file, which may have 255."""


def sample(
    run: Path,
    out: Path,
    count: int = 16,
    labels: list[str] | None = None,
    steps: int | None = None,
    guidance: float | None = None,
    seed: int | None = None,
    display: Display | None = None,
) -> dict[str, Any]:
    """Write `count` PNG files into `out`, named by item, class and seed; files of the same name are replaced.

    Args:
        run: a run folder, or a model by zoo name, folder or hub name.
        out: a folder, made when needed.
        count: how many.
        labels: class names, used in turn; None takes all classes in turn, or from all over them where they are more than `count`.
        steps: of the solver; None takes the recipe's.
        guidance: 1 is off; None takes the recipe's.
        seed: image i depends on (seed, i) and its class; None takes the recipe's.
        display: shows progress.

    Raises:
        ModelError: a label is not in the model, or there is no such model.
    """
    display = display or Silent()
    is_run = (run / "recipe.yaml").is_file()
    recipe = recipe_of(run) if is_run else None
    config = recipe.sampling if recipe is not None else SamplingConfig()
    changes = {"steps": steps, "guidance": guidance, "seed": seed}
    config = SamplingConfig(
        **{**config.model_dump(), **{key: value for key, value in changes.items() if value is not None}}
    )
    before = None
    if recipe is None:
        backbone = load(str(run))
    elif config.negative is None and config.interpolation is None:
        backbone = model_of(recipe)
    else:
        models = models_of(recipe)
        backbone, before = drawn_from(models, config), models.before
    backbone.to(device_of(recipe.device if recipe is not None else None))
    if labels:
        drawn = backbone.rows(labels)[torch.arange(count) % len(labels)]
    else:
        drawn = (
            spread(len(backbone.labels), count) if len(backbone.labels) else torch.full((count,), backbone.labels.null)
        )
    with display.progress("sample", count) as task:
        images = draw_images(backbone, Condition(drawn), config, task.advance, before)
    out.mkdir(parents=True, exist_ok=True)
    files = []
    for index, (image, row) in enumerate(zip(images, drawn.tolist(), strict=True)):
        known = backbone.labels.names[row] if row < len(backbone.labels) else "image"
        letters = "".join(letter if letter.isalnum() else "-" for letter in known)
        name = letters.encode()[:NAME_BYTES].decode(errors="ignore")
        file = out / f"{index:05d}-{name}-seed{config.seed}.png"
        Image.fromarray(image.permute(1, 2, 0).numpy()).save(file)
        files.append(str(file))
    return {"out": str(out), "count": count, "files": files, "sampling": config.model_dump()}
