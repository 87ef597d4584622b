"""A real, tiny, randomly initialised DiT for tests."""

from __future__ import annotations

from pathlib import Path

import torch
from diffusers import DDIMScheduler, DDPMScheduler, DiTTransformer2DModel

from difftuning.backbones.dit import DiT
from tiny_text import vae


def tiny_dit(
    num_classes: int = 4,
    image_size: int = 8,
    seed: int = 0,
    learned_variance: bool = False,
    prediction: str = "epsilon",
) -> DiT:
    """About 20 thousand parameters, pixels, every weight random (diffusers' zero-initialised heads too)."""
    torch.manual_seed(seed)
    transformer = DiTTransformer2DModel(
        num_attention_heads=2,
        attention_head_dim=8,
        in_channels=3,
        out_channels=6 if learned_variance else 3,
        num_layers=2,
        sample_size=image_size,
        patch_size=2,
        num_embeds_ada_norm=num_classes,
    )
    blocks = transformer.transformer_blocks
    for block in blocks[1:]:
        block.norm1.emb.load_state_dict(blocks[0].norm1.emb.state_dict())
    scheduler = DDPMScheduler(prediction_type=prediction, beta_schedule="squaredcos_cap_v2", clip_sample=False)
    names = tuple(f"class-{index}" for index in range(num_classes))
    return DiT(transformer, scheduler, names=names, name="tiny")


def save_tiny_dit(folder: Path, num_classes: int = 4, image_size: int = 8, seed: int = 0) -> Path:
    """`tiny_dit` written as a DiTPipeline folder."""
    tiny_dit(num_classes, image_size, seed).save(folder)
    return folder


def narrow_dit_xl(classes: int = 5) -> DiT:
    """DiT-XL/2 as it is published, 28 blocks, 4 -> 8 channels, behind an autoencoder, but for widths and sides."""
    torch.manual_seed(0)
    transformer = DiTTransformer2DModel(
        num_attention_heads=2,
        attention_head_dim=8,
        in_channels=4,
        out_channels=8,
        num_layers=28,
        sample_size=8,
        patch_size=2,
        num_embeds_ada_norm=classes,
    )
    for block in transformer.transformer_blocks[1:]:
        block.norm1.emb = transformer.transformer_blocks[0].norm1.emb
    with torch.no_grad():
        for parameter in transformer.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    return DiT(transformer, DDIMScheduler(clip_sample=False), vae(), name="narrow")
