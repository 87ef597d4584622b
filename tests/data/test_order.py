from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from difftuning.data import order
from difftuning.data.order import Order, permuted, step_generator


@given(st.integers(0, 50), st.integers(1, 23), st.integers(0, 90), st.integers(0, 60), st.integers(0, 60))
def test_two_reads_join_to_one(seed: int, length: int, start: int, first: int, second: int) -> None:
    whole = Order(seed, length).indices(start, first + second)
    again = Order(seed, length)
    later = again.indices(start + first, second)
    assert torch.equal(whole, torch.cat([again.indices(start, first), later]))


def test_every_epoch_is_a_new_permutation() -> None:
    epochs = Order(3, 40).indices(0, 120).view(3, 40)
    assert torch.equal(epochs.sort().values, torch.arange(40).expand(3, 40))
    assert not torch.equal(epochs[0], epochs[1])
    assert not torch.equal(epochs[0], Order(4, 40).indices(0, 40))


def test_an_empty_order_is_refused() -> None:
    with pytest.raises(ValueError, match="1 to"):
        Order(0, 0)


@given(st.integers(0, 2**40), st.integers(1, 700))
def test_a_computed_permutation_is_one(seed: int, length: int) -> None:
    found = permuted(torch.arange(length), length, torch.Generator().manual_seed(seed))
    assert torch.equal(found.sort().values, torch.arange(length))


def test_a_computed_permutation_scatters_like_a_listed_one() -> None:
    length, seeds = 1000, 400
    found = torch.stack(
        [permuted(torch.arange(length), length, torch.Generator().manual_seed(k)) for k in range(seeds)]
    )
    # The places of the first items are uniform (chi-square of 10 bins, 99.9 % of 9 degrees of freedom is 27.9) ...
    counts = torch.histc(found[:, :5].double(), 10, 0, length)
    assert float(((counts - seeds / 2) ** 2 / (seeds / 2)).sum()) < 27.9
    # ... and what follows an item is unrelated to it: a correlation of n pairs spreads by 1 / sqrt(n).
    pairs = torch.stack([found[:, :-1].flatten(), found[:, 1:].flatten()]).double()
    assert abs(float(torch.corrcoef(pairs)[0, 1])) < 4 / (seeds * length) ** 0.5 + 1 / length


def test_ten_million_items_without_a_list(monkeypatch: pytest.MonkeyPatch) -> None:
    length = 10_000_000
    monkeypatch.setattr(torch, "randperm", None)
    found = Order(1, length)
    assert torch.equal(found.indices(0, length).sort().values, torch.arange(length))
    across = found.indices(length - 3, 6)
    assert torch.equal(across, torch.cat([found.indices(length - 3, 3), found.indices(length, 3)]))


@given(st.integers(0, 90), st.integers(0, 60))
def test_a_computed_order_reads_on_like_a_listed_one(start: int, count: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(order, "LISTED", 0)
        whole = Order(5, 17).indices(0, start + count)
        assert torch.equal(whole[start:], Order(5, 17).indices(start, count))
        assert len(set(whole[:17].tolist())) == min(17, start + count)


def test_step_generators_are_pure_and_unrelated() -> None:
    def draw(*parts: object) -> list[float]:
        return torch.rand(4, generator=step_generator(*parts)).tolist()  # type: ignore[arg-type]

    assert draw(1, 7, "draw") == draw(1, 7, "draw")
    all_parts = [(seed, step, name) for seed in range(3) for step in range(3) for name in ("draw", "fill")]
    assert len({tuple(draw(*parts)) for parts in all_parts}) == 18
