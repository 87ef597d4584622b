"""Cards and plans on the disk: sealed, so that a changed byte is seen, and of a format that is checked before all else."""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

from pydantic import ValidationError

from difftuning.bank.card import CARD, PLAN, BankCard, BankPlan
from difftuning.errors import BankError, CheckpointError
from difftuning.json_files import read_sealed, write_sealed

Kind = TypeVar("Kind", bound=BankPlan)
READABLE = (1,)
"""Formats that this version reads."""


def read_card(folder: Path) -> BankCard:
    """The card of a finished bank.

    Raises:
        BankError: there is no finished bank, or its card is damaged.
    """
    if not (folder / CARD).is_file():
        if (folder / PLAN).is_file():
            raise BankError(
                f"the bank {folder} is not finished (no {CARD}); run `difftuning bank build` again to finish it"
            )
        raise BankError(f"there is no bank in {folder} (no {CARD}); make one with `difftuning bank build`")
    return _read(BankCard, folder / CARD)


def read_plan(folder: Path) -> BankPlan | None:
    """The card of a folder, or the plan of an unfinished one, or None where neither is.

    Raises:
        BankError: the file is damaged.
    """
    if (folder / CARD).is_file():
        return _read(BankCard, folder / CARD)
    return _read(BankPlan, folder / PLAN) if (folder / PLAN).is_file() else None


def write_card(described: BankPlan, path: Path) -> None:
    """Write a card or a plan, sealed.

    Raises:
        StorageError: the disk refuses.
    """
    write_sealed(path, described.model_dump(mode="json"))


def _read(kind: type[Kind], path: Path) -> Kind:
    mend = "remove the folder and build the bank again"
    try:
        entries = read_sealed(path, mend)
        if entries.get("format") not in READABLE:
            raise BankError(
                f"{path} is of format {entries.get('format')!r}, and this version reads {READABLE[-1]}; use the version that wrote "
                f"it, or {mend}"
            )
        return kind.model_validate(entries)
    except CheckpointError as reason:
        raise BankError(str(reason)) from reason
    except ValidationError as reason:
        first = " ".join(str(reason).split())[:200]
        raise BankError(f"{path} cannot be read ({first}); {mend}") from reason
