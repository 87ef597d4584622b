"""`demo`: the embedded model moved to OpenMoji twice, by standard fine-tuning and by Diff-Tuning, and compared."""

from __future__ import annotations

import shlex
import time
from pathlib import Path
from typing import Any

from difftuning.config.loading import dump_recipe
from difftuning.data.opening import open_target
from difftuning.errors import ConfigError
from difftuning.json_files import write_json, write_text
from difftuning.reporting.sections import METRICS
from difftuning.reporting.tables import pivot, verdict
from difftuning.results import Row, read_rows
from difftuning.run_folder import RunFolder
from difftuning.workflows import recipe as recipes
from difftuning.workflows.assemble import open_heldout_bank
from difftuning.workflows.diagnose import diagnose
from difftuning.workflows.display import Display, Silent
from difftuning.workflows.evaluate import evaluate
from difftuning.workflows.heldout import bank_heldout, target_heldout
from difftuning.workflows.judge import Judge
from difftuning.workflows.pretrained import pretrained
from difftuning.workflows.recipe import Recipe
from difftuning.workflows.report import report
from difftuning.workflows.train import train

QUICK = (
    "training.steps=90",
    "training.heldout_every=45",
    "training.sample_every=45",
    "bank.count=192",
    "evaluation.samples=72",
    "evaluation.heldout_draws=64",
)
"""What --quick changes: the machinery in about three minutes, too short to show forgetting."""


def demo(out: Path, quick: bool, seed: int, overrides: list[str], display: Display | None = None) -> dict[str, Any]:
    """Run the shipped recipe `demo` and its twin with tau = 0, judge both, and write one page.

    Args:
        out: holds `diff-tuning/`, `finetune/`, the shared `bank/`, `demo.yaml`, `results.json` and `report.html`.
        quick: a few minutes instead of twelve to twenty.
        seed: of both runs.
        overrides: of the recipe.
        display: shows progress.

    Returns:
        `{"rows": [...], "report": path, "recipe": path, "minutes": of this call}`.

    Raises:
        ConfigError: an override of what the options decide.
    """
    started = time.monotonic()
    display = display or Silent()
    for key in ("seed", "out", "name", "bank_folder"):
        if any(one.partition("=")[0] == key for one in overrides):
            raise ConfigError(f"{key} of the demo is set by --seed and --out; leave {key}=... out")
    ours = recipes.load("demo", [*(QUICK if quick else ()), *overrides, f"seed={seed}"])
    shared = {"bank_folder": str(out / "bank")}
    ours = ours.model_copy(update={"name": "demo/diff-tuning", "out": str(out / "diff-tuning"), **shared})
    plain = ours.model_copy(
        update={
            "name": "demo/finetune",
            "out": str(out / "finetune"),
            "coefficients": ours.coefficients.plain(),
        }
    )
    write_text(out / "demo.yaml", dump_recipe(ours.model_dump(mode="json")))
    display.note(f"the recipe, yours to copy ({out / 'demo.yaml'}):\n{dump_recipe(ours.model_dump(mode='json'))}")
    runs = []
    for recipe in (ours, plain):
        train(recipe, display, judged=True)
        run = Path(recipe.out)
        evaluate(run, display)
        diagnose(run, display, samples=min(ours.evaluation.samples, 128), shares=(0, 0.1, 0.2, 0.3, 0.5, 0.7, 1))
        runs.append(run)
    runs.reverse()
    start = _pretrained_rows(ours, display)
    rows = [*start, *(row for run in runs for row in read_rows(RunFolder(run).results))]
    again = shlex.join(
        ["difftuning", "demo", "--out", str(out), "--seed", str(seed), *(["--quick"] if quick else ()), *overrides]
    )
    page = report(runs, out / "report.html", start, display, [again])
    result = {
        "rows": [row.model_dump(mode="json") for row in rows],
        "report": str(page),
        "recipe": str(out / "demo.yaml"),
        "minutes": round((time.monotonic() - started) / 60, 1),
    }
    write_json(out / "results.json", result)
    table = pivot(rows, METRICS)
    lines = [[line.label, *(str(cell) if cell else None for cell in line.cells)] for line in table.lines]
    display.table("demo: zoo model to OpenMoji", ["", *table.methods], lines)
    display.note(verdict(rows))
    display.note(f"report: {page}")
    return result


def _pretrained_rows(recipe: Recipe, display: Display) -> list[Row]:
    """The pretrained model on the same target, without a class, as the place where both runs started."""
    model = pretrained(recipe)
    target = open_target(recipe.data, model.image_size, model.codec)
    # Without a class there is nothing to guide with, and half of the passes are saved.
    sampling = recipe.sampling.model_copy(update={"guidance": 1.0})
    judge = Judge(recipe.model_copy(update={"name": "demo/pretrained", "sampling": sampling}), target)
    nowhere = model.default_condition(len(target.class_names)).labels.cpu()
    measures = judge.distances(judge.draw(model, nowhere, display), display)
    draws = recipe.evaluation.heldout_draws
    places = {"heldout": target_heldout(judge.target.heldout, nowhere, model, recipe)}
    if (bank := open_heldout_bank(recipe, model)) is not None:
        places["heldout_bank"] = bank_heldout(bank, model, recipe)
    values = {**measures, **{metric: place.curve(model).mean for metric, place in places.items()}}
    return [judge.row("pretrained", metric, value, 0, n=draws) for metric, value in values.items()]
