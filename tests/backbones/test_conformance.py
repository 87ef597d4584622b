"""What every backbone promises, whatever its family and its process."""

from __future__ import annotations

import copy
import json
from pathlib import Path

import diffusers
import pytest
import torch
from torch import Tensor

from backbones.families import FAMILIES, condition
from difftuning.backbones.base import Backbone
from difftuning.backbones.codec import IdentityCodec
from difftuning.backbones.controlnet import Controlled
from difftuning.backbones.labels import Extend, Keep, Replace
from difftuning.backbones.loading import KINDS, load
from difftuning.backbones.solvers import SOLVERS, make_scheduler
from difftuning.errors import ConfigError, ModelError
from difftuning.noise.process import from_scheduler_config
from difftuning.objectives.diff_tuning import DiffTuning
from difftuning.sampling.guidance import guided
from difftuning.sampling.loop import sample
from difftuning.sampling.seeds import sample_noise
from difftuning.types import Batch, Draw
from tiny_text import PIPELINES

FAMILY = pytest.mark.parametrize("family", FAMILIES)


def times(model: Backbone, count: int) -> Tensor:
    """From all over its clock."""
    return model.clock.t((torch.arange(count) + 0.5) / count)


def answer(model: Backbone, labels: list[int], seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    x_t = torch.randn(len(labels), *model.sample_shape, generator=generator)
    with torch.no_grad():
        return model(x_t, times(model, len(labels)), condition(model, torch.tensor(labels)))


def conditional(model: Backbone) -> bool:
    return len(model.labels) > 0


def test_every_pipeline_class_that_can_be_loaded_is_here(tmp_path: Path) -> None:
    here = {getattr(make(tmp_path / str(i)), "pipeline", None) for i, make in enumerate(FAMILIES.values())}
    others = {"DiTPipeline", "DDPMPipeline", "DDIMPipeline", "EDMPipeline", "PixArtSigmaPipeline"}
    assert here - {None} | others == KINDS.keys()


@FAMILY
def test_shapes_of_answers(model: Backbone) -> None:
    channels, height, width = model.sample_shape
    assert answer(model, [0, 0]).shape == (2, channels * (1 + model.learned_variance), height, width)


@FAMILY
def test_a_sample_does_not_depend_on_its_batch(model: Backbone) -> None:
    x_t, t, labels = torch.randn(4, *model.sample_shape), times(model, 4), torch.zeros(4, dtype=torch.int64)
    with torch.no_grad():
        asked = condition(model, labels)
        together = model(x_t, t, asked)
        alone = torch.cat([model(x_t[i : i + 1], t[i : i + 1], asked[i : i + 1]) for i in range(4)])
    torch.testing.assert_close(together, alone, atol=2e-5, rtol=1e-4)


@FAMILY
def test_the_condition_matters_and_the_null_label_is_one(model: Backbone) -> None:
    under = [answer(model, [row] * 2) for row in (0, model.labels.null)]
    assert torch.equal(*under) == (not conditional(model))
    default = model.default_condition(2).labels.tolist()
    assert torch.isfinite(answer(model, default)).all()


@FAMILY
def test_saved_and_loaded_it_is_the_same(model: Backbone, tmp_path: Path) -> None:
    model.save(tmp_path / "saved")
    again = load(str(tmp_path / "saved"))
    assert again.digest() == model.digest()
    assert again.noise_digest() == model.noise_digest()
    assert again.labels == model.labels
    assert again.sample_shape == model.sample_shape
    again.network.eval()
    rows = [0, model.labels.null]
    assert torch.equal(answer(again, rows), answer(model, rows))


@pytest.mark.parametrize("family", [name for name in FAMILIES if not name.startswith(("ddpmpp", "adm"))])
def test_saved_it_is_read_by_plain_diffusers(model: Backbone, family: str, tmp_path: Path) -> None:
    """But for the networks of Karras et al., which diffusers does not have."""
    model.save(tmp_path / "saved")
    kind = json.loads((tmp_path / "saved/model_index.json").read_text())["_class_name"]
    # Parts that our tiny ones lack, which these two pipelines want to be told.
    absent = {"dit": ("vae",), "sd3": ("text_encoder_3", "tokenizer_3")}.get(family.partition(",")[0], ())
    parts = dict.fromkeys(absent)
    pipe = getattr(diffusers, kind).from_pretrained(tmp_path / "saved", **parts)
    ours = {"controlnet": model.network["controlnet"]} if isinstance(model, Controlled) else {"": model.network}
    for name, network in ours.items():
        part = getattr(pipe, name or ("unet" if hasattr(pipe, "unet") else "transformer"))
        there = part.state_dict()
        assert there.keys() == network.state_dict().keys()
        assert all(torch.equal(value, there[key]) for key, value in network.state_dict().items())
    config = {**pipe.scheduler.config, "_class_name": type(pipe.scheduler).__name__}
    again, t = from_scheduler_config(config), times(model, 8)
    assert type(again) is type(model.process)
    torch.testing.assert_close(again.log_snr(t), model.process.log_snr(t), atol=0, rtol=0)


@pytest.mark.parametrize("family", [name for name in FAMILIES if name.startswith(("unet", *PIPELINES))])
def test_another_size_is_answered_and_saved(model: Backbone, tmp_path: Path) -> None:
    """Twice the size, where there are places for it."""
    side = 2 * model.image_size if family_has_room(model) else model.image_size
    model.resize(side)
    assert answer(model, [0]).shape[-1] == model.sample_shape[-1]
    model.save(tmp_path / "saved")
    again = load(str(tmp_path / "saved"))
    assert again.image_size == side
    # At this size kernels round by where in memory the weights lie.
    torch.testing.assert_close(answer(again, [0]), answer(model, [0]), atol=1e-5, rtol=1e-5)


def family_has_room(model: Backbone) -> bool:
    try:
        copy.deepcopy(model).resize(2 * model.image_size)
    except ModelError:
        return False
    return True


@FAMILY
def test_one_weight_changes_the_digest(model: Backbone) -> None:
    before = model.digest()
    with torch.no_grad():
        next(iter(model.network.parameters())).view(-1)[0].add_(1)
    assert model.digest() != before


@FAMILY
def test_a_copy_has_weights_of_its_own(model: Backbone) -> None:
    copied = copy.deepcopy(model)
    before = answer(model, [0])
    with torch.no_grad():
        for parameter in copied.network.parameters():
            parameter.add_(0.1)
    assert torch.equal(answer(model, [0]), before)
    assert not torch.equal(answer(copied, [0]), before)


@FAMILY
@pytest.mark.parametrize("change", [Replace(), Extend(), Keep()], ids=lambda change: change.kind)
def test_new_labels_leave_the_null_label_as_it_was(model: Backbone, change: Replace) -> None:
    null = answer(model, [model.labels.null] * 2)
    default = answer(model, model.default_condition(2).labels.tolist())
    target = ("bee", "fox")
    rows = model.change_labels(change, target)
    assert rows.shape == (2,)
    assert torch.isfinite(answer(model, rows.tolist())).all()
    assert torch.equal(answer(model, [model.labels.null] * 2), null)
    assert torch.equal(answer(model, model.default_condition(2).labels.tolist()), default)
    if change.kind != "keep":
        assert tuple(model.labels.names[row] for row in rows.tolist()) == target
        if not model.by_prompt:
            assert model.class_table in dict(model.network.named_parameters())


@FAMILY
def test_a_skeleton_has_the_same_parts_and_no_weights(model: Backbone) -> None:
    bones = dict(model.skeleton().named_parameters())
    assert {name: value.shape for name, value in model.network.named_parameters()}.items() <= {
        name: value.shape for name, value in bones.items()
    }.items()
    assert all(value.is_meta for value in bones.values())


@FAMILY
def test_the_objective_falls_in_training(model: Backbone) -> None:
    objective = DiffTuning(model, model.process, model.prediction, model.learned_variance)
    generator = torch.Generator().manual_seed(0)
    x0 = 0.5 * torch.randn(8, *model.sample_shape, generator=generator)
    t = times(model, 8)
    draw = Draw(t, model.clock.u(t), torch.zeros(8, dtype=torch.bool), torch.ones(8))
    batch = Batch(
        x0, torch.randn(x0.shape, generator=generator), condition(model, torch.zeros(8, dtype=torch.int64)), draw
    )
    optimizer = torch.optim.Adam(model.network.parameters(), lr=3e-3)
    errors = []
    for _ in range(12):
        found = objective(batch)
        assert found.error.shape == (8,)
        found.loss().backward()
        optimizer.step()
        optimizer.zero_grad()
        errors.append(float(found.detached().error.mean()))
    assert errors[-1] < 0.8 * errors[0]


@FAMILY
def test_a_step_never_looks_at_what_lies_on_the_device(model: Backbone) -> None:
    """On the meta device there is nothing to look at: what would make a GPU be waited for raises here."""
    t = times(model, 4)
    asked = condition(model, torch.zeros(4, dtype=torch.int64)).to("meta")
    answer(model, [0, model.labels.null])  # texts are encoded once, when first asked for
    model.to("meta")
    draw = Draw(*(value.to("meta") for value in (t, model.clock.u(t), torch.arange(4) % 2 > 0, torch.ones(4))))
    x0 = torch.empty(4, *model.sample_shape, device="meta")
    loss = DiffTuning(model, model.process, model.prediction, model.learned_variance)(
        Batch(x0, torch.empty_like(x0), asked, draw)
    ).loss()
    loss.backward()
    assert loss.is_meta
    assert any(parameter.grad is not None for parameter in model.network.parameters())
    with pytest.raises(RuntimeError):
        float(loss)


@FAMILY
def test_it_is_drawn_by_every_solver_of_its_process(model: Backbone) -> None:
    drawn = 0
    for solver in SOLVERS:
        try:
            scheduler = make_scheduler(solver, model.scheduler_config)
        except ConfigError:
            continue
        noise = sample_noise(0, range(2), model.sample_shape)
        denoiser = guided(model, model.labels.null, 1.5, 1.0)
        images = sample(denoiser, model.process, scheduler, condition(model, torch.tensor([0, 0])), noise, 3)
        assert images.shape == noise.shape
        assert torch.isfinite(images).all(), solver
        drawn += 1
    assert drawn >= 2


@FAMILY
def test_pixels_go_in_and_come_out(model: Backbone) -> None:
    side = model.image_size
    images = torch.rand(2, 3, side, side) * 2 - 1
    latents = model.codec.encode(images)
    assert latents.shape[1:] == model.sample_shape
    assert model.codec.decode(latents).shape == images.shape
    assert isinstance(model.codec, IdentityCodec) == (side == model.sample_shape[-1])


@pytest.mark.parametrize("family", [name for name in FAMILIES if name.endswith("edm")])
def test_what_the_network_is_given_has_variance_one_under_edm(model: Backbone) -> None:
    t = times(model, 256)
    x0 = model.process.sigma_data * torch.randn(256, *model.sample_shape)
    x_t = model.process.add_noise(x0, torch.randn_like(x0), t)
    assert abs(float(model.process.network_input(x_t, t).var()) - 1) < 0.05
