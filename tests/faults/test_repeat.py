"""A run folder is enough to repeat the run, and tells nobody's secrets."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from difftuning.bank.audit import verify
from difftuning.bank.card import CARD
from difftuning.bank.card_file import read_card, write_card
from difftuning.bank.store import Shard, read_shard, write_shard
from difftuning.cli.main import main
from difftuning.errors import BusyError, CheckpointError, TrainingError
from difftuning.run_folder import RunFolder
from difftuning.training.checkpoints import Checkpoints, read
from difftuning.workflows.bank import build
from difftuning.workflows.info import info
from difftuning.workflows.recipe import load
from difftuning.workflows.runs import recipe_of
from difftuning.workflows.sample import sample
from difftuning.workflows.train import train
from faults.miniature import write_miniature

SECRETS = {
    name: f"not-to-be-found-{name}"
    for name in ("HF_TOKEN", "WANDB_API_KEY", "AWS_SECRET_ACCESS_KEY", "USER", "HOSTNAME")
}


def test_a_number_in_a_bank_that_is_not_one_stops_the_run_and_says_where_it_came_from(tmp_path: Path) -> None:
    overrides = [f"out={tmp_path / 'run'}", "training.steps=8", "training.log_every=1", "bank.shard_size=64"]
    recipe = load(str(write_miniature(tmp_path / "small")), overrides)
    build(recipe)
    card = read_card(recipe.bank_path)
    (entry,) = card.shards
    shard = read_shard(recipe.bank_path / entry.file)
    latents = shard.latents.copy()
    latents[:] = np.nan
    # Under digests that fit: only what is in it is wrong.
    write_card(
        card.model_copy(update={"shards": (write_shard(recipe.bank_path, 0, Shard(shard.labels, latents)),)}),
        recipe.bank_path / CARD,
    )
    assert not verify(recipe.bank_path).ok
    with pytest.raises(TrainingError, match=r"loss of step \d is not finite .* the first from the bank, at u = "):
        train(recipe)
    last = Checkpoints(tmp_path / "run/checkpoints").last()
    assert last is not None, "the one before the first step"
    assert all(bool(value.isfinite().all()) for value in read(last)[0]["parameters"].values())


def test_a_run_is_repeated_from_its_folder_guarded_and_without_secrets(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in SECRETS.items():
        monkeypatch.setenv(name, value)
    recipe = load(str(write_miniature(tmp_path / "small")), [f"out={tmp_path / 'run'}", "training.steps=4"])
    first = train(recipe)
    monkeypatch.chdir(tmp_path)  # as another person would, in another folder and by the command line
    assert main(["train", str(tmp_path / "run/recipe.yaml"), "out=again", "--quiet"]) == 0
    assert info(tmp_path / "again")["weights_digest"] == first["weights_digest"]
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
