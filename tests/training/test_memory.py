"""What is counted is what is there: of optimiser and average in a real trainer, of activations in closed form."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from difftuning.training.ema import EMA, EMAConfig
from difftuning.training.memory import held, kept
from training.test_trainer import make


def test_a_trainer_holds_what_is_counted(tmp_path: Path) -> None:
    trainer = make(tmp_path)
    trainer.run(until=1)
    values = list(trainer.parameters.values())
    counted = held(trainer.network.parameters(), values)
    moments = [entry[key] for entry in trainer.optimizer.state.values() for key in ("exp_avg", "exp_avg_sq")]
    assert counted.moments == sum(moment.nbytes for moment in moments)
    assert counted.average == sum(value.nbytes for value in trainer.ema.average.values())
    assert counted.gradients == counted.weights == sum(value.nbytes for value in values)
    assert counted.total == 5 * counted.weights
    assert held(trainer.network.parameters(), values[:1], average=False).total == counted.weights + 3 * values[0].nbytes


def test_a_parameter_of_two_names_counts_once() -> None:
    one = nn.Linear(3, 3)
    assert held([one.weight, one.weight], []).weights == 36


@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_a_pass_keeps_its_inputs_once(device: str) -> None:
    network = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2)).to(device)
    x = torch.zeros(16, 4, device=device)
    # The first layer keeps x; the activation keeps its own answer, which is what the last layer keeps too.
    assert kept(network, lambda: network(x)) == 4 * (16 * 4 + 16 * 8)
    network[0].weight.requires_grad_(False)
    assert kept(network, lambda: network(x)) == 4 * 16 * 8


def test_an_average_in_host_memory_is_the_same_bit_for_bit() -> None:
    torch.manual_seed(0)
    layer = nn.Linear(4, 4)
    averages = [EMA(dict(layer.named_parameters()), EMAConfig(decay=0.9, device=device)) for device in (None, "cpu")]
    for step in range(1, 4):
        with torch.no_grad():
            layer.weight.add_(1.0)
        for average in averages:
            average.update(step, 8)
    one, other = (average.average["weight"] for average in averages)
    assert torch.equal(one, other)
    assert one.data_ptr() != layer.weight.data_ptr()
    trained = layer.weight.clone()
    with averages[1].swapped():
        assert torch.equal(layer.weight, other)
    assert torch.equal(layer.weight, trained)
