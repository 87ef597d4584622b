"""Train the head of `difftuning.data.room_depth`, which guesses depth: from frames of NYU Depth v2, without the scenes held out.

    DIFFTUNING_DATA=FOLDER python benchmarks/pretrain/room_depth.py [--epochs 4]

FOLDER holds nyu_depth_64.parquet. Writes the weights and a card beside the module: how far it is off in scenes that it has not
seen, and how far off one is who always says the mean depth of each pixel.
"""

from __future__ import annotations

import argparse
import hashlib

import torch
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import functional

from difftuning.backbones.codec import IdentityCodec
from difftuning.data.control_maps import ControlConfig, ControlMaps
from difftuning.data.controls import normals
from difftuning.data.latent_files import LatentFiles
from difftuning.data.latents import LatentSet
from difftuning.data.opening import open_target
from difftuning.data.room_depth import SCENE, WEIGHTS, Depth, DepthHead, Features
from difftuning.data.sources import DataConfig
from difftuning.data.target_maps import GivenMaps
from difftuning.json_files import write_json

SIDE = 32
BATCH = 32
DROPOUT = 0.4
CONTROL = ControlConfig(kind="depth", column="depth")


Pairs = tuple[Tensor, Tensor]
"""Images (N, 3, S, S) uint8 and their relative depth (N, 1, S, S)."""


def read(config: DataConfig) -> tuple[Pairs, Pairs]:
    """Those of the scenes to learn from, and of those held out."""
    target = open_target(config, SIDE, IdentityCodec())
    given = GivenMaps(CONTROL, target.source, target.transform, config.max_pixels)

    def pairs(part: LatentSet | LatentFiles) -> Pairs:
        maps = ControlMaps("depth", tuple(map(given.get, part.indices.tolist())))
        return target.pictures(part), relative(maps.get(torch.arange(len(part.indices))))

    return pairs(target.train), pairs(target.heldout)


def relative(depth: Tensor) -> Tensor:
    """1 less the share that the depth of what is nearest is of depth (N, 1, S, S), but for the nearest 2 % of each picture.

    Unlike depth between its least and its most, a flat wall is flat, and what is far away decides little.
    """
    near = depth.flatten(1).quantile(0.02, 1)[:, None, None, None]
    return 1 - (near / depth.clamp(min=1 / 255)).clamp(0, 1)


@torch.no_grad()
def features_of(network: Features, images: Tensor) -> list[Tensor]:
    """Features of all, half as precise for their room."""
    parts = zip(*([part.half() for part in network(few)] for few in images.split(16)), strict=True)
    return [torch.cat(each) for each in parts]


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    torch.manual_seed(options.seed)
    generator = torch.Generator().manual_seed(options.seed)
    (images, depth), (unseen, unseen_depth) = read(DataConfig(target="nyu-depth", flip=False))
    network, head = Features(), DepthHead(dropout=DROPOUT)
    # As they are, and mirrored.
    views = [
        (features_of(network, images), depth),
        (features_of(network, images.flip(-1)), depth.flip(-1)),
    ]
    steps = options.epochs * (len(images) // BATCH)
    optimiser = torch.optim.AdamW(head.parameters(), lr=1e-3, weight_decay=0.1)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 1e-3, total_steps=steps)
    for _ in range(options.epochs):
        for rows in torch.randperm(len(images), generator=generator)[: len(images) // BATCH * BATCH].split(BATCH):
            features, wanted = views[int(torch.randint(2, (), generator=generator))]
            loss = functional.mse_loss(_sized(head([part[rows].float() for part in features])), wanted[rows])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
    head.eval()
    save_file({name: value.contiguous() for name, value in head.state_dict().items()}, WEIGHTS)
    with torch.no_grad():
        guessed = torch.cat([Depth()(few) for few in unseen.split(16)])
    errors = {
        name: {
            "depth": float((guess - unseen_depth).square().mean()),
            "normals": float((normals(guess, SCENE) - normals(unseen_depth, SCENE)).square().mean()),
        }
        for name, guess in (("network", guessed), ("mean", depth.mean(0, keepdim=True)))
    }
    card = {
        "about": "Depth of small pictures of rooms, for trials of ControlNets; not for use on anything else.",
        "sources": ["NYU Depth v2, frames with depth at 64x64, of 29 scenes"],
        "images": len(images),
        "heldout_images": len(unseen),
        "size": SIDE,
        "parameters": sum(value.numel() for value in head.parameters()),
        "sha256": hashlib.sha256(WEIGHTS.read_bytes()).hexdigest(),
        "options": vars(options) | {"batch_size": BATCH, "steps": steps},
        "mean_squared_error": errors,
        "made_by": "benchmarks/pretrain/room_depth.py",
    }
    write_json(WEIGHTS.with_name("card.json"), card)
    print(errors)


def _sized(depth: Tensor) -> Tensor:
    return functional.interpolate(depth, (SIDE, SIDE), mode="bilinear")


if __name__ == "__main__":
    main()
