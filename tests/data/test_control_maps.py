"""Control maps: made once, given in a folder or a column, mirrored right, and set aside with a reason where they are of no use."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from datasets import Dataset, Features
from datasets import Image as ImageFeature
from PIL import Image
from torch import Tensor

from difftuning.data.base import ImageSource
from difftuning.data.control_maps import ControlConfig, ControlMaps, annotated, required_annotator
from difftuning.data.controls import ANNOTATORS, Annotator, annotator_of, normals
from difftuning.data.drifting import DriftConfig, Drifting
from difftuning.data.folder import FolderSource
from difftuning.data.joined import Joined
from difftuning.data.sources import DataConfig, open_source
from difftuning.data.target_maps import target_maps, unrounded
from difftuning.data.transforms import Transform
from difftuning.errors import ConfigError, DataError

SIDE = 16
FLIPPED, PLAIN = torch.tensor([True]), torch.tensor([False])


def squares(folder: Path, count: int = 4) -> FolderSource:
    """Light squares on dark ground, each at another place; the last image is dark all over."""
    folder.mkdir(parents=True)
    for index in range(count):
        pixels = np.full((SIDE, SIDE, 3), 30, np.uint8)
        if index < count - 1:
            pixels[4:11, 2 + index : 8 + index] = (250, 220, 70)
        Image.fromarray(pixels).save(folder / f"{index}.png")
    return FolderSource(folder, 10**6)


def found(
    config: ControlConfig, source: ImageSource, cache: Path | None = None
) -> tuple[ControlMaps, list[int], list[str]]:
    maps, kept, skipped = target_maps(config, source, Transform(SIDE), range(len(source)), 10**6, cache)
    return maps, kept, [f"{one.origin}: {one.reason}" for one in skipped]


@pytest.mark.parametrize("kind", ["edge", "sketch", "segmentation"])
def test_maps_are_those_of_the_annotator_and_an_image_without_any_is_set_aside(kind: str, tmp_path: Path) -> None:
    source = squares(tmp_path / "images")
    maps, kept, skipped = found(ControlConfig(kind=kind), source)
    assert kept == [0, 1, 2]
    assert skipped == [f"3.png: its {kind} map is of one value all over, so there is nothing to obey"]
    for place in kept:
        wanted = ANNOTATORS[kind](Transform(SIDE).pixels(source.read(place))[None])
        assert float((maps.get(torch.tensor([place])) - wanted).abs().max()) <= 0.5 / 255
        assert torch.equal(maps.get(torch.tensor([place]), FLIPPED), maps.get(torch.tensor([place]), PLAIN).flip(-1))


def test_the_mirror_image_of_a_slope_points_to_the_other_side() -> None:
    pointing = torch.full((3, 4, 4), 0.5)
    pointing[0] = 1.0  # all to the right
    maps = annotated(
        Annotator("right", 3, lambda image: pointing.permute(1, 2, 0).numpy()), "normal", ["a"], nothing, None
    )
    plain, mirrored = maps.get(torch.tensor([0])), maps.get(torch.tensor([0]), FLIPPED)
    assert float(plain[:, 0].min()) == 1
    assert float(mirrored[:, 0].max()) == 0
    assert torch.equal(plain[:, 1:], mirrored[:, 1:])


def nothing(index: int) -> Tensor:
    return torch.zeros(3, 4, 4, dtype=torch.uint8)


def test_a_map_is_made_once(tmp_path: Path) -> None:
    asked: list[int] = []

    def image(index: int) -> Tensor:
        asked.append(index)
        return torch.full((3, SIDE, SIDE), 40 * index, dtype=torch.uint8)

    first = annotated(ANNOTATORS["segmentation"], "segmentation", ["a", "b", "c"], image, tmp_path)
    again = annotated(ANNOTATORS["segmentation"], "segmentation", ["c", "a", "d"], image, tmp_path)
    assert asked == [0, 1, 2, 2]
    everything = torch.arange(3)
    assert torch.equal(again.get(everything)[:2], first.get(everything)[[2, 0]])
    assert first.digest != again.digest
    assert first.subset(torch.tensor([2])).digest == again.subset(torch.tensor([0])).digest


def test_a_folder_of_maps_is_read_by_the_names_of_the_images(tmp_path: Path) -> None:
    source = squares(tmp_path / "images", 5)
    maps = tmp_path / "maps"
    maps.mkdir()
    ramp = np.tile(np.arange(SIDE, dtype=np.uint8) * 16, (SIDE, 1))
    Image.fromarray(ramp).save(maps / "0.webp", lossless=True)
    Image.fromarray(np.repeat(np.repeat(ramp, 2, 0), 2, 1)).save(
        maps / "1.png"
    )  # twice as large, of the same proportions
    Image.fromarray(ramp[:, :8]).save(maps / "2.png")
    (maps / "3.png").write_bytes(b"no picture")
    found_maps, kept, skipped = found(ControlConfig(kind="depth", folder=str(maps)), source)
    assert kept == [0, 1]
    for place in range(2):
        assert torch.equal(found_maps.get(torch.tensor([place]))[0, 0] * 255, torch.from_numpy(ramp).float())
    assert skipped[0] == (
        "2.png: its map is of 8x16 pixels and it of 16x16, another proportion; they must show the same, so resize the map to 16x16"
    )
    assert skipped[1].startswith("3.png: the map of 3.png")
    assert skipped[2] == f"4.png: no map 4.* in control.folder {maps}"


@pytest.mark.parametrize(
    ("image", "given", "before"),
    [
        ((400, 300), (704, 512), (683, 512)),  # controlnet-aux at its own 512
        ((1920, 1080), (896, 512), (910, 512)),
        ((450, 300), (448, 320), (448, 299)),
        ((333, 250), (336, 248), (333, 250)),  # not scaled, each side rounded to a multiple of 8
        ((430, 290), (448, 256), None),
        ((16, 16), (8, 16), None),
        ((300, 200), (64, 64), None),  # which may as well be the middle of it
        ((300, 256), (256, 256), None),
        ((1024, 512), (512, 512), None),
    ],
)
def test_a_map_whose_sides_its_annotator_rounded_has_its_images_proportion_again(
    image: tuple[int, int], given: tuple[int, int], before: tuple[int, int] | None
) -> None:
    assert unrounded(given, image) == before
    assert unrounded(given[::-1], image[::-1]) == (before and before[::-1])


@pytest.mark.parametrize("kind", ["edge", "segmentation"])
def test_a_map_of_controlnet_aux_lies_where_its_image_does(kind: str, tmp_path: Path) -> None:
    # Its detectors look at an image of 450x300 pixels as one of 448x320.
    (tmp_path / "images").mkdir()
    (tmp_path / "maps").mkdir()
    image = np.zeros((300, 450, 3), np.uint8)
    image[:, 350:] = 255
    Image.fromarray(image).save(tmp_path / "images/0.png")
    Image.fromarray(image).resize((448, 320), Image.Resampling.NEAREST).save(tmp_path / "maps/0.png")
    source, config = FolderSource(tmp_path / "images", 10**6), ControlConfig(kind=kind, folder=str(tmp_path / "maps"))
    maps, kept, _ = target_maps(config, source, Transform(300), [0], 10**6, None)
    assert kept == [0]
    dark = maps.get(torch.tensor([0]))[0, 0].lt(0.5).sum(-1)
    # The image is cropped from 75 to 375; of the map as it is, the border would lie at 267.
    assert int(dark.min()) == pytest.approx(275, abs=1)
    assert int(dark.max()) == pytest.approx(275, abs=1)


def test_classes_of_a_segmentation_are_not_mixed(tmp_path: Path) -> None:
    source = squares(tmp_path / "images", 2)
    maps = tmp_path / "maps"
    maps.mkdir()
    large = np.zeros((40, 40, 3), np.uint8)
    large[:, 19:] = (255, 0, 0)
    for index in range(2):
        Image.fromarray(large).save(maps / f"{index}.png")
    values = found(ControlConfig(kind="segmentation", folder=str(maps)), source)[0].get(torch.tensor([0]))
    assert set(values.unique().tolist()) == {0.0, 1.0}


def test_a_grey_map_of_normals_is_depth_and_a_coloured_one_stays_as_it_is(tmp_path: Path) -> None:
    source = squares(tmp_path / "images", 2)
    maps = tmp_path / "maps"
    maps.mkdir()
    bowl = np.tile((np.arange(SIDE) ** 2).astype(np.uint8), (SIDE, 1))
    coloured = np.full((SIDE, SIDE, 3), (128, 60, 230), np.uint8)
    coloured[0, 0] = (128, 128, 255)
    Image.fromarray(bowl).save(maps / "0.png")
    Image.fromarray(coloured).save(maps / "1.png")
    got = found(ControlConfig(kind="normal", folder=str(maps)), source)[0]
    slope = normals(torch.from_numpy(bowl)[None, None] / 255)
    assert float((got.get(torch.tensor([0])) - slope).abs().max()) <= 0.5 / 255 + 1e-6
    assert torch.equal(
        (got.get(torch.tensor([1]))[0] * 255).round(), torch.from_numpy(coloured).permute(2, 0, 1).float()
    )


def file(value: int) -> dict[str, bytes]:
    """A ramp, as a data set holds it."""
    out = io.BytesIO()
    Image.fromarray(np.tile(np.arange(SIDE, dtype=np.uint8) * value, (SIDE, 1))).save(out, "PNG")
    return {"bytes": out.getvalue()}


def test_a_column_of_maps(tmp_path: Path) -> None:
    rows = {"image": [file(3), file(5)], "depth": [file(7), file(9)]}
    features = Features({"image": ImageFeature(), "depth": ImageFeature()})
    Dataset.from_dict(rows, features=features).to_parquet(str(tmp_path / "rooms.parquet"))
    source = open_source(DataConfig(target=str(tmp_path / "rooms.parquet"), image_column="image"))
    maps = found(ControlConfig(kind="depth", column="depth"), source)[0]
    assert float(maps.get(torch.tensor([1])).max()) == pytest.approx(9 * 15 / 255)
    with pytest.raises(DataError, match=r"has no column 'dpeth'.*did you mean 'depth'"):
        found(ControlConfig(kind="depth", column="dpeth"), source)
    with pytest.raises(DataError, match="is no data set, so it has no column 'depth'"):
        found(ControlConfig(kind="depth", column="depth"), squares(tmp_path / "images"))


def test_depth_in_millimetres_keeps_its_steps(tmp_path: Path) -> None:
    source = squares(tmp_path / "images", 2)
    (tmp_path / "maps").mkdir()
    slope = np.tile(np.linspace(500, 4500, SIDE), (SIDE, 1))
    for index in range(2):
        Image.fromarray(slope.astype(np.uint16)).save(tmp_path / f"maps/{index}.png")
        (tmp_path / f"maps/{index}.txt").write_text("of a depth camera")
    given = {
        kind: found(ControlConfig(kind=kind, folder=str(tmp_path / "maps")), source)[0] for kind in ("depth", "normal")
    }
    depth = given["depth"].get(torch.tensor([0]))[0, 0]
    torch.testing.assert_close(depth[0], torch.linspace(0, 1, SIDE), atol=1 / 255, rtol=0)
    colours = given["normal"].get(torch.tensor([1]))[0].flatten(1).T
    assert float((colours - colours[0]).abs().max()) <= 1 / 255  # a plane has one normal


def test_maps_of_several_sets(tmp_path: Path) -> None:
    (tmp_path / "maps").mkdir()
    ramp = Image.fromarray(np.tile(np.arange(SIDE, dtype=np.uint8), (SIDE, 1)))
    for name in ("a", "b"):
        squares(tmp_path / name, 2)
        for index in range(2):
            (tmp_path / name / f"{index}.png").rename(tmp_path / name / f"{name}{index}.png")
            ramp.save(tmp_path / f"maps/{name}{index}.png")
    sets = [open_source(DataConfig(target=str(tmp_path / name))) for name in ("a", "b")]
    config = ControlConfig(kind="depth", folder=str(tmp_path / "maps"))
    assert found(config, Joined(sets))[1] == [0, 1, 2, 3]
    assert found(config, Joined([sets[0], sets[0]]))[1] == [0, 1, 2, 3]
    squares(tmp_path / "c", 1)
    (tmp_path / "c/0.png").rename(tmp_path / "c/a0.png")
    with pytest.raises(DataError, match=r"has one place for a0\.png, and two of the images of .* are called so"):
        found(config, Joined([sets[0], open_source(DataConfig(target=str(tmp_path / "c")))]))
    column = {"image": [file(3), file(5)], "depth": [file(7), file(9)]}
    features = Features({"image": ImageFeature(), "depth": ImageFeature()})
    Dataset.from_dict(column, features=features).to_parquet(str(tmp_path / "rooms.parquet"))
    rooms = open_source(DataConfig(target=str(tmp_path / "rooms.parquet"), image_column="image"))
    assert found(ControlConfig(kind="depth", column="depth"), Joined([rooms, rooms]))[1] == [0, 1, 2, 3]
    with pytest.raises(DataError, match="b is no data set, so it has no column 'depth'"):
        found(ControlConfig(kind="depth", column="depth"), Joined([rooms, sets[1]]))


def ramps(folder: Path, *names: str) -> str:
    """A folder of maps, each of another steepness."""
    for steepness, name in enumerate(names, 1):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(file(steepness)["bytes"])
    return str(folder)


def steepnesses(config: ControlConfig, source: ImageSource) -> list[int]:
    maps = found(config, source)[0].get(torch.arange(len(source)))
    return [round(255 * float(one.max()) / (SIDE - 1)) for one in maps]


def described(folder: Path, file_name: str, names: list[str]) -> ImageSource:
    lines = [json.dumps({file_name: name, "text": f"a caption, the {line}."}) for line, name in enumerate(names)]
    (folder / "metadata.jsonl").write_text("\n".join(lines) + "\n")
    return open_source(DataConfig(target=str(folder)))


def test_a_folder_of_maps_goes_with_captions_in_a_table_by_the_names_in_it(tmp_path: Path) -> None:
    squares(tmp_path / "set/in", 3)
    config = ControlConfig(kind="depth", folder=ramps(tmp_path / "maps", "in/0.png", "in/1.png", "in/2.webp"))
    # One image with two captions, and an order of its own.
    source = described(tmp_path / "set", "file_name", ["in/2.png", "in/0.png", "in/1.png", "in/1.png"])
    rows = {source.caption(index): source.place(index) for index in range(len(source))}
    assert rows["a caption, the 0."] == "in/2.png"
    assert [source.origin(index) for index in range(4)] == ["row 0", "row 1", "row 2", "row 3"]  # as it is in caches
    of_place = {"in/0.png": 1, "in/1.png": 2, "in/2.png": 3}
    assert steepnesses(config, source) == [of_place[source.place(index)] for index in range(4)]
    drifting = Drifting(source, DriftConfig())
    assert steepnesses(config, drifting) == [of_place[drifting.place(index)] for index in range(4)]
    (tmp_path / "link").symlink_to(tmp_path / "set")
    for way in ("link", "set/../link/in/.."):
        there = open_source(DataConfig(target=str(tmp_path / way)))
        assert {there.place(index) for index in range(4)} == {*of_place}
    (tmp_path / "maps/in/1.png").unlink()
    assert found(config, source)[2][0].endswith(f": no map in/1.* in control.folder {tmp_path / 'maps'}")


def test_a_table_that_names_no_files_or_two_by_one_name_says_where_maps_go(tmp_path: Path) -> None:
    squares(tmp_path / "set/a", 3)
    rows = [str(tmp_path / f"set/a/{index}.png") for index in range(2)]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps({"image": f"set/a/{i}.png"}) + "\n" for i in (1, 0)))
    config = ControlConfig(kind="depth", folder=ramps(tmp_path / "maps", "set/a/0.png", "set/a/1.png"))
    assert steepnesses(config, open_source(DataConfig(target=str(tmp_path / "rows.jsonl")))) == [2, 1]
    features, table = Features({"image": ImageFeature()}), str(tmp_path / "rows.parquet")
    held = [{"bytes": Path(row).read_bytes(), "path": name} for row, name in zip(rows, ("0.png", "1.png"), strict=True)]
    for place, message in (
        (None, r"name no files.*control\.column"),
        ("0.png", r"one place for 0\.png.*control\.column"),
    ):
        Dataset.from_dict({"image": [{**one, "path": place} for one in held]}, features=features).to_parquet(table)
        with pytest.raises(DataError, match=message):
            found(config, open_source(DataConfig(target=table)))
    Dataset.from_dict({"image": held}, features=features).to_parquet(table)
    flat = ControlConfig(kind="depth", folder=ramps(tmp_path / "flat", "1.png", "0.png"))
    assert steepnesses(flat, open_source(DataConfig(target=table))) == [2, 1]


def test_an_annotator_of_ones_own(tmp_path: Path) -> None:
    source = squares(tmp_path / "images")
    maps = found(ControlConfig(kind="depth", annotator="module:tiny_annotators:Grey"), source)[0]
    wanted = Transform(SIDE).pixels(source.read(0)).float().mean(0) / 255
    assert float((maps.get(torch.tensor([0]))[0, 0] - wanted).abs().max()) <= 0.5 / 255
    with pytest.raises(ConfigError, match=r"answered \(1, 3, 16, 16\).*it must give \(1, 1, 16, 16\)"):
        found(ControlConfig(kind="depth", annotator="module:tiny_annotators:Colour"), source)


@pytest.mark.parametrize(
    ("annotator", "message"),
    [
        ("canny", "control.annotator='canny' is none"),
        ("module:no.such:Thing", "No module named 'no'"),
        ("module:pathlib:Path", "write module:package.module:Class"),
        ("aux:MidasDetector", "pip install controlnet-aux|its weights could not be had"),
    ],
)
def test_an_annotator_that_cannot_be_had_says_what_to_do(annotator: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        annotator_of("depth", annotator)


def test_depth_has_no_annotator_of_ours_and_a_folder_must_be_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"control.kind=depth: nothing here makes such maps.*control.annotator"):
        required_annotator(ControlConfig(kind="depth"))
    with pytest.raises(DataError, match="is no folder"):
        found(ControlConfig(kind="depth", folder=str(tmp_path / "nowhere")), squares(tmp_path / "images"))
    with pytest.raises(ValueError, match="two places"):
        ControlConfig(kind="depth", folder="a", column="b")
