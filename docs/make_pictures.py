"""Draw the pictures of docs/index.md from the embedded model and OpenMoji.

python docs/make_pictures.py
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

import difftuning
from difftuning import ChainOfForgetting, Condition
from difftuning.coefficients.families import Power
from difftuning.data.opening import open_target
from difftuning.data.sources import DataConfig
from difftuning.evaluation.features import to_uint8
from difftuning.reporting import figures
from difftuning.reporting.images import at_size, image_grid
from difftuning.sampling.guidance import guided

PICTURES = Path(__file__).parent / "pictures"
LEVELS = (0.05, 0.2, 0.35, 0.5, 0.65, 0.8, 0.95)
"""The noise levels u of the columns."""
SHOWN = (3, 160, 250)
"""Which of the held-out images are shown."""


@torch.no_grad()
def noise() -> bytes:
    """Pairs of lines: held-out images at rising noise, and what the pretrained model takes for the clean ones."""
    model = difftuning.load("dit-icons-32")
    target = open_target(DataConfig(target="openmoji"), model.image_size, model.codec)
    x0 = target.heldout.get(torch.tensor(SHOWN), torch.zeros(len(SHOWN), dtype=torch.bool))
    denoiser = guided(model, model.labels.null, 1, 1.0, "no")
    eps = torch.randn(x0.shape, generator=torch.Generator().manual_seed(0))
    lines: list[Tensor] = []
    nothing = Condition(torch.full((len(LEVELS),), model.labels.null))
    for one, its_eps in zip(x0, eps, strict=True):
        t = model.clock.t(torch.tensor(LEVELS, dtype=torch.float64))
        images, noises = one.expand(len(LEVELS), -1, -1, -1), its_eps.expand(len(LEVELS), -1, -1, -1)
        x_t = model.process.add_noise(images, noises, t)
        lines += [to_uint8(x_t.float()), to_uint8(denoiser(x_t, t, nothing))]
    return image_grid(at_size(torch.cat(lines), 96), len(LEVELS), scale=1, gap=4)


def coefficients() -> bytes:
    """Psi and xi of the paper."""
    chain = ChainOfForgetting.from_psi(Power(tau=1.0))
    u = torch.linspace(0, 1, 21, dtype=torch.float64)
    return figures.coefficients({"diff-tuning": (u.tolist(), chain.psi(u).tolist(), chain.xi(u).tolist())})


if __name__ == "__main__":
    PICTURES.mkdir(exist_ok=True)
    (PICTURES / "noise.png").write_bytes(noise())
    (PICTURES / "coefficients.svg").write_bytes(coefficients())
