"""Write a fresh, untrained DiT as a DiTPipeline folder, ready for `difftuning train`.

    python benchmarks/pretrain/new_dit.py OUT --classes images.parquet --size 32 --patch 4 --width 192 --depth 6

It works on pixels, or on the latents of an autoencoder (--vae FOLDER); --size is that of the images.

adaLN-Zero as in the DiT paper (Peebles & Xie 2023, section 3.2): every block starts as the identity, which diffusers' own
initialisation does not do.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import torch
from diffusers import AutoencoderKL, DDPMScheduler, DiTTransformer2DModel
from torch import nn

from difftuning.backbones.dit import DiT
from difftuning.data.sources import DataConfig, open_source


def new_dit(
    names: tuple[str, ...], size: int, patch: int, width: int, depth: int, seed: int, vae: AutoencoderKL | None = None
) -> DiT:
    """A DiT with adaLN-Zero initialisation, v prediction and the squared-cosine schedule."""
    torch.manual_seed(seed)
    channels = 3 if vae is None else vae.config.latent_channels
    side = size if vae is None else size >> (len(vae.config.block_out_channels) - 1)
    transformer = DiTTransformer2DModel(
        num_attention_heads=width // 32,
        attention_head_dim=32,
        in_channels=channels,
        out_channels=channels,
        num_layers=depth,
        sample_size=side,
        patch_size=patch,
        num_embeds_ada_norm=len(names),
    )
    first = transformer.transformer_blocks[0].norm1.emb
    nn.init.normal_(first.class_embedder.embedding_table.weight, std=0.02)
    for linear in (first.timestep_embedder.linear_1, first.timestep_embedder.linear_2):
        nn.init.normal_(linear.weight, std=0.02)
    for block in transformer.transformer_blocks:
        block.norm1.emb.load_state_dict(first.state_dict())
        nn.init.zeros_(block.norm1.linear.weight)
        nn.init.zeros_(block.norm1.linear.bias)
    for linear in (transformer.proj_out_1, transformer.proj_out_2):
        nn.init.zeros_(linear.weight)
        nn.init.zeros_(linear.bias)
    scheduler = DDPMScheduler(beta_schedule="squaredcos_cap_v2", prediction_type="v_prediction", clip_sample=False)
    return DiT(transformer, scheduler, vae, names, "new")


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument(
        "--classes", type=Path, required=True, help="a data file with these classes, or a JSON list of names"
    )
    parser.add_argument("--vae", type=Path, help="the folder of an AutoencoderKL")
    parser.add_argument("--size", type=int, default=32)
    parser.add_argument("--patch", type=int, default=4)
    parser.add_argument("--width", type=int, default=192)
    parser.add_argument("--depth", type=int, default=6)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    if options.classes.suffix == ".json":
        names = tuple(json.loads(options.classes.read_text()))
    else:
        names = open_source(DataConfig(target=str(options.classes))).class_names
    vae = AutoencoderKL.from_pretrained(options.vae) if options.vae else None
    model = new_dit(names, options.size, options.patch, options.width, options.depth, options.seed, vae)
    model.save(options.out)
    print(f"{sum(p.numel() for p in model.network.parameters()):,} parameters, {len(names)} classes -> {options.out}")


if __name__ == "__main__":
    main()
