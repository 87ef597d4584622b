"""What the suites over all families share."""

from __future__ import annotations

from pathlib import Path

import pytest

from backbones.families import FAMILIES
from difftuning.backbones.base import Backbone


@pytest.fixture
def model(family: str, tmp_path: Path) -> Backbone:
    made = FAMILIES[family](tmp_path / "vocabulary")
    made.network.eval()
    return made
