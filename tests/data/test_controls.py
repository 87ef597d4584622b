"""Annotators on pictures whose edges, colours and slopes are known."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from difftuning.data.controls import ANNOTATORS, PALETTE, normals, of_detector, soft_edge


def halves(left: tuple[int, int, int], right: tuple[int, int, int], side: int = 32) -> Tensor:
    """(1, 3, side, side) uint8: a vertical border in the middle."""
    image = torch.tensor(left, dtype=torch.uint8)[:, None, None].repeat(1, side, side)
    image[:, :, side // 2 :] = torch.tensor(right, dtype=torch.uint8)[:, None, None]
    return image[None]


@pytest.mark.parametrize("name", ANNOTATORS)
def test_maps_are_in_range_of_the_images_size_and_of_one_image_alone(name: str) -> None:
    images = torch.randint(256, (3, 3, 24, 24), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    maps = ANNOTATORS[name](images)
    assert maps.shape == (3, ANNOTATORS[name].channels, 24, 24)
    assert maps.dtype == torch.float32
    assert float(maps.min()) >= 0
    assert float(maps.max()) <= 1
    assert torch.equal(maps[1:2], ANNOTATORS[name](images[1:2]))


@pytest.mark.parametrize("name", ["edge", "sketch"])
def test_a_border_is_a_line_and_flat_is_empty(name: str) -> None:
    found = ANNOTATORS[name](halves((255, 255, 255), (0, 0, 0)))[0, 0]
    columns = found.mean(0)
    assert float(columns[15:17].max()) == 1
    assert float(columns[:12].max()) == float(columns[20:].max()) == 0
    assert float(ANNOTATORS[name](halves((90, 90, 90), (90, 90, 90))).max()) == 0


def test_the_steepest_edge_is_one_and_a_sketch_sees_colour_where_luminance_is_flat() -> None:
    black_white = halves((255, 255, 255), (0, 0, 0))[0].permute(1, 2, 0).numpy()
    assert float(soft_edge(black_white).max()) == pytest.approx(1, abs=0.08)
    # Red and green of one luminance: Canny, which looks at luminance, is blind there.
    same = halves((200, 0, 0), (0, 102, 0))
    assert float(ANNOTATORS["edge"](same).max()) == 0
    assert float(ANNOTATORS["sketch"](same).max()) == 1


def soft(image: NDArray[np.uint8], **asked: object) -> NDArray[np.uint8]:
    """A detector with the call and the answer of controlnet-aux's: soft edges from 0 to 255, three times."""
    assert asked == {"detect_resolution": 32, "image_resolution": 32, "output_type": "np"}
    return np.repeat((soft_edge(image).clip(0, 1) * 255).astype(np.uint8)[..., None], 3, -1)


def test_a_sketch_of_a_soft_detector_is_black_or_white_and_other_kinds_stay_grey() -> None:
    image = halves((255, 255, 255), (0, 0, 0))
    maps = {kind: of_detector(soft, "Soft-1.0", kind) for kind in ("sketch", "depth", "normal")}
    grey = maps["depth"](image)
    assert 0 < float(grey[grey > 0].min()) < 0.5 < float(grey.max())
    assert torch.equal(maps["sketch"](image), (grey > 0.5).float())
    assert torch.equal(maps["normal"](image), grey.expand(-1, 3, -1, -1))
    # Only the sketches' maps have changed, so only they go by another name in the cache.
    assert [one.spec for one in maps.values()] == ["Soft-1.0-above-0.5", "Soft-1.0", "Soft-1.0"]


def test_regions_are_the_nearest_colours_and_annotating_twice_changes_nothing() -> None:
    colours = np.array([*PALETTE.values()], np.uint8)
    image = torch.from_numpy(colours).T.reshape(3, 1, -1)[None].repeat(1, 1, 4, 1)
    maps = ANNOTATORS["segmentation"](image)
    assert torch.equal((maps * 255).round().to(torch.uint8), image)
    noisy = (image.int() + torch.randint(-6, 7, image.shape, generator=torch.Generator().manual_seed(0))).clamp(0, 255)
    again = ANNOTATORS["segmentation"](noisy.to(torch.uint8))
    assert torch.equal(again, maps)
    assert torch.equal(ANNOTATORS["segmentation"]((again * 255).round().to(torch.uint8)), again)


def test_normals_of_a_wall_and_of_a_slope() -> None:
    wall = normals(torch.full((1, 1, 16, 16), 0.4))
    assert torch.allclose(wall[0, :, 8, 8], torch.tensor([0.5, 0.5, 1.0]))
    # A depth that grows by one width of the image over its width: 45 degrees.
    ramp = (torch.arange(16) / 16).expand(1, 1, 16, 16)
    slope = normals(ramp, scale=1.0)[0, :, 8, 8] * 2 - 1
    assert float(slope.norm()) == pytest.approx(1, abs=1e-6)
    assert slope.tolist() == pytest.approx([-(0.5**0.5), 0, 0.5**0.5], abs=1e-6)
