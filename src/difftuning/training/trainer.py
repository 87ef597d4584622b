"""The training loop, and only the loop.

One step: make the draw, fill it from the two streams, one pass, one update. Everything random is a pure function of
(seed, step), so the state of a run is its tensors, its step and two positions, and it resumes bit for bit.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from difftuning.config.precision import Precision
from difftuning.config.section import Section
from difftuning.errors import CheckpointError, TrainingError
from difftuning.training.checkpoints import (
    Checkpoints,
    flatten_optimizer,
    read,
    read_state,
    restore_optimizer,
    tensors_digest,
)
from difftuning.training.ema import EMA, EMAConfig
from difftuning.training.hooks import Hook
from difftuning.training.interfaces import Log, Objective, Streams
from difftuning.training.loss_meter import LossMeter
from difftuning.training.optim import OptimConfig, learning_rate, make_optimizer
from difftuning.training.precision import attention_kernel, make_accelerator
from difftuning.types import Batch, Errors


class TrainingConfig(Section):
    """How long, how large, how often."""

    steps: int = Field(1000, gt=0)
    """Optimiser steps in all."""
    batch_size: int = Field(32, gt=0)
    """Samples a step, target and bank together."""
    accumulate: int = Field(1, gt=0)
    """Passes a step is split into, to save memory; the result is the same up to rounding."""
    precision: Precision = "no"
    """Mixed precision of the pass, or `auto`; weights, optimiser and average stay float32."""
    gradient_checkpointing: bool = False
    """Recompute activations in the backward pass, to save memory."""
    label_dropout: float = Field(0.1, ge=0, le=1)
    """The share of target samples whose label becomes the null label, for classifier-free guidance."""
    retention_labels: float | None = Field(None, ge=0, le=1)
    """The share of bank items that train under a random class of the target. Where psi is small, little else tells the new classes
    what the pretrained model knows. Null for none, as in the paper: all under no condition."""
    log_every: int = Field(50, gt=0)
    """Steps between lines of metrics.jsonl."""
    heldout_every: int = Field(500, ge=0)
    """Steps between measurements of the held-out error in ten bins of u; 0 never."""
    sample_every: int = Field(0, ge=0)
    """Steps between sample grids; 0 never."""
    save_every: int = Field(500, gt=0)
    """Steps between checkpoints; the last step always saves."""
    keep: int = Field(2, gt=0)
    """Newest checkpoints that stay; the best one stays besides."""

    @model_validator(mode="after")
    def _parts_of_a_batch(self) -> TrainingConfig:
        if self.accumulate > self.batch_size:
            raise ValueError(f"accumulate={self.accumulate} passes cannot share {self.batch_size} samples; lower it")
        return self


@dataclass(slots=True)
class State:
    """Where a run is.

    Attributes:
        step: steps done.
        positions: target and bank items used.
        best: the lowest held-out error so far.
        best_step: the step it was measured at; None before the first.
        seconds: time spent in steps, over all sessions.
    """

    step: int = 0
    positions: tuple[int, int] = (0, 0)
    best: float = float("inf")
    best_step: int | None = None
    seconds: float = 0.0


@dataclass
class Trainer:
    """Trains `parameters` of `network` under `objective`.

    Attributes:
        network: the module that holds the parameters, on the accelerator's device.
        parameters: what moves, by name.
        objective: a batch in, the error of each sample out.
        streams: where batches come from.
        checkpoints: where states go.
        log: where metrics go.
        config: how long and how often.
        optim: the optimiser's settings.
        ema_config: the average's settings.
        seed: of everything random inside the network.
        identity: digests and names that go into each checkpoint and must agree on resume.
        hooks: what happens at intervals; the metric `watch` of a hook decides which checkpoint is the best.
        watch: the name of that metric.
        penalty: a term of the loss over the parameters alone; None for none.
        progress: called after each step with its number and, at log steps, the metrics.
    """

    network: nn.Module
    parameters: dict[str, nn.Parameter]
    objective: Objective
    streams: Streams
    checkpoints: Checkpoints
    log: Log
    config: TrainingConfig
    optim: OptimConfig
    ema_config: EMAConfig
    seed: int = 0
    identity: Mapping[str, str] = field(default_factory=dict)
    hooks: Sequence[Hook] = ()
    watch: str = "heldout"
    penalty: Callable[[], Tensor] | None = None
    progress: Callable[[int, Mapping[str, float]], None] = lambda step, metrics: None

    def __post_init__(self) -> None:
        self.device = next(iter(self.parameters.values())).device
        self.accelerator = make_accelerator(self.config.precision, self.device)
        if self.config.gradient_checkpointing:
            self.network.enable_gradient_checkpointing()  # type: ignore[operator]
        optimizer = make_optimizer(self.parameters.values(), self.optim)
        self.optimizer = self.accelerator.prepare_optimizer(optimizer)
        self.ema = EMA(self.parameters, self.ema_config)
        self.state = State()
        self._losses = LossMeter()

    def run(self, until: int | None = None) -> State:
        """Go on from the last checkpoint, or from the start, to the last step (or to `until`, for a partial run).

        Raises:
            TrainingError: a loss was not finite.
            CheckpointError: a checkpoint could not be read or written.
        """
        self.resume()
        if self.state.step == 0:
            self._run_hooks()
        last = self.config.steps if until is None else min(until, self.config.steps)
        self.network.train()
        while self.state.step < last:
            started = time.perf_counter()
            errors = self._optimise(self.streams.batch(self.state.step, self.state.positions))
            self.state.step += 1
            self._losses.add(self.state.step, errors)
            self.state.seconds += time.perf_counter() - started
            metrics = self._after_step()
            self.progress(self.state.step, metrics)
        return self.state

    def _optimise(self, batch: Batch) -> Errors:
        """One update of the parameters and of their average; returns the errors, detached."""
        # Anything random inside the network (dropout) is a function of (seed, step) too.
        torch.manual_seed((self.seed * 1_000_003 + self.state.step) % 2**63)
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(self.state.step, self.config.steps, self.optim)
        errors = self.backward(batch)
        if self.optim.clip_norm:
            self.accelerator.clip_grad_norm_(self.parameters.values(), self.optim.clip_norm)
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.ema.update(self.state.step + 1, len(batch))
        from_bank = int(batch.draw.from_bank.sum())
        target, bank = self.state.positions
        self.state.positions = (target + len(batch) - from_bank, bank + from_bank)
        return errors

    def backward(self, batch: Batch) -> Errors:
        """Add the gradients of a batch, in as many passes as configured; returns the errors, detached."""
        batch = batch.to(self.device)
        parts = []
        for rows in torch.arange(len(batch)).tensor_split(self.config.accumulate):
            part = batch[rows[0] : rows[-1] + 1] if len(rows) < len(batch) else batch
            # Around both ways: gradient checkpointing asks again on the way back, and has to find the same kernel.
            with attention_kernel(self.config.precision, self.device):
                with self.accelerator.autocast():
                    errors = self.objective(part)
                self.accelerator.backward(errors.loss() * (len(part) / len(batch)))
            parts.append(errors.detached())
        if self.penalty is not None:
            self.accelerator.backward(self.penalty())
        return Errors.cat(parts, batch.draw)

    def _after_step(self) -> dict[str, Any]:
        step, metrics = self.state.step, {}
        save = step % self.config.save_every == 0 or step == self.config.steps
        if step % self.config.log_every == 0 or save:
            metrics = self._losses.read(self.checkpoints.last_step())
            metrics["lr"] = self.optimizer.param_groups[0]["lr"]
            self.log.write(step, metrics)
        found = self._run_hooks()
        best = self.watch in found and found[self.watch] < self.state.best
        if best:
            self.state.best, self.state.best_step = found[self.watch], step
        if save or best:
            # Steps since the last line are looked at before they are saved, and logged with it.
            self.log.write(step, self._losses.read(self.checkpoints.last_step()))
            self._check_weights()
            self.save()
        return {**metrics, **found}

    def _check_weights(self) -> None:
        """An update can be spoilt by a gradient though the error before it was finite; such weights are not saved."""
        bad = [name for name, value in self.parameters.items() if not bool(value.isfinite().all())]
        if bad:
            raise TrainingError(
                f"after step {self.state.step} {len(bad)} parameters are not finite, the first is {bad[0]}; the last good "
                f"checkpoint is of step {self.checkpoints.last_step()}. Lower optim.lr, or use training.precision=bf16 or no"
            )

    def _run_hooks(self) -> dict[str, Any]:
        found: dict[str, Any] = {}
        due = [hook for hook in self.hooks if hook.due(self.state.step, self.config.steps)]
        if due:
            self.network.eval()
            with self.ema.swapped(), torch.no_grad():
                for hook in due:
                    found.update(hook.action(self.state.step))
            self.network.train()
            self.log.write(self.state.step, found)
        return found

    def tensors(self) -> dict[str, dict[str, Tensor]]:
        """All tensors of the run, by checkpoint file."""
        parameters: dict[str, Tensor] = {name: value.detach() for name, value in self.parameters.items()}
        optimizer = flatten_optimizer(self.optimizer, list(self.parameters))
        return {"parameters": parameters, "ema": self.ema.average, "optimizer": optimizer}

    def save(self) -> None:
        """Write a checkpoint of the present state."""
        groups = self.tensors()
        scaler = self.accelerator.scaler
        state = {
            "positions": list(self.state.positions),
            "best": self.state.best if self.state.best < float("inf") else None,
            "best_step": self.state.best_step,
            "seconds": self.state.seconds,
            "scaler": scaler.state_dict() if scaler is not None else None,
            "weights_digest": tensors_digest(groups["ema"]),
            **self.identity,
        }
        self.checkpoints.save(self.state.step, groups, state)

    def check_identity(self) -> None:
        """See that the last checkpoint, if there is one, is of this model, bank and recipe; nothing is changed.

        Raises:
            CheckpointError: it is of another.
        """
        last = self.checkpoints.last()
        if last is None:
            return
        state = read_state(last)
        for key, value in self.identity.items():
            if state.get(key) != value:
                raise CheckpointError(
                    f"{last} was made with another {key.replace('_', ' ')} ({state.get(key)}, now {value}); "
                    "give the run another `out`, or go back to the recipe that is saved there"
                )

    def resume(self) -> bool:
        """Take up the last checkpoint; False when there is none.

        Raises:
            CheckpointError: it cannot be read, or is of another model, bank or recipe.
        """
        last = self.checkpoints.last()
        if last is None:
            self.log.rewind(-1)
            return False
        self.check_identity()
        groups, state = read(last)
        with torch.no_grad():
            for name, parameter in self.parameters.items():
                parameter.copy_(groups["parameters"][name])
                self.ema.average[name].copy_(groups["ema"][name])
        restore_optimizer(self.optimizer, list(self.parameters), groups["optimizer"])
        if self.accelerator.scaler is not None and state["scaler"] is not None:
            self.accelerator.scaler.load_state_dict(state["scaler"])
        best = float("inf") if state["best"] is None else float(state["best"])
        self.state = State(state["step"], tuple(state["positions"]), best, state.get("best_step"), state["seconds"])
        # What a run logs before its first step it logs again.
        self.log.rewind(self.state.step or -1)
        return True
