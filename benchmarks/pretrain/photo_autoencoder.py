r"""Pretrain the autoencoder of `dit-photo-32`: 32x32 pixels to 16x16 latents of 6 channels, and back.

    python benchmarks/pretrain/photo_autoencoder.py FOLDER/imagenet200_32_train.parquet RUN

Half the side and not a quarter, since what the model is to be tuned to has lines of one pixel. Run it again to go on. Writes
RUN/vae in fp16, with a card; its error is measured on photographs of FOLDER/imagenet200_32_val.parquet.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from diffusers import AutoencoderKL
from epochs import Epochs
from pretraining import Law
from sd_photo import UNSEEN, read
from stable_diffusion import Reconstruction, encoded, trained

from difftuning.json_files import write_json
from difftuning.noise.clock import UniformIndex

KL = 1e-6
"""The weight of the regulariser: at 1e-5 the noise that it leaves in the latents alone keeps the images at about 26 dB."""


def new_autoencoder() -> AutoencoderKL:
    """Half of the side, 6 channels."""
    return AutoencoderKL(
        block_out_channels=(24, 48),
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        layers_per_block=1,
        latent_channels=6,
        norm_num_groups=8,
        mid_block_add_attention=False,
        sample_size=32,
    )


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("run", type=Path)
    parser.add_argument("--steps", type=int, default=5_000)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--lr", type=float, default=1e-3)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    torch.manual_seed(options.seed)
    cache = options.run / "cache"
    train = read(options.data, cache).pixels
    unseen = read(options.data.with_name(options.data.name.replace("train", "val")), cache, UNSEEN).pixels
    vae = new_autoencoder()
    labels = torch.zeros(len(train), dtype=torch.int64)
    stream = Epochs(train, labels, Law(UniformIndex(1000), 1), options.batch_size, 0.0, True, options.seed)

    def error(step: int) -> dict[str, float]:
        returned = vae.decode(vae.encode(unseen).latent_dist.mode()).sample
        return {"heldout": float((returned - unseen).square().mean())}

    training = trained(vae, Reconstruction(vae, KL), stream, error, options.run, options.steps, options, "auto")
    scale = 1 / float(encoded(vae.eval(), train).std())
    vae.register_to_config(scaling_factor=scale)
    vae.half().save_pretrained(options.run / "vae")
    write_json(options.run / "vae" / "card.json", {"images": len(train), "training": training})


if __name__ == "__main__":
    main()
