"""`train`: move a pretrained model to a target, as a recipe says; running it again goes on."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from difftuning.backbones.base import Backbone
from difftuning.bank.mix import coverage
from difftuning.bank.read import Bank
from difftuning.config.loading import dump_recipe
from difftuning.config.provenance import provenance
from difftuning.data.target import Target
from difftuning.results import MetricsLog, write_json, write_text
from difftuning.training.checkpoints import tensors_digest
from difftuning.training.hooks import Hook
from difftuning.workflows import bank as bank_workflow
from difftuning.workflows.assemble import Assembly, assemble, chain_of, pretrained
from difftuning.workflows.display import Display, Silent
from difftuning.workflows.drawing import draw_images
from difftuning.workflows.heldout import bank_heldout, measurement, target_heldout
from difftuning.workflows.recipe import Recipe

GRID = 32
"""Images of a sample grid."""


def train(recipe: Recipe, display: Display | None = None) -> dict[str, Any]:
    """Draw the bank where it is missing, train, and write the averaged model to `OUT/model`.

    Returns:
        `run`, `step`, `heldout` (the last measured), `best`, `seconds` in steps, and `model`, the folder written.

    Raises:
        DifftuningError: whatever is wrong, before anything is overwritten.
    """
    display = display or Silent()
    if chain_of(recipe, pretrained(recipe)).uses_bank:
        bank_workflow.build(recipe, display)
    with display.progress(f"train {recipe.name}", recipe.training.steps) as task:
        shown = 0

        def progress(step: int, metrics: Mapping[str, float]) -> None:
            nonlocal shown
            texts = {name: f"{metrics[name]:.4f}" for name in ("loss", "heldout") if name in metrics}
            task.advance(step - shown, **texts)
            shown = step

        def hooks(backbone: Backbone, target: Target, rows: Tensor, bank: Bank | None) -> list[Hook]:
            return _hooks(recipe, backbone, target, rows, bank)

        run = assemble(recipe, hooks, progress)
        for line in run.target.report():
            display.note(line)
        write_text(run.folder.recipe, dump_recipe(recipe.model_dump(mode="json")))
        write_json(run.folder.provenance, provenance())
        _preflight(run)
        run.trainer.run()
    return _finish(run)


def _hooks(recipe: Recipe, backbone: Backbone, target: Target, rows: Tensor, bank: Bank | None) -> list[Hook]:
    draws = recipe.evaluation.heldout_draws
    on_target = target_heldout(target.heldout, rows, backbone, draws)
    on_bank = bank_heldout(bank, backbone, draws) if bank is not None else None
    labels = rows[torch.arange(GRID) % len(rows)]

    def grid(step: int) -> dict[str, float]:
        folder = recipe.folder / "samples"
        folder.mkdir(exist_ok=True)
        save_grid(draw_images(backbone, labels, recipe.sampling), folder / f"step-{step:08d}.png")
        return {}

    return [
        Hook(recipe.training.heldout_every, measurement(backbone, on_target, on_bank), at_start=True),
        Hook(recipe.training.sample_every, grid, at_start=True),
    ]


def save_grid(images: Tensor, path: Path) -> None:
    """Write (N, 3, H, W) uint8 images as one picture of 8 columns, each pixel doubled."""
    columns = min(8, len(images))
    lines = math.ceil(len(images) / columns)
    padded = torch.cat([images, images.new_full((lines * columns - len(images), *images.shape[1:]), 255)])
    height, width = images.shape[-2:]
    sheet = padded.reshape(lines, columns, 3, height, width).permute(0, 3, 1, 4, 2)
    picture = Image.fromarray(sheet.reshape(lines * height, columns * width, 3).numpy())
    picture.resize((2 * picture.width, 2 * picture.height), Image.Resampling.NEAREST).save(path)


def _preflight(run: Assembly) -> None:
    """One pass forward and backward, one sample and one save, before a long run can die of any of them."""
    trainer = run.trainer
    if trainer.checkpoints.last() is not None:
        return
    batch = trainer.streams.batch(0, (0, 0)).to(run.backbone.device)
    trainer.accelerator.backward(trainer.objective(batch).loss())
    trainer.optimizer.zero_grad()
    draw_images(run.backbone, run.rows[:1], run.recipe.sampling.model_copy(update={"steps": 2}))
    trainer.save()


def _finish(run: Assembly) -> dict[str, Any]:
    """Write the averaged model as a folder, and say how the run ended."""
    trainer = run.trainer
    folder = run.folder.path / "model"
    with trainer.ema.swapped():
        run.backbone.save(folder)
    records = MetricsLog(run.folder.metrics).read().records
    heldout = [record["heldout"] for record in records if "heldout" in record]
    target, bank = trainer.state.positions
    return {
        "run": str(run.folder.path),
        "step": trainer.state.step,
        "heldout": heldout[-1] if heldout else None,
        "best": trainer.state.best,
        "seconds": trainer.state.seconds,
        "bank_coverage": coverage(bank, len(run.bank)) if run.bank is not None else None,
        "target_epochs": target / len(run.target.train),
        "weights_digest": tensors_digest(trainer.ema.average),
        "model": str(folder),
    }
