"""Retention without a bank: a frozen copy of the pretrained model teaches on the target's own images (App. C of the paper).

    L_ret_KD = E_target[ xi(t) || f_theta0(x_t, t) - f_theta(x_t, t) ||^2 ]

added to the reconsolidation loss with a weight of 0.05. The teacher does not know the classes of the target, so it is asked under
its null label. It costs a second model in memory and a forward pass more a step, which is what the bank saves.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from pydantic import Field
from torch import Tensor

from difftuning.coefficients.families import Family
from difftuning.config.section import Section
from difftuning.objectives.denoising import denoise
from difftuning.objectives.diff_tuning import DiffTuning
from difftuning.types import Batch, Errors, Network


class DistillationConfig(Section):
    """The teacher in the place of the bank."""

    weight: float = Field(0.05, gt=0)
    """Of the retention loss; the paper's."""


class Distillation:
    """`objective(batch) -> Errors` for batches of target items alone, whose draw weighs them by psi.

    Args:
        objective: the student's own.
        teacher: the pretrained network, which predicts what the student does; no gradient reaches it.
        null_label: the teacher's label for "no condition", where it does not know the target's classes; None asks it what the
            student is asked, as under prompts.
        xi: retention by u.
        weight: of the retention loss.
        by_time: the weight of both losses at each time t, which the draw has for the other one; None for 1.
    """

    def __init__(
        self,
        objective: DiffTuning,
        teacher: Network,
        null_label: int | None,
        xi: Family,
        weight: float,
        by_time: Callable[[Tensor], Tensor] | None = None,
    ) -> None:
        self.objective, self.teacher, self.null_label, self.xi, self.weight = objective, teacher, null_label, xi, weight
        self.by_time = by_time

    def __call__(self, batch: Batch) -> Errors:
        """The error of each sample, and beside it what the teacher would have it do, with gradient."""
        x_t, y = denoise(self.objective.network, self.objective.process, batch)
        errors = self.objective.errors(batch, x_t, y)
        asked = batch.condition
        if self.null_label is not None:
            asked = asked.under(self.null_label)
        with torch.no_grad():
            taught = self.teacher(x_t, batch.draw.t, asked)
        apart = (y.float() - taught.float()).square().flatten(1).mean(1)
        weight = self.weight * self.xi(batch.draw.u)
        if self.by_time is not None:
            weight = weight * self.by_time(batch.draw.t)
        return Errors(errors.error, errors.draw, errors.extra, weight * apart)
