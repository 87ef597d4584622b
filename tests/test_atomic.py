"""What is being written lies aside, and what a kill left there goes, unless somebody may still be at it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from difftuning.atomic import ASIDE, MACHINE, aside_of, remove_left_over


def dead_process() -> int:
    """The number of a process that has ended."""
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    return ended.pid


@pytest.mark.parametrize(
    ("writer", "machine", "stays"),
    [
        ("dead", MACHINE, False),
        ("parent", MACHINE, True),
        ("own", MACHINE, False),  # of an earlier process that had this number
        ("own", "01234567", True),
        ("dead", "01234567", True),
    ],
)
def test_what_a_kill_left_goes_and_what_another_writes_stays(
    tmp_path: Path, writer: str, machine: str, stays: bool
) -> None:
    number = {"dead": dead_process(), "parent": os.getppid(), "own": os.getpid()}[writer]
    left = tmp_path / f"{ASIDE}{number}-{machine}-model"
    left.mkdir()
    remove_left_over(tmp_path)
    assert left.exists() == stays


def test_a_process_writes_under_its_own_name(tmp_path: Path) -> None:
    assert aside_of(tmp_path / "a-b.json").name == f"{ASIDE}{os.getpid()}-{MACHINE}-a-b.json"
