"""The demo over several seeds: one table with mean and spread, and one page over all its runs.

    python benchmarks/demo_seeds.py [--seeds 0 1 2] [--runs runs/demo-seeds] [--out benchmarks/results/demo.json]

Run it again after an interruption and it goes on: a seed whose results are there is not run again.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from difftuning.cli.display import make_display
from difftuning.config.provenance import provenance
from difftuning.json_files import read_json, write_json
from difftuning.reporting.sections import METRICS
from difftuning.reporting.tables import pivot, verdict
from difftuning.results import Row
from difftuning.workflows.demo import demo
from difftuning.workflows.report import report

METHODS = ("finetune", "diff-tuning")


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--runs", type=Path, default=Path("runs/demo-seeds"))
    parser.add_argument("--out", type=Path, default=None)
    parser.add_argument("overrides", nargs="*", help="of the demo's recipe")
    options = parser.parse_args()
    display = make_display(False, sys.stderr)
    rows: list[Row] = []
    minutes = {}
    for seed in options.seeds:
        folder = options.runs / f"seed-{seed}"
        if not (folder / "results.json").is_file():
            demo(folder, quick=False, seed=seed, overrides=options.overrides, display=display)
        found = read_json(folder / "results.json")
        minutes[str(seed)] = found["minutes"]
        rows += [Row.model_validate(row) for row in found["rows"]]
    runs = [options.runs / f"seed-{seed}" / method for seed in options.seeds for method in METHODS]
    start = [row for row in rows if row.method == "pretrained"]
    report(runs, options.runs / "report.html", start)
    print(pivot(rows, METRICS).markdown())
    print(verdict(rows))
    if options.out:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        dumped = [row.model_dump(mode="json") for row in rows]
        write_json(options.out, {"verdict": verdict(rows), "minutes": minutes, "rows": dumped, **provenance()})


if __name__ == "__main__":
    main()
