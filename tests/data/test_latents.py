from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from difftuning.data import tensor_cache
from difftuning.data.folder import FolderSource
from difftuning.data.latents import LatentSet, encode
from difftuning.data.opening import open_target
from difftuning.data.sources import DataConfig
from difftuning.data.target import Target
from difftuning.data.transforms import Transform
from difftuning.errors import DataError


class Pooling:
    """A real codec: average pooling by two, lossy, and unequal for an image and its mirror."""

    def __init__(self, scale: float = 0.5, cached_in: str = "") -> None:
        self.scale, self.cached_in, self.calls = scale, cached_in, 0

    def encode(self, images: Tensor, /) -> Tensor:
        self.calls += len(images)
        return torch.nn.functional.avg_pool2d(images, 2) * self.scale

    def digest(self) -> str:
        return hashlib.sha256(f"pooling {self.scale}".encode()).hexdigest()


def images(folder: Path, count: int = 6) -> Path:
    random = np.random.default_rng(0)
    for index in range(count):
        (folder / "ab"[index % 2]).mkdir(parents=True, exist_ok=True)
        picture = Image.fromarray(random.integers(0, 255, (10, 12, 3), dtype=np.uint8))
        picture.save(folder / "ab"[index % 2] / f"{index}.png")
    return folder


def test_a_stray_file_takes_the_place_of_no_image(tmp_path: Path) -> None:
    # Which part a file falls to is told by its content, so it falls to each of them in some of these.
    for number in range(12):
        folder = tmp_path / str(number)
        images(folder, 5)
        wanted = open_target(DataConfig(target=str(folder / "a")), 8, Pooling(), tmp_path / "cache")
        (folder / "a/README.md").write_text(f"About these images, {number}")
        found = open_target(DataConfig(target=str(folder / "a")), 8, Pooling(), tmp_path / "cache")
        assert (found.train.keys, found.heldout.keys) == (wanted.train.keys, wanted.heldout.keys)
        assert [one.origin for one in found.skipped] == ["README.md"]


def encoded(folder: Path, codec: Pooling, cache: Path | None, size: int = 8) -> LatentSet:
    return encode(FolderSource(folder, 10_000), Transform(size), codec, cache)


def same(one: LatentSet, other: LatentSet) -> bool:
    assert one.mirrored is not None
    assert other.mirrored is not None
    tensors = ((one.latents, other.latents), (one.mirrored, other.mirrored), (one.labels, other.labels))
    return all(torch.equal(*pair) for pair in tensors) and one.digest == other.digest


def test_cached_or_not_is_the_same_bit_for_bit(tmp_path: Path) -> None:
    folder, cache = images(tmp_path / "in"), tmp_path / "cache"
    plain = encoded(folder, Pooling(), None)
    first = encoded(folder, Pooling(), cache)
    codec = Pooling()
    second = encoded(folder, codec, cache)
    assert same(plain, first)
    assert same(plain, second)
    assert codec.calls == 0
    assert (first.report, second.report) == (
        "reused 0, computed 6, because nothing was cached for these settings",
        "reused 6, computed 0",
    )
    assert plain.report.endswith("because no cache was asked for")


def test_latents_of_another_device_are_of_the_same_images_and_not_taken_from_a_cache(tmp_path: Path) -> None:
    folder, cache, elsewhere = images(tmp_path / "in"), tmp_path / "cache", Pooling(cached_in="cuda")
    here = encoded(folder, Pooling(), cache)
    there = encoded(folder, elsewhere, cache)
    assert elsewhere.calls == 2 * len(here)
    assert there.digest == here.digest


def test_what_changed_is_computed_and_nothing_else(tmp_path: Path) -> None:
    folder, cache = images(tmp_path / "in"), tmp_path / "cache"
    encoded(folder, Pooling(), cache)
    Image.new("RGB", (9, 9), "red").save(folder / "a" / "0.png")
    changed = encoded(folder, Pooling(), cache)
    assert changed.report == "reused 5, computed 1, because the other images are new or have changed"
    assert same(changed, encoded(folder, Pooling(), None))
    # Renamed and copied files are known by their content.
    (folder / "a" / "2.png").rename(folder / "a" / "other.png")
    assert encoded(folder, Pooling(), cache).report == "reused 6, computed 0"
    assert encoded(folder, Pooling(scale=0.25), cache).report.startswith("reused 0, computed 6")
    assert encoded(folder, Pooling(), cache, size=4).report.startswith("reused 0, computed 6")


@pytest.mark.parametrize("harm", ["truncated", "flipped"])
def test_a_damaged_cache_is_not_believed(tmp_path: Path, harm: str) -> None:
    folder, cache = images(tmp_path / "in"), tmp_path / "cache"
    whole = encoded(folder, Pooling(), cache)
    (shard,) = cache.rglob("*.safetensors")
    data = bytearray(shard.read_bytes())
    data[-5] ^= 1
    shard.write_bytes(data[:-100] if harm == "truncated" else data)
    again = encoded(folder, Pooling(), cache)
    assert again.report == "reused 0, computed 6, because 1 cached file(s) were damaged"
    assert same(whole, again)
    assert encoded(folder, Pooling(), cache).report == "reused 6, computed 0"


def test_a_cache_that_cannot_be_written_costs_nothing_else(tmp_path: Path) -> None:
    folder = images(tmp_path / "in")
    (tmp_path / "file").write_text("not a folder")
    found = encoded(folder, Pooling(), tmp_path / "file" / "cache")
    assert len(found) == 6
    assert "could not be kept" in found.report


def test_mirrored_items_are_encoded_from_mirrored_images(tmp_path: Path) -> None:
    source = FolderSource(images(tmp_path / "in"), 10_000)
    found = encode(source, Transform(8), Pooling())
    picked = found.get(torch.tensor([3, 1, 3]), torch.tensor([True, False, False]))
    image = Transform(8)(source.read(3))
    assert torch.equal(picked[0], Pooling().encode(image.flip(-1)[None])[0])
    assert torch.equal(picked[1], found.latents[1])
    assert torch.equal(picked[2], Pooling().encode(image[None])[0])
    part = found.subset(torch.tensor([4, 0]))
    assert torch.equal(part.latents, found.latents[[4, 0]])
    assert part.digest != found.digest
    with pytest.raises(DataError, match="flips=True"):
        encode(source, Transform(8), Pooling(), flips=False).get(torch.tensor([0]), torch.tensor([True]))


def test_bad_files_are_set_aside_with_their_reasons(tmp_path: Path) -> None:
    folder = images(tmp_path / "in")
    whole = (folder / "a" / "0.png").read_bytes()
    (folder / "a" / "cut.png").write_bytes(whole[:150])
    (folder / "a" / "text.png").write_text("not a picture")
    (folder / "b" / "gone.png").symlink_to(tmp_path / "nowhere.png")
    Image.new("RGB", (200, 200)).save(folder / "b" / "huge.png")
    found = encoded(folder, Pooling(), None)
    assert len(found) == 6
    reasons = {one.origin: one.reason for one in found.skipped}
    assert sorted(reasons) == ["a/cut.png", "a/text.png", "b/gone.png", "b/huge.png"]
    assert "truncated or damaged" in reasons["a/cut.png"]
    assert reasons["a/text.png"].startswith("not an image of a kind that is read (PNG, JPEG, ")
    assert "cannot be read" in reasons["b/gone.png"]
    assert "200x200 pixels exceed the limit" in reasons["b/huge.png"]


def test_nothing_usable_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_text("text")
    with pytest.raises(DataError, match=r"no image that can be used .*a\.png: not an image"):
        encoded(tmp_path, Pooling(), None)


def opened(folder: Path, **options: object) -> Target:
    config = DataConfig.model_validate({"target": str(folder), **options})
    return open_target(config, 8, Pooling(), folder.parent / "cache")


def test_a_target_is_split_once_and_reports_itself(tmp_path: Path) -> None:
    folder = images(tmp_path / "in", 20)
    (folder / "a" / "text.png").write_text("not a picture")
    (folder / "a" / "gone.png").symlink_to(tmp_path / "nowhere.png")
    target = opened(folder, per_class=3, heldout=2)
    test = target.test
    assert test is not None
    assert (len(target.heldout), target.heldout.mirrored) == (4, None)
    together = [*target.train.keys, *target.heldout.keys, *test.keys]
    assert len(set(together)) == len(together)
    text = "\n".join(target.report())
    assert "held out" in text
    assert "gone.png: cannot be read" in text
    again = opened(folder, per_class=3, heldout=2)
    assert again.train.digest == target.train.digest
    assert again.train.report == f"reused {len(target.train)}, computed 0"


def test_one_image_is_too_few(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="too few to hold any out"):
        opened(images(tmp_path / "in", 1))


def test_only_the_files_of_its_images_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one, other = images(tmp_path / "one"), tmp_path / "other"
    other.mkdir()
    for index in range(3):
        Image.new("RGB", (9, 9), (index * 40, 7, 9)).save(other / f"{index}.png")
    encoded(one, Pooling(), tmp_path / "cache")
    encoded(other, Pooling(), tmp_path / "cache")
    read: list[Path] = []
    whole = tensor_cache.read_tensors
    monkeypatch.setattr(tensor_cache, "read_tensors", lambda path: (read.append(path), whole(path))[1])
    assert encoded(other, Pooling(), tmp_path / "cache").report == "reused 3, computed 0"
    assert len(read) == 1
    assert len(list((tmp_path / "cache").rglob("*.safetensors"))) == 2
