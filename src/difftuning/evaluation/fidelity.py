"""Distances between samples and held-out images, over the features of a named network.

All are computed from features in float64, exactly and without random subsets, so a number is reproducible. Matrices of
pairs are made a block of rows at a time, so that fifty thousand images fit in memory.

Why not by torchmetrics or torch-fidelity, beside which the tests run these: both take the eigenvalues of a product of two
covariances for the Frechet distance, which is less exact where there are fewer images than features, both draw random
subsets for KID, and torchmetrics would make all features once for each measure.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import torch
from torch import Tensor

from difftuning.data.cache import cache_folder
from difftuning.errors import DataError
from difftuning.evaluation.features import FeatureNetwork, cached, extract
from difftuning.results import INNOCENT

NEIGHBOURS = 3
"""k of the manifold estimate (Kynkaanniemi et al. 2019, section 3)."""
FEW = 2048
"""Below this many images a Frechet distance over a thousand features is mostly bias; say so beside it."""
LEAST = 2
"""Images that a distance needs on each side."""
BLOCK = 2**23
"""Pairs of images in one block: 64 MiB of float64."""


def _rows(x: Tensor, y: Tensor) -> Iterator[Tensor]:
    """The rows of x in parts of at most `BLOCK` pairs with y."""
    yield from torch.split(x, max(1, BLOCK // len(y)))


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
    """The unbiased squared MMD with the kernel (x.y / D + 1)^3 (Binkowski et al. 2018), over all pairs; it can be below 0."""
    x, y = one.double(), other.double()
    n, m, d = len(x), len(y), x.shape[1]

    def total(p: Tensor, q: Tensor) -> Tensor:
        return torch.stack([((part @ q.T / d + 1) ** 3).sum() for part in _rows(p, q)]).sum()

    def with_itself(p: Tensor) -> Tensor:
        return ((p.square().sum(1) / d + 1) ** 3).sum()

    return float(
        (total(x, x) - with_itself(x)) / (n * (n - 1))
        + (total(y, y) - with_itself(y)) / (m * (m - 1))
        - 2 * total(x, y) / (n * m)
    )


def _radius(features: Tensor) -> Tensor:
    """The distance of each row to its k-th nearest other row."""
    k = min(NEIGHBOURS + 1, len(features))
    return torch.cat([torch.cdist(part, features).kthvalue(k, dim=1).values for part in _rows(features, features)])


def precision_recall(samples: Tensor, real: Tensor) -> tuple[float, float]:
    """The shares of samples within the real manifold and of real images within the samples' (Kynkaanniemi et al. 2019)."""

    def covered(points: Tensor, manifold: Tensor) -> float:
        radius = _radius(manifold)
        within = [(torch.cdist(part, manifold) <= radius).any(1) for part in _rows(points, manifold)]
        return float(torch.cat(within).double().mean())

    x, y = samples.double(), real.double()
    return covered(x, y), covered(y, x)


def _nearest(features: Tensor, training: Tensor) -> tuple[Tensor, Tensor]:
    """The distance of each row to the nearest training row, and which that is.

    `cdist` goes by products, by which a copy is not quite at 0: the distance of the pair is taken again.
    """
    x, y = features.double(), training.double()
    nearest = torch.cat([torch.cdist(part, y).argmin(1) for part in _rows(x, y)])
    return (x - y[nearest]).norm(dim=1), nearest


def memorised(samples: Tensor, real: Tensor, training: Tensor) -> float:
    """The share of samples as near to a training image as the nearest 5 % of held-out real images are.

    The threshold is the 5 % quantile of the distances from held-out real images to their nearest training images, so 0.05 is
    innocent and 1 means that each sample is a copy.
    """
    nearest_sample, _ = _nearest(samples, training)
    nearest_real, _ = _nearest(real, training)
    return float((nearest_sample <= nearest_real.quantile(INNOCENT)).double().mean())


def nearest_training(samples: Tensor, training: Tensor) -> Tensor:
    """(n,) int64: the training image nearest to each sample in feature space."""
    return _nearest(samples, training)[1]


@dataclass(frozen=True, slots=True)
class Fidelity:
    """How samples compare with the target.

    Attributes:
        frechet: over the network named beside it.
        kid: unbiased, so it can be below 0.
        precision: the share of samples that look like the target.
        recall: the share of the target that the samples cover.
        memorised: see `memorised`; None where no training images were given.
        samples: how many images were judged.
        real: against how many.
    """

    frechet: float
    kid: float
    precision: float
    recall: float
    memorised: float | None
    samples: int
    real: int

    def warning(self) -> str | None:
        """What to say beside the Frechet distance at this number of images, if anything."""
        n = min(self.samples, self.real)
        if n >= FEW:
            return None
        return f"Frechet distance over {n} images is strongly biased upwards; compare it only at equal n, and read KID beside it"


def compare(samples: Tensor, real: Tensor, training: Tensor | None) -> Fidelity:
    """All measures at once from features: samples (n, D), held-out real images (m, D), training images (k, D).

    Raises:
        DataError: a set has too few images, or they are features of different networks.
    """
    for name, features, least in (
        ("samples", samples, LEAST),
        ("real images", real, LEAST),
        ("training images", training, 1),
    ):
        if features is None:
            continue
        if len(features) < least:
            raise DataError(f"{len(features)} {name} cannot be judged; give {least} or more")
        if features.shape[1] != samples.shape[1]:
            raise DataError(
                f"the {name} have {features.shape[1]} features and the samples {samples.shape[1]}; use one network for all"
            )
    precision, recall = precision_recall(samples, real)
    return Fidelity(
        frechet(samples, real),
        kid(samples, real),
        precision,
        recall,
        None if training is None else memorised(samples, real, training),
        len(samples),
        len(real),
    )


@dataclass(frozen=True, slots=True)
class Reference:
    """Images that samples are judged against, as features.

    Attributes:
        features: (N, D) float32.
        network: the digest of the network that made them.
    """

    features: Tensor
    network: str

    @classmethod
    def of(cls, images: Tensor, network: FeatureNetwork, cache_dir: Path | None = None) -> Self:
        """From uint8 (N, 3, H, W) images, cached by their and the network's content; null caches in the user's cache folder.

        Raises:
            DataError: there are no images, or they are not uint8 (N, 3, H, W).
        """
        return cls(cached(images, network, cache_dir or cache_folder() / "features"), network.digest())


class Measures(dict[str, float]):
    """Metrics by the names of result rows.

    Attributes:
        network: the feature network's name, to stand beside each number.
        warning: what to say beside the Frechet distance at this number of images, if anything.
    """

    def __init__(self, values: dict[str, float], network: str, warning: str | None) -> None:
        super().__init__(values)
        self.network, self.warning = network, warning


def evaluate(
    samples: Tensor | Iterable[Tensor], reference: Reference, training: Reference | None, network: FeatureNetwork
) -> Measures:
    """Judge samples by their images.

    Args:
        samples: uint8 (N, 3, H, W), or batches of them.
        reference: held-out real images.
        training: what the model was trained on, for `memorised`; None leaves that out.
        network: the one that made both references.

    Returns:
        "frechet" ("fid" where the network is FID's own), "kid", "precision", "recall", "memorised".

    Raises:
        DataError: images are too few, of a wrong kind, or a reference was made by another network.
    """
    for name, features in (("reference", reference), ("training", training)):
        if features is not None and features.network != network.digest():
            raise DataError(
                f"the {name} features were not made by {network.name} as it is; make them again: Reference.of"
            )
    found = compare(extract(samples, network), reference.features, None if training is None else training.features)
    values = {
        "fid" if network.is_fid else "frechet": found.frechet,
        "kid": found.kid,
        "precision": found.precision,
        "recall": found.recall,
    }
    if found.memorised is not None:
        values["memorised"] = found.memorised
    return Measures(values, network.name, found.warning())
