"""A run under a tuner, from the recipe to its files."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from difftuning.backbones.loading import load as load_model
from difftuning.errors import CheckpointError, ConfigError, ModelError
from difftuning.training.checkpoints import Checkpoints
from difftuning.types import Condition
from difftuning.workflows.assemble import assemble, prepare
from difftuning.workflows.diagnose import diagnose
from difftuning.workflows.evaluate import evaluate
from difftuning.workflows.pretrained import pretrained
from difftuning.workflows.recipe import load
from difftuning.workflows.runs import model_of, models_of, open_run
from difftuning.workflows.sample import sample
from difftuning.workflows.train import train
from tiny import save_tiny_dit

SHORT = ("training.steps=6", "training.heldout_every=3", "training.sample_every=0", "optim.lr=0.01")
TUNERS = {
    "lora": "tuner={kind: lora, rank: 2}",
    "bitfit": "tuner.kind=bitfit",
    "difffit": "tuner.kind=difffit",
    "vpt-deep": "tuner={kind: vpt-deep, tokens: 2}",
    "adaptformer": "tuner={kind: adaptformer, bottleneck: 4}",
}


@pytest.mark.parametrize("kind", TUNERS)
def test_from_recipe_to_results(recipe_file: Path, tmp_path: Path, kind: str) -> None:
    recipe = load(str(recipe_file), [TUNERS[kind], *SHORT])
    base = pretrained(recipe)
    ended = train(recipe)
    run = tmp_path / "run"
    models = models_of(recipe)
    assert models.tuner is not None
    noise = torch.randn(2, *base.sample_shape, generator=torch.Generator().manual_seed(0))
    t = torch.tensor([100, 900])
    with torch.no_grad():
        tuned = models.model(noise, t, Condition(torch.tensor([0, 1])))
        before = models.before(noise, t, models.before.default_condition(2))
        assert torch.equal(before, base(noise, t, base.default_condition(2)))
        assert not torch.allclose(tuned, before, atol=1e-3)
        if models.tuner.mergeable:
            merged = load_model(ended["model"])(noise, t, Condition(torch.tensor([0, 1])))
            torch.testing.assert_close(merged, tuned, atol=1e-5, rtol=1e-4)
        else:
            assert ended["model"] is None
    about = json.loads((run / "tuner" / "tuner.json").read_text())
    assert about["parameters"] == sum(value.numel() for value in models.tuner.parameters.values())
    metrics = {row["metric"]: row for row in evaluate(run)["rows"]}
    assert metrics["heldout"]["tuner"] == kind
    assert ("drift" in metrics) == models.tuner.mergeable
    assert len(sample(run, tmp_path / "drawn", count=3)["files"]) == 3
    assert len(diagnose(run, samples=8, shares=(0, 1))["swap"]) == 2


@pytest.mark.parametrize("kind", ["lora", "vpt-deep"])
def test_it_resumes_bit_for_bit(recipe_file: Path, tmp_path: Path, kind: str) -> None:
    whole = train(load(str(recipe_file), [TUNERS[kind], *SHORT]))
    broken = load(
        str(recipe_file), [TUNERS[kind], *SHORT, f"out={tmp_path / 'broken'}", f"bank_folder={tmp_path / 'run/bank'}"]
    )
    assemble(prepare(broken)).trainer.run(until=3)
    assert Checkpoints(tmp_path / "broken" / "checkpoints", 2).last_step() == 3
    assert train(broken)["weights_digest"] == whole["weights_digest"]


def test_the_teacher_is_the_model_itself(recipe_file: Path) -> None:
    prepared = prepare(load(str(recipe_file), [TUNERS["lora"], *SHORT, "distillation={weight: 0.05}"]))
    null = prepared.backbone.default_condition(2)
    x_t, t = torch.randn(2, *prepared.backbone.sample_shape), torch.tensor([5, 500])
    before = prepared.backbone(x_t, t, null).detach()
    run = assemble(prepared)
    teacher = run.trainer.objective.teacher  # type: ignore[attr-defined]
    run.trainer.run(until=3)
    run.trainer.network.eval()
    assert torch.equal(teacher(x_t, t, teacher.default_condition(2)), before)
    assert teacher.network is run.backbone.network


def test_domain_guidance_with_shared_weights_is_that_with_two_models(recipe_file: Path, tmp_path: Path) -> None:
    recipe = load(str(recipe_file), [TUNERS["lora"], *SHORT, "sampling.negative=pretrained", "sampling.guidance=3"])
    train(recipe)
    shared = open_run(tmp_path / "run")
    before, model = shared.plain()
    x_t, t = torch.randn(2, *model.sample_shape), torch.tensor([5, 500])
    with torch.no_grad():
        assert torch.equal(
            shared.before(x_t, t, shared.before.default_condition(2)), before(x_t, t, before.default_condition(2))
        )
    assert len(sample(tmp_path / "run", tmp_path / "drawn", count=2)["files"]) == 2


def test_what_a_tuner_cannot_do_is_said_in_time(recipe_file: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="matches no layer"):
        train(load(str(recipe_file), ["tuner={kind: lora, targets: ['*.to_z']}"]))
    assert not (tmp_path / "run").exists()
    with pytest.raises(ConfigError, match="did you mean 'lora'"):
        load(str(recipe_file), ["tuner.kind=lore"])
    recipe = load(str(recipe_file), [TUNERS["vpt-deep"], *SHORT, "sampling.interpolation={kind: constant, value: 0.5}"])
    with pytest.raises(CheckpointError, match="has no model yet"):
        model_of(recipe)
    train(recipe)
    with pytest.raises(ModelError, match="cannot be folded"):
        evaluate(tmp_path / "run")
    before = models_of(recipe).before
    with pytest.raises(ModelError, match="classes were replaced"):
        before(torch.zeros(1, *before.sample_shape), torch.tensor([5]), Condition(torch.tensor([0])))


def test_another_pretrained_model_under_the_same_name_is_refused(recipe_file: Path, tmp_path: Path) -> None:
    recipe = load(str(recipe_file), [TUNERS["bitfit"], *SHORT])
    train(recipe)
    save_tiny_dit(tmp_path / "model", seed=1)
    with pytest.raises(CheckpointError, match="made for another model"):
        models_of(recipe)


def test_another_scheduler_of_the_pretrained_model_is_refused(recipe_file: Path, tmp_path: Path) -> None:
    tuned = load(str(recipe_file), [TUNERS["bitfit"], *SHORT])
    begun = load(str(recipe_file), [*SHORT, f"out={tmp_path / 'begun'}", "coefficients.psi={kind: power, tau: 0}"])
    train(tuned)
    assemble(prepare(begun)).trainer.run(until=4)
    file = tmp_path / "model/scheduler/scheduler_config.json"
    config = json.loads(file.read_text())
    file.write_text(json.dumps({**config, "prediction_type": "v_prediction"}))
    with pytest.raises(CheckpointError, match=r"another noise process or prediction than .* has now \(v_prediction\)"):
        models_of(tuned)
    with pytest.raises(CheckpointError, match="another noise digest"):
        train(begun)
