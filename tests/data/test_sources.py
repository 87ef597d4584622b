from __future__ import annotations

import hashlib
import io
import json
import os
from pathlib import Path

import pytest
from datasets import ClassLabel, Dataset, Features, Value
from datasets import Image as ImageFeature
from PIL import Image

from difftuning.data.sources import DataConfig, open_source
from difftuning.errors import DataError


def png(value: int) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (8, 8), (value, 0, 255 - value)).save(out, "PNG")
    return out.getvalue()


def listing(folder: Path) -> list[tuple[str, str]]:
    """All files and their content: what a source must leave as it was."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return [(str(path), hashlib.sha256(path.read_bytes()).hexdigest()) for path in files]


def class_folders(folder: Path) -> Path:
    for name, values in (("cat", (1, 2)), ("dog", (3, 4, 5))):
        (folder / name / "deep").mkdir(parents=True)
        for value in values:
            (folder / name / "deep" / f"{value}.png").write_bytes(png(value))
    return folder


def parquet(folder: Path, names: list[str] | None = None) -> Path:
    features = Features(
        image=ImageFeature(),
        kind=ClassLabel(names=names or ["cat", "dog"]),
        caption=Value("string"),
    )
    rows = [{"image": {"bytes": png(k), "path": None}, "kind": k % 2, "caption": f"number {k}"} for k in range(6)]
    folder.mkdir(exist_ok=True)
    Dataset.from_list(rows, features=features).to_parquet(folder / "rows.parquet")
    return folder / "rows.parquet"


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path_factory.mktemp("hf"))


def test_class_folders(tmp_path: Path) -> None:
    folder = class_folders(tmp_path)
    (folder / "notes.txt").write_text("beside")
    (folder / "empty").mkdir()
    (folder / "cat" / ".hidden").write_text("x")
    before = listing(folder)
    source = open_source(DataConfig(target=str(folder)))
    assert source.class_names == ("cat", "dog")
    assert [source.label(index) for index in range(len(source))] == [0, 0, 1, 1, 1]
    assert source.origin(2) == "dog/deep/3.png"
    assert source.key(0) == hashlib.sha256(png(1)).hexdigest()
    assert source.read(4).getpixel((0, 0)) == (5, 0, 250)
    assert [(one.origin, "class" in one.reason) for one in source.skipped] == [("notes.txt", True), ("empty", True)]
    assert listing(folder) == before


def test_what_lies_behind_links_is_there_once_with_its_captions(tmp_path: Path) -> None:
    there = class_folders(tmp_path / "there")
    (there / "dog/deep/3.txt").write_text("a dog")
    folder = tmp_path / "links"
    (folder / "cat").mkdir(parents=True)
    (folder / "cat/own.png").write_bytes(png(9))
    (folder / "cat/more").symlink_to(there / "cat")
    (folder / "cat/again").symlink_to(folder / "cat")  # without an end
    (folder / "dog").symlink_to(there / "dog")
    source = open_source(DataConfig(target=str(folder)))
    assert source.class_names == ("cat", "dog")
    labels = [source.label(index) for index in range(len(source))]
    assert labels == [0, 0, 0, 1, 1, 1]
    assert {source.key(index) for index in range(3)} == {hashlib.sha256(png(k)).hexdigest() for k in (1, 2, 9)}
    assert [source.caption(index) for index in range(3, 6)] == ["a dog", None, None]


def test_names_that_are_no_utf8_can_be_told(tmp_path: Path) -> None:
    folder = os.fsencode(tmp_path / "set")
    for name in (b"ros\xe9", b"th\xe9"):
        os.makedirs(os.path.join(folder, name))
        for value in range(3):
            Path(os.fsdecode(os.path.join(folder, name, b"\xe9%d.png" % value))).write_bytes(png(value + 5 * len(name)))
    Path(os.fsdecode(os.path.join(folder, b"\xe9.md"))).write_text("beside")
    source = open_source(DataConfig(target=str(tmp_path / "set")))
    assert source.class_names == ("ros\\xe9", "th\\xe9")
    assert source.origin(0) == "ros\\xe9/\\xe90.png"
    assert source.read(0).size == (8, 8)
    assert [one.origin for one in source.skipped] == ["\\xe9.md"]


def test_a_flat_folder_is_one_class_of_its_name(tmp_path: Path) -> None:
    folder = tmp_path / "birds"
    folder.mkdir()
    (folder / "b.png").write_bytes(png(1))
    (folder / "a.png").write_bytes(png(2))
    source = open_source(DataConfig(target=str(folder)))
    assert source.class_names == ("birds",)
    assert [source.origin(0), source.origin(1)] == ["a.png", "b.png"]


def test_an_empty_folder(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="holds no images; put images in it"):
        open_source(DataConfig(target=str(tmp_path)))


def test_a_missing_path_and_the_nearest_name(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="did you mean 'openmoji'"):
        open_source(DataConfig(target="openmojo"))
    with pytest.raises(DataError, match="neither a path that exists"):
        open_source(DataConfig(target=str(tmp_path / "nowhere")))
    (tmp_path / "a.zip").write_bytes(b"x")
    with pytest.raises(DataError, match=r"none of the kinds \.parquet"):
        open_source(DataConfig(target=str(tmp_path / "a.zip")))


def test_parquet_restores_class_names_and_finds_its_columns(tmp_path: Path) -> None:
    file = parquet(tmp_path / "data")
    before = listing(tmp_path)
    for target in (file, file.parent):
        source = open_source(DataConfig(target=str(target)))
        assert source.class_names == ("cat", "dog")
        assert [source.label(index) for index in range(6)] == [0, 1] * 3
        assert source.read(3).getpixel((0, 0)) == (3, 0, 252)
        assert source.key(3) == hashlib.sha256(png(3)).hexdigest()
        assert source.caption(5) == "number 5"
    assert listing(tmp_path) == before


def test_a_folder_of_tables_keeps_its_splits_apart(tmp_path: Path) -> None:
    whole = parquet(tmp_path / "one")
    folder = tmp_path / "splits"
    folder.mkdir()
    rows = Dataset.from_parquet(str(whole))
    rows.select(range(4)).to_parquet(folder / "train-00000.parquet")
    rows.select(range(4, len(rows))).to_parquet(folder / "test-00000.parquet")
    assert len(open_source(DataConfig(target=str(folder)))) == 4
    assert len(open_source(DataConfig(target=str(folder), split="test"))) == len(rows) - 4
    (folder / "more.csv").write_text("image,label")
    with pytest.raises(DataError, match="several kinds"):
        open_source(DataConfig(target=str(folder)))


def test_wrong_columns_and_splits_name_the_nearest(tmp_path: Path) -> None:
    target = str(parquet(tmp_path / "data"))
    with pytest.raises(DataError, match=r"no column 'kinds' \(data.label_column\); did you mean 'kind'"):
        open_source(DataConfig(target=target, label_column="kinds"))
    with pytest.raises(DataError, match="no split 'trian'; did you mean 'train'"):
        open_source(DataConfig(target=target, split="trian"))


def test_a_label_outside_the_space(tmp_path: Path) -> None:
    rows = Dataset.from_dict({"image": [{"bytes": png(0), "path": None}] * 2, "label": [0, -1]})
    features = Features(image=ImageFeature(), label=ClassLabel(names=["only"]))
    rows.cast(features).to_parquet(tmp_path / "a.parquet")
    with pytest.raises(DataError, match="the label -1 in row 1, outside its space of 1 classes"):
        open_source(DataConfig(target=str(tmp_path / "a.parquet")))


def test_jsonl_with_paths_and_names(tmp_path: Path) -> None:
    (tmp_path / "one.png").write_bytes(png(7))
    lines = [{"image": "one.png", "label": "b"}, {"image": "gone.png", "label": "a"}]
    (tmp_path / "rows.jsonl").write_text("\n".join(json.dumps(line) for line in lines))
    source = open_source(DataConfig(target=str(tmp_path / "rows.jsonl")))
    assert source.class_names == ("a", "b")
    assert source.label(0) == 1
    assert source.read(0).getpixel((0, 0)) == (7, 0, 248)
    with pytest.raises(DataError, match=r"row 1: gone\.png cannot be read"):
        source.read(1)


def test_metadata_beside_images_gives_captions(tmp_path: Path) -> None:
    (tmp_path / "one.png").write_bytes(png(7))
    (tmp_path / "metadata.jsonl").write_text(json.dumps({"file_name": "one.png", "text": "a blue square"}))
    source = open_source(DataConfig(target=str(tmp_path)))
    assert source.caption(0) == "a blue square"
    assert source.read(0).getpixel((0, 0)) == (7, 0, 248)


def test_metadata_in_the_folders_of_splits_gives_captions(tmp_path: Path) -> None:
    for k, split in enumerate(("train", "test")):
        (tmp_path / split).mkdir()
        (tmp_path / split / "one.png").write_bytes(png(7 + k))
        text = json.dumps({"file_name": "one.png", "text": f"a square to {split} with"})
        (tmp_path / split / "metadata.jsonl").write_text(text)
    for split in ("train", "test"):
        source = open_source(DataConfig(target=str(tmp_path), split=split))
        assert [source.caption(index) for index in range(len(source))] == [f"a square to {split} with"]


def test_a_caption_lies_beside_its_image_under_either_suffix(tmp_path: Path) -> None:
    for k, written in enumerate(((".caption",), (".txt", ".caption"), ())):
        (tmp_path / f"{k}.png").write_bytes(png(k))
        for suffix in written:
            (tmp_path / f"{k}{suffix}").write_text(f"in a {suffix}")
    source = open_source(DataConfig(target=str(tmp_path)))
    assert [source.caption(index) for index in range(len(source))] == ["in a .caption", "in a .txt", None]
    assert not source.skipped


def test_a_data_set_saved_to_disk(tmp_path: Path) -> None:
    rows = Dataset.from_dict({"image": [{"bytes": png(9), "path": None}], "label": [4]})
    rows.cast_column("image", ImageFeature()).save_to_disk(tmp_path / "saved")
    source = open_source(DataConfig(target=str(tmp_path / "saved")))
    assert source.class_names == ("4",)
    assert source.read(0).getpixel((0, 0)) == (9, 0, 246)


def test_text_that_is_no_utf8_is_refused(tmp_path: Path) -> None:
    (tmp_path / "0.png").write_bytes(png(1))
    line = b'{"image": "0.png", "label": "cat", "caption": "a c\xdct"}\n'
    (tmp_path / "rows.jsonl").write_bytes(line.replace(b"\xdc", b"a") + line)
    with pytest.raises(DataError, match=r"column 'caption' that is no UTF-8"):
        open_source(DataConfig(target=str(tmp_path / "rows.jsonl")))


def test_of_several_columns_of_classes_one_has_to_be_named(tmp_path: Path) -> None:
    features = Features(
        image=ImageFeature(), fine_label=ClassLabel(names=["a", "b"]), coarse_label=ClassLabel(names=["c"])
    )
    rows = [{"image": {"bytes": png(k), "path": None}, "fine_label": k % 2, "coarse_label": 0} for k in range(4)]
    Dataset.from_list(rows, features=features).to_parquet(tmp_path / "rows.parquet")
    with pytest.raises(
        DataError, match=r"several columns of classes \(fine_label, coarse_label\); set data.label_column"
    ):
        open_source(DataConfig(target=str(tmp_path)))
    source = open_source(DataConfig(target=str(tmp_path), label_column="fine_label"))
    assert source.class_names == ("a", "b")


def test_a_hidden_folder_beside_tables_is_no_class(tmp_path: Path) -> None:
    parquet(tmp_path)
    (tmp_path / ".cache" / "huggingface").mkdir(parents=True)
    assert len(open_source(DataConfig(target=str(tmp_path)))) == 6


def test_folders_named_by_splits_are_no_classes(tmp_path: Path) -> None:
    class_folders(tmp_path / "train")
    class_folders(tmp_path / "val")
    (tmp_path / "val" / "cat" / "more.png").write_bytes(png(9))
    (tmp_path / "README.md").write_text("beside")
    source = open_source(DataConfig(target=str(tmp_path)))
    assert (source.class_names, len(source)) == (("cat", "dog"), 5)
    assert source.notes == ("of the splits train, val the one of data.split=train",)
    assert [one.origin for one in source.skipped] == ["README.md"]
    (tmp_path / "__MACOSX").mkdir()
    for named in ("validation", "val"):
        assert len(open_source(DataConfig(target=str(tmp_path), split=named))) == 6
    with pytest.raises(DataError, match=r"the splits train, val, and data\.split is 'test'; set data\.split to one of"):
        open_source(DataConfig(target=str(tmp_path), split="test"))
    for index in range(7):
        (tmp_path / f"{index}.png").write_bytes(png(index))
    with pytest.raises(DataError, match=r"holds 8 files beside the 5 in train, which names a split"):
        open_source(DataConfig(target=str(tmp_path)))
    for index in range(7):
        (tmp_path / f"{index}.png").unlink()
    (tmp_path / "val").rename(tmp_path / "plane")  # a train is something to see, too
    assert open_source(DataConfig(target=str(tmp_path))).class_names == ("plane", "train")


def test_a_data_set_of_the_hub_as_it_is_cloned(tmp_path: Path) -> None:
    parquet(tmp_path / "data").rename(tmp_path / "data" / "train-00000-of-00001.parquet")
    (tmp_path / "README.md").write_text("the card")
    (tmp_path / "assets").mkdir()
    (tmp_path / "assets" / "card.png").write_bytes(png(1))
    source = open_source(DataConfig(target=str(tmp_path)))
    assert (len(source), source.class_names) == (6, ("cat", "dog"))


def test_of_several_captions_the_first_is_taken(tmp_path: Path) -> None:
    (tmp_path / "0.png").write_bytes(png(1))
    lines = [{"image": "0.png", "label": 3, "text": ["one", "two"]}, {"image": "0.png", "label": 3, "text": []}]
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, lines)))
    config = DataConfig(target=str(tmp_path / "rows.jsonl"), caption_column="text")
    source = open_source(config)
    assert [source.caption(row) for row in range(2)] == ["one", None]
    with pytest.raises(DataError, match=r"the column 'label' of .* holds no text; set data.caption_column"):
        open_source(config.model_copy(update={"caption_column": "label"}))
