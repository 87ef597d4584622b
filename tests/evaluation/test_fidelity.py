"""Distances against closed forms and against torchmetrics and torch-fidelity, run beside ours."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from difftuning.errors import ConfigError
from difftuning.evaluation.drift import weight_drift
from difftuning.evaluation.features import cached, extract, feature_network, to_uint8
from difftuning.evaluation.fidelity import (
    FEW,
    compare,
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
    assert frechet(x, y) == pytest.approx(theirs, rel=1e-5)


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


def test_few_images_come_with_a_warning() -> None:
    x = normal(30, 3, 0)
    found = compare(x, normal(20, 3, 1), normal(10, 3, 2))
    assert "20 images" in (found.warning() or "")
    assert compare(normal(FEW, 1, 0), normal(FEW, 1, 1), x[:, :1]).warning() is None


class Mean(nn.Module):
    """A user's network: the mean colour."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return images.float().mean((2, 3))


def test_a_users_own_module(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys
    import types

    module = types.ModuleType("users_module")
    module.Mean = Mean  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "users_module", module)
    network = feature_network("module:users_module:Mean")
    images = torch.full((2, 3, 4, 4), 7, dtype=torch.uint8)
    assert torch.equal(network(images), torch.full((2, 3), 7.0))
    assert network.name == "users_module:Mean"
    with pytest.raises(ConfigError, match="write module:package"):
        feature_network("module:users_module:Man")


def test_an_unknown_network_gets_the_nearest() -> None:
    with pytest.raises(ConfigError, match="did you mean 'efficientnet-lite0'"):
        feature_network("efficientnet-lite")


def test_the_offline_network_is_deterministic_whatever_the_batch(tmp_path: Path) -> None:
    network = feature_network("efficientnet-lite0")
    images = torch.randint(0, 256, (5, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    together = extract(images, network)
    assert together.shape == (5, 1280)
    assert torch.equal(together, extract(images, network))
    one_by_one = torch.cat([network(image[None]) for image in images])
    assert torch.allclose(together, one_by_one, atol=1e-4)
    assert not network.is_fid


def test_cached_features_are_the_same_bits_and_a_damaged_entry_is_made_again(tmp_path: Path) -> None:
    network = feature_network("efficientnet-lite0")
    images = torch.randint(0, 256, (3, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    first = cached(images, network, tmp_path)
    (entry,) = tmp_path.iterdir()
    assert torch.equal(cached(images, network, tmp_path), first)
    entry.write_bytes(entry.read_bytes()[:100])
    assert torch.equal(cached(images, network, tmp_path), first)
    other = images.clone()
    other[0, 0, 0, 0] ^= 255
    cached(other, network, tmp_path)
    assert len(list(tmp_path.iterdir())) == 2


def test_to_uint8_rounds_and_clamps() -> None:
    assert to_uint8(torch.tensor([-2.0, -1.0, 0.0, 1.0, 2.0])).tolist() == [0, 0, 128, 255, 255]


def test_drift_is_the_squared_distance_by_parameter() -> None:
    before = {"a": torch.zeros(3), "b": torch.ones(2), "table": torch.zeros(5, 2)}
    after = {"a": torch.full((3,), 2.0), "b": torch.ones(2), "table": torch.zeros(3, 2)}
    assert weight_drift(before, after) == {"a": 12.0, "b": 0.0}
