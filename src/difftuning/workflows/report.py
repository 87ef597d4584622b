"""`report`: one page over one or more runs, from what their folders hold and nothing else."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from operator import attrgetter
from pathlib import Path
from typing import Any

import torch

from difftuning.coefficients.chain import ChainOfForgetting
from difftuning.config.difference import differences
from difftuning.config.loading import dump_recipe
from difftuning.errors import ConfigError
from difftuning.evaluation.control_consistency import MEASURES
from difftuning.json_files import write_text
from difftuning.processes import leave
from difftuning.reporting.model import ReportData
from difftuning.reporting.page import render
from difftuning.reporting.text_table import TextTable
from difftuning.results import Row
from difftuning.run_folder import RunFolder
from difftuning.workflows.assemble import chain_of
from difftuning.workflows.consistency import BY_OBEDIENCE, MEAN
from difftuning.workflows.diagnose import diagnose
from difftuning.workflows.display import Display, Silent
from difftuning.workflows.evaluate import evaluate, method_of
from difftuning.workflows.run_columns import column_names, first_of_each
from difftuning.workflows.run_history import RunHistory
from difftuning.workflows.run_pictures import RunPictures
from difftuning.workflows.runs import FinishedRun, open_run

PLACES = ("name", "out", "bank_folder")
"""Keys that say where a run lies and nothing about it."""


def report(runs: Sequence[Path], out: Path, extra_rows: Sequence[Row] = (), display: Display | None = None) -> Path:
    """Write the page.

    A run that is not evaluated yet is shown as far as it has come; the page and the display say what is missing.

    Args:
        runs: run folders; those of one method and several seeds share a column.
        out: the HTML file.
        extra_rows: of models that are no runs, such as the pretrained one.
        display: is told what is missing.

    Raises:
        CheckpointError: one of the folders is no run.
        ConfigError: they are of several models or targets.
    """
    histories = [RunHistory.of(run) for run in runs]
    for one in histories[1:]:
        for key in ("model", "data.target"):
            values = [attrgetter(key)(each.recipe) for each in (histories[0], one)]
            if values[0] != values[1]:
                raise ConfigError(
                    f"{histories[0].path} and {one.path} differ in {key} ({values[0]}, {values[1]}), and a page compares runs "
                    "of one model and one target; write a page for each"
                )
    data = _data(histories, extra_rows)
    for note in data.notes:
        (display or Silent()).note(note)
    _write(out, data)
    return out


def judge_and_report(run: Path, display: Display | None = None) -> dict[str, Any]:
    """Evaluate and diagnose a finished run, and write its page.

    Returns:
        `{"report": path}`, from one of several processes.

    Raises:
        CheckpointError: the run is not finished.
    """
    evaluate(run, display)
    if leave():  # the rest is the work of one process
        return {}
    diagnose(run, display)
    return {"report": report([run], RunFolder(run).report, display=display)}


def watch(runs: Sequence[Path], out: Path, every: int = 10, display: Display | None = None) -> Path:
    """Write the page again and again until every run has finished its training; an open page follows.

    While one trains, only what its folder tells is shown, so that watching takes little from it.

    Args:
        runs: run folders.
        out: the HTML file.
        every: seconds between two pages.
        display: shows how far the runs are.

    Raises:
        CheckpointError: one of the folders is no run.
    """
    display = display or Silent()
    while True:
        histories = [RunHistory.of(run) for run in runs]
        if all(history.finished for history in histories):
            return report(runs, out, display=display)
        _write(out, replace(_history_data(histories, column_names(histories)), reload=every))
        steps = (f"{one.path}: step {one.step} of {one.recipe.training.steps}" for one in histories)
        display.note(f"{'; '.join(steps)}; {out}")
        time.sleep(every)


def _write(out: Path, data: ReportData) -> None:
    out.parent.mkdir(parents=True, exist_ok=True)
    write_text(out, render(data))


def _history_data(histories: Sequence[RunHistory], names: Mapping[Path, str]) -> ReportData:
    """What the folders tell without a model being opened."""
    first = histories[0].recipe
    series = {f"{names[one.path]} seed {one.recipe.seed}": one for one in histories}
    shown = first_of_each(histories, names)
    grids = {name: one.grids() for name, one in shown.items()}
    obeying = {name: one.grids("control-step") for name, one in shown.items()}
    seconds = {name: one.seconds() for name, one in shown.items()}
    rows = [row.model_copy(update={"method": names[one.path]}) for one in histories for row in one.rows]
    return ReportData(
        title=f"{Path(first.model).name} to {Path(first.data.target).name}",
        rows=rows,
        facts=_facts(histories),
        differences=_differences(histories),
        recipes={
            f"{one.path.name} ({names[one.path]})": dump_recipe(one.recipe.model_dump(mode="json")) for one in histories
        },
        steps=_by_step(grids),
        series={name: one.points("heldout") for name, one in series.items()},
        losses={name: one.points("loss") for name, one in series.items()},
        obedience=_obedience(histories, names),
        obeying=_by_step(obeying),
        by_obedience={name: sheets[max(sheets)] for name, one in shown.items() if (sheets := one.grids(BY_OBEDIENCE))},
        drift={name: one.layer_drift() for name, one in shown.items()},
        seconds={"training steps": {name: spent for name, spent in seconds.items() if spent is not None}},
        machine=histories[0].machine(),
        commands=_commands(histories),
        notes=_missing(histories),
    )


def _by_step(pictures: Mapping[str, Mapping[int, bytes]]) -> list[tuple[int, dict[str, bytes]]]:
    """(step, column -> its picture at that step) in order."""
    steps = sorted({step for found in pictures.values() for step in found})
    return [(step, {name: found[step] for name, found in pictures.items() if step in found}) for step in steps]


def _obedience(
    histories: Sequence[RunHistory], names: Mapping[Path, str]
) -> dict[str, dict[str, dict[int, list[tuple[int, float]]]]]:
    """Measure -> column -> seed -> the control consistency of ControlNets while they trained."""
    found: dict[str, dict[str, dict[int, list[tuple[int, float]]]]] = {}
    for one in histories:
        control, points = one.recipe.control, one.points(MEAN)
        if control is not None and points:
            methods = found.setdefault(f"{control.kind}: {MEASURES[control.kind].name}", {})
            methods.setdefault(names[one.path], {})[one.recipe.seed] = points
    return found


def _data(histories: Sequence[RunHistory], extra_rows: Sequence[Row]) -> ReportData:
    """What the folders hold, method by method; pictures are of each method's first run."""
    names = column_names(histories)
    data = _history_data(histories, names)
    judged = [one for one in histories if one.evaluated]
    if not judged:
        return data
    columns = first_of_each(judged, names)
    opened = open_run(judged[0].path)
    pictures = RunPictures(opened, {name: one.path for name, one in columns.items()})
    diagnoses = {name: one.diagnosis for name, one in columns.items() if one.diagnosis is not None}
    bank_picture, bank_card = pictures.bank()
    coverage = {name: one.points("bank_coverage") for name, one in columns.items()}
    used = [(f"used by {name}", f"{100 * found[-1][1]:.0f} % of it") for name, found in coverage.items() if found]
    tuned = next((one.recipe for one in judged if method_of(one.recipe) != "finetune"), None)
    return replace(
        data,
        rows=[*extra_rows, *data.rows],
        facts=[*data.facts, *_sizes(opened)],
        grids=pictures.grids(),
        coefficients=None if tuned is None else _coefficients(chain_of(tuned, opened.before)),
        by_u_target=_by_u(diagnoses, "target"),
        by_u_bank=_by_u(diagnoses, "bank"),
        swap={
            name: [(point["share"], point["frechet"]) for point in found["swap"]] for name, found in diagnoses.items()
        },
        swap_distance=_swap_distance(diagnoses),
        strips=pictures.strips(diagnoses),
        shares=pictures.shares(diagnoses),
        bank_picture=bank_picture,
        bank_card=[*bank_card, *used] if bank_card else [],
        nearest=pictures.nearest([name for name, one in columns.items() if one.recipe.data == opened.recipe.data]),
        set_aside=[(one.origin, one.reason) for one in opened.target.skipped],
    )


def _facts(histories: Sequence[RunHistory]) -> list[tuple[str, str]]:
    recipe = histories[0].recipe
    done = (
        []
        if all(one.finished for one in histories)
        else [("done so far", ", ".join(str(one.step) for one in histories))]
    )
    return [
        ("pretrained model", recipe.model),
        ("target", recipe.data.target),
        ("training steps", str(recipe.training.steps)),
        *done,
        ("batch", str(recipe.training.batch_size)),
        ("tuner", ", ".join(dict.fromkeys(one.recipe.tuner.kind for one in histories))),
        ("seeds", ", ".join(str(seed) for seed in sorted({one.recipe.seed for one in histories}))),
    ]


def _sizes(run: FinishedRun) -> list[tuple[str, str]]:
    train, heldout = len(run.target.train), len(run.target.heldout)
    return [("trained on", f"{train} images in {len(run.rows)} classes"), ("held out", f"{heldout} images")]


def _differences(histories: Sequence[RunHistory]) -> TextTable | None:
    """The keys in which the recipes of several runs differ; None for one run."""
    if len(histories) < 2:
        return None
    recipes = [one.recipe.model_dump(mode="json", exclude=set(PLACES)) for one in histories]
    lines = tuple(
        (key, *("" if value is None else str(value) for value in values)) for key, values in differences(recipes)
    )
    return TextTable(("key", *(str(one.path) for one in histories)), lines, prose=True) if lines else None


def _commands(histories: Sequence[RunHistory]) -> list[str]:
    """What to type to have all of it again."""
    verbs = [
        f"difftuning {verb} {one.path / 'recipe.yaml' if verb == 'train' else one.path}"
        for one in histories
        for verb in ("train", "evaluate", "diagnose")
    ]
    return [*verbs, f"difftuning report {' '.join(str(one.path) for one in histories)}"]


def _missing(histories: Sequence[RunHistory]) -> list[str]:
    """What has not been done yet, and how to do it."""
    notes = []
    for one in histories:
        if not one.finished:
            notes.append(f"{one.path} is not trained to its end; `difftuning train {one.path / 'recipe.yaml'}` goes on")
        elif not one.evaluated:
            earlier = " as it is now" if one.folder.results.is_file() else ""
            notes.append(f"{one.path} is not judged{earlier or ' yet'}; run `difftuning evaluate {one.path}`")
        elif one.diagnosis is None:
            notes.append(f"{one.path} has no chain of forgetting yet; run `difftuning diagnose {one.path}`")
    return notes


def _coefficients(chain: ChainOfForgetting) -> tuple[list[float], list[float], list[float]]:
    u = torch.linspace(0, 1, 201, dtype=torch.float64)
    return u.tolist(), chain.psi(u).tolist(), chain.xi(u).tolist()


def _by_u(diagnoses: Mapping[str, Any], where: str) -> dict[str, list[float]]:
    """The errors of all methods on one set; empty unless every diagnosis has measured it.

    Banks of other settings are other items: each run is put beside the first one's by what the pretrained model errs on its own.
    """
    if not diagnoses or not all(where in found for found in diagnoses.values()):
        return {}
    pretrained = next(iter(diagnoses.values()))[where]["pretrained"]

    def beside(found: Mapping[str, Sequence[float]]) -> list[float]:
        return [
            error * base / own for error, own, base in zip(found["run"], found["pretrained"], pretrained, strict=True)
        ]

    return {"pretrained": pretrained, **{name: beside(found[where]) for name, found in diagnoses.items()}}


def _swap_distance(diagnoses: Mapping[str, Any]) -> str:
    behind = {f"{found['network']}, {found['samples']} samples" for found in diagnoses.values()}
    return f"Frechet distance ({'; '.join(sorted(behind))})"
