"""`report`: one page over one or more runs, from what their folders hold and nothing else."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from difftuning.bank.read import Bank
from difftuning.coefficients.chain import ChainOfForgetting
from difftuning.config.loading import dump_recipe
from difftuning.errors import CheckpointError
from difftuning.evaluation.features import extract
from difftuning.evaluation.fidelity import nearest_training
from difftuning.json_files import MetricsLog, read_json, write_text
from difftuning.reporting.images import image_grid, image_strip
from difftuning.reporting.model import ReportData
from difftuning.reporting.page import render
from difftuning.results import Row, read_rows
from difftuning.run_folder import RunFolder
from difftuning.training.checkpoints import Checkpoints
from difftuning.workflows.assemble import chain_of
from difftuning.workflows.diagnose import FILE, STRIP
from difftuning.workflows.drawing import images_of, spread
from difftuning.workflows.evaluate import SAMPLES, Judge, method_of
from difftuning.workflows.recipe import Recipe
from difftuning.workflows.runs import FinishedRun, open_run, recipe_of

COLUMNS, LINES = 9, 5
"""Of a grid of samples."""
PAIRS = 12
"""Samples that are shown with their nearest training image."""


def report(runs: list[Path], out: Path, extra_rows: list[Row] | None = None) -> Path:
    """Write the page.

    Args:
        runs: finished run folders; those of one method and several seeds share a column.
        out: the HTML file.
        extra_rows: of models that are no runs, such as the pretrained one.

    Raises:
        CheckpointError: a run has no results yet.
    """
    for run in runs:
        if not RunFolder(run).results.is_file():
            raise CheckpointError(f"run {run} has no results yet; run `difftuning evaluate {run}` first")
    recipes = {run: recipe_of(run) for run in runs}
    names = _names(recipes)
    out.parent.mkdir(parents=True, exist_ok=True)
    write_text(out, render(_data(recipes, names, extra_rows or [])))
    return out


def _names(recipes: Mapping[Path, Recipe]) -> dict[Path, str]:
    """The column of each run: its method; with the folder's name where one method was run twice from one seed."""
    methods = {run: method_of(recipe) for run, recipe in recipes.items()}
    times = Counter((methods[run], recipe.seed) for run, recipe in recipes.items())
    twice = {method for (method, _), count in times.items() if count > 1}
    return {run: f"{method} {run.name}" if method in twice else method for run, method in methods.items()}


def _data(recipes: Mapping[Path, Recipe], names: Mapping[Path, str], extra_rows: Sequence[Row]) -> ReportData:
    """What the folders hold, method by method; pictures are of each method's first run."""
    shown: dict[str, Path] = {}
    for run, name in names.items():
        shown.setdefault(name, run)
    first = next(iter(recipes))
    opened = open_run(first)
    judge = Judge(recipes[first], opened.target)
    heldout, train = (
        opened.target.pictures(part, opened.recipe.evaluation.references)
        for part in (opened.target.heldout, opened.target.train)
    )
    drawn = {name: load_file(RunFolder(run).samples / SAMPLES)["images"] for name, run in shown.items()}
    diagnoses = {name: read_json(run / FILE) for name, run in shown.items() if (run / FILE).is_file()}
    bank_picture, bank_card = _bank(opened)
    tuned = next((recipes[run] for name, run in shown.items() if method_of(recipes[run]) != "finetune"), None)
    return ReportData(
        title=f"{Path(opened.recipe.model).name} to {Path(opened.recipe.data.target).name}",
        rows=[*extra_rows, *_rows(names)],
        facts=_facts(opened, recipes, len(train), len(heldout)),
        recipes={f"{run.name} ({names[run]})": _yaml(recipe) for run, recipe in recipes.items()},
        grids={
            "held-out images of the target": image_grid(_some(heldout), COLUMNS),
            **{name: image_grid(_some(images), COLUMNS) for name, images in drawn.items()},
        },
        series=_series(recipes, names),
        coefficients=None if tuned is None else _coefficients(chain_of(tuned, opened.before)),
        by_u_target=_by_u(diagnoses, "target"),
        by_u_bank=_by_u(diagnoses, "bank"),
        swap={
            name: [(point["share"], point["frechet"]) for point in found["swap"]] for name, found in diagnoses.items()
        },
        swap_distance=_swap_distance(diagnoses),
        strips={
            name: image_strip(load_file(shown[name] / STRIP)["strip"], [point["share"] for point in found["swap"]])
            for name, found in diagnoses.items()
        },
        bank_picture=bank_picture,
        bank_card=bank_card,
        nearest={name: _nearest(images, train, judge) for name, images in drawn.items()},
        seconds={"training steps": {name: _seconds(run) for name, run in shown.items()}},
        set_aside=[(one.origin, one.reason) for one in opened.target.skipped],
        commands=[
            f"difftuning {verb} {run / 'recipe.yaml' if verb == 'train' else run}"
            for run in recipes
            for verb in ("train", "evaluate", "diagnose")
        ],
    )


def _rows(names: Mapping[Path, str]) -> list[Row]:
    """The rows of all runs, under the names of their columns."""
    return [
        row.model_copy(update={"method": name})
        for run, name in names.items()
        for row in read_rows(RunFolder(run).results)
    ]


def _facts(run: FinishedRun, recipes: Mapping[Path, Recipe], train: int, heldout: int) -> list[tuple[str, str]]:
    recipe = run.recipe
    return [
        ("pretrained model", recipe.model),
        ("target", f"{recipe.data.target}, {train} training images in {len(run.rows)} classes"),
        ("held out", f"{heldout} images"),
        ("training steps", str(recipe.training.steps)),
        ("batch", str(recipe.training.batch_size)),
        ("seeds", ", ".join(str(seed) for seed in sorted({one.seed for one in recipes.values()}))),
    ]


def _yaml(recipe: Recipe) -> str:
    return dump_recipe(recipe.model_dump(mode="json"))


def _some(images: Tensor, count: int = COLUMNS * LINES) -> Tensor:
    """At most `count` images from all over a set, which is ordered by class."""
    return images[spread(len(images), min(len(images), count))]


def _series(recipes: Mapping[Path, Recipe], names: Mapping[Path, str]) -> dict[str, list[tuple[int, float]]]:
    series = {}
    for run, recipe in recipes.items():
        records = MetricsLog(RunFolder(run).metrics).read().records
        points = [(int(record["step"]), float(record["heldout"])) for record in records if "heldout" in record]
        series[f"{names[run]} seed {recipe.seed}"] = points
    return series


def _coefficients(chain: ChainOfForgetting) -> tuple[list[float], list[float], list[float]]:
    u = torch.linspace(0, 1, 201, dtype=torch.float64)
    return u.tolist(), chain.psi(u).tolist(), chain.xi(u).tolist()


def _by_u(diagnoses: Mapping[str, Any], where: str) -> dict[str, list[float]]:
    """The errors of all methods on one set; empty unless every diagnosis has measured it."""
    if not diagnoses or not all(where in found for found in diagnoses.values()):
        return {}
    pretrained = next(iter(diagnoses.values()))[where]["pretrained"]
    return {"pretrained": pretrained, **{name: found[where]["run"] for name, found in diagnoses.items()}}


def _swap_distance(diagnoses: Mapping[str, Any]) -> str:
    behind = {f"{found['network']}, {found['samples']} samples" for found in diagnoses.values()}
    return f"Frechet distance ({'; '.join(sorted(behind))})"


def _bank(run: FinishedRun) -> tuple[bytes | None, list[tuple[str, str]]]:
    """Some of the bank and its card; nothing where the run has none."""
    if not (run.recipe.bank_path / "card.json").is_file():
        return None, []
    bank = Bank(run.recipe.bank_path)
    places = spread(len(bank), min(len(bank), 2 * COLUMNS * LINES))
    config = bank.card.config
    card = [
        ("items", str(len(bank))),
        ("drawn by", f"{config.solver}, {config.steps} steps, guidance {config.guidance:g}"),
        ("labels", config.labels),
        ("seed", str(config.seed)),
    ]
    return image_grid(images_of(run.model, bank.get(places)), 2 * COLUMNS), card


def _nearest(drawn: Tensor, train: Tensor, judge: Judge) -> bytes:
    """A line of samples and under each the training image nearest to it in feature space."""
    samples = _some(drawn, PAIRS)
    copies = train[nearest_training(extract(samples, judge.network), judge.training.features)]
    return image_grid(torch.cat([samples, copies]), len(samples))


def _seconds(run: Path) -> float:
    """Spent in optimiser steps, over all sessions of a run."""
    last = Checkpoints(RunFolder(run).checkpoints).last()
    return 0.0 if last is None else float(read_json(last / "state.json")["seconds"])
