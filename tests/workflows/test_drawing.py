"""Where a device's memory runs out, the same images are drawn and decoded fewer at a time."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from difftuning.types import Condition
from difftuning.workflows.at_once import AtOnce
from difftuning.workflows.drawing import draw_images
from difftuning.workflows.recipe import SamplingConfig
from tiny import tiny_dit


@pytest.mark.parametrize(
    ("holds", "sizes"), [(9, [5, 5, 1]), (4, [2, 2, 2, 2, 2, 1]), (1, [1] * 11)], ids=("all", "some", "one")
)
def test_work_that_does_not_fit_is_halved_and_done_once(holds: int, sizes: list[int]) -> None:
    done: list[int] = []

    def work(start: int, stop: int) -> Tensor:
        if stop - start > holds:
            raise torch.OutOfMemoryError
        done.append(stop - start)
        return torch.arange(start, stop)

    assert AtOnce(5).of(11, work).tolist() == list(range(11))
    assert done == sizes


def test_what_was_learned_of_a_device_is_kept() -> None:
    asked: list[int] = []

    def work(start: int, stop: int) -> Tensor:
        asked.append(stop - start)
        if stop - start > 2:
            raise torch.OutOfMemoryError
        return torch.arange(start, stop)

    at_once = AtOnce(8)
    assert len(at_once.of(8, work)) == len(at_once.of(8, work)) == 8
    assert asked == [8, 4, *[2] * 8]


def test_a_single_item_that_does_not_fit_is_an_error() -> None:
    def work(start: int, stop: int) -> Tensor:
        raise torch.OutOfMemoryError("the device's own words")

    with pytest.raises(torch.OutOfMemoryError, match="the device's own words"):
        AtOnce(4).of(4, work)


def test_images_do_not_depend_on_how_many_a_device_holds() -> None:
    model = tiny_dit()
    conditions = Condition(torch.arange(7) % len(model.labels))
    config = SamplingConfig(solver="ddpm", steps=3, guidance=1.0, batch_size=8)
    whole = draw_images(model, conditions, config)
    threes = draw_images(model, conditions, config.model_copy(update={"batch_size": 3}))
    asked: list[int] = []

    def small(network: object, given: tuple[Any, ...], named: dict[str, Any]) -> None:
        size = len(given[0] if given else named["hidden_states"])
        asked.append(size)
        if size > 3:
            raise torch.OutOfMemoryError

    told: list[int] = []
    hook = model.network.register_forward_pre_hook(small, with_kwargs=True)
    fewer = draw_images(model, conditions, config, told.append)
    hook.remove()
    assert asked[0] == 7
    assert set(asked[1:]) == {3, 1}
    assert sum(told) == 7
    assert (fewer.int() - whole.int()).abs().max() <= 1, "kernels round by the size of a batch"
    assert torch.equal(fewer, threes)


def test_images_are_decoded_fewer_at_a_time_too(monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny_dit()
    conditions = Condition(torch.arange(6) % len(model.labels))
    config = SamplingConfig(steps=2, batch_size=6)
    whole = draw_images(model, conditions, config)
    decoded, decode = [], model.codec.decode

    def small(latents: Tensor) -> Tensor:
        decoded.append(len(latents))
        if len(latents) > 2:
            raise torch.OutOfMemoryError
        return decode(latents)

    monkeypatch.setattr(model.codec, "decode", small)
    assert torch.equal(draw_images(model, conditions, config), whole)
    assert decoded == [6, 3, 1, 1, 1, 1, 1, 1]
