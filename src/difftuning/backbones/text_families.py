"""How each text-to-image family is asked: one row a pipeline class of diffusers, whose own `encode_prompt` makes the embeddings."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor

from difftuning.backbones.prompts import Embedding
from difftuning.errors import ModelError
from difftuning.noise.clock import Clock, LogitNormal


@dataclass(frozen=True, slots=True)
class Asked:
    """What a network is asked.

    Attributes:
        x: (B, C, H, W) its input.
        time: (B,) its timestep.
        prompt: B embeddings, on its device.
        image_size: the side of the image in pixels.
        distilled_guidance: for networks that were distilled from guided ones, the scale that they are told.
    """

    x: Tensor
    time: Tensor
    prompt: Embedding
    image_size: int
    distilled_guidance: float


@dataclass(frozen=True, slots=True)
class Family:
    """A row.

    Attributes:
        network: the part of the pipeline that is trained.
        encode: a pipeline and a prompt to its embedding.
        ask: a network's answer.
        shape: of one latent, from the network's config.
        clock: the law of t that its flow models are trained by, from the scheduler's config; None for the usual one.
        divisor: what the sides of its latents are multiples of, from the network's config.
        most: the longest side of its latents, from the network's config; None for no limit.
        tokens: of a prompt, where that is not what its tokenizers say.
        words: what a UNet and its ControlNet are told of the prompt; None where there are no ControlNets for it here.
    """

    network: str
    encode: Callable[[Any, str], Embedding]
    ask: Callable[[Any, Asked], Tensor]
    shape: Callable[[Mapping[str, Any]], tuple[int, int, int]]
    clock: Callable[[Mapping[str, Any]], Clock] | None = None
    divisor: Callable[[Mapping[str, Any]], int] = lambda config: int(config["patch_size"])
    most: Callable[[Mapping[str, Any]], int] | None = None
    tokens: int | None = None
    words: Callable[[Asked], dict[str, Any]] | None = None


def _halvings(config: Mapping[str, Any]) -> int:
    """A UNet halves the side between its levels."""
    return int(2 ** (len(config["block_out_channels"]) - 1))


def _square(config: Mapping[str, Any]) -> tuple[int, int, int]:
    size = config["sample_size"]
    height, width = (size, size) if isinstance(size, int) else size
    if height != width:
        raise ModelError(f"the network is for samples of {height} x {width}, and only square ones are trained")
    return int(config["in_channels"]), int(height), int(width)


def _sd_encode(pipe: Any, prompt: str) -> Embedding:
    states, _ = pipe.encode_prompt(prompt, pipe.text_encoder.device, 1, False)
    return Embedding(states[0])


def _sd_words(asked: Asked) -> dict[str, Any]:
    return {"encoder_hidden_states": asked.prompt.states}


def _sd_ask(unet: Any, asked: Asked) -> Tensor:
    answer: Tensor = unet(asked.x, asked.time, **_sd_words(asked), return_dict=False)[0]
    return answer


def _sdxl_encode(pipe: Any, prompt: str) -> Embedding:
    device = (pipe.text_encoder or pipe.text_encoder_2).device
    states, _, pooled, _ = pipe.encode_prompt(prompt, device=device, do_classifier_free_guidance=False)
    if prompt == "" and pipe.config.force_zeros_for_empty_prompt:
        # What the published weights were trained with for no prompt, and what their pipeline guides away from.
        states, pooled = torch.zeros_like(states), torch.zeros_like(pooled)
    return Embedding(states[0], pooled[0])


def _sdxl_words(asked: Asked) -> dict[str, Any]:
    # Its micro-conditions: an image that is not cropped and has the size it is drawn at (Podell et al. 2023, section 2.2).
    side = asked.image_size
    times = torch.tensor([[side, side, 0, 0, side, side]], device=asked.x.device, dtype=asked.x.dtype)
    added = {"text_embeds": asked.prompt.pooled, "time_ids": times.expand(len(asked.x), -1)}
    return {"encoder_hidden_states": asked.prompt.states, "added_cond_kwargs": added}


def _sdxl_ask(unet: Any, asked: Asked) -> Tensor:
    answer: Tensor = unet(asked.x, asked.time, **_sdxl_words(asked), return_dict=False)[0]
    return answer


def _pixart_encode(pipe: Any, prompt: str) -> Embedding:
    states, mask, _, _ = pipe.encode_prompt(prompt, False, device=pipe.text_encoder.device)
    return Embedding(states[0], mask=mask[0])


def _pixart_ask(transformer: Any, asked: Asked) -> Tensor:
    added: dict[str, Tensor | None] = {"resolution": None, "aspect_ratio": None}
    if transformer.use_additional_conditions:  # those of 1024 pixels
        size = asked.x.new_full((len(asked.x), 2), asked.image_size)
        added = {"resolution": size, "aspect_ratio": torch.ones_like(size[:, :1])}
    answer: Tensor = transformer(
        asked.x,
        encoder_hidden_states=asked.prompt.states,
        encoder_attention_mask=asked.prompt.mask,
        timestep=asked.time,
        added_cond_kwargs=added,
        return_dict=False,
    )[0]
    return answer


def _sd3_encode(pipe: Any, prompt: str) -> Embedding:
    device = pipe.text_encoder.device
    states, _, pooled, _ = pipe.encode_prompt(prompt, None, None, device=device, do_classifier_free_guidance=False)
    return Embedding(states[0], pooled[0])


def _sd3_ask(transformer: Any, asked: Asked) -> Tensor:
    answer: Tensor = transformer(
        hidden_states=asked.x,
        timestep=asked.time,
        encoder_hidden_states=asked.prompt.states,
        pooled_projections=asked.prompt.pooled,
        return_dict=False,
    )[0]
    return answer


def _shifted(config: Mapping[str, Any]) -> Clock:
    """Esser et al. 2024: logit-normal, then shifted to the resolution as the scheduler is."""
    return LogitNormal(shift=float(config.get("shift") or 1.0))


def _flux_encode(pipe: Any, prompt: str) -> Embedding:
    states, pooled, _ = pipe.encode_prompt(prompt, None, device=pipe.text_encoder.device)
    return Embedding(states[0], pooled[0])


def _flux_ask(transformer: Any, asked: Asked) -> Tensor:
    """Squares of 2 by 2 latents are tokens, whose place rotary embeddings are told."""
    size, channels, height, width = asked.x.shape
    tokens = asked.x.view(size, channels, height // 2, 2, width // 2, 2).permute(0, 2, 4, 1, 3, 5)
    rows, columns = torch.meshgrid(torch.arange(height // 2), torch.arange(width // 2), indexing="ij")
    places = torch.stack([torch.zeros_like(rows), rows, columns], dim=-1).view(-1, 3).to(asked.x)
    guidance = None
    if transformer.config.guidance_embeds:
        guidance = torch.full((size,), asked.distilled_guidance, device=asked.x.device, dtype=asked.x.dtype)
    answer: Tensor = transformer(
        hidden_states=tokens.reshape(size, -1, 4 * channels),
        timestep=asked.time / 1000,  # it multiplies by a thousand itself
        guidance=guidance,
        encoder_hidden_states=asked.prompt.states,
        pooled_projections=asked.prompt.pooled,
        img_ids=places,
        txt_ids=asked.x.new_zeros(asked.prompt.states.shape[1], 3),
        return_dict=False,
    )[0]
    squares = answer.view(size, height // 2, width // 2, channels, 2, 2).permute(0, 3, 1, 4, 2, 5)
    return squares.reshape(size, channels, height, width)


def _flux_shape(config: Mapping[str, Any]) -> tuple[int, int, int]:
    """128 is what its pipeline takes by default; its config does not say."""
    return int(config["in_channels"]) // 4, 128, 128


_SD = Family("unet", _sd_encode, _sd_ask, _square, divisor=_halvings, words=_sd_words)
_SDXL = Family("unet", _sdxl_encode, _sdxl_ask, _square, divisor=_halvings, words=_sdxl_words)
KINDS: Mapping[str, Family] = MappingProxyType(
    {
        "StableDiffusionPipeline": _SD,
        "StableDiffusionControlNetPipeline": _SD,
        "StableDiffusionXLPipeline": _SDXL,
        "StableDiffusionXLControlNetPipeline": _SDXL,
        "PixArtAlphaPipeline": Family("transformer", _pixart_encode, _pixart_ask, _square, tokens=120),
        "PixArtSigmaPipeline": Family("transformer", _pixart_encode, _pixart_ask, _square, tokens=300),
        "StableDiffusion3Pipeline": Family(
            "transformer",
            _sd3_encode,
            _sd3_ask,
            _square,
            _shifted,
            most=lambda config: int(config["pos_embed_max_size"] * config["patch_size"]),
            tokens=256,
        ),
        "FluxPipeline": Family(
            "transformer",
            _flux_encode,
            _flux_ask,
            _flux_shape,
            clock=lambda config: LogitNormal(),
            divisor=lambda config: 2,
            tokens=512,
        ),
    }
)
"""Pipeline class of diffusers to how it is asked."""
