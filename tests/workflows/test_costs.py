"""What the stages of a run took, as far as they came."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from difftuning.run_folder import RunFolder
from difftuning.workflows import costs


def _interrupted() -> None:
    time.sleep(0.1)
    raise KeyboardInterrupt


def test_parts_of_a_bank_add_up_and_a_measurement_counts_when_it_is_done(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    with pytest.raises(KeyboardInterrupt), costs.timed(folder, costs.BANK, adds=True):
        _interrupted()
    with costs.timed(folder, costs.BANK, adds=True):
        time.sleep(0.1)
    with pytest.raises(KeyboardInterrupt), costs.timed(folder, costs.EVALUATION):
        _interrupted()
    found = costs.read(folder)
    assert found.keys() == {costs.BANK}
    assert found[costs.BANK] >= 0.2
