"""The annotators of rooms, with their own weights: answers of the right form, normals of the very depth that is guessed."""

from __future__ import annotations

import json

import pytest
import torch

from difftuning.data.controls import annotator_of, normals
from difftuning.data.room_depth import SCENE, WEIGHTS, Depth, Normals


def test_normals_are_those_of_the_depth_and_of_length_one() -> None:
    images = torch.randint(0, 256, (3, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        depth, found = Depth()(images), Normals()(images)
    assert depth.shape == (3, 1, 32, 32)
    assert 0 <= float(depth.min()) < float(depth.max()) <= 1
    assert torch.equal(found, normals(depth, SCENE))
    assert torch.allclose((found * 2 - 1).norm(dim=1), torch.ones(3, 32, 32), atol=1e-5)


@pytest.mark.parametrize(("kind", "name", "channels"), [("depth", "Depth", 1), ("normal", "Normals", 3)])
def test_they_are_annotators_of_any_size(kind: str, name: str, channels: int) -> None:
    annotator = annotator_of(kind, f"module:difftuning.data.room_depth:{name}")
    assert annotator is not None
    for side in (32, 64):
        assert annotator(torch.zeros(2, 3, side, side, dtype=torch.uint8)).shape == (2, channels, side, side)


def test_the_card_is_of_these_weights_and_does_not_flatter() -> None:
    card = json.loads(WEIGHTS.with_name("card.json").read_text())
    assert card["parameters"] == sum(value.numel() for value in Depth().head.parameters())
    error = card["mean_squared_error"]
    assert 0 < error["network"]["depth"] < error["mean"]["depth"]
