"""What was measured of a stream, as result rows.

Plain metrics are what the stream comes to: on the held-out images of all phases after the last one, and the mean forgetting and
forward transfer of the held-out error. `phase_`, `cumulative_` and `bank_` before a metric are the parts of that.
"""

from __future__ import annotations

from collections.abc import Iterator

from pydantic import JsonValue

from difftuning.continual.measures import Measured
from difftuning.continual.stream import Stream
from difftuning.results import OVER_NETWORK, Row
from difftuning.workflows.recipe import Recipe

PARTS = ("phase_", "cumulative_", "bank_")


def rows_of(stream: Stream, recipes: list[Recipe], found: Measured) -> list[Row]:
    """All numbers, those that sum up first."""
    first = recipes[0]
    return [
        Row(
            study=stream.name,
            target=stream.name,
            method=stream.method.kind,
            tuner=first.tuner.kind,
            setting=setting,
            seed=first.seed,
            step=sum(recipe.training.steps for recipe in recipes[:after]),
            metric=metric,
            value=value,
            network=found.network if _plain(metric) in OVER_NETWORK else None,
            n=_behind(metric, found.samples, first),
        )
        for metric, value, after, setting in (*_sum(found), *_parts(found))
    ]


def _behind(metric: str, samples: int, first: Recipe) -> int:
    """How many images or draws are behind a number."""
    if metric.startswith("bank_"):
        return min(samples, first.bank.count)
    return samples if _plain(metric) in OVER_NETWORK else first.evaluation.heldout_draws


_Entry = tuple[str, float, int, dict[str, JsonValue]]
"""Metric, value, the phase after which it was measured, and what else sets it apart."""


def _sum(found: Measured) -> Iterator[_Entry]:
    last, error = len(found.phases), found.matrices["heldout"]
    means = {"forgetting": error.mean_forgetting(), "forward_transfer": error.mean_forward()}
    for metric, value in {**found.cumulative[-1], **means}.items():
        if value is not None:
            yield metric, value, last, {}


def _parts(found: Measured) -> Iterator[_Entry]:
    names = ("pretrained", *found.phases)
    for metric, matrix in found.matrices.items():
        for after, line in enumerate(matrix.values):
            for on, value in zip(found.phases, line, strict=True):
                if value is not None:
                    yield f"phase_{metric}", value, after, {"after": names[after], "on": on}
    for after, values in enumerate(found.cumulative, start=1):
        for metric, value in values.items():
            yield f"cumulative_{metric}", value, after, {"after": names[after]}
    for before, (phase, others) in enumerate(found.banks.items()):
        for other, distances in others.items():
            for metric, value in distances.items():
                yield f"bank_{metric}", value, before, {"bank": phase, "to": other}


def _plain(metric: str) -> str:
    for part in PARTS:
        metric = metric.removeprefix(part)
    return metric
