"""A streamed set trains on the same latents as a listed one, keeps nothing of them in memory, and goes on where it was."""

from __future__ import annotations

import functools
import hashlib
import http.server
import io
import tarfile
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from data.test_latents import Pooling
from difftuning.data import streamed
from difftuning.data.latent_files import LatentFiles
from difftuning.data.sources import DataConfig, is_streamed
from difftuning.data.target import Target, open_target
from difftuning.errors import DataError

FILES, EACH = 3, 20


def picture(number: int) -> Image.Image:
    values = np.random.default_rng(number).integers(0, 255, (10, 12, 3), dtype=np.uint8)
    return Image.fromarray(values)


def encoded(image: Image.Image) -> bytes:
    out = io.BytesIO()
    image.save(out, "PNG")
    return out.getvalue()


def shard(path: Path, numbers: range, broken: frozenset[int] = frozenset(), captions: bool = False) -> None:
    """A tar in the layout of webdataset: NUMBER.png, NUMBER.cls and, if asked for, NUMBER.txt."""
    with tarfile.open(path, "w") as tar:
        for number in numbers:
            files = {"png": encoded(picture(number)), "cls": str(number % 11).encode()}
            if number in broken:
                files["png"] = files["png"][:60]
            if captions:
                files["txt"] = f"noise number {number}".encode()
            for kind, content in files.items():
                entry = tarfile.TarInfo(f"{number:06d}.{kind}")
                entry.size = len(content)
                tar.addfile(entry, io.BytesIO(content))


@pytest.fixture
def shards(tmp_path: Path) -> Path:
    folder = tmp_path / "shards"
    folder.mkdir()
    for file in range(FILES):
        shard(folder / f"set-{file:03d}.tar", range(file * EACH, (file + 1) * EACH))
    return folder


def opened(target: Path | str, cache: Path, codec: Pooling | None = None, **changes: object) -> Target:
    config = DataConfig(target=str(target), **{"heldout": 0.3, **changes})  # type: ignore[arg-type]
    return open_target(config, 8, codec or Pooling(), cache, by_prompt=bool(changes.get("prompt")))


def everything(items: LatentFiles) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Latents, mirrored latents and classes."""
    every, flip = torch.arange(len(items)), torch.ones(len(items), dtype=torch.bool)
    return items.get(every, ~flip), items.get(every, flip), items.classes(every)


def test_the_latents_are_those_of_the_images_in_half_precision(shards: Path, tmp_path: Path) -> None:
    target = opened(shards, tmp_path / "cache")
    assert isinstance(target.train, LatentFiles)
    assert len(target.train) + len(target.heldout) == FILES * EACH
    assert 5 < len(target.heldout) < 35
    assert target.class_names == tuple(map(str, range(11)))  # in the order of numbers
    held = set(target.heldout.keys)
    numbers = [n for n in range(FILES * EACH) if hashlib.sha256(encoded(picture(n))).hexdigest() not in held]
    assert len(numbers) == len(target.train)
    latents, mirrored, classes = everything(target.train)
    assert classes.tolist() == [number % 11 for number in numbers]
    for place, number in enumerate(numbers):
        pixels = target.transform(picture(number))
        whole = torch.stack([pixels, pixels.flip(-1)])
        expected = Pooling().encode(whole).half().float()
        assert torch.equal(torch.stack([latents[place], mirrored[place]]), expected)
    shuffled = torch.randperm(len(numbers), generator=torch.Generator().manual_seed(0))
    assert torch.equal(target.train.get(shuffled, torch.zeros(len(numbers), dtype=torch.bool)), latents[shuffled])


def test_held_out_images_and_pictures(shards: Path, tmp_path: Path) -> None:
    target = opened(shards, tmp_path / "cache")
    shown, some = target.pictures(target.heldout), target.pictures(target.train)
    by_key = {hashlib.sha256(encoded(picture(n))).hexdigest(): n for n in range(FILES * EACH)}
    for place, key in enumerate(target.heldout.keys):
        number = by_key[key]
        assert torch.equal(shown[place], target.transform.pixels(picture(number)))
        assert int(target.heldout.labels[place]) == number % 11
        assert torch.equal(target.heldout.latents[place], Pooling().encode(target.transform(picture(number))[None])[0])
    assert 0 < len(some) < len(target.train)
    assert not any(torch.equal(one, other) for one in some for other in shown)
    assert target.test is None
    assert any("to train on" in line for line in target.report())


def test_an_interrupted_pass_goes_on_to_the_same(shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streamed, "PART", 8)
    whole = opened(shards, tmp_path / "whole")

    class Interrupted(Exception):
        pass

    def stop(done: int, total: int) -> None:
        assert total >= done
        if done == 30:
            raise Interrupted

    config = DataConfig(target=str(shards), heldout=0.3)
    with pytest.raises(Interrupted):
        open_target(config, 8, Pooling(), tmp_path / "cache", stop)
    codec = Pooling()
    again = opened(shards, tmp_path / "cache", codec)
    assert isinstance(whole.train, LatentFiles)
    assert isinstance(again.train, LatentFiles)
    for one, other in zip(everything(whole.train), everything(again.train), strict=True):
        assert torch.equal(one, other)
    assert whole.train.digest == again.train.digest
    assert whole.heldout.digest == again.heldout.digest
    assert "4 reused" in again.train.report  # three parts of the first file, one of the second
    codec = Pooling()
    opened(shards, tmp_path / "cache", codec)
    assert codec.calls == 0


def test_a_damaged_image_is_set_aside_and_named(tmp_path: Path) -> None:
    shard(tmp_path / "set.tar", range(20), broken=frozenset({7}))
    target = opened(tmp_path / "set.tar", tmp_path / "cache")
    assert len(target.train) + len(target.heldout) == 19
    assert target.set_aside == 1
    assert "row 7" in target.skipped[0].origin
    assert any("set aside 1" in line for line in target.report())


def test_a_torn_file_is_refused_and_what_was_read_is_kept(shards: Path, tmp_path: Path) -> None:
    last = shards / "set-002.tar"
    whole = last.read_bytes()
    header = whole.index(b"000050.png")
    # On the border of a block, within a member, without its end marker, a header that was overwritten.
    for cut in (whole[:20480], whole[:20490], whole[:header], whole[:header] + b"x" * 512 + whole[header + 512 :]):
        last.write_bytes(cut)
        with pytest.raises(DataError, match=r"set-002.tar cannot be read to its end.*fetch it again"):
            opened(shards, tmp_path / "cache")
    shard(last, range(40, 60))
    assert len(opened(shards, tmp_path / "cache").train) > 30


def test_a_file_that_changes_is_read_anew(shards: Path, tmp_path: Path) -> None:
    before = opened(shards, tmp_path / "cache")
    shard(shards / "set-000.tar", range(100, 120))
    after = opened(shards, tmp_path / "cache")
    assert before.train.digest != after.train.digest


def test_latents_that_were_damaged_are_made_again_or_refused(shards: Path, tmp_path: Path) -> None:
    before = opened(shards, tmp_path / "cache")
    files = sorted((tmp_path / "cache").rglob("*.safetensors"))
    torn = next(path for path in files if "aside" not in path.name)
    torn.write_bytes(torn.read_bytes()[:-4])
    codec = Pooling()
    assert opened(shards, tmp_path / "cache", codec).train.digest == before.train.digest
    assert 0 < codec.calls < 2 * FILES * EACH
    content = bytearray(torn.read_bytes())
    content[-2000] ^= 1  # of the latents: labels and checksums are shorter
    torn.write_bytes(content)
    changed = opened(shards, tmp_path / "cache").train
    with pytest.raises(DataError, match=rf"{torn.name} is not what was written; remove it"):
        changed.get(torch.arange(len(changed)), torch.ones(len(changed), dtype=torch.bool))
    torn.unlink()
    opened(shards, tmp_path / "cache")
    aside = next(path for path in files if "aside" in path.name)
    content = bytearray(aside.read_bytes())
    content[-1] ^= 1
    aside.write_bytes(content)
    with pytest.raises(DataError, match=r"aside.*is damaged; remove it"):
        opened(shards, tmp_path / "cache")
    mark = next((tmp_path / "cache").rglob("*.json"))
    mark.write_text(mark.read_text().replace('"rows": 20', '"rows": 21'))
    with pytest.raises(DataError, match=r"not what was written; remove it"):
        opened(shards, tmp_path / "cache")


def test_prompts_from_captions(tmp_path: Path) -> None:
    shard(tmp_path / "set.tar", range(20), captions=True)
    target = opened(tmp_path / "set.tar", tmp_path / "cache", prompt="a picture of {caption}, {label}")
    assert "a picture of noise number 3, 3" in target.class_names
    assert len(target.class_names) == 20


@pytest.fixture
def server(shards: Path) -> Iterator[str]:
    """The folder over HTTP, as object storage gives it."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, format: str, *args: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(shards))) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{running.server_address[1]}"
        running.shutdown()


def test_shards_at_an_address(server: str, shards: Path, tmp_path: Path) -> None:
    there, here = opened(f"{server}/set-*.tar", tmp_path / "a"), opened(shards, tmp_path / "b")
    assert there.train.digest == here.train.digest
    assert there.heldout.digest == here.heldout.digest
    with pytest.raises(DataError, match=r"files ending in \.tar"):
        opened(f"{server}/other-*.tar", tmp_path / "a")


def test_parquet_as_a_stream(tmp_path: Path) -> None:
    from data.test_sources import parquet

    parquet(tmp_path / "table")
    target = opened(tmp_path / "table", tmp_path / "cache", stream=True, heldout=0.5)
    assert set(target.class_names) <= {"cat", "dog"}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"per_class": 3}, "data.per_class needs a list"),
        ({"group_column": "scene"}, "data.group_column needs a list"),
        ({"image_column": "pgn"}, "no column 'pgn'.*did you mean 'png'"),
        ({"heldout": 1e-12}, "none of 60 images is held out; raise data.heldout"),
    ],
)
def test_what_a_stream_cannot_do(shards: Path, tmp_path: Path, changes: dict[str, object], message: str) -> None:
    with pytest.raises(DataError, match=message):
        opened(shards, tmp_path / "cache", **changes)


def test_what_is_streamed_without_being_asked(shards: Path, tmp_path: Path) -> None:
    assert is_streamed(DataConfig(target=str(shards)))
    assert is_streamed(DataConfig(target="s3://bucket/train-*.tar"))
    assert not is_streamed(DataConfig(target=str(shards), stream=False))
    assert not is_streamed(DataConfig(target=str(tmp_path)))
    assert not is_streamed(DataConfig(target="openmoji"))
    (shards / "table.parquet").write_bytes(b"")
    with pytest.raises(DataError, match="several kinds"):
        opened(shards, tmp_path / "cache")
    with pytest.raises(DataError, match=r"is no path, address or pattern of files ending in \.tar"):
        opened(tmp_path / "nowhere.tar", tmp_path / "cache")
