"""Make the targets of the studies that ordinary packages carry, as parquet files with the columns `image` and `label`.

    python benchmarks/targets.py FOLDER

Noto and Twemoji at 32x32 under their nine Unicode categories come from npm (Apache-2.0 and CC BY 4.0), Fashion-MNIST from the
Debian package dataset-fashion-mnist (MIT), fetched with the ordinary clients and without being installed. A file that is there
is left as it is.
"""

from __future__ import annotations

import argparse
import gzip
import io
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
from datasets import ClassLabel, Dataset, Features, Image
from PIL import Image as PILImage

sys.path.insert(0, str(Path(__file__).parent / "pretrain"))
from icons import VENDORS, drawing, fetch

from difftuning.data.catalogue import FILES

SIZE = 32
CLOTHES = ("T-shirt", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot")
PER_CLASS = 1_000
"""Of the 7,000 images of each of Fashion-MNIST's classes: enough for any cell, and quick to open."""

Drawn = Iterable[tuple[bytes, int]]


def emoji(source: str, folder: Path) -> tuple[list[str], Drawn]:
    """The categories and the drawings of a vendor, without skin-tone variants."""
    vendor = VENDORS[source]
    package = fetch(vendor, folder)
    listing = sorted(json.loads((package / "emoji.json").read_text()), key=lambda glyph: glyph["sort_order"])
    glyphs = [glyph for glyph in listing if glyph["category"] != "Component"]
    names = sorted({glyph["category"] for glyph in glyphs})
    images = package / "img" / vendor / "64"

    def drawn() -> Iterator[tuple[bytes, int]]:
        for glyph in glyphs:
            if (images / glyph["image"]).is_file():
                yield drawing((images / glyph["image"]).read_bytes(), SIZE), names.index(glyph["category"])

    return names, drawn()


def clothes(folder: Path) -> tuple[list[str], Drawn]:
    """The first images of each class of Fashion-MNIST's training set, as PNG."""
    subprocess.run(["apt-get", "download", "-qq", "dataset-fashion-mnist"], cwd=folder, check=True)
    subprocess.run(["dpkg-deb", "-x", *folder.glob("*.deb"), "unpacked"], cwd=folder, check=True)
    found = {path.name.removesuffix(".gz"): path for path in (folder / "unpacked").rglob("*ubyte*")}

    def numbers(name: str, head: int) -> np.ndarray:
        data = found[name].read_bytes()
        return np.frombuffer(gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data, np.uint8, offset=head)

    labels = numbers("train-labels-idx1-ubyte", 8)
    images = numbers("train-images-idx3-ubyte", 16).reshape(-1, 28, 28)

    def drawn() -> Iterator[tuple[bytes, int]]:
        for label in range(len(CLOTHES)):
            for image in images[labels == label][:PER_CLASS]:
                out = io.BytesIO()
                PILImage.fromarray(image).convert("RGB").save(out, "PNG")
                yield out.getvalue(), label

    return list(CLOTHES), drawn()


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    out = parser.parse_args().folder
    out.mkdir(parents=True, exist_ok=True)
    for name in ("noto", "twemoji", "fashion-mnist"):
        path = out / FILES[name]
        if path.exists():
            continue
        with tempfile.TemporaryDirectory() as folder:
            names, drawn = clothes(Path(folder)) if name == "fashion-mnist" else emoji(name, Path(folder))
            rows = [{"image": {"bytes": data, "path": None}, "label": label} for data, label in drawn]
        Dataset.from_list(rows, features=Features(image=Image(), label=ClassLabel(names=names))).to_parquet(path)
        print(f"{name}: {len(rows)} images, {len(names)} classes -> {path.name}")


if __name__ == "__main__":
    main()
