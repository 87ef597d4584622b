"""Real, tiny, randomly initialised text-to-image pipelines of diffusers for tests, with tokenizers trained on the spot."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from diffusers import (
    AutoencoderKL,
    DDIMScheduler,
    FlowMatchEulerDiscreteScheduler,
    FluxPipeline,
    FluxTransformer2DModel,
    PixArtAlphaPipeline,
    PixArtTransformer2DModel,
    SD3Transformer2DModel,
    StableDiffusion3Pipeline,
    StableDiffusionPipeline,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
)
from transformers import (
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    CLIPTokenizer,
    T5Config,
    T5EncoderModel,
    T5TokenizerFast,
)

LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789,.-'"
WIDTH = 16
"""Of every text encoder."""


def clip_tokenizer(folder: Path) -> CLIPTokenizer:
    """Letters alone, and letters at the end of a word."""
    words = [*LETTERS, *(f"{letter}</w>" for letter in LETTERS), "<|startoftext|>", "<|endoftext|>"]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "vocab.json").write_text(json.dumps({word: index for index, word in enumerate(words)}))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    return CLIPTokenizer(str(folder / "vocab.json"), str(folder / "merges.txt"), model_max_length=40)


def t5_tokenizer() -> T5TokenizerFast:
    """One piece a letter."""
    pieces = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("▁", -1.0), *((letter, -2.0) for letter in LETTERS)]
    return T5TokenizerFast(vocab=pieces, extra_ids=0)


def clip(projected: bool = False) -> Any:
    config = CLIPTextConfig(
        vocab_size=2 * len(LETTERS) + 2,
        hidden_size=WIDTH,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=40,
        projection_dim=WIDTH,
        bos_token_id=2 * len(LETTERS),
        eos_token_id=2 * len(LETTERS) + 1,
        pad_token_id=2 * len(LETTERS) + 1,
    )
    return CLIPTextModelWithProjection(config) if projected else CLIPTextModel(config)


def t5() -> T5EncoderModel:
    return T5EncoderModel(T5Config(vocab_size=64, d_model=WIDTH, d_kv=8, d_ff=32, num_layers=1, num_heads=2))


def vae(channels: int = 4) -> AutoencoderKL:
    """Halves the side."""
    return AutoencoderKL(
        block_out_channels=(8, 8),
        norm_num_groups=4,
        latent_channels=channels,
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        scaling_factor=0.5,
        shift_factor=0.1,
    )


def unet(width: int, **options: Any) -> UNet2DConditionModel:
    return UNet2DConditionModel(
        sample_size=8,
        in_channels=4,
        out_channels=4,
        block_out_channels=(16, 32),
        layers_per_block=1,
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        cross_attention_dim=width,
        attention_head_dim=8,
        norm_num_groups=8,
        **options,
    )


def sd(folder: Path, prediction: str = "epsilon") -> StableDiffusionPipeline:
    scheduler = DDIMScheduler(
        beta_schedule="scaled_linear", prediction_type=prediction, clip_sample=False, steps_offset=1
    )
    return StableDiffusionPipeline(
        vae(), clip(), clip_tokenizer(folder), unet(WIDTH), scheduler, None, None, requires_safety_checker=False
    )


def sdxl(folder: Path) -> StableDiffusionXLPipeline:
    added = {
        "addition_embed_type": "text_time",
        "addition_time_embed_dim": 8,
        "projection_class_embeddings_input_dim": WIDTH + 6 * 8,
    }
    tokenizer = clip_tokenizer(folder)
    network = unet(2 * WIDTH, **added)
    scheduler = DDIMScheduler(beta_schedule="scaled_linear", clip_sample=False, steps_offset=1)
    return StableDiffusionXLPipeline(
        vae(), clip(), clip(True), tokenizer, tokenizer, network, scheduler, add_watermarker=False
    )


def pixart(folder: Path, told_size: bool = False) -> PixArtAlphaPipeline:
    network = PixArtTransformer2DModel(
        num_attention_heads=3,
        attention_head_dim=8,
        in_channels=4,
        out_channels=8,
        num_layers=1,
        cross_attention_dim=24,
        sample_size=8,
        caption_channels=WIDTH,
        use_additional_conditions=told_size,
    )
    return PixArtAlphaPipeline(t5_tokenizer(), t5(), vae(), network, DDIMScheduler(clip_sample=False, steps_offset=1))


def sd3(folder: Path) -> StableDiffusion3Pipeline:
    network = SD3Transformer2DModel(
        sample_size=8,
        patch_size=2,
        in_channels=4,
        num_layers=2,
        attention_head_dim=8,
        num_attention_heads=2,
        joint_attention_dim=2 * WIDTH,
        caption_projection_dim=16,
        pooled_projection_dim=2 * WIDTH,
        out_channels=4,
        pos_embed_max_size=8,
    )
    tokenizer = clip_tokenizer(folder)
    scheduler = FlowMatchEulerDiscreteScheduler(shift=3.0)
    return StableDiffusion3Pipeline(network, scheduler, vae(), clip(True), tokenizer, clip(True), tokenizer, None, None)


def flux(folder: Path) -> FluxPipeline:
    network = FluxTransformer2DModel(
        patch_size=1,
        in_channels=16,
        num_layers=1,
        num_single_layers=1,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=WIDTH,
        pooled_projection_dim=WIDTH,
        axes_dims_rope=(4, 4, 8),
        guidance_embeds=True,
    )
    return FluxPipeline(
        FlowMatchEulerDiscreteScheduler(), vae(), clip(), clip_tokenizer(folder), t5(), t5_tokenizer(), network
    )


PIPELINES: dict[str, Callable[[Path], Any]] = {
    "sd": sd,
    "sdxl": sdxl,
    "pixart": pixart,
    "pixart, told its size": partial(pixart, told_size=True),
    "sd3": sd3,
    "flux": flux,
}
"""Each made the same from the same seed, with random weights where diffusers puts zeros."""


def pipeline(name: str, folder: Path, seed: int = 0) -> Any:
    """A pipeline by name; `folder` takes its vocabulary."""
    torch.manual_seed(seed)
    made = PIPELINES[name](folder)
    network = made.unet if hasattr(made, "unet") else made.transformer
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    network.eval()
    return made
