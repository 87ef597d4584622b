"""The errors and gradients of the steps since the last line of the log, read seldom because each reading waits for the device.

What is not finite ends the run, with one exception: under fp16 a gradient that overflows is the sign by which the loss scale is
found. Such a step is left out by the scaler, counted, and ends the run when `SKIPS` come in a row. A spike is a step whose gradient
is more than `SPIKE` times the median one since the last line of the log. It is not left out: clipped, it moves weights no further
than any step. The log counts spikes and clipped steps, and says how large the largest gradient was.
"""

from __future__ import annotations

from itertools import chain
from operator import itemgetter

import torch
from torch import Tensor

from difftuning.errors import TrainingError
from difftuning.processes import present
from difftuning.types import Errors

SKIPS = 50
"""Steps in a row that fp16 may skip: from 65,536 on, the scale has been halved to nothing by then."""

SPIKE = 10.0
"""Times the median norm of the gradient since the last line of the log, above which a step counts as a spike."""


class LossMeter:
    """Keeps the errors of each step until they are read.

    Args:
        clip_norm: the largest gradient norm that is not clipped; 0 for none.
    """

    def __init__(self, clip_norm: float = 0.0) -> None:
        self.clip_norm = clip_norm
        self._unread: list[tuple[int, Errors]] = []
        self._norms: list[tuple[int, Tensor]] = []
        self._skipped = self._in_a_row = 0

    def add(self, step: int, errors: Errors, norm: Tensor | None = None, skipped: bool = False) -> None:
        """Keep a step.

        Args:
            step: its number, from 1 on.
            errors: of its samples, detached.
            norm: () of its gradient before clipping; None where it was not measured.
            skipped: whether the scaler of fp16 left its update out.

        Raises:
            TrainingError: too many steps in a row were left out.
        """
        self._unread.append((step, errors))
        self._in_a_row = self._in_a_row + 1 if skipped else 0
        self._skipped += skipped
        if self._in_a_row >= SKIPS:
            raise TrainingError(
                f"the gradients of {SKIPS} steps in a row, up to step {step}, overflow fp16; use training.precision=bf16 or no"
            )
        if norm is not None and not skipped:
            self._norms.append((step, norm))

    def read(self, last_good: int) -> dict[str, float]:
        """The mean error by source since the last reading, over all processes, and nothing where there was no step.

        Args:
            last_good: the step of the last checkpoint, for the message.

        Raises:
            TrainingError: an error or a gradient is not finite; this is where that is noticed.
        """
        if not self._unread:
            return {}
        unread = _of_all(self._unread)
        for step, errors in unread:
            bad = ~errors.losses().isfinite()
            if bool(bad.any()):
                source = "bank" if bool(errors.draw.from_bank[bad][0]) else "target"
                raise TrainingError(
                    f"the loss of step {step} is not finite ({int(bad.sum())} of {len(bad)} samples, the first from the "
                    f"{source}, at u = {float(errors.draw.u[bad][0]):.3f}); the last good checkpoint is of step "
                    f"{last_good}. Lower optim.lr, or use training.precision=bf16 or no"
                )
        norms = torch.stack([norm.detach().float() for _, norm in self._norms]) if self._norms else torch.zeros(0)
        if not bool(norms.isfinite().all()):
            step = self._norms[int((~norms.isfinite()).nonzero()[0])][0]
            raise TrainingError(
                f"the gradient of step {step} is not finite, though its loss is; the last good checkpoint is of step {last_good}. "
                "Lower optim.lr, or use training.precision=bf16 or no"
            )
        error = torch.cat([_whole(errors) for _, errors in unread])
        from_bank = torch.cat([errors.draw.from_bank for _, errors in unread])
        loss = torch.cat([errors.losses() for _, errors in unread]).mean()
        metrics = {"loss": float(loss), "bank_share": float(from_bank.float().mean())}
        for name, rows in (("error_target", ~from_bank), ("error_bank", from_bank)):
            if bool(rows.any()):
                metrics[name] = float(error[rows].mean())
        if len(norms):
            metrics |= {"grad_norm": float(norms.max()), "clipped": float((norms > self.clip_norm).float().mean())}
            if spikes := int((norms > SPIKE * norms.median()).sum()):
                metrics["spikes"] = spikes
        if self._skipped:
            metrics["skipped"] = self._skipped
        self._unread.clear()
        self._norms.clear()
        self._skipped = 0
        return metrics


def _of_all(unread: list[tuple[int, Errors]]) -> list[tuple[int, Errors]]:
    """The steps of all processes, in order."""
    if (processes := present()).count == 1:
        return unread
    parts = processes.gather([(step, errors.to("cpu")) for step, errors in unread])
    return sorted(chain.from_iterable(parts), key=itemgetter(0))


def _whole(errors: Errors) -> Tensor:
    """(B,) what the loss weighs: the error and the second term, where there is one."""
    return errors.error if errors.extra is None else errors.error + errors.extra
