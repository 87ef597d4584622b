"""A Stable Diffusion pipeline in miniature, trained from captioned images: what `sd_icons.py` and `sd_photo.py` share.

First the autoencoder (32 pixels to 8 by 8 latents of 8 channels), then text encoder and UNet together on its latents; both resume.
Writes RUN/model: a `StableDiffusionPipeline` folder in fp16, with a card and the prompts that it knows.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel
from epochs import Epochs
from pretraining import Law
from torch import Tensor, nn
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from difftuning.backbones.text_to_image import TEXT
from difftuning.config.precision import Precision
from difftuning.json_files import MetricsLog, write_json
from difftuning.noise.clock import default_clock
from difftuning.noise.prediction import from_scheduler_config as prediction_of
from difftuning.noise.process import from_scheduler_config as process_of
from difftuning.objectives.denoising import denoise, denoising_error
from difftuning.objectives.diff_tuning import DiffTuning
from difftuning.training.checkpoints import Checkpoints
from difftuning.training.config import TrainingConfig
from difftuning.training.ema import EMAConfig
from difftuning.training.hooks import Hook
from difftuning.training.interfaces import Objective
from difftuning.training.optim import OptimConfig
from difftuning.training.trainer import Trainer
from difftuning.types import Batch, Condition, Errors

LENGTH, WIDTH = 24, 96
"""Tokens of a prompt, and the width of the text encoder."""
KL = 1e-5
"""The weight of the autoencoder's regulariser."""
AT_ONCE = 1_000
"""Images that are encoded together."""


@dataclass(frozen=True)
class Captioned:
    """Images and what each shows.

    Attributes:
        images: (N, 3, 32, 32) uint8.
        prompts: N, in lower case.
    """

    images: Tensor
    prompts: list[str]

    @property
    def pixels(self) -> Tensor:
        """(N, 3, 32, 32) float32 in [-1, 1]."""
        return self.images.float() / 127.5 - 1


def new_autoencoder() -> AutoencoderKL:
    """A quarter of the side, 8 channels."""
    return AutoencoderKL(
        block_out_channels=(24, 48, 64),
        down_block_types=("DownEncoderBlock2D",) * 3,
        up_block_types=("UpDecoderBlock2D",) * 3,
        layers_per_block=1,
        latent_channels=8,
        norm_num_groups=8,
        sample_size=32,
    )


class Asked(nn.Module):
    """Text encoder and UNet as one network, whose conditions are rows of tokens."""

    def __init__(self, tokenizer: CLIPTokenizer, prompts: list[str]) -> None:
        super().__init__()
        vocabulary = len(tokenizer)
        ends = {"bos_token_id": tokenizer.bos_token_id, "eos_token_id": tokenizer.eos_token_id}
        self.text_encoder = CLIPTextModel(
            CLIPTextConfig(
                vocab_size=vocabulary,
                hidden_size=WIDTH,
                intermediate_size=4 * WIDTH,
                projection_dim=WIDTH,
                num_hidden_layers=3,
                num_attention_heads=4,
                max_position_embeddings=LENGTH,
                pad_token_id=tokenizer.pad_token_id,
                **ends,
            )
        )
        self.unet = UNet2DConditionModel(
            sample_size=8,
            in_channels=8,
            out_channels=8,
            block_out_channels=(64, 128),
            down_block_types=("CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
            up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D"),
            layers_per_block=1,
            cross_attention_dim=WIDTH,
            attention_head_dim=4,
            norm_num_groups=16,
        )
        nn.init.zeros_(self.unet.conv_out.weight)
        options = {"padding": "max_length", "max_length": LENGTH, "truncation": True, "return_tensors": "pt"}
        self.register_buffer("tokens", tokenizer(prompts, **options).input_ids)

    def forward(self, x_t: Tensor, t: Tensor, condition: Condition, /) -> Tensor:
        """The UNet's answer."""
        assert isinstance(self.tokens, Tensor)
        states = self.text_encoder(self.tokens[condition.labels])[0]
        answer: Tensor = self.unet(x_t, t, encoder_hidden_states=states, return_dict=False)[0]
        return answer


class Reconstruction:
    """The autoencoder's objective: how far what comes back is from the image, and how far its latents are from a normal law."""

    def __init__(self, vae: AutoencoderKL, kl: float = KL) -> None:
        self.vae, self.kl = vae, kl

    def __call__(self, batch: Batch) -> Errors:
        """The error of each image."""
        posterior = self.vae.encode(batch.x0).latent_dist
        difference = (self.vae.decode(posterior.sample()).sample - batch.x0).flatten(1)
        return Errors(difference.abs().mean(1) + difference.square().mean(1), batch.draw, self.kl * posterior.kl())


def trained(
    network: nn.Module,
    objective: Objective,
    streams: Epochs,
    measure: Callable[[int], dict[str, float]],
    folder: Path,
    steps: int,
    options: argparse.Namespace,
    precision: Precision = "no",
) -> dict[str, Any]:
    """Train to the end, take the average, and return what was logged."""
    log = MetricsLog(folder / "metrics.jsonl")
    trainer = Trainer(
        network=network,
        parameters=dict(network.named_parameters()),
        objective=objective,
        streams=streams,
        checkpoints=Checkpoints(folder / "checkpoints"),
        log=log,
        config=TrainingConfig(steps=steps, batch_size=options.batch_size, precision=precision, save_every=250),
        optim=OptimConfig(lr=options.lr, schedule="cosine", warmup_steps=200),
        ema_config=EMAConfig(kind="halflife", halflife_images=40_000, rampup=0.1),
        seed=options.seed,
        identity={"recipe_digest": " ".join(f"{key}={value}" for key, value in sorted(vars(options).items()))},
        hooks=[Hook(250, measure)],
        watch="none",
    )
    trainer.run()
    with torch.no_grad():
        for name, value in trainer.parameters.items():
            value.copy_(trainer.ema.average[name])
    records = log.read().records
    return {
        "parameters": sum(value.numel() for value in trainer.parameters.values()),
        "steps": steps,
        "log": {
            key: [[record["step"], round(record[key], 5)] for record in records if key in record]
            for key in ("loss", "heldout")
        },
    }


def options_of(text: str | None, vae_steps: int, steps: int) -> argparse.ArgumentParser:
    """The options of both scripts."""
    parser = argparse.ArgumentParser(description=text, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("run", type=Path)
    parser.add_argument("--vae-steps", type=int, default=vae_steps, help="0: the autoencoder stays as it is")
    parser.add_argument("--steps", type=int, default=steps)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--lr", type=float, default=1e-3)
    parser.add_argument("--dropout", type=float, default=0.1, help="the share of prompts that become empty")
    parser.add_argument("--seed", type=int, default=0)
    return parser


def pretrain(
    train: Captioned,
    unseen: Captioned,
    tokenizer: CLIPTokenizer,
    options: argparse.Namespace,
    card: Mapping[str, Any],
    start: StableDiffusionPipeline | None = None,
) -> None:
    """Train both halves and write the pipeline.

    Args:
        train: to learn from.
        unseen: to measure the error on.
        tokenizer: of the prompts.
        options: those of `options_of`.
        card: what the model's card says besides its training.
        start: the pipeline to go on from; None for new weights.
    """
    pixels, unseen_pixels = train.pixels, unseen.pixels
    rows_of = {prompt: row for row, prompt in enumerate(dict.fromkeys([*train.prompts, *unseen.prompts]))}
    rows, unseen_rows = (torch.tensor([rows_of[prompt] for prompt in part.prompts]) for part in (train, unseen))
    torch.manual_seed(options.seed)
    scheduler = DDIMScheduler(
        beta_schedule="squaredcos_cap_v2", prediction_type="v_prediction", clip_sample=False, steps_offset=1
    )
    config = {**scheduler.config, "_class_name": type(scheduler).__name__}
    process = process_of(config)
    prediction = prediction_of(config, process)
    law = Law(default_clock(process), len(rows_of))

    vae = new_autoencoder() if start is None else start.vae.float().requires_grad_(True).train()
    stream = Epochs(pixels, rows, law, options.batch_size, 0.0, True, options.seed)

    def vae_error(step: int) -> dict[str, float]:
        returned = vae.decode(vae.encode(unseen_pixels).latent_dist.mode()).sample
        return {"heldout": float((returned - unseen_pixels).square().mean())}

    first = None
    if options.vae_steps:
        first = trained(vae, Reconstruction(vae), stream, vae_error, options.run / "vae", options.vae_steps, options)
    vae.eval().requires_grad_(False)
    latents, unseen_latents = (encoded(vae, part) for part in (pixels, unseen_pixels))
    scale = 1 / float(latents.std())
    vae.register_to_config(scaling_factor=scale)

    network = Asked(tokenizer, [*rows_of, ""])
    if start is not None:
        network.text_encoder.load_state_dict(start.text_encoder.state_dict())
        network.unet.load_state_dict(start.unet.state_dict())
    stream = Epochs(scale * latents, rows, law, options.batch_size, options.dropout, False, options.seed)
    fixed = Epochs(scale * unseen_latents, unseen_rows, law, len(unseen_rows), 0.0, False, 1).batch(0, (0, 0))

    def error(step: int) -> dict[str, float]:
        _, y = denoise(network, process, fixed)
        return {"heldout": float(denoising_error(y, process, prediction, fixed).mean())}

    objective = DiffTuning(network, process, prediction)
    second = trained(network, objective, stream, error, options.run / "unet", options.steps, options)
    pipe = StableDiffusionPipeline(
        vae.half(),
        network.text_encoder.half(),
        tokenizer,
        network.unet.half(),
        scheduler,
        None,
        None,
        requires_safety_checker=False,
    )
    folder = options.run / "model"
    pipe.save_pretrained(folder)
    write_json(folder / TEXT, {"image_size": 32, "prompts": list(dict.fromkeys(train.prompts))})
    training = {key: getattr(options, key) for key in ("batch_size", "lr", "dropout", "seed")}
    training |= {"autoencoder": first, "text encoder and UNet": second} if first else {"text encoder and UNet": second}
    write_json(folder / "card.json", {**card, "training": training})


@torch.no_grad()
def encoded(vae: AutoencoderKL, pixels: Tensor) -> Tensor:
    """The modes of the latents (N, 8, 8, 8) of pixels (N, 3, 32, 32)."""
    return torch.cat([vae.encode(part).latent_dist.mode() for part in pixels.split(AT_ONCE)])
