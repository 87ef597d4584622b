"""A drifting domain: who arrives when, and how it looks then."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from difftuning.backbones.codec import IdentityCodec
from difftuning.data.drifting import DriftConfig, Drifting
from difftuning.data.opening import open_target
from difftuning.data.sources import DataConfig, ImageSource, open_source
from difftuning.errors import ConfigError, DataError
from difftuning.workflows.recipe import load

COUNT = 40
"""Images of each of two classes."""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for label, base in (("a", 0), ("b", 100)):
        (tmp_path / "set" / label).mkdir(parents=True)
        for index in range(COUNT):
            Image.new("RGB", (4, 4), (200, base + index, 20)).save(tmp_path / "set" / label / f"{index:02}.png")
    return tmp_path / "set"


def span(folder: Path, start: float, stop: float, **drift: float) -> ImageSource:
    return open_source(DataConfig(target=str(folder), drift=DriftConfig(start=start, stop=stop, **drift)))  # type: ignore[arg-type]


def origins(source: ImageSource) -> list[str]:
    return [source.origin(index) for index in range(len(source))]


def test_spans_share_no_image_and_together_hold_all(folder: Path) -> None:
    parts = [origins(span(folder, start, start + 0.25, class_mix=0.5)) for start in (0, 0.25, 0.5, 0.75)]
    found = [origin for part in parts for origin in part]
    assert sorted(found) == sorted(origins(open_source(DataConfig(target=str(folder)))))
    assert all(8 <= len(part) <= 32 for part in parts)


def test_what_belongs_together_stays_together(folder: Path, tmp_path: Path) -> None:
    rows = [
        {"image": {"path": None, "bytes": file.read_bytes()}, "scene": f"scene {number % 5}"}
        for number, file in enumerate(sorted(folder.rglob("*.png")))
    ]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "scenes.parquet")
    config = DataConfig(
        target=str(tmp_path / "scenes.parquet"), group_column="scene", drift=DriftConfig(hue=90, stop=0.5)
    )
    found = open_target(config, 4, IdentityCodec(), tmp_path / "cache")
    held, trained = (
        {found.source.group(index) for index in part.indices.tolist()} for part in (found.heldout, found.train)
    )
    assert len(held) == 1
    assert held.isdisjoint(trained)


def test_at_full_mix_classes_arrive_one_after_the_other(folder: Path) -> None:
    for start, label in ((0, 0), (0.5, 1)):
        source = span(folder, start, start + 0.5, class_mix=1)
        assert len(source) == COUNT
        assert {source.label(index) for index in range(len(source))} == {label}
        assert source.class_names == ("a", "b")


def test_the_first_moment_looks_as_it_is_and_the_last_one_has_turned(folder: Path) -> None:
    plain = open_source(DataConfig(target=str(folder)))
    drifting = Drifting(plain, DriftConfig(hue=120))
    by_moment = sorted(range(len(drifting)), key=lambda index: drifting._there[index][1])
    places = [drifting._there[index][0] for index in by_moment]
    # Red is the largest channel of every image as it is, and green after a third of the circle.
    first, last = by_moment[0], by_moment[-1]
    assert np.asarray(drifting.read(first)).reshape(-1, 3)[0].argmax() == 0
    assert np.asarray(drifting.read(last)).reshape(-1, 3)[0].argmax() == 1
    assert drifting._there[last][1] > 0.9
    assert np.asarray(plain.read(places[-1])).reshape(-1, 3)[0].argmax() == 0
    same = Drifting(plain, DriftConfig())
    assert all(np.array_equal(np.asarray(same.read(i)), np.asarray(plain.read(i))) for i in range(len(plain)))


def test_contrast_zero_is_grey_at_the_end(folder: Path) -> None:
    Image.fromarray(np.arange(48, dtype=np.uint8).reshape(4, 4, 3) * 5).save(folder / "a" / "wide.png")
    drifting = Drifting(open_source(DataConfig(target=str(folder))), DriftConfig(contrast=0))
    place = origins(drifting).index("a/wide.png")
    moment = drifting._there[place][1]
    there, before = np.asarray(drifting.read(place)), np.arange(48) * 5
    assert np.ptp(there) == pytest.approx((1 - moment) * np.ptp(before), abs=2)


def test_keys_tell_the_look_and_not_the_span(folder: Path) -> None:
    keys = {
        name: dict(zip(origins(source), map(source.key, range(len(source))), strict=True))
        for name, source in {
            "whole": span(folder, 0, 1, hue=90),
            "part": span(folder, 0, 0.5, hue=90),
            "other": span(folder, 0, 1, hue=30),
        }.items()
    }
    assert keys["part"].items() <= keys["whole"].items()
    assert not set(keys["whole"].values()) & set(keys["other"].values())


def test_transparent_images_stay_so(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    Image.new("RGBA", (4, 4), (200, 0, 0, 7)).save(tmp_path / "a" / "0.png")
    drifting = Drifting(open_source(DataConfig(target=str(tmp_path))), DriftConfig(hue=180))
    assert drifting.read(0).mode == "RGBA"
    assert drifting.read(0).getpixel((0, 0))[3] == 7  # type: ignore[index]


def test_an_empty_span_and_one_the_wrong_way_round_are_refused(folder: Path) -> None:
    with pytest.raises(DataError, match=r"none of the 80 images .* widen data.drift.start"):
        span(folder, 0, 1e-9)
    with pytest.raises(ConfigError, match=r"start=0.5 must lie before stop=0.25"):
        load("own-images", ["data.drift.start=0.5", "data.drift.stop=0.25"])
