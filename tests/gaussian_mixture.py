"""A Gaussian mixture, whose ideal denoiser E[x0 | x_t] is known in closed form under every noise process."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from difftuning.noise.prediction import Prediction
from difftuning.noise.process import NoiseProcess
from difftuning.types import Condition, Denoiser, Network


@dataclass(frozen=True)
class GaussianMixture:
    """Data `sum_k weight_k N(mean_k, std_k^2 I)`; label k asks for component k, label K (null) for the whole mixture.

    Attributes:
        means: (K, C, H, W).
        stds: (K,).
        weights: (K,) summing to 1.
    """

    means: Tensor
    stds: Tensor
    weights: Tensor

    @staticmethod
    def random(components: int = 3, shape: tuple[int, int, int] = (1, 2, 2), seed: int = 0) -> GaussianMixture:
        """Means of the size of pixels, standard deviations of 0.1 to 0.3, unequal weights."""
        generator = torch.Generator().manual_seed(seed)
        means = torch.randn(components, *shape, generator=generator, dtype=torch.float64) * 0.7
        stds = 0.1 + 0.2 * torch.rand(components, generator=generator, dtype=torch.float64)
        weights = torch.rand(components, generator=generator, dtype=torch.float64) + 0.5
        return GaussianMixture(means, stds, weights / weights.sum())

    @property
    def null(self) -> int:
        """The null label."""
        return len(self.means)

    @property
    def mean(self) -> Tensor:
        """(C, H, W) of the mixture."""
        return torch.einsum("k,kchw->chw", self.weights, self.means)

    @property
    def variance(self) -> Tensor:
        """(C, H, W), of each coordinate of the mixture."""
        second = self.means.square() + self.stds.square()[:, None, None, None]
        return torch.einsum("k,kchw->chw", self.weights, second) - self.mean.square()

    def default_condition(self, count: int) -> Condition:
        """`count` null labels."""
        return Condition(torch.full((count,), self.null))

    def sample(self, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Exact samples (count, C, H, W) float32 and their components (count,)."""
        labels = torch.multinomial(self.weights, count, replacement=True, generator=generator)
        noise = torch.randn(count, *self.means.shape[1:], generator=generator, dtype=torch.float64)
        return (self.means[labels] + self.stds[labels, None, None, None] * noise).float(), labels

    def posterior_mean(self, process: NoiseProcess, x_t: Tensor, t: Tensor, labels: Tensor) -> Tensor:
        """E[x0 | x_t] at t (B,), given each sample's label; computed in float64, answered in the dtype of x_t."""
        x = x_t.double()
        alpha, sigma = (value.double()[:, None] for value in (process.alpha(t), process.sigma(t)))  # (B, 1)
        variance = alpha**2 * self.stds**2 + sigma**2  # (B, K), of x_t given the component
        offset = x[:, None] - alpha[..., None, None, None] * self.means  # (B, K, C, H, W)
        distance = offset.flatten(2).square().sum(2)
        logits = self.weights.log() - x[0].numel() / 2 * variance.log() - distance / (2 * variance)
        only = torch.nn.functional.one_hot(labels.clamp(max=self.null - 1), self.null).bool()
        logits = logits.masked_fill(~only & (labels < self.null)[:, None], -torch.inf)
        gain = (alpha * self.stds**2 / variance)[..., None, None, None]
        means = self.means + gain * offset
        return torch.einsum("bk,bkchw->bchw", logits.softmax(1), means).to(x_t.dtype)

    def denoiser(self, process: NoiseProcess) -> Denoiser:
        """The ideal denoiser."""
        return lambda x_t, t, condition: self.posterior_mean(process, x_t, t, condition.labels)

    def network(self, process: NoiseProcess, prediction: Prediction) -> Network:
        """The ideal network that predicts as `prediction` says."""
        denoiser = self.denoiser(process)
        return lambda x_t, t, condition: prediction.from_x0(process, x_t, denoiser(x_t, t, condition), t)

    def flow(self, process: NoiseProcess, x_t: Tensor, t: Tensor, to: Tensor) -> Tensor:
        """Where the probability flow takes x_t from time t to time `to`; for a single Gaussian, x - alpha m scales."""
        assert len(self.means) == 1
        start, end = (self._marginal(process, time) for time in (t, to))
        return end[0] + end[1] / start[1] * (x_t.double() - start[0])

    def _marginal(self, process: NoiseProcess, t: Tensor) -> tuple[Tensor, Tensor]:
        alpha, sigma = (value.double()[:, None, None, None] for value in (process.alpha(t), process.sigma(t)))
        return alpha * self.means, (alpha**2 * self.stds**2 + sigma**2).sqrt()
