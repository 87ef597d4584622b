"""The annotators of rooms, with their own weights: answers of the right form, normals of the very depth that is guessed."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pyarrow
import pytest
import torch
from pyarrow import compute, parquet
from torch import Tensor

from difftuning.data.controls import annotator_of, normals
from difftuning.data.decoding import decode
from difftuning.data.known import data_folders
from difftuning.data.room_depth import SCENE, WEIGHTS, Depth, Normals
from difftuning.data.target_maps import fitted
from difftuning.data.transforms import Transform

CARD = json.loads(WEIGHTS.with_name("card.json").read_text())
UNSEEN = ("0001", "0006", "0007", "0034", "0039", "0050", "0053")
"""The bathrooms of NYU Depth v2 that were held out when the weights were learned: all scenes that were."""


def relative(depth: Tensor) -> Tensor:
    """Depth (N, 1, S, S) as `Depth` tells it, as if the nearest 2 % of a picture were as near as one another."""
    near = depth.flatten(1).quantile(0.02, 1)[:, None, None, None]
    return 1 - (near / depth.clamp(min=1 / 255)).clamp(0, 1)


def alike(one: Tensor, other: Tensor) -> Tensor:
    """The correlation of each map with its truth, (N,)."""
    x, y = (maps.flatten(1).double() - maps.flatten(1).double().mean(1, keepdim=True) for maps in (one, other))
    found: Tensor = (x * y).sum(1) / (x.norm(dim=1) * y.norm(dim=1))
    return found


def corridors(count: int, side: int = 32) -> tuple[Tensor, Tensor]:
    """Corridors two wide and high with a wall at their end, seen from within and ever darker, and their depth."""
    random = torch.Generator().manual_seed(0)
    axis = (torch.arange(side) + 0.5) / side * 2 - 1
    y, x = torch.meshgrid(axis, axis, indexing="ij")
    pictures, depths = [], []
    for _ in range(count):
        at_x, at_y, end = (
            torch.rand(3, generator=random) * torch.tensor([0.6, 0.6, 6]) + torch.tensor([-0.3, -0.3, 4])
        ).unbind()
        walls = torch.stack([(x.sign() - at_x) / x, (y.sign() - at_y) / y, end.expand(side, side)])
        depth, which = walls.min(0)
        side_of = which * 2 + torch.where(which == 0, x > 0, y > 0) * (which < 2)
        light = torch.tensor([0.7, 0.75, 0.9, 0.45, 0.6])[side_of] * 230 / (1 + 0.08 * depth)
        pictures.append(light.to(torch.uint8).expand(3, -1, -1))
        depths.append(depth[None])
    return torch.stack(pictures), torch.stack(depths)


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
    assert CARD["sha256"] == hashlib.sha256(WEIGHTS.read_bytes()).hexdigest()
    assert CARD["parameters"] == sum(value.numel() for value in Depth().head.parameters())
    error = CARD["mean_squared_error"]
    assert 0 < error["network"]["depth"] < error["mean"]["depth"]


def test_what_is_far_in_a_corridor_is_guessed_farther() -> None:
    """It has seen rooms alone, not drawings of them, so no more than that."""
    pictures, depth = corridors(12)
    with torch.no_grad():
        found = alike(Depth()(pictures), relative(depth))
    assert float(found.min()) > 0
    assert float(found.mean()) > 0.2


@pytest.mark.parametrize(("every", "within"), [(10, 0.15), pytest.param(1, 1e-3, marks=pytest.mark.slow)])
def test_it_is_as_far_off_as_its_card_says_where_the_frames_are_there(every: int, within: float) -> None:
    files = [folder / "nyu_depth_64.parquet" for folder in data_folders()]
    file = next(filter(Path.is_file, files), None)
    if file is None:
        pytest.skip("NYU Depth v2 is not in DIFFTUNING_DATA")
    scenes = pyarrow.array([f"bathroom_{number}_out" for number in UNSEEN])
    frames = parquet.read_table(file, filters=compute.field("scene").isin(scenes))
    assert len(frames) == CARD["heldout_images"]
    some = frames.take(list(range(0, len(frames), every))).to_pylist()
    images, depth = (
        [decode(row[column]["bytes"], column, 10**6, stretched=column == "depth") for row in some]
        for column in ("image", "depth")
    )
    truth = relative(torch.stack([fitted(one, "depth", 32) for one in depth]) / 255)
    network = Depth()
    with torch.no_grad():
        found = torch.cat([network(few) for few in torch.stack(list(map(Transform(32).pixels, images))).split(64)])
    assert float(alike(found, truth).mean()) > 0.5
    expected = CARD["mean_squared_error"]["network"]["depth"]
    assert float((found - truth).square().mean()) == pytest.approx(expected, rel=within)
