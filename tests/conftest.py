"""What all tests share: one thread, a fixed seed, and a cache folder of their own."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _same_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    monkeypatch.setenv("DIFFTUNING_CACHE", str(tmp_path / "difftuning-cache"))
