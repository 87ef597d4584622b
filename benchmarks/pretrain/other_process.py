"""Bring a trained DiT to another noise process: a folder to go on from, in much less time than from scratch.

    python benchmarks/pretrain/other_process.py dit-icons-32 OUT --process flow
    python benchmarks/pretrain/other_process.py dit-photo-16 OUT --process edm --images FOLDER/imagenet200_32_train.parquet

The same noise-to-signal ratio is another time on another process, so the time embedder is fitted: to answer at each new time what
the old one answered at the old time of that ratio. All weights have to train after that.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import torch
from diffusers import EDMEulerScheduler, FlowMatchEulerDiscreteScheduler
from torch import Tensor

from difftuning.backbones.dit import DiT
from difftuning.backbones.loading import load
from difftuning.data.sources import DataConfig, open_source
from difftuning.data.transforms import Transform
from difftuning.json_files import read_json, write_json

STEPS, SIZE = 3_000, 256
"""Of the fit."""
IMAGES = 1_000
"""Behind the standard deviation of the images."""


def deviation(target: str, size: int) -> float:
    """The standard deviation of images, from all over them."""
    source, transform = open_source(DataConfig(target=target)), Transform(size)
    places = torch.linspace(0, len(source) - 1, min(IMAGES, len(source))).long().tolist()
    return float(torch.stack([transform(source.read(place)) for place in places]).std())


def embedding(model: DiT, t: Tensor) -> Tensor:
    """(n, D) what the network makes of times (n,) of its process."""
    embedder = model.network.transformer_blocks[0].norm1.emb
    made: Tensor = embedder.timestep_embedder(embedder.time_proj(model.process.network_time(t).float()))
    return made


def fit_times(model: DiT, before: DiT) -> float:
    """Teach the time embedder the new times; returns the error that is left, over the variance of what it answers."""
    embedder = model.network.transformer_blocks[0].norm1.emb.timestep_embedder
    optimizer = torch.optim.Adam(embedder.parameters(), lr=1e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, STEPS)
    generator = torch.Generator().manual_seed(0)
    left = 0.0
    for _ in range(STEPS):
        t = model.clock.t(torch.rand(SIZE, generator=generator))
        with torch.no_grad():
            wanted = embedding(before, before.process.from_log_snr(model.process.log_snr(t)))
        error = (embedding(model, t) - wanted).square().mean()
        error.backward()
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
        left = float(error.detach() / wanted.var())
    return left


def dit(name: str) -> DiT:
    """The model of that name.

    Raises:
        SystemExit: it is no DiT.
    """
    model = load(name)
    if not isinstance(model, DiT):
        raise SystemExit(f"{name} is no DiT")
    return model


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("start")
    parser.add_argument("out", type=Path)
    parser.add_argument("--process", choices=("flow", "edm"), required=True)
    parser.add_argument("--images", help="what EDM's sigma_data is measured on")
    options = parser.parse_args()
    before, after = dit(options.start), dit(options.start)
    if options.process == "flow":
        scheduler: Any = FlowMatchEulerDiscreteScheduler()
    else:
        scheduler = EDMEulerScheduler(sigma_data=round(deviation(options.images, before.image_size), 3))
    model = DiT(after.network, scheduler, names=before.labels.names, name=options.start)
    left = fit_times(model, before)
    model.save(options.out)
    folder = Path(options.start)
    if not folder.is_dir():
        folder = Path(__file__).parents[2] / "src/difftuning/zoo" / options.start
    card = {key: value for key, value in read_json(folder / "card.json").items() if key not in ("log", "started_from")}
    fit = {
        "process": options.process,
        "steps": STEPS,
        "left": round(left, 5),
        "made_by": "benchmarks/pretrain/other_process.py",
    }
    write_json(options.out / "card.json", {**card, "time_embedder": fit})
    print(f"time embedder fitted, {left:.4f} of the variance left -> {options.out}")


if __name__ == "__main__":
    main()
