"""Given maps against an annotator's: alike, turned over, or of nothing in common."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from difftuning.data.controls import ANNOTATORS, annotator_of
from difftuning.evaluation.map_conventions import agreement

SIDE, COUNT = 32, 10
BY = {
    "edge": None,
    "sketch": None,
    "depth": "module:difftuning.data.relief:Relief",
    "normal": "module:difftuning.data.relief:Normals",
    "segmentation": None,
}


def drawings() -> Tensor:
    """(COUNT, 3, SIDE, SIDE) uint8: boxes of the palette's red and blue on white, each elsewhere and of another size."""
    images = torch.full((COUNT, 3, SIDE, SIDE), 255, dtype=torch.uint8)
    for index in range(COUNT):
        top, left = 2 + 3 * (index % 5), 3 + 2 * (index % 7)
        colour = torch.tensor([(220, 40, 40), (50, 110, 220)][index % 2], dtype=torch.uint8)
        images[index, :, top : top + 8 + index, left : left + 7 + index % 3] = colour[:, None, None]
    return images


def made(kind: str) -> Tensor:
    annotator = annotator_of(kind, BY[kind])
    assert annotator is not None
    return annotator(drawings())


def turned(maps: Tensor, *channels: int) -> Tensor:
    over = maps.clone()
    over[:, list(channels)] = 1 - over[:, list(channels)]
    return over


@pytest.mark.parametrize("kind", BY)
def test_maps_of_one_kind_and_convention_are_related(kind: str) -> None:
    found = agreement(kind, made(kind), made(kind))
    assert (found.related, found.opposite, found.channels) == (True, False, ())


@pytest.mark.parametrize(
    ("kind", "channels"), [("edge", (0,)), ("sketch", (0,)), ("depth", (0,)), ("normal", (0,)), ("normal", (0, 1))]
)
def test_maps_that_are_turned_over_say_the_opposite_and_few_are_not_enough_to_tell(
    kind: str, channels: tuple[int, ...]
) -> None:
    wanted = made(kind)
    found = agreement(kind, turned(wanted, *channels), wanted)
    assert (found.related, found.opposite, found.channels, found.better) == (False, True, channels, COUNT)
    few = agreement(kind, turned(wanted, *channels)[:7], wanted[:7])
    assert (few.related, few.opposite) == (False, False)


def test_another_hand_is_no_other_convention() -> None:
    # Lines a pixel off, twice as wide or half as light; depth of another scale and zero, even in the other half of the range.
    lines = made("edge")
    for other in (lines.roll(1, 3), torch.nn.functional.max_pool2d(lines, 3, 1, 1), lines / 2, made("sketch")):
        assert agreement("edge", other, lines).related
    depth = made("depth")
    for other in (0.7 + 0.2 * depth, 0.1 * depth, depth.square()):
        found = agreement("depth", other, depth)
        assert (found.related, found.opposite) == (True, False)
    assert agreement("depth", 1 - 0.1 * depth, depth).opposite


def test_classes_of_another_palette_or_order_have_nothing_in_common() -> None:
    wanted = made("segmentation")
    strange = (wanted * 255 + 3) % 256 / 255
    assert not agreement("segmentation", strange, wanted).related
    assert not agreement("segmentation", wanted.flip(1), ANNOTATORS["segmentation"](255 - drawings())).related
    assert agreement("segmentation", wanted[:1], wanted[:1]).related  # of one image nobody can tell


@pytest.mark.parametrize("kind", ["edge", "depth"])
def test_maps_of_other_images_are_not_related(kind: str) -> None:
    assert not agreement(kind, made(kind).roll(1, 0), made(kind)).related
