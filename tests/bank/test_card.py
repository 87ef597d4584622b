"""A card identifies a bank and tells it from the banks of other models."""

from __future__ import annotations

from pathlib import Path

import pytest

from difftuning.bank.card import (
    CARD,
    PLAN,
    BankCard,
    BankConfig,
    BankPlan,
    ShardEntry,
    check_matches,
    describe,
    differences,
)
from difftuning.bank.card_file import read_card
from difftuning.errors import BankError
from tiny import tiny_dit


def card(**changes: object) -> BankCard:
    """A card of the tiny model."""
    shard = ShardEntry(file="items-00000000-00000005.safetensors", start=0, stop=5, bytes=1, sha256="0" * 64)
    made = BankCard(
        model=describe(tiny_dit()), clip=1.0, config=BankConfig(count=5), shards=(shard,), versions={"torch": "2.6"}
    )
    return made.model_copy(update=changes)


def test_a_card_survives_its_file(tmp_path: Path) -> None:
    (tmp_path / CARD).write_text(card().model_dump_json())
    assert read_card(tmp_path) == card()


def test_the_digest_is_of_content_not_of_names_and_versions() -> None:
    digest = card().digest()
    moved = card().model.model_copy(update={"name": "elsewhere"})
    assert card(versions={"torch": "3"}, model=moved).digest() == digest
    assert card(clip=None).digest() != digest
    assert card(config=BankConfig(count=5, seed=1)).digest() != digest
    assert card(config=BankConfig(count=5, spacing="trailing")).digest() != digest
    assert card(shards=(card().shards[0].model_copy(update={"sha256": "1" * 64}),)).digest() != digest


def test_the_same_model_matches_wherever_it_lies() -> None:
    model = tiny_dit()
    model.name = "moved"
    check_matches(card(), model)


def test_another_model_is_refused_field_by_field() -> None:
    with pytest.raises(BankError, match=r"digest: .* -> ") as refusal:
        check_matches(card(), tiny_dit(seed=1))
    assert "scheduler" not in str(refusal.value)
    with pytest.raises(BankError, match=r"scheduler\.prediction_type: 'epsilon' -> 'v_prediction'") as refusal:
        check_matches(card(), tiny_dit(prediction="v_prediction"))
    assert "digest" not in str(refusal.value)
    with pytest.raises(BankError, match=r"sample_shape: \[3, 8, 8\] -> \[3, 16, 16\]"):
        check_matches(card(), tiny_dit(image_size=16))
    with pytest.raises(BankError, match="classes: 4 -> 7"):
        check_matches(card(), tiny_dit(num_classes=7))


def test_entries_that_a_newer_diffusers_adds_are_no_difference() -> None:
    model = tiny_dit()
    model.scheduler_config = {**model.scheduler_config, "new_option": True, "_use_default_values": ["x"]}
    check_matches(card(), model)


def test_differences_name_nested_fields() -> None:
    here = BankPlan(model=card().model, clip=1.0, config=BankConfig(count=5, steps=7))
    there = BankPlan(model=card().model, clip=1.0, config=BankConfig(count=5))
    assert differences(there, here) == ["config.steps: 25 -> 7"]
    assert differences(there, there) == []


def test_a_folder_without_a_sound_card_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(BankError, match="make one with"):
        read_card(tmp_path)
    (tmp_path / PLAN).write_text("{}")
    with pytest.raises(BankError, match="not finished"):
        read_card(tmp_path)
    (tmp_path / CARD).write_text(card().model_dump_json()[:-20])
    with pytest.raises(BankError, match="cannot be read"):
        read_card(tmp_path)
