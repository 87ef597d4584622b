"""Drawing images from a model by a recipe's sampling settings."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor

from difftuning.backbones.base import Backbone
from difftuning.backbones.codec import IdentityCodec
from difftuning.backbones.solvers import make_scheduler
from difftuning.errors import ConfigError
from difftuning.evaluation.features import to_uint8
from difftuning.processes import present
from difftuning.sampling.denoiser import Clipped, Unconditional
from difftuning.sampling.domain_guidance import DomainGuidance
from difftuning.sampling.guidance import guided
from difftuning.sampling.loop import sample
from difftuning.sampling.seeds import generators, sample_noise
from difftuning.types import Condition, Denoiser
from difftuning.workflows.at_once import AtOnce
from difftuning.workflows.recipe import SamplingConfig

DECODED = 16
"""Latents of up to 512 pixels that an autoencoder decodes at once: images take far more memory than latents."""


def clip_of(backbone: Backbone, clip: float | None) -> float | None:
    """The range of the clean estimate: as set, else 1 for a pixel model and none for latents."""
    return 1.0 if clip is None and isinstance(backbone.codec, IdentityCodec) else clip


def denoiser_of(
    backbone: Backbone, config: SamplingConfig, guidance: float | None = None, before: Backbone | None = None
) -> Denoiser:
    """The model as samplers see it.

    Args:
        backbone: what is sampled.
        config: its guidance, clipping and precision.
        guidance: takes the place of the recipe's scale.
        before: the pretrained model, which `negative: pretrained` needs.

    Raises:
        ConfigError: it is needed and not there.
    """
    scale, clip = config.guidance if guidance is None else guidance, clip_of(backbone, config.clip)
    if not len(backbone.labels) and config.negative is None:
        scale = 1.0  # under nothing there is nothing to guide, but away from the pretrained model
    if config.negative is None or scale == 1:
        return guided(backbone, backbone.labels.null, scale, clip, config.precision)
    if before is None:
        raise ConfigError("sampling.negative=pretrained needs the pretrained model beside a run; set it to null here")
    ours, theirs = (guided(model, model.labels.null, 1, None, config.precision) for model in (backbone, before))
    denoiser = DomainGuidance(ours, Unconditional(theirs, before.labels.null), scale)
    return denoiser if clip is None else Clipped(denoiser, clip)


def spread(size: int, count: int) -> Tensor:
    """(count,) int64 indices from all over 0 ... size - 1 in ascending order; in turn where there are fewer than `count`."""
    if count <= size:
        return torch.linspace(0, size - 1, count, dtype=torch.float64).long()
    return torch.arange(count) % size


def at_once(side: int) -> int:
    """How many latents of images of so many pixels are decoded at once."""
    return max(1, min(DECODED, DECODED * 512**2 // side**2))


@torch.no_grad()
def images_of(backbone: Backbone, latents: Tensor, decoded: AtOnce | None = None) -> Tensor:
    """Latents (N, C, H, W) on any device as images (N, 3, H, W) uint8 on the CPU, decoded a few at a time.

    Args:
        backbone: whose codec decodes them.
        latents: at least one.
        decoded: how many at a time, where a device has shown before how many it can; None for the usual number.
    """

    def decode(start: int, stop: int) -> Tensor:
        return to_uint8(backbone.codec.decode(latents[start:stop].to(backbone.device))).cpu()

    # An autoencoder may answer with its channels last in memory, which files of tensors refuse.
    return (decoded or AtOnce(at_once(backbone.image_size))).of(len(latents), decode).contiguous()


class Conditions(Protocol):
    """What images are drawn under; a `Condition` is one."""

    def __len__(self) -> int:
        """How many."""
        ...

    def __getitem__(self, index: slice, /) -> Condition:
        """Some of them."""
        ...


@torch.no_grad()
def draw_images(
    backbone: Backbone,
    conditions: Conditions,
    config: SamplingConfig,
    progress: Callable[[int], None] = lambda done: None,
    before: Backbone | None = None,
) -> Tensor:
    """One image for each condition, (N, 3, H, W) uint8; image i depends on (seed, i, condition i) alone.

    Where a device's memory runs out, the same images are drawn by smaller batches.

    Args:
        backbone: drawn from; its mode comes back.
        conditions: N of them, rows of its class table.
        config: solver, steps and their spacing, guidance, seed.
        progress: told how many images each batch brought.
        before: the pretrained model, for `negative: pretrained`.

    Raises:
        ConfigError: see `denoiser_of`.
    """
    denoiser = denoiser_of(backbone, config, before=before)
    scheduler = make_scheduler(config.solver, backbone.scheduler_config, config.spacing)
    was_training = backbone.network.training
    backbone.network.eval()
    told = 0
    asked, decoded = AtOnce(config.batch_size), AtOnce(at_once(backbone.image_size))

    def drawn(start: int, stop: int) -> Tensor:
        nonlocal told
        part, indices = conditions[start:stop].to(backbone.device), range(start, stop)
        noise = sample_noise(config.seed, indices, backbone.sample_shape).to(backbone.device)
        latents = sample(
            denoiser,
            backbone.process,
            scheduler,
            part,
            noise,
            config.steps,
            generators(config.seed, indices),
        )
        # Of several processes each tells of its own batches, and by their places how far all are.
        progress(stop - told)
        told = stop
        return images_of(backbone, latents, decoded)

    def batch(start: int) -> Tensor:
        count = min(config.batch_size, len(conditions) - start)
        return asked.of(count, lambda first, last: drawn(start + first, start + last))

    images = present().each(range(0, len(conditions), config.batch_size), batch)
    backbone.network.train(was_training)
    return torch.cat(images)
