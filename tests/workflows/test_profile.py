"""`train --profile`: the same run, with a table of where its time went."""

from __future__ import annotations

import io
from pathlib import Path

from difftuning.cli.display import PlainDisplay
from difftuning.training.step_profile import PARTS
from difftuning.workflows.recipe import load
from difftuning.workflows.train import train


def test_a_profiled_run_trains_the_same_and_shows_its_parts(recipe_file: Path, tmp_path: Path) -> None:
    shown = io.StringIO()
    plain = train(load(str(recipe_file), []))
    timed = train(load(str(recipe_file), [f"out={tmp_path / 'timed'}"]), PlainDisplay(shown), profile=True)
    assert timed["weights_digest"] == plain["weights_digest"]
    assert [row["part"] for row in timed["profile"]] == [*PARTS, "all"]
    assert all(row["milliseconds_a_step"] > 0 for row in timed["profile"])
    assert "where the time went" in shown.getvalue()
    assert "profile" not in plain
