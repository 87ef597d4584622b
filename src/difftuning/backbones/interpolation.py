"""Weights between the pretrained and the fine-tuned ones, by noise level.

    theta(u) = theta0 + a(u) (theta - theta0)

A constant a is WiSE-FT (Wortsman et al. 2022, arXiv 2109.01903). An a that steps from 0 to 1 hands the last part of the
denoising to the pretrained weights, as the swap curve does.
"""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from difftuning.backbones.base import Backbone
from difftuning.backbones.labels import LabelChange
from difftuning.coefficients.chain import midpoints
from difftuning.coefficients.families import Family, Step
from difftuning.errors import ModelError
from difftuning.types import Condition

LEVELS = 10
"""Equal bins of u, each with the weights of its middle: those of the held-out error. A step is taken where it is."""


class Interpolated(Backbone):
    """A model to draw from and to measure. It holds two copies of the weights besides those that it was given.

    Args:
        before: theta0, with the labels of `after` (see `Backbone.change_labels`).
        after: theta.
        share: a(u), in [0, 1].

    Raises:
        ModelError: the two have other parameters.
    """

    def __init__(self, before: Backbone, after: Backbone, share: Family) -> None:
        self.__dict__ |= after.__dict__
        self.inner = copy.deepcopy(after)
        self.inner.codec = after.codec
        self.network = self.inner.network
        self.origins = (before.digest(), after.digest())
        self.share = share
        self.start, self.stop = (
            {name: value.detach().clone() for name, value in model.network.named_parameters()}
            for model in (before, after)
        )
        shapes = [{name: value.shape for name, value in state.items()} for state in (self.start, self.stop)]
        if shapes[0] != shapes[1]:
            raise ModelError(f"{after.name} cannot be interpolated with {before.name}: they have other parameters")
        self.at: float | None = None

    def __call__(self, x_t: Tensor, t: Tensor, condition: Condition, /) -> Tensor:
        """The answer of each sample's own weights; samples of one share are asked together."""
        u = self.clock.u(t).cpu().double()
        if not isinstance(self.share, Step):
            u = ((u * LEVELS).long().clamp(0, LEVELS - 1) + 0.5) / LEVELS
        shares = self.share(u)
        found = sorted(set(shares.tolist()))
        if len(found) == 1:
            return self._at(found[0])(x_t, t, condition)
        parts = [(shares == share).nonzero().squeeze(1).to(x_t.device) for share in found]
        answers = [self._at(share)(x_t[at], t[at], condition[at]) for share, at in zip(found, parts, strict=True)]
        answer = answers[0].new_empty(len(x_t), *answers[0].shape[1:])
        for at, one in zip(parts, answers, strict=True):
            answer[at] = one
        return answer

    @torch.no_grad()
    def _at(self, share: float) -> Backbone:
        """The model with the weights of a share."""
        if share != self.at:
            for name, value in self.network.named_parameters():
                value.copy_(torch.lerp(self.start[name], self.stop[name], share))
        self.at = share
        return self.inner

    @property
    def default_label(self) -> int:
        """The row of the model's default condition."""
        return self.inner.default_label

    def rows(self, names: Sequence[str]) -> Tensor:
        """(n,) int64: the rows of classes by name, or of any prompts."""
        rows = self.inner.rows(names)
        self.labels = self.inner.labels
        return rows

    def change_labels(self, change: LabelChange, target: tuple[str, ...]) -> Tensor:
        """Refused: change those of the two models."""
        raise ModelError(
            f"{self.name}: interpolated weights are drawn from; change the labels of the two models instead"
        )

    def digest(self) -> str:
        """Of both models and the curve."""
        return hashlib.sha256(f"{self.origins}{self.share(midpoints()).tolist()}".encode()).hexdigest()

    def save(self, folder: Path, dtype: torch.dtype = torch.float32) -> None:
        """Refused: no single set of weights is this model."""
        raise ModelError(f"{self.name}: interpolated weights differ by noise level and cannot be saved as one model")
