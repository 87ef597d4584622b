"""Interpolated weights: their ends are the two models, bit for bit, and each noise level has its own."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from backbones.families import condition, controlnet
from difftuning.backbones.interpolation import Interpolated
from difftuning.coefficients.families import Constant, Power, Step
from difftuning.errors import ModelError
from difftuning.types import Condition
from tiny import tiny_dit

X = torch.randn(6, 3, 8, 8, generator=torch.Generator().manual_seed(1))
T = torch.tensor([10.0, 950.0, 420.0, 15.0, 999.0, 0.0])
CONDITION = Condition(torch.tensor([0, 1, 2, 3, 4, 0]))


@torch.no_grad()
def test_the_ends_are_the_two_models() -> None:
    before, after = tiny_dit(seed=1), tiny_dit(seed=2)
    for share, model in ((0.0, before), (1.0, after)):
        between = Interpolated(before, after, Constant(share))
        # One level a call: kernels round by the size of a batch.
        for row in range(len(X)):
            one = slice(row, row + 1)
            assert torch.equal(between(X[one], T[one], CONDITION[one]), model(X[one], T[one], CONDITION[one]))


@torch.no_grad()
def test_all_that_an_unlocked_controlnet_trains_is_between(tmp_path: Path) -> None:
    """The second half of its UNet too, which lies outside of the ControlNet."""
    before, after = (controlnet("sd", tmp_path / str(number), unlocked=True) for number in range(2))
    for value in after.network.parameters():
        value.add_(0.1)
    assert len([name for name, _ in after.network.named_parameters() if not name.startswith("controlnet")])
    x, t = torch.randn(1, *after.sample_shape, generator=torch.Generator().manual_seed(1)), torch.tensor([400.0])
    asked = condition(after, torch.tensor([0]))
    ends = [model(x, t, asked) for model in (before, after)]
    assert not torch.equal(*ends)
    for share, end in enumerate(ends):
        assert torch.equal(Interpolated(before, after, Constant(float(share)))(x, t, asked), end)
    assert torch.equal(after(x, t, asked), ends[1]), "what it was made of is as it was"


@torch.no_grad()
def test_half_way_is_the_mean_of_the_weights() -> None:
    before, after, mean = tiny_dit(seed=1), tiny_dit(seed=2), tiny_dit(seed=2)
    for value, start in zip(mean.network.parameters(), before.network.parameters(), strict=True):
        value.add_(start).div_(2)
    torch.testing.assert_close(Interpolated(before, after, Constant(0.5))(X, T, CONDITION), mean(X, T, CONDITION))


@torch.no_grad()
@pytest.mark.parametrize(("at", "times"), [(0.5, (950, 999)), (0.013, (950, 420, 15, 999))])
def test_a_step_gives_little_noise_to_the_pretrained_weights(at: float, times: tuple[int, ...]) -> None:
    before, after = tiny_dit(seed=1), tiny_dit(seed=2)
    answer = Interpolated(before, after, Step(at))(X, T, CONDITION)
    high = torch.tensor([t in times for t in T.tolist()])
    torch.testing.assert_close(answer[high], after(X, T, CONDITION)[high])
    torch.testing.assert_close(answer[~high], before(X, T, CONDITION)[~high])


def test_neither_model_is_changed() -> None:
    before, after = tiny_dit(seed=1), tiny_dit(seed=2)
    digests = before.digest(), after.digest()
    with torch.no_grad():
        Interpolated(before, after, Power(1.0))(X, T, CONDITION)
    assert digests == (before.digest(), after.digest())


def test_what_is_no_single_model_is_not_saved(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="cannot be saved as one model"):
        Interpolated(tiny_dit(seed=1), tiny_dit(seed=2), Power(1.0)).save(tmp_path)


def test_other_label_spaces_are_refused() -> None:
    with pytest.raises(ModelError, match="other parameters"):
        Interpolated(tiny_dit(num_classes=3), tiny_dit(num_classes=4), Constant(0.5))
