"""What we draw from a model is what its own diffusers pipeline draws from the same noise."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from diffusers import FlowMatchEulerDiscreteScheduler

from difftuning.backbones.solvers import make_scheduler
from difftuning.backbones.text_to_image import TextToImage
from difftuning.sampling.guidance import guided
from difftuning.sampling.loop import sample
from difftuning.sampling.seeds import sample_noise
from difftuning.types import Condition
from tiny_text import pipeline, sd

STEPS = 4


@pytest.mark.parametrize(
    ("name", "solver"),
    [
        ("sd", "ddim"),
        ("sd, v", "ddim"),
        ("sdxl", "ddim"),
        ("pixart", "ddim"),
        ("pixart, told its size", "ddim"),
        ("sd3", "euler"),
    ],
)
def test_text_to_image_with_guidance(name: str, solver: str, tmp_path: Path) -> None:
    pipe = sd(tmp_path, "v_prediction") if name == "sd, v" else pipeline(name, tmp_path)
    model = TextToImage(pipe, ("a red cat",))
    noise = sample_noise(0, range(2), model.sample_shape)
    scheduler = make_scheduler(solver, model.scheduler_config)
    denoiser = guided(model, model.labels.null, 2.0)
    ours = sample(denoiser, model.process, scheduler, Condition(torch.tensor([0, 0])), noise, STEPS)
    size = {"height": model.image_size, "width": model.image_size, "output_type": "latent"}
    if name == "pixart, told its size":
        pipe.transformer.register_to_config(sample_size=128)  # by which its pipeline knows that it wants to be told
    options = {"clean_caption": False, "use_resolution_binning": False} if name.startswith("pixart") else {}
    theirs = pipe(
        ["a red cat"] * 2, latents=noise.clone(), num_inference_steps=STEPS, guidance_scale=2.0, **size, **options
    ).images
    torch.testing.assert_close(ours, theirs, atol=2e-4, rtol=1e-3)


def test_flux_with_its_shift_by_size_and_its_distilled_guidance(tmp_path: Path) -> None:
    pipe = pipeline("flux", tmp_path)
    pipe.scheduler = FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True, base_shift=0.5, max_shift=1.15)
    model = TextToImage(pipe, ("a red cat",))
    model.resize(16)
    model.distilled_guidance = 3.5
    noise = sample_noise(0, range(1), model.sample_shape)
    scheduler = make_scheduler("euler", model.scheduler_config)
    ours = sample(guided(model, 1, 1.0), model.process, scheduler, Condition(torch.tensor([0])), noise, STEPS)
    tokens = noise.view(1, 4, 4, 2, 4, 2).permute(0, 2, 4, 1, 3, 5).reshape(1, 16, 16)
    theirs = pipe(
        "a red cat",
        height=16,
        width=16,
        latents=tokens,
        num_inference_steps=STEPS,
        guidance_scale=3.5,
        output_type="latent",
    ).images
    theirs = theirs.view(1, 4, 4, 4, 2, 2).permute(0, 3, 1, 4, 2, 5).reshape(noise.shape)
    torch.testing.assert_close(ours, theirs, atol=2e-4, rtol=1e-3)
