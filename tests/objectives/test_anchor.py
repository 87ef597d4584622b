"""The anchor's closed form, and the Fisher information against sums of squared gradients by hand."""

from __future__ import annotations

import torch
from torch import nn

from difftuning.objectives.anchor import Anchor, fisher
from difftuning.objectives.diff_tuning import DiffTuning
from difftuning.types import Batch, Condition, Draw
from tiny import tiny_dit


def test_the_penalty_and_its_gradient() -> None:
    weight = nn.Parameter(torch.tensor([1.0, 2.0]))
    anchor = Anchor({"w": weight}, 0.5, {"w": torch.tensor([1.0, 4.0])})
    assert float(anchor().detach()) == 0
    with torch.no_grad():
        weight += torch.tensor([3.0, -1.0])
    penalty = anchor()
    assert float(penalty.detach()) == 0.25 * (1 * 9 + 4 * 1)
    penalty.backward()
    assert weight.grad is not None
    assert weight.grad.tolist() == [0.5 * 3, 0.5 * 4 * -1]


def test_without_importance_all_weigh_alike() -> None:
    weight = nn.Parameter(torch.zeros(3))
    anchor = Anchor({"w": weight}, 2.0)
    with torch.no_grad():
        weight += 1
    assert float(anchor().detach()) == 3.0


def test_fisher_is_the_mean_square_of_each_samples_gradient() -> None:
    model = tiny_dit()
    model.network.eval()
    parameters = dict(model.network.named_parameters())
    objective = DiffTuning(model, model.process, model.prediction)
    batches = []
    for index in range(3):
        t = torch.tensor([100.0 + 300 * index])
        draw = Draw(t, model.clock.u(t), torch.ones(1, dtype=torch.bool), torch.ones(1))
        batches.append(Batch(torch.randn(1, 3, 8, 8), torch.randn(1, 3, 8, 8), Condition(torch.tensor([4])), draw))
    found = fisher(objective, parameters, batches)
    name = next(name for name in parameters if name.endswith("proj_out_2.weight"))
    expected = torch.zeros_like(parameters[name])
    for batch in batches:
        model.network.zero_grad()
        objective(batch).loss().backward()
        gradient = parameters[name].grad
        assert gradient is not None
        expected += gradient.square() / len(batches)
    torch.testing.assert_close(found[name], expected)
    assert found.keys() == parameters.keys()
    # Rows of classes that no bank item has matter nothing to the bank.
    table = next(value for name, value in found.items() if name.endswith("embedding_table.weight"))
    assert float(table[:4].abs().max()) == 0
