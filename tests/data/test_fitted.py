"""What a report says of pictures that are smaller than the model's, or of another shape."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from difftuning.backbones.codec import IdentityCodec
from difftuning.data.drifting import DriftConfig
from difftuning.data.opening import open_target
from difftuning.data.sources import DataConfig, FurtherSet

SIZES = [(8, 8), (9, 12), (8, 10), (4, 4), (7, 40), (30, 10)]
"""Of the pictures: the last two lose more than a quarter to the crop, and two are smaller than 8 pixels."""


def pictures(folder: Path, suffix: str = "png", sizes: list[tuple[int, int]] = SIZES) -> Path:
    random = np.random.default_rng(len(sizes))
    folder.mkdir()
    for index, (width, height) in enumerate(sizes):
        pixels = random.integers(0, 256, (height, width, 3)).astype(np.uint8)
        Image.fromarray(pixels).save(folder / f"{index}.{suffix}")
    return folder


def told(config: DataConfig, cache: Path, side: int = 8) -> list[str]:
    return [line for line in open_target(config, side, IdentityCodec(), cache).report() if "enlarged" in line]


@pytest.mark.parametrize("suffix", ["png", "jpg", "webp", "bmp"])
def test_pictures_that_are_enlarged_or_cut_are_counted(tmp_path: Path, suffix: str) -> None:
    config = DataConfig(target=str(pictures(tmp_path / "images", suffix)), heldout=2)
    line = (
        "2 of 6 images are smaller than 8 pixels and are enlarged; 2 lose more than a quarter to the crop to a square"
    )
    assert told(config, tmp_path / "cache") == [line]
    assert told(config, tmp_path / "cache") == [line], "also where all latents come from the cache"
    assert told(config, tmp_path / "cache", 4) == [line.replace("2 of 6", "0 of 6").replace("than 8", "than 4")]


def test_nothing_is_said_where_all_fit(tmp_path: Path) -> None:
    target = str(pictures(tmp_path / "images", sizes=[(8, 8), (8, 10), (9, 12), (12, 9)]))
    assert told(DataConfig(target=target, heldout=1), tmp_path / "cache") == []


def test_only_those_that_are_used_are_counted_and_files_that_are_no_images_are_not(tmp_path: Path) -> None:
    folder = pictures(tmp_path / "images", sizes=[(4, 4)] * 8)
    (folder / "9.png").write_bytes(b"no image")
    few = DataConfig(target=str(folder), heldout=2, per_class=3)
    assert told(few, tmp_path / "cache")[0].startswith("5 of 5 images are smaller")


def test_what_is_turned_by_its_camera_is_as_small_and_as_long_as_before(tmp_path: Path) -> None:
    folder, turned = pictures(tmp_path / "images", "jpg"), Image.Exif()
    turned[0x0112] = 6
    for file in folder.iterdir():
        Image.open(file).save(file, exif=turned)
    assert told(DataConfig(target=str(folder), heldout=2), tmp_path / "cache")[0].startswith("2 of 6")


def test_several_sets_and_those_that_drift_are_counted_too(tmp_path: Path) -> None:
    one, two = pictures(tmp_path / "one"), pictures(tmp_path / "two", sizes=[*SIZES, (5, 5), (5, 5)])
    joint = DataConfig(target=str(one), heldout=2, also=(FurtherSet(target=str(two), heldout=2),))
    assert told(joint, tmp_path / "cache")[0].startswith("6 of 14 images")
    drifting = DataConfig(target=str(two), heldout=2, drift=DriftConfig(hue=90))
    assert told(drifting, tmp_path / "cache")[0].startswith("4 of 8 images")
