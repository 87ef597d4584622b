"""Files of users and strangers that are tried with damage: what makes a sound one, and what reads it."""

from __future__ import annotations

import io
import json
import random
import tarfile
from collections.abc import Callable
from pathlib import Path

import datasets
import numpy as np
import torch
from PIL import Image

from difftuning.backbones.folder import names_of, read_index, read_part
from difftuning.checksums import SUMS, check_sums, write_sums
from difftuning.data.decoding import decode
from difftuning.data.folder import FileSource
from difftuning.data.latent_files import Part, PartFolder, digest_of
from difftuning.data.prompted import Prompted
from difftuning.data.shards import Columns, Shards
from difftuning.data.sources import DataConfig, open_source
from difftuning.noise.process import from_scheduler_config
from faults.trying import Tally, Try, damaged


def into(file: Path, attempt: Callable[[], object]) -> Try:
    """An attempt at a file's content."""

    def put(content: bytes) -> object:
        file.write_bytes(content)
        return attempt()

    return put


def _into(file: Path, attempt: Callable[[], object]) -> Try:
    """An attempt at a file's content."""

    def put(content: bytes) -> object:
        file.write_bytes(content)
        return attempt()

    return put


def images() -> list[bytes]:
    """A small picture in every kind that Pillow writes, the ones that are not read too."""
    pixels = np.random.default_rng(0).integers(0, 256, (12, 10, 4), np.uint8)
    found = []
    written = "PNG JPEG WEBP AVIF GIF BMP TIFF PPM JPEG2000 ICO TGA EPS PCX IM SGI DDS".split()
    options = {"JPEG": {"progressive": True}, "TIFF": {"compression": "tiff_lzw"}}
    for kind in written:
        for mode in ("RGB", "RGBA", "L", "P", "1"):
            file = io.BytesIO()
            try:
                Image.fromarray(pixels).convert(mode).save(file, kind, **options.get(kind, {}))
            except (OSError, ValueError):  # a kind does not have every mode
                continue
            found.append(file.getvalue())
    return found


def tar_shard(folder: Path) -> Callable[[int, Tally, int], None]:
    """A tar of two samples with class, caption and entries."""
    folder.mkdir()
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for key in ("one", "two"):
            fields = {"png": images()[0], "cls": key.encode(), "txt": b"a fox", "json": b'{"title": "a fox", "at": 3}'}
            for field, content in fields.items():
                entry = tarfile.TarInfo(f"{key}.{field}")
                entry.size = len(content)
                tar.addfile(entry, io.BytesIO(content))

    def attempt(content: bytes) -> object:
        (folder / "set.tar").write_bytes(content)
        shards = Shards(str(folder), "train", None, Columns(caption="title"))
        return [decode(row.content, row.origin, 2**22) for file in shards.files for row in shards.rows(file)]

    return lambda count, tally, of: damaged(attempt, [out.getvalue()], count, tally, random.Random(of))


def part_mark(folder: Path) -> Callable[[int, Tally, int], None]:
    """What says of an encoded part that it is whole."""
    kept, labels = PartFolder(folder), torch.zeros(2, dtype=torch.int32)
    part = Part(("a", "b"), 2, ("key",), 3, 0, (), True, digest_of(labels), "digest")
    kept.write(("file", 0), part, torch.zeros(2, 1, 3, 2, 2), labels, {"pictures": torch.zeros(1, 3, 4, 4)})
    mark = folder / "file-000000.json"
    attempt = into(mark, lambda: kept.of("file"))
    return lambda count, tally, of: damaged(attempt, [mark.read_bytes()], count, tally, random.Random(of))


def model_index(folder: Path) -> Callable[[int, Tally, int], None]:
    folder.mkdir(exist_ok=True)
    parts = {"transformer": ["diffusers", "DiTTransformer2DModel"]}
    index = {"_class_name": "DiTPipeline", "id2label": {"0": "cat", "1": "dog"}, **parts}
    whole = [json.dumps(index).encode()]
    attempt = into(folder / "model_index.json", lambda: names_of(read_index(folder, "a model")))
    return lambda count, tally, of: damaged(attempt, whole, count, tally, random.Random(of))


def scheduler_file(folder: Path) -> Callable[[int, Tally, int], None]:
    (folder / "scheduler").mkdir(parents=True)
    classes = ["DDPMScheduler", "EDMEulerScheduler", "FlowMatchEulerDiscreteScheduler"]
    table = {"num_train_timesteps": 1000, "beta_schedule": "scaled_linear", "shift": 3.0, "sigma_data": 0.5}
    whole = [json.dumps({"_class_name": name, **table}).encode() for name in classes]

    def attempt(content: bytes) -> object:
        (folder / "scheduler/scheduler_config.json").write_bytes(content)
        kind = next((name for name in classes if name.encode() in content), classes[0])
        read = read_part(folder, "scheduler", {"scheduler": ["diffusers", kind]})
        return from_scheduler_config({**read.config, "_class_name": kind})

    return lambda count, tally, of: damaged(attempt, whole, count, tally, random.Random(of))


def table(folder: Path) -> Callable[[int, Tally, int], None]:
    """Rows with captions and labels, as JSON lines and as CSV."""
    folder.mkdir()
    datasets.disable_progress_bars()
    (folder / "0.png").write_bytes(images()[0])
    rows = [{"image": "0.png", "label": label, "caption": f"a {label}, 狐"} for label in ("cat", "dog")]
    lines = "".join(json.dumps(row) + "\n" for row in rows).encode()
    commas = b"image,label,caption\n" + "".join(",".join(map(json.dumps, row.values())) + "\n" for row in rows).encode()

    def attempt(content: bytes) -> object:
        file = folder / ("rows.csv" if content[:1] == b"i" else "rows.jsonl")
        file.write_bytes(content)
        source = open_source(DataConfig(target=str(file)))
        return Prompted(source, None).class_names, source.read(0)

    def tries(count: int, tally: Tally, of: int) -> None:
        kept, datasets.config.HF_DATASETS_CACHE = datasets.config.HF_DATASETS_CACHE, folder / "cache"
        try:
            damaged(attempt, [lines, commas], count, tally, random.Random(of))
        finally:
            datasets.config.HF_DATASETS_CACHE = kept

    return tries


def sums(folder: Path) -> Callable[[int, Tally, int], None]:
    folder.mkdir()
    (folder / "file").write_bytes(b"content")
    write_sums(folder)
    attempt = into(folder / SUMS, lambda: check_sums(folder, "mend"))
    return lambda count, tally, of: damaged(attempt, [(folder / SUMS).read_bytes()], count, tally, random.Random(of))


def captioned(folder: Path) -> FileSource:
    folder.mkdir(exist_ok=True)
    (folder / "0.png").touch()
    (folder / "0.txt").write_text("a fox")
    return FileSource(folder, ["animals"], [folder / "0.png"], [0], 64)
