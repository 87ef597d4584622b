"""A tiny model of every family and every process, as the conformance suite asks them all the same."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from diffusers import DDPMScheduler, EDMEulerScheduler, FlowMatchEulerDiscreteScheduler, UNet2DModel
from torch import Tensor

from difftuning.backbones.base import Backbone
from difftuning.backbones.class_unet import ClassUNet
from difftuning.backbones.controlnet import Controlled, controlled
from difftuning.backbones.dit import DiT
from difftuning.backbones.edm_unet import EDMUNet
from difftuning.backbones.text_to_image import TextToImage
from difftuning.types import Condition
from tiny import tiny_dit
from tiny_text import PIPELINES, pipeline

SCHEDULERS: dict[str, Callable[[], Any]] = {
    "ddpm": lambda: DDPMScheduler(clip_sample=False),
    "v": lambda: DDPMScheduler(clip_sample=False, prediction_type="v_prediction"),
    "flow": FlowMatchEulerDiscreteScheduler,
    "edm": EDMEulerScheduler,
}
NAMES = ("ant", "bee", "cat")


def unet(classes: int, **options: Any) -> UNet2DModel:
    torch.manual_seed(0)
    return UNet2DModel(
        sample_size=8,
        block_out_channels=(8, 16),
        layers_per_block=1,
        down_block_types=("DownBlock2D", "AttnDownBlock2D"),
        up_block_types=("AttnUpBlock2D", "UpBlock2D"),
        attention_head_dim=8,
        norm_num_groups=4,
        num_class_embeds=classes + 1 if classes else None,
        **options,
    ).eval()


def class_unet(scheduler: str, classes: int = 3) -> ClassUNet:
    return ClassUNet(unet(classes), SCHEDULERS[scheduler](), names=NAMES[:classes] or None, name="tiny")


def edm_unet(kind: str, classes: int = 3) -> ClassUNet:
    torch.manual_seed(0)
    network = EDMUNet(
        sample_size=8, num_classes=classes, kind=kind, model_channels=16, channel_mult=(1, 2), num_blocks=1
    )
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.02 * torch.randn_like(parameter))
    return ClassUNet(network.eval(), EDMEulerScheduler(), names=NAMES[:classes] or None, name="tiny")


def dit(scheduler: str) -> DiT:
    return DiT(tiny_dit(num_classes=3).network, SCHEDULERS[scheduler](), names=NAMES, name="tiny")


def text(name: str, folder: Path) -> TextToImage:
    model = TextToImage(pipeline(name, folder), NAMES, name="tiny")
    model.resize(16)
    return model


def controlnet(name: str, folder: Path, unlocked: bool = False) -> Controlled:
    """Not as it begins: what is zero there is not here."""
    model = controlled(text(name, folder), unlocked, 0)
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in model.network["controlnet"].parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    return model


FAMILIES: dict[str, Callable[[Path], Backbone]] = {
    **{f"dit, {scheduler}": lambda _, scheduler=scheduler: dit(scheduler) for scheduler in SCHEDULERS},
    **{f"unet, {scheduler}": lambda _, scheduler=scheduler: class_unet(scheduler) for scheduler in SCHEDULERS},
    "unet, unconditional": lambda _: class_unet("ddpm", 0),
    "ddpmpp, edm": lambda _: edm_unet("ddpmpp"),
    "ddpmpp, unconditional, edm": lambda _: edm_unet("ddpmpp", 0),
    "adm, edm": lambda _: edm_unet("adm"),
    **{name: lambda folder, name=name: text(name, folder) for name in PIPELINES},
    "sd, controlnet": lambda folder: controlnet("sd", folder),
    "sdxl, controlnet, unlocked": lambda folder: controlnet("sdxl", folder, unlocked=True),
}


def condition(model: Backbone, labels: Tensor) -> Condition:
    """Labels, and for a ControlNet a ramp as the map of each."""
    if not isinstance(model, Controlled):
        return Condition(labels)
    ramp = torch.linspace(0, 1, model.image_size)
    return Condition(labels, ramp.expand(len(labels), 1, model.image_size, -1))
