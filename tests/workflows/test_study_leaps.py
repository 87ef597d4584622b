"""The moment of sudden convergence of a study's cell: from the logs of two runs to rows, and to the page."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from difftuning.json_files import MetricsLog
from difftuning.results import Row
from difftuning.run_folder import RunFolder
from difftuning.studies import KINDS
from difftuning.workflows.consistency import ITEMS, MEAN
from difftuning.workflows.study_leaps import leap_rows, measured
from difftuning.workflows.study_rows import placed
from report_data import STUDY

STEPS = range(0, 1001, 50)
LIKE = Row(study="control", target="openmoji", method="diff-tuning", seed=3, step=1000, metric="frechet", value=1, n=8)


def logged(folder: Path, at: float, rises: float = 0.6) -> Path:
    """A run whose 32 items leap at a step, each a little off."""
    run, generator = RunFolder(folder).make(), torch.Generator().manual_seed(0)
    for step in STEPS:
        level = 0.2 + rises * torch.sigmoid(torch.tensor((step - at) / 15))
        items = (level + 0.03 * torch.randn(32, generator=generator)).tolist()
        MetricsLog(run.metrics).write(step, {MEAN: sum(items) / len(items), ITEMS: items})
        MetricsLog(run.metrics).write(step, {"heldout": 0.1})
    return folder


def test_both_runs_are_measured_by_the_threshold_of_the_standard_one(tmp_path: Path) -> None:
    standard, early, never = (
        logged(tmp_path / name, *at) for name, at in (("s", (600,)), ("e", (400,)), ("n", (400, 0.1)))
    )
    rows = {row.metric: row for row in leap_rows(early, standard, LIKE, higher=True)}
    assert rows["convergence"].value == pytest.approx(400, abs=25)
    assert rows["convergence_low"].value <= rows["convergence"].value <= rows["convergence_high"].value
    assert rows["convergence_threshold"].value == pytest.approx(0.5, abs=0.03)
    assert rows["convergence_sudden"].value == 1
    assert {(row.seed, row.target, row.method, row.network, row.n) for row in rows.values()} == {
        (3, "openmoji", "diff-tuning", None, 32)
    }
    own = {row.metric: row.value for row in leap_rows(standard, standard, LIKE, higher=True)}
    assert own["convergence"] == pytest.approx(600, abs=25)
    assert own["convergence_reached"] == 1
    # One that never obeys is no early one, and its seed is not left out of a mean.
    found = {row.metric: row.value for row in leap_rows(never, standard, LIKE, higher=True)}
    assert (found["convergence"], found["convergence_reached"]) == (float(measured(never)[0][-1]), 0)
    assert "convergence_low" not in found
    assert leap_rows(early, logged(tmp_path / "flat", 600, 0), LIKE, higher=True) == [], "nothing to be earlier than"
    assert leap_rows(early, standard, LIKE, higher=False) == [], "the standard one has come to obey less"


def test_a_cell_keeps_its_own_name_where_a_measure_has_one_of_the_same_key() -> None:
    study = KINDS["control"]
    cell = next(cell for cell in study.cells if cell.setting["control"] == "depth of rooms")
    row = LIKE.model_copy(update={"metric": "consistency", "setting": {"control": "depth", "measure": "MSE"}})
    assert placed(row, study, cell, "key", row.setting).setting == {"control": "depth of rooms", "measure": "MSE"}


def test_the_page_draws_the_curves_with_their_moments(tmp_path: Path) -> None:
    def rows(method: str, metric: str, *values: tuple[int, float]) -> list[Row]:
        update = {"method": method, "metric": metric, "setting": {"control": "edge"}}
        return [LIKE.model_copy(update={**update, "step": step, "value": value}) for step, value in values]

    curve = ((0, 0.1), (500, 0.2), (1000, 0.8))
    measured = (
        *rows("finetune", "consistency_curve", *curve),
        *rows("finetune", "convergence", (1000, 800)),
        *rows("diff-tuning", "consistency_curve", *curve),
        *rows("diff-tuning", "convergence", (1000, 600)),
    )
    page = replace(
        STUDY,
        title="Control",
        asked="The paper (Fig. 4): Earlier.",
        down="control",
        metrics=("convergence",),
        leaps=True,
        rows=measured,
    )
    page.write(tmp_path / "s.md")
    text = (tmp_path / "s.md").read_text()
    line = next(line for line in text.splitlines() if line.startswith("| edge"))
    assert [part.strip() for part in line.split("|")[1:5]] == ["edge", "800", "600 *", "\N{MINUS SIGN}25.0 %, better"]
    drawn = (tmp_path / "s.svg").read_bytes()
    assert b"<svg" in drawn
    # The last step stands for that of a run that never obeys, and is no moment of it.
    never = rows("diff-tuning", "convergence", (1000, 1000)) + rows("diff-tuning", "convergence_reached", (1000, 0))
    other = [row.model_copy(update={"seed": 4}) for row in never]
    replace(page, rows=(*measured, *other)).write(tmp_path / "never.md")
    assert (tmp_path / "never.svg").read_bytes() == drawn
