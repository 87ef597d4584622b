"""The networks of Karras et al. 2022 (EDM, arXiv 2206.00364), able to hold their published weights.

Two of the three published kinds: DDPM++ (Song et al. 2021; CIFAR-10, FFHQ, AFHQ) and ADM (Dhariwal & Nichol 2021; ImageNet-64).
Written from the papers and from the names and shapes of the weights, since the original code is not free. Parameters keep those
names, but for the classes, which are rows of a table here, and for the last two layers.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.modeling_utils import ModelMixin
from diffusers.models.unets.unet_2d import UNet2DOutput
from torch import Tensor, nn
from torch.nn import functional

from difftuning.backbones.edm_blocks import STYLES, Block, Resample, group_norm, sines
from difftuning.errors import ModelError, did_you_mean


class EDMUNet(ModelMixin, ConfigMixin):  # type: ignore[misc]
    """The raw network F of EDM, without its preconditioning: the input is scaled by c_in, the timestep is c_noise = ln(sigma) / 4.

    Args:
        sample_size: side of the images, halved between levels.
        in_channels: of the input.
        out_channels: of the answer.
        num_classes: 0 for an unconditional network.
        kind: "ddpmpp" or "adm".
        model_channels: the width that `channel_mult` multiplies.
        channel_mult: a factor a level, from the full resolution down.
        num_blocks: residual blocks of a level in the encoder; in the decoder it has one more.
        attention_resolutions: sides at which blocks attend.
        dropout: while training.

    Raises:
        ModelError: the kind is not known, or the sample size does not halve often enough.
    """

    _supports_gradient_checkpointing = True
    _repeated_blocks = ["Block"]  # noqa: RUF012 - as diffusers declares it

    @register_to_config  # type: ignore[untyped-decorator]
    def __init__(
        self,
        sample_size: int = 32,
        in_channels: int = 3,
        out_channels: int = 3,
        num_classes: int = 0,
        kind: str = "ddpmpp",
        model_channels: int = 128,
        channel_mult: Sequence[int] = (2, 2, 2),
        num_blocks: int = 4,
        attention_resolutions: Sequence[int] = (16,),
        dropout: float = 0.0,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        if kind not in STYLES:
            raise ModelError(f"an EDM network of kind {kind!r} is not supported{did_you_mean(kind, STYLES)}")
        halvings = len(channel_mult) - 1
        if sample_size % 2**halvings:
            raise ModelError(f"sample_size {sample_size} cannot be halved {halvings} times, as channel_mult asks")
        self.gradient_checkpointing = False
        self.style = STYLES[kind]
        self._width, self._dropout = 4 * model_channels, dropout
        self.map_layer0 = nn.Linear(model_channels, self._width)
        self.map_layer1 = nn.Linear(self._width, self._width)
        self.class_width = model_channels if self.style.class_first else self._width
        self.class_embedding: nn.Embedding | None = None
        if num_classes:
            self.class_embedding = nn.Embedding(num_classes + 1, self.class_width)
            nn.init.zeros_(self.class_embedding.weight[-1])  # "no class", which adds nothing
        levels = [(sample_size >> level, factor * model_channels) for level, factor in enumerate(channel_mult)]
        self.enc, kept = self._encoder(levels, in_channels, model_channels, num_blocks, attention_resolutions)
        self.dec = self._decoder(levels, kept, num_blocks, attention_resolutions)
        self.out_norm = group_norm(levels[0][1], self.style.epsilon)
        self.out_conv = nn.Conv2d(levels[0][1], out_channels, 3, padding=1)

    def _block(self, channels: int, out: int, attention: bool = False, resample: Resample | None = None) -> Block:
        return Block(channels, out, self._width, self.style, attention, resample, self._dropout)

    def _encoder(
        self, levels: list[tuple[int, int]], in_channels: int, now: int, num_blocks: int, attention: Sequence[int]
    ) -> tuple[nn.ModuleDict, list[int]]:
        """The way down, and the channels of each of its answers."""
        made, kept = nn.ModuleDict(), []
        for level, (side, channels) in enumerate(levels):
            if level == 0:
                made[f"{side}x{side}_conv"] = nn.Conv2d(in_channels, now, 3, padding=1)
            else:
                made[f"{side}x{side}_down"] = self._block(now, now, resample="down")
            kept.append(now)
            for index in range(num_blocks):
                made[f"{side}x{side}_block{index}"] = self._block(now, channels, side in attention)
                now = channels
                kept.append(now)
        return made, kept

    def _decoder(
        self, levels: list[tuple[int, int]], kept: list[int], num_blocks: int, attention: Sequence[int]
    ) -> nn.ModuleDict:
        """The way up; all but the first block of a level take an answer of the encoder, the last one first."""
        made, now = nn.ModuleDict(), kept[-1]
        for level, (side, channels) in reversed(list(enumerate(levels))):
            if level == len(levels) - 1:
                # The middle of the network attends at any resolution (Ho et al. 2020).
                made[f"{side}x{side}_in0"] = self._block(now, now, attention=True)
                made[f"{side}x{side}_in1"] = self._block(now, now)
            else:
                made[f"{side}x{side}_up"] = self._block(now, now, resample="up")
            for index in range(num_blocks + 1):
                attends = side in attention and (self.style.attention_throughout or index == num_blocks)
                made[f"{side}x{side}_block{index}"] = self._block(now + kept.pop(), channels, attends)
                now = channels
        return made

    def forward(
        self, sample: Tensor, timestep: Tensor, class_labels: Tensor | None = None, return_dict: bool = True
    ) -> UNet2DOutput | tuple[Tensor]:
        """F of the paper's Eq. 7.

        Args:
            sample: (B, C, H, W), c_in times the noisy images.
            timestep: (B,) or (), c_noise.
            class_labels: (B,) int64, `num_classes` for none; None is none for all.
            return_dict: wrap the answer.

        Returns:
            (B, C', H, W), as `.sample` or alone in a tuple.

        Raises:
            ModelError: classes are given to a network that knows none.
        """
        embedding = self._embed(timestep.to(sample.dtype).expand(len(sample)), class_labels)
        kept, x = [], sample
        for module in self.enc.values():
            x = self._run(module, x, embedding) if isinstance(module, Block) else module(x)
            kept.append(x)
        for name, module in self.dec.items():
            joined = torch.cat([x, kept.pop()], dim=1) if "_block" in name else x
            x = self._run(module, joined, embedding)
        answer = self.out_conv(functional.silu(self.out_norm(x)))
        return UNet2DOutput(sample=answer) if return_dict else (answer,)

    def _embed(self, noise: Tensor, class_labels: Tensor | None) -> Tensor:
        """(B,) noise levels and (B,) classes -> (B, 4 model_channels)."""
        if class_labels is not None and self.class_embedding is None:
            raise ModelError("class_labels given to an EDM network without classes; leave them out")
        classes: Tensor | float = 0.0
        if self.class_embedding is not None:
            none = self.class_embedding.num_embeddings - 1
            rows = torch.full_like(noise, none, dtype=torch.int64) if class_labels is None else class_labels
            classes = self.class_embedding(rows)
        first, later = (classes, 0.0) if self.style.class_first else (0.0, classes)
        embedding = self.map_layer0(sines(noise, self.map_layer0.in_features, self.style) + first)
        return functional.silu(self.map_layer1(functional.silu(embedding)) + later)

    def _run(self, block: nn.Module, x: Tensor, embedding: Tensor) -> Tensor:
        if torch.is_grad_enabled() and self.gradient_checkpointing:
            answer: Tensor = self._gradient_checkpointing_func(block, x, embedding)  # type: ignore[misc]  # diffusers sets it
            return answer
        answer = block(x, embedding)
        return answer
