"""What a page plots of its runs: curves while training and by noise level, coefficients, pictures by step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from difftuning.backbones.base import Backbone
from difftuning.coefficients.chain import ChainOfForgetting
from difftuning.diagnosis.adaptive_chain import AdaptiveChain
from difftuning.evaluation.control_consistency import MEASURES
from difftuning.reporting.metrics import LABELS
from difftuning.workflows.assemble import chain_of
from difftuning.workflows.consistency import MEAN
from difftuning.workflows.heldout import by_u as errors_by_u
from difftuning.workflows.run_history import RunHistory


def by_step(pictures: Mapping[str, Mapping[int, bytes]]) -> list[tuple[int, dict[str, bytes]]]:
    """(step, column -> its picture at that step) in order."""
    steps = sorted({step for found in pictures.values() for step in found})
    return [(step, {name: found[step] for name, found in pictures.items() if step in found}) for step in steps]


def distances(series: Mapping[str, RunHistory]) -> dict[str, dict[str, list[tuple[int, float]]]]:
    """What was measured over which network -> run -> it while training."""
    found: dict[str, dict[str, list[tuple[int, float]]]] = {}
    for name, one in series.items():
        for metric in ("frechet", "fid"):
            if points := one.points(metric):
                network = one.recipe.evaluation.network
                what = LABELS[metric] if metric == "fid" else f"{LABELS[metric]} ({network})"
                found.setdefault(what, {})[name] = points
    return found


def obedience(
    histories: Sequence[RunHistory], names: Mapping[Path, str]
) -> dict[str, dict[str, dict[int, list[tuple[int, float]]]]]:
    """Measure -> column -> seed -> the control consistency of ControlNets while they trained."""
    found: dict[str, dict[str, dict[int, list[tuple[int, float]]]]] = {}
    for one in histories:
        control, points = one.recipe.control, one.points(MEAN)
        if control is not None and points:
            methods = found.setdefault(f"{control.kind}: {MEASURES[control.kind].name}", {})
            methods.setdefault(names[one.path], {})[one.recipe.seed] = points
    return found


def last_chain(history: RunHistory, before: Backbone) -> ChainOfForgetting:
    """That of the last step, which the history tells where psi adapts."""
    chain = chain_of(history.recipe, before)
    if isinstance(chain, AdaptiveChain):
        for record in history.records:
            if "heldout" in record:
                chain.see(int(record["step"]), errors_by_u(record))
    return chain.at(history.recipe.training.steps - 1)


def coefficients(chain: ChainOfForgetting) -> tuple[list[float], list[float], list[float]]:
    """u, psi(u) and xi(u) at as many places as a curve needs."""
    u = torch.linspace(0, 1, 201, dtype=torch.float64)
    return u.tolist(), chain.psi(u).tolist(), chain.xi(u).tolist()


def by_u(diagnoses: Mapping[str, Any], where: str) -> dict[str, list[float]]:
    """The errors on one set of all methods whose diagnosis has measured it.

    Banks of other settings are other items: each run is put beside the first one's by what the pretrained model errs on its own.
    """
    measured = {name: found[where] for name, found in diagnoses.items() if where in found}
    if not measured:
        return {}
    pretrained = next(iter(measured.values()))["pretrained"]

    def beside(found: Mapping[str, Sequence[float]]) -> list[float]:
        return [
            error * base / own for error, own, base in zip(found["run"], found["pretrained"], pretrained, strict=True)
        ]

    return {"pretrained": pretrained, **{name: beside(found) for name, found in measured.items()}}


def swap_distance(diagnoses: Mapping[str, Any]) -> str:
    """What the distance of swapped samples is called, with the networks and the numbers of samples behind it."""
    behind = {f"{found['network']}, {found['samples']} samples" for found in diagnoses.values()}
    return f"Frechet distance ({'; '.join(sorted(behind))})"
