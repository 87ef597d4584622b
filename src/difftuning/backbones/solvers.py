"""Solvers by name: the diffusers scheduler that goes with a model's own scheduler config.

    name    variance preserving       flow                     EDM
    ddpm    DDPM                      -                        -
    ddim    DDIM                      -                        -
    dpm++   DPMSolverMultistep (2M)   DPMSolverMultistep       EDMDPMSolverMultistep
    dpm++lu the same, by log-SNR      -                        -
    unipc   UniPCMultistep            UniPCMultistep           -
    euler   EulerDiscrete             FlowMatchEulerDiscrete   EDMEuler
    heun    HeunDiscrete              FlowMatchHeunDiscrete    EDMHeun (ours)

Only ddpm draws noise. heun asks the denoiser twice a step, the others once. dpm++lu takes its steps even in log-SNR, as its paper
has them (Lu et al. 2022), where dpm++ takes those of the model's scheduler.
"""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from typing import Any

import numpy as np
import torch
from diffusers import (
    DDIMScheduler,
    DDPMScheduler,
    DPMSolverMultistepScheduler,
    EDMDPMSolverMultistepScheduler,
    EDMEulerScheduler,
    EulerDiscreteScheduler,
    FlowMatchEulerDiscreteScheduler,
    FlowMatchHeunDiscreteScheduler,
    HeunDiscreteScheduler,
    UniPCMultistepScheduler,
)

from difftuning.errors import ConfigError, ModelError, did_you_mean
from difftuning.noise.process import EDM, NoiseProcess, StraightFlow, VariancePreserving, from_scheduler_config
from difftuning.sampling.edm_heun import EDMHeunScheduler
from difftuning.sampling.loop import SolverName, Spacing

EVEN = "even_sigmas"
"""The key of a scheduler's config, ours: `FluxPipeline` hands its scheduler the levels 1 ... 1/n in even steps, to be shifted."""


class EvenFlowMatchEuler(FlowMatchEulerDiscreteScheduler):
    """Euler on the levels that FluxPipeline asks for; the scheduler's own end at no noise and would waste the last step."""

    def set_timesteps(self, num_inference_steps: int, device: str | torch.device | None = None) -> None:
        """The levels of so many steps."""
        sigmas = np.linspace(1.0, 1 / num_inference_steps, num_inference_steps).tolist()
        super().set_timesteps(device=device, sigmas=sigmas)  # type: ignore[misc]


class GridDDIM(DDIMScheduler):
    """DDIM that steps to the next timestep of its grid; diffusers' own steps down by T // steps, away from a grid of T / steps."""

    def step(self, model_output: Any, timestep: Any, *arguments: Any, **options: Any) -> Any:
        """One step; see diffusers."""
        own: Any = self
        grid, steps = own.timesteps.tolist(), own.num_inference_steps
        at = grid.index(int(timestep))
        gap = grid[at] - (grid[at + 1] if at + 1 < len(grid) else -1)
        # What the parent takes the gap from; a fraction, so that its floor division gives it back.
        own.num_inference_steps = Fraction(own.config.num_train_timesteps, gap)
        try:
            return super().step(model_output, timestep, *arguments, **options)  # type: ignore[misc]
        finally:
            own.num_inference_steps = steps


_CLASSES: dict[type[NoiseProcess], dict[str, Any]] = {
    VariancePreserving: {
        "ddpm": DDPMScheduler,
        "ddim": GridDDIM,
        "dpm++": DPMSolverMultistepScheduler,
        "dpm++lu": DPMSolverMultistepScheduler,
        "unipc": UniPCMultistepScheduler,
        "euler": EulerDiscreteScheduler,
        "heun": HeunDiscreteScheduler,
    },
    StraightFlow: {
        "dpm++": DPMSolverMultistepScheduler,
        "unipc": UniPCMultistepScheduler,
        "euler": FlowMatchEulerDiscreteScheduler,
        "heun": FlowMatchHeunDiscreteScheduler,
    },
    EDM: {"dpm++": EDMDPMSolverMultistepScheduler, "euler": EDMEulerScheduler, "heun": EDMHeunScheduler},
}

# What `VariancePreserving` is built from, with the defaults that it and diffusers' DDPM share.
_TABLE: dict[str, Any] = {
    "num_train_timesteps": 1000,
    "beta_start": 1e-4,
    "beta_end": 0.02,
    "beta_schedule": "linear",
    "prediction_type": "epsilon",
}

SOLVERS = tuple(_CLASSES[VariancePreserving])


def usual_solver(scheduler_config: Mapping[str, Any]) -> SolverName:
    """What a model with this scheduler config is drawn with where nobody chooses: DDIM, or DPM-Solver++ where that is not for it.

    Raises:
        ModelError: the config describes no known process.
    """
    return "ddim" if "ddim" in _CLASSES[type(from_scheduler_config(scheduler_config))] else "dpm++"


def make_scheduler(name: str, scheduler_config: Mapping[str, Any], spacing: Spacing | None = None) -> Any:
    """The scheduler that solves with this method, for a model with this scheduler config.

    Args:
        name: one of `SOLVERS`.
        scheduler_config: the content of the model's `scheduler_config.json`. All of it that the solver knows is kept:
            noise table, prediction type, spacing of timesteps, clipping.
        spacing: takes the place of the config's.

    Raises:
        ConfigError: no such solver, or not for this kind of process, or a spacing that it cannot have.
        ModelError: the config describes no known process.
    """
    if name not in SOLVERS:
        raise ConfigError(f"solver {name!r} is not known{did_you_mean(name, SOLVERS)}")
    kind = type(from_scheduler_config(scheduler_config))
    if name not in _CLASSES[kind]:
        choices = ", ".join(_CLASSES[kind])
        raise ConfigError(f"solver {name!r} cannot sample a {kind.__name__} model; choose from {choices}")
    if name in ("heun", "dpm++lu") and scheduler_config.get("rescale_betas_zero_snr"):
        raise ConfigError(f"solver {name!r} cannot sample a model with rescale_betas_zero_snr; choose 'euler'")
    # A config in memory lists the entries that were defaults of its class, and diffusers would put the solver's own in
    # their place; the same config read from a file keeps them.
    kept = {key: value for key, value in scheduler_config.items() if key not in ("_use_default_values", EVEN)}
    if spacing is not None:
        if kind is not VariancePreserving:
            raise ConfigError(
                f"spacing={spacing} is for models with a table of timesteps, not for {kind.__name__}; set it to null"
            )
        if name == "dpm++lu":
            raise ConfigError(f"solver {name!r} cannot take spacing={spacing}; set it to null, or choose 'dpm++'")
        kept["timestep_spacing"] = spacing
    # Its second evaluation would stand where the log-SNR of the cosine table falls off a cliff, and the first step leaps.
    cliff = kind is VariancePreserving and kept.get("beta_schedule") == "squaredcos_cap_v2"
    if name == "heun" and cliff and (places := kept.setdefault("timestep_spacing", "leading")) != "leading":
        raise ConfigError(
            f"solver 'heun' cannot sample a model of the cosine table with spacing={places}; set it to leading, or choose 'dpm++'"
        )
    made = EvenFlowMatchEuler if name == "euler" and scheduler_config.get(EVEN) else _CLASSES[kind][name]
    try:
        return made.from_config(kept, **_overrides(name, kind, kept))
    except Exception as reason:  # what diffusers answers to values that it does not know is of several kinds
        what = f"{type(reason).__name__}: {reason}"
        raise ModelError(f"the scheduler config does not do for the solver {name!r} ({what})") from reason


def _overrides(name: str, kind: type[NoiseProcess], config: Mapping[str, Any]) -> dict[str, Any]:
    if kind is StraightFlow:
        shift = config.get("shift", config.get("flow_shift", 1.0))
        if name in ("euler", "heun"):
            return {"shift": shift}
        return {"use_flow_sigmas": True, "prediction_type": "flow_prediction", "flow_shift": shift}
    if kind is EDM:
        return {}
    # Stated for configs that leave them out: Heun's own defaults, alone among these, are those of Stable Diffusion.
    overrides = {key: config.get(key, default) for key, default in _TABLE.items()}
    if name in ("ddpm", "ddim"):
        # Their own default clips x0-hat to [-1, 1], which a config of another solver knows nothing of and latents do not bear.
        overrides["clip_sample"] = config.get("clip_sample", False)
    if name == "ddpm" and config.get("variance_type") in ("learned", "learned_range"):
        # The loop hands on x0-hat, without the learned variance; the posterior's variance takes its place.
        overrides["variance_type"] = "fixed_small"
    if name in ("dpm++", "dpm++lu"):
        # Else a learned variance makes diffusers cut the answer to three channels, and an sde- variant draws noise.
        overrides |= {"variance_type": None, "algorithm_type": "dpmsolver++"}
        if config.get("beta_schedule") == "squaredcos_cap_v2":
            # diffusers' own advice for the cosine table, whose log-SNR falls off a cliff at the end.
            overrides["lambda_min_clipped"] = -5.1
    if name == "dpm++lu":
        overrides |= {"use_lu_lambdas": True, "use_karras_sigmas": False}
    return overrides
