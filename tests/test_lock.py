"""One process at a time, and whoever waits for another says so."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from difftuning.errors import BusyError
from difftuning.lock import alone

HOLDER = """
import sys
from pathlib import Path
from difftuning.lock import alone
with alone(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.readline()
"""


def test_who_finds_it_held_waits_and_says_so_or_is_refused(tmp_path: Path) -> None:
    lock, told = tmp_path / "locks/one.lock", []
    command = [sys.executable, "-c", HOLDER, str(lock)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdin is not None
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(BusyError, match=r"one\.lock"), alone(lock, wait=False):
            pass

        def let_go() -> None:
            told.append("waiting")
            holder.communicate("\n")

        with alone(lock, waiting=let_go):
            assert told == ["waiting"]
    with alone(lock, waiting=let_go):
        assert told == ["waiting"], "nobody held it"
