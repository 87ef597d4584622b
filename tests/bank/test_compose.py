"""A composed bank: the first items of another one, and what a bank of the current model would hold behind them."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from difftuning.backbones.solvers import make_scheduler
from difftuning.bank.audit import verify
from difftuning.bank.card import BankCard, BankConfig, check_matches
from difftuning.bank.card_file import read_card
from difftuning.bank.compose import compose
from difftuning.bank.generate import build, extend
from difftuning.bank.read import Bank
from difftuning.bank.store import PATTERN
from difftuning.errors import BankError
from tiny import tiny_dit

# A border of shards (8), of batches (3) and of what is kept (10) each in another place.
CONFIG = BankConfig(count=19, steps=2, batch_size=3, shard_size=8, seed=5)
KEEP = 10


@pytest.fixture(scope="module")
def banks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`first`, of one model; `own`, of another; and `composed` of both."""
    folder = tmp_path_factory.mktemp("banks")
    build(tiny_dit(), make_scheduler, folder / "first", CONFIG, clip=1.0)
    build(tiny_dit(6, seed=1), make_scheduler, folder / "own", CONFIG, clip=1.0)
    compose(tiny_dit(6, seed=1), make_scheduler, folder / "composed", folder / "first", KEEP, CONFIG, 1.0)
    return folder


def items(folder: Path, start: int, stop: int) -> tuple[torch.Tensor, torch.Tensor]:
    bank, where = Bank(folder), torch.arange(start, stop)
    return bank.get(where), bank.labels(where)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def test_each_part_is_that_of_its_own_bank_bit_for_bit(banks: Path) -> None:
    for other, start, stop in (("first", 0, KEEP), ("own", KEEP, 19)):
        for found, expected in zip(
            items(banks / "composed", start, stop), items(banks / other, start, stop), strict=True
        ):
            assert torch.equal(found, expected)


def test_the_card_says_which_model_drew_what(banks: Path) -> None:
    first, own, card = (read_card(banks / name) for name in ("first", "own", "composed"))
    assert card.origins is not None
    assert [part.model_dump() for part in card.origins] == [
        {"stop": KEEP, "model": first.model.digest, "bank": first.digest()}
    ]
    assert card.model == own.model
    check_matches(card, tiny_dit(6, seed=1))
    assert len({first.digest(), own.digest(), card.digest()}) == 3


def test_a_bank_of_before_there_were_origins_keeps_its_digest(banks: Path) -> None:
    card = read_card(banks / "first")
    assert card.origins is None
    before = {name: value for name, value in card.model_dump(mode="json").items() if name != "origins"}
    assert BankCard.model_validate(before).digest() == card.digest()


def test_it_passes_the_audit(banks: Path) -> None:
    found = verify(banks / "composed")
    assert found.ok
    assert found.items == 19


def test_copied_again_it_still_names_the_models_that_drew(banks: Path, tmp_path: Path) -> None:
    third = tiny_dit(6, seed=2)
    card = compose(third, make_scheduler, tmp_path / "again", banks / "composed", 15, CONFIG, 1.0)
    first, before = read_card(banks / "first"), read_card(banks / "composed")
    assert card.origins is not None
    assert [(part.stop, part.model) for part in card.origins] == [
        (KEEP, first.model.digest),
        (15, before.model.digest),
    ]
    assert torch.equal(items(tmp_path / "again", 0, 15)[0], items(banks / "composed", 0, 15)[0])
    kept = compose(third, make_scheduler, tmp_path / "kept", banks / "composed", 19, CONFIG, 1.0)
    assert [entry.sha256 for entry in kept.shards] == [entry.sha256 for entry in before.shards]


def test_a_lost_shard_is_made_again_with_the_same_bytes(banks: Path) -> None:
    before = contents(banks / "composed")
    for path in sorted((banks / "composed").glob(PATTERN))[:2]:
        path.unlink()
    compose(tiny_dit(6, seed=1), make_scheduler, banks / "composed", banks / "first", KEEP, CONFIG, 1.0)
    assert contents(banks / "composed") == before


def test_a_changed_source_and_other_uses_are_refused(banks: Path, tmp_path: Path) -> None:
    model = tiny_dit(6, seed=1)
    with pytest.raises(BankError, match=r"origins: .* -> None"):
        build(model, make_scheduler, banks / "composed", CONFIG, clip=1.0)
    with pytest.raises(BankError, match="composed for a phase"):
        extend(model, make_scheduler, banks / "composed", 30)
    with pytest.raises(BankError, match="has 19 items, fewer than the 20"):
        compose(model, make_scheduler, tmp_path / "new", banks / "first", 20, CONFIG.model_copy(update={"count": 30}))
    build(tiny_dit(seed=3), make_scheduler, tmp_path / "first", CONFIG, clip=1.0)
    shard = min((tmp_path / "first").glob(PATTERN))
    shard.write_bytes((banks / "first" / shard.name).read_bytes())
    with pytest.raises(BankError, match="not the file that the card of its bank names"):
        compose(model, make_scheduler, tmp_path / "new", tmp_path / "first", KEEP, CONFIG, 1.0)
