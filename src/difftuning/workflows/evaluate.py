"""`evaluate`: judge a finished run on held-out images of its target, and write result rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import Tensor

from difftuning.config.provenance import provenance
from difftuning.data.tensors import write_tensors
from difftuning.evaluation.control_consistency import MEASURES
from difftuning.json_files import MetricsLog
from difftuning.processes import present
from difftuning.reporting.metrics import DISTANCES
from difftuning.results import BEST, CURVE, Row, write_results
from difftuning.run_folder import RunFolder
from difftuning.workflows import costs
from difftuning.workflows.assemble import open_heldout_bank
from difftuning.workflows.consistency import ITEMS, MEAN
from difftuning.workflows.display import Display, Silent
from difftuning.workflows.drift import Drift, drift_of
from difftuning.workflows.heldout import HeldOut, bank_heldout, target_heldout
from difftuning.workflows.judge import Judge
from difftuning.workflows.recipe import Recipe
from difftuning.workflows.runs import FinishedRun, drawn_from, open_run, step_of

SAMPLES = "evaluated.safetensors"
"""In the samples folder of a run: the images that were judged."""
LAYER_DRIFT = "drift_of_layer"
"""The metric of rows whose setting names a layer."""


def method_of(recipe: Recipe) -> str:
    """The name of a recipe's method in result rows."""
    psi = recipe.coefficients.psi
    one = (psi.kind == "power" and psi.tau == 0) or (psi.kind == "constant" and psi.value == 1)
    plain = "finetune" if one and recipe.coefficients.xi is None else "diff-tuning"
    return plain if recipe.anchor is None else f"{plain} + {recipe.anchor.kind}"


def evaluate(run: Path | str, display: Display | None = None) -> dict[str, Any]:
    """Draw samples from a run, compare them with held-out images, and write `results.json`.

    Args:
        run: its folder.
        display: shows progress; None is silent.

    Returns:
        `{"rows": [...], "results": the file of them, "warning": ...}`.

    Raises:
        CheckpointError: the run is not finished, or its model is not what was written.
        BusyError: another process is at work on the run folder.
    """
    folder = RunFolder(Path(run)).require()
    with present().led(folder.alone()):
        opened = open_run(folder.path)
        with costs.timed(folder, costs.EVALUATION):
            found = measure(opened, opened.recipe, display or Silent())
        present().on_main(lambda: _write(opened, found))
    rows = [*found.rows, *found.layers]
    return {
        "rows": [row.model_dump(mode="json") for row in rows],
        "results": str(folder.results),
        "warning": found.warning,
    }


def _write(run: FinishedRun, found: Measured) -> None:
    write_tensors(run.folder.samples / SAMPLES, {"images": found.images})
    written, recipe = provenance(), run.recipe.model_dump(mode="json")
    write_results(run.folder.results, [*found.rows, *found.layers], written["machine"], written["commit"], recipe)


@dataclass(frozen=True)
class Measured:
    """What was found of a run.

    Attributes:
        rows: the numbers.
        layers: the drift of each layer, which is too much of one number for a study.
        images: the samples that were judged, (N, 3, H, W) uint8.
        warning: what to say beside the distance at so many images, if anything.
    """

    rows: list[Row]
    layers: list[Row]
    images: Tensor
    warning: str | None


def measure(run: FinishedRun, recipe: Recipe, display: Display) -> Measured:
    """Judge a run by the sampling and evaluation settings of a recipe, which may differ from those it was trained with.

    Interpolated weights have neither a drift nor a past of their own.
    """
    step = step_of(recipe)
    judge = Judge(recipe, run.target, run.controls)
    drawn = drawn_from(run, recipe.sampling)
    own = drawn is run.model
    images = judge.draw(drawn, run.rows, display, run.before)
    # One process looks at the images that all have drawn.
    measures = present().on_main(lambda: judge.distances(images, display))
    drift = present().on_main(lambda: drift_of(run, recipe.evaluation.fisher_draws)) if own else Drift({}, {})
    values = {**measures, **drift.totals}
    rows = [judge.row(method_of(recipe), metric, value, step) for metric, value in values.items()]
    # While training, the held-out images were looked at and no others.
    past = MetricsLog(run.folder.metrics) if own and recipe.evaluation.part is None else None
    rows += heldout_rows(judge, replace(run, model=drawn), step, past)
    layers = [
        judge.row(method_of(recipe), LAYER_DRIFT, value, step, {"layer": layer})
        for layer, value in drift.layers.items()
    ]
    return Measured(rows, layers, images, measures.warning)


def heldout_rows(judge: Judge, run: FinishedRun, step: int, log: MetricsLog | None) -> list[Row]:
    """The held-out error by u on target and bank, their means, and the mean while training and at its best, if there is a log."""
    draws, method = judge.recipe.evaluation.heldout_draws, method_of(judge.recipe)
    maps = None if run.controls is None else run.controls.heldout
    where: dict[str, HeldOut] = {
        "heldout": target_heldout(judge.target.heldout, run.rows, run.model, judge.recipe, maps)
    }
    against = {"heldout": judge.target.heldout.digest}
    if (bank := open_heldout_bank(run.recipe, run.before)) is not None:
        where["heldout_bank"], against["heldout_bank"] = bank_heldout(bank, run.model, run.recipe), bank.digest
    found = []
    for metric, place in where.items():
        curve, told = place.curve(run.model), against[metric]
        found.append(judge.row(method, metric, curve.mean, step, n=draws, against=told))
        for u, error in zip(curve.u.tolist(), curve.error.tolist(), strict=True):
            found.append(judge.row(method, f"{metric}_by_u", error, step, {"u": round(u, 4)}, draws, told))
    records = [] if log is None else log.read().records
    found += curve_rows(judge, records, "heldout", draws, against["heldout"])
    for metric in DISTANCES:
        found += curve_rows(judge, records, metric)
    return found + consistency_rows(judge, records, step)


def curve_rows(
    judge: Judge,
    records: Sequence[Mapping[str, Any]],
    metric: str,
    n: int | None = None,
    against: str | None = None,
) -> list[Row]:
    """What a measure was while training, and at its lowest; none where it was not taken."""
    method = method_of(judge.recipe)
    # What was not finite is null.
    points = [(int(record["step"]), float(record[metric])) for record in records if record.get(metric) is not None]
    rows = [judge.row(method, f"{metric}{CURVE}", value, step, n=n, against=against) for step, value in points]
    if points:
        step, value = min(points, key=lambda point: point[1])
        rows.append(judge.row(method, f"{metric}{BEST}", value, step, n=n, against=against))
    return rows


def consistency_rows(judge: Judge, records: Sequence[Mapping[str, Any]], step: int) -> list[Row]:
    """How far the controls were obeyed while a ControlNet trained, and at the step of its model or before; none for other runs."""
    logged = [record for record in records if MEAN in record]
    if judge.controls is None or not logged:
        return []
    kind, method = judge.controls.config.kind, method_of(judge.recipe)
    setting = {"control": kind, "measure": MEASURES[kind].name}
    rows = [
        judge.row(method, "consistency_curve", record[MEAN], int(record["step"]), setting, n=len(record[ITEMS]))
        for record in logged
    ]
    last = max((row for row in rows if row.step <= step), key=lambda row: row.step, default=rows[-1])
    return [*rows, last.model_copy(update={"metric": "consistency"})]
