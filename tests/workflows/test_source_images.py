"""A bank of real images in the place of drawn ones."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
import torch

from difftuning.bank.audit import verify
from difftuning.bank.card_file import read_card
from difftuning.bank.read import Bank
from difftuning.data.sources import DataConfig, open_source
from difftuning.data.transforms import Transform
from difftuning.errors import BankError, DataError
from difftuning.workflows import bank
from difftuning.workflows.pretrained import pretrained
from difftuning.workflows.recipe import load
from difftuning.workflows.train import train


def test_its_items_are_the_images_each_once_and_none_of_the_held_out_ones(recipe_file: Path, tmp_path: Path) -> None:
    images = str(tmp_path / "images")
    recipe = load(str(recipe_file), [f"bank.images={images}", "bank.count=6", "bank.shard_size=4"])
    bank.build(recipe)
    backbone, source = pretrained(recipe), open_source(DataConfig(target=images))
    transform = Transform(backbone.image_size)
    known = [backbone.codec.encode(transform(source.read(index))[None])[0].half().float() for index in range(12)]

    def places(folder: Path) -> list[int]:
        opened = Bank(folder)
        items = opened.get(torch.arange(len(opened)))
        return [next(k for k, latent in enumerate(known) if torch.equal(item, latent)) for item in items]

    items, heldout = places(recipe.bank_path), places(recipe.heldout_bank_path)
    assert sorted(items + heldout) == list(range(12))
    assert items != sorted(items)
    assert Bank(recipe.bank_path).labels(torch.arange(6)).unique().tolist() == [backbone.labels.null]
    assert verify(recipe.bank_path).ok


def test_one_training_on_it_is_another_when_the_images_are(recipe_file: Path, tmp_path: Path) -> None:
    changes = [f"bank.images={tmp_path / 'images'}", "bank.count=6"]
    first = train(load(str(recipe_file), changes))
    digest = read_card(tmp_path / "run" / "bank").digest()
    again = load(str(recipe_file), [*changes, "bank.seed=1", f"out={tmp_path / 'again'}"])
    train(again)
    assert first["bank_coverage"] > 0
    assert read_card(again.bank_path).digest() != digest


def test_a_torn_shard_is_mended_and_changed_images_are_refused(recipe_file: Path, tmp_path: Path) -> None:
    recipe = load(str(recipe_file), [f"bank.images={tmp_path / 'images'}", "bank.count=6"])
    bank.build(recipe)
    before = {path.name: path.read_bytes() for path in recipe.bank_path.iterdir()}
    next(recipe.bank_path.glob("*.safetensors")).write_bytes(b"torn")
    bank.build(recipe)
    assert {path.name: path.read_bytes() for path in recipe.bank_path.iterdir()} == before
    for path in (tmp_path / "images" / "dark").iterdir():
        path.write_bytes((tmp_path / "images" / "light" / path.name).read_bytes())
    with pytest.raises(BankError, match=r"begun with other settings \(images"):
        bank.build(recipe)


def test_what_cannot_be(recipe_file: Path, tmp_path: Path) -> None:
    with pytest.raises(BankError, match=r"bank.count=12 and 12 held out are more than the 12 images"):
        bank.build(load(str(recipe_file), [f"bank.images={tmp_path / 'images'}"]))
    with pytest.raises(DataError, match=r"bank.images 'flowers6'.*did you mean 'flowers5'"):
        bank.build(load(str(recipe_file), ["bank.images=flowers6"]))
    recipe = load(str(recipe_file), [f"bank.images={tmp_path / 'images'}", "bank.count=6"])
    bank.build(recipe)
    with pytest.raises(BankError, match="holds real images"):
        bank.extend(recipe.bank_path, 8)
    (tmp_path / "images" / "dark" / "0.png").write_bytes(b"no image")
    damaged = [f"bank.images={tmp_path / 'images'}", "bank.count=6", f"out={tmp_path / 'other'}"]
    with pytest.raises(BankError, match=r"0\.png cannot be an item of the bank .*take it out"):
        bank.build(load(str(recipe_file), damaged))


def test_the_digest_of_a_drawn_bank_does_not_know_of_later_keys(recipe_file: Path) -> None:
    """Those drawn before there was a choice keep their names in checkpoints."""
    recipe = load(str(recipe_file), [])
    bank.build(recipe)
    card = read_card(recipe.bank_path)
    content = card.model_dump(mode="json", exclude={"versions": True, "model": {"name"}})
    del content["images"], content["config"]["images"], content["text"], content["config"]["prompts"]
    del content["origins"], content["config"]["compile"], content["config"]["spacing"]
    assert card.digest() == hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
    assert card.digest() != card.model_copy(update={"images": "0" * 64}).digest()
