"""What a page says in words of its runs: what they are, in what they differ, what is missing, how to have them again."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping, Sequence, Sized
from pathlib import Path

from difftuning.config.difference import differences
from difftuning.data.latents import LatentSet
from difftuning.reporting.text_table import TextTable
from difftuning.workflows.evaluate import method_of
from difftuning.workflows.run_history import RunHistory
from difftuning.workflows.runs import FinishedRun

PLACES = ("name", "out", "bank_folder")
"""Keys that say where a run lies and nothing about it."""


def facts(histories: Sequence[RunHistory]) -> list[tuple[str, str]]:
    """Model, target, steps, batch, tuner and seeds; where runs differ, all that there are."""

    def each(of: Callable[[RunHistory], object]) -> str:
        return ", ".join(dict.fromkeys(str(of(one)) for one in histories))

    done = (
        []
        if all(one.finished for one in histories)
        else [("done so far", ", ".join(str(one.step) for one in histories))]
    )
    return [
        ("pretrained model", each(lambda one: one.recipe.model)),
        ("target", each(lambda one: one.recipe.data.target)),
        ("training steps", each(lambda one: one.recipe.training.steps)),
        *done,
        ("batch", each(lambda one: one.recipe.training.batch_size)),
        ("tuner", each(lambda one: one.recipe.tuner.kind)),
        ("seeds", ", ".join(str(seed) for seed in sorted({one.recipe.seed for one in histories}))),
    ]


def done(histories: Mapping[str, RunHistory]) -> list[str]:
    """A line for each column: what was trained how, in words."""
    lines = []
    for name, one in histories.items():
        recipe, psi = one.recipe, one.recipe.coefficients.psi
        values = [f"{key} {value:g}" for key, value in psi.model_dump().items() if isinstance(value, float)]
        what = "all weights" if recipe.tuner.kind == "full" else recipe.tuner.kind
        form = ", ".join([psi.kind, *values])
        if psi.kind == "adaptive":
            form = "what the held-out error leaves to the target"
        chain = f"ψ is 1 and ξ is 1 less {form}" if recipe.coefficients.keeps_target else f"ψ is {form}"
        told = [f"{chain}, realised by {recipe.realisation.kind}"]
        if recipe.distillation is not None:
            told.append("a frozen teacher in the place of the bank")
        elif method_of(recipe).startswith("diff-tuning"):
            told.append(f"a bank of {recipe.bank.count:,}")
        if recipe.anchor is not None:
            told.append(f"anchored by {recipe.anchor.kind}")
        lines.append(
            f"{name}: {what} for {recipe.training.steps:,} steps of {recipe.training.batch_size} at a learning rate of "
            f"{recipe.optim.lr:g}; {'; '.join(told)}."
        )
    return lines


def sizes(run: FinishedRun, histories: Sequence[RunHistory]) -> list[tuple[str, str]]:
    """How many images there were for what, of the run whose target was opened."""
    train, heldout = run.target.train, len(run.target.heldout)
    seen: Sized = set(train.labels.tolist()) if isinstance(train, LatentSet) else run.rows
    what = "prompts" if run.model.by_prompt else "classes"
    only = "" if all(one.recipe.data == run.recipe.data for one in histories) else f" ({run.recipe.out})"
    return [
        ("trained on" + only, f"{len(train)} images in {len(seen)} {what}"),
        ("held out" + only, f"{heldout} images"),
    ]


def differing(histories: Sequence[RunHistory]) -> TextTable | None:
    """The keys in which the recipes of several runs differ; None for one run."""
    if len(histories) < 2:
        return None
    recipes = [one.recipe.model_dump(mode="json", exclude=set(PLACES)) for one in histories]
    lines = tuple(
        (key, *("" if value is None else str(value) for value in values)) for key, values in differences(recipes)
    )
    return TextTable(("key", *(str(one.path) for one in histories)), lines, prose=True) if lines else None


def commands(histories: Sequence[RunHistory], out: Path) -> list[str]:
    """What to type to have all of it again, where the runs were started."""
    verbs = [
        f"difftuning {verb} {shlex.quote(str(one.path / 'recipe.yaml' if verb == 'train' else one.path))}"
        for one in histories
        for verb in ("train", "evaluate", "diagnose")
    ]
    runs = " ".join(shlex.quote(str(one.path)) for one in histories)
    place = "" if len(histories) == 1 and out == histories[0].folder.report else f" --out {shlex.quote(str(out))}"
    return ["# in the folder where the runs were started", *verbs, f"difftuning report {runs}{place}"]


def missing(histories: Sequence[RunHistory]) -> list[str]:
    """What has not been done yet, and how to do it."""
    notes = []
    for one in histories:
        if not one.finished:
            notes.append(f"{one.path} is not trained to its end; `difftuning train {one.path / 'recipe.yaml'}` goes on")
        elif not one.evaluated:
            earlier = " as it is now" if one.folder.results.is_file() else ""
            notes.append(f"{one.path} is not judged{earlier or ' yet'}; run `difftuning evaluate {one.path}`")
        elif one.diagnosis is None:
            notes.append(f"{one.path} has no chain of forgetting yet; run `difftuning diagnose {one.path}`")
    return notes


def unlike(histories: Sequence[RunHistory]) -> list[str]:
    """Which runs are judged on other images than the first one, so that their numbers do not compare with its."""
    judged = [one for one in histories if one.evaluated and one.judged_on is not None]
    return [
        f"{one.path} is judged on other held-out images than {judged[0].path}, so their numbers do not compare; give both the same "
        "data.heldout, data.seed and evaluation.part"
        for one in judged[1:]
        if one.judged_on != judged[0].judged_on
    ]
