"""Make the source set of the icon zoo models: Noto and Twemoji at 32x32 with fine classes, as one parquet file.

    python benchmarks/pretrain/icons.py OUT.parquet [--size 32]

The images come from the npm packages emoji-datasource-google and emoji-datasource-twitter (Apache-2.0 and CC BY 4.0), fetched by
the ordinary npm client. A class is a Unicode subcategory; subcategories of fewer than `FEW` glyphs are merged into
"category/other", so that a class can be learned. At most one skin-tone variant of a glyph is taken. A fixed share of the
code points is held out, in both vendors' drawings at once. Columns: image, label, caption, source, split.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import subprocess
import tarfile
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from datasets import ClassLabel, Dataset, Features, Image, Value
from PIL import Image as PILImage

VERSION = "16.0.0"
VENDORS = {"noto": "google", "twemoji": "twitter"}
FEW = 12
HELD_OUT_SHARE = 0.04


def fetch(vendor: str, folder: Path) -> Path:
    """The npm package of a vendor, packed by the npm client and unpacked within the folder."""
    command = ["npm", "pack", "--silent", f"emoji-datasource-{vendor}@{VERSION}"]
    subprocess.run(command, cwd=folder, check=True, capture_output=True)
    with tarfile.open(folder / f"emoji-datasource-{vendor}-{VERSION}.tgz") as archive:
        archive.extractall(folder / vendor, filter="data")
    return folder / vendor / "package"


def class_names(glyphs: list[dict[str, Any]]) -> dict[str, str]:
    """Code point to class name, small subcategories merged."""
    counts = Counter((glyph["category"], glyph["subcategory"]) for glyph in glyphs)
    return {
        glyph["unified"]: f"{glyph['category']}/"
        + (glyph["subcategory"] if counts[glyph["category"], glyph["subcategory"]] >= FEW else "other")
        for glyph in glyphs
    }


def held_out(unified: str) -> bool:
    """Whether a code point is held out: a pure function of the code point."""
    rank = int.from_bytes(hashlib.sha256(unified.encode()).digest()[:4], "big") / 2**32
    return rank < HELD_OUT_SHARE


def drawing(data: bytes, size: int) -> bytes:
    """The PNG on white, brought to size x size with an antialiasing filter."""
    glyph = PILImage.open(io.BytesIO(data)).convert("RGBA")
    paper = PILImage.new("RGBA", glyph.size, "white")
    picture = PILImage.alpha_composite(paper, glyph).convert("RGB").resize((size, size), PILImage.Resampling.LANCZOS)
    out = io.BytesIO()
    picture.save(out, "PNG")
    return out.getvalue()


def rows(
    size: int, names: list[str], classes: dict[str, str], packages: dict[str, Path], glyphs: list[dict[str, Any]]
) -> Iterator[dict[str, Any]]:
    """All drawings, vendor by vendor, in the order of the code points."""
    for source, vendor in VENDORS.items():
        folder = packages[vendor] / "img" / vendor / "64"
        for glyph in glyphs:
            tones = list((glyph.get("skin_variations") or {}).values())
            # One tone a glyph, going round, so that all five occur and people do not outnumber everything else.
            chosen = [glyph, *tones[len(glyph["unified"]) % max(1, len(tones)) :][:1]]
            for variant in chosen:
                file = folder / variant["image"]
                if not file.is_file():
                    continue
                yield {
                    "image": {"bytes": drawing(file.read_bytes(), size), "path": None},
                    "label": names.index(classes[glyph["unified"]]),
                    "caption": str(glyph["name"] or glyph["short_name"]).lower(),
                    "source": source,
                    "split": "heldout" if held_out(glyph["unified"]) else "train",
                }


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--size", type=int, default=32)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        packages = {vendor: fetch(vendor, Path(folder)) for vendor in VENDORS.values()}
        listing = json.loads((packages["google"] / "emoji.json").read_text())
        glyphs = sorted(listing, key=lambda glyph: glyph["sort_order"])
        glyphs = [glyph for glyph in glyphs if glyph["category"] != "Component"]
        classes = class_names(glyphs)
        names = sorted(set(classes.values()))
        found = list(rows(options.size, names, classes, packages, glyphs))
    features = Features(
        image=Image(),
        label=ClassLabel(names=names),
        caption=Value("string"),
        source=Value("string"),
        split=Value("string"),
    )
    for split in ("train", "heldout"):
        part = Dataset.from_list([row for row in found if row["split"] == split], features=features)
        path = options.out.with_stem(f"{options.out.stem}-{split}")
        part.to_parquet(path)
        print(f"{len(part)} images, {len(names)} classes -> {path.name}")
    options.out.with_suffix(".classes.json").write_text(json.dumps(names, indent=1) + "\n")


if __name__ == "__main__":
    main()
