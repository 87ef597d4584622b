"""A loss weight over time stands beside the weight of the draw, and changes nothing else."""

from __future__ import annotations

from pathlib import Path

import torch

from bank.test_read import write_bank
from difftuning.bank.read import Bank
from difftuning.coefficients.chain import ChainOfForgetting
from difftuning.coefficients.families import Constant, PowerOfComplement
from training.shared import ITEMS, latents, streams


def test_a_loss_weight_is_of_the_time_and_multiplies_that_of_the_draw(tmp_path: Path) -> None:
    # Under psi = 1 and xi = 1 - u the draw has weights of its own, 2 - u.
    chain = ChainOfForgetting(Constant(1.0), PowerOfComplement(1.0))
    bank = Bank(write_bank(tmp_path / "bank", torch.randn(ITEMS, 3, 8, 8)))
    plain, weighed = (
        streams(latents(), bank, chain=chain, weight=weight).batch(3, (10, 4)) for weight in (None, lambda t: 1 + t)
    )
    torch.testing.assert_close(plain.draw.weight, 2 - plain.draw.u)
    assert torch.equal(weighed.draw.weight, plain.draw.weight * (1 + plain.draw.t))
    for one, other in ((weighed.draw.t, plain.draw.t), (weighed.x0, plain.x0), (weighed.noise, plain.noise)):
        assert torch.equal(one, other)
