"""The examples run, and the first is as short as it says."""

from __future__ import annotations

import math
import runpy
from pathlib import Path

from tiny import save_tiny_dit

EXAMPLE = Path(__file__).parents[2] / "examples" / "own_loop.py"


def test_it_trains(tmp_path: Path) -> None:
    main = runpy.run_path(str(EXAMPLE))["main"]
    assert math.isfinite(main(str(save_tiny_dit(tmp_path)), 2))


def test_it_is_ten_lines() -> None:
    text = EXAMPLE.read_text().partition("# The ten lines.\n")[2].partition("    return loss.item()")[0]
    # The loop's head and the optimiser's three lines are anybody's.
    anybodys = ("for ", "loss.backward", "optimizer.")
    ours = [line for line in text.splitlines() if line.strip() and not line.strip().startswith(anybodys)]
    assert len(ours) <= 10
