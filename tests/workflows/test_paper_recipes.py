"""Every shipped recipe parses, and each of the paper's trains a miniature of its model: exactly what it means to move does."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from fnmatch import fnmatchcase
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from backbones.families import edm_unet, text
from difftuning.backbones.base import Backbone
from difftuning.backbones.text_to_image import TextToImage
from difftuning.coefficients.chain import build_chain
from difftuning.coefficients.realisation import build_realisation
from difftuning.data.controls import CHANNELS
from difftuning.noise.clock import UniformIndex
from difftuning.noise.process import VariancePreserving
from difftuning.workflows import bank, recipe
from difftuning.workflows.assemble import Assembly, assemble, prepare
from difftuning.workflows.recipe import Recipe
from difftuning.workflows.recipes import listing
from tiny import narrow_dit_xl

SHIPPED = [one["name"] for one in listing()["recipes"] if not one["name"].startswith("streams/")]
PAPER = [name for name in SHIPPED if name.startswith("paper/")]
TABLE = "emb.class_embedder.embedding_table.weight"
LAST = "transformer_blocks.1.attn.add_q_proj.lora"
UNASKED = {"paper/sd3-medium-lora": {f"{LAST}_A.default.weight", f"{LAST}_B.default.weight"}}
"""SD3's last block throws its text away, and so what its text asks."""
CLOCK = UniformIndex(1000)
STEPS = 3
"""The second half of a LoRA moves first, since it starts at zero."""


def model_of(name: str, folder: Path) -> Backbone:
    """A miniature of the class and layout that a recipe's model has."""
    kind = name.removeprefix("paper/").split("-")[0]
    made: dict[str, Callable[[], Backbone]] = {
        "dit": narrow_dit_xl,
        "edm": lambda: edm_unet("adm"),
        "sd": lambda: text("sd", folder),
        **{other: (lambda other=other: text(other, folder)) for other in ("sdxl", "sd3", "flux", "pixart")},
    }
    return made[kind]()


def small(name: str, tmp_path: Path) -> Recipe:
    """A recipe with another model, other images and fewer of all; what makes it what it is stays."""
    random = np.random.default_rng(0)
    for label, base in (("dark", 40), ("light", 200)):
        folder = tmp_path / "images" / label
        folder.mkdir(parents=True)
        for index in range(4):
            pixels = (base + random.integers(-40, 40, (32, 32, 3))).astype(np.uint8)
            pixels[10:22, 8 + index : 24] = 255 - base  # something to see for controls
            Image.fromarray(pixels).save(folder / f"{index}.png")
    model_of(name, tmp_path / "vocabulary").save(tmp_path / "model")
    given = recipe.load(name, [])
    changes = [
        f"model={tmp_path / 'model'}",
        f"out={tmp_path / 'run'}",
        f"data.target={tmp_path / 'images'}",
        *("bank.count=6", "bank.steps=2", "bank.batch_size=3"),
        *(f"training.steps={STEPS}", "training.batch_size=8", f"training.save_every={STEPS}", "optim.warmup_steps=0"),
        *("sampling.steps=2", "evaluation.network=efficientnet-lite0", "threads=1"),
    ]
    if given.resolution is not None:
        changes.append("resolution=16")
    if given.control is not None and given.control.annotator is not None:
        made = "Grey" if CHANNELS[given.control.kind] == 1 else "Colour"
        changes.append(f"control.annotator=module:tiny_annotators:{made}")
    if given.control is not None and given.control.folder is not None:
        shutil.copytree(tmp_path / "images", tmp_path / "maps")
        changes.append(f"control.folder={tmp_path / 'maps'}")
    return recipe.load(name, changes)


def trained(given: Recipe) -> tuple[Assembly, set[str], set[str]]:
    """A run of a few steps, and the names of what moved and of what did not."""
    prepared = prepare(given)
    if prepared.needs_bank:
        bank.build(given)
    run = assemble(prepared)
    before = {name: value.clone() for name, value in run.trainer.network.named_parameters()}
    frozen = still(run.backbone)
    run.trainer.run()
    after = dict(run.trainer.network.named_parameters())
    assert still(run.backbone) == frozen
    moved = {name for name, value in before.items() if not torch.equal(value, after[name])}
    return run, moved, before.keys() - moved


def still(backbone: Backbone) -> list[object]:
    """What no recipe moves."""
    encoders = backbone.encoders.values() if isinstance(backbone, TextToImage) else ()
    return [backbone.codec.digest(), *(float(sum(v.double().sum() for v in one.parameters())) for one in encoders)]


@pytest.mark.parametrize("name", SHIPPED)
def test_every_shipped_recipe_parses(name: str) -> None:
    given = recipe.load(name, [])
    assert given.name == name.rpartition("/")[2] or name == "own-images"


# Flux norms its queries with float32 weights, which torch says under mixed precision; the answer is right.
@pytest.mark.filterwarnings("ignore:Mismatch dtype between input and weight:UserWarning")
@pytest.mark.parametrize("name", PAPER)
def test_a_paper_recipe_moves_what_it_means_to(name: str, tmp_path: Path) -> None:
    given = small(name, tmp_path)
    run, moved, rest = trained(given)
    assert run.trainer.state.step == STEPS
    tuner = given.tuner
    if tuner.kind == "full":
        meant = moved | rest
    elif tuner.kind == "lora":
        meant = {key for key in moved | rest if ".lora_" in key}
        layers = {key.partition(".lora_")[0] for key in meant}
        assert tuner.targets is not None
        assert all(any(fnmatchcase(layer, pattern) for layer in layers) for pattern in tuner.targets)
    else:
        meant = {key for key in moved | rest if key.endswith((".bias", TABLE)) or ".difffit." in key}
        scaled = {int(key.split(".")[1]) for key in moved if key.endswith(".gamma")}
        assert scaled == set(range(14))
    assert moved == meant - UNASKED.get(name, set())
    from_target, from_bank = run.trainer.state.positions
    assert from_target + from_bank == 8 * STEPS
    assert (from_bank > 0) == (run.bank is not None) == (given.distillation is None)
    if given.realisation.kind == "timestep":
        assert from_bank == STEPS  # a fifth of eight, rounded down


def test_the_code_s_split_is_26_and_6() -> None:
    given = recipe.load("paper/dit-xl-2-256-code", [])
    chain = build_chain(
        given.coefficients.psi,
        given.coefficients.xi,
        VariancePreserving((1 - torch.linspace(1e-4, 0.02, 1000)).cumprod(0)),
        CLOCK,
    )
    drawn = build_realisation(given.realisation).draw(chain, CLOCK, given.training.batch_size, torch.Generator())
    assert (~drawn.from_bank).sum() == 26
    # mean(target) + 0.1 mean(bank), as a mean over all 32.
    torch.testing.assert_close(drawn.weight[~drawn.from_bank].sum() / 32, torch.tensor(1.0))
    torch.testing.assert_close(drawn.weight[drawn.from_bank].sum() / 32, torch.tensor(0.1))
