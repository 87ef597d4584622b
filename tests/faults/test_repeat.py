"""A run folder is enough to repeat the run, and tells nobody's secrets."""

from __future__ import annotations

from pathlib import Path

import pytest

from difftuning.errors import BusyError, CheckpointError
from difftuning.run_folder import RunFolder
from difftuning.workflows.recipe import load
from difftuning.workflows.runs import recipe_of
from difftuning.workflows.sample import sample
from difftuning.workflows.train import train
from faults.miniature import write_miniature

SECRETS = {
    name: f"not-to-be-found-{name}"
    for name in ("HF_TOKEN", "WANDB_API_KEY", "AWS_SECRET_ACCESS_KEY", "USER", "HOSTNAME")
}


def test_a_run_is_repeated_from_its_folder_guarded_and_without_secrets(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in SECRETS.items():
        monkeypatch.setenv(name, value)
    recipe = load(str(write_miniature(tmp_path / "small")), [f"out={tmp_path / 'run'}", "training.steps=4"])
    first = train(recipe)
    again = train(load(str(tmp_path / "run/recipe.yaml"), [f"out={tmp_path / 'again'}"]))
    assert again["weights_digest"] == first["weights_digest"]
    for path in (tmp_path / "run").rglob("*"):
        assert not path.is_file() or b"not-to-be-found" not in path.read_bytes(), path

    with RunFolder(tmp_path / "run").alone(), pytest.raises(BusyError, match=r"run/\.lock; wait until it has ended"):
        train(recipe)

    weights = tmp_path / "run/model/transformer/diffusion_pytorch_model.safetensors"
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    with pytest.raises(
        CheckpointError, match=r"diffusion_pytorch_model.safetensors is missing or not what was written; write it again"
    ):
        sample(tmp_path / "run", tmp_path / "drawn", count=1)
    train(recipe_of(tmp_path / "run"))
    assert sample(tmp_path / "run", tmp_path / "drawn", count=1)["count"] == 1
