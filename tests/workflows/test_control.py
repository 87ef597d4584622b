"""A ControlNet from recipe to report: the bank's controls made like the target's, obedience measured, resume to the same bits."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import ControlNetModel, StableDiffusionControlNetPipeline
from PIL import Image

from backbones.families import text
from difftuning.backbones.controlnet import Controlled
from difftuning.backbones.loading import load
from difftuning.bank.read import Bank
from difftuning.data.controls import ANNOTATORS
from difftuning.json_files import MetricsLog
from difftuning.results import read_rows
from difftuning.workflows import recipe
from difftuning.workflows.assemble import assemble, prepare
from difftuning.workflows.controls import ControlledBank
from difftuning.workflows.diagnose import diagnose
from difftuning.workflows.drawing import images_of
from difftuning.workflows.evaluate import evaluate
from difftuning.workflows.recipe import Recipe
from difftuning.workflows.report import report
from difftuning.workflows.train import train

SIDE = 16


def picture(index: int, blank: bool = False) -> Image.Image:
    """A light square on dark ground, at another place in each."""
    pixels = np.full((SIDE, SIDE, 3), 30, np.uint8)
    if not blank:
        left = 2 + index % 7
        pixels[3:11, left : left + 6] = (240, 220 - 10 * index, 90)
    return Image.fromarray(pixels)


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DIFFTUNING_CACHE", str(tmp_path / "cache"))


def made(tmp_path: Path, *overrides: str) -> Recipe:
    """A recipe over a tiny Stable Diffusion and eight captioned squares."""
    folder = tmp_path / "images"
    folder.mkdir(exist_ok=True)
    for index in range(8):
        picture(index).save(folder / f"{index}.png")
        (folder / f"{index}.txt").write_text(f"a square, number {index}\n")
    if not (tmp_path / "model").is_dir():
        text("sd", tmp_path / "vocabulary").save(tmp_path / "model")
    settings = [
        f"out={tmp_path / 'run'}",
        f"model={tmp_path / 'model'}",
        f"data.target={folder}",
        "data.heldout=3",
        "control={kind: edge, measure_every: 3, items: 3}",
        "text.default_prompt=a picture",
        "bank={count: 6, steps: 2, batch_size: 4, shard_size: 4, guidance: 1.5}",
        "training={steps: 6, batch_size: 4, log_every: 2, heldout_every: 3, sample_every: 6, save_every: 3}",
        "sampling={solver: ddim, steps: 2}",
        "evaluation={samples: 6, heldout_draws: 4}",
        "optim.lr=1e-3",
        "ema.decay=0.5",
        "threads=1",
        *overrides,
    ]
    return recipe.load("own-images", settings)


def test_a_run_from_recipe_to_report(tmp_path: Path) -> None:
    made_recipe = made(tmp_path)
    before = load(made_recipe.model)
    done = train(made_recipe)
    assert done["step"] == 6
    # The base is as it was, bit for bit; the ControlNet has moved.
    after = load(done["model"])
    assert isinstance(after, Controlled)
    assert all(torch.equal(one, before.network.state_dict()[name]) for name, one in after.unet.state_dict().items())
    assert any(
        bool(value.any()) for name, value in after.network["controlnet"].state_dict().items() if "controlnet_" in name
    )
    # Obedience, item by item, at the start, on the way and at the end.
    records = [
        record for record in MetricsLog(Path(done["run"]) / "metrics.jsonl").read().records if "consistency" in record
    ]
    assert [record["step"] for record in records] == [0, 3, 6]
    assert all(len(record["consistency_items"]) == 3 for record in records)
    assert records[0]["consistency"] == pytest.approx(np.mean(records[0]["consistency_items"]), abs=1e-6)
    assert (Path(done["run"]) / "samples" / "control-step-00000006.png").is_file()
    rows = [row for row in evaluate(Path(done["run"]))["rows"] if row["metric"].startswith("consistency")]
    assert [(row["metric"], row["step"]) for row in rows] == [
        ("consistency_curve", 0),
        ("consistency_curve", 3),
        ("consistency_curve", 6),
        ("consistency", 6),
    ]
    assert rows[-1]["setting"] == {"control": "edge", "measure": "SSIM"}
    assert rows[-1]["value"] == records[-1]["consistency"]
    assert len(read_rows(Path(done["run"]) / "results.json")) > len(rows)
    diagnose(Path(done["run"]), samples=4)
    assert report([Path(done["run"])], tmp_path / "page.html")


def test_what_is_written_is_a_pipeline_of_diffusers_that_draws_what_we_draw(tmp_path: Path) -> None:
    done = train(made(tmp_path))
    pipe: Any = StableDiffusionControlNetPipeline.from_pretrained(done["model"])
    assert isinstance(ControlNetModel.from_pretrained(f"{done['model']}/controlnet"), ControlNetModel)
    pipe.set_progress_bar_config(disable=True)
    model = load(done["model"])
    edges = ANNOTATORS["edge"](torch.from_numpy(np.array(picture(2))).permute(2, 0, 1)[None])
    noise = torch.randn(1, *model.sample_shape, generator=torch.Generator().manual_seed(0))
    drawn = pipe(
        "a square", image=edges.expand(-1, 3, -1, -1), latents=noise, num_inference_steps=3, guidance_scale=2.0,
        height=SIDE, width=SIDE, output_type="latent",
    ).images  # fmt: skip
    from difftuning.backbones.solvers import make_scheduler
    from difftuning.sampling.guidance import guided
    from difftuning.sampling.loop import sample as loop
    from difftuning.types import Condition

    rows = model.rows(["a square"])
    ours = loop(
        guided(model, model.labels.null, 2.0), model.process, make_scheduler("ddim", model.scheduler_config),
        Condition(rows, edges), noise, 3,
    )  # fmt: skip
    assert float((ours - drawn).abs().max()) < 2e-4
    without = loop(
        guided(model, model.labels.null, 2.0), model.process, make_scheduler("ddim", model.scheduler_config),
        Condition(rows), noise, 3,
    )  # fmt: skip
    assert float((without - drawn).abs().max()) > 1e-4


def test_bank_items_train_under_the_default_prompt_and_the_map_of_their_own_image(tmp_path: Path) -> None:
    made_recipe = made(tmp_path, "coefficients.psi={kind: constant, value: 0.5}", "data.flip=true")
    train(made_recipe)
    run = assemble(prepare(made_recipe))
    assert isinstance(run.bank, ControlledBank)
    batch = run.trainer.streams.batch(0, (0, 0))
    assert batch.condition.control is not None
    assert batch.condition.control.shape == (4, 1, SIDE, SIDE)
    for place in range(4):
        image = images_of(run.backbone, batch.x0[place : place + 1])
        if bool(batch.draw.from_bank[place]):
            assert int(batch.condition.labels[place]) == run.backbone.default_label
            assert torch.equal(batch.condition.control[place : place + 1], ANNOTATORS["edge"](image))
        else:
            # Of the picture itself, not of what the autoencoder makes of it.
            maps = [
                ANNOTATORS["edge"](torch.from_numpy(np.array(picture(index))).permute(2, 0, 1)[None])
                for index in range(8)
            ]
            mirrored = [one.flip(-1) for one in maps]
            assert any(torch.equal(batch.condition.control[place : place + 1], one) for one in (*maps, *mirrored))


def test_a_run_that_is_interrupted_ends_as_one_that_is_not(tmp_path: Path) -> None:
    whole = train(made(tmp_path))
    part = made(tmp_path, f"out={tmp_path / 'again'}", f"bank_folder={tmp_path / 'run' / 'bank'}")
    run = assemble(prepare(part))
    run.trainer.run(until=4)
    again = train(part)
    assert again["weights_digest"] == whole["weights_digest"]
    last = [MetricsLog(tmp_path / name / "metrics.jsonl").read().records for name in ("run", "again")]
    items = [[one["consistency_items"] for one in records if "consistency" in one] for records in last]
    assert items[0][-1] == items[1][-1]


def test_the_bank_is_that_of_the_model_without_a_control(tmp_path: Path) -> None:
    with_control = made(tmp_path)
    train(with_control)
    plain = recipe.load("own-images", [*_plain(tmp_path)])
    train(plain)
    banks = [Bank(one.bank_path) for one in (with_control, plain)]
    assert banks[0].digest == banks[1].digest


def _plain(tmp_path: Path) -> list[str]:
    settings = made(tmp_path).model_dump(mode="json")
    keep = {"model": settings["model"], "bank": {k: v for k, v in settings["bank"].items() if v is not None}}
    return [
        f"out={tmp_path / 'plain'}", f"model={keep['model']}", f"data.target={settings['data']['target']}", "data.heldout=3",
        "text.default_prompt=a picture", f"bank={json.dumps(keep['bank'])}", "threads=1", "sampling={solver: ddim, steps: 2}",
        "training={steps: 1, batch_size: 2, heldout_every: 0}",
    ]  # fmt: skip
