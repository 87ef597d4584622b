"""`sample`: draw images from a trained run or from any model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from difftuning.atomic import write_bytes
from difftuning.backbones.base import Backbone
from difftuning.backbones.loading import load
from difftuning.backbones.solvers import usual_solver
from difftuning.data.sources import DataConfig
from difftuning.data.target_maps import read_maps
from difftuning.errors import ModelError, StorageError
from difftuning.processes import present
from difftuning.reporting.images import as_png
from difftuning.types import Condition
from difftuning.workflows.controls import UnderMaps
from difftuning.workflows.device_memory import left, place
from difftuning.workflows.display import Display, Silent
from difftuning.workflows.drawing import Conditions, draw_images, spread
from difftuning.workflows.pretrained import device_of
from difftuning.workflows.recipe import SamplingConfig
from difftuning.workflows.runs import drawn_from, model_of, models_of, open_run, recipe_of

KIND = "normal"
"""How maps from files are read where nobody says of which kind they are: in colour, and averaged when they are made smaller."""
NAME_BYTES = 120
"""Of a class or a prompt in the name of a file, which may have 255."""


def sample(
    run: Path | str,
    out: Path | str,
    count: int = 16,
    labels: list[str] | None = None,
    steps: int | None = None,
    guidance: float | None = None,
    seed: int | None = None,
    display: Display | None = None,
    control: Path | None = None,
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
        control: for ControlNets, a map or a folder of maps, used in turn; None takes those of a run's held-out images, with their
            prompts where `labels` names none.

    Raises:
        ModelError: a label is not in the model, there is no such model, or it takes no control or needs one.
        CheckpointError: the run is not finished, or its model is not what was written.
    """
    run, out, display = Path(run), Path(out), display or Silent()
    # Neither a name of the zoo nor OWNER/NAME of the hub, which is not asked then.
    if not run.exists() and (len(run.parts) > 2 or (len(run.parts) == 2 and any(run.parent.glob("*/recipe.yaml")))):
        raise ModelError(f"there is no run or model folder {run}; `difftuning train` makes a run")
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
        config = config.model_copy(update={"solver": usual_solver(backbone.scheduler_config)})
    elif config.negative is None and config.interpolation is None:
        backbone = model_of(recipe)
    else:
        models = models_of(recipe)
        backbone, before = drawn_from(models, config), models.before
    device = device_of(recipe.device if recipe is not None else None)
    place(backbone, device, left(device), recipe is None or bool(recipe.training.offload))
    if labels:
        drawn = backbone.rows(labels)[torch.arange(count) % len(labels)]
    else:
        drawn = (
            spread(len(backbone.labels), count) if len(backbone.labels) else torch.full((count,), backbone.labels.null)
        )
    if backbone.takes_control:
        conditions: Conditions = _controlled(backbone, run if is_run else None, drawn, labels, control)
        drawn = conditions[0:count].labels
    elif control is not None:
        raise ModelError(f"{backbone.name} has no ControlNet, so it takes no control; leave --control out")
    else:
        conditions = Condition(drawn)
    present().on_main(lambda: _folder(out))  # before anything is drawn that could not be written
    with display.progress("sample", count) as task:
        images = draw_images(backbone, conditions, config, task.advance, before)
    files = present().on_main(lambda: _save(images, drawn, backbone, out, config.seed))
    return {"out": str(out), "count": count, "files": files, "sampling": config.model_dump()}


def _folder(out: Path) -> None:
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as reason:
        raise StorageError(f"the folder {out} cannot be made ({reason}); choose another --out") from reason


def _save(images: Tensor, drawn: Tensor, backbone: Backbone, out: Path, seed: int) -> list[str]:
    """Write (N, 3, H, W) uint8 images, named by their class or prompt; returns the files."""
    files = []
    for index, (image, row) in enumerate(zip(images, drawn.tolist(), strict=True)):
        known = backbone.labels.names[row] if row < len(backbone.labels) else "image"
        letters = "".join(letter if letter.isalnum() else "-" for letter in known)
        name = letters.encode()[:NAME_BYTES].decode(errors="ignore")
        file = out / f"{index:05d}-{name}-seed{seed}.png"
        write_bytes(file, as_png(Image.fromarray(image.permute(1, 2, 0).numpy())))
        files.append(str(file))
    return files


def _controlled(
    model: Backbone, run: Path | None, drawn: Tensor, labels: list[str] | None, control: Path | None
) -> Conditions:
    """The labels under maps from files, or else under those of a run's held-out images."""
    if control is not None:
        told = None if run is None else recipe_of(run).control
        kind = KIND if told is None else told.kind
        maps = read_maps(control, kind, model.image_size, DataConfig().max_pixels)
        return UnderMaps(drawn, maps, torch.arange(len(drawn)) % len(maps))
    opened = open_run(run) if run is not None else None
    if opened is None or opened.controls is None:
        raise ModelError(
            f"{model.name} has a ControlNet; say what it is told: --control with a map or a folder of maps"
        )
    places = spread(len(opened.controls.heldout), len(drawn))
    prompts = [opened.target.class_names[label] for label in opened.target.heldout.labels[places].tolist()]
    return UnderMaps(drawn if labels else model.rows(prompts), opened.controls.heldout, places)
