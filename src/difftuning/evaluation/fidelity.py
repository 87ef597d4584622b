"""Distances between samples and held-out images, over the features of a named network.

All are computed from features in float64, exactly and without random subsets, so a number is reproducible.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

NEIGHBOURS = 3
"""k of the manifold estimate (Kynkaanniemi et al. 2019, section 3)."""
FEW = 2048
"""Below this many images a Frechet distance over a thousand features is mostly bias; say so beside it."""


def _factor(features: Tensor) -> tuple[Tensor, Tensor]:
    """The mean and a matrix A with A^T A = covariance, of at most D rows."""
    mean = features.mean(0)
    centred = (features - mean) / (len(features) - 1) ** 0.5
    if len(centred) > centred.shape[1]:
        values, vectors = torch.linalg.eigh(centred.T @ centred)
        centred = values.clamp(min=0).sqrt()[:, None] * vectors.T
    return mean, centred


def frechet(one: Tensor, other: Tensor) -> float:
    """The Frechet distance of the Gaussians fitted to two feature sets (Heusel et al. 2017), (n, D) and (m, D).

    With A^T A and B^T B the covariances, Tr sqrt(A^T A B^T B) is the sum of the singular values of A B^T, which needs no square
    root of a matrix and is exact for fewer images than features.
    """
    (mean_1, a), (mean_2, b) = _factor(one.double()), _factor(other.double())
    cross = torch.linalg.svdvals(a @ b.T).sum()
    return float((mean_1 - mean_2).square().sum() + a.square().sum() + b.square().sum() - 2 * cross)


def kid(one: Tensor, other: Tensor) -> float:
    """The unbiased squared MMD with the kernel (x.y / D + 1)^3 (Binkowski et al. 2018), over all pairs."""
    x, y = one.double(), other.double()
    n, m = len(x), len(y)

    def kernel(p: Tensor, q: Tensor) -> Tensor:
        return (p @ q.T / p.shape[1] + 1) ** 3

    within_x, within_y = kernel(x, x), kernel(y, y)
    return float(
        (within_x.sum() - within_x.trace()) / (n * (n - 1))
        + (within_y.sum() - within_y.trace()) / (m * (m - 1))
        - 2 * kernel(x, y).mean()
    )


def _radius(features: Tensor) -> Tensor:
    """The distance of each row to its k-th nearest other row."""
    k = min(NEIGHBOURS + 1, len(features))
    return torch.cdist(features, features).kthvalue(k, dim=1).values


def precision_recall(samples: Tensor, real: Tensor) -> tuple[float, float]:
    """The shares of samples within the real manifold and of real images within the samples' (Kynkaanniemi et al. 2019)."""
    x, y = samples.double(), real.double()
    distances = torch.cdist(x, y)
    precision = (distances <= _radius(y)[None, :]).any(1).double().mean()
    recall = (distances <= _radius(x)[:, None]).any(0).double().mean()
    return float(precision), float(recall)


def memorised(samples: Tensor, real: Tensor, training: Tensor) -> float:
    """The share of samples nearer to a training image than 95 % of held-out real images are: 0.05 is innocent, 1 is a copy."""
    nearest_sample = torch.cdist(samples.double(), training.double()).min(1).values
    nearest_real = torch.cdist(real.double(), training.double()).min(1).values
    return float((nearest_sample < nearest_real.quantile(0.05)).double().mean())


def nearest_training(samples: Tensor, training: Tensor) -> Tensor:
    """(n,) int64: the training image nearest to each sample in feature space."""
    return torch.cdist(samples.double(), training.double()).argmin(1)


@dataclass(frozen=True, slots=True)
class Fidelity:
    """How samples compare with the target.

    Attributes:
        frechet: over the network named beside it.
        kid: unbiased, so it can be below 0.
        precision: the share of samples that look like the target.
        recall: the share of the target that the samples cover.
        memorised: see `memorised`.
        samples: how many images were judged.
        real: against how many.
    """

    frechet: float
    kid: float
    precision: float
    recall: float
    memorised: float
    samples: int
    real: int

    def warning(self) -> str | None:
        """What to say beside the Frechet distance at this number of images, if anything."""
        n = min(self.samples, self.real)
        if n >= FEW:
            return None
        return f"Frechet distance over {n} images is strongly biased upwards; compare it only at equal n, and read KID beside it"


def compare(samples: Tensor, real: Tensor, training: Tensor) -> Fidelity:
    """All measures at once from features: samples (n, D), held-out real images (m, D), training images (k, D)."""
    precision, recall = precision_recall(samples, real)
    return Fidelity(
        frechet(samples, real),
        kid(samples, real),
        precision,
        recall,
        memorised(samples, real, training),
        len(samples),
        len(real),
    )
