"""Numbers in the README are those of the committed result files."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from difftuning.reporting.sections import METRICS
from difftuning.reporting.tables import pivot
from difftuning.results import read_rows
from difftuning.studies import KINDS
from difftuning.studies.claims import ahead
from difftuning.workflows.study_files import page_of
from difftuning.workflows.study_index import write_index

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
RESULTS = ROOT / "benchmarks" / "results"


def test_the_table_of_the_demo() -> None:
    assert pivot(read_rows(RESULTS / "demo.json"), METRICS).markdown() in README


@pytest.mark.parametrize(
    ("file", "path", "pattern"),
    [
        ("step_cost.json", "diff_tuning_over_standard.median_of_pairs", r"Diff-Tuning over standard[^|]*\| ([\d.]+)"),
        ("step_cost.json", "our_loop_over_bare.median_of_pairs", r"the loop over a bare one[^|]*\| ([\d.]+)"),
        (
            "step_cost.json",
            "teacher_over_standard.median_of_pairs",
            r"a teacher in the place of the bank[^|]*\| ([\d.]+)",
        ),
    ],
)
def test_the_costs_of_a_step(file: str, path: str, pattern: str) -> None:
    value = json.loads((RESULTS / file).read_text())
    for part in path.split("."):
        value = value[part]
    found = re.search(pattern, README)
    assert found is not None
    assert found.group(1) == f"{value:.2f}"


@pytest.mark.parametrize("metric", ["heldout", "heldout_best", "frechet", "memorised"])
def test_the_table_of_the_targets(metric: str) -> None:
    rows = read_rows(RESULTS / "targets.json")
    found = [ahead(metric, method).check(rows) for method in ("diff-tuning", "measured")]
    cells = " | ".join(one.number.partition(";")[0] for one in found if one)
    assert f"| {cells} |" in README


def test_the_table_of_what_tuners_cost() -> None:
    page = (ROOT / "docs/how-to/tuners.md").read_text(encoding="utf-8")
    for name, cost in json.loads((RESULTS / "tuner_cost.json").read_text())["tuners"].items():
        memory = f"{cost['peak_gib']:.1f} | {cost['peak_with_teacher_gib']:.1f}"
        assert f"| {name} | {cost['parameters'] / 1e6:.2f} | {cost['step_over_full']:.2f} | {memory} |" in page


@pytest.mark.parametrize("name", [name for name in KINDS if (RESULTS / f"{name}.json").is_file()])
def test_the_page_of_a_study_is_made_from_its_rows(name: str) -> None:
    finished = json.loads((RESULTS / f"{name}.json").read_text())["finished"]
    page = page_of(KINDS[name], read_rows(RESULTS / f"{name}.json"), finished)
    figure = (ROOT / f"docs/results/{name}.svg").is_file()
    assert (ROOT / f"docs/results/{name}.md").read_text(encoding="utf-8") == page.markdown(figure)


def test_the_page_of_all_claims_is_made_from_the_rows(tmp_path: Path) -> None:
    made = write_index(RESULTS, tmp_path).read_text(encoding="utf-8")
    assert (ROOT / "docs/results/index.md").read_text(encoding="utf-8") == made
