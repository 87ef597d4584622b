"""`diagnose`: the chain-of-forgetting curve of a finished run, and the cheap curve beside it."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

from torch import Tensor

from difftuning.backbones.solvers import make_scheduler
from difftuning.data.tensors import write_tensors
from difftuning.diagnosis.swap_curve import swap_curve
from difftuning.evaluation.features import extract
from difftuning.evaluation.fidelity import frechet, kid
from difftuning.json_files import write_json
from difftuning.processes import present
from difftuning.run_folder import RunFolder
from difftuning.sampling.denoiser import Unconditional
from difftuning.workflows import costs
from difftuning.workflows.assemble import open_heldout_bank
from difftuning.workflows.display import Display, Silent, total
from difftuning.workflows.drawing import denoiser_of, images_of
from difftuning.workflows.heldout import bank_heldout, target_heldout
from difftuning.workflows.judge import Judge
from difftuning.workflows.recipe import Recipe
from difftuning.workflows.runs import drawn_from, open_run

FILE, STRIP = "diagnosis.json", "swap-strip.safetensors"
"""In the run folder: the curves, and the pictures of the swap."""


def diagnose(
    run: Path | str,
    display: Display | None = None,
    samples: int = 256,
    shares: tuple[float, ...] = (0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.8, 1),
    recipe: Recipe | None = None,
) -> dict[str, Any]:
    """Measure where a run has forgotten.

    The swap curve: the run's model takes the noisy steps and the pretrained one a share of the last ones, asked under its null
    label. The cheap curve: the error by u of both on the target's held-out images and on the bank.

    Args:
        run: its folder.
        display: shows progress; None is silent.
        samples: how many are drawn for each point of the swap curve.
        shares: of the steps, the last ones, that go to the pretrained model: its points, in [0, 1].
        recipe: how images are drawn and judged; None takes the run's own.

    Returns:
        `swap`: a list of {"share", "frechet", "kid"}; `target` and `bank`: {"pretrained": [...], "run": [...]} errors by u;
        `network` and `samples` behind the distances. The same is written to the file `diagnosis`.

    Raises:
        CheckpointError: the run is not finished, or its model is not what was written.
        BusyError: another process is at work on the run folder.
    """
    folder = RunFolder(Path(run)).require()
    with present().led(folder.alone()), costs.timed(folder, costs.DIAGNOSIS):
        return _diagnose(folder.path, display or Silent(), samples, shares, recipe)


def _diagnose(
    path: Path, display: Display, samples: int, shares: tuple[float, ...], recipe: Recipe | None
) -> dict[str, Any]:
    run = open_run(path)
    recipe, before = recipe or run.recipe, run.before
    model = drawn_from(run, recipe.sampling)
    judge = Judge(recipe, run.target, run.controls)

    def distance(images: Tensor) -> dict[str, float]:
        features = extract(images, judge.network)
        return {"frechet": frechet(features, judge.heldout.features), "kid": kid(features, judge.heldout.features)}

    for backbone in (model, before):
        backbone.network.eval()
    with display.progress(f"swap curve of {recipe.name}", samples) as task:
        curve = swap_curve(
            denoiser_of(model, recipe.sampling, before=before),
            Unconditional(denoiser_of(before, recipe.sampling, guidance=1), before.labels.null),
            model.process,
            make_scheduler(recipe.sampling.solver, model.scheduler_config, recipe.sampling.spacing),
            judge.conditions(run.rows, samples)[0:samples].to(model.device),
            model.sample_shape,
            recipe.sampling.steps,
            distance,
            partial(images_of, model),
            shares,
            recipe.sampling.seed,
            recipe.sampling.batch_size,
            progress=total(task),
        )
    maps = None if run.controls is None else run.controls.heldout
    on_target = target_heldout(judge.target.heldout, run.rows, model, recipe, maps)
    found: dict[str, Any] = {
        "swap": [{"share": point.share, **point.metrics} for point in curve.points],
        "network": judge.network.name,
        "samples": samples,
        "target": {
            "pretrained": on_target.without_condition(before).curve(before).error.tolist(),
            "run": on_target.curve(model).error.tolist(),
        },
    }
    if (bank := open_heldout_bank(recipe, before)) is not None:
        found["bank"] = {
            "pretrained": bank_heldout(bank, before, recipe).curve(before).error.tolist(),
            "run": bank_heldout(bank, model, recipe).curve(model).error.tolist(),
        }
    write_tensors(run.folder.path / STRIP, {"strip": curve.strip.contiguous()})
    write_json(run.folder.path / FILE, {**found, "judged": recipe.judged()})
    return {**found, "diagnosis": str(run.folder.path / FILE)}
