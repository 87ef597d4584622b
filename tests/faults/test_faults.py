"""A handful of what `make test-faults` does at full length, in a process of its own that forks."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from faults.run import lost, summary, tables


def test_kills_damage_and_odd_inputs_lose_nothing(tmp_path: Path) -> None:
    command = [
        sys.executable,
        str(Path(__file__).with_name("run.py")),
        "--quick",
        "--only",
        "kills",
        "damage",
        "inputs",
    ]
    environment = os.environ | {
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": os.pathsep.join(sys.path),
        "TMPDIR": str(tmp_path),
    }
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stdout + done.stderr
    assert " 0 lost" in done.stdout
    assert " 0 believed" in done.stdout
    assert " 0 tracebacks, 0 hangs" in done.stdout


def test_the_page_has_the_figures_of_the_result_file() -> None:
    root = Path(__file__).parents[2]
    found = json.loads((root / "benchmarks/results/faults.json").read_text())
    page = (root / "docs/reliability.md").read_text(encoding="utf-8")
    assert all(line in page for line in summary(found))
    assert all(table in page for table in tables(found).values())
    assert not lost(found)
