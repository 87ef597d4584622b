"""What every model family offers to the rest of the library."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from difftuning.backbones.codec import Codec, make_codec
from difftuning.backbones.labels import LabelChange, LabelSpace, check_labels
from difftuning.backbones.prompts import TextConfig
from difftuning.errors import ModelError
from difftuning.noise.clock import Clock, default_clock
from difftuning.noise.prediction import Prediction
from difftuning.noise.prediction import from_scheduler_config as prediction_of
from difftuning.noise.process import NoiseProcess
from difftuning.noise.process import from_scheduler_config as process_of
from difftuning.processes import present
from difftuning.types import Condition

_NOISE_LEVELS = 8
"""At so many t, evenly over u, is a noise process compared with another."""


class Backbone(ABC):
    """A pretrained diffusion model with all that is needed to train and sample it. It is a `difftuning.types.Network`.

    Attributes:
        name: where it was loaded from, for cards and messages.
        network: the module to train.
        scheduler: the diffusers scheduler it came with.
        scheduler_config: the config of that.
        process: how its data are corrupted.
        prediction: what it predicts.
        clock: its training law of t.
        codec: between images and its latents.
        labels: its classes, or the prompts it is asked under.
        sample_shape: (C, H, W) of one latent.
        learned_variance: its answer carries C further channels with a variance.
        class_table: the name of the parameter whose rows are its classes; None where none trains.
        by_prompt: its labels are prompts, so that the target's captions are asked for.
        takes_control: it is asked under a map too.
        encoders: of prompts, by their parts of a pipeline.
        encoders_stay: these stay where they are when the rest moves to a device that does not hold all.
    """

    name: str
    network: Any
    process: NoiseProcess
    prediction: Prediction
    clock: Clock
    codec: Codec
    labels: LabelSpace
    sample_shape: tuple[int, int, int]
    scheduler_config: dict[str, Any]
    learned_variance: bool
    class_table: str | None = None
    by_prompt: bool = False
    takes_control: bool = False
    encoders: Mapping[str, Any] = MappingProxyType({})
    encoders_stay: bool = False

    def __init__(
        self,
        name: str,
        network: Any,
        scheduler: Any,
        vae: nn.Module | None,
        sample_shape: tuple[int, int, int],
        out_channels: int,
    ) -> None:
        """What a scheduler's config and the shapes say of a model; its labels are left to the family.

        Args:
            name: for cards and messages.
            network: the module to train.
            scheduler: any diffusers scheduler; its config says what the model was trained for.
            vae: the autoencoder, or None where the model works on pixels.
            sample_shape: (C, H, W) of one latent.
            out_channels: of its answer.

        Raises:
            ModelError: the channels fit neither an answer nor one with a learned variance of the kind that is trained, or the
                autoencoder has others.
        """
        self.name, self.network, self.scheduler = name, network, scheduler
        self.scheduler_config = {**scheduler.config, "_class_name": type(scheduler).__name__}
        self.process = process_of(self.scheduler_config)
        self.prediction = prediction_of(self.scheduler_config, self.process)
        self.clock = default_clock(self.process)
        self.codec = make_codec(vae)
        self.sample_shape = sample_shape
        channels = sample_shape[0]
        if out_channels not in (channels, 2 * channels):
            raise ModelError(f"{name}: {out_channels} output channels fit neither {channels} nor a learned variance")
        self.learned_variance = out_channels == 2 * channels
        if self.learned_variance and self.scheduler_config.get("variance_type") == "learned":
            raise ModelError(
                f"{name}: its further channels are the variance itself (variance_type 'learned'), and only a place between "
                "the two bounds of Nichol and Dhariwal can be trained ('learned_range')"
            )
        config: Any = None if vae is None else vae.config
        latent = None if config is None else config.get("latent_channels")
        if latent not in (None, channels):
            raise ModelError(
                f"{name}: its autoencoder makes {latent} channels and the network takes {channels}; use its own"
            )

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
        """The sha256 of weights and config: of all that decides its answers."""

    def noise_digest(self) -> str:
        """The sha256 of what its answers mean and where they are asked for: of process, prediction and law of t.

        By their values at a few t and not by the scheduler's config, to which versions of diffusers add entries.
        """
        t = self.clock.t((torch.arange(_NOISE_LEVELS, dtype=torch.float64) + 0.5) / _NOISE_LEVELS)
        alpha, sigma = self.process.alpha(t), self.process.sigma(t)
        of_input = self.process.network_input(torch.ones(len(t), 1, 1, 1, dtype=torch.float64), t).flatten()
        found = (t, alpha, sigma, *self.prediction.row(alpha, sigma), of_input, self.process.network_time(t))
        texts = [f"{value:.6g}" for values in found for value in values.tolist()]
        return hashlib.sha256("/".join((type(self.process).__name__, *texts)).encode()).hexdigest()

    def source_digest(self) -> str:
        """The identity of what its bank is drawn from: of itself, unless something is put upon it that a bank does not see."""
        return self.digest()

    @abstractmethod
    def save(self, folder: Path, dtype: torch.dtype = torch.float32) -> None:
        """Write a folder that plain diffusers and `difftuning.load` read."""

    def skeleton(self) -> nn.Module:
        """A network of the same parts on the meta device, without weights: to try on what only asks for names and shapes."""
        made: Any = type(self.network)
        with torch.device("meta"):
            network: nn.Module = made.from_config(self.network.config)
        return network

    @property
    def at_work(self) -> list[nn.Module]:
        """What is asked at each step; autoencoder and text encoders are asked around the steps alone."""
        return [self.network]

    @property
    def image_size(self) -> int:
        """The side of its images in pixels."""
        return self.codec.image_size(self.sample_shape[-1])

    @property
    def device(self) -> torch.device:
        """Where it computes: where the weights are, also where processes share them and keep their parts in the host's memory."""
        parameter = next(self.network.parameters())
        own = present().device if isinstance(parameter.data, DTensor) else None
        device: torch.device = parameter.device
        return device if own is None else own

    def to(self, device: torch.device | str) -> Backbone:
        """The model and its codec on another device, in place."""
        self.network.to(device)
        self.codec.to(device)
        return self

    def offload(self) -> None:
        """What does not train in the host's memory, where it works when it is asked: `training.offload`."""
        self.codec.to("cpu")

    def resize(self, side: int) -> None:
        """Draw and train images of another size in pixels, where the network can.

        Raises:
            ModelError: it cannot, or the size is none that it divides into latents.
        """
        if side != self.image_size:
            raise ModelError(
                f"{self.name} is of {self.image_size} pixels and no other; take `resolution` out of the recipe"
            )

    def shape_of(self, side: int, divisor: int, most: int | None = None) -> tuple[int, int, int]:
        """(C, H, W) of the latents of images with this side in pixels.

        Args:
            side: of the images.
            divisor: what the sides of latents must be multiples of.
            most: the longest side of a latent; None for no limit.

        Raises:
            ModelError: the size divides into no such latents.
        """
        stride = self.image_size // self.sample_shape[-1]
        if side % (stride * divisor):
            near = max(side // (stride * divisor), 1) * stride * divisor
            raise ModelError(
                f"resolution={side} is no multiple of {stride * divisor}, as {self.name} needs it; try {near}"
            )
        if most is not None and side > stride * most:
            raise ModelError(f"resolution={side} is more than {self.name} has places for; {stride * most} is the most")
        return self.sample_shape[0], side // stride, side // stride

    def configure(self, text: TextConfig) -> None:
        """Take what only text-to-image models are told.

        Raises:
            ModelError: something is told, and this is none.
        """
        if text != TextConfig():
            raise ModelError(f"{self.name} is asked under classes and not under prompts; take `text` out of the recipe")

    def cut_short(self, prompts: Sequence[str]) -> int:
        """How many of some prompts are longer than what text encoders read."""
        return 0

    def ask_under(self, prompts: tuple[str, ...] | None) -> None:
        """Know the prompts of a bank alone, or the default prompt where there are none.

        Raises:
            ModelError: prompts are given, and it is asked under classes.
        """
        if prompts is not None:
            raise ModelError(
                f"{self.name} is asked under classes and not under prompts; take bank.prompts out of the recipe"
            )

    @property
    def told(self) -> dict[str, Any] | None:
        """What decides its samples besides labels, weights and size; None for nothing."""
        return None

    @property
    def default_label(self) -> int:
        """The row that bank items train under: the null label, or the default prompt."""
        return self.labels.null

    def default_condition(self, count: int) -> Condition:
        """The condition of `count` bank items."""
        return Condition(torch.full((count,), self.default_label, device=self.device))

    def rows(self, names: Sequence[str]) -> Tensor:
        """(n,) int64: the rows of classes by name.

        Raises:
            ModelError: it has no such class.
        """
        return self.labels.indices(names)
