"""Diff-Tuning in a training loop of one's own: ten lines over plain PyTorch, any data loader, any model difftuning loads.

python examples/own_loop.py [MODEL] [STEPS]
"""

from __future__ import annotations

import sys

import torch

import difftuning
from difftuning import Batch, ChainOfForgetting, Condition, DiffTuning
from difftuning.coefficients.families import Power
from difftuning.coefficients.realisation import Source


def main(name: str = "dit-icons-32", steps: int = 10) -> float:
    """Train on random images, in place of yours, and return the last loss."""
    torch.manual_seed(0)
    model = difftuning.load(name)
    images = torch.rand(64, *model.sample_shape) * 2 - 1
    bank = torch.rand(64, *model.sample_shape) * 2 - 1
    optimizer = torch.optim.AdamW(model.network.parameters(), lr=1e-4)
    # The ten lines.
    chain = ChainOfForgetting.from_psi(Power(tau=1.0))
    objective = DiffTuning(model, model.process, model.prediction, model.learned_variance)
    for step in range(steps):
        draw = Source().draw(chain, model.clock, 16, torch.Generator().manual_seed(step))
        pick = torch.randint(64, (16,))
        x0 = torch.where(draw.from_bank[:, None, None, None], bank[pick], images[pick])
        condition = Condition(torch.where(draw.from_bank, model.labels.null, 0))
        loss = objective(Batch(x0, torch.randn_like(x0), condition, draw)).loss()
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    return loss.item()


if __name__ == "__main__":
    print(main(*sys.argv[1:2], *map(int, sys.argv[2:3])))
