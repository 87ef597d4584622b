"""How inputs are tried: drawn by hypothesis or made by damaging real ones, and counted by what became of them."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import Any

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from difftuning.errors import DifftuningError

SLOW = 5.0
"""Seconds of the processor after which an input counts as a hang; the slowest ordinary one takes some hundredths."""
Try = Callable[[Any], object]


class Tally:
    """What became of the inputs of one kind."""

    def __init__(self) -> None:
        self.tried = self.taken = self.refused = self.slow = 0
        self.escaped: list[str] = []

    def put(self, attempt: Try, given: Any) -> None:
        """Try one input."""
        self.tried += 1
        begin = time.thread_time()
        try:
            attempt(given)
            self.taken += 1
        except DifftuningError:
            self.refused += 1
        except Exception as escaped:
            self.escaped.append(f"{type(escaped).__name__}: {escaped} from {str(given)[:200]!r}")
        self.slow += time.thread_time() - begin > SLOW

    def figures(self) -> dict[str, Any]:
        """For the result file."""
        told = {"tried": self.tried, "taken": self.taken, "refused": self.refused, "hangs": self.slow}
        return {**told, "tracebacks": len(self.escaped)}


def drawn(attempt: Try, strategy: st.SearchStrategy[Any], count: int, tally: Tally, of: int) -> None:
    """Try inputs that hypothesis draws."""

    @seed(of)
    @settings(
        max_examples=count,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(strategy)
    def body(value: Any) -> None:
        tally.put(attempt, value)

    body()


def damaged(attempt: Try, whole: list[bytes], count: int, tally: Tally, chance: random.Random) -> None:
    """Try real content with bytes changed, cut out, repeated or moved."""
    for _ in range(count):
        tally.put(attempt, damage(chance.choice(whole), chance))


def damage(content: bytes, chance: random.Random) -> bytes:
    """One to four changes of a content."""
    data = bytearray(content)
    for _ in range(chance.choice((1, 1, 2, 4))):
        at = chance.randrange(len(data) + 1)
        until = min(len(data), at + chance.choice((1, 2, 8, 64)))
        match chance.randrange(5):
            case 0:
                data[at:until] = bytes(chance.randrange(256) for _ in range(until - at))
            case 1:
                del data[at:until]
            case 2:
                data[at:at] = data[at:until] * chance.choice((1, 2, 50))
            case 3:
                data[at:until] = chance.choice((b"\x00", b"\xff", b"[", b"{", b"&a *a", b"-1", b"1e999", b"!!int ")) * 3
            case _:
                del data[at:]
    return bytes(data)
