"""One step by many processes: each asks the network about its part of the batch, and all get the gradients of the whole.

What data-parallel training wraps is the module whose forward pass is called, and families call their networks each in its own way.
So the objective is wrapped, over the network; whoever saves, averages or samples the network sees it as it is.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from difftuning.processes import present
from difftuning.training.checkpoints import flatten_optimizer, restore_optimizer
from difftuning.training.ema import EMA, EMAConfig
from difftuning.training.interfaces import Objective
from difftuning.types import Batch, Errors

Groups = dict[str, dict[str, Tensor]]
"""The tensors of a checkpoint, by file and by name."""


class Asked(nn.Module):
    """The objective as a module that holds the network it asks."""

    def __init__(self, network: nn.Module, objective: Objective) -> None:
        super().__init__()
        self.network, self.objective = network, objective

    def forward(self, batch: Batch) -> Errors:
        """The error of each sample."""
        return self.objective(batch)


class Passes:
    """`passes(batch) -> Errors` whose backward pass adds the gradients of all processes; in one process the objective itself.

    Attributes:
        parameters: what moves, by name.
        asked: the objective, as all processes ask it.

    Args:
        accelerator: of this process.
        network: holds the parameters.
        objective: a batch in, the error of each sample out.
        parameters: what moves, by name.
    """

    def __init__(
        self, accelerator: Accelerator, network: nn.Module, objective: Objective, parameters: dict[str, nn.Parameter]
    ) -> None:
        self.accelerator, self.parameters = accelerator, parameters
        many = present().count > 1
        self.asked: Callable[[Batch], Errors] = (
            accelerator.prepare_model(Asked(network, objective)) if many else objective
        )

    def __call__(self, batch: Batch) -> Errors:
        """The error of each sample, with gradient."""
        return self.asked(batch)

    def sending(self, last: bool) -> AbstractContextManager[Any]:
        """Around a pass there and back: only after the last one of a step do the gradients go to the other processes."""
        return nullcontext() if last or present().count == 1 else self.accelerator.no_sync(self.asked)

    def prepared(self, optimizer: torch.optim.Optimizer, clip_norm: float) -> torch.optim.Optimizer:
        """The optimiser, as the processes step it; `clip_norm` is the largest norm of a step's gradients, 0 for any."""
        self.clip_norm = clip_norm
        made: torch.optim.Optimizer = self.accelerator.prepare_optimizer(optimizer)
        return made

    def backward(self, loss: Tensor, last: bool) -> None:
        """Add the gradients of a loss, which is the last one of a step or not."""
        self.accelerator.backward(loss)

    def update(self, optimizer: torch.optim.Optimizer) -> Tensor | None:
        """Clip the gradients, make a step, and forget them; returns (), their norm before, where it is limited."""
        norm = self.clip(self.clip_norm) if self.clip_norm else None
        optimizer.step()
        optimizer.zero_grad()
        return norm

    def clip(self, most: float) -> Tensor:
        """Clip the gradients to a norm; returns (), the norm before."""
        norm: Tensor = self.accelerator.clip_grad_norm_(self.parameters.values(), most)
        return norm

    def moments(self, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
        """The optimiser's tensors, as `parameter name/state name`."""
        return flatten_optimizer(optimizer, list(self.parameters))

    def take_moments(self, optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor]) -> None:
        """The inverse, once the parameters have their values."""
        restore_optimizer(optimizer, list(self.parameters), tensors)

    def average(self, config: EMAConfig) -> EMA:
        """The average of the parameters."""
        return EMA(self.parameters, config)

    def put_together(self, groups: Groups) -> Groups:
        """What a checkpoint holds, of the tensors of all processes; on the main one."""
        return groups

    def take_apart(self, groups: Mapping[str, Mapping[str, Tensor]]) -> Mapping[str, Mapping[str, Tensor]]:
        """The inverse: what this process holds of the tensors of a checkpoint."""
        return groups

    def spoilt(self) -> list[str]:
        """The names of parameters that are not finite."""
        return [name for name, value in self.parameters.items() if not bool(value.isfinite().all())]


def passes_of(
    accelerator: Accelerator, network: nn.Module, objective: Objective, parameters: dict[str, nn.Parameter]
) -> Passes:
    """As the processes were launched: alone, each with all weights, through DeepSpeed, or sharing the weights."""
    if present().engine:
        from difftuning.training.zero import EnginePasses  # DeepSpeed is seldom there

        return EnginePasses(accelerator, network, objective, parameters)
    if present().sharded:
        from difftuning.training.sharding import SharedPasses  # FSDP takes long to import

        return SharedPasses(accelerator, network, objective, parameters)
    return Passes(accelerator, network, objective, parameters)
