"""Numbers in the README are those of the committed result files."""

from __future__ import annotations

import json
import re
import runpy
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


def test_the_page_of_what_it_costs_is_made_from_its_result_files() -> None:
    made = runpy.run_path(str(ROOT / "docs/make_speed.py"))["page"]()
    assert (ROOT / "docs/speed.md").read_text(encoding="utf-8") == made, "run python docs/make_speed.py"


def test_the_costs_in_the_readme() -> None:
    steps = json.loads((RESULTS / "speed/step.json").read_text())["families"].values()
    keys = ("diff_tuning_over_standard", "our_loop_over_bare", "teacher_over_standard")
    every = [[one[key]["ratio"] for one in steps] for key in keys]
    found = re.findall(r"\| ([\d.]+) to ([\d.]+) \|", README.partition("## What it costs")[2])
    assert found == [(f"{min(ratios):.2f}", f"{max(ratios):.2f}") for ratios in every]


def test_the_shares_of_copies() -> None:
    found: dict[str, list[float]] = {}
    for row in read_rows(RESULTS / "targets.json"):
        if row.metric == "memorised":
            found.setdefault(row.method, []).append(row.value)
    means = [100 * sum(found[method]) / len(found[method]) for method in ("finetune", "diff-tuning", "measured")]
    told = re.findall(r"([\d.]+) %", README.partition("copies of training images is")[2])
    assert told[:3] == [f"{mean:.1f}" for mean in means]


@pytest.mark.parametrize("metric", ["heldout", "heldout_best", "frechet"])
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
