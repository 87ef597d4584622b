"""Train `difftuning.data.room_depth`, which guesses depth: from frames of NYU Depth v2, without the scenes that are held out.

    DIFFTUNING_DATA=FOLDER python benchmarks/pretrain/room_depth.py [--epochs 8]

FOLDER holds nyu_depth_64.parquet. Writes the weights and a card beside the module: how far it is off in scenes that it has not
seen, and how far off one is who always says the mean depth of each pixel.
"""

from __future__ import annotations

import argparse

import torch
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import functional

from difftuning.data.control_maps import ControlConfig, ControlMaps
from difftuning.data.controls import normals
from difftuning.data.room_depth import SCENE, WEIGHTS, DepthNet
from difftuning.data.sources import DataConfig, open_source
from difftuning.data.splits import split
from difftuning.data.target_maps import GivenMaps
from difftuning.data.transforms import Transform
from difftuning.json_files import write_json

SIDE = 32
BATCH = 32
CONTROL = ControlConfig(kind="depth", column="depth")


def read(config: DataConfig) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
    """Images (N, 3, S, S) uint8 and their relative depth (N, 1, S, S), of the scenes to learn from and of those held out."""
    source, transform = open_source(config), Transform(SIDE)
    every = range(len(source))
    keys, labels, groups = zip(*((source.key(i), source.label(i), source.group(i)) for i in every), strict=True)
    parts = split(keys, labels, config.heldout, None, config.seed, groups=groups)
    given = GivenMaps(CONTROL, source, transform, config.max_pixels)

    def pairs(indices: tuple[int, ...]) -> tuple[Tensor, Tensor]:
        images = torch.stack([transform.pixels(source.read(index)) for index in indices])
        maps = ControlMaps("depth", tuple(given.get(index) for index in indices))
        return images, relative(maps.get(torch.arange(len(indices))))

    return pairs(parts.train), pairs(parts.heldout)


def relative(depth: Tensor) -> Tensor:
    """Depth (N, 1, S, S) from 0 to 1 in each picture, but for the 2 % that are nearest and the 2 % that are farthest."""
    near, far = (depth.flatten(1).quantile(share, 1)[:, None, None, None] for share in (0.02, 0.98))
    return ((depth - near) / (far - near).clamp(min=1 / 255)).clamp(0, 1)


def jittered(images: Tensor, generator: torch.Generator) -> Tensor:
    """Images (N, 3, S, S) uint8 in another light: brightness, contrast, and each colour by itself."""
    gain = 1 + 0.3 * (torch.rand(len(images), 3, 1, 1, generator=generator) - 0.5)
    gain = gain * (1 + 0.4 * (torch.rand(len(images), 1, 1, 1, generator=generator) - 0.5))
    offset = 60 * (torch.rand(len(images), 1, 1, 1, generator=generator) - 0.5)
    return (images * gain + offset).clamp(0, 255)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    torch.manual_seed(options.seed)
    generator = torch.Generator().manual_seed(options.seed)
    (images, depth), (unseen, unseen_depth) = read(DataConfig(target="nyu-depth"))
    network = DepthNet()
    steps = options.epochs * (len(images) // BATCH)
    optimiser = torch.optim.AdamW(network.parameters(), lr=2e-3, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 2e-3, total_steps=steps)
    for _ in range(options.epochs):
        for rows in torch.randperm(len(images), generator=generator)[: len(images) // BATCH * BATCH].split(BATCH):
            flip = (torch.rand(len(rows), generator=generator) < 0.5)[:, None, None, None]
            x, y = (torch.where(flip, part[rows].flip(-1), part[rows]) for part in (images, depth))
            loss = functional.l1_loss(network(jittered(x, generator)), y)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
    # What is kept is judged: half precision.
    network.half().float().eval()
    with torch.no_grad():
        guessed = network(unseen)
    errors = {
        name: {
            "depth": float((guess - unseen_depth).square().mean()),
            "normals": float((normals(guess, SCENE) - normals(unseen_depth, SCENE)).square().mean()),
        }
        for name, guess in (("network", guessed), ("mean", depth.mean(0, keepdim=True)))
    }
    save_file({name: value.half().contiguous() for name, value in network.state_dict().items()}, WEIGHTS)
    card = {
        "about": "Depth of small pictures of rooms, for trials of ControlNets; not for use on anything else.",
        "sources": ["NYU Depth v2, frames with depth at 64x64, of 29 scenes"],
        "images": len(images),
        "heldout_images": len(unseen),
        "size": SIDE,
        "parameters": sum(value.numel() for value in network.parameters()),
        "options": vars(options) | {"batch_size": BATCH, "steps": steps},
        "mean_squared_error": errors,
        "made_by": "benchmarks/pretrain/room_depth.py",
    }
    write_json(WEIGHTS.with_name("card.json"), card)
    print(errors)


if __name__ == "__main__":
    main()
