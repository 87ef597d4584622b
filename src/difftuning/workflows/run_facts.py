"""What a page says in words of its runs: what they are, in what they differ, what is missing, how to have them again."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping, Sequence, Sized
from pathlib import Path

from difftuning.config.difference import differences
from difftuning.data.latents import LatentSet
from difftuning.reporting.text_table import TextTable
from difftuning.workflows.evaluate import method_of
from difftuning.workflows.judge import judged_on
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
    train, judged = run.target.train, len(judged_on(run.recipe, run.target).heldout)
    part = "held out" if run.recipe.evaluation.part is None else "left over, to judge by"
    seen: Sized = set(train.labels.tolist()) if isinstance(train, LatentSet) else run.rows
    what = "prompts" if run.model.by_prompt else "classes"
    only = "" if all(one.recipe.data == run.recipe.data for one in histories) else f" ({run.recipe.out})"
    return [
        ("trained on" + only, f"{len(train)} images in {len(seen)} {what}"),
        (part + only, f"{judged} images"),
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
        f"difftuning {verb} {_said(one.path / 'recipe.yaml' if verb == 'train' else one.path)}"
        for one in histories
        for verb in ("train", "evaluate", "diagnose")
    ]
    runs = " ".join(_said(one.path) for one in histories)
    place = "" if len(histories) == 1 and out == histories[0].folder.report else f" --out {_said(out)}"
    return ["# in the folder where the runs were started", *verbs, f"difftuning report {runs}{place}"]


def _said(path: Path) -> str:
    """A path as one types it."""
    return shlex.quote(str(path))


def missing(histories: Sequence[RunHistory]) -> list[str]:
    """What has not been done yet, and how to do it."""
    notes = []
    for one in histories:
        if not one.finished:
            notes.append(
                f"{one.path} is not trained to its end; `difftuning train {_said(one.path / 'recipe.yaml')}` goes on"
            )
        elif not one.evaluated:
            earlier = " as it is now" if one.folder.results.is_file() else ""
            notes.append(f"{one.path} is not judged{earlier or ' yet'}; run `difftuning evaluate {_said(one.path)}`")
        elif one.diagnosis is None:
            notes.append(f"{one.path} has no chain of forgetting yet; run `difftuning diagnose {_said(one.path)}`")
    return notes


def unlike(histories: Sequence[RunHistory]) -> list[str]:
    """Which runs are judged on other items than the first one, so that their numbers do not compare with its."""
    kinds = {
        "held-out images": (("heldout",), "data.heldout, data.seed and evaluation.part"),
        "real images": (("frechet", "fid"), "evaluation.references"),
        "bank items": (("heldout_bank",), "bank, for instance by bank_folder"),
    }
    first, notes = histories[0], []

    def differ(one: RunHistory, metric: str) -> bool:
        pair = {one.items(metric), first.items(metric)}
        return None not in pair and len(pair) > 1

    for one in histories[1:]:
        found = {
            what: keys for what, (metrics, keys) in kinds.items() if any(differ(one, metric) for metric in metrics)
        }
        if found:
            notes.append(
                f"{one.path} is judged on other {' and '.join(found)} than {first.path}, so these numbers do not compare; give "
                f"both the same {'; '.join(found.values())}"
            )
    return notes
