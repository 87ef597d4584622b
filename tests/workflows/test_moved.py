"""A run that lies elsewhere now, as its images and its model may, is the same run."""

from __future__ import annotations

import shutil
from pathlib import Path

from difftuning.run_folder import RunFolder
from difftuning.workflows.evaluate import evaluate
from difftuning.workflows.recipe import load
from difftuning.workflows.train import train


def test_a_run_goes_on_where_it_has_moved_with_its_images_and_its_model(recipe_file: Path, tmp_path: Path) -> None:
    whole = train(load(str(recipe_file), []))
    RunFolder(tmp_path / "run").end.unlink()
    for number in (9, 12):
        shutil.rmtree(tmp_path / f"run/checkpoints/step-{number:08d}", ignore_errors=True)
    for name in ("run", "images", "model"):
        (tmp_path / name).rename(tmp_path / f"moved-{name}")
    places = [f"data.target={tmp_path / 'moved-images'}", f"model={tmp_path / 'moved-model'}"]
    recipe = load(str(tmp_path / "moved-run/recipe.yaml"), places)
    assert recipe.folder == tmp_path / "moved-run"
    assert train(recipe)["weights_digest"] == whole["weights_digest"]
    assert not (tmp_path / "run").exists()
    assert evaluate(tmp_path / "moved-run")["rows"]
    assert load(str(tmp_path / "moved-run/recipe.yaml"), ["out=elsewhere"]).out == "elsewhere"


def test_maps_are_told_by_their_content_wherever_they_lie(recipe_file: Path) -> None:
    one, other, made = (
        load(str(recipe_file), [f"control={{kind: edge, folder: {folder}}}"]) for folder in ("/a", "/b", "null")
    )
    assert one.by_content().digest() == other.by_content().digest() != made.by_content().digest()
    earlier = one.model_copy(update={"model": "", "data": one.data.model_copy(update={"target": ""})})
    assert earlier.digest() in one.former_digests(), "a run of 0.1.0 does not go on"
