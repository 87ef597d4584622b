"""`info`: the state of a run, read from its folder alone, or what a model is and which classes it knows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from difftuning.backbones.loading import load
from difftuning.errors import CheckpointError, DifftuningError
from difftuning.json_files import MetricsLog, read_json
from difftuning.results import read_rows
from difftuning.run_folder import RunFolder
from difftuning.training.checkpoints import Checkpoints
from difftuning.workflows.runs import ended, is_finished, recipe_of

DIGESTS = ("weights_digest", "bank_digest", "recipe_digest")
"""What the state of a checkpoint identifies its run by."""


def info(run: Path) -> dict[str, Any]:
    """The state of a run, or `model_info` where the name is a model's.

    Args:
        run: a run folder, which is not changed, or a model as a recipe names it.

    Returns:
        `run`; `state`, one of "new" (no checkpoint yet), "unfinished" and "finished" (its model is written); `step` of the
        checkpoint that training would go on from, or of the model where none is left, and `steps` in all; the three digests
        (None where the run has none); `best_step` (None before the first held-out error); how many `metrics` records, `torn`
        ones and result `rows` there are; `report`, its path when there is one.

    Raises:
        CheckpointError: the folder is not a run, or something in it cannot be read.
        ConfigError: its recipe cannot be read.
    """
    if not run.is_dir():  # a model of the zoo or of the hub, then
        try:
            return model_info(str(run))
        except DifftuningError as reason:
            raise CheckpointError(f"there is no run folder {run}, and as a model: {reason}") from reason
    if not RunFolder(run).recipe.is_file() and (run / "model_index.json").is_file():
        return model_info(str(run))
    folder = RunFolder(run).require()
    checkpoints = Checkpoints(folder.checkpoints)
    last, best = checkpoints.last(), checkpoints.best()
    state = {} if last is None else read_json(last / "state.json")
    recipe = recipe_of(run)
    steps = recipe.training.steps
    finished = is_finished(recipe) and (last is None or state["step"] == steps)
    if finished and last is None:  # checkpoints take room, and may be removed
        state = ended(recipe) or {"step": steps}
    step = int(state.get("step", 0))
    metrics = MetricsLog(folder.metrics).read()
    return {
        "run": str(run),
        "state": "finished" if finished else "new" if last is None else "unfinished",
        "step": step,
        "steps": steps,
        **{digest: state.get(digest) for digest in DIGESTS},
        "best_step": None if best is None else int(read_json(best / "state.json")["step"]),
        "metrics": len(metrics.records),
        "torn": len(metrics.torn),
        "rows": len(read_rows(folder.results)) if folder.results.is_file() else 0,
        "report": str(folder.report) if folder.report.is_file() else None,
    }


def model_info(name: str) -> dict[str, Any]:
    """What a model is: family, parameters, sizes, noise process, what it predicts, and its classes by name.

    Raises:
        ModelError: there is no such model.
    """
    model = load(name)
    return {
        "model": name,
        "family": type(model).__name__,
        "parameters": sum(parameter.numel() for parameter in model.network.parameters()),
        "image_size": model.image_size,
        "latent": "x".join(map(str, model.sample_shape)),
        "process": type(model.process).__name__,
        "digest": model.digest(),
        "classes": len(model.labels),
        "labels": list(model.labels.names),
    }
