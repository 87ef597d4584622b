"""The sampling loop, the only one: a denoiser is asked, and a diffusers scheduler, the solver, makes the step.

Schedulers are taken as they are, by the few names in `Scheduler`; this package does not import diffusers. What differs
between them is settled here: how x is scaled, which prediction they expect, who draws noise.
"""

from __future__ import annotations

import copy
import inspect
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import torch
from torch import Tensor

from difftuning.errors import ConfigError
from difftuning.noise.prediction import from_scheduler_config
from difftuning.noise.process import EDM, NoiseProcess, VariancePreserving
from difftuning.types import Condition, Denoiser

SolverName = Literal["ddpm", "ddim", "dpm++", "dpm++lu", "unipc", "euler", "heun"]
"""The solvers by name; `difftuning.backbones.solvers` says which suits which process."""
Spacing = Literal["leading", "linspace", "trailing"]
"""Which timesteps of a table a solver goes through, by diffusers' names (Lin et al. 2023, table 2)."""


class Scheduler(Protocol):
    """What the loop needs of a diffusers scheduler; some have `sigmas`, `init_noise_sigma`, `scale_model_input` too."""

    config: Mapping[str, Any]
    order: int
    timesteps: Tensor
    step: Callable[..., Any]

    def set_timesteps(self, num_inference_steps: int, /) -> None:
        """Choose the timesteps of a trajectory and forget the last one."""
        ...


@dataclass(frozen=True, slots=True)
class State:
    """Where a trajectory stands.

    Attributes:
        step: how many of the scheduler's timesteps are done, 0 ... total.
        x: (B, C, H, W) in the scheduler's own scaling; the sample itself when step == total.
        scheduler: with its timesteps set and its history of earlier steps. It moves on with the trajectory: `copy` to
            keep it.
        generators: one a sample, for solvers that draw noise. They move on too.
    """

    step: int
    x: Tensor
    scheduler: Scheduler
    generators: list[torch.Generator] | None

    @property
    def total(self) -> int:
        """How many times the denoiser is asked in the whole trajectory: the steps, or nearly twice as many for Heun."""
        return len(self.scheduler.timesteps)

    def copy(self) -> State:
        """The same state with a scheduler and generators of its own, which nothing else moves on."""
        generators = None if self.generators is None else [generator.clone_state() for generator in self.generators]
        return State(self.step, self.x, copy.deepcopy(self.scheduler), generators)


Callback = Callable[[State], None]


def trajectory(process: NoiseProcess, scheduler: Scheduler, steps: int) -> Scheduler:
    """A copy of a scheduler that is ready to go so many steps.

    Raises:
        ConfigError: fewer than one step, more than the process has timesteps, or a number in which the solver would leave them or
            begin far from the noisiest.
    """
    most = process.steps if isinstance(process, VariancePreserving) else math.inf
    if not 1 <= steps <= most:
        raise ConfigError(f"cannot sample in {steps} steps; choose from 1 to {most}")
    ready = copy.deepcopy(scheduler)
    ready.set_timesteps(steps)
    if isinstance(process, VariancePreserving):
        _check_table(ready.timesteps, process.steps, steps)
    # Solvers look up where they begin by its timestep, and of two that are the same find the second.
    if len(ready.timesteps) > 1 and bool(ready.timesteps[0] == ready.timesteps[1]):
        raise ConfigError(
            f"cannot sample in {steps} steps, of which rounding makes the first two the same; choose fewer steps"
        )
    return ready


def _check_table(timesteps: Tensor, whole: int, steps: int) -> None:
    """Refuse timesteps that leave a table of so many, or begin far below its top with what is noise alone."""
    if bool((timesteps < 0).any()):
        # diffusers counts down in floating point, and for some numbers of trailing steps comes by one too far.
        raise ConfigError(
            f"cannot sample in {steps} trailing steps, of which rounding makes {steps + 1}; choose another number of steps"
        )
    # Leading timesteps are whole multiples, rounded down: many of them end further from the top than few.
    first = float(timesteps[0])
    if first > whole - 1 or whole - 1 - first > max(2 * whole / steps, whole / 10):
        raise ConfigError(
            f"cannot sample in {steps} leading steps with this solver, which would begin at t = {first:g} of {whole}; choose fewer "
            "steps, or set `spacing` to trailing"
        )


def sample(
    denoiser: Denoiser,
    process: NoiseProcess,
    scheduler: Scheduler,
    condition: Condition,
    noise: Tensor,
    steps: int,
    generators: list[torch.Generator] | None = None,
    callback: Callback | None = None,
) -> Tensor:
    """Draw one sample for each row of noise; no gradient.

    Args:
        denoiser: asked at each timestep; guidance, clipping and swapping are wrappers of it.
        process: the one that the denoiser and the scheduler share.
        scheduler: a diffusers scheduler, see `backbones.solvers.make_scheduler`. It is copied, never changed.
        condition: B conditions, on the device of `noise`.
        noise: (B, C, H, W) standard normal, see `seeds.sample_noise`.
        steps: of the solver, >= 1.
        generators: B generators for solvers that draw noise, see `seeds.generators`; they advance. Without them torch's
            global one is used and a sample depends on its batch.
        callback: is shown every state of the trajectory, the first and the last included.

    Returns:
        (B, C, H, W) clean samples, in the dtype of `noise`.

    Raises:
        ConfigError: see `trajectory`.
    """
    scheduler = trajectory(process, scheduler, steps)
    # Euler and Heun on the variance-preserving process begin at sigma_max; flow schedulers begin at 1 without saying.
    x = noise * getattr(scheduler, "init_noise_sigma", 1.0)
    return _run(denoiser, process, condition, State(0, x, scheduler, generators), callback)


def resume(
    denoiser: Denoiser, process: NoiseProcess, condition: Condition, state: State, callback: Callback | None = None
) -> Tensor:
    """Finish a trajectory from a state that a callback of `sample` has copied, possibly with another denoiser.

    The state is left as it is, so many branches can start from it. Arguments and result are those of `sample`.
    """
    return _run(denoiser, process, condition, state.copy(), callback)


@torch.no_grad()
def _run(
    denoiser: Denoiser, process: NoiseProcess, condition: Condition, state: State, callback: Callback | None
) -> Tensor:
    x, scheduler, generators = state.x, state.scheduler, state.generators
    expected = from_scheduler_config(scheduler.config, process)
    times = _times(process, scheduler).to(x.device, torch.float32)
    takes_generator = generators is not None and "generator" in inspect.signature(scheduler.step).parameters
    options: dict[str, Any] = {"generator": generators} if takes_generator else {}
    for step in range(state.step, state.total):
        if callback is not None:
            callback(State(step, x, scheduler, generators))
        timestep = scheduler.timesteps[step]
        t = times[step].expand(len(x))
        x_t = _in_process_scaling(process, scheduler, x, timestep)
        x0_hat = denoiser(x_t, t, condition)
        output = expected.from_x0(process, x_t, x0_hat, t)
        x = scheduler.step(output, timestep, x, return_dict=False, **options)[0]
    if callback is not None:
        callback(State(state.total, x, scheduler, generators))
    return x


def _times(process: NoiseProcess, scheduler: Any) -> Tensor:
    """The process's time of each timestep.

    On flow and EDM that is sigma, taken as it is, because several schedulers round their timesteps to integers there.
    """
    if isinstance(process, VariancePreserving):
        return process.from_scheduler_time(scheduler.timesteps)
    sigmas: Tensor = scheduler.sigmas
    return sigmas[: len(scheduler.timesteps)]


def _in_process_scaling(process: NoiseProcess, scheduler: Any, x: Tensor, timestep: Tensor) -> Tensor:
    """x_t = alpha x0 + sigma eps, from a scheduler's x, which for Euler and Heun is x_t / alpha.

    EDM's scaling of the input is its network's own affair, so the scheduler's is asked for (it insists) and not used.
    """
    if not hasattr(scheduler, "scale_model_input"):
        return x
    scaled: Tensor = scheduler.scale_model_input(x, timestep)
    return x if isinstance(process, EDM) else scaled
