"""The training loop, and only the loop.

One step: make the draw, fill it from the two streams, one pass, one update. Everything random is a pure function of
(seed, step), so the state of a run is its tensors, its step and two positions, and it resumes bit for bit. Each of several
processes takes its part of the batch, and one of them writes.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from difftuning.compiling import compile_blocks
from difftuning.errors import CheckpointError, ConfigError, Preempted, TrainingError
from difftuning.processes import present
from difftuning.training.checkpoints import Checkpoints, read, read_state, tensors_digest
from difftuning.training.config import TrainingConfig
from difftuning.training.ema import EMAConfig
from difftuning.training.hooks import Hook
from difftuning.training.identity import Identity
from difftuning.training.interfaces import Kept, Log, Objective, Streams
from difftuning.training.loss_meter import LossMeter
from difftuning.training.optim import OptimConfig, learning_rate, make_optimizer
from difftuning.training.parallel import passes_of
from difftuning.training.precision import attention_kernel, make_accelerator, rounding
from difftuning.types import Batch, Errors


@dataclass(slots=True)
class State:
    """Where a run is.

    Attributes:
        step: steps done.
        positions: target and bank items used.
        best: the lowest held-out error so far; None before the first.
        best_step: the step it was measured at, likewise.
        seconds: time spent in steps, over all sessions.
    """

    step: int = 0
    positions: tuple[int, int] = (0, 0)
    best: float | None = None
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
        identity: digests that go into each checkpoint and must agree on resume.
        hooks: what happens at intervals; the metric `watch` of a hook decides which checkpoint is the best.
        watch: the name of that metric.
        kept: by name, what else the state of the run is made of.
        penalty: a term of the loss over the parameters alone; None for none.
        progress: called after each step with its number and, at log steps, the metrics.
        stop: asked after each step whether to save and leave.
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
    identity: Identity = field(default_factory=Identity)
    hooks: Sequence[Hook] = ()
    watch: str = "heldout"
    kept: Mapping[str, Kept] = field(default_factory=dict)
    penalty: Callable[[], Tensor] | None = None
    progress: Callable[[int, Mapping[str, float]], None] = lambda step, metrics: None
    stop: Callable[[], bool] = lambda: False

    def __post_init__(self) -> None:
        self.device = next(iter(self.parameters.values())).device
        self.processes = present()
        size, count = self.config.batch_size, self.processes.count
        if size < count:
            raise ConfigError(f"training.batch_size={size} is too little for {count} processes; launch at most {size}")
        self._splits = self.config.passes(count)
        self.accelerator = make_accelerator(self.config.precision, self.device)
        if self.config.gradient_checkpointing:
            self.network.enable_gradient_checkpointing()  # type: ignore[operator]
        if self.config.compile:
            compile_blocks(self.network)
        self.passes = passes_of(self.accelerator, self.network, self.objective, self.parameters)
        self.parameters = self.passes.parameters
        optimizer = make_optimizer(self.parameters.values(), self.optim, self.accelerator.scaler is not None)
        self.optimizer = self.passes.prepared(optimizer, self.optim.clip_norm)
        self.ema = self.passes.average(self.ema_config)
        self.state = State()
        self._losses = LossMeter(self.optim.clip_norm)

    def run(self, until: int | None = None) -> State:
        """Go on from the last checkpoint, or from the start, to the last step (or to `until`, for a partial run).

        Raises:
            TrainingError: a loss or a gradient was not finite.
            CheckpointError: a checkpoint could not be read.
            StorageError: one could not be written.
            Preempted: `stop` said so; the state is saved.
        """
        self.resume()
        # The model as it was can be the best of all.
        if self.state.step == 0 and self._is_best(self._run_hooks()):
            self.save()
        last = self.config.steps if until is None else min(until, self.config.steps)
        self.network.train()
        while self.state.step < last:
            started = time.perf_counter()
            with rounding(self.config.tf32):
                self._optimise(self.streams.batch(self.state.step, self.state.positions))
            self.state.step += 1
            self.state.seconds += time.perf_counter() - started
            leave = self.processes.any(self.stop()) and self.state.step < last
            self.progress(self.state.step, self._after_step(leave))
            if leave:
                raise Preempted(
                    f"asked to stop: saved after step {self.state.step} of {self.config.steps}; run the same command again and "
                    "it goes on from there"
                )
        return self.state

    def _optimise(self, batch: Batch) -> None:
        """One update of the parameters and of their average."""
        # Dropout is a function of (seed, step) and of the rank, which changes the low 32 bits: a CPU reads no others.
        torch.manual_seed((self.seed * 1_000_003 + self.state.step + self.processes.rank * 0x9E3779B1) % 2**63)
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(self.state.step, self.config.steps, self.optim)
        errors = self.backward(batch)
        norm = self.passes.update(self.optimizer)
        self._losses.add(self.state.step + 1, errors, norm, self.accelerator.optimizer_step_was_skipped)
        whole = batch.draw if batch.whole is None else batch.whole
        self.ema.update(self.state.step + 1, len(whole))
        from_bank = int(whole.from_bank.sum())
        target, bank = self.state.positions
        self.state.positions = (target + len(whole) - from_bank, bank + from_bank)

    def backward(self, batch: Batch) -> Errors:
        """Add the gradients of a batch, in as many passes as configured or as there are samples; returns the errors, detached."""
        batch = batch.to(self.device)
        # The gradients of several processes are averaged, and their parts of a batch may differ by a row.
        whole, parts = len(batch if batch.whole is None else batch.whole) / self.processes.count, []
        for number, rows in enumerate(torch.arange(len(batch)).tensor_split(self._splits), start=1):
            part = batch[rows[0] : rows[-1] + 1] if len(rows) < len(batch) else batch
            last = number == self._splits
            # Around both ways: gradient checkpointing asks again on the way back, and has to find the same kernel.
            with (
                self.passes.sending(last),
                attention_kernel(self.config.precision, self.device),
            ):
                with self.accelerator.autocast():
                    errors = self.passes(part)
                self.passes.backward(errors.loss() * (len(part) / whole), last and self.penalty is None)
            parts.append(errors.detached())
        if self.penalty is not None:
            self.passes.backward(self.penalty(), last=True)
        return Errors.cat(parts, batch.draw)

    def _after_step(self, leave: bool) -> dict[str, Any]:
        step, metrics = self.state.step, {}
        save = leave or step % self.config.save_every == 0 or step == self.config.steps
        if step % self.config.log_every == 0 or save:
            metrics = self._losses.read(self.checkpoints.last_step())
            metrics["lr"] = self.optimizer.param_groups[0]["lr"]
            self.log.write(step, metrics)
        found = self._run_hooks()
        if self._is_best(found) or save:
            # Steps since the last line are looked at before they are saved, and logged with it.
            self.log.write(step, self._losses.read(self.checkpoints.last_step()))
            self._check_weights()
            self.save()
        return {**metrics, **found}

    def _is_best(self, found: Mapping[str, Any]) -> bool:
        """Whether what hooks have found is better than all before; then it is noted."""
        value = found.get(self.watch, math.nan)
        if not math.isfinite(value) or (self.state.best is not None and value >= self.state.best):
            return False
        self.state.best, self.state.best_step = value, self.state.step
        return True

    def _check_weights(self) -> None:
        """An update can be spoilt by a gradient though the error before it was finite; such weights are not saved."""
        if bad := self.passes.spoilt():
            raise TrainingError(
                f"after step {self.state.step} {len(bad)} parameters are not finite, the first is {bad[0]}; the last good "
                f"checkpoint is of step {self.checkpoints.last_step()}. Lower optim.lr, or use training.precision=bf16 or no"
            )

    def _run_hooks(self) -> dict[str, Any]:
        found: dict[str, Any] = {}
        due = [hook for hook in self.hooks if hook.due(self.state.step, self.config.steps)]
        if due:
            self.network.eval()
            with rounding(self.config.tf32), self.ema.swapped(), torch.no_grad():
                for hook in due:
                    found.update(hook.action(self.state.step))
            self.network.train()
            if self.processes.sharded:  # each has measured, and all save what one finds the best
                found = self.processes.on_main(lambda: found)
            self.log.write(self.state.step, found)
        return found

    def tensors(self) -> dict[str, dict[str, Tensor]]:
        """All tensors of the run, by checkpoint file; where processes share them, on the main one."""
        parameters: dict[str, Tensor] = {name: value.detach() for name, value in self.parameters.items()}
        optimizer = self.passes.moments(self.optimizer)
        return self.passes.put_together({"parameters": parameters, "ema": self.ema.average, "optimizer": optimizer})

    def save(self) -> None:
        """Write a checkpoint of the present state; one process does."""
        groups = self.tensors()
        self.processes.on_main(lambda: self._write(groups))

    def _write(self, groups: Mapping[str, Mapping[str, Tensor]]) -> None:
        scaler = self.accelerator.scaler
        state = {
            "positions": list(self.state.positions),
            "best": self.state.best,
            "best_step": self.state.best_step,
            "seconds": self.state.seconds,
            "scaler": scaler.state_dict() if scaler is not None else None,
            "weights_digest": tensors_digest(groups["ema"]),
            **{name: one.state() for name, one in self.kept.items()},
            **self.identity.digests,
        }
        self.checkpoints.save(self.state.step, groups, state)

    def check_identity(self) -> Path | None:
        """See that the last checkpoint, if there is one, is of this model, bank and recipe; nothing is changed, and it is returned.

        Raises:
            CheckpointError: it is of another.
        """
        # As the main process sees it: another machine may see a shared disk as it was.
        last = self.processes.on_main(self.checkpoints.last)
        if last is not None:
            self.identity.check(last, read_state(last))
        return last

    def resume(self) -> bool:
        """Take up the last checkpoint; False when there is none.

        Raises:
            CheckpointError: it cannot be read, or is of another model, bank or recipe.
        """
        last = self.check_identity()
        if last is None:
            self.log.rewind(-1)
            return False
        groups, state = read(last)
        try:
            self._take_up(self.passes.take_apart(groups), state)
        except (KeyError, ValueError, TypeError, RuntimeError) as reason:
            raise CheckpointError(
                f"{last} does not fit the model of this run ({reason}); give the run another `out`"
            ) from reason
        # What a run logs before its first step it logs again.
        self.log.rewind(self.state.step or -1)
        return True

    def _take_up(self, groups: Mapping[str, Mapping[str, Tensor]], state: Mapping[str, Any]) -> None:
        with torch.no_grad():
            for name, parameter in self.parameters.items():
                parameter.copy_(groups["parameters"][name])
        for name, one in self.kept.items():
            one.take(state.get(name))
        self.ema.take(groups["ema"])
        self.passes.take_moments(self.optimizer, groups["optimizer"])
        if self.accelerator.scaler is not None and state["scaler"] is not None:
            self.accelerator.scaler.load_state_dict(state["scaler"])
        target, bank = map(int, state["positions"])
        self.state = State(
            int(state["step"]), (target, bank), state["best"], state.get("best_step"), float(state["seconds"])
        )
