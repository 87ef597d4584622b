"""The sampling loop over every solver: orders of convergence, exact laws, seeds, branches, agreement with diffusers."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from diffusers import AutoencoderKL, DiTPipeline, DiTTransformer2DModel
from torch import Tensor

from difftuning.backbones.solvers import SOLVERS, make_scheduler
from difftuning.errors import ConfigError
from difftuning.noise.prediction import KINDS
from difftuning.noise.process import from_scheduler_config
from difftuning.sampling.denoiser import ModelDenoiser
from difftuning.sampling.guidance import ClassifierFreeGuidance
from difftuning.sampling.loop import State, resume, sample
from difftuning.sampling.seeds import generators, sample_noise
from difftuning.types import Condition
from gaussian_mixture import GaussianMixture

# 1024 timesteps, so that every power of two divides them and a solver's grid is even.
DDPM: dict[str, Any] = {
    "_class_name": "DDPMScheduler",
    "num_train_timesteps": 1024,
    "timestep_spacing": "trailing",
    "beta_start": 1e-5,
    "clip_sample": False,
}
FLOW: dict[str, Any] = {"_class_name": "FlowMatchEulerDiscreteScheduler"}
EDM: dict[str, Any] = {"_class_name": "EDMEulerScheduler", "sigma_max": 80.0, "sigma_min": 0.002, "sigma_data": 0.5}
CASES = [(name, DDPM) for name in SOLVERS] + [(name, FLOW) for name in ("dpm++", "unipc", "euler", "heun")]
CASES += [(name, EDM) for name in ("dpm++", "euler", "heun")]
NAMES = [f"{config['_class_name'][:4]}-{name}" for name, config in CASES]
MIXTURE = GaussianMixture.random()
GAUSSIAN = GaussianMixture(MIXTURE.means[:1], torch.tensor([0.5]).double(), torch.ones(1).double())


def draw(
    mixture: GaussianMixture, name: str, config: dict[str, Any], steps: int, count: int = 8, **options: Any
) -> Tensor:
    process = from_scheduler_config(config)
    return sample(
        mixture.denoiser(process),
        process,
        make_scheduler(name, config),
        mixture.default_condition(count),
        sample_noise(0, range(count), mixture.means.shape[1:]),
        steps,
        generators(0, range(count)),
        **options,
    )


def flow_errors(name: str, config: dict[str, Any], steps: int) -> tuple[float, float]:
    """Root mean square distances to the exact flow from the solver's own start: in the middle, and at the end."""
    process = from_scheduler_config(config)
    denoiser, asked = GAUSSIAN.denoiser(process), []

    def watched(x_t: Tensor, t: Tensor, condition: Condition) -> Tensor:
        asked.append((x_t, t))
        return denoiser(x_t, t, condition)

    noise = sample_noise(0, range(8), GAUSSIAN.means.shape[1:])
    x0 = sample(watched, process, make_scheduler(name, config), GAUSSIAN.default_condition(8), noise, steps)
    # The last visit, because Heun's first visit of a time is a guess.
    x_t, t = min(reversed(asked), key=lambda visit: abs(float(process.log_snr(visit[1][:1]))))
    middle = GAUSSIAN.flow(process, *asked[0], t)
    end = GAUSSIAN.flow(process, *asked[0], torch.full_like(t, process.t_min))
    return float((x_t - middle).square().mean().sqrt()), float((x0 - end).square().mean().sqrt())


@pytest.mark.parametrize(
    ("name", "config", "order"),
    [
        ("ddim", DDPM, 1),
        ("euler", DDPM, 1),
        ("dpm++", DDPM, 2),
        ("unipc", DDPM, 3),  # the corrector adds one to the order of its predictor (Zhao et al. 2023, arXiv 2302.04867)
        ("heun", DDPM, 2),
        ("euler", FLOW, 1),
        ("heun", FLOW, 2),
        ("dpm++", FLOW, 2),
        ("euler", EDM, 1),
        ("dpm++", EDM, 2),
        ("heun", EDM, 2),
        ("dpm++", {**EDM, "prediction_type": "v_prediction"}, 2),
        ("heun", {**EDM, "prediction_type": "v_prediction"}, 2),
    ],
)
def test_solvers_reach_the_exact_flow_at_their_order(name: str, config: dict[str, Any], order: int) -> None:
    steps = [16, 32, 64, 128]
    errors = [flow_errors(name, config, n) for n in steps]
    slope = torch.linalg.lstsq(
        torch.tensor([[math.log(n), 1.0] for n in steps]), torch.tensor([[math.log(middle)] for middle, _ in errors])
    ).solution[0]
    assert errors[-1][1] < (0.03 if order == 1 else 0.01)
    assert -float(slope) == pytest.approx(order, abs=0.3)


@pytest.mark.parametrize("config", [DDPM, FLOW])
def test_deterministic_solvers_agree_on_a_mixture(config: dict[str, Any]) -> None:
    names = [name for name, its_config in CASES if its_config is config and name != "ddpm"]
    samples = {name: draw(MIXTURE, name, config, 256) for name in names}
    for name in names:
        assert (samples[name] - samples["heun"]).abs().max() < 0.03, name


def test_ddpm_reproduces_the_mixture() -> None:
    count = 1500
    samples = draw(MIXTURE, "ddpm", {**DDPM, "variance_type": "fixed_small"}, 128, count).double()
    deviation = MIXTURE.variance.sqrt()
    assert ((samples.mean(0) - MIXTURE.mean).abs() < 4 * deviation / count**0.5).all()
    assert (samples.var(0) / MIXTURE.variance - 1).abs().max() < 0.12
    nearest = (samples[:, None] - MIXTURE.means).flatten(2).norm(dim=2).argmin(1)
    shares = torch.bincount(nearest, minlength=3) / count
    assert (shares - MIXTURE.weights).abs().max() < 0.05


@pytest.mark.parametrize(("name", "config"), CASES, ids=NAMES)
def test_a_sample_does_not_depend_on_its_batch(name: str, config: dict[str, Any]) -> None:
    process, scheduler = from_scheduler_config(config), make_scheduler(name, config)
    whole = draw(MIXTURE, name, config, 8)
    for indices in ([5], [2, 7, 0]):
        noise = sample_noise(0, indices, MIXTURE.means.shape[1:])
        condition = MIXTURE.default_condition(len(indices))
        part = sample(MIXTURE.denoiser(process), process, scheduler, condition, noise, 8, generators(0, indices))
        torch.testing.assert_close(part, whole[indices], atol=1e-5, rtol=0)


@pytest.mark.parametrize(("name", "config"), CASES, ids=NAMES)
def test_a_branch_from_a_kept_state_ends_where_the_trajectory_does(name: str, config: dict[str, Any]) -> None:
    process = from_scheduler_config(config)
    states: list[State] = []
    whole = draw(MIXTURE, name, config, 6, callback=lambda state: states.append(state.copy()))
    assert [state.step for state in states] == list(range(states[0].total + 1))
    assert torch.equal(states[-1].x, whole)
    condition = MIXTURE.default_condition(len(whole))
    for state in (states[0], states[3], states[3], states[-1]):
        assert torch.equal(resume(MIXTURE.denoiser(process), process, condition, state), whole)


def test_the_scheduler_given_is_not_changed_and_no_gradient_flows() -> None:
    process, scheduler = from_scheduler_config(DDPM), make_scheduler("dpm++", DDPM)
    before = scheduler.timesteps.clone()
    gain = torch.ones((), requires_grad=True)
    denoiser = MIXTURE.denoiser(process)
    noise = sample_noise(0, range(2), MIXTURE.means.shape[1:])
    x0 = sample(
        lambda *arguments: gain * denoiser(*arguments), process, scheduler, MIXTURE.default_condition(2), noise, 4
    )
    assert not x0.requires_grad
    assert torch.equal(scheduler.timesteps, before)
    assert scheduler.step_index is None


def test_a_generator_in_training_goes_on_undisturbed() -> None:
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    draw(MIXTURE, "ddpm", DDPM, 4)
    assert torch.equal(torch.rand(3), expected)


@pytest.mark.parametrize("kind", ["epsilon", "v_prediction", "sample"])
def test_the_scheduler_is_given_what_its_config_says(kind: str) -> None:
    config = {**DDPM, "prediction_type": kind}
    for name in ("ddim", "dpm++", "euler"):
        torch.testing.assert_close(draw(MIXTURE, name, config, 16), draw(MIXTURE, name, DDPM, 16), atol=1e-3, rtol=0)


@pytest.mark.parametrize("name", ["ddpm", "ddim", "dpm++", "unipc", "euler"])
def test_zero_terminal_snr_starts_from_pure_noise(name: str) -> None:
    config = {**DDPM, "rescale_betas_zero_snr": True, "prediction_type": "v_prediction"}
    samples = draw(MIXTURE, name, config, 64, 256)
    distance = (samples[:, None] - MIXTURE.means).flatten(2).norm(dim=2).min(1).values
    assert distance.quantile(0.9) < 1.0


@pytest.mark.parametrize("steps", [0, 1025])
def test_impossible_numbers_of_steps_are_refused(steps: int) -> None:
    with pytest.raises(ConfigError, match=f"cannot sample in {steps} steps"):
        draw(MIXTURE, "ddim", DDPM, steps)


# -- against diffusers' own pipeline ---------------------------------------------------------------------------------

PIPELINE_CONFIG = {**DDPM, "num_train_timesteps": 1000, "timestep_spacing": "leading"}


@pytest.fixture(scope="module")
def transformer() -> DiTTransformer2DModel:
    torch.manual_seed(0)
    # 1000 classes, because DiTPipeline takes 1000 as the null class of every model.
    return DiTTransformer2DModel(
        num_attention_heads=2,
        attention_head_dim=8,
        in_channels=4,
        out_channels=8,
        num_layers=2,
        sample_size=8,
        patch_size=2,
        num_embeds_ada_norm=1000,
    ).eval()


def ours(transformer: DiTTransformer2DModel, name: str, scale: float, labels: list[int]) -> Tensor:
    def network(x_t: Tensor, t: Tensor, condition: Condition) -> Tensor:
        answer: Tensor = transformer(x_t, timestep=t, class_labels=condition.labels).sample
        return answer

    process = from_scheduler_config(PIPELINE_CONFIG)
    denoiser = ClassifierFreeGuidance(ModelDenoiser(network, process, KINDS["epsilon"]), 1000, scale)
    noise, condition = sample_noise(0, range(len(labels)), (4, 8, 8)), Condition(torch.tensor(labels))
    return sample(denoiser, process, make_scheduler(name, PIPELINE_CONFIG), condition, noise, 10)


# DiTPipeline gives its solver no generators, so DDPM draws from the global one, for twice the batch under guidance.
@pytest.mark.parametrize(
    ("name", "scale"), [("ddpm", 1.0), ("ddim", 1.0), ("ddim", 4.0), ("dpm++", 4.0), ("unipc", 1.0), ("unipc", 4.0)]
)
def test_it_draws_what_dit_pipeline_draws(transformer: DiTTransformer2DModel, name: str, scale: float) -> None:
    torch.manual_seed(1)
    vae = AutoencoderKL(block_out_channels=(8,), norm_num_groups=4, latent_channels=4, sample_size=8).eval()
    pipeline = DiTPipeline(transformer, vae, make_scheduler(name, PIPELINE_CONFIG))
    pipeline.set_progress_bar_config(disable=True)
    torch.manual_seed(2)
    noise = generators(0, range(2), "noise")
    images = pipeline([3, 141], scale, noise, num_inference_steps=10, output_type="np").images
    torch.manual_seed(2)
    latents = ours(transformer, name, scale, [3, 141])
    with torch.no_grad():
        decoded = (vae.decode(latents / vae.config.scaling_factor).sample / 2 + 0.5).clamp(0, 1)
    assert decoded.std() > 0.01
    torch.testing.assert_close(torch.as_tensor(images).permute(0, 3, 1, 2), decoded, atol=1e-4, rtol=0)


@pytest.mark.parametrize("name", ["ddim", "euler", "heun"])
@torch.no_grad()
def test_it_draws_what_a_plain_diffusers_loop_draws(transformer: DiTTransformer2DModel, name: str) -> None:
    # As StableDiffusionPipeline does it; DiTPipeline cannot run Euler and Heun, whose input it scales in place.
    labels = torch.tensor([3, 141])
    scheduler = make_scheduler(name, PIPELINE_CONFIG)
    scheduler.set_timesteps(10)
    x = sample_noise(0, range(2), (4, 8, 8)) * scheduler.init_noise_sigma
    for timestep in scheduler.timesteps:
        scaled = scheduler.scale_model_input(x, timestep)
        answer = transformer(scaled, timestep=timestep.expand(2), class_labels=labels).sample
        x = scheduler.step(answer[:, :4], timestep, x).prev_sample
    torch.testing.assert_close(ours(transformer, name, 1.0, labels.tolist()), x, atol=1e-4, rtol=1e-4)
