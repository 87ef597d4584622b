"""A run of each kind of family, from recipe to report, and again to the same bits."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from backbones.families import class_unet, text
from difftuning.backbones.loading import load
from difftuning.bank.card import read_card
from difftuning.errors import BankError, ConfigError, DataError, ModelError
from difftuning.workflows import bank, recipe
from difftuning.workflows.assemble import assemble, prepare
from difftuning.workflows.diagnose import diagnose
from difftuning.workflows.evaluate import evaluate
from difftuning.workflows.recipe import Recipe
from difftuning.workflows.report import report
from difftuning.workflows.sample import sample
from difftuning.workflows.train import check, train

MODELS: dict[str, Callable[[Path], object]] = {
    "edm": lambda folder: class_unet("edm").save(folder),
    "unconditional": lambda folder: class_unet("ddpm", 0).save(folder),
    "sd": lambda folder: text("sd", folder / "vocabulary").save(folder),
    "sd3": lambda folder: text("sd3", folder / "vocabulary").save(folder),
}
OVERRIDES = {
    "edm": ["sampling.solver=dpm++"],
    "unconditional": ["bank.labels=null", "bank.guidance=1"],
    "sd": [],
    "sd3": ["sampling.solver=euler", "bank.solver=euler"],
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
        "threads=1",
        *(["resolution=16"] if name.startswith("sd") else []),
        *OVERRIDES[name],
        *overrides,
    ]
    return recipe.load("own-images", settings)


@pytest.mark.parametrize("name", MODELS)
def test_from_recipe_to_report(name: str, tmp_path: Path) -> None:
    given = made(name, tmp_path)
    trained = train(given)
    assert trained["step"] == 6
    again = given.model_copy(update={"out": str(tmp_path / "again")})
    bank.build(again)
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
    assert load(trained["model"]).digest() != load(given.model).digest()


def test_prompts_are_captions_or_classes_or_a_template(tmp_path: Path) -> None:
    captions = check(made("sd", tmp_path)).target
    assert len(captions.class_names) == 10
    assert captions.class_names[int(captions.train.labels[0])].startswith("a ")
    classes = check(made("sd", tmp_path, "data.prompt=a photo of something {label}")).target
    assert classes.class_names == ("a photo of something dark", "a photo of something light")
    # Split by class all the same, and by content.
    assert classes.parts == captions.parts
    assert any("prompts: 10, for instance 'a " in line for line in captions.report())


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
    with pytest.raises(ModelError, match=r"resolution=17 is no multiple of 2.*try 16"):
        check(made("sd", tmp_path, "resolution=17"))


def test_a_bank_is_drawn_under_its_prompts_and_knows_them(tmp_path: Path) -> None:
    file = tmp_path / "prompts.txt"
    file.write_text("a red cat\n\na dog\n")
    given = made("sd", tmp_path, f"bank.prompts={file}", "text={default_prompt: something}")
    card = bank.build(given)
    assert card.model.classes == 2
    assert card.prompts is not None
    listed = made("sd", tmp_path, "bank.prompts=[a red cat, a dog]", f"bank_folder={tmp_path / 'listed'}")
    assert bank.build(listed).prompts == card.prompts
    assert bank.extend(given.bank_path, 8).config.count == 8
    train(made("sd", tmp_path, f"bank.prompts={file}", "bank.count=8", "text={default_prompt: something}"))
    file.write_text("a red cat\na fox\n")
    with pytest.raises(BankError, match="other prompts"):
        bank.extend(given.bank_path, 9)
    with pytest.raises(BankError, match="prompts: "):
        bank.build(made("sd", tmp_path, f"bank.prompts={file}", "bank.count=8"))
    file.write_text("\n")
    with pytest.raises(ConfigError, match="no prompt in"):
        bank.build(given)
    assert read_card(given.bank_path).config.count == 8


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
    prompts = json.loads((Path(trained["model"]) / "prompts.json").read_text())
    assert len(prompts) == 10
    assert load(trained["model"]).labels.names == tuple(prompts)
