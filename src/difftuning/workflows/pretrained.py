"""The model that a recipe starts from."""

from __future__ import annotations

import torch

from difftuning.backbones.base import Backbone
from difftuning.backbones.controlnet import Controlled, controlled
from difftuning.backbones.loading import load
from difftuning.backbones.prompts import TextConfig
from difftuning.backbones.text_to_image import TextToImage
from difftuning.data.cache import cache_folder
from difftuning.data.embeddings import EmbeddingFiles
from difftuning.errors import ConfigError, ModelError
from difftuning.noise.clock import build_clock
from difftuning.processes import present
from difftuning.workflows.device_memory import left, place
from difftuning.workflows.recipe import Recipe


def pretrained(recipe: Recipe, device: torch.device | None = None) -> Backbone:
    """The model as it was published, on a device or on the one that the recipe says, with its own labels.

    Raises:
        ConfigError: the device cannot hold it.
    """
    if recipe.threads is not None:
        torch.set_num_threads(recipe.threads)
    model = configured(load(recipe.model), recipe)
    model.ask_under(recipe.bank.prompts)
    place(model, there := device or device_of(recipe.device), left(there), bool(recipe.training.offload))
    if isinstance(model, TextToImage):
        model.embeddings.store = EmbeddingFiles(cache_folder(), model.prompt_digest())
    return model


def configured(model: Backbone, recipe: Recipe) -> Backbone:
    """A model, told what the recipe says of its text, its law of t and its size.

    Raises:
        ModelError: it cannot be told so.
        ConfigError: the law is none of its process, or a tuner is to train a ControlNet.
    """
    model.configure(recipe.text or TextConfig())
    if recipe.clock is not None:
        model.clock = build_clock(recipe.clock, model.process)
    if recipe.resolution is not None:
        model.resize(recipe.resolution)
    if recipe.control is not None and recipe.tuner.kind != "full":
        raise ConfigError(
            f"a ControlNet trains as a whole, and tuner.kind={recipe.tuner.kind} would not; set it to full"
        )
    if recipe.control is not None:
        return controlled(model, recipe.control.unlocked, recipe.seed)
    if isinstance(model, Controlled):
        raise ModelError(
            f"{model.name} has a ControlNet; say in the recipe what it is told, for instance control.kind=edge"
        )
    return model


def device_of(name: str | None) -> torch.device:
    """The device of that name, or the best there is; of several processes each has its own.

    Raises:
        ConfigError: there is no such device, or it is none of this process.
    """
    if (own := present().device) is not None and name in (None, own.type):
        return own
    there = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if name is None:
        return torch.device("cuda" if there["cuda"] else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as reason:
        raise ConfigError(
            f"device {name!r} is none that PyTorch knows; use cpu, cuda, cuda:1, mps, or null"
        ) from reason
    if not there.get(device.type, True):
        raise ConfigError(f"device {name!r}: PyTorch finds no such device here; use cpu, or null for the best there is")
    if own is not None:
        raise ConfigError(f"device={name}, and each of the processes has one of its own, here {own}; set it to null")
    if device.type == "cuda" and device.index is not None:
        torch.cuda.set_device(device)  # what asks for "the GPU" means this one: clocks, and who says where it ran
    return device
