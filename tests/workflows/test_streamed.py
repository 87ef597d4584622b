"""From tar shards to a report, as from a folder."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import tiny_text
from difftuning.backbones.text_to_image import TextToImage
from difftuning.errors import DataError
from difftuning.workflows import bank
from difftuning.workflows.assemble import assemble, prepare
from difftuning.workflows.evaluate import evaluate
from difftuning.workflows.recipe import load
from difftuning.workflows.report import report
from difftuning.workflows.train import train


@pytest.fixture
def shards(tmp_path: Path) -> Path:
    """Two tars of coloured squares in two classes."""
    random, folder = np.random.default_rng(0), tmp_path / "shards"
    folder.mkdir()
    for file in range(2):
        with tarfile.open(folder / f"{file}.tar", "w") as tar:
            for index in range(16):
                name, base = (("dark", 40), ("light", 200))[index % 2]
                out = io.BytesIO()
                Image.fromarray((base + random.integers(-40, 40, (8, 8, 3))).astype(np.uint8)).save(out, "PNG")
                for kind, content in (("png", out.getvalue()), ("cls", name.encode())):
                    entry = tarfile.TarInfo(f"{index}.{kind}")
                    entry.size = len(content)
                    tar.addfile(entry, io.BytesIO(content))
    return folder


def test_from_shards_to_report(recipe_file: Path, shards: Path, tmp_path: Path) -> None:
    asked = [f"data.target={shards}", "data.heldout=0.4"]
    whole = train(load(str(recipe_file), [*asked, f"out={tmp_path / 'whole'}"]))
    recipe = load(str(recipe_file), asked)
    bank.build(recipe)
    assemble(prepare(recipe)).trainer.run(until=5)
    resumed = train(recipe)
    assert resumed["weights_digest"] == whole["weights_digest"]
    run = tmp_path / "run"
    metrics = {row["metric"] for row in evaluate(run)["rows"]}
    assert {"frechet", "memorised", "heldout"} <= metrics
    assert report([run], run / "report.html").read_text().count("data:image/") >= 6


def test_no_maps_of_what_cannot_be_read_again(shards: Path, tmp_path: Path) -> None:
    model = tmp_path / "text"
    TextToImage(tiny_text.pipeline("sd", tmp_path / "vocabulary"), name="text").save(model)
    recipe = load(
        "own-images",
        [f"out={tmp_path / 'run'}", f"model={model}", f"data.target={shards}", "control={kind: edge}", "bank.count=4"],
    )
    with pytest.raises(DataError, match=r"read as a stream.*data\.stream=false"):
        train(recipe)
