"""Targets by name: small real folders in each form that is taken, counts that differ, and forms that are not taken."""

from __future__ import annotations

import re
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from datasets import Dataset, Features, Value
from datasets import Image as ImageFeature
from PIL import Image

from difftuning.backbones.codec import IdentityCodec
from difftuning.data.base import ImageSource
from difftuning.data.catalogue import KINDS
from difftuning.data.cifar import RECORD
from difftuning.data.opening import open_target
from difftuning.data.paper_sets import SETS
from difftuning.data.sources import DataConfig, open_source
from difftuning.errors import DataError

PAPER = ("artbench10", "caltech101", "cub200", "df20-mini", "flowers102", "food101", "stanford-cars", "sun397")
"""Its Table 1."""
FOLDERS = {
    "food101": "food-101/images",
    "df20-mini": "df20-mini",
    "caltech101": "caltech-101/101_ObjectCategories",
    "cub200": "cub200/train",
    "artbench10": "artbench-10-imagefolder-split/train",
    "flowers102": "flowers102/train",
    "stanford-cars": "stanford_cars/train",
    "cifar10": "cifar10/train",
    "evis-2009-2012": "evis/2009-2012",
    "evis-2013-2016": "evis/2013-2016",
    "evis-2017-2020": "evis/2017-2020",
}
"""Where a set with a folder a class is."""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The second of two data folders, of which the first is not there."""
    monkeypatch.setenv("DIFFTUNING_DATA", f"{tmp_path / 'nowhere'}:{tmp_path / 'data'}")
    return tmp_path / "data"


def draw(path: Path, value: int = 0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (8, 8), (value, 0, 255 - value)).save(path)


def opened(name: str) -> ImageSource:
    return open_source(DataConfig(target=name))


def names(source: ImageSource) -> list[str]:
    return [source.class_names[source.label(index)] for index in range(len(source))]


def test_the_paper_is_whole_and_every_row_says_what_is_needed() -> None:
    assert SETS.keys() == {*PAPER, "cifar10"}
    for name, known in KINDS.items():
        assert known.name == name
        assert all((known.title, known.source, known.terms, known.classes))
        assert known.images is not None or name not in SETS
    for known in SETS.values():
        assert known.checksum == "not published" or re.fullmatch(r"[0-9a-f]{32} [\w.-]+ \([\w ]+\)", known.checksum)


@pytest.mark.parametrize("name", FOLDERS)
def test_a_folder_a_class(name: str, folder: Path) -> None:
    for label, values in (("b", (1, 2)), ("a", (3,))):
        for value in values:
            draw(folder / FOLDERS[name] / label / f"{value}.png", value)
    (folder / FOLDERS[name] / "list.csv").write_text("beside")
    source = opened(name)
    assert (source.class_names, names(source)) == (("a", "b"), ["a", "b", "b"])
    assert source.read(0).getpixel((0, 0)) == (3, 0, 252)
    assert [one.origin for one in source.skipped] == ["list.csv"]
    assert KINDS[name].find() == folder / FOLDERS[name]


def test_what_is_not_as_many_as_it_should_be_is_said(folder: Path) -> None:
    for label in ("ant", "bee"):
        for index in range(3):
            draw(folder / "food-101/images" / label / f"{index}.png", index + 10 * (label == "bee"))
    report = open_target(DataConfig(target="food101"), 8, IdentityCodec()).report()
    assert any(
        "food101: 6 images in 2 classes, where 101,000 images in 101 classes are expected" in line for line in report
    )


def test_as_many_as_there_should_be_is_not_mentioned(folder: Path) -> None:
    records = np.zeros((50_000, RECORD), np.uint8)
    records[:, 0] = np.arange(50_000) % 10
    records[:, 1:3] = np.arange(50_000)[:, None] // np.array([1, 256]) % 256
    home = folder / "cifar-10-batches-bin"
    home.mkdir(parents=True)
    for batch in range(5):
        records[batch * 10_000 : (batch + 1) * 10_000].tofile(home / f"data_batch_{batch + 1}.bin")
    records[:100].tofile(home / "test_batch.bin")
    (home / "batches.meta.txt").write_text("".join(f"class-{index}\n" for index in range(10)) + "\n")
    source = opened("cifar10")
    assert (len(source), source.notes) == (50_000, ())
    assert (source.label(12_345), source.class_names[5]) == (5, "class-5")
    assert source.read(300).getpixel((0, 0)) == (300 % 256, 0, 0)
    assert source.read(300).getpixel((1, 0)) == (1, 0, 0)
    assert source.key(1) != source.key(2)


def test_sun_has_folders_by_initial_and_classes_with_kinds(folder: Path) -> None:
    draw(folder / "SUN397/a/abbey/sun_1.png", 1)
    draw(folder / "SUN397/a/apartment_building/outdoor/sun_2.png", 2)
    (folder / "SUN397/README.txt").write_text("beside")
    source = opened("sun397")
    assert names(source) == ["abbey", "apartment_building/outdoor"]
    assert [one.origin for one in source.skipped] == ["README.txt"]


def test_caltech_without_its_clutter(folder: Path) -> None:
    for label in ("accordion", "BACKGROUND_Google", "zebra"):
        draw(folder / "caltech-101/101_ObjectCategories" / label / "1.png")
    source = opened("caltech101")
    assert source.class_names == ("accordion", "zebra")
    assert "BACKGROUND_Google is left out" in source.notes[0]
    assert "2 images in 2 classes" in source.notes[1]


def test_the_training_half_of_the_birds(folder: Path) -> None:
    home = folder / "CUB_200_2011"
    for number, name in enumerate(("001.Albatross/a.png", "001.Albatross/b.png", "002.Wren/c.png"), start=1):
        draw(home / "images" / name, number)
        with (home / "images.txt").open("a") as file:
            file.write(f"{number} {name}\n")
    with pytest.raises(DataError, match=r"train_test_split\.txt.* put them back"):
        opened("cub200")
    (home / "train_test_split.txt").write_text("1 0\n2 1\n3 1\n")
    source = opened("cub200")
    assert [source.origin(index) for index in range(len(source))] == ["001.Albatross/b.png", "002.Wren/c.png"]
    assert "the 1 images of its test half are left out" in source.notes[0]


@pytest.mark.parametrize(
    ("name", "there", "message"),
    [
        ("food101", "food-101/images/1.png", "holds no image as CLASS/IMAGE; arrange it so"),
        ("sun397", "SUN397/abbey/1.png", "holds no image as LETTER/CLASS/IMAGE or LETTER/CLASS/KIND/IMAGE"),
        (
            "flowers102",
            "flowers102/jpg/1.png",
            r"\.mat files that nothing here reads; arrange it as flowers102/train/CLASS",
        ),
        ("stanford-cars", "stanford_cars/cars_train/1.png", "arrange it as stanford_cars/train/CLASS/IMAGE"),
        ("cifar10", "cifar-10-batches-py/1.png", "is pickled.* take the binary version"),
        ("cub200", "cub200/images/a/1.png", "take the whole archive, CUB_200_2011"),
        ("df20-mini", "DF20M/1.png", "csv file; arrange it as df20-mini/CLASS/IMAGE"),
        ("artbench10", "elsewhere/1.png", "get it from https://github.com/liaopeiyuan/artbench"),
    ],
)
def test_other_forms_are_refused_with_how_to_arrange_them(name: str, there: str, message: str, folder: Path) -> None:
    draw(folder / there)
    with pytest.raises(DataError, match=message):
        opened(name)


def test_frames_of_one_room_stay_together_and_their_depth_is_a_column(folder: Path) -> None:
    def file(value: int) -> dict[str, bytes]:
        out = BytesIO()
        Image.new("RGB", (8, 8), (value, 0, 255 - value)).save(out, "PNG")
        return {"bytes": out.getvalue()}

    rows = {
        "image": [file(value) for value in range(24)],
        "depth": [file(value + 100) for value in range(24)],
        "scene": [f"room-{value // 4}" for value in range(24)],
    }
    features = Features({"image": ImageFeature(), "depth": ImageFeature(), "scene": Value("string")})
    folder.mkdir()
    Dataset.from_dict(rows, features=features).to_parquet(str(folder / "nyu_depth_64.parquet"))
    target = open_target(DataConfig(target="nyu-depth", heldout=0.3), 8, IdentityCodec())
    train, heldout = (
        {target.source.group(index) for index in part} for part in (target.parts.train, target.parts.heldout)
    )
    assert (len(train), len(heldout), train & heldout) == (4, 2, set())
    assert target.source.in_column("depth", 3) == rows["depth"][3]["bytes"]
    with pytest.raises(
        DataError, match=r"data\.group_column is for data sets of your own; the columns of nyu-depth are known"
    ):
        open_source(DataConfig(target="nyu-depth", group_column="room"))


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("data_batch_1.bin", b"\0" * 100, "100 bytes, no multiple of 3073"),
        ("data_batch_1.bin", b"\7" + b"\0" * (RECORD - 1), "holds the class 7, and batches.meta.txt names 2"),
        ("test_batch.bin", b"", "holds no data_batch"),
    ],
)
def test_a_spoilt_binary_is_said(file: str, content: bytes, message: str, folder: Path) -> None:
    home = folder / "cifar-10-batches-bin"
    home.mkdir(parents=True)
    (home / file).write_bytes(content)
    (home / "batches.meta.txt").write_text("ant\nbee\n")
    with pytest.raises(DataError, match=message):
        opened("cifar10")


def test_the_limit_on_pixels_is_kept(folder: Path) -> None:
    draw(folder / "food-101/images/a/1.png")
    source = open_source(DataConfig(target="food101", max_pixels=63))
    with pytest.raises(DataError, match="limit of 63"):
        source.read(0)
