"""A model of every family with random weights, wide enough that a step is work and not overhead, and a target of noise."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from diffusers import (
    DDPMScheduler,
    EDMEulerScheduler,
    FlowMatchEulerDiscreteScheduler,
    UNet2DConditionModel,
    UNet2DModel,
)
from PIL import Image

from difftuning.backbones.class_unet import ClassUNet
from difftuning.backbones.edm_unet import EDMUNet
from difftuning.backbones.text_to_image import TextToImage
from difftuning.workflows import recipe
from difftuning.workflows.recipe import Recipe

sys.path.insert(0, str(Path(__file__).parents[2] / "tests"))
import tiny_text

SIDE, CLASSES = 32, 4


def _unet(scheduler: object, folder: Path) -> None:
    network = UNet2DModel(
        sample_size=SIDE,
        block_out_channels=(64, 128),
        down_block_types=("DownBlock2D", "AttnDownBlock2D"),
        up_block_types=("AttnUpBlock2D", "UpBlock2D"),
        num_class_embeds=CLASSES + 1,
    )
    ClassUNet(network, scheduler, names=tuple(map(str, range(CLASSES))), name="unet").save(folder)


def _edm(folder: Path) -> None:
    network = EDMUNet(
        sample_size=SIDE, num_classes=CLASSES, kind="ddpmpp", model_channels=64, channel_mult=(1, 2), num_blocks=2
    )
    ClassUNet(network, EDMEulerScheduler(), names=tuple(map(str, range(CLASSES))), name="edm").save(folder)


def _text(folder: Path) -> None:
    """Stable Diffusion's parts: the narrow encoders and autoencoder of the tests around a wider UNet."""
    pipe = tiny_text.pipeline("sd", folder.with_name("vocabulary"))
    pipe.register_modules(
        unet=UNet2DConditionModel(
            sample_size=SIDE // 2,  # the autoencoder halves the side
            block_out_channels=(64, 128),
            layers_per_block=1,
            down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
            up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
            cross_attention_dim=tiny_text.WIDTH,
            attention_head_dim=8,
        )
    )
    TextToImage(pipe, name="text").save(folder)


@dataclass(frozen=True)
class Family:
    """A row.

    Attributes:
        save: writes the model's folder; None for one of the zoo.
        settings: of the recipe, besides those of all.
    """

    save: Callable[[Path], None] | None
    settings: tuple[str, ...] = ()


FAMILIES = {
    "dit": Family(None, ("model=dit-icons-32", "training.batch_size=32")),  # the batch of its recipes
    "unet": Family(lambda folder: _unet(DDPMScheduler(clip_sample=False), folder)),
    "edm": Family(_edm),
    "flow": Family(lambda folder: _unet(FlowMatchEulerDiscreteScheduler(), folder), ("bank.solver=euler",)),
    "text-to-image": Family(_text),
    "controlnet": Family(_text, ("control={kind: edge}",)),
}


def recipe_of(name: str, folder: Path, *overrides: str) -> Recipe:
    """A recipe over the family's model and 48 pictures in four classes, with captions; both are made where they are not there."""
    family, images, model = FAMILIES[name], folder / "images", folder / "model" / name
    random = np.random.default_rng(0)
    for index in range(0 if images.is_dir() else 48):
        path = images / str(index % CLASSES) / f"{index}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(random.integers(0, 255, (SIDE, SIDE, 3), np.uint8)).save(path)
        path.with_suffix(".txt").write_text(f"picture number {index}\n")
    if family.save is not None and not model.is_dir():
        torch.manual_seed(0)
        family.save(model)
    settings = [
        f"out={folder / name}",
        f"bank_folder={folder / 'banks' / name}",
        f"data.target={images}",
        *([] if family.save is None else [f"model={model}"]),
        "bank={count: 64, solver: dpm++, steps: 2, guidance: 1.0, precision: no}",
        "training={steps: 1000000, save_every: 1000000, precision: no, batch_size: 16}",
        *family.settings,
        *overrides,
    ]
    return recipe.load("own-images", settings)
