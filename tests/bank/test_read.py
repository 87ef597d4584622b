"""Reading gives back what was stored, and notices what is not there."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from difftuning import row_files
from difftuning.bank.audit import verify
from difftuning.bank.card import CARD, BankCard, BankConfig, describe
from difftuning.bank.card_file import read_card
from difftuning.bank.generate import labels_of
from difftuning.bank.read import Bank
from difftuning.bank.store import PATTERN, Shard, shard_path, shard_spans, write_shard
from difftuning.errors import BankError
from tiny import tiny_dit

COUNT, SIZE = 50, 8


def write_bank(folder: Path, latents: torch.Tensor, labels: torch.Tensor | None = None, dtype: str = "float16") -> Path:
    """A bank of given latents, 8 a shard."""
    config = BankConfig(count=len(latents), shard_size=SIZE, dtype=dtype)
    model = describe(tiny_dit())
    labels = labels_of(range(len(latents)), config, model) if labels is None else labels
    stored = latents.numpy().astype(dtype)
    entries = [
        write_shard(folder, start, Shard(labels[start:stop].numpy(), stored[start:stop]))
        for start, stop in shard_spans(len(latents), SIZE)
    ]
    card = BankCard(model=model, clip=None, config=config, shards=tuple(entries), versions={})
    (folder / CARD).write_text(card.model_dump_json())
    return folder


def noise(seed: int = 0) -> torch.Tensor:
    """50 latents, representable in half precision."""
    return torch.randn(COUNT, 3, 8, 8, generator=torch.Generator().manual_seed(seed)).half().float()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sound bank."""
    return write_bank(tmp_path_factory.mktemp("bank"), noise())


@settings(max_examples=50, deadline=None)
@given(indices=st.lists(st.integers(0, COUNT - 1), max_size=40))
def test_any_items_in_any_order(folder: Path, indices: list[int]) -> None:
    bank, chosen = Bank(folder), torch.tensor(indices, dtype=torch.int64)
    assert torch.equal(bank.get(chosen), noise()[chosen])
    assert torch.equal(bank.labels(chosen), labels_of(indices, bank.card.config, bank.card.model))


def test_more_shards_than_files_may_stay_open(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(row_files, "_OPEN_FILES", 2)
    bank = Bank(folder)
    for _ in range(2):
        assert torch.equal(bank.get(torch.arange(COUNT)), noise())
    bank.close()
    assert torch.equal(bank.get(torch.arange(COUNT)), noise())


def test_full_precision(tmp_path: Path) -> None:
    exact = torch.randn(COUNT, 3, 8, 8)
    assert torch.equal(Bank(write_bank(tmp_path, exact, dtype="float32")).get(torch.arange(COUNT)), exact)


@pytest.mark.parametrize("index", [-1, COUNT])
def test_an_item_out_of_range(folder: Path, index: int) -> None:
    with pytest.raises(IndexError, match=f"has {COUNT}"):
        Bank(folder).get(torch.tensor([0, index]))


def test_a_missing_or_torn_shard_is_named_on_opening(tmp_path: Path) -> None:
    path = shard_path(write_bank(tmp_path, noise()), 16, 24)
    content = path.read_bytes()
    path.write_bytes(content[:-1])
    with pytest.raises(BankError, match=rf"{path.name} has {len(content) - 1} bytes instead of .*bank build"):
        Bank(tmp_path)
    path.write_bytes(bytes(len(content)))
    with pytest.raises(BankError, match=path.name):
        Bank(tmp_path)
    path.unlink()
    with pytest.raises(BankError, match=rf"{path.name} is missing.*bank build"):
        Bank(tmp_path)


def test_a_shard_that_shrinks_while_the_bank_is_open(tmp_path: Path) -> None:
    bank = Bank(write_bank(tmp_path, noise()))
    shard_path(tmp_path, 16, 24).write_bytes(b"")
    with pytest.raises(BankError, match="ends too early"):
        bank.get(torch.tensor([17]))


def test_verify_accepts_a_sound_bank(folder: Path) -> None:
    audit, exact = verify(folder), noise().double()
    assert audit.ok
    assert audit.items == COUNT
    assert audit.class_counts == {0: 13, 1: 13, 2: 12, 3: 12}
    assert (audit.mean, audit.std) == pytest.approx((float(exact.mean()), float(exact.std(correction=0))), abs=1e-9)


def test_verify_names_each_damaged_shard(tmp_path: Path) -> None:
    write_bank(tmp_path, noise())
    flipped, missing = shard_path(tmp_path, 8, 16), shard_path(tmp_path, 40, 48)
    content = bytearray(flipped.read_bytes())
    content[-5] ^= 1
    flipped.write_bytes(content)
    missing.unlink()
    audit = verify(tmp_path)
    assert not audit.ok
    assert audit.items == COUNT - 2 * SIZE
    for path, problem in zip((flipped, missing), audit.problems, strict=True):
        assert path.name in problem
        assert "bank build" in problem


def test_verify_tells_a_whole_shard_of_another_bank(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    ours, other = write_bank(tmp_path / "a", noise()), write_bank(tmp_path / "b", noise(1))
    shard_path(ours, 0, 8).write_bytes(shard_path(other, 0, 8).read_bytes())
    (problem,) = verify(ours).problems
    assert "not the one that the card names" in problem


def test_verify_finds_duplicates_values_and_labels(tmp_path: Path) -> None:
    latents, labels = noise(), torch.arange(COUNT) % 4
    latents[33] = latents[4]
    latents[9, 0, 0, 0] = np.nan
    labels[41] = 0
    audit = verify(write_bank(tmp_path, latents, labels))
    assert audit.duplicates == ((4, 33),)
    assert [any(word in problem for problem in audit.problems) for word in ("the first is 9", "policy")] == [True, True]
    assert audit.class_counts == {0: 14, 1: 12, 2: 12, 3: 12}


def test_reading_never_writes(folder: Path) -> None:
    before = {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}
    Bank(folder).get(torch.arange(COUNT))
    verify(folder)
    assert {path.name: path.stat().st_mtime_ns for path in folder.iterdir()} == before
    assert len(list(folder.glob(PATTERN))) == len(read_card(folder).shards)
