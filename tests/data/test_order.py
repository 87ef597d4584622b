from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from difftuning.data.order import Order, step_generator


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
    with pytest.raises(ValueError, match="one item"):
        Order(0, 0)


def test_step_generators_are_pure_and_unrelated() -> None:
    def draw(*parts: object) -> list[float]:
        return torch.rand(4, generator=step_generator(*parts)).tolist()  # type: ignore[arg-type]

    assert draw(1, 7, "draw") == draw(1, 7, "draw")
    all_parts = [(seed, step, name) for seed in range(3) for step in range(3) for name in ("draw", "fill")]
    assert len({tuple(draw(*parts)) for parts in all_parts}) == 18
