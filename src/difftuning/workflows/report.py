"""`report`: one page over one or more runs, from what their folders hold and nothing else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from difftuning.bank.read import Bank
from difftuning.coefficients.chain import build_chain
from difftuning.config.loading import dump_recipe
from difftuning.data.target import open_target
from difftuning.errors import CheckpointError
from difftuning.evaluation.features import to_uint8
from difftuning.reporting import figures
from difftuning.reporting.page import Picture, Report, Section, render
from difftuning.reporting.tables import gain, pivot, verdict
from difftuning.results import MetricsLog, Row, RunFolder, read_json, read_rows, write_text
from difftuning.workflows.diagnose import FILE, STRIP
from difftuning.workflows.evaluate import SAMPLES, method_of
from difftuning.workflows.recipe import Recipe
from difftuning.workflows.runs import model_of, recipe_of

METRICS = (
    "heldout",
    "heldout_best",
    "heldout_bank",
    "frechet",
    "fid",
    "kid",
    "precision",
    "recall",
    "memorised",
    "drift",
)
COLUMNS = 9
LINES = 5


def report(runs: list[Path], out: Path, extra_rows: list[Row] | None = None) -> Path:
    """Write the page.

    Args:
        runs: finished run folders; those of one method and several seeds share a column.
        out: the HTML file.
        extra_rows: of models that are no runs, such as the pretrained one.

    Raises:
        CheckpointError: a run has no results yet.
    """
    recipes = {run: recipe_of(run) for run in runs}
    for run in runs:
        if not RunFolder(run).results.is_file():
            raise CheckpointError(f"run {run} has no results yet; run `difftuning evaluate {run}` first")
    rows = [*(extra_rows or []), *(row for run in runs for row in read_rows(RunFolder(run).results))]
    first = recipes[runs[0]]
    names = {run: method_of(recipe) for run, recipe in recipes.items()}
    shown = {name: run for run, name in reversed(names.items())}
    # The order of the runs, one run a method: the pictures are of its seed.
    shown = {name: shown[name] for name in dict.fromkeys(names.values())}
    model = model_of(runs[0])
    target = open_target(first.data, model.image_size, model.codec)
    heldout = to_uint8(model.codec.decode(target.heldout.latents))
    train = to_uint8(model.codec.decode(target.train.latents))
    seeds = sorted({recipe.seed for recipe in recipes.values()})
    facts = [
        ("pretrained model", first.model),
        ("target", f"{first.data.target}, {len(train)} training images"),
        ("held out", f"{len(heldout)} images"),
        ("training steps", str(first.training.steps)),
        ("batch", str(first.training.batch_size)),
        ("seeds", ", ".join(map(str, seeds))),
    ]
    n = first.evaluation.samples
    sections = [
        Section(
            "What was measured",
            [
                f"Distances compare {n} samples with {len(heldout)} held-out images. Over so few images a Frechet distance is "
                "biased upwards and rewards memorised training images: compare it at equal n only, and read the held-out error, "
                "KID and the memorised share beside it.",
                "The held-out error is the denoising error on images that training never saw, averaged over ten equal bins of "
                "noise. Memorised is the share of samples nearer to a training image than 95 % of held-out images are: 0.05 is "
                "innocent. The better of the two methods is marked.",
                *_gains(rows),
            ],
            pivot(rows, METRICS),
        ),
        Section(
            "Samples from the same seeds",
            ["Each place in the three grids starts from the same noise and asks for the same class."],
            pictures=[
                Picture(figures.image_grid(_spread(heldout), COLUMNS), "held-out images of the target", crisp=True),
                *(
                    Picture(figures.image_grid(_drawn(run)[: COLUMNS * LINES], COLUMNS), name, crisp=True)
                    for name, run in shown.items()
                ),
            ],
        ),
        Section(
            "While training",
            [
                "The triangle marks the lowest point. Where a curve turns upwards, the model starts to forget or to memorise."
            ],
            pictures=[
                Picture(figures.training_curves(_heldout_series(recipes, names)), "held-out error"),
                Picture(
                    _coefficients(next(r for r in recipes.values() if method_of(r) != "finetune"), model)
                    if "diff-tuning" in shown
                    else figures.image_grid(train[: COLUMNS * LINES], COLUMNS),
                    "coefficients of Diff-Tuning" if "diff-tuning" in shown else "training images",
                    "At each noise level the item comes from the target with probability psi, else from the bank.",
                ),
            ],
        ),
    ]
    sections += _diagnosis(shown)
    sections += _bank(first, model)
    sections.append(
        Section(
            "To repeat it",
            [
                "Every run folder holds its complete recipe; training again from it gives the same weights on the same machine."
            ],
            listing="\n\n".join(
                f"# difftuning train {run / 'recipe.yaml'}\n{dump_recipe(recipe.model_dump(mode='json'))}"
                for run, recipe in recipes.items()
            ),
            listing_title="the recipes",
        )
    )
    page = Report(f"{first.model} to {first.data.target}", verdict(rows), facts, sections)
    out.parent.mkdir(parents=True, exist_ok=True)
    write_text(out, render(page))
    return out


def _gains(rows: list[Row]) -> list[str]:
    said = []
    for metric, name in (("heldout", "held-out error"), ("frechet", "Frechet distance")):
        share = gain(rows, metric, "diff-tuning", "finetune")
        if share is not None:
            way = "below" if share >= 0 else "above"
            said.append(f"Diff-Tuning's {name} is {abs(share):.1%} {way} that of standard fine-tuning at equal steps.")
    return said


def _drawn(run: Path) -> Tensor:
    return load_file(RunFolder(run).samples / SAMPLES)["images"]


def _spread(images: Tensor) -> Tensor:
    """As many images as a grid shows, from all over the set."""
    count = min(len(images), COLUMNS * LINES)
    return images[torch.linspace(0, len(images) - 1, count).long()]


def _heldout_series(recipes: dict[Path, Recipe], names: dict[Path, str]) -> dict[str, list[tuple[int, float]]]:
    series = {}
    for run, recipe in recipes.items():
        records = [record for record in MetricsLog(RunFolder(run).metrics).read().records if "heldout" in record]
        label = names[run] if len(recipes) <= 2 else f"{names[run]} seed {recipe.seed}"
        series[label] = [(int(record["step"]), float(record["heldout"])) for record in records]
    return {name: points for name, points in series.items() if points}


def _coefficients(recipe: Recipe, model: Any) -> bytes:
    chosen = recipe.coefficients
    chain = build_chain(chosen.psi, chosen.xi, model.process, model.clock, chosen.any_direction)
    u = torch.linspace(0, 1, 201, dtype=torch.float64)
    return figures.coefficients(u.tolist(), chain.psi(u).tolist(), chain.xi(u).tolist())


def _diagnosis(shown: dict[str, Path]) -> list[Section]:
    found = {name: read_json(run / FILE) for name, run in shown.items() if (run / FILE).is_file()}
    if not found:
        return []
    one = next(iter(found.values()))
    by_u = []
    for where, what in (
        ("target", "error on held-out target images"),
        ("bank", "error on the pretrained model's own samples"),
    ):
        if all(where in entry for entry in found.values()):
            curves = {name: entry[where]["run"] for name, entry in found.items()}
            by_u.append(
                Picture(
                    figures.error_by_u(curves, one[where]["pretrained"], "error"),
                    what,
                    "Against the pretrained model, asked without a class. Below zero has learned, above has forgotten.",
                )
            )
    swaps = {name: [(point["share"], point["frechet"]) for point in entry["swap"]] for name, entry in found.items()}
    strips = [
        Picture(
            figures.image_grid(load_file(shown[name] / STRIP)["strip"].flatten(0, 1), len(entry["swap"])),
            name,
            "A row is one seed; from left to right the pretrained model takes "
            + ", ".join(f"{100 * point['share']:g}" for point in entry["swap"])
            + " % of the last steps.",
            crisp=True,
        )
        for name, entry in found.items()
    ]
    return [
        Section("What was forgotten, by noise level", pictures=by_u),
        Section(
            "The chain of forgetting",
            [
                "The trained model takes the noisy steps and hands the last ones to the pretrained model. Where the curve falls, "
                "the pretrained denoiser is the better one at little noise: that knowledge should have been kept. "
                f"Distances over {one['samples']} samples ({one['network']}).",
            ],
            pictures=[
                Picture(figures.swap_curves(swaps, "Frechet distance"), "distance against the share swapped"),
                *strips,
            ],
        ),
    ]


def _bank(recipe: Recipe, model: Any) -> list[Section]:
    if not (recipe.bank_path / "card.json").is_file():
        return []
    bank = Bank(recipe.bank_path)
    count = min(len(bank), COLUMNS * LINES * 2)
    images = to_uint8(model.codec.decode(bank.get(torch.linspace(0, len(bank) - 1, count).long())))
    config = bank.card.config
    return [
        Section(
            "The knowledge bank",
            [
                f"{len(bank)} samples of the pretrained model ({config.solver}, {config.steps} steps, "
                f"guidance {config.guidance:g}, {config.labels} labels, seed {config.seed}), "
                "drawn once before training and shared by its runs."
            ],
            pictures=[Picture(figures.image_grid(images, COLUMNS * 2), "some of them", crisp=True)],
        )
    ]
