"""Result rows: what they refuse, and that they come back as they were."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from difftuning.errors import CheckpointError
from difftuning.json_files import read_json, write_json
from difftuning.results import Row, read_rows, write_results
from difftuning.run_folder import RunFolder

ROW = Row(
    study="demo", target="openmoji", method="diff-tuning", setting={"u": 0.05, "source": "bank"}, seed=3, step=100,
    metric="heldout", value=0.25, n=64,
)  # fmt: skip


def test_rows_come_back_as_they_were(tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    write_results(path, [ROW], {"cores": 2}, None, {"seed": 3})
    assert read_rows(path) == [ROW]
    assert read_json(path).keys() == {"rows", "machine", "commit", "recipe"}


@pytest.mark.parametrize("change", [{"value": float("nan")}, {"value": float("inf")}, {"step": -1}, {"metrik": "kid"}])
def test_a_row_refuses_what_is_no_measurement(change: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        Row.model_validate({**ROW.model_dump(), **change})


def test_rows_of_another_schema_are_named_with_their_file(tmp_path: Path) -> None:
    write_json(tmp_path / "results.json", {"rows": [{"metric": "kid"}]})
    with pytest.raises(CheckpointError, match=r"results\.json"):
        read_rows(tmp_path / "results.json")


def test_a_folder_that_is_no_run_says_so(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="there is no run folder"):
        RunFolder(tmp_path / "gone").require()
    with pytest.raises(CheckpointError, match=r"no recipe\.yaml"):
        RunFolder(tmp_path).require()
    run = RunFolder(tmp_path / "a" / "b").make()
    run.recipe.write_text("seed: 0\n")
    assert run.require() == run
