"""What every model family offers to the rest of the library."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from difftuning.backbones.codec import Codec
from difftuning.backbones.labels import LabelChange, LabelSpace, check_labels
from difftuning.noise.clock import Clock
from difftuning.noise.prediction import Prediction
from difftuning.noise.process import NoiseProcess
from difftuning.types import Condition


class Backbone(ABC):
    """A pretrained diffusion model with all that is needed to train and sample it. It is a `difftuning.types.Network`.

    Attributes:
        name: where it was loaded from, for cards and messages.
        network: the module to train.
        process: how its data are corrupted.
        prediction: what it predicts.
        clock: its training law of t.
        codec: between images and its latents.
        labels: its classes.
        sample_shape: (C, H, W) of one latent.
        scheduler_config: the diffusers scheduler config it came with.
        learned_variance: its answer carries C further channels with a variance.
        class_table: the name of the parameter whose rows are its classes.
    """

    name: str
    network: nn.Module
    process: NoiseProcess
    prediction: Prediction
    clock: Clock
    codec: Codec
    labels: LabelSpace
    sample_shape: tuple[int, int, int]
    scheduler_config: dict[str, Any]
    learned_variance: bool
    class_table: str

    @abstractmethod
    def __call__(self, x_t: Tensor, t: Tensor, condition: Condition, /) -> Tensor:
        """The raw answer y: x_t (B, C, H, W), t (B,) -> (B, C or 2C, H, W)."""

    @abstractmethod
    def change_labels(self, change: LabelChange, target: tuple[str, ...]) -> Tensor:
        """Bring the label space to the target's, in place; returns (K,) int64, the row of each target class."""

    def check_labels(self, change: LabelChange, target: tuple[str, ...]) -> None:
        """Raise the `ModelError` that `change_labels` would, and change nothing."""
        check_labels(change, self.labels, target)

    @abstractmethod
    def digest(self) -> str:
        """The sha256 of the weights and the config: the identity that bank cards compare."""

    @abstractmethod
    def save(self, folder: Path, dtype: torch.dtype = torch.float32) -> None:
        """Write a folder that plain diffusers and `difftuning.load` read."""

    def skeleton(self) -> nn.Module:
        """A network of the same parts on the meta device, without weights: to try on what only asks for names and shapes."""
        made: Any = type(self.network)
        with torch.device("meta"):
            network: nn.Module = made.from_config(cast("Any", self.network).config)
        return network

    @property
    def image_size(self) -> int:
        """The side of its images in pixels."""
        return self.codec.image_size(self.sample_shape[-1])

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.network.parameters()).device

    def to(self, device: torch.device | str) -> Backbone:
        """The model and its codec on another device, in place."""
        self.network.to(device)
        self.codec.to(device)
        return self

    def null_condition(self, count: int) -> Condition:
        """The default condition of bank items: `count` null labels."""
        return Condition(torch.full((count,), self.labels.null, device=self.device))
