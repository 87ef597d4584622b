"""Distances against closed forms and against torchmetrics and torch-fidelity, run beside ours."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch
from torch import nn

from difftuning.errors import DataError
from difftuning.evaluation import fidelity
from difftuning.evaluation.features import UserNetwork, extract
from difftuning.evaluation.fidelity import (
    FEW,
    Reference,
    compare,
    evaluate,
    frechet,
    kid,
    memorised,
    nearest_training,
    precision_recall,
)


def normal(n: int, d: int, seed: int, shift: float = 0.0, scale: float = 1.0) -> torch.Tensor:
    return shift + scale * torch.randn(n, d, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(("n", "m", "d"), [(300, 200, 8), (20, 30, 64), (40, 200, 64)])
def test_frechet_agrees_with_torchmetrics(n: int, m: int, d: int) -> None:
    from torchmetrics.image.fid import _compute_fid

    x, y = normal(n, d, 0).double(), normal(m, d, 1, 0.3, 1.5).double()
    theirs = float(_compute_fid(x.mean(0), x.T.cov(), y.mean(0), y.T.cov()))
    assert frechet(x, y) == pytest.approx(theirs, rel=1e-6)


def test_frechet_of_known_gaussians() -> None:
    # Two points a coordinate: the sample mean and variance are exactly those wanted.
    x, y = torch.tensor([[-1.0], [1.0]]), torch.tensor([[1.0], [5.0]])
    sd_x, sd_y = 2**0.5, 8**0.5
    assert frechet(x, y) == pytest.approx(3.0**2 + (sd_x - sd_y) ** 2, rel=1e-9)
    assert frechet(x, x) == pytest.approx(0, abs=1e-9)


def test_kid_is_the_mean_over_all_pairs() -> None:
    x, y = normal(7, 5, 0), normal(9, 5, 1, 0.5)

    def kernel(p: torch.Tensor, q: torch.Tensor) -> float:
        return float((p.double() @ q.double() / 5 + 1) ** 3)

    xx = sum(kernel(x[i], x[j]) for i in range(7) for j in range(7) if i != j) / (7 * 6)
    yy = sum(kernel(y[i], y[j]) for i in range(9) for j in range(9) if i != j) / (9 * 8)
    xy = sum(kernel(a, b) for a in x for b in y) / 63
    assert kid(x, y) == pytest.approx(xx + yy - 2 * xy, rel=1e-12)


def test_kid_is_unbiased() -> None:
    values = torch.tensor([kid(normal(20, 4, seed), normal(20, 4, 1000 + seed)) for seed in range(300)])
    assert abs(float(values.mean())) < 4 * float(values.std()) / 300**0.5


def test_precision_and_recall_agree_with_torch_fidelity() -> None:
    from torch_fidelity.metric_prc import prc_features_to_metric

    x, y = normal(60, 6, 0), normal(50, 6, 1, 0.8)
    options = {"prc_neighborhood": 3, "prc_batch_size": 100, "verbose": False}
    theirs = prc_features_to_metric(x, y, **options)
    ours = precision_recall(x, y)
    assert ours == pytest.approx((theirs["precision"], theirs["recall"]), abs=1e-6)


def test_precision_and_recall_of_a_collapse() -> None:
    real = normal(100, 3, 0)
    collapsed = real[:1] + 1e-4 * normal(50, 3, 1)
    precision, recall = precision_recall(collapsed, real)
    assert precision == 1
    assert recall <= 0.05


def test_copies_are_memorised_and_fresh_draws_are_not() -> None:
    training, real = normal(300, 4, 0), normal(300, 4, 1)
    assert memorised(training[:50] + 1e-6, real, training) == 1
    assert memorised(normal(2000, 4, 2), real, training) == pytest.approx(0.05, abs=0.03)
    assert torch.equal(nearest_training(training[5:9], training), torch.arange(5, 9))


def test_copies_are_memorised_where_held_out_images_are_copies_too() -> None:
    """Then the threshold is 0, and by products of matrices a copy would lie beside it."""
    generator = torch.Generator().manual_seed(0)
    training = 10 + torch.rand(100, 1280, generator=generator)
    real = torch.cat([training[:8], 10 + torch.rand(92, 1280, generator=generator)])
    assert memorised(training.flip(0), real, training) == 1


def test_few_images_come_with_a_warning() -> None:
    x = normal(30, 3, 0)
    found = compare(x, normal(20, 3, 1), normal(10, 3, 2))
    assert "20 images" in (found.warning() or "")
    assert compare(normal(FEW, 1, 0), normal(FEW, 1, 1), x[:, :1]).warning() is None


class Pixels(nn.Module):
    """The identity: an image is its own features."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return images.float()


def pictures(n: int, seed: int, mean: float = 120.0) -> torch.Tensor:
    return normal(n, 12, seed, mean, 20.0).round().clamp(0, 255).to(torch.uint8).reshape(n, 3, 2, 2)


@pytest.fixture
def pixels(monkeypatch: pytest.MonkeyPatch) -> UserNetwork:
    module = ModuleType("users_networks")
    monkeypatch.setattr(module, "Pixels", Pixels, raising=False)
    monkeypatch.setitem(sys.modules, "users_networks", module)
    return UserNetwork("users_networks:Pixels")


def test_samples_judged_by_their_images_agree_with_torchmetrics_and_torch_fidelity(
    pixels: UserNetwork, tmp_path: Path
) -> None:
    from torch_fidelity.metric_kid import kid_features_to_metric
    from torchmetrics.image.fid import FrechetInceptionDistance

    class Exact(Pixels):
        num_features = 12

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return images.flatten(1).double()

    samples, real = pictures(70, 0), pictures(70, 1, 125.0)
    found = evaluate(samples, Reference.of(real, pixels, tmp_path), None, pixels)
    theirs = FrechetInceptionDistance(feature=Exact())
    theirs.update(real, real=True)
    theirs.update(samples, real=False)
    # torchmetrics gives the last number as float32.
    assert found["frechet"] == pytest.approx(float(theirs.compute()), rel=1e-6)
    # One subset of all images is the whole set.
    options = {"kid_subsets": 1, "kid_subset_size": 70, "kid_kernel": "poly", "kid_kernel_poly_degree": 3}
    options |= {"kid_kernel_poly_gamma": None, "kid_kernel_poly_coef0": 1.0, "rng_seed": 0, "verbose": False}
    doubles = [images.flatten(1).double() for images in (samples, real)]
    assert found["kid"] == pytest.approx(kid_features_to_metric(*doubles, **options)["kernel_inception_distance_mean"])
    assert set(found) == {"frechet", "kid", "precision", "recall"}
    assert "70 images" in (found.warning or "")
    assert found.network == pixels.name


def test_batches_of_any_size_give_the_same_numbers(pixels: UserNetwork, tmp_path: Path) -> None:
    samples, real, training = pictures(53, 0), Reference.of(pictures(40, 1), pixels, tmp_path), pictures(30, 2)
    seen = Reference.of(training, pixels, tmp_path)
    whole = evaluate(samples, real, seen, pixels)
    for size in (1, 7, 53):
        assert evaluate(iter(samples.split(size)), real, seen, pixels) == whole
    assert evaluate(training[:20], real, seen, pixels)["memorised"] == 1


def test_blocks_of_rows_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    x, y, training = normal(90, 6, 0), normal(70, 6, 1, 0.5), normal(50, 6, 2)
    whole = compare(x, y, training)
    monkeypatch.setattr(fidelity, "BLOCK", 200)
    parts = compare(x, y, training)
    assert parts.kid == pytest.approx(whole.kid, rel=1e-10)
    assert (parts.precision, parts.recall, parts.memorised) == (whole.precision, whole.recall, whole.memorised)


def test_a_distance_is_called_fid_only_over_fids_own_network(pixels: UserNetwork, tmp_path: Path) -> None:
    images = pictures(10, 0)
    reference = Reference.of(images, pixels, tmp_path)
    assert "fid" not in evaluate(images, reference, None, pixels)
    pixels.is_fid = True
    named = evaluate(images, reference, None, pixels)
    assert "fid" in named
    assert "frechet" not in named


def test_what_cannot_be_judged_is_named(pixels: UserNetwork, tmp_path: Path) -> None:
    reference = Reference.of(pictures(10, 0), pixels, tmp_path)
    with pytest.raises(DataError, match="1 samples cannot be judged"):
        evaluate(pictures(1, 1), reference, None, pixels)
    with pytest.raises(DataError, match="go through to_uint8"):
        evaluate(torch.zeros(4, 3, 2, 2), reference, None, pixels)
    with pytest.raises(DataError, match="no images"):
        extract([], pixels)
    with pytest.raises(DataError, match="were not made by"):
        evaluate(pictures(4, 1), Reference(reference.features, "other"), None, pixels)
    with pytest.raises(DataError, match="one network for all"):
        compare(normal(4, 3, 0), normal(4, 2, 1), None)
