"""Each model of the paper's recipes at its true width, with random weights: that a step of Diff-Tuning runs, and what it holds.

    python benchmarks/full_width.py [MODEL ...] [--steps 3] [--out benchmarks/results/full_width.json]

The networks have the published configs, so their parameters are counted and compared with the published numbers. Tuner, learning
rate, coefficients and realisation are those of the recipe. A process for each, batch 1, images of 256 pixels (EDM: 64), float32.
What a network is told of a prompt is random numbers of the right shape, and autoencoder and text encoders are stand-ins: they do
not train. A model is not run, and the reason written, where its weights, gradients, moments and average leave too little memory to
others. Rows of models that are not asked for stay in the file.
"""

from __future__ import annotations

import argparse
import json
import math
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import torch
from diffusers import (
    AutoencoderKL,
    DDIMScheduler,
    DiTTransformer2DModel,
    EDMEulerScheduler,
    FlowMatchEulerDiscreteScheduler,
    PixArtAlphaPipeline,
    PixArtTransformer2DModel,
    SD3Transformer2DModel,
    StableDiffusion3Pipeline,
    StableDiffusionPipeline,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
)
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection, T5Config, T5EncoderModel

from difftuning.backbones.base import Backbone
from difftuning.backbones.class_unet import ClassUNet
from difftuning.backbones.dit import DiT
from difftuning.backbones.edm_unet import EDMUNet
from difftuning.backbones.labels import Replace
from difftuning.backbones.prompts import Embedding, Prompts
from difftuning.backbones.text_to_image import TextToImage
from difftuning.coefficients.realisation import build_realisation
from difftuning.config.provenance import provenance
from difftuning.json_files import write_json
from difftuning.objectives.diff_tuning import DiffTuning
from difftuning.training.ema import EMA
from difftuning.training.optim import make_optimizer
from difftuning.tuning import build
from difftuning.types import Batch, Condition
from difftuning.workflows.assemble import chain_of, trained_besides
from difftuning.workflows.recipe import Recipe, load

SIDE, CLASSES = 256, 101
OUT = Path(__file__).parent / "results" / "full_width.json"
GIB = 2**30
SPARE = 3.0
"""GiB that are left to whatever else runs."""


def dit_xl_2() -> Any:
    """Of facebook/DiT-XL-2-256; its blocks share one embedder, as the published weights do."""
    network = DiTTransformer2DModel(
        num_attention_heads=16,
        attention_head_dim=72,
        in_channels=4,
        out_channels=8,
        num_layers=28,
        sample_size=32,
        patch_size=2,
        num_embeds_ada_norm=1000,
    )
    for block in network.transformer_blocks[1:]:
        block.norm1.emb = network.transformer_blocks[0].norm1.emb
    return network


def edm_imagenet_64() -> Any:
    """Of edm-imagenet-64x64-cond-adm.pkl (Karras et al. 2022; the network is ADM's, Dhariwal and Nichol 2021)."""
    return EDMUNet(
        sample_size=64,
        num_classes=1000,
        kind="adm",
        model_channels=192,
        channel_mult=(1, 2, 3, 4),
        num_blocks=3,
        attention_resolutions=(32, 16, 8),
    )


def sd_15() -> Any:
    """The UNet of stable-diffusion-v1-5/stable-diffusion-v1-5."""
    return UNet2DConditionModel(sample_size=64, cross_attention_dim=768, attention_head_dim=8)


def sdxl() -> Any:
    """The UNet of stabilityai/stable-diffusion-xl-base-1.0."""
    return UNet2DConditionModel(
        sample_size=128,
        block_out_channels=(320, 640, 1280),
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        transformer_layers_per_block=(1, 2, 10),
        attention_head_dim=(5, 10, 20),
        cross_attention_dim=2048,
        use_linear_projection=True,
        addition_embed_type="text_time",
        addition_time_embed_dim=256,
        projection_class_embeddings_input_dim=2816,
    )


def sd3_medium() -> Any:
    """The transformer of stabilityai/stable-diffusion-3-medium-diffusers."""
    return SD3Transformer2DModel(
        sample_size=128,
        patch_size=2,
        in_channels=16,
        out_channels=16,
        num_layers=24,
        attention_head_dim=64,
        num_attention_heads=24,
        joint_attention_dim=4096,
        caption_projection_dim=1536,
        pooled_projection_dim=2048,
        pos_embed_max_size=192,
    )


def pixart_xl_2() -> Any:
    """The transformer of PixArt-alpha/PixArt-XL-2-256x256."""
    return PixArtTransformer2DModel(
        num_attention_heads=16,
        attention_head_dim=72,
        in_channels=4,
        out_channels=8,
        num_layers=28,
        cross_attention_dim=1152,
        sample_size=32,
        patch_size=2,
        caption_channels=4096,
        use_additional_conditions=False,
    )


def _vae(channels: int = 4) -> AutoencoderKL:
    """Narrow, with the published stride of eight."""
    kinds = {"down_block_types": ("DownEncoderBlock2D",) * 4, "up_block_types": ("UpDecoderBlock2D",) * 4}
    return AutoencoderKL(block_out_channels=(8,) * 4, norm_num_groups=4, latent_channels=channels, **kinds)


def _clip(kind: Any = CLIPTextModel) -> Any:
    return kind(
        CLIPTextConfig(vocab_size=8, hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2)
    )


def _t5() -> Any:
    return T5EncoderModel(T5Config(vocab_size=8, d_model=16, d_kv=8, d_ff=16, num_layers=1, num_heads=2))


def _ddim() -> Any:
    return DDIMScheduler(
        beta_schedule="scaled_linear", beta_start=0.00085, beta_end=0.012, clip_sample=False, steps_offset=1
    )


def _text(pipe: Any, tokens: int, width: int, pooled: int = 0, masked: bool = False) -> TextToImage:
    """A model that is told random numbers of these shapes."""
    model = TextToImage(pipe, ("a photograph",))
    told = Embedding(
        torch.randn(tokens, width),
        torch.randn(pooled) if pooled else None,
        torch.ones(tokens, dtype=torch.int64) if masked else None,
    )
    model.embeddings = Prompts(lambda prompt: told)
    model.resize(SIDE)
    return model


def _with_classes() -> Backbone:
    model = DiT(dit_xl_2(), DDIMScheduler(clip_sample=False), _vae())
    model.change_labels(Replace(), tuple(map(str, range(CLASSES))))
    return model


def _edm() -> Backbone:
    model = ClassUNet(edm_imagenet_64(), EDMEulerScheduler())
    model.change_labels(Replace(), tuple(map(str, range(CLASSES))))
    return model


@dataclass(frozen=True)
class Model:
    """A row.

    Attributes:
        recipe: whose settings are taken.
        network: the published one, at random.
        millions: its published number of parameters, and who says so.
        make: all around it.
        besides: overrides of the recipe to be tried where it does not fit.
    """

    recipe: str
    network: Callable[[], Any]
    millions: float
    make: Callable[[], Backbone]
    besides: tuple[str, ...] = ()


MODELS: dict[str, Model] = {
    "DiT-XL/2": Model("paper/dit-xl-2-256", dit_xl_2, 675, _with_classes, ("tuner.kind=lora",)),
    "EDM ImageNet-64": Model("paper/edm-imagenet64-to-cifar10", edm_imagenet_64, 296, _edm),
    "Stable Diffusion 1.5": Model(
        "paper/sd-1.5",
        sd_15,
        860,
        lambda: _text(
            StableDiffusionPipeline(_vae(), _clip(), None, sd_15(), _ddim(), None, None, requires_safety_checker=False),
            77,
            768,
        ),
        ("tuner.kind=lora",),
    ),
    "PixArt-XL/2": Model(
        "paper/pixart",
        pixart_xl_2,
        611,
        lambda: _text(PixArtAlphaPipeline(None, _t5(), _vae(), pixart_xl_2(), _ddim()), 120, 4096, masked=True),
        ("tuner.kind=lora",),
    ),
    "Stable Diffusion 3 medium": Model(
        "paper/sd3-medium-lora",
        sd3_medium,
        2030,
        lambda: _text(
            StableDiffusion3Pipeline(
                sd3_medium(),
                FlowMatchEulerDiscreteScheduler(shift=3.0),
                _vae(16),
                _clip(CLIPTextModelWithProjection),
                *(None,) * 5,
            ),
            333,
            4096,
            2048,
        ),
    ),
    "Stable Diffusion XL": Model(
        "paper/sdxl-lora",
        sdxl,
        2570,
        lambda: _text(
            StableDiffusionXLPipeline(_vae(), _clip(), None, None, None, sdxl(), _ddim(), add_watermarker=False),
            77,
            2048,
            1280,
        ),
    ),
}
"""Published counts: DiT's paper (Table 1, 675 M), ADM's for ImageNet-64, which EDM took over (296 M), model cards of Stable
Diffusion (860 M), SDXL's paper (2.6 B), SD3's (2 B)."""


def counted(model: Model) -> int:
    """Parameters of the network, which is not made for it."""
    with torch.device("meta"):
        return sum(value.numel() for value in model.network().parameters())


def needed(model: Model, recipe: Recipe) -> float:
    """GiB of weights, and for what trains of gradients, two moments and an average; 2 for all else."""
    with torch.device("meta"):
        network = model.network()
        whole = sum(value.numel() for value in network.parameters())
        moving = sum(value.numel() for value in build(recipe.tuner).attach(network).values())
    return (4 * whole + 16 * moving) / GIB + 2


def train(model: Model, recipe: Recipe, steps: int) -> dict[str, Any]:
    """A few steps; what `main` starts in a process of its own."""
    torch.manual_seed(recipe.seed)
    torch.set_num_threads(1)
    started = time.perf_counter()
    backbone = model.make()
    parameters = build(recipe.tuner).attach(backbone.network, trained_besides(recipe, backbone), recipe.seed)
    if recipe.training.gradient_checkpointing:
        backbone.network.enable_gradient_checkpointing()
    objective = DiffTuning(backbone, backbone.process, backbone.prediction, backbone.learned_variance)
    chain, realisation = chain_of(recipe, backbone).at(0), build_realisation(recipe.realisation)
    optimizer, average = make_optimizer(parameters.values(), recipe.optim), EMA(parameters, recipe.ema)
    backbone.network.train()
    losses, from_bank = [], 0
    for step in range(steps):
        draw = realisation.draw(chain, backbone.clock, 1, torch.Generator().manual_seed(step))
        row = torch.where(draw.from_bank, backbone.default_label, 0)
        shape = (1, *backbone.sample_shape)
        loss = objective(Batch(torch.randn(shape), torch.randn(shape), Condition(row), draw)).loss()
        loss.backward()
        if recipe.optim.clip_norm:
            torch.nn.utils.clip_grad_norm_(parameters.values(), recipe.optim.clip_norm)
        optimizer.step()
        optimizer.zero_grad()
        average.update(step + 1, 1)
        losses.append(loss.item())
        from_bank += int(draw.from_bank)
    return {
        "tuner": recipe.tuner.kind,
        "trainable": sum(value.numel() for value in parameters.values()),
        "steps": steps,
        "from_bank": from_bank,
        "losses": losses,
        "finite": all(map(math.isfinite, losses))
        and all(bool(value.isfinite().all()) for value in parameters.values()),
        "peak_gib": 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / GIB,
        "seconds": time.perf_counter() - started,
        "dtype": "float32",
        "side": backbone.image_size,
    }


def row(name: str, steps: int) -> dict[str, Any]:
    """What became of a model: measured in a process of its own, or why not."""
    model = MODELS[name]
    count = counted(model)
    about = {"model": name, "recipe": model.recipe, "parameters": count, "published_millions": model.millions}
    room = psutil.virtual_memory().available / GIB - SPARE
    reasons = []
    for changes in ([], list(model.besides)) if model.besides else ([],):
        recipe = load(model.recipe, changes)
        need = needed(model, recipe)
        if need > room:
            reasons.append(
                f"{recipe.tuner.kind} needs about {need:.1f} GiB, and {room:.1f} are free beside {SPARE:g} for others"
            )
            continue
        command = [sys.executable, __file__, name, "--steps", str(steps), "--measure", json.dumps(changes), str(room)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode == 0:
            return {**about, "changes": changes, "not_run": reasons, **json.loads(done.stdout.splitlines()[-1])}
        reasons.append(f"{recipe.tuner.kind}: {(done.stderr.strip().splitlines() or ['killed'])[-1]}")
    return {**about, "not_run": reasons}


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", metavar="MODEL", help=f"some of: {', '.join(MODELS)}; all without it")
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--out", type=Path, default=OUT)
    parser.add_argument("--measure", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        # What does not fit ends this process, and not another one.
        limit = int((float(options.measure[1]) + 1) * GIB)
        resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
        model = MODELS[options.models[0]]
        print(json.dumps(train(model, load(model.recipe, json.loads(options.measure[0])), options.steps)))
        return
    for name in options.models or MODELS:
        known = json.loads(options.out.read_text())["models"] if options.out.is_file() else []
        found = row(name, options.steps)
        print(json.dumps(found), flush=True)
        rows = {one["model"]: one for one in [*known, found]}
        options.out.parent.mkdir(parents=True, exist_ok=True)
        write_json(options.out, {"models": [rows[one] for one in MODELS if one in rows], **provenance()})


if __name__ == "__main__":
    main()
