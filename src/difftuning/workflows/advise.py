"""`diagnose --advise`: what a finished run of standard fine-tuning says of the psi that its target asks for."""

from __future__ import annotations

from pathlib import Path

from difftuning.diagnosis.advise import measured_psi
from difftuning.errors import CheckpointError, ConfigError
from difftuning.json_files import MetricsLog
from difftuning.run_folder import RunFolder
from difftuning.training.ema import share_of_start
from difftuning.workflows.evaluate import method_of
from difftuning.workflows.heldout import by_u
from difftuning.workflows.notes import LITTLE
from difftuning.workflows.recipe import Recipe
from difftuning.workflows.runs import is_finished, recipe_of


def advise(run: Path) -> dict[str, str]:
    """`{"advice": the override of a measured psi}`, from what a run has measured while it trained.

    `"warning"` is there too where its average still holds the model before training, whose gain is less than that of the training.

    Raises:
        CheckpointError: the run is none, or not finished.
        ConfigError: it is not standard fine-tuning.
        DataError: its held-out error was not measured while it trained.
    """
    probe = recipe_of(run)
    if not is_finished(probe):
        raise CheckpointError(
            f"the probe {run} is not finished; finish it with `difftuning train {run / 'recipe.yaml'}`"
        )
    told = {"advice": advice_of(probe)}
    if (kept := share_of_start(probe.training.steps, probe.training.batch_size, probe.ema)) > LITTLE:
        told["warning"] = (
            f"{kept:.0%} of the average that was measured is the model before training, so this psi is too low; train the probe "
            "with ema.kind=halflife"
        )
    return told


def advice_of(probe: Recipe) -> str:
    """A psi for a target, measured on a finished run of standard fine-tuning, as an override.

    Raises:
        ConfigError: the run is not one.
        DataError: its held-out error was not measured while it trained.
    """
    if method_of(probe) != "finetune":
        raise ConfigError(
            f"--advise measures on standard fine-tuning, and {probe.folder} is not one; train a probe with "
            "coefficients.psi.tau=0 and another `out`"
        )
    records = [record for record in MetricsLog(RunFolder(probe.folder).metrics).read().records if "heldout" in record]
    curves = [by_u(record) for record in records]
    knots = measured_psi(curves[0] if curves else (), curves[1:])
    texts = ", ".join(f"[{u:.2f}, {psi:.3f}]" for u, psi in knots)
    return f"coefficients.psi={{kind: measured, knots: [{texts}]}}"
