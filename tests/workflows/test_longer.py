"""A training that has ended goes on for more steps, as if it had not ended."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from difftuning.errors import CheckpointError
from difftuning.run_folder import RunFolder
from difftuning.workflows.recipe import load
from difftuning.workflows.runs import ended, is_finished
from difftuning.workflows.train import train


def test_more_steps_make_what_they_had_made_at_once(recipe_file: Path, tmp_path: Path) -> None:
    often = "training.heldout_every=2"
    at_once = train(load(str(recipe_file), [often, f"out={tmp_path / 'once'}"]))
    train(load(str(recipe_file), [often, "training.steps=8"]))
    longer = load(str(tmp_path / "run/recipe.yaml"), ["training.steps=12"])
    assert train(longer)["weights_digest"] == at_once["weights_digest"]
    assert ended(longer)["step"] == 12
    shutil.rmtree(RunFolder(tmp_path / "run").model)
    assert train(load(str(tmp_path / "run/recipe.yaml"), []))["weights_digest"] == at_once["weights_digest"]
    with pytest.raises(CheckpointError, match=r"training\.steps was 12 and is 10"):
        train(load(str(recipe_file), [often, "training.steps=10"]))


def test_a_learning_rate_that_had_fallen_does_not_rise_again(recipe_file: Path) -> None:
    train(load(str(recipe_file), ["training.steps=4", "optim.schedule=cosine"]))
    with pytest.raises(CheckpointError, match=r"training\.steps was 4 and is 8"):
        train(load(str(recipe_file), ["training.steps=8", "optim.schedule=cosine"]))


def test_a_run_counts_as_finished_only_once_it_is_told_how_it_ended(recipe_file: Path, tmp_path: Path) -> None:
    """A kill between the two leaves a run that is finished by the same command."""
    recipe = load(str(recipe_file), ["training.steps=4"])
    train(recipe)
    end, model = RunFolder(tmp_path / "run").end, RunFolder(tmp_path / "run").model
    assert end.stat().st_mtime_ns <= (model / "model_index.json").stat().st_mtime_ns
    shutil.rmtree(model)
    assert not is_finished(recipe)
