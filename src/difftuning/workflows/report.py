"""`report`: one page over one or more runs, from what their folders hold and nothing else."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from operator import attrgetter
from pathlib import Path
from typing import Any

from difftuning.bank.card import CARD
from difftuning.config.loading import dump_recipe
from difftuning.errors import ConfigError, DifftuningError
from difftuning.json_files import write_text
from difftuning.processes import leave
from difftuning.reporting.model import ReportData
from difftuning.reporting.page import render
from difftuning.results import Row
from difftuning.run_folder import RunFolder
from difftuning.workflows import run_curves, run_facts
from difftuning.workflows.consistency import BY_OBEDIENCE
from difftuning.workflows.diagnose import diagnose
from difftuning.workflows.display import Display, Silent
from difftuning.workflows.evaluate import evaluate, method_of
from difftuning.workflows.run_columns import column_names, compared, first_of_each
from difftuning.workflows.run_history import RunHistory
from difftuning.workflows.run_pictures import RunPictures
from difftuning.workflows.runs import open_run

STILL_SECONDS = 120
"""After so long without a step a run that is watched may have been stopped."""


def report(
    runs: Sequence[Path | str],
    out: Path | str,
    extra_rows: Sequence[Row] = (),
    display: Display | None = None,
    commands: Sequence[str] = (),
) -> Path:
    """Write the page.

    A run that is not evaluated yet is shown as far as it has come; the page and the display say what is missing.

    Args:
        runs: run folders; those of one method and several seeds share a column.
        out: the HTML file.
        extra_rows: of models that are no runs, such as the pretrained one.
        display: is told what is missing.
        commands: what made the runs, where it was not the verbs one by one.

    Raises:
        CheckpointError: one of the folders is no run.
        ConfigError: they are of several models or targets, or one is named twice.
    """
    page = Path(out)
    histories = _comparable([Path(run) for run in runs])
    data = _data(histories, extra_rows, page, commands)
    for note in data.notes:
        (display or Silent()).note(note)
    write_text(page, render(data))
    return page


def _comparable(runs: Sequence[Path]) -> list[RunHistory]:
    """The histories of runs that a page can compare."""
    for place, run in enumerate(runs):
        if run.resolve() in {other.resolve() for other in runs[:place]}:
            raise ConfigError(f"{run} is named twice, and a page compares different runs; name each once")
    histories = [RunHistory.of(run) for run in runs]
    for one in histories[1:]:
        for key in ("model", "data.target"):
            values = [attrgetter(key)(each.recipe) for each in (histories[0], one)]
            if len({os.path.normpath(value) for value in values}) > 1:
                raise ConfigError(
                    f"{histories[0].path} and {one.path} differ in {key} ({values[0]}, {values[1]}), and a page compares runs "
                    "of one model and one target; write a page for each"
                )
    return histories


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

    While one trains, only what its folder tells is shown, so that watching takes little from it. The last page goes on to load
    itself again where runs are not judged yet: whoever judges one and writes the same page is followed too.

    Args:
        runs: run folders.
        out: the HTML file.
        every: seconds between two pages.
        display: shows how far the runs are.

    Raises:
        CheckpointError: one of the folders is no run.
        ConfigError: see `report`.
    """
    display, seen, moved = display or Silent(), [-1], time.monotonic()
    while True:
        histories = _comparable(runs)
        names = column_names(histories)
        if all(history.finished for history in histories):
            data = _data(histories, (), out)
            write_text(
                out, render(replace(data, reload=None if all(history.evaluated for history in histories) else every))
            )
            for note in data.notes:
                display.note(note)
            return out
        write_text(out, render(replace(_history_data(histories, names, out), reload=every)))
        steps = [one.step for one in histories]
        if steps != seen:
            seen, moved = steps, time.monotonic()
        told = "; ".join(f"{one.path}: step {one.step} of {one.recipe.training.steps}" for one in histories)
        still = time.monotonic() - moved
        idle = f", no step for {still:.0f} s: was it stopped?" if still > STILL_SECONDS else ""
        display.note(f"{told}{idle}; {out}")
        time.sleep(every)


def _history_data(
    histories: Sequence[RunHistory], names: Mapping[Path, str], out: Path, commands: Sequence[str] = ()
) -> ReportData:
    """What the folders tell without a model being opened."""
    first = histories[0].recipe
    series = {f"{names[one.path]} seed {one.recipe.seed}": one for one in histories}
    shown = first_of_each(histories, names)
    grids = {name: one.grids() for name, one in shown.items()}
    obeying = {name: one.grids("control-step") for name, one in shown.items()}
    spent = {name: one.seconds() for name, one in shown.items()}
    stages = dict.fromkeys(stage for found in spent.values() for stage in found)
    method, baseline = compared(names.values())
    rows = [row.model_copy(update={"method": names[one.path]}) for one in histories for row in one.rows]
    return ReportData(
        columns=tuple(dict.fromkeys(names.values())),
        title=f"{Path(first.model).name} to {Path(first.data.target).name}",
        rows=rows,
        facts=run_facts.facts(histories),
        done=run_facts.done(shown),
        differences=run_facts.differing(histories),
        recipes={
            f"{one.path.name} ({names[one.path]})": dump_recipe(one.recipe.model_dump(mode="json")) for one in histories
        },
        steps=run_curves.by_step(grids),
        series={name: one.points("heldout") for name, one in series.items()},
        losses={name: one.points("loss") for name, one in series.items()},
        distances=run_curves.distances(series),
        obedience=run_curves.obedience(histories, names),
        obeying=run_curves.by_step(obeying),
        by_obedience={name: sheets[max(sheets)] for name, one in shown.items() if (sheets := one.grids(BY_OBEDIENCE))},
        drift={name: one.layer_drift() for name, one in shown.items()},
        seconds={stage: {name: found[stage] for name, found in spent.items() if stage in found} for stage in stages},
        machine=histories[0].machine(),
        commands=list(commands or run_facts.commands(histories, out)),
        notes=[*run_facts.missing(histories), *run_facts.unlike(histories)],
        method=method,
        baseline=baseline,
    )


def _data(
    histories: Sequence[RunHistory], extra_rows: Sequence[Row], out: Path, commands: Sequence[str] = ()
) -> ReportData:
    """What the folders hold, method by method; pictures are of each method's first run."""
    names = column_names(histories)
    data = _history_data(histories, names, out, commands)
    judged = [one for one in histories if one.evaluated]
    if not judged:
        return data
    columns = first_of_each(judged, names)
    diagnoses = {name: one.diagnosis for name, one in columns.items() if one.diagnosis is not None}
    data = replace(
        data,
        rows=[*extra_rows, *data.rows],
        by_u_target=run_curves.by_u(diagnoses, "target"),
        by_u_bank=run_curves.by_u(diagnoses, "bank"),
        swap={
            name: [(point["share"], point["frechet"]) for point in found["swap"]] for name, found in diagnoses.items()
        },
        swap_distance=run_curves.swap_distance(diagnoses),
    )
    try:
        return _with_pictures(data, judged, columns, diagnoses)
    except DifftuningError as reason:  # another machine may lack the device, a network or the images
        note = f"Without samples and bank: {reason}"
        hint = "Where paths are meant, run `difftuning report` in the folder where the run was started."
        return replace(data, notes=[*data.notes, note, hint])


def _with_pictures(
    data: ReportData,
    judged: Sequence[RunHistory],
    columns: Mapping[str, RunHistory],
    diagnoses: Mapping[str, Mapping[str, Any]],
) -> ReportData:
    opened = open_run(judged[0].path)
    pictures = RunPictures(opened, {name: one.path for name, one in columns.items()})
    banks = (one.recipe.bank_path for one in judged if (one.recipe.bank_path / CARD).is_file())
    bank_picture, bank_card = pictures.bank(next(banks, None))
    coverage = {name: one.points("bank_coverage") for name, one in columns.items()}
    used = [(f"used by {name}", f"{100 * found[-1][1]:.0f} % of it") for name, found in coverage.items() if found]
    tuned = {name: one.recipe for name, one in columns.items() if method_of(one.recipe) != "finetune"}
    return replace(
        data,
        facts=[*data.facts, *run_facts.sizes(opened, judged)],
        grids=pictures.grids(),
        coefficients={
            name: run_curves.coefficients(run_curves.last_chain(columns[name], opened.before)) for name in tuned
        },
        strips=pictures.strips(diagnoses),
        shares=pictures.shares(diagnoses),
        bank_picture=bank_picture,
        bank_card=[*bank_card, *used] if bank_card else [],
        nearest=pictures.nearest([name for name, one in columns.items() if one.recipe.data == opened.recipe.data]),
        set_aside=[(one.origin, one.reason) for one in opened.target.skipped],
    )
