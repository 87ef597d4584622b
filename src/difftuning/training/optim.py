"""The optimiser and its learning rate, which is a pure function of the step and so has no state to save."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Literal

import torch
from pydantic import Field
from torch import nn

from difftuning.config.section import Section


class OptimConfig(Section):
    """AdamW and its schedule."""

    lr: float = Field(1e-4, gt=0)
    """The peak learning rate."""
    weight_decay: float = Field(0.0, ge=0)
    """Decoupled weight decay; the paper's code uses none."""
    betas: tuple[float, float] = (0.9, 0.999)
    """AdamW's decay rates of the first and second moment."""
    clip_norm: float = Field(1.0, ge=0)
    """The largest gradient norm; 0 switches clipping off."""
    schedule: Literal["constant", "cosine", "linear"] = "constant"
    """How the learning rate falls after the warm-up, to 0 at the last step."""
    warmup_steps: int = Field(0, ge=0)
    """Steps over which the learning rate rises linearly from 0."""


def make_optimizer(parameters: Iterable[nn.Parameter], config: OptimConfig) -> torch.optim.AdamW:
    """Fused AdamW over the parameters given."""
    return torch.optim.AdamW(
        list(parameters), lr=config.lr, betas=config.betas, weight_decay=config.weight_decay, fused=True
    )


def learning_rate(step: int, steps: int, config: OptimConfig) -> float:
    """The learning rate of step 0 ... steps - 1."""
    if step < config.warmup_steps:
        return config.lr * (step + 1) / config.warmup_steps
    progress = (step - config.warmup_steps) / max(1, steps - config.warmup_steps)
    if config.schedule == "cosine":
        return config.lr * 0.5 * (1 + math.cos(math.pi * progress))
    if config.schedule == "linear":
        return config.lr * (1 - progress)
    return config.lr
