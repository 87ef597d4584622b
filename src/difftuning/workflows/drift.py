"""How far a run has moved the weights, in the paper's measure and in EWC's."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from difftuning.evaluation.drift import drift_by_layer, weight_drift
from difftuning.objectives.anchor import fisher
from difftuning.objectives.diff_tuning import DiffTuning
from difftuning.workflows.anchoring import bank_items
from difftuning.workflows.assemble import open_heldout_bank
from difftuning.workflows.controls import items_of
from difftuning.workflows.runs import FinishedRun


@dataclass(frozen=True, slots=True)
class Drift:
    """How far weights have moved.

    Attributes:
        totals: the measures over all weights, by their names in result rows.
        layers: the share of each layer in the drift, from the first one to the last.
    """

    totals: dict[str, float]
    layers: dict[str, float]


def drift_of(run: FinishedRun, fisher_draws: int | None = None) -> Drift:
    """The drift by layer, in all, by tunable parameter and, if asked for, weighted by what each parameter matters for the bank.

    The class table is left out where its rows became other classes. A tuner that cannot be folded into the weights moves none.

    Args:
        run: a finished one.
        fisher_draws: held-out bank items behind the Fisher information of the pretrained model; None leaves it out, as does a run
            without a bank.
    """
    if run.tuner is not None and not run.tuner.mergeable:
        return Drift({}, {})
    # Two models more than are there already, and subtracted only.
    source, model = run.plain(torch.device("cpu") if fisher_draws is None else None)
    left_out = set() if source.labels == model.labels else {model.class_table}
    before, after = (
        {name: value for name, value in one.network.named_parameters() if name not in left_out}
        for one in (source, model)
    )
    moved = weight_drift(before, after)
    drift = sum(moved.values())
    tunable = model.network.parameters() if run.tuner is None else run.tuner.parameters.values()
    found = {"drift": drift, "drift_per_parameter": drift / sum(value.numel() for value in tunable)}
    if fisher_draws is not None and (bank := open_heldout_bank(run.recipe, run.before)) is not None:
        objective = DiffTuning(source, source.process, source.prediction, source.learned_variance)
        # The UNet behind a ControlNet is frozen, and its second half may have moved.
        source.network.requires_grad_(True)
        importance = fisher(
            objective, before, bank_items(items_of(bank, run.recipe.control, source), source, fisher_draws)
        )
        found["drift_fisher"] = sum(weight_drift(before, after, importance).values())
    return Drift(found, drift_by_layer(moved))
