"""From pixels to a step at true width: our cached latents against a plain diffusers loop, and against DreamBooth's class batch.

    python benchmarks/speed/pixels.py [MODEL ...] [--side 256] [--batch-size 1] [--rounds 5] [--without-class-batch]

Five steps of one network with random weights and one AdamW's moments take turns, float32; a class batch needs the memory of two.
`plain` encodes its images (and its prompts) in every step and updates by AdamW as torch makes it by default, as diffusers'
train_text_to_image.py does; `plain, fused` has our fused AdamW, so that the cache alone tells them apart; `ours` is Diff-Tuning on
latents and embeddings that were encoded once, at the same batch; `class batch` is train_dreambooth.py with prior preservation,
which encodes and trains as many class images beside the batch, with our AdamW; `class batch, cached` does that on latents that are
ready. None of them averages the weights. The rows of other settings stay in the file.

Target samples a second follow from the share of a batch that comes from the target: half of it for tau = 1 by source, 26 of 32 in
the split of the paper's code (realisation.kind=timestep), all of DreamBooth's batch but not its class images.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL, DDPMScheduler
from torch import Tensor
from transformers import CLIPTextConfig, CLIPTextModel
from turns import medians, options, publish, ratio, rows_with, take_turns

from difftuning.backbones.base import Backbone
from difftuning.coefficients.chain import ChainOfForgetting
from difftuning.coefficients.families import Power
from difftuning.coefficients.realisation import Source
from difftuning.objectives.diff_tuning import DiffTuning
from difftuning.training.optim import OptimConfig, make_optimizer
from difftuning.types import Batch, Condition

sys.path.insert(0, str(Path(__file__).parents[1]))
import full_width

MODELS = ("DiT-XL/2", "Stable Diffusion 1.5")
BOUNDS = {"pixels_to_step": 1.35, "target_samples_over_class_batch": 1.9}
SHARES = {"source, tau = 1": 0.5, "timestep, 26 of 32": 26 / 32}


def autoencoder() -> AutoencoderKL:
    """Of Stable Diffusion and DiT, at its width."""
    kinds = {"down_block_types": ("DownEncoderBlock2D",) * 4, "up_block_types": ("UpDecoderBlock2D",) * 4}
    vae = AutoencoderKL(block_out_channels=(128, 256, 512, 512), layers_per_block=2, latent_channels=4, **kinds)
    del vae.decoder  # nothing is decoded
    return vae.eval().requires_grad_(False)


def text_encoder() -> CLIPTextModel:
    """Of Stable Diffusion 1.5, at its width."""
    config = CLIPTextConfig(
        vocab_size=49408,
        hidden_size=768,
        intermediate_size=3072,
        num_hidden_layers=12,
        num_attention_heads=12,
        projection_dim=768,
    )
    return CLIPTextModel(config).eval().requires_grad_(False)


def steps(name: str, size: int, side: int) -> dict[str, Callable[[], None]]:
    """The five steps, over the same weights, at a batch of `size` images of `side` pixels."""
    torch.manual_seed(0)
    model: Backbone = full_width.MODELS[name].make()
    vae, encoder = autoencoder(), text_encoder() if model.by_prompt else None
    network, parameters = model.network, list(model.network.parameters())
    optimizer, scheduler = make_optimizer(parameters, OptimConfig(lr=1e-6)), DDPMScheduler()
    pixels = torch.rand(2 * size, 3, side, side) * 2 - 1
    tokens, latents = torch.randint(0, 49000, (2 * size, 77)), torch.randn(2 * size, 4, side // 8, side // 8)
    kept = torch.randn(2 * size, 77, 768)
    network.train()

    def update(loss: Tensor, fused: bool = True) -> None:
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        # Of one AdamW, since the moments of a second one have no room.
        optimizer.param_groups[0]["fused"] = fused
        optimizer.step()
        optimizer.zero_grad()

    def answer(x_t: Tensor, t: Tensor, states: Tensor) -> Tensor:
        if encoder is None:
            labels = torch.zeros(len(x_t), dtype=torch.int64)
            return network(x_t, timestep=t, class_labels=labels, return_dict=False)[0][:, :4]
        return network(x_t, t, encoder_hidden_states=states, return_dict=False)[0]

    @torch.no_grad()
    def encoded(count: int) -> tuple[Tensor, Tensor]:
        x0 = vae.encode(pixels[:count]).latent_dist.sample() * vae.config.scaling_factor
        return x0, kept[:count] if encoder is None else encoder(tokens[:count])[0]

    def diffusers_loss(x0: Tensor, states: Tensor) -> Tensor:
        noise, t = torch.randn_like(x0), torch.randint(0, 1000, (len(x0),))
        return F.mse_loss(answer(scheduler.add_noise(x0, noise, t), t, states), noise)

    objective = DiffTuning(model, model.process, model.prediction, model.learned_variance)
    chain = ChainOfForgetting.from_psi(Power(1.0))

    def ours() -> None:
        draw = Source().draw(chain, model.clock, size, torch.Generator().manual_seed(0))
        rows = torch.where(draw.from_bank, model.default_label, 0)
        x0 = latents[:size]
        update(objective(Batch(x0, torch.randn_like(x0), Condition(rows), draw)).loss())

    return {
        "ours": ours,
        "plain": lambda: update(diffusers_loss(*encoded(size)), fused=False),
        "plain, fused": lambda: update(diffusers_loss(*encoded(size))),
        "class batch": lambda: update(2 * diffusers_loss(*encoded(2 * size))),
        "class batch, cached": lambda: update(2 * diffusers_loss(latents, kept)),
    }


def measure(name: str, rounds: int, size: int, side: int, against: tuple[str, ...]) -> dict[str, Any]:
    """The ratios of one model."""
    made = steps(name, size, side)
    seconds = take_turns({loop: made[loop] for loop in ("ours", "plain", "plain, fused", *against)}, rounds)
    return {
        "model": name,
        "side": side,
        "batch_size": size,
        "rounds": rounds,
        "pixels_to_step": ratio(seconds, "plain", "ours"),
        "pixels_to_step_by_the_cache_alone": ratio(seconds, "plain, fused", "ours"),
        "target_samples_over_class_batch": {
            share: {loop: ratio(seconds, loop, "ours", factor=part) for loop in against}
            for share, part in SHARES.items()
        },
        "seconds": medians(seconds),
    }


def key(row: dict[str, Any]) -> tuple[Any, ...]:
    """What tells the rows of the file apart."""
    return row["model"], row["side"], row["batch_size"], sorted(row["seconds"])


def main() -> int:
    """Print and write the ratios; 0 if the bounds are met, that of DreamBooth by the split of the paper's code."""
    parser = options(__doc__, 5, "pixels")
    parser.add_argument("models", nargs="*", metavar="MODEL", help=f"some of {', '.join(MODELS)}; all without it")
    parser.add_argument("--batch-size", type=int, default=1)
    parser.add_argument("--side", type=int, default=256)
    parser.add_argument("--without-class-batch", action="store_true")
    given = parser.parse_args()
    if given.threads:
        torch.set_num_threads(given.threads)
    against = () if given.without_class_batch else ("class batch", "class batch, cached")
    met = True
    for name in given.models or MODELS:
        row = measure(name, given.rounds, given.batch_size, given.side, against)
        publish({"rows": rows_with(row, given.out, key), "bounds": BOUNDS}, given.out)
        over = row["target_samples_over_class_batch"]["timestep, 26 of 32"]
        met &= row["pixels_to_step"]["ratio"] >= BOUNDS["pixels_to_step"]
        met &= not over or over["class batch"]["ratio"] >= BOUNDS["target_samples_over_class_batch"]
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main())
