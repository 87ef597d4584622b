"""Peak memory of training DiT-XL/2 at its true width, setting by setting.

    python benchmarks/memory.py [SETTING ...] [--batch-size 4] [--out benchmarks/results/peak_memory.json]

A process for each setting makes the model with random weights and 101 classes, and does two steps by the library's own loop
(forward, backward, AdamW, average) on latents of 32x32, on the CPU; its peak less what it held before the model was made. Beside
it what `train --dry-run` estimates. 8-bit moments need bitsandbytes, and are left out where it is not installed.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from tuner_cost import CLASSES, GIB, model, peak

from difftuning.backbones.dit import DiT
from difftuning.backbones.labels import Replace
from difftuning.config.provenance import provenance
from difftuning.json_files import write_json
from difftuning.objectives.diff_tuning import DiffTuning
from difftuning.sampling.denoiser import MixedPrecision
from difftuning.training.checkpoints import Checkpoints
from difftuning.training.config import TrainingConfig
from difftuning.training.ema import EMAConfig
from difftuning.training.memory import Memory, activations, held, kept
from difftuning.training.optim import OptimConfig
from difftuning.training.trackers import Unwritten
from difftuning.training.trainer import Trainer
from difftuning.tuning import KINDS, build
from difftuning.types import Batch, Condition, Draw

BLOCKS = 28
SETTINGS: dict[str, dict[str, Any]] = {
    "full": {},
    "full, gradient checkpointing": {"training": {"gradient_checkpointing": True}},
    "full, one sample a pass": {"training": {"accumulate": "all"}},
    "full, bf16": {"training": {"precision": "bf16"}},
    "full, bf16, gradient checkpointing": {"training": {"precision": "bf16", "gradient_checkpointing": True}},
    "full, 8-bit moments": {"optim": {"eight_bit": True}},
    "full, 8-bit moments, gradient checkpointing": {
        "optim": {"eight_bit": True},
        "training": {"gradient_checkpointing": True},
    },
    "LoRA": {"tuner": "lora"},
    "LoRA, gradient checkpointing": {"tuner": "lora", "training": {"gradient_checkpointing": True}},
    "LoRA, bf16, gradient checkpointing": {
        "tuner": "lora",
        "training": {"precision": "bf16", "gradient_checkpointing": True},
    },
}
"""Name -> what is not the default."""


class Fixed:
    """Streams that give one batch again and again."""

    def __init__(self, backbone: DiT, size: int) -> None:
        u = torch.full((size,), 0.5)
        draw = Draw(backbone.clock.t(u), u, torch.zeros(size, dtype=torch.bool), torch.ones(size))
        labels = Condition(torch.zeros(size, dtype=torch.int64))
        shape = (size, *backbone.sample_shape)
        self._batch = Batch(torch.randn(shape), torch.randn(shape), labels, draw)

    def batch(self, step: int, positions: tuple[int, int]) -> Batch:
        """The batch."""
        return self._batch


def measure(name: str, size: int) -> dict[str, float]:
    """Two steps under a setting, in this process."""
    before, setting = peak(), SETTINGS[name]
    changes = {**setting.get("training", {})}
    if changes.get("accumulate"):
        changes["accumulate"] = size
    config = TrainingConfig(steps=2, batch_size=size, save_every=2, log_every=2, **changes)
    optim = OptimConfig(**setting.get("optim", {}))
    backbone = model(BLOCKS)
    backbone.change_labels(Replace(), tuple(map(str, range(CLASSES))))
    kind = setting.get("tuner", "full")
    tuner = build(KINDS[kind][0].model_validate({"kind": kind}))
    parameters = tuner.attach(backbone.network, [backbone.class_table])
    streams = Fixed(backbone, size)
    with tempfile.TemporaryDirectory() as folder:
        trainer = Trainer(
            network=backbone.network,
            parameters=parameters,
            objective=DiffTuning(backbone, backbone.process, backbone.prediction, backbone.learned_variance),
            streams=streams,
            checkpoints=Checkpoints(Path(folder)),
            log=Unwritten(),
            config=config,
            optim=optim,
            ema_config=EMAConfig(),
        )
        trainer.save = lambda: None  # the disk is not what is measured
        trainer.run()
    found = (peak() - before) / GIB
    return {"gib": found, "estimated_gib": estimated(backbone, trainer, streams, config, optim).total / GIB}


def estimated(backbone: DiT, trainer: Trainer, streams: Fixed, config: TrainingConfig, optim: OptimConfig) -> Memory:
    """As `workflows.preflight` counts it."""
    batch = streams.batch(0, (0, 0))
    network = MixedPrecision(backbone, config.precision)
    objective = DiffTuning(network, backbone.process, backbone.prediction, backbone.learned_variance)
    samples = config.batch_size // config.accumulate
    passes = activations(lambda count: kept(backbone.network, lambda: objective(batch[:count]).loss()), samples)
    weights = [*backbone.network.parameters(), *backbone.network.buffers()]
    return held(weights, trainer.parameters.values(), True, passes, bool(optim.eight_bit))


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("settings", nargs="*", help="some of them, of a file that has the others; all without")
    parser.add_argument("--batch-size", type=int, default=4)
    parser.add_argument("--out", type=Path, default=None)
    parser.add_argument("--measure", choices=list(SETTINGS), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        print(json.dumps(measure(options.measure, options.batch_size)))
        return
    found: dict[str, Any] = json.loads(options.out.read_text())["settings"] if options.settings else {}
    for name in options.settings or SETTINGS:
        if "optim" in SETTINGS[name] and find_spec("bitsandbytes") is None:
            print(f"{name}: bitsandbytes is not installed", file=sys.stderr)
            continue
        command = [sys.executable, __file__, "--measure", name, "--batch-size", str(options.batch_size)]
        found[name] = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
        print(name, found[name], flush=True)
    if options.out:
        write_json(options.out, {"settings": found, "batch_size": options.batch_size, **provenance()})


if __name__ == "__main__":
    main()
