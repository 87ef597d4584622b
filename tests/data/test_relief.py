"""The relief of a drawing, by what is known of a disc."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from difftuning.data.controls import annotator_of
from difftuning.data.relief import RADIUS, Normals, Relief

SIDE = 64


def disc(radius: float, ground: int = 255, colour: int = 30) -> Tensor:
    """(1, 3, SIDE, SIDE) uint8: a disc in the middle."""
    axis = torch.arange(SIDE) - (SIDE - 1) / 2
    inside = axis[:, None].square() + axis.square() < radius**2
    return torch.where(inside, colour, ground).to(torch.uint8).expand(1, 3, -1, -1)


@pytest.mark.parametrize(("ground", "colour"), [(255, 30), (0, 200)])
def test_a_disc_rises_in_a_quarter_of_a_circle(ground: int, colour: int) -> None:
    radius = 24
    found = Relief()(disc(radius, ground, colour))[0, 0]
    axis = torch.arange(SIDE) - (SIDE - 1) / 2
    within = (radius - (axis[:, None].square() + axis.square()).sqrt()).clamp(min=0) / (RADIUS * SIDE)
    expected = (1 - (1 - within.clamp(0, 1)).square()).sqrt()
    assert float((found - expected).abs().mean()) < 0.02, "but for the pixels of the outline"
    assert found[SIDE // 2, SIDE // 2] == 1
    assert found[0].max() == 0


def test_ground_and_top_are_flat_and_slopes_look_outwards() -> None:
    found = Normals()(disc(24))[0]
    flat = torch.tensor([0.5, 0.5, 1.0])
    for place in ((0, 0), (SIDE // 2, SIDE // 2)):
        assert torch.allclose(found[:, *place], flat)
    middle = SIDE // 2
    assert found[0, middle, 12] < 0.5 < found[0, middle, SIDE - 13]
    assert found[1, 12, middle] < 0.5 < found[1, SIDE - 13, middle]


def test_what_fills_its_frame_with_one_colour_is_flat() -> None:
    assert Relief()(torch.full((2, 3, SIDE, SIDE), 77, dtype=torch.uint8)).max() == 0


@pytest.mark.parametrize(("kind", "name", "channels"), [("depth", "Relief", 1), ("normal", "Normals", 3)])
def test_it_is_an_annotator(kind: str, name: str, channels: int) -> None:
    annotator = annotator_of(kind, f"module:difftuning.data.relief:{name}")
    assert annotator is not None
    assert annotator(disc(20)).shape == (1, channels, SIDE, SIDE)
