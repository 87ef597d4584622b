"""Denoisers made from networks, and denoisers that wrap denoisers."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from difftuning.noise.clock import LogNormal, Uniform, UniformIndex, default_clock
from difftuning.noise.prediction import KINDS
from difftuning.noise.process import EDM, NoiseProcess, StraightFlow, VariancePreserving, from_scheduler_config
from difftuning.sampling.denoiser import Clipped, ModelDenoiser, Unconditional
from difftuning.sampling.domain_guidance import DomainGuidance
from difftuning.sampling.guidance import ClassifierFreeGuidance, guided
from difftuning.sampling.swap import Swap
from difftuning.types import Condition, Denoiser
from gaussian_mixture import GaussianMixture
from tiny import tiny_dit

MIXTURE = GaussianMixture.random()
VP = from_scheduler_config({"_class_name": "DDPMScheduler"})
TIMES = {
    VariancePreserving: torch.tensor([0.0, 300.0, 600.0, 999.0]),
    StraightFlow: torch.tensor([0.01, 0.3, 0.6, 1.0]),
    EDM: torch.tensor([0.01, 0.5, 3.0, 80.0]),
}


class Counted:
    """A denoiser that notes the size of each batch it is asked for."""

    def __init__(self, denoiser: Denoiser) -> None:
        self.denoiser = denoiser
        self.sizes: list[int] = []

    def __call__(self, x_t: Tensor, t: Tensor, condition: Condition, /) -> Tensor:
        self.sizes.append(len(x_t))
        return self.denoiser(x_t, t, condition)


def noisy(process: NoiseProcess) -> tuple[Tensor, Tensor, Condition]:
    generator = torch.Generator().manual_seed(0)
    t = TIMES[type(process)]
    x0, labels = MIXTURE.sample(len(t), generator)
    return process.add_noise(x0, torch.randn(x0.shape, generator=generator), t), t, Condition(labels)


@pytest.mark.parametrize("kind", ["epsilon", "v_prediction", "sample"])
@pytest.mark.parametrize("learned_variance", [False, True])
def test_a_model_denoiser_solves_for_the_clean_sample_and_drops_the_variance(kind: str, learned_variance: bool) -> None:
    network = MIXTURE.network(VP, KINDS[kind])

    def answer(x_t: Tensor, t: Tensor, condition: Condition) -> Tensor:
        y = network(x_t, t, condition)
        return torch.cat([y, torch.full_like(y, 9.0)], 1) if learned_variance else y

    x_t, t, condition = noisy(VP)
    x0_hat = ModelDenoiser(answer, VP, KINDS[kind])(x_t, t, condition)
    torch.testing.assert_close(x0_hat, MIXTURE.denoiser(VP)(x_t, t, condition), atol=1e-4, rtol=0)


def test_a_model_denoiser_answers_in_the_dtype_of_the_state() -> None:
    x_t, t, condition = noisy(VP)
    network = MIXTURE.network(VP, KINDS["v_prediction"])
    half = ModelDenoiser(lambda *arguments: network(*arguments).bfloat16(), VP, KINDS["v_prediction"])
    assert half(x_t, t, condition).dtype == torch.float32


def test_clipped_and_unconditional() -> None:
    x_t, t, condition = noisy(VP)
    exact = MIXTURE.denoiser(VP)
    assert torch.equal(Clipped(exact, 0.2)(x_t, t, condition), exact(x_t, t, condition).clamp(-0.2, 0.2))
    null = MIXTURE.default_condition(len(x_t))
    assert torch.equal(Unconditional(exact, MIXTURE.null)(x_t, t, condition), exact(x_t, t, null))


def test_guidance_of_scale_one_is_the_conditional_model_in_one_pass() -> None:
    x_t, t, condition = noisy(VP)
    counted = Counted(MIXTURE.denoiser(VP))
    guided = ClassifierFreeGuidance(counted, MIXTURE.null, 1.0)(x_t, t, condition)
    assert torch.equal(guided, MIXTURE.denoiser(VP)(x_t, t, condition))
    assert counted.sizes == [len(x_t)]


def test_guidance_is_affine_in_its_scale_and_one_doubled_pass() -> None:
    x_t, t, condition = noisy(VP)
    exact = MIXTURE.denoiser(VP)
    conditional, unconditional = exact(x_t, t, condition), exact(x_t, t, MIXTURE.default_condition(len(x_t)))
    counted = Counted(exact)
    for scale in (0.0, 2.5):
        guided = ClassifierFreeGuidance(counted, MIXTURE.null, scale)(x_t, t, condition)
        torch.testing.assert_close(guided, (1 - scale) * unconditional + scale * conditional)
    assert counted.sizes == [2 * len(x_t)] * 2


def test_domain_guidance_leads_away_from_the_other_model() -> None:
    x_t, t, condition = noisy(VP)
    ours, other = MIXTURE.denoiser(VP), GaussianMixture.random(seed=1)
    negative = Counted(Unconditional(other.denoiser(VP), other.null))
    null = other.denoiser(VP)(x_t, t, other.default_condition(len(x_t)))
    found = DomainGuidance(ours, negative, 2.5)(x_t, t, condition)
    torch.testing.assert_close(found, null + 2.5 * (ours(x_t, t, condition) - null))
    negative.sizes.clear()
    assert torch.equal(DomainGuidance(ours, negative, 1.0)(x_t, t, condition), ours(x_t, t, condition))
    assert negative.sizes == []


def test_domain_guidance_from_the_model_itself_is_classifier_free_guidance() -> None:
    x_t, t, condition = noisy(VP)
    exact = MIXTURE.denoiser(VP)
    own = DomainGuidance(exact, Unconditional(exact, MIXTURE.null), 1.5)(x_t, t, condition)
    torch.testing.assert_close(own, ClassifierFreeGuidance(exact, MIXTURE.null, 1.5)(x_t, t, condition))


@pytest.mark.parametrize("kind", ["epsilon", "v_prediction"])
def test_guiding_the_clean_sample_is_guiding_the_prediction(kind: str) -> None:
    x_t, t, condition = noisy(VP)
    network, null = MIXTURE.network(VP, KINDS[kind]), MIXTURE.default_condition(len(x_t))
    conditional, unconditional = network(x_t, t, condition), network(x_t, t, null)
    expected, _ = KINDS[kind].solve(VP, x_t, unconditional + 3.0 * (conditional - unconditional), t)
    denoiser = ModelDenoiser(network, VP, KINDS[kind])
    guided = ClassifierFreeGuidance(denoiser, MIXTURE.null, 3.0)(x_t, t, condition)
    torch.testing.assert_close(guided, expected, atol=1e-3, rtol=1e-4)


@pytest.mark.parametrize("process", [VP, StraightFlow(), EDM()])
def test_a_swap_at_either_end_is_one_model_exactly(process: NoiseProcess) -> None:
    clock = default_clock(process)
    assert isinstance(clock, UniformIndex | Uniform | LogNormal)
    x_t, t, condition = noisy(process)
    high, low = Counted(MIXTURE.denoiser(process)), Counted(GaussianMixture.random(seed=1).denoiser(process))
    assert torch.equal(Swap(high, low, 0.0, clock)(x_t, t, condition), high(x_t, t, condition))
    assert low.sizes == []
    high.sizes.clear()
    assert torch.equal(Swap(high, low, 1.0, clock)(x_t, t, condition), low(x_t, t, condition))
    assert high.sizes == []


def test_a_swap_sends_each_sample_of_a_mixed_batch_to_one_model() -> None:
    x_t, t, condition = noisy(VP)
    high, low = MIXTURE.denoiser(VP), GaussianMixture.random(seed=1).denoiser(VP)
    x0_hat = Swap(high, low, 0.5, default_clock(VP))(x_t, t, condition)
    assert torch.equal(x0_hat[:2], low(x_t, t, condition)[:2])
    assert torch.equal(x0_hat[2:], high(x_t, t, condition)[2:])


@pytest.mark.parametrize("clip", [None, 0.2])
def test_guided_is_a_model_in_its_precision_then_guided_then_clipped(clip: float | None) -> None:
    model = tiny_dit()
    x_t = torch.randn(4, *model.sample_shape, generator=torch.Generator().manual_seed(0))
    t, condition = torch.tensor([10.0, 300.0, 600.0, 990.0]), Condition(torch.tensor([0, 1, 2, 3]))
    with torch.no_grad():
        whole: Denoiser = ClassifierFreeGuidance(ModelDenoiser(model, model.process, model.prediction), 4, 2.0)
        whole = whole if clip is None else Clipped(whole, clip)
        assert torch.equal(guided(model, 4, 2.0, clip)(x_t, t, condition), whole(x_t, t, condition))
        half = guided(model, 4, 2.0, clip, "bf16")(x_t, t, condition)
    assert half.dtype == torch.float32
    assert not torch.equal(half, whole(x_t, t, condition))
    # bfloat16 has 8 bits; at u near 1 the solve for x0 enlarges what they lose.
    torch.testing.assert_close(half[:2], whole(x_t, t, condition)[:2], atol=0.05, rtol=0)
