"""What a step costs: Diff-Tuning over standard fine-tuning, and our loop over the bare minimum, in one interleaved run.

    python benchmarks/step_cost.py [--rounds 30] [--steps 4] [--out benchmarks/results/step_cost.json]

Four things take turns, `steps` steps at a time, in an order that changes: the library's loop with tau = 1 (target and bank), the
library's loop with tau = 0 (standard), a bare forward-backward-optimiser loop of the same model at the same batch on data that
are ready in memory, and, for comparison, the library's loop with a frozen teacher in the place of the bank.
Ratios are of medians over the rounds, so a machine that speeds up or slows down hits all alike.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch

from difftuning.config.provenance import provenance
from difftuning.json_files import write_json
from difftuning.objectives.finetune import finetune_loss
from difftuning.types import Batch, Condition, Draw
from difftuning.workflows import bank, recipe
from difftuning.workflows.assemble import assemble, prepare
from difftuning.workflows.pretrained import pretrained

BOUND = 1.05
"""The first two ratios must stay below this; a teacher costs a forward pass more."""


def loop(tau: float, folder: Path, batch_size: int, *overrides: str) -> Callable[[int], None]:
    """The library's own loop, as `train` assembles it, without hooks."""
    settings = recipe.load(
        "demo",
        [
            f"out={folder / f'tau-{tau:g}-{len(overrides)}'}",
            f"bank_folder={folder / 'bank'}",
            "bank.count=256",
            "bank.steps=2",
            f"coefficients.psi.tau={tau}",
            f"training.batch_size={batch_size}",
            "training.steps=1000000",
            "training.save_every=1000000",
            "training.precision=no",
            *overrides,
        ],
    )
    bank.build(settings)
    trainer = assemble(prepare(settings)).trainer
    return lambda steps: trainer.run(until=trainer.state.step + steps) and None


def bare(batch_size: int) -> Callable[[int], None]:
    """Forward, backward, clipping, optimiser, over one batch that is ready."""
    settings = recipe.load("demo", [])
    model = pretrained(settings)
    model.network.train()
    optimizer = torch.optim.AdamW(model.network.parameters(), lr=5e-4, weight_decay=0, fused=True)
    generator = torch.Generator().manual_seed(0)
    u = torch.rand(batch_size, generator=generator)
    t = model.clock.t(u)
    draw = Draw(t, u, torch.zeros(batch_size, dtype=torch.bool), torch.ones(batch_size))
    x0 = torch.randn(batch_size, *model.sample_shape, generator=generator)
    noise = torch.randn(x0.shape, generator=generator)
    batch = Batch(x0, noise, Condition(torch.zeros(batch_size, dtype=torch.int64)), draw)
    parameters = list(model.network.parameters())

    def run(steps: int) -> None:
        for _ in range(steps):
            finetune_loss(model, model.process, model.prediction, batch).backward()
            torch.nn.utils.clip_grad_norm_(parameters, 1.0)
            optimizer.step()
            optimizer.zero_grad()

    return run


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--threads", type=int, default=None)
    parser.add_argument("--out", type=Path, default=None)
    options = parser.parse_args()
    if options.threads:
        torch.set_num_threads(options.threads)
    with tempfile.TemporaryDirectory() as folder:
        runs = {
            "diff-tuning": loop(1.0, Path(folder), options.batch_size),
            "finetune": loop(0.0, Path(folder), options.batch_size),
            "bare": bare(options.batch_size),
            "teacher": loop(1.0, Path(folder), options.batch_size, "distillation={weight: 0.05}"),
        }
        seconds: dict[str, list[float]] = {name: [] for name in runs}
        names = list(runs)
        for number in range(options.rounds + 2):
            for name in names[number % len(names) :] + names[: number % len(names)]:
                started = time.perf_counter()
                runs[name](options.steps)
                if number >= 2:  # the first two warm up
                    seconds[name].append((time.perf_counter() - started) / options.steps)
    medians = {name: statistics.median(values) for name, values in seconds.items()}

    def ratio(one: str, other: str) -> dict[str, float]:
        pairs = sorted(a / b for a, b in zip(seconds[one], seconds[other], strict=True))
        return {
            "of_medians": medians[one] / medians[other],
            "median_of_pairs": statistics.median(pairs),
            "quartile_low": pairs[len(pairs) // 4],
            "quartile_high": pairs[3 * len(pairs) // 4],
        }

    found = {
        "diff_tuning_over_standard": ratio("diff-tuning", "finetune"),
        "our_loop_over_bare": ratio("finetune", "bare"),
        "teacher_over_standard": ratio("teacher", "finetune"),
        "bound_of_the_first_two": BOUND,
        "rounds": options.rounds,
        "steps_a_round": options.steps,
        "batch_size": options.batch_size,
        "threads": torch.get_num_threads(),
        **provenance(),
    }
    print(json.dumps(found, indent=1))
    if options.out:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        write_json(options.out, found)


if __name__ == "__main__":
    main()
