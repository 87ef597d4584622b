"""What a step costs in every family: Diff-Tuning over standard fine-tuning, and the library's loop over a bare one.

    python benchmarks/speed/step.py [FAMILY ...] [--rounds 30] [--steps 2] [--out benchmarks/results/speed/step.json]

Four loops take turns, `steps` steps at a time: the library's with tau = 1 (target and bank), the library's with tau = 0 (standard),
forward-backward-clip-optimiser of the same model at the same batch on data that are ready in memory, and the library's with a
frozen teacher in the place of the bank. Rows of families that are not asked for stay in the file. Exits with 1 where a bound is
not met.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import torch
from families import FAMILIES, recipe_of
from turns import medians, options, publish, ratio, take_turns

from difftuning.training.trainer import Trainer
from difftuning.workflows import bank
from difftuning.workflows.assemble import assemble, prepare

BOUNDS = {"diff_tuning_over_standard": 1.02, "our_loop_over_bare": 1.03}
LOOPS = {
    "diff-tuning": ("coefficients.psi.tau=1",),
    "finetune": ("coefficients.psi.tau=0",),
    "teacher": ("coefficients.psi.tau=1", "distillation={weight: 0.05}"),
    "bare": ("coefficients.psi.tau=0",),
}


def trainer(family: str, loop: str, folder: Path) -> Trainer:
    """As `train` assembles it, without hooks."""
    settings = recipe_of(family, folder, f"out={folder / family / loop}", *LOOPS[loop])
    bank.build(settings)
    return assemble(prepare(settings)).trainer


def bare(made: Trainer, steps: int) -> Callable[[], None]:
    """The least that trains the same model, over one batch that is ready."""
    batch, parameters = made.streams.batch(0, (0, 0)).to(made.device), list(made.parameters.values())
    optimizer = torch.optim.AdamW(parameters, lr=1e-4, weight_decay=0, fused=True)
    made.network.train()

    def run() -> None:
        for _ in range(steps):
            made.objective(batch).loss().backward()
            torch.nn.utils.clip_grad_norm_(parameters, 1.0)
            optimizer.step()
            optimizer.zero_grad()

    return run


def measure(family: str, rounds: int, steps: int) -> dict[str, object]:
    """The ratios of one family."""
    with tempfile.TemporaryDirectory() as folder:
        made = {loop: trainer(family, loop, Path(folder)) for loop in LOOPS}
        runs = {
            loop: bare(one, steps) if loop == "bare" else lambda one=one: one.run(until=one.state.step + steps)
            for loop, one in made.items()
        }
        seconds = take_turns(runs, rounds, warm_up=2)
    batch = made["bare"].streams.batch(0, (0, 0))
    return {
        "parameters": sum(value.numel() for value in made["bare"].parameters.values()),
        "batch": [len(batch), *batch.x0.shape[1:]],
        "diff_tuning_over_standard": ratio(seconds, "diff-tuning", "finetune"),
        "our_loop_over_bare": ratio(seconds, "finetune", "bare"),
        "teacher_over_standard": ratio(seconds, "teacher", "finetune"),
        "seconds_a_turn": medians(seconds),
        "rounds": rounds,
        "steps_a_turn": steps,
    }


def main() -> int:
    """Print and write the ratios; 0 if the bounds are met."""
    parser = options(__doc__, 30, "step")
    parser.add_argument("families", nargs="*", metavar="FAMILY", help=f"some of {', '.join(FAMILIES)}; all without it")
    parser.add_argument("--steps", type=int, default=2)
    given = parser.parse_args()
    if given.threads:
        torch.set_num_threads(given.threads)
    rows = json.loads(given.out.read_text())["families"] if given.out.is_file() else {}
    for family in given.families or FAMILIES:
        rows[family] = measure(family, given.rounds, given.steps)
        publish({"families": {name: rows[name] for name in FAMILIES if name in rows}, "bounds": BOUNDS}, given.out)
    met = all(rows[name][key]["ratio"] <= bound for name in rows for key, bound in BOUNDS.items())
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main())
