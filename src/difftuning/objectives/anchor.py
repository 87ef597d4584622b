"""A pull of the parameters towards their pretrained values: the regularisers that Diff-Tuning is compared with.

    L2-SP    strength / 2  sum_i      (theta_i - theta0_i)^2      Li et al. 2018, arXiv 1802.01483, Eq. 2
    EWC      strength / 2  sum_i F_i  (theta_i - theta0_i)^2      Kirkpatrick et al. 2017, arXiv 1612.00796, Eq. 3

F is the diagonal of the empirical Fisher information: the mean square of the gradient of each sample's error on the bank.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from difftuning.config.section import Section
from difftuning.objectives.diff_tuning import DiffTuning
from difftuning.types import Batch


class L2SPConfig(Section):
    """All parameters alike."""

    kind: Literal["l2-sp"] = "l2-sp"
    strength: float = Field(gt=0)
    """Of the pull, beside a mean squared error of about 0.1."""


class EWCConfig(Section):
    """Each parameter by what it matters for the bank."""

    kind: Literal["ewc"] = "ewc"
    strength: float = Field(gt=0)
    """Of the pull, beside a mean squared error of about 0.1."""
    draws: int = Field(512, gt=0)
    """Bank items that the Fisher information is measured on, one backward pass each, whenever a run starts or goes on."""


AnchorConfig = Annotated[L2SPConfig | EWCConfig, Field(discriminator="kind")]
"""The config of an anchor."""


class Anchor:
    """`anchor() -> ` the penalty, a scalar with gradient; it holds a copy of what the parameters are when it is made.

    Args:
        parameters: what moves, at its pretrained values.
        strength: of the pull.
        importance: of each parameter, in its shape; None for 1.
    """

    def __init__(
        self, parameters: Mapping[str, nn.Parameter], strength: float, importance: Mapping[str, Tensor] | None = None
    ) -> None:
        self.parameters, self.strength, self.importance = dict(parameters), strength, importance
        self.start = {name: value.detach().clone() for name, value in parameters.items()}

    def __call__(self) -> Tensor:
        """The penalty at the parameters as they are now."""
        parts = []
        for name, value in self.parameters.items():
            moved = (value - self.start[name]).square()
            parts.append((moved if self.importance is None else moved * self.importance[name]).sum())
        return self.strength / 2 * torch.stack(parts).sum()


def fisher(
    objective: DiffTuning, parameters: Mapping[str, nn.Parameter], batches: Iterable[Batch]
) -> dict[str, Tensor]:
    """The diagonal of the empirical Fisher information, in the shapes of the parameters.

    Args:
        objective: whose error it is of.
        parameters: what it is about.
        batches: one sample each, since the square of a mean is not the mean of squares.
    """
    total = {name: torch.zeros_like(value) for name, value in parameters.items()}
    count = 0
    for batch in batches:
        gradients = torch.autograd.grad(objective(batch).error.sum(), list(parameters.values()), allow_unused=True)
        for name, gradient in zip(parameters, gradients, strict=True):
            if gradient is not None:
                total[name] += gradient.square()
        count += len(batch)
    return {name: value / max(count, 1) for name, value in total.items()}
