"""The stream that a source model learns from: all images in a new order each epoch, as a pure function of (seed, step)."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor

from difftuning.noise.clock import Clock
from difftuning.types import Batch, Condition, Draw


class Law(Protocol):
    """What is asked of a model."""

    @property
    def clock(self) -> Clock:
        """Its training law of t."""
        ...

    @property
    def null(self) -> int:
        """Its null label."""
        ...


class Epochs:
    """The images in a new order each epoch; times by the uniform law, one per stratum of u.

    Args:
        images: (N, C, H, W) float32, pixels in [-1, 1] or latents.
        labels: (N,) int64.
        law: the clock and the null label of a model.
        batch_size: images a step.
        dropout: the share of labels that become the null label.
        flip: mirror half of the images.
        seed: of everything.
    """

    def __init__(
        self, images: Tensor, labels: Tensor, law: Law, batch_size: int, dropout: float, flip: bool, seed: int
    ) -> None:
        self.images, self.labels, self.law, self.seed = images, labels, law, seed
        self.batch_size, self.dropout, self.flip = batch_size, dropout, flip

    def batch(self, step: int, positions: tuple[int, int]) -> Batch:
        """A pure function of (seed, step)."""
        size = self.batch_size
        places = torch.arange(step * size, (step + 1) * size)
        epochs = places // len(self.images)
        orders = {int(epoch): self._order(int(epoch)) for epoch in epochs.unique()}
        rows = torch.stack(
            [orders[int(epoch)][int(place) % len(self.images)] for epoch, place in zip(epochs, places, strict=True)]
        )
        generator = torch.Generator().manual_seed(self.seed * 7_919 + step)
        x0 = self.images[rows]
        flip = (torch.rand(size, generator=generator) < 0.5) & self.flip
        x0 = torch.where(flip[:, None, None, None], x0.flip(-1), x0)
        dropped = torch.rand(size, generator=generator) < self.dropout
        labels = torch.where(dropped, self.law.null, self.labels[rows])
        u = (torch.randperm(size, generator=generator) + torch.rand(size, generator=generator)) / size
        t = self.law.clock.t(u)
        draw = Draw(t, self.law.clock.u(t), torch.zeros(size, dtype=torch.bool), torch.ones(size))
        return Batch(x0, torch.randn(x0.shape, generator=generator), Condition(labels), draw)

    def _order(self, epoch: int) -> Tensor:
        return torch.randperm(len(self.images), generator=torch.Generator().manual_seed(self.seed * 104_729 + epoch))
