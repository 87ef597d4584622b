"""What each tuner costs beside full fine-tuning at the width of DiT-XL/2: time of a step, and peak memory.

    python benchmarks/tuner_cost.py [--rounds 12] [--out benchmarks/results/tuner_cost.json]

Times: a model of that width with four of its 28 blocks for each tuner, all in one process, one step each in turns; ratios are
medians over the rounds. Memory: the whole model of 28 blocks, a process for each tuner that does two steps of one image (forward,
backward, AdamW, average) in float32, its peak less what it held before the model was made; and again with a frozen teacher, which
is a second model for full fine-tuning and the same one with its tuner off for the others.
"""

from __future__ import annotations

import argparse
import copy
import json
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from diffusers import DDPMScheduler, DiTTransformer2DModel

from difftuning.backbones.dit import DiT
from difftuning.backbones.labels import Replace
from difftuning.backbones.switched_off import SwitchedOff
from difftuning.coefficients.families import Power
from difftuning.config.provenance import provenance
from difftuning.json_files import write_json
from difftuning.objectives.diff_tuning import DiffTuning
from difftuning.objectives.distillation import Distillation
from difftuning.training.ema import EMA, EMAConfig
from difftuning.training.optim import OptimConfig, make_optimizer
from difftuning.tuning import KINDS, build
from difftuning.types import Batch, Condition, Draw

CLASSES, BLOCKS, BLOCKS_TIMED = 101, 28, 4
TUNERS = {
    "full": {},
    "bitfit": {},
    "difffit": {},
    "lora": {},
    "lora, query and value, rank 8": {"kind": "lora", "rank": 8, "targets": ["*.to_q", "*.to_v"]},
    "dora": {"kind": "lora", "dora": True},
    "adaptformer": {},
    "vpt-deep": {},
}
"""Name -> what is not the library's default."""
GIB = 2**30


def model(blocks: int) -> DiT:
    """A DiT-XL/2 on latents of 32x32, with random weights."""
    torch.manual_seed(0)
    network = DiTTransformer2DModel(
        num_attention_heads=16,
        attention_head_dim=72,
        in_channels=4,
        out_channels=8,
        num_layers=blocks,
        sample_size=32,
        patch_size=2,
        num_embeds_ada_norm=1000,
    )
    first = network.transformer_blocks[0].norm1.emb
    for block in network.transformer_blocks[1:]:
        block.norm1.emb = first
    return DiT(network, DDPMScheduler(), name="dit-xl-2")


def stepper(name: str, blocks: int, teacher: bool = False) -> tuple[Callable[[], None], int]:
    """A training step under a tuner, and how many parameters it moves."""
    settings = {"kind": name, **TUNERS[name]}
    tuner = build(KINDS[settings["kind"]][0].model_validate(settings))
    backbone = model(blocks)
    labels, change = backbone.labels, Replace()
    before = copy.deepcopy(backbone) if teacher and not tuner.reversible else None
    backbone.change_labels(change, tuple(map(str, range(CLASSES))))
    parameters = tuner.attach(backbone.network, [backbone.class_table])
    objective = DiffTuning(backbone, backbone.process, backbone.prediction, backbone.learned_variance)
    if teacher:
        before = before or SwitchedOff(backbone, tuner.off, labels, change, "")
        objective = Distillation(objective, before, before.labels.null, Power(1.0), 0.05)
    optimizer, average = make_optimizer(parameters.values(), OptimConfig()), EMA(parameters, EMAConfig())
    u = torch.tensor([0.5])
    draw = Draw(backbone.clock.t(u), u, torch.zeros(1, dtype=torch.bool), torch.ones(1))
    batch = Batch(
        torch.randn(1, 4, 32, 32), torch.randn(1, 4, 32, 32), Condition(torch.zeros(1, dtype=torch.int64)), draw
    )
    backbone.network.train()

    def step() -> None:
        objective(batch).loss().backward()
        torch.nn.utils.clip_grad_norm_(parameters.values(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        average.update(1, 1)

    return step, sum(parameter.numel() for parameter in parameters.values())


def peak() -> int:
    """The most memory that this process has held, in bytes."""
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def memory(name: str, teacher: bool) -> dict[str, float]:
    """Peak memory of a tuner, measured in a process of its own."""
    command = [sys.executable, __file__, "--measure", name, *(["--teacher"] if teacher else [])]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def measure(name: str, teacher: bool) -> None:
    """What `memory` starts."""
    before = peak()
    step, parameters = stepper(name, BLOCKS, teacher)
    for _ in range(2):
        step()
    print(json.dumps({"parameters": parameters, "gib": (peak() - before) / GIB}))


def times(rounds: int) -> dict[str, float]:
    """The median over the rounds of each tuner's step over that of full fine-tuning."""
    steps = {name: stepper(name, BLOCKS_TIMED)[0] for name in TUNERS}
    seconds: dict[str, list[float]] = {name: [] for name in TUNERS}
    names = list(TUNERS)
    for number in range(rounds + 1):
        for name in names[number % len(names) :] + names[: number % len(names)]:
            started = time.perf_counter()
            steps[name]()
            if number:  # the first warms up
                seconds[name].append(time.perf_counter() - started)
    return {
        name: statistics.median(a / b for a, b in zip(seconds[name], seconds["full"], strict=True)) for name in names
    }


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=12)
    parser.add_argument("--out", type=Path, default=None)
    parser.add_argument("--measure", choices=list(TUNERS), help=argparse.SUPPRESS)
    parser.add_argument("--teacher", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        measure(options.measure, options.teacher)
        return
    # Memory first: a process begins with the peak of the one that starts it.
    tuners: dict[str, dict[str, float]] = {}
    for name in TUNERS:
        alone, taught = memory(name, teacher=False), memory(name, teacher=True)
        tuners[name] = {
            "parameters": alone["parameters"],
            "peak_gib": alone["gib"],
            "peak_with_teacher_gib": taught["gib"],
        }
        print(name, tuners[name], flush=True)
    for name, ratio in times(options.rounds).items():
        tuners[name]["step_over_full"] = ratio
    print(json.dumps(tuners, indent=1))
    found = {"tuners": tuners, "blocks": BLOCKS, "blocks_timed": BLOCKS_TIMED, "rounds": options.rounds, **provenance()}
    if options.out:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        write_json(options.out, found)


if __name__ == "__main__":
    main()
