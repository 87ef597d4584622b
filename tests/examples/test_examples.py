"""The examples run, and are as short as they say."""

from __future__ import annotations

import json
import math
import os
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

from tiny import save_tiny_dit

EXAMPLES = Path(__file__).parents[2] / "examples"
EXAMPLE = EXAMPLES / "own_loop.py"
SCRIPT = EXAMPLES / "diffusers_script.py"
LIGHTNING = EXAMPLES / "lightning_module.py"
NOTEBOOK = EXAMPLES / "own_images.ipynb"
MARK = "  # diff-tuning"


def test_it_trains(tmp_path: Path) -> None:
    main = runpy.run_path(str(EXAMPLE))["main"]
    assert math.isfinite(main(str(save_tiny_dit(tmp_path)), 2))


def test_it_is_ten_lines() -> None:
    text = EXAMPLE.read_text().partition("# The ten lines.\n")[2].partition("    return loss.item()")[0]
    # The loop's head and the optimiser's three lines are anybody's.
    anybodys = ("for ", "loss.backward", "optimizer.")
    ours = [line for line in text.splitlines() if line.strip() and not line.strip().startswith(anybodys)]
    assert len(ours) <= 10


def test_a_script_of_diffusers_needs_ten_lines_more_and_is_a_plain_one_without_them(tmp_path: Path) -> None:
    lines = SCRIPT.read_text().splitlines(keepends=True)
    ours = [line for line in lines if line.rstrip().endswith(MARK)]
    assert 0 < len(ours) <= 10
    plain = tmp_path / "plain.py"
    plain.write_text("".join(line for line in lines if line not in ours))
    assert "chain" not in plain.read_text()
    assert "bank" not in plain.read_text()
    losses = [runpy.run_path(str(path))["main"](steps=2) for path in (SCRIPT, plain)]
    assert all(map(math.isfinite, losses))
    assert losses[0] != losses[1]


def test_a_lightning_module_trains(tmp_path: Path) -> None:
    # A process of its own: importing Lightning changes filters of warnings and the set-up of logging.
    command = [sys.executable, str(LIGHTNING), str(save_tiny_dit(tmp_path)), "2"]
    done = subprocess.run(
        command, capture_output=True, text=True, cwd=tmp_path, env={**os.environ, "CUDA_VISIBLE_DEVICES": ""}
    )
    assert done.returncode == 0, done.stderr
    assert math.isfinite(float(done.stdout.split()[-1]))


@pytest.mark.slow
def test_the_notebook_runs_from_the_first_cell_to_the_last(tmp_path: Path) -> None:
    cells = json.loads(NOTEBOOK.read_text())["cells"]
    code = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
    assert not any(cell.get("outputs") for cell in cells)
    small = "training.steps=20 training.heldout_every=10 training.sample_every=10 bank.count=32 bank.steps=4 sampling.steps=4"
    small += " evaluation.samples=32 evaluation.heldout_draws=8 data.per_class=4"
    script = tmp_path / "notebook.py"
    parts = [part for part in code if not part.startswith("%")]
    assert len(code) - len(parts) == 1  # the installation
    (settings,) = (number for number, part in enumerate(parts) if "changes = [" in part)
    parts[settings] += f"\nchanges += {small.split()}"
    script.write_text("\n".join(parts))
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "runs/notebook/report.html").is_file()
    assert len(list((tmp_path / "runs/notebook/drawn").glob("*.png"))) == 4
