"""Codecs: between images and what the diffusion model works on."""

from __future__ import annotations

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from diffusers import AutoencoderKL, AutoencoderTiny
from torch import Tensor, nn

from difftuning.errors import ModelError


class Codec(ABC):
    """Images (B, 3, H, W) in [-1, 1] to latents (B, c, h, w) and back. Frozen, without gradient."""

    @abstractmethod
    def encode(self, images: Tensor) -> Tensor:
        """Latents, scaled as the diffusion model expects them; deterministic (a VAE gives its mean)."""

    @abstractmethod
    def decode(self, latents: Tensor) -> Tensor:
        """Images, clamped to [-1, 1]."""

    @abstractmethod
    def image_size(self, latent_size: int) -> int:
        """The side of the images whose latents have side `latent_size`, in pixels."""

    @abstractmethod
    def digest(self) -> str:
        """A sha256 of what the latents hang on, but for the rounding of a device."""

    @property
    def modules(self) -> list[nn.Module]:
        """What holds its weights."""
        return []

    @property
    def cached_in(self) -> str:
        """The part of a cache where its latents are kept: a kind of device rounds in its own way. Empty for a CPU."""
        return ""

    def to(self, device: torch.device | str) -> Codec:
        """The codec on another device."""
        return self


class IdentityCodec(Codec):
    """A pixel model's codec: the latents are the images."""

    def encode(self, images: Tensor) -> Tensor:
        """The images themselves."""
        return images

    def decode(self, latents: Tensor) -> Tensor:
        """The latents, clamped to [-1, 1]."""
        return latents.clamp(-1, 1)

    def image_size(self, latent_size: int) -> int:
        """The same side."""
        return latent_size

    def digest(self) -> str:
        """A constant: there is nothing to change."""
        return hashlib.sha256(b"identity").hexdigest()


class VAECodec(Codec):
    """A diffusers autoencoder: `AutoencoderKL`, or `AutoencoderTiny` for speed.

    Latents are `(mean - shift) * scale`, with shift and scale from the autoencoder's own config, never from a constant here;
    where it lists a mean and a standard deviation a channel, these stand in the place of the shift and in the scale.
    """

    def __init__(self, vae: Any) -> None:
        self.vae = vae.eval().requires_grad_(False)
        self._config: Mapping[str, Any] = vae.config
        scale, shift = float(self._config.get("scaling_factor") or 1.0), float(self._config.get("shift_factor") or 0.0)
        mean, std = self._config.get("latents_mean"), self._config.get("latents_std")
        if mean is not None and std is not None:
            self._scale, self._shift = scale / _a_channel(std), _a_channel(mean)
        else:
            self._scale, self._shift = torch.tensor(scale), torch.tensor(shift)

    @torch.no_grad()
    def encode(self, images: Tensor) -> Tensor:
        """The mean of the posterior (the tiny autoencoder has no other), shifted and scaled."""
        encoded = self.vae.encode(images.to(self.vae.device, self.vae.dtype))
        mean = (encoded.latent_dist.mode() if isinstance(self.vae, AutoencoderKL) else encoded.latents).float()
        latents: Tensor = (mean - self._shift.to(mean.device)) * self._scale.to(mean.device)
        return latents

    @torch.no_grad()
    def decode(self, latents: Tensor) -> Tensor:
        """Images of the latents, clamped to [-1, 1], where the autoencoder is."""
        images: Tensor = self.vae.decode(
            (latents / self._scale.to(latents.device) + self._shift.to(latents.device)).to(
                self.vae.device, self.vae.dtype
            )
        ).sample
        return images.float().clamp(-1, 1)

    def image_size(self, latent_size: int) -> int:
        """The latent side times the autoencoder's stride."""
        blocks = self._config.get("block_out_channels") or self._config.get("encoder_block_out_channels") or (0,)
        return int(latent_size * 2 ** (len(blocks) - 1))

    def digest(self) -> str:
        """Of the weights and the config."""
        return digest_module(self.vae, self._config)

    @property
    def modules(self) -> list[nn.Module]:
        """The autoencoder."""
        return [self.vae]

    @property
    def cached_in(self) -> str:
        """The kind of device, where it is no CPU."""
        kind: str = self.vae.device.type
        return "" if kind == "cpu" else kind

    def to(self, device: torch.device | str) -> Codec:
        """The autoencoder on another device."""
        self.vae.to(device)
        return self


def _a_channel(values: Sequence[float]) -> Tensor:
    """(C, 1, 1) float32."""
    return torch.tensor(values, dtype=torch.float32)[:, None, None]


def digest_module(module: nn.Module, config: Mapping[str, Any]) -> str:
    """The sha256 of a module's weights (as float32) and its config, independent of where and how it is stored."""
    total = hashlib.sha256()
    kept = {key: value for key, value in sorted(config.items()) if not key.startswith("_")}
    total.update(json.dumps(kept, default=str, sort_keys=True).encode())
    for name, tensor in sorted(module.state_dict().items()):
        total.update(name.encode())
        values = tensor.detach().cpu()
        total.update((values.float() if values.is_floating_point() else values).contiguous().numpy().tobytes())
    return total.hexdigest()


def make_codec(vae: nn.Module | None) -> Codec:
    """The codec of a pipeline's `vae` part; a pipeline without one works on pixels.

    Raises:
        ModelError: the autoencoder is of a class that is not supported.
    """
    if vae is None:
        return IdentityCodec()
    if isinstance(vae, AutoencoderKL | AutoencoderTiny):
        return VAECodec(vae)
    raise ModelError(f"the autoencoder {type(vae).__name__} is not supported; use AutoencoderKL or AutoencoderTiny")
