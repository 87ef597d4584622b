"""What the dry run says of memory is what a run then holds."""

from __future__ import annotations

from pathlib import Path

import pytest

from difftuning.training.memory import Memory
from difftuning.workflows.assemble import prepare
from difftuning.workflows.device_memory import GIB
from difftuning.workflows.display import Silent
from difftuning.workflows.heldout import measuring
from difftuning.workflows.preflight import dry_run, estimate, preflight, verdict
from difftuning.workflows.recipe import load
from difftuning.workflows.train import train

BIG = Memory(weights=3 * GIB, gradients=3 * GIB, moments=6 * GIB, average=3 * GIB, activations=8 * GIB)


def test_a_dry_run_counts_what_the_run_holds(recipe_file: Path) -> None:
    recipe = load(str(recipe_file), [])
    found = preflight(prepare(recipe), Silent())
    network = prepare(recipe).backbone.network
    assert found.weights == sum(value.nbytes for value in (*network.parameters(), *network.buffers()))
    assert found.moments == 2 * found.gradients
    assert found.gradients == found.average == sum(value.nbytes for value in network.parameters())
    assert found.activations > 0
    assert train(recipe)["step"] == recipe.training.steps


def test_settings_that_save_memory_save_it(recipe_file: Path) -> None:
    plain = estimate(prepare(load(str(recipe_file), [])))
    half = estimate(prepare(load(str(recipe_file), ["training.accumulate=2"])))
    assert half.activations == pytest.approx(plain.activations / 2, rel=0.05)
    casting = estimate(prepare(load(str(recipe_file), ["training.precision=bf16"])))
    # Copies of the weights in bf16 are made once for a pass, however many samples it has.
    assert casting.activations < plain.activations + plain.weights
    saving = estimate(prepare(load(str(recipe_file), ["training.gradient_checkpointing=true"])))
    assert saving.activations < plain.activations / 2
    lora = estimate(prepare(load(str(recipe_file), ["tuner={kind: lora, rank: 1}"])))
    assert lora.gradients < plain.gradients
    assert lora.weights > plain.weights
    for kind, copies in (("l2-sp", 1), ("ewc", 2)):
        anchored = estimate(prepare(load(str(recipe_file), [f"anchor={{kind: {kind}, strength: 1}}"])))
        assert anchored.weights == plain.weights + copies * plain.gradients, "a gradient is as large as its weight"


@pytest.mark.parametrize(
    ("overrides", "mend"),
    [
        ([], "training.gradient_checkpointing=true"),
        (["training.gradient_checkpointing=true"], "ema.device=cpu saves 3.0 GiB"),
        (["ema.device=cpu", "training.batch_size=1"], "tuner.kind=lora saves nearly all of 12.0 GiB"),
    ],
)
def test_what_does_not_fit_is_said_with_a_mend(recipe_file: Path, overrides: list[str], mend: str) -> None:
    recipe = load(str(recipe_file), overrides)
    assert mend in verdict(BIG, 10 * GIB, recipe, "cuda")
    assert "fail" not in verdict(BIG, 24 * GIB, recipe, "cuda")


class Notes(Silent):
    """What is said."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def note(self, text: str) -> None:
        self.said.append(text)


def test_measuring_that_takes_more_than_a_quarter_of_the_training_is_said(recipe_file: Path) -> None:
    # 12 steps of 4: before the first, and after 4, 8 and 12; 8 draws in ten bins, of the target and of the bank.
    line = "measuring the held-out error: 640 passes forward, beside 48 forward and back of training; lower evaluation"
    notes = Notes()
    dry_run(load(str(recipe_file), []), notes)
    assert [said.startswith(line) for said in notes.said].count(True) == 1
    plain = Notes()
    dry_run(load(str(recipe_file), ["coefficients.psi.tau=0"]), plain)
    assert any("320 passes forward" in said for said in plain.said), "a bank that nobody draws is not measured"


def test_measuring_that_takes_little_is_not_said(recipe_file: Path) -> None:
    recipe = load(
        str(recipe_file), ["training.steps=1000", "training.heldout_every=500", "evaluation.heldout_draws=50"]
    )
    assert (
        measuring(recipe, 2) is None
    )  # 3 times 1,000 passes forward, beside 4,000 of three each: a quarter and no more
    assert "3,000" in str(
        measuring(
            load(str(recipe_file), ["training.steps=999", "training.heldout_every=500", "evaluation.heldout_draws=50"]),
            2,
        )
    )
    assert measuring(load(str(recipe_file), ["training.heldout_every=0"]), 2) is None
