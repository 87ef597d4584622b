"""ControlNet on a Stable Diffusion (Zhang et al. 2023, arXiv 2302.05543): a trainable copy of the UNet's first half reads a map.

What it finds is added to what the frozen UNet carries from its first half to its second, through convolutions that begin at zero:
before training every answer is the UNet's own. Asked without a control it is the UNet alone, and that is how a bank is drawn.
"""

from __future__ import annotations

import copy
import hashlib
from typing import Any

import diffusers
import torch
from diffusers import ControlNetModel
from torch import Tensor, nn

from difftuning.backbones.base import Backbone
from difftuning.backbones.codec import digest_module
from difftuning.backbones.folder import in_dtype, only_errors
from difftuning.backbones.text_to_image import TextToImage
from difftuning.errors import ModelError
from difftuning.types import Condition

PIPELINES = {
    "StableDiffusionPipeline": "StableDiffusionControlNetPipeline",
    "StableDiffusionXLPipeline": "StableDiffusionXLControlNetPipeline",
}
"""Pipeline class of diffusers to that of the same with a ControlNet."""
CHANNELS = 3
"""Of a map as the network is told it: what diffusers' pipelines make of any picture. A map of one channel is told three times."""
HINT_WIDTHS = (16, 32, 96, 256)
"""Of the convolutions that bring a map to the size of a latent, each but the first halving it: Stable Diffusion's, whose latents
have an eighth of the image's side; a model of larger latents takes the first ones."""
DECODER = ("up_blocks", "conv_norm_out", "conv_out")
"""The parts of a UNet behind the places where a ControlNet adds: what unlocking trains besides."""


class Trained(nn.ModuleDict):
    """What training may move: the ControlNet, and the UNet's second half where it is unlocked.

    Args:
        controlnet: of the pipeline.
        unet: of the pipeline; what is not unlocked of it is no part of this module.
        unlocked: its second half trains too.
    """

    def __init__(self, controlnet: nn.Module, unet: nn.Module, unlocked: bool) -> None:
        decoder = {part: getattr(unet, part) for part in DECODER} if unlocked else {}
        super().__init__({"controlnet": controlnet, **decoder})
        self.unet = (unet,)  # in a tuple, so that it is no submodule

    @property
    def networks(self) -> tuple[nn.Module, ...]:
        """Both: the way there and back leads through the frozen one too."""
        return (self["controlnet"], *self.unet)

    def enable_gradient_checkpointing(self) -> None:
        """Of both networks."""
        for network in self.networks:
            network.enable_gradient_checkpointing()  # type: ignore[operator]


class Controlled(TextToImage):
    """A text-to-image pipeline with a ControlNet.

    Attributes:
        unlocked: the UNet's second half trains too; set by `unlock`.

    Args:
        pipe: a diffusers pipeline of one of the values of `PIPELINES`.
        prompts: what it is asked under, besides the empty prompt.
        default_prompt: of bank items.
        name: for cards and messages.

    Raises:
        ModelError: as for `TextToImage`, or its ControlNet takes maps of another kind.
    """

    def __init__(
        self, pipe: Any, prompts: tuple[str, ...] = (), default_prompt: str = "", name: str = "controlnet"
    ) -> None:
        super().__init__(pipe, prompts, default_prompt, name)
        controlnet: Any = pipe.controlnet
        if (kind := type(controlnet)) is not ControlNetModel:
            raise ModelError(f"{name}: a {kind.__name__} is not supported; use one ControlNetModel")
        channels = controlnet.config.conditioning_channels
        if channels != CHANNELS:
            raise ModelError(f"{name}: its ControlNet takes maps of {channels} channels, and {CHANNELS} are supported")
        self.unet = self.network.requires_grad_(False).eval()
        self.network = Trained(controlnet, self.unet, unlocked=False)
        self.unlocked = False
        self.takes_control = True

    @property
    def base(self) -> Any:
        """The UNet."""
        return self.unet

    def unlock(self) -> None:
        """Let the UNet's second half train too (ControlNet's `sd_locked=False`)."""
        self.network, self.unlocked = Trained(self.network["controlnet"], self.unet, unlocked=True), True

    def __deepcopy__(self, memo: dict[int, Any]) -> Controlled:
        """A ControlNet of its own, and a UNet where that trains; all that is frozen is shared."""
        copied = copy.copy(self)
        copied.unet = copy.deepcopy(self.unet, memo) if self.unlocked else self.unet
        copied.network = Trained(copy.deepcopy(self.network["controlnet"], memo), copied.unet, self.unlocked)
        return copied

    def __call__(self, x_t: Tensor, t: Tensor, condition: Condition, /) -> Tensor:
        """The UNet's answer, with what the ControlNet adds where there is a control."""
        if condition.control is None:
            return super().__call__(x_t, t, condition)
        asked = self.asked(x_t, t, condition)
        assert self.family.words is not None
        words, control = self.family.words(asked), condition.control.to(asked.x)
        down, mid = self.network["controlnet"](
            asked.x,
            asked.time,
            **words,
            controlnet_cond=control.expand(-1, CHANNELS, -1, -1),
            return_dict=False,
        )
        answer: Tensor = self.unet(
            asked.x,
            asked.time,
            **words,
            down_block_additional_residuals=down,
            mid_block_additional_residual=mid,
            return_dict=False,
        )[0]
        return answer

    def digest(self) -> str:
        """Of the pipeline and the ControlNet."""
        controlnet: Any = self.network["controlnet"]
        whole = f"{self.source_digest()}/{digest_module(controlnet, controlnet.config)}"
        return hashlib.sha256(whole.encode()).hexdigest()

    def source_digest(self) -> str:
        """Of the pipeline alone: a bank is drawn without controls."""
        return super().digest()

    def skeleton(self) -> nn.Module:
        """The same parts on the meta device."""
        parts: list[Any] = [self.network["controlnet"], self.unet]
        with torch.device("meta"):
            controlnet, unet = (type(part).from_config(part.config) for part in parts)
        return Trained(controlnet, unet, self.unlocked)

    def to(self, device: torch.device | str) -> Backbone:
        """All parts on another device, in place."""
        self.unet.to(device)
        return super().to(device)

    def beside(self, dtype: torch.dtype) -> dict[str, nn.Module]:
        """The ControlNet."""
        return {"controlnet": in_dtype(self.network["controlnet"], dtype)}


def controlled(model: Backbone, unlocked: bool, seed: int) -> Controlled:
    """A model with a ControlNet: its own where it has one, else a new one.

    Args:
        model: Stable Diffusion 1, 2 or XL.
        unlocked: train the second half of its UNet too.
        seed: of the layers that read a map, which begin at random; all others begin as the UNet's or at zero.

    Raises:
        ModelError: there are no ControlNets for this family here.
    """
    made = model if isinstance(model, Controlled) else _on_top(model, seed)
    if unlocked:
        made.unlock()
    return made


def _on_top(model: Backbone, seed: int) -> Controlled:
    kind = PIPELINES.get(model.pipeline) if isinstance(model, TextToImage) else None
    if kind is None or not isinstance(model, TextToImage):
        raise ModelError(
            f"{model.name} takes no ControlNet here; use a {' or a '.join(PIPELINES)}, or take `control` out of the recipe"
        )
    stride = model.image_size // model.sample_shape[-1]
    halvings = stride.bit_length() - 1
    if 2**halvings != stride or halvings >= len(HINT_WIDTHS):
        raise ModelError(f"{model.name} has latents of 1/{stride} of its images; a ControlNet needs 1, 1/2, 1/4 or 1/8")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        controlnet = ControlNetModel.from_unet(
            model.network,
            conditioning_channels=CHANNELS,
            conditioning_embedding_out_channels=HINT_WIDTHS[: halvings + 1],
        )
    with only_errors():
        pipe = getattr(diffusers, kind).from_pipe(model.pipe, controlnet=controlnet)
    made = Controlled(pipe, model.labels.names, model.default_prompt, model.name)
    made.resize(model.image_size)
    made.clock, made.distilled_guidance = model.clock, model.distilled_guidance
    return made
