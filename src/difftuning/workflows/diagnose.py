"""`diagnose`: the chain-of-forgetting curve of a finished run, and the cheap curve beside it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from difftuning.backbones.solvers import make_scheduler
from difftuning.bank.read import Bank
from difftuning.data.cache import cache_folder
from difftuning.data.target import open_target
from difftuning.diagnosis.swap_curve import swap_curve
from difftuning.evaluation.features import cached, extract, feature_network, to_uint8
from difftuning.evaluation.fidelity import frechet, kid
from difftuning.results import RunFolder, write_json
from difftuning.sampling.denoiser import Clipped, ModelDenoiser, Unconditional
from difftuning.types import Condition, Denoiser
from difftuning.workflows.assemble import pretrained
from difftuning.workflows.display import Display, Silent
from difftuning.workflows.drawing import clip_of, denoiser_of
from difftuning.workflows.heldout import bank_heldout, target_heldout
from difftuning.workflows.runs import model_of, recipe_of

FILE, STRIP = "diagnosis.json", "swap-strip.safetensors"
"""In the run folder: the curves, and the pictures of the swap."""


def diagnose(
    run: Path,
    display: Display | None = None,
    samples: int = 256,
    shares: tuple[float, ...] = (0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.8, 1),
) -> dict[str, Any]:
    """Measure where a run has forgotten.

    The swap curve: the run's model takes the noisy steps and the pretrained one a share of the last ones, asked under its null
    label. The cheap curve: the error by u of both on the target's held-out images and on the bank.

    Returns:
        `swap`: a list of {"share", "frechet", "kid"}; `target` and `bank`: {"pretrained": [...], "run": [...]} errors by u;
        `network` and `samples` behind the distances. The same is written to `diagnosis.json`.
    """
    display = display or Silent()
    recipe, model = recipe_of(run), model_of(run)
    before = pretrained(recipe)
    model.to(before.device)
    target = open_target(recipe.data, model.image_size, model.codec)
    rows = torch.tensor([model.labels.index(name) for name in target.class_names])
    network = feature_network(recipe.evaluation.network, recipe.evaluation.weights)
    real = to_uint8(model.codec.decode(target.heldout.latents.to(model.device))).cpu()
    real_features = cached(real, network, cache_folder() / "features")

    def distance(images: Tensor) -> dict[str, float]:
        features = extract(images, network)
        return {"frechet": frechet(features, real_features), "kid": kid(features, real_features)}

    taking_over: Denoiser = Unconditional(ModelDenoiser(before, before.process, before.prediction), before.labels.null)
    clip = clip_of(before, recipe.sampling.clip)
    labels = rows[target.heldout.labels][torch.arange(samples) % len(target.heldout)]
    for backbone in (model, before):
        backbone.network.eval()
    with display.progress(f"swap curve of {recipe.name}", samples) as task:
        shown = 0

        def progress(done: int) -> None:
            nonlocal shown
            task.advance(done - shown)
            shown = done

        curve = swap_curve(
            denoiser_of(model, recipe.sampling),
            taking_over if clip is None else Clipped(taking_over, clip),
            model.process,
            make_scheduler(recipe.sampling.solver, model.scheduler_config),
            Condition(labels.to(model.device)),
            model.sample_shape,
            recipe.sampling.steps,
            distance,
            model.codec.decode,
            shares,
            recipe.sampling.seed,
            recipe.sampling.batch_size,
            progress=progress,
        )
    draws = recipe.evaluation.heldout_draws
    on_target = target_heldout(target.heldout, rows, model, draws)
    found: dict[str, Any] = {
        "swap": [{"share": point.share, **point.metrics} for point in curve.points],
        "network": network.name,
        "samples": samples,
        "target": {
            "pretrained": on_target.without_condition(before).curve(before).error.tolist(),
            "run": on_target.curve(model).error.tolist(),
        },
    }
    if (recipe.bank_path / "card.json").is_file():
        bank = Bank(recipe.bank_path)
        found["bank"] = {
            "pretrained": bank_heldout(bank, before, draws).curve(before).error.tolist(),
            "run": bank_heldout(bank, model, draws).curve(model).error.tolist(),
        }
    folder = RunFolder(run)
    save_file({"strip": curve.strip.contiguous()}, folder.path / STRIP)
    write_json(folder.path / FILE, found)
    return found
