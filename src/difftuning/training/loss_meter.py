"""The errors of the steps since the last line of the log, read seldom because each reading waits for the device."""

from __future__ import annotations

import torch
from torch import Tensor

from difftuning.errors import TrainingError
from difftuning.types import Errors


class LossMeter:
    """Keeps the errors of each step until they are read."""

    def __init__(self) -> None:
        self._unread: list[tuple[int, Errors]] = []

    def add(self, step: int, errors: Errors) -> None:
        """Keep the errors of a step, detached."""
        self._unread.append((step, errors))

    def read(self, last_good: int) -> dict[str, float]:
        """The mean error by source since the last reading, and nothing where there was no step.

        Args:
            last_good: the step of the last checkpoint, for the message.

        Raises:
            TrainingError: an error is not finite; this is where that is noticed.
        """
        if not self._unread:
            return {}
        for step, errors in self._unread:
            bad = ~errors.losses().isfinite()
            if bool(bad.any()):
                source = "bank" if bool(errors.draw.from_bank[bad].any()) else "target"
                raise TrainingError(
                    f"the loss of step {step} is not finite ({int(bad.sum())} of {len(bad)} samples, the first from the "
                    f"{source}, at u = {float(errors.draw.u[bad][0]):.3f}); the last good checkpoint is of step "
                    f"{last_good}. Lower optim.lr, or use training.precision=bf16 or no"
                )
        error = torch.cat([_whole(errors) for _, errors in self._unread])
        from_bank = torch.cat([errors.draw.from_bank for _, errors in self._unread])
        loss = torch.cat([errors.losses() for _, errors in self._unread]).mean()
        metrics = {"loss": float(loss), "bank_share": float(from_bank.float().mean())}
        for name, rows in (("error_target", ~from_bank), ("error_bank", from_bank)):
            if bool(rows.any()):
                metrics[name] = float(error[rows].mean())
        self._unread.clear()
        return metrics


def _whole(errors: Errors) -> Tensor:
    """(B,) what the loss weighs: the error and the second term, where there is one."""
    return errors.error if errors.extra is None else errors.error + errors.extra
