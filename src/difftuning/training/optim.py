"""The optimiser and its learning rate, which is a pure function of the step and so has no state to save."""

from __future__ import annotations

import math
from collections.abc import Iterable
from importlib import import_module
from importlib.util import find_spec
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import nn
from torch.distributed.tensor import DTensor

from difftuning.config.section import Section
from difftuning.errors import ConfigError

Beta = Annotated[float, Field(ge=0, lt=1)]


class OptimConfig(Section):
    """AdamW and its schedule."""

    lr: float = Field(1e-4, gt=0)
    """The peak learning rate."""
    weight_decay: float = Field(0.0, ge=0)
    """Decoupled weight decay; the paper's code uses none."""
    betas: tuple[Beta, Beta] = (0.9, 0.999)
    """AdamW's decay rates of the first and second moment."""
    clip_norm: float = Field(1.0, ge=0)
    """The largest gradient norm; 0 switches clipping off."""
    schedule: Literal["constant", "cosine", "linear"] = "constant"
    """How the learning rate falls after the warm-up, towards 0 at the end."""
    warmup_steps: int = Field(0, ge=0)
    """Steps over which the learning rate rises linearly from 0."""
    eight_bit: bool | None = None
    """Keep AdamW's two moments in 8 bits instead of 32, by bitsandbytes (`pip install difftuning[8bit]`). Null does not."""


def make_optimizer(
    parameters: Iterable[nn.Parameter], config: OptimConfig, scaled: bool = False
) -> torch.optim.Optimizer:
    """AdamW over the parameters given, or AdamW with moments in 8 bits (Dettmers et al., 2022).

    Args:
        parameters: those that train.
        config: of the optimiser.
        scaled: a loss scaler decides whether a step is made. A fused AdamW would be asked each time, and leave the step out by
            itself, so that nobody could count it.

    Raises:
        ConfigError: bitsandbytes is not there, or the parameters are shared among processes.
    """
    parameters = list(parameters)
    if config.eight_bit:
        if any(isinstance(parameter.data, DTensor) for parameter in parameters):
            raise ConfigError(
                "optim.eight_bit=true does not know shared weights (FSDP); leave it out, or launch with --multi_gpu"
            )
        if find_spec("bitsandbytes") is None:
            raise ConfigError(
                "optim.eight_bit=true needs bitsandbytes; `pip install difftuning[8bit]`, or leave it out"
            )
        library = import_module("bitsandbytes.optim")  # slow, and seldom there
        made: torch.optim.Optimizer = library.AdamW8bit(
            parameters, lr=config.lr, betas=config.betas, weight_decay=config.weight_decay
        )
        return made
    return torch.optim.AdamW(
        parameters, lr=config.lr, betas=config.betas, weight_decay=config.weight_decay, fused=not scaled
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
