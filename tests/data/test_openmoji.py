from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from difftuning.data.openmoji import OpenMoji
from difftuning.data.sources import DataConfig, open_source


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def glyphs(cache: Path) -> OpenMoji:
    return OpenMoji(16, cache)


def test_classes_and_captions(glyphs: OpenMoji) -> None:
    assert len(glyphs.class_names) == 9
    assert len(glyphs) > 1800
    captions = {glyphs.caption(index): index for index in range(len(glyphs))}
    frog = captions["frog"]
    assert glyphs.class_names[glyphs.label(frog)] == "Animals & Nature"
    assert "rice cracker" in captions
    assert {glyphs.label(index) for index in range(len(glyphs))} == set(range(9))


def test_glyphs_are_drawn_in_colour_whole_and_centred(glyphs: OpenMoji) -> None:
    index = next(index for index in range(len(glyphs)) if glyphs.caption(index) == "frog")
    picture = glyphs.read(index)
    assert (picture.mode, picture.size) == ("RGBA", (16, 16))
    red, green, blue, _ = np.asarray(picture)[6:12, 5:11].reshape(-1, 4).mean(0)
    assert green > red > blue
    alpha = np.stack([np.asarray(glyphs.read(index))[..., 3] for index in range(len(glyphs))]).astype(float)
    assert (alpha.max((1, 2)) > 60).all()
    rows, columns = alpha.sum((0, 2)), alpha.sum((0, 1))
    assert abs((rows * np.arange(16)).sum() / rows.sum() - 7.5) < 0.75
    assert abs((columns * np.arange(16)).sum() / columns.sum() - 7.5) < 0.5


def test_the_cache_gives_the_same_pictures_and_damage_is_noticed(glyphs: OpenMoji, cache: Path) -> None:
    (file,) = cache.rglob("*.safetensors")
    written = file.stat().st_mtime_ns
    again = OpenMoji(16, cache)
    assert [again.key(index) for index in range(len(again))] == [glyphs.key(index) for index in range(len(glyphs))]
    assert file.stat().st_mtime_ns == written
    file.write_bytes(file.read_bytes()[:-1])
    mended = OpenMoji(16, cache)
    assert mended.key(100) == glyphs.key(100)
    assert file.stat().st_mtime_ns != written


def test_a_prefix_of_its_classes_changes_their_names_alone(glyphs: OpenMoji, cache: Path) -> None:
    prefixed = open_source(DataConfig(target="openmoji", class_prefix="icon/"), 16, cache)
    assert prefixed.class_names == tuple(f"icon/{name}" for name in glyphs.class_names)
    places = range(len(glyphs))
    assert [prefixed.label(index) for index in places] == [glyphs.label(index) for index in places]
