"""How two methods compare over the rows of a study: the mean change of pairs, and whether it is beyond its spread."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev

from difftuning.reporting.metrics import lower_is_better
from difftuning.reporting.text_table import percent
from difftuning.results import Row

T95 = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228)
"""The two-sided 95 % quantiles of Student's t at 1, 2, ... degrees of freedom; that of the last stands for all beyond."""
EQUAL = 1e-5
"""A change of less than this share is none: two runs of the same training differ so much by the order of sums."""


@dataclass(frozen=True)
class Finding:
    """What was found.

    Attributes:
        number: with its spread, in words.
        agrees: whether the claim holds in it; None where the difference is within its spread.
    """

    number: str
    agrees: bool | None


def is_lower(metric: str) -> bool:
    """Whether less of it is better."""
    return lower_is_better(metric) is not False


def compared(rows: Sequence[Row], metric: str, method: str, baseline: str, by: float = 0.0) -> Finding | None:
    """What rows say of a method being better than another by a share."""
    changes, left = paired_changes(rows, metric, method, baseline)
    found = judged(changes, is_lower(metric), by)
    if found is None:
        return (
            Finding(f"no share: {counted(range(left), 'pair')} whose baseline is not above zero", None)
            if left
            else None
        )
    return but_for(left, found, is_lower(metric))


def but_for(left: int, found: Finding, lower: bool) -> Finding:
    """A finding over all but some pairs.

    Where less is better they are the baseline's best, and without them nothing is confirmed; else its worst, and
    nothing is refuted.
    """
    if not left:
        return found
    number = (
        f"{found.number}; without {counted(range(left), 'pair')} whose baseline is not above zero, so no share of it is"
    )
    return Finding(number, None if found.agrees is lower else found.agrees)


def judged(changes: Mapping[tuple[str, int], float], lower: bool, by: float) -> Finding | None:
    """What changes by (target, seed) say of being better by a share."""
    if not changes:
        return None
    independent = _independent(changes)
    mean = fmean(independent)
    targets, seeds = {target for target, _ in changes}, {seed for _, seed in changes}
    gains = [-change if lower else change for change in changes.values()]
    equal = sum(abs(gain) < EQUAL for gain in gains)
    better = f"better in {sum(gain >= EQUAL for gain in gains)}" + (f", equal in {equal}" if equal else "")
    number = (
        f"{percent(mean)} in the mean, from {percent(min(changes.values()))} to {percent(max(changes.values()))}; "
        f"{better} of {len(changes)} ({counted(targets, 'target')}, {counted(seeds, 'seed')})"
    )
    gain = (-mean if lower else mean) - by
    return Finding(number, None if abs(gain) <= _half_interval(independent) else gain > 0)


def paired_changes(
    rows: Sequence[Row], metric: str, method: str, baseline: str
) -> tuple[dict[tuple[str, int], float], int]:
    """The mean change of each (target, seed) over the settings that both methods have, with every seed of that target.

    And how many pairs have none, since the baseline is not above zero there, as an unbiased KID may be.
    """
    values: dict[str, dict[tuple[str, int, str], float]] = {method: {}, baseline: {}}
    for row in rows:
        if row.metric == metric and row.method in values:
            values[row.method][row.target, row.seed, str(sorted(row.setting.items()))] = row.value
    found: dict[tuple[str, int], dict[str, float]] = defaultdict(dict)
    pairs = values[method].keys() & values[baseline].keys()
    for target, seed, setting in sorted(pairs):
        own, base = (values[name][target, seed, setting] for name in (method, baseline))
        if base > 0:
            found[target, seed][setting] = own / base - 1
    left = sum(values[baseline][pair] <= 0 for pair in pairs)
    shared: dict[str, set[str]] = {}
    for (target, _), changes in found.items():
        shared[target] = shared.get(target, {*changes}) & {*changes}
    means = {
        (target, seed): fmean(changes[setting] for setting in shared[target])
        for (target, seed), changes in found.items()
        if shared[target]
    }
    return means, left


def _independent(changes: Mapping[tuple[str, int], float]) -> list[float]:
    """The mean change of each target where these are three or more, else all pairs: seeds of a target are not independent."""
    by_target: dict[str, list[float]] = defaultdict(list)
    for (target, _), change in changes.items():
        by_target[target].append(change)
    return [fmean(found) for found in by_target.values()] if len(by_target) > 2 else list(changes.values())


def _half_interval(values: Sequence[float]) -> float:
    """Half the 95 % confidence interval of the mean; infinite for a single value, which decides nothing."""
    if len(values) < 2:
        return math.inf
    return T95[min(len(values) - 1, len(T95)) - 1] * stdev(values) / math.sqrt(len(values))


def counted(things: Collection[object], name: str) -> str:
    """How many there are, in words."""
    return f"{len(things)} {name}{'' if len(things) == 1 else 's'}"
