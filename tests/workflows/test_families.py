"""A run of each kind of family, from recipe to report, and again to the same bits."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from backbones.families import class_unet, dit, edm_unet, text
from difftuning.backbones.base import Backbone
from difftuning.backbones.loading import load
from difftuning.bank.card_file import read_card
from difftuning.errors import BankError, ConfigError, DataError, ModelError
from difftuning.objectives.distillation import Distillation
from difftuning.types import Condition
from difftuning.workflows import bank, recipe
from difftuning.workflows.assemble import assemble, open_bank, prepare
from difftuning.workflows.diagnose import diagnose
from difftuning.workflows.drawing import draw_images
from difftuning.workflows.evaluate import evaluate
from difftuning.workflows.recipe import Recipe
from difftuning.workflows.report import report
from difftuning.workflows.runs import models_of
from difftuning.workflows.sample import sample
from difftuning.workflows.train import check, train

MODELS: dict[str, Callable[[Path], object]] = {
    "edm": lambda folder: class_unet("edm").save(folder),
    "unconditional": lambda folder: class_unet("ddpm", 0).save(folder),
    "adm": lambda folder: edm_unet("adm").save(folder),
    "flow": lambda folder: dit("flow").save(folder),
    **{
        name: lambda folder, name=name: text(name, folder / "vocabulary").save(folder)
        for name in ("sd", "sdxl", "pixart", "sd3", "flux")
    },
}
OVERRIDES = {
    "edm": ["sampling.solver=dpm++"],
    "adm": ["sampling.solver=heun", "bank.solver=heun"],
    **{name: ["sampling.solver=euler", "bank.solver=euler"] for name in ("flow", "sd3", "flux")},
}


def made(name: str, tmp_path: Path, *overrides: str) -> Recipe:
    """A recipe over a tiny model and ten captioned squares in two classes."""
    random = np.random.default_rng(0)
    for label, base in (("dark", 40), ("light", 200)):
        folder = tmp_path / "images" / label
        folder.mkdir(parents=True, exist_ok=True)
        for index in range(5):
            Image.fromarray((base + random.integers(-40, 40, (16, 16, 3))).astype(np.uint8)).save(
                folder / f"{index}.png"
            )
            (folder / f"{index}.txt").write_text(f"a {label} square, number {index}\n")
    if not (tmp_path / "model").is_dir():
        MODELS[name](tmp_path / "model")
    settings = [
        f"out={tmp_path / 'run'}",
        f"model={tmp_path / 'model'}",
        f"data.target={tmp_path / 'images'}",
        "bank={count: 6, steps: 2, batch_size: 4, shard_size: 4, guidance: 1.5}",
        "training={steps: 6, batch_size: 4, log_every: 2, heldout_every: 3, sample_every: 6, save_every: 3}",
        "sampling={solver: ddim, steps: 2}",
        "evaluation={samples: 6, heldout_draws: 4}",
        "ema.decay=0.5",
        "coefficients.psi.tau=1",
        "threads=1",
        *OVERRIDES.get(name, []),
        *overrides,
    ]
    return recipe.load("own-images", settings)


def captioned(tmp_path: Path) -> Recipe:
    """The recipe of `made` over the images as they are now."""
    settings = [f"model={tmp_path / 'model'}", f"data.target={tmp_path / 'images'}", f"out={tmp_path / 'run'}"]
    return recipe.load("own-images", settings)


@pytest.mark.parametrize("name", MODELS)
def test_from_recipe_to_report(name: str, tmp_path: Path) -> None:
    given = made(name, tmp_path)
    trained = train(given)
    assert trained["step"] == 6
    # The bank in two parts, the training stopped and gone on from: the same weights.
    again = given.model_copy(update={"out": str(tmp_path / "again")})
    bank.build(again.model_copy(update={"bank": again.bank.model_copy(update={"count": 4})}))
    bank.extend(again.bank_path, again.bank.count)
    assemble(prepare(again)).trainer.run(until=4)
    assert train(again)["weights_digest"] == trained["weights_digest"]
    rows = evaluate(given.folder)["rows"]
    assert {"heldout", "frechet", "kid", "drift"} <= {row["metric"] for row in rows}
    found = diagnose(given.folder, samples=4, shares=(0, 0.5, 1))
    assert [point["share"] for point in found["swap"]] == [0, 0.5, 1]
    assert len(sample(given.folder, tmp_path / "drawn", count=2)["files"]) == 2
    report([given.folder], tmp_path / "report.html")
    assert (tmp_path / "report.html").stat().st_size > 10_000


def test_a_tuner_on_text_to_image_leaves_the_pretrained_model_behind_it(tmp_path: Path) -> None:
    given = made("sd", tmp_path, "tuner={kind: lora, rank: 2}", "sampling.negative=pretrained", "optim.lr=1e-2")
    trained = train(given)
    assert (Path(trained["tuner"]) / "pytorch_lora_weights.safetensors").is_file()
    evaluate(given.folder)
    models = models_of(given)
    x_t, t, nothing = torch.randn(2, *models.model.sample_shape), torch.tensor([100.0, 900.0]), torch.zeros(2).long()

    def asked(model: Backbone, row: int) -> torch.Tensor:
        with torch.no_grad():
            return model(x_t, t, Condition(nothing + row).to("cpu"))  # with its copy on the host

    base = asked(plain := load(given.model), plain.labels.null)
    assert torch.equal(asked(models.before, models.before.labels.null), base)
    models.model.rows(["a prompt that nobody trained"])  # which moves the null row of the tuned model
    assert torch.equal(asked(models.before, models.before.labels.null), base)
    assert not torch.equal(asked(models.model, models.model.labels.null), base)
    sample(given.folder, tmp_path / "drawn", count=1, labels=["赤い狐" * 40])


def test_a_teacher_is_asked_under_the_prompts_of_the_batch(tmp_path: Path) -> None:
    for number, tuner in enumerate(("{kind: full}", "{kind: lora, rank: 2}")):
        given = made(
            "sd",
            tmp_path,
            "distillation={weight: 1.0}",
            f"tuner={tuner}",
            f"out={tmp_path / str(number)}",
        )
        run = assemble(prepare(given))
        assert isinstance(run.trainer.objective, Distillation)
        # Before the first step student and teacher are one, under whatever prompt, so nothing is apart.
        errors = run.trainer.objective(run.trainer.streams.batch(0, (0, 0)))
        assert errors.beside is not None
        assert float(errors.beside.detach().abs().max()) == 0


def test_the_pretrained_model_is_left_behind_without_classes_too(tmp_path: Path) -> None:
    given = made("unconditional", tmp_path, "labels.kind=keep", "optim.lr=1e-2", "sampling.negative=pretrained")
    train(given)
    models = models_of(given)
    nothing = Condition(torch.full((2,), models.model.labels.null))
    drawn = [
        draw_images(models.model, nothing, given.sampling.model_copy(update={"guidance": scale}), before=models.before)
        for scale in (1.0, 3.0)
    ]
    assert not torch.equal(*drawn)


def test_only_a_distilled_network_is_told_a_guidance(tmp_path: Path) -> None:
    check(made("flux", tmp_path / "flux", "text={distilled_guidance: 3.5}"))
    with pytest.raises(ModelError, match=r"no input for text\.distilled_guidance"):
        check(made("sd", tmp_path / "sd", "text={distilled_guidance: 3.5}"))


def test_another_size_is_trained_and_kept(tmp_path: Path) -> None:
    given = made("sd", tmp_path, "resolution=32", "tuner={kind: lora, rank: 2}")
    trained = train(given)
    assert evaluate(given.folder)["rows"]
    model = load(trained["model"])
    assert model.image_size == 32
    assert bank.extend(given.bank_path, 8).model.sample_shape == model.sample_shape == (4, 16, 16)
    with pytest.raises(ModelError, match=r"resolution=18 is no multiple of 4.*try 16"):
        check(made("sd", tmp_path, "resolution=18"))
    with pytest.raises(ModelError, match="is of 8 pixels and no other"):
        edm_unet("adm").resize(16)


def test_prompts_are_captions_or_classes_or_a_template(tmp_path: Path) -> None:
    captions = check(given := made("sd", tmp_path)).target
    assert len(captions.class_names) == 10
    assert captions.class_names[int(captions.train.labels[0])].startswith("a ")
    classes = check(made("sd", tmp_path, "data.prompt=a photo of something {label}")).target
    assert classes.class_names == ("a photo of something dark", "a photo of something light")
    # Split by class all the same, and by content.
    assert classes.parts == captions.parts
    assert any("prompts: 10, for instance 'a " in line for line in captions.report())
    assert any("10 of 10 images have a caption" in line for line in captions.report())
    (tmp_path / "images/dark/0.txt").write_text("\n")
    (tmp_path / "images/dark/1.txt").rename(tmp_path / "images/dark/1.TXT")
    some = check(made_again := captioned(tmp_path)).target
    assert made_again.data.target == str(tmp_path / "images")
    assert "dark" in some.class_names
    assert "" not in some.class_names
    assert any("9 of 10 images have a caption" in line for line in some.report())
    for file in (tmp_path / "images").glob("*/*.[tT]*"):
        file.unlink()
    for template, said in ((None, True), ("some {label}", False)):
        data = given.data.model_copy(update={"prompt": template})
        lines = check(given.model_copy(update={"data": data})).target.report()
        told = next(line for line in lines if line.startswith("prompts: 2"))
        assert ("0 of 10 images have a caption, so they train under the names of their classes" in told) == said


def test_what_is_wrong_with_prompts_is_said(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="has the field 'captoin'; did you mean 'caption'"):
        check(made("sd", tmp_path, "data.prompt='{captoin}'"))
    (tmp_path / "images/dark/0.txt").unlink()
    images = made("sd", tmp_path, "data.prompt='{caption}'")
    (tmp_path / "images/dark/0.txt").unlink()
    with pytest.raises(DataError, match=r"asks for captions, and dark/0.png"):
        check(images)
    with pytest.raises(ModelError, match="under classes and not under prompts; take `text`"):
        check(made("edm", tmp_path / "other", "text={default_prompt: hello}"))
    with pytest.raises(ModelError, match=r"take bank.prompts out"):
        check(made("edm", tmp_path / "other", "bank.prompts=[a]"))
    with pytest.raises(ModelError, match=r"resolution=17 is no multiple of 4.*try 16"):
        check(made("sd", tmp_path, "resolution=17"))


def test_a_bank_is_drawn_under_its_prompts_and_knows_them(tmp_path: Path) -> None:
    file = tmp_path / "prompts.txt"
    file.write_text("a red cat\n\na dog\n")
    given = made("sd", tmp_path, f"bank.prompts={file}", "text={default_prompt: something}")
    file.write_text("\n")  # read once, with the recipe
    card = bank.build(given)
    assert card.model.classes == 2
    assert card.config.prompts == ("a red cat", "a dog")
    assert bank.extend(given.bank_path, 8).config.count == 8
    # The default prompt is what items train under: with prompts of its own the bank does not depend on it.
    listed = "bank.prompts=[a red cat, a dog]"
    train(made("sd", tmp_path, listed, "bank.count=8", "text={default_prompt: other}"))
    with pytest.raises(BankError, match=r"config\.prompts: .'a red cat', 'a dog'. -> .'a fox'"):
        bank.build(made("sd", tmp_path, "bank.prompts=[a fox]", "bank.count=8"))
    with pytest.raises(ConfigError, match="no prompt in"):
        made("sd", tmp_path, f"bank.prompts={file}")
    with pytest.raises(ConfigError, match="prompts are of no use"):
        made("sd", tmp_path, listed, "bank.labels=null", "bank.guidance=1")
    assert read_card(given.bank_path).config.count == 8


def test_a_bank_without_prompts_is_of_its_default_prompt(tmp_path: Path) -> None:
    given = made("sd", tmp_path, "text={default_prompt: a good picture}")
    assert bank.build(given).text == {"distilled_guidance": 1.0, "default_prompt": "a good picture"}
    bank.extend(given.bank_path, 8)
    with pytest.raises(BankError, match=r"text\.default_prompt: 'a good picture' -> 'another'"):
        bank.build(made("sd", tmp_path, "text={default_prompt: another}", "bank.count=8"))


def test_bank_items_train_under_the_default_prompt(tmp_path: Path) -> None:
    model = text("sd", tmp_path)
    model.default_prompt = "a good picture"
    asked: list[str] = []
    encode = model.embeddings._encode
    model.embeddings._encode = lambda prompt: (asked.append(prompt), encode(prompt))[1]
    with torch.no_grad():
        model(torch.zeros(1, *model.sample_shape), torch.zeros(1), model.default_condition(1))
    assert asked == ["a good picture"]


def test_the_prompts_of_a_run_are_beside_its_model(tmp_path: Path) -> None:
    trained = train(made("sd", tmp_path))
    text = json.loads((Path(trained["model"]) / "text.json").read_text())
    assert len(text["prompts"]) == 10
    assert text["image_size"] == 16
    assert load(trained["model"]).labels.names == tuple(text["prompts"])


def test_an_embedding_does_not_depend_on_the_precision_of_who_asks_first(tmp_path: Path) -> None:
    found = []
    for dtype in (torch.bfloat16, torch.float32):
        model = text("sd", tmp_path)
        with torch.autocast("cpu", dtype, enabled=dtype != torch.float32):
            found.append(model.embeddings(["a cat"]).states)
    assert torch.equal(*found)


def test_prompts_that_are_cut_are_counted(tmp_path: Path) -> None:
    model = text("sd", tmp_path)
    assert model.cut_short(["short", "much too long " * 9, "a cat"]) == 1


@pytest.mark.parametrize("name", ["sd", "flow"])
def test_the_bank_trains_under_what_it_was_drawn_under(name: str, tmp_path: Path) -> None:
    told = [
        "training.retention_condition=drawn",
        "training.label_dropout=0",
        "training.batch_size=64",
    ]
    given = made(name, tmp_path, *told, "bank.prompts=[a cat, a dog]" if name == "sd" else "labels.kind=extend")
    prepared = prepare(given)
    names = prepared.backbone.labels.names
    bank.build(given)
    items = open_bank(given, prepared.backbone)
    run = assemble(prepared)
    batch = run.trainer.streams.batch(0, (0, 0))
    from_bank = batch.draw.from_bank
    same = (batch.x0[from_bank][:, None] == items.get(torch.arange(len(items)))).flatten(2).all(2)
    assert bool((same.sum(1) == 1).all())
    drawn_under = [names[label] for label in items.labels(same.int().argmax(1)).tolist()]
    now = run.backbone.labels.names
    assert [now[row] for row in batch.condition.labels[from_bank].tolist()] == drawn_under
    assert len(set(drawn_under)) > 1
    assert {now[row] for row in batch.condition.labels[~from_bank].tolist()} <= set(run.target.class_names)


def test_weights_that_were_fetched_in_half_precision_alone(tmp_path: Path) -> None:
    model = text("sd", tmp_path / "vocabulary")
    model.pipe.to(torch.float16).save_pretrained(tmp_path / "half", variant="fp16")
    assert not list((tmp_path / "half").glob("*/*model.safetensors"))
    again = load(str(tmp_path / "half"))
    for name, value in again.network.named_parameters():
        assert torch.equal(value, model.network.get_parameter(name).float()), name


def test_samples_that_are_not_square_are_refused(tmp_path: Path) -> None:
    text("sd", tmp_path / "vocabulary").save(tmp_path / "wide")
    file = tmp_path / "wide/unet/config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "sample_size": [8, 16]}))
    with pytest.raises(ModelError, match="samples of 8 x 16, and only square ones are trained"):
        load(str(tmp_path / "wide"))


def test_a_condition_that_is_gone_or_never_was_is_refused(tmp_path: Path) -> None:
    drawn = "training.retention_condition=drawn"
    with pytest.raises(
        ConfigError, match=r"labels\.kind=replace takes away; use labels\.kind=extend, or set it to null"
    ):
        check(made("flow", tmp_path, drawn))
    with pytest.raises(ConfigError, match=r"no item of a bank with bank\.labels=null is drawn under anything"):
        check(made("flow", tmp_path, drawn, "labels.kind=extend", "bank.labels=null", "bank.guidance=1"))
    with pytest.raises(ConfigError, match=r"bank\.images=somewhere"):
        check(made("flow", tmp_path, drawn, "labels.kind=extend", "bank.images=somewhere"))
