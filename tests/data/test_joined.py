"""Several targets as one: nothing that one of them holds out is trained on."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from PIL import Image

from difftuning.backbones.codec import IdentityCodec
from difftuning.data.opening import open_target
from difftuning.data.sources import DataConfig, FurtherSet
from difftuning.data.target import Target
from difftuning.errors import DataError


@pytest.fixture
def sets(tmp_path: Path) -> tuple[Path, Path]:
    for place, (name, labels) in enumerate({"one": ("cat", "dog"), "two": ("ant", "cat")}.items()):
        for label in labels:
            (tmp_path / name / label).mkdir(parents=True)
            for index in range(6):
                colour = (40 * index, 100 * place, 50 * labels.index(label))
                Image.new("RGB", (4, 4), colour).save(tmp_path / name / label / f"{index}.png")
    return tmp_path / "one", tmp_path / "two"


def opened(config: DataConfig, tmp_path: Path) -> Target:
    return open_target(config, 4, IdentityCodec(), tmp_path / "cache")


def test_each_is_split_by_itself_and_a_shared_class_is_one(sets: tuple[Path, Path], tmp_path: Path) -> None:
    one, two = (opened(DataConfig(target=str(folder), per_class=2), tmp_path) for folder in sets)
    config = DataConfig(target=str(sets[0]), per_class=2, also=(FurtherSet(target=str(sets[1]), per_class=2),))
    both = opened(config, tmp_path)
    assert both.config == config
    assert both.class_names == ("cat", "dog", "ant")
    for part in ("train", "heldout", "test"):
        parts = [getattr(target, part) for target in (one, two, both)]
        assert parts[2].keys == (*parts[0].keys, *parts[1].keys)
        assert torch.equal(parts[2].latents, torch.cat([parts[0].latents, parts[1].latents]))
        names = [
            [target.class_names[k] for k in part.labels] for target, part in zip((one, two, both), parts, strict=True)
        ]
        assert names[2] == [*names[0], *names[1]]
    assert torch.equal(both.pictures(both.heldout), torch.cat([one.pictures(one.heldout), two.pictures(two.heldout)]))
    assert "24 images in 3 class(es); 8 to train on, 4 held out, 12 for tests" in both.report()[0]
    labels = [both.source.class_names[both.source.label(index)] for index in both.train.indices.tolist()]
    assert labels == [both.class_names[k] for k in both.train.labels]
    assert both.source.origin(12) == f"{sets[1]}: ant/0.png"
    assert both.source.key(12) == two.source.key(0)


def test_a_set_that_is_only_measured_on_is_held_out_as_ever_and_never_trained_on(
    sets: tuple[Path, Path], tmp_path: Path
) -> None:
    one, both = (
        opened(DataConfig(target=str(sets[0]), also=also), tmp_path)
        for also in (None, (FurtherSet(target=str(sets[1])),))
    )
    also = (FurtherSet(target=str(sets[1]), measure_only=True),)
    measured = opened(DataConfig(target=str(sets[0]), also=also), tmp_path)
    assert measured.train.keys == one.train.keys
    assert measured.heldout.keys == both.heldout.keys
    assert measured.class_names == both.class_names
    assert len(measured.parts.train) == len(one.train)
    assert measured.train.get(torch.arange(2), torch.ones(2, dtype=torch.bool)).shape == one.train.latents[:2].shape


@pytest.mark.parametrize(("first", "second"), [(True, False), (False, True), (False, False)])
def test_images_of_a_set_without_flips_stay_as_they_are(tmp_path: Path, first: bool, second: bool) -> None:
    for place, name in enumerate(("one", "two")):
        (tmp_path / name).mkdir()
        for index in range(4):
            image = Image.new("RGB", (4, 4), (60 * index, 0, 0))
            image.putpixel((0, 0), (0, 255, 100 * place))
            image.save(tmp_path / name / f"{index}.png")
    also = (FurtherSet(target=str(tmp_path / "two"), flip=second),)
    config = DataConfig(target=str(tmp_path / "one"), flip=first, also=also)
    assert config.flips == {first, second}
    train = opened(config, tmp_path).train
    every = torch.arange(len(train))
    plain = train.get(every, torch.zeros(len(train), dtype=torch.bool))
    if not any(config.flips):
        with pytest.raises(DataError, match="none were encoded"):
            train.get(every, torch.ones(len(train), dtype=torch.bool))
        return
    mirrored = train.get(every, torch.ones(len(train), dtype=torch.bool))
    for label in range(2):
        here, flips = train.classes(every) == label, (first, second)[label]
        assert torch.equal(mirrored[here], plain[here].flip(-1) if flips else plain[here])


def test_a_prefix_keeps_classes_apart(sets: tuple[Path, Path], tmp_path: Path) -> None:
    also = (FurtherSet(target=str(sets[1]), class_prefix="two/"),)
    assert opened(DataConfig(target=str(sets[0]), also=also), tmp_path).class_names == (
        "cat",
        "dog",
        "two/ant",
        "two/cat",
    )


def test_a_copy_of_what_one_holds_out_is_not_trained_on_in_another(sets: tuple[Path, Path], tmp_path: Path) -> None:
    for label in ("cat", "dog"):
        for file in (sets[0] / label).iterdir():
            (sets[1] / "ant" / f"{label}-{file.name}").write_bytes(file.read_bytes())
    one, two = (
        opened(DataConfig(target=str(at), heldout=share), tmp_path) for at, share in zip(sets, (0.5, 0.2), strict=True)
    )

    def contents(target: Target, part: str) -> set[str]:
        return {target.source.key(index) for index in getattr(target, part).indices.tolist()}

    copied = contents(one, "heldout") & contents(two, "train")
    assert copied, "the split of the second set alone trains on what the first one holds out"
    both = opened(DataConfig(target=str(sets[0]), heldout=0.5, also=(FurtherSet(target=str(sets[1])),)), tmp_path)
    assert not contents(both, "heldout") & contents(both, "train")
    other = contents(two, "heldout") & contents(one, "train")
    assert len(both.train) == len(one.train) + len(two.train) - len(copied) - len(other)
    assert len(both.parts.train) == len(both.train)
