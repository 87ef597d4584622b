"""The optimiser's state shared among the processes (ZeRO, stages 1 and 2), by DeepSpeed's engine.

The engine takes over the backward pass, clipping and the step. Checkpoints hold whole tensors all the same, so that a run goes on
in any number of processes, and without DeepSpeed.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from accelerate import Accelerator, DeepSpeedPlugin
from deepspeed.utils import safe_get_full_optimizer_state, safe_set_full_optimizer_state
from torch import Tensor, nn

from difftuning.config.precision import Precision
from difftuning.errors import ConfigError
from difftuning.processes import present
from difftuning.training.interfaces import Objective
from difftuning.training.parallel import Asked, Passes

MOMENTS = ("exp_avg", "exp_avg_sq")
"""Of AdamW."""


def make_engine_accelerator(precision: Precision) -> Accelerator:
    """Accelerate with DeepSpeed, by the launcher's options; the weights stay in float32.

    Raises:
        ConfigError: the precision is not to be had with it.
    """
    if precision == "fp16":
        raise ConfigError("training.precision=fp16 scales losses, as DeepSpeed would once more; use bf16 or no with it")
    plugin = DeepSpeedPlugin(gradient_accumulation_steps=1)
    plugin.deepspeed_config |= {
        # Asked for, and used for its own log lines alone.
        "train_micro_batch_size_per_gpu": 1,
        "train_batch_size": present().count,
        "torch_autocast": {"enabled": precision == "bf16", "dtype": "bfloat16"},
        "zero_allow_untested_optimizer": True,
        "zero_force_ds_cpu_optimizer": False,
        "steps_per_print": 2**31,
    }
    return Accelerator(mixed_precision="no", deepspeed_plugin=plugin)


class EnginePasses(Passes):
    """Passes through DeepSpeed's engine. See `Passes`."""

    def __init__(
        self, accelerator: Accelerator, network: nn.Module, objective: Objective, parameters: dict[str, nn.Parameter]
    ) -> None:
        self.accelerator, self.parameters = accelerator, parameters
        self._module = Asked(network, objective)

    def prepared(self, optimizer: torch.optim.Optimizer, clip_norm: float) -> torch.optim.Optimizer:
        """The optimiser, within the engine.

        Raises:
            ConfigError: its moments are in 8 bits.
        """
        if not isinstance(optimizer, torch.optim.AdamW):
            raise ConfigError(
                "optim.eight_bit=true and DeepSpeed both change the optimiser's state; leave one of them out"
            )
        self.clip_norm = clip_norm
        plugin = self.accelerator.state.deepspeed_plugin
        plugin.deepspeed_config["gradient_clipping"] = clip_norm
        made: torch.optim.Optimizer
        self.asked, made = self.accelerator.prepare(self._module, optimizer)
        self._engine: Any = self.asked
        return made

    def sending(self, last: bool) -> AbstractContextManager[Any]:
        """The engine knows by itself when gradients go to the other processes."""
        return nullcontext()

    def backward(self, loss: Tensor, last: bool) -> None:
        """Add the gradients of a loss; those of the last one of a step go to the other processes."""
        self._engine.set_gradient_accumulation_boundary(last)
        self._engine.backward(loss)

    def update(self, optimizer: torch.optim.Optimizer) -> Tensor | None:
        """Clip, step and forget the gradients; returns (), their norm before, where it is limited."""
        self._engine.step()
        return torch.as_tensor(self._engine.get_global_grad_norm()) if self.clip_norm else None

    def moments(self, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
        """The optimiser's tensors, whole; none before the first step."""
        found = {}
        for name, parameter in self.parameters.items() if self._steps() else ():
            found[f"{name}/step"] = self._steps()[0].clone()
            for key in MOMENTS:
                found[f"{name}/{key}"] = safe_get_full_optimizer_state(parameter, key)
        return found

    def take_moments(self, optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor]) -> None:
        """Take them up, and the parameters' values into what the engine updates."""
        self._engine.optimizer.refresh_fp32_params()
        if not tensors:  # of before the first step
            return
        # AdamW's state is made at its first step, so here is one that moves nothing.
        for group in optimizer.param_groups:
            group["lr"] = 0.0
        self.backward(sum((0 * value.sum() for value in self.parameters.values()), torch.zeros(())), last=True)
        self._engine.step()
        for name, parameter in self.parameters.items():
            for key in MOMENTS:
                safe_set_full_optimizer_state(parameter, tensors[f"{name}/{key}"].to(parameter.device), key)
        for step in self._steps():
            step.fill_(float(tensors[f"{next(iter(self.parameters))}/step"]))

    def _steps(self) -> list[Tensor]:
        """How many steps AdamW has made, as it counts them for each part of the weights that it holds here."""
        optimizer = self._engine.optimizer.optimizer
        return [state["step"] for state in optimizer.state.values()]
