"""The objective: tau = 0 is standard fine-tuning bit for bit; the loss is the weighted mean of per-sample errors."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from difftuning.backbones.dit import DiT
from difftuning.coefficients.chain import ChainOfForgetting
from difftuning.coefficients.families import Power
from difftuning.coefficients.realisation import KINDS
from difftuning.errors import ModelError
from difftuning.noise.prediction import KINDS as PREDICTIONS
from difftuning.noise.process import StraightFlow
from difftuning.objectives.denoising import denoise, denoising_error
from difftuning.objectives.diff_tuning import DiffTuning
from difftuning.objectives.finetune import finetune_loss
from difftuning.types import Batch, Condition, Draw
from tiny import tiny_dit


def data(count: int = 8, seed: int = 0) -> tuple[Tensor, Tensor, Condition]:
    generator = torch.Generator().manual_seed(seed)
    x0, noise = torch.randn(2, count, 3, 8, 8, generator=generator)
    return x0, noise, Condition(torch.randint(0, 4, (count,), generator=generator))


def draw(model: DiT, kind: str = "source", tau: float = 1.0, count: int = 8, seed: int = 0) -> Draw:
    config, make = KINDS[kind]
    chain = ChainOfForgetting.from_psi(Power(tau))
    return make(config()).draw(chain, model.clock, count, torch.Generator().manual_seed(seed))


def objective(model: DiT) -> DiffTuning:
    return DiffTuning(model, model.process, model.prediction, model.learned_variance)


def gradients(model: DiT) -> list[Tensor]:
    found = [p.grad for p in model.network.parameters() if p.grad is not None]
    model.network.zero_grad()
    return found


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction"])
def test_tau_zero_is_standard_fine_tuning_bit_for_bit(kind: str, prediction: str) -> None:
    model = tiny_dit(prediction=prediction)
    x0, noise, condition = data()
    mixed = draw(model, kind, tau=0.0)
    # Standard fine-tuning by hand: the same times, nothing else of the draw.
    plain = Draw(mixed.t, mixed.u, torch.zeros(8, dtype=torch.bool), torch.ones(8))
    ours = objective(model)(Batch(x0, noise, condition, mixed)).loss()
    ours.backward()
    our_gradients = gradients(model)
    theirs = finetune_loss(model, model.process, model.prediction, Batch(x0, noise, condition, plain))
    theirs.backward()
    assert torch.equal(ours, theirs)
    their_gradients = gradients(model)
    assert len(our_gradients) == len(their_gradients) > 0
    assert all(torch.equal(a, b) for a, b in zip(our_gradients, their_gradients, strict=True))


def test_a_few_steps_with_tau_zero_end_in_the_same_weights() -> None:
    models = [tiny_dit(), tiny_dit()]
    assert all(
        torch.equal(a, b) for a, b in zip(models[0].network.parameters(), models[1].network.parameters(), strict=True)
    )
    optimizers = [torch.optim.AdamW(model.network.parameters(), lr=1e-3) for model in models]
    start = copy.deepcopy(next(models[0].network.parameters()))
    for step in range(3):
        batch = Batch(*data(seed=step), draw(models[0], tau=0.0, seed=step))
        losses = (
            objective(models[0])(batch).loss(),
            finetune_loss(models[1], models[1].process, models[1].prediction, batch),
        )
        for loss, optimizer in zip(losses, optimizers, strict=True):
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    assert not torch.equal(start, next(models[0].network.parameters()))
    assert all(
        torch.equal(a, b) for a, b in zip(models[0].network.parameters(), models[1].network.parameters(), strict=True)
    )


@pytest.mark.parametrize("learned_variance", [False, True])
def test_the_error_is_that_of_each_sample_alone(learned_variance: bool) -> None:
    model = tiny_dit(learned_variance=learned_variance)
    batch = Batch(*data(), draw(model))
    errors = objective(model)(batch)
    assert errors.error.shape == (8,)
    for i in range(8):
        alone = objective(model)(batch[slice(i, i + 1)])
        torch.testing.assert_close(alone.error[0], errors.error[i], rtol=1e-5, atol=1e-6)
        if errors.extra is not None:
            assert alone.extra is not None
            torch.testing.assert_close(alone.extra[0], errors.extra[i], rtol=1e-4, atol=1e-6)
    assert (errors.extra is not None) == learned_variance


@pytest.mark.parametrize("kind", KINDS)
def test_the_loss_is_the_weighted_mean_of_its_parts(kind: str) -> None:
    model = tiny_dit(learned_variance=True)
    errors = objective(model)(Batch(*data(), draw(model, kind)))
    assert errors.extra is not None
    parts = (errors.draw.weight * errors.error).mean() + (errors.draw.weight * errors.extra).mean()
    torch.testing.assert_close(errors.loss(), parts)
    bank = errors.draw.from_bank
    by_source = [(errors.draw.weight * (errors.error + errors.extra))[s].sum() / 8 for s in (bank, ~bank)]
    torch.testing.assert_close(errors.loss(), by_source[0] + by_source[1])


@pytest.mark.parametrize("name", ["epsilon", "sample", "v_prediction", "flow_prediction"])
def test_the_error_is_the_mean_square_by_hand_and_zero_for_the_truth(name: str) -> None:
    model, prediction = tiny_dit(), PREDICTIONS[name]
    batch = Batch(*data(), draw(model))
    alpha, sigma = (f(batch.draw.t).float()[:, None, None, None] for f in (model.process.alpha, model.process.sigma))
    target = {
        "epsilon": batch.noise,
        "sample": batch.x0,
        "v_prediction": alpha * batch.noise - sigma * batch.x0,
        "flow_prediction": batch.noise - batch.x0,
    }[name]
    y = torch.randn(8, 3, 8, 8, generator=torch.Generator().manual_seed(5))
    by_hand = nn.functional.mse_loss(y, target, reduction="none").mean((1, 2, 3))
    torch.testing.assert_close(denoising_error(y, model.process, prediction, batch), by_hand, rtol=1e-5, atol=1e-6)
    assert float(denoising_error(target, model.process, prediction, batch).abs().max()) < 1e-10


def test_the_network_sees_the_corrupted_batch_and_its_conditions() -> None:
    model = tiny_dit()
    batch = Batch(*data(), draw(model))
    seen: list[tuple[Tensor, Tensor, Condition]] = []

    def spy(x_t: Tensor, t: Tensor, condition: Condition) -> Tensor:
        seen.append((x_t, t, condition))
        return x_t

    x_t, _ = denoise(spy, model.process, batch)
    assert torch.equal(seen[0][0], model.process.add_noise(batch.x0, batch.noise, batch.draw.t))
    assert torch.equal(x_t, seen[0][0])
    assert torch.equal(seen[0][1], batch.draw.t)
    assert torch.equal(seen[0][2].labels, batch.condition.labels)


def test_a_learned_variance_needs_the_discrete_process() -> None:
    with pytest.raises(ModelError, match="learned variance"):
        DiffTuning(tiny_dit(), StraightFlow(), PREDICTIONS["flow_prediction"], learned_variance=True)
