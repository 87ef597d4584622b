"""A streamed set trains on the same latents as a listed one, keeps nothing of them in memory, and goes on where it was."""

from __future__ import annotations

import functools
import hashlib
import http.server
import io
import json
import math
import tarfile
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from data.test_latents import Pooling
from difftuning.data import part_writer, streamed
from difftuning.data.latent_files import LatentFiles
from difftuning.data.opening import open_target
from difftuning.data.sources import DataConfig, is_streamed
from difftuning.data.target import Target
from difftuning.errors import ConfigError, DataError

FILES, EACH = 3, 20


def picture(number: int) -> Image.Image:
    values = np.random.default_rng(number).integers(0, 255, (10, 12, 3), dtype=np.uint8)
    return Image.fromarray(values)


def encoded(image: Image.Image) -> bytes:
    out = io.BytesIO()
    image.save(out, "PNG")
    return out.getvalue()


def tarred(path: Path, files: dict[str, bytes | str]) -> Path:
    """A tar of some members, each with its content; those with text are links to it."""
    path.parent.mkdir(exist_ok=True)
    with tarfile.open(path, "w") as tar:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            if isinstance(content, str):
                entry.type, entry.linkname = tarfile.SYMTYPE, content
                content = b""
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
    return path


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
    return open_target(
        config, 8, codec or Pooling(), cache, by_prompt=bool({"prompt", "caption_column"} & set(changes))
    )


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
    for module in (streamed, part_writer):
        monkeypatch.setattr(module, "PART", 8)
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
    # A header that was zeroed looks like the end; a download that was given its length before has more zeros than any end.
    last.write_bytes(whole[:header] + bytes(512) + whole[header + 512 :])
    with pytest.raises(DataError, match="there is more behind its end"):
        opened(shards, tmp_path / "cache")
    last.write_bytes(whole + bytes(2**23))
    with pytest.raises(DataError, match="it was not fetched to its end"):
        opened(shards, tmp_path / "cache")
    shard(last, range(40, 60))
    again = opened(shards, tmp_path / "cache").train
    assert len(again) > 30
    assert "1 part(s) encoded, 2 reused" in again.report
    shard(shards / "set-003.tar", range(60, 80))  # a set may grow
    assert "1 part(s) encoded, 3 reused" in opened(shards, tmp_path / "cache").train.report


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
    mark = next((tmp_path / "cache").rglob("*-000000.json"))
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


@pytest.mark.parametrize("kind", ["parquet", "arrow"])
def test_a_table_as_a_stream(kind: str, tmp_path: Path) -> None:
    from data.test_sources import parquet, png

    file = parquet(tmp_path / "table")
    if kind == "arrow":
        rows = pq.read_table(file)
        with pa.ipc.new_stream(file.with_suffix(".arrow"), rows.schema) as out:
            out.write_table(rows)
        file.unlink()
    of = {hashlib.sha256(png(number)).hexdigest(): number for number in range(6)}
    classes, prompts = ("cat", "dog"), tuple(f"number {number}" for number in range(6))
    for names, label, changes in ((classes, 2, {}), (prompts, 6, {"prompt": "{caption}"})):
        target = opened(tmp_path / "table", tmp_path / "cache", stream=True, heldout=0.5, **changes)
        assert isinstance(target.train, LatentFiles)
        assert target.class_names == names
        held = [of[key] for key in target.heldout.keys]
        trained = [number for number in range(6) if number not in held]
        assert len(trained) + len(held) == len(target.train) + len(target.heldout) == 6
        assert target.heldout.labels.tolist() == [number % label for number in held]
        latents, mirrored, found = everything(target.train)
        assert found.tolist() == [number % label for number in trained]
        whole = {n: target.transform(Image.open(io.BytesIO(png(n))).convert("RGB"))[None] for n in range(6)}
        assert torch.equal(target.heldout.latents, torch.cat([Pooling().encode(whole[n]) for n in held]))
        expected = torch.cat([Pooling().encode(whole[n]) for n in trained]).half().float()
        assert torch.equal(latents, expected)
        assert torch.equal(mirrored, expected)  # of one colour each
        assert len(expected.flatten(1).unique(dim=0)) == len(trained)


PICTURE = encoded(picture(0))


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (
            {"1.a.png": PICTURE, "1.b.png": PICTURE},
            r"row 0 has several pictures \(a.png, b.png\); set data.image_column",
        ),
        ({f"photo.{n:04d}.png": PICTURE for n in range(99)}, "more than 64 files share the name photo"),
        (
            {"1.png": PICTURE, "1.cls": b"a", "2.png": PICTURE},
            "row 1 has no class, and the first sample of its file has one",
        ),
        (
            {"1.png": PICTURE, "2.png": PICTURE, "2.cls": b"a"},
            "row 1 has a class, and the first sample of its file has none",
        ),
        ({"1.png": PICTURE, "2.png": "1.png"}, "2.png is a link, and only files are read"),
    ],
)
def test_a_tar_whose_samples_cannot_be_told(files: dict[str, bytes | str], message: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=message):
        opened(tarred(tmp_path / "set.tar", files), tmp_path / "cache")


def test_of_several_pictures_the_plain_one_is_taken_and_files_go_before_entries(tmp_path: Path) -> None:
    files: dict[str, bytes | str] = {}
    for number in range(12):
        files |= {f"{number}.depth.png": encoded(picture(100)), f"{number}.png": encoded(picture(number))}
        files |= {f"{number}.cls": b"right", f"{number}.json": b'{"label": "wrong", "title": null, "caption": "wrong"}'}
        files |= {f"{number}.txt": b"a caption"}
    target = opened(tarred(tmp_path / "set.tar", files), tmp_path / "cache", prompt="{label}: {caption}")
    assert target.class_names == ("right: a caption",)
    shown = target.pictures(target.heldout)
    wrong = target.transform.pixels(picture(100))
    assert not any(torch.equal(one, wrong) for one in shown)
    # An entry that is null is there, and says nothing.
    with pytest.raises(DataError, match=r"the column 'title' of .*set.tar holds no text; set data.caption_column"):
        opened(tmp_path / "set.tar", tmp_path / "cache", caption_column="title")


def test_each_sample_may_have_a_caption_and_numbers_may_be_written_with_a_point(tmp_path: Path) -> None:
    entries: list[dict[str, object]] = [
        {"label": 0.0, "caption": math.nan},
        {"label": 1.0},
        {"label": 2.0, "caption": "only"},
    ]
    entries[1]["caption"] = ["first", "second"]
    files: dict[str, bytes | str] = {}
    for number in range(30):
        files |= {f"{number}.png": encoded(picture(number)), f"{number}.json": json.dumps(entries[number % 3]).encode()}
    target = opened(tarred(tmp_path / "set.tar", files), tmp_path / "cache", caption_column="caption")
    assert target.class_names == ("0", "first", "only")  # NaN is none
    assert "prompts: 3, for instance '0', 'first', 'only'" in target.report()
    (
        tarred(tmp_path / "more" / "a.tar", files),
        tarred(tmp_path / "more" / "b.tar", {"1.png": PICTURE, "1.cls": b"bare"}),
    )
    more = opened(tmp_path / "more", tmp_path / "cache", caption_column="caption")
    assert more.class_names == ("0", "bare", "first", "only")
    with pytest.raises(DataError, match=r"no column 'captoin'.*did you mean 'caption'"):
        opened(tmp_path / "set.tar", tmp_path / "cache", caption_column="captoin")


def test_what_is_held_out_does_not_hang_on_what_was_encoded_before(
    shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streamed, "MOST_HELDOUT", 20)
    shard(tmp_path / "large.tar", range(100, 700))
    alone = opened(shards, tmp_path / "alone", heldout=0.2)
    opened(tmp_path / "large.tar", tmp_path / "cache", heldout=0.2)
    assert opened(shards, tmp_path / "cache", heldout=0.2).heldout.keys == alone.heldout.keys


def test_the_digest_tells_which_image_is_of_which_class(tmp_path: Path) -> None:
    found = []
    for number, names in enumerate((b"ab", b"ba")):
        files: dict[str, bytes | str] = {}
        for row in range(20):
            files |= {f"{row}.png": encoded(picture(row)), f"{row}.cls": names[row % 2 :][:1]}
        tar = tarred(tmp_path / f"{number}.tar", files)
        found.append(opened(tar, tmp_path / "cache").train)
    assert found[0].class_names == found[1].class_names
    assert found[0].digest != found[1].digest


def test_names_of_files_tell_splits(shards: Path, tmp_path: Path) -> None:
    for file, name in zip(sorted(shards.iterdir()), ("train-000.tar", "train-001.tar", "test-000.tar"), strict=True):
        file.rename(shards / name)
    target = opened(shards, tmp_path / "cache")
    assert len(target.train) + len(target.heldout) == 2 * EACH
    other = opened(shards, tmp_path / "cache", split="test")
    assert len(other.train) + len(other.heldout) == EACH
    every = opened(shards / "*.tar", tmp_path / "cache")
    assert len(every.train) + len(every.heldout) == FILES * EACH
    with pytest.raises(DataError, match=r"names the splits test, train, and data\.split is 'validation'"):
        opened(shards, tmp_path / "cache", split="validation")
    (shards / "train-001.tar").rename(shards / "more.tar")
    with pytest.raises(DataError, match="names the splits test, train and files of none"):
        opened(shards, tmp_path / "cache")


def test_how_much_is_held_out_follows_the_bytes_of_all_files(
    shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streamed, "MOST_HELDOUT", 20)
    shard(shards / "set-003.tar", range(100, 700))
    target = opened(shards, tmp_path / "cache", heldout=0.5)
    assert 8 < len(target.heldout) < 34


@pytest.mark.parametrize("seed", range(4))
def test_with_few_held_out_there_is_enough_to_see(shards: Path, tmp_path: Path, seed: int) -> None:
    target = opened(shards, tmp_path / "cache", heldout=3, seed=seed)
    assert 0 < len(target.heldout) < 10
    assert len(target.pictures(target.train)) > 10


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"per_class": 3}, "data.per_class needs a list"),
        ({"group_column": "scene"}, "data.group_column needs a list"),
        ({"image_column": "pgn"}, "no column 'pgn'.*did you mean 'png'"),
        ({"also": [{"target": "openmoji"}]}, "data.also needs a list of all images"),
        ({"heldout": 1e-12}, "none of 60 images is held out; raise data.heldout"),
    ],
)
def test_what_a_stream_cannot_do(shards: Path, tmp_path: Path, changes: dict[str, object], message: str) -> None:
    with pytest.raises(DataError, match=message):
        opened(shards, tmp_path / "cache", **changes)


def test_a_template_is_looked_at_before_anything_is_read(shards: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="title"):
        opened(shards, tmp_path / "cache", prompt="a {title}")
    assert not (tmp_path / "cache").exists()


def test_what_is_streamed_without_being_asked(shards: Path, tmp_path: Path) -> None:
    assert is_streamed(DataConfig(target=str(shards)))
    assert is_streamed(DataConfig(target="s3://bucket/train-*.tar"))
    assert not is_streamed(DataConfig(target=str(shards), stream=False))
    assert not is_streamed(DataConfig(target=str(tmp_path)))
    assert not is_streamed(DataConfig(target="openmoji"))
    (tmp_path / "pets" / "cats").mkdir(parents=True)
    shard(tmp_path / "pets" / "pets.tar", range(3))
    assert is_streamed(DataConfig(target=str(tmp_path / "pets")))
    (tmp_path / "pets" / "cats" / "1.png").write_bytes(encoded(picture(1)))  # unpacked beside it
    with pytest.raises(DataError, match=r"holds 1 tar\(s\) and pictures, such as cats/1\.png; set data\.stream"):
        is_streamed(DataConfig(target=str(tmp_path / "pets")))
    (shards / "table.parquet").write_bytes(b"")
    with pytest.raises(DataError, match="several kinds"):
        opened(shards, tmp_path / "cache")
    with pytest.raises(DataError, match=r"is no path, address or pattern of files ending in \.tar"):
        opened(tmp_path / "nowhere.tar", tmp_path / "cache")
