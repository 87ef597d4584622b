"""VPT-Deep (Jia et al. 2022): learned tokens in front of those of each block, taken off behind it.

They act from the first step on, so a fresh one changes the answer; in blocks with two streams they join the text. Nothing of
them can be folded into the weights.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from difftuning.config.section import Section
from difftuning.errors import ModelError
from difftuning.tuning.base import Tuner
from difftuning.tuning.blocks import transformer_blocks, width_of
from difftuning.tuning.switch import Switch, added, switched_off


class VPTConfig(Section):
    """Learned tokens in each block."""

    kind: Literal["vpt-deep"] = "vpt-deep"
    tokens: int = Field(16, gt=0)
    """How many in each block; each costs its part of the attention."""


class Prompt(Switch):
    """The tokens of one block, and whether they join the text stream."""

    def __init__(self, tokens: int, width: int, stream: str) -> None:
        super().__init__()
        self.stream = stream
        self.tokens = nn.Parameter(torch.empty(tokens, width))
        # As in VPT: uniform with the variance of a patch embedding of 16 x 16 x 3.
        bound = (6 / (16 * 16 * 3 + width)) ** 0.5
        nn.init.uniform_(self.tokens, -bound, bound)

    def before(self, sequence: Tensor) -> Tensor:
        """The tokens in front of (B, N, D)."""
        return torch.cat([self.tokens.to(sequence.dtype).expand(len(sequence), -1, -1), sequence], dim=1)

    def behind(self, sequence: Tensor) -> Tensor:
        """(B, n + N, D) without them."""
        return sequence[:, len(self.tokens) :]


class VPTDeep(Tuner):
    """Adds tokens to every block, under the name `prompt` in it."""

    mergeable: ClassVar[bool] = False

    def _attach(self, network: nn.Module) -> dict[str, nn.Parameter]:
        for block in transformer_blocks(network, "VPT-Deep").values():
            joint = hasattr(block, "norm1_context")
            block.prompt = Prompt(
                self.config.tokens, width_of(block.ff), "encoder_hidden_states" if joint else "hidden_states"
            )
            block.register_forward_pre_hook(_prepend, with_kwargs=True)
            block.register_forward_hook(_strip)
        return added(network, "prompt")

    @contextmanager
    def _off(self) -> Iterator[None]:
        with switched_off(self.network):
            yield

    def _merge(self) -> None:
        raise ModelError("VPT-Deep's tokens cannot be folded into the weights; keep the tuner's file beside the model")


# Not closures: a copy of the network has tokens of its own.
def _prepend(
    block: Any, given: tuple[Any, ...], named: dict[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]] | None:
    prompt = block.prompt
    if not prompt.on:
        return None
    # Checkpointed blocks are called by position, others by name.
    asked = {**dict(zip(inspect.signature(block.forward).parameters, given, strict=False)), **named}
    asked[prompt.stream] = prompt.before(asked[prompt.stream])
    if (turns := asked.get("image_rotary_emb")) is not None:  # Flux: no turn for the tokens, which come first
        cosine, sine = turns
        shape = (len(prompt.tokens), cosine.shape[-1])
        asked["image_rotary_emb"] = (
            torch.cat([cosine.new_ones(shape), cosine]),
            torch.cat([sine.new_zeros(shape), sine]),
        )
    return (), asked


def _strip(block: Any, given: tuple[Any, ...], answer: Any) -> Any:
    if not block.prompt.on:
        return None
    if isinstance(answer, tuple):  # (text, image); the last block of SD3 drops the text
        return tuple(
            block.prompt.behind(part) if index == 0 and part is not None else part for index, part in enumerate(answer)
        )
    return block.prompt.behind(answer)
