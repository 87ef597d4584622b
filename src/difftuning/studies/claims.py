"""What a claim says of the rows: a number, and whether it agrees."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean, stdev

from difftuning.reporting.metrics import label, lower_is_better
from difftuning.reporting.text_table import percent
from difftuning.results import CURVE, Row

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


@dataclass(frozen=True)
class Claim:
    """Something that rows can confirm or refute.

    Attributes:
        text: the claim.
        method: what it is about.
        check: what the rows say; None where they do not say anything yet.
    """

    text: str
    method: str
    check: Callable[[Sequence[Row]], Finding | None]


def ahead(
    metric: str,
    method: str = "diff-tuning",
    baseline: str = "finetune",
    by: float = 0.0,
    without: Collection[str] = (),
) -> Claim:
    """One method is better than another in the mean, by at least a share.

    Runs are compared in pairs that share target, setting and seed. A mean whose 95 % confidence interval reaches over the bound
    decides nothing. Rows with one of the settings `without` do not count.
    """

    def check(rows: Sequence[Row]) -> Finding | None:
        kept = [row for row in rows if not {*row.setting.values()} & {*without}]
        return _compared(kept, metric, method, baseline, by)

    least = f" by {by:.1%} or more" if by else ""
    but = f", without {' and '.join(without)}" if without else ""
    return Claim(f"{method} is ahead of {baseline}{least} in: {label(metric)}{but}", method, check)


def ahead_at_best(metric: str, method: str = "diff-tuning", baseline: str = "finetune") -> Claim:
    """`ahead`, each in the setting that is best for it on a target, in the mean over seeds: one may suit one and not the other.

    Of an unfinished study, over the seeds that all settings of a method have on a target: some are easier than others.
    """
    lower = _is_lower(metric)

    def check(rows: Sequence[Row]) -> Finding | None:
        found: dict[tuple[str, str], dict[str, dict[int, Row]]] = defaultdict(lambda: defaultdict(dict))
        for row in rows:
            if row.metric == metric and row.method in (method, baseline):
                found[row.target, row.method][str(sorted(row.setting.items()))][row.seed] = row
        best: list[Row] = []
        for settings in found.values():
            seeds = set[int].intersection(*map(set, settings.values()))
            means = {name: fmean(one[seed].value for seed in seeds) for name, one in settings.items() if seeds}
            if means:
                chosen = settings[(min if lower else max)(means, key=lambda name: means[name])]
                best += (chosen[seed].model_copy(update={"setting": {}}) for seed in seeds)
        return _compared(best, metric, method, baseline)

    text = f"{method} is ahead of {baseline}, each at its best setting, in: {label(metric)}"
    return Claim(text, method, check)


def ahead_of_best(metric: str, method: str, name: str, strengths: Collection[str]) -> Claim:
    """`ahead_at_best` of what has several strengths, each of them a method in the rows; together they are called `name`.

    Targets on which not all of them are measured do not count.
    """
    at_best = ahead_at_best(metric, method, name)

    def check(rows: Sequence[Row]) -> Finding | None:
        measured: dict[str, set[str]] = defaultdict(set)
        for row in rows:
            if row.metric == metric:
                measured[row.target].add(row.method)
        together = [
            row.model_copy(update={"method": name, "setting": {**row.setting, "strength": row.method}})
            if row.method in strengths
            else row
            for row in rows
            if measured[row.target] >= {*strengths}
        ]
        return at_best.check(together)

    return replace(at_best, text=f"{method} is ahead of {name} at its best strength in: {label(metric)}", check=check)


def ahead_at(
    metric: str, key: str, ours: tuple[str, float], theirs: tuple[str, float], within: float | None = None
) -> Claim:
    """A method at a value of a setting is better than one at another, or, with `within`, behind by no more than that share.

    Args:
        metric: what is compared.
        key: the setting.
        ours: (method, value of the setting) that the claim is about.
        theirs: what it is compared with.
        within: a share.
    """
    names = {here: f"{here[0]} at {key} {here[1]:g}" for here in (ours, theirs)}

    def check(rows: Sequence[Row]) -> Finding | None:
        found = [
            row.model_copy(
                update={
                    "method": names[here],
                    "setting": {name: other for name, other in row.setting.items() if name != key},
                }
            )
            for row in rows
            if (here := (row.method, row.setting.get(key))) in names
        ]
        return _compared(found, metric, names[ours], names[theirs], -(within or 0.0))

    how = "ahead of" if within is None else f"no more than {within:.0%} behind"
    return Claim(f"{names[ours]} is {how} {names[theirs]} in: {label(metric)}", ours[0], check)


def ahead_of_itself(
    metric: str, key: str, value: float, base: float, method: str = "finetune", within: float | None = None
) -> Claim:
    """`ahead_at` of one method at two values of a setting."""
    return ahead_at(metric, key, (method, value), (method, base), within)


def sooner(metric: str, method: str = "diff-tuning", baseline: str = "finetune") -> Claim:
    """One method comes down to the lowest of another's curve in fewer steps; refuted where any run never does."""

    def check(rows: Sequence[Row]) -> Finding | None:
        curves: dict[tuple[str, int], dict[str, list[tuple[int, float]]]] = defaultdict(lambda: defaultdict(list))
        for row in rows:
            if row.metric == f"{metric}{CURVE}":
                curves[row.target, row.seed][row.method].append((row.step, row.value))
        pairs = {
            key: (found[baseline], found[method]) for key, found in curves.items() if {method, baseline} <= {*found}
        }
        if not pairs:
            return None
        shares: dict[tuple[str, int], float] = {}
        for key, (base, own) in pairs.items():
            step, lowest = min(base, key=lambda point: point[1])
            if reached := [at for at, value in own if value <= lowest]:
                shares[key] = min(reached) / step - 1 if step else 0.0
        found = _finding(shares, True, 0.0)
        if len(shares) == len(pairs) and found is not None:
            return Finding(f"steps to it: {found.number}", found.agrees)
        return Finding(f"{len(pairs) - len(shares)} of {len(pairs)} runs never come to it", False)

    return Claim(f"{method} comes to the lowest of {baseline} in fewer steps in: {label(metric)}", method, check)


def nowhere_behind(metric: str, method: str, baseline: str = "finetune", by: float = 0.0) -> Claim:
    """One method is nowhere worse than another by more than a share: on no target, in no setting, in the mean over seeds."""
    lower = _is_lower(metric)

    def check(rows: Sequence[Row]) -> Finding | None:
        places: dict[tuple[str, str], list[Row]] = defaultdict(list)
        for row in rows:
            places[row.target, ", ".join(map(str, row.setting.values()))].append(row)
        found = {place: _changes(part, metric, method, baseline) for place, part in places.items()}
        worse = {place: fmean(shares.values()) * (1 if lower else -1) for place, (shares, _) in found.items() if shares}
        if not worse:
            return None
        (target, setting), most = max(worse.items(), key=lambda item: item[1])
        where = f"{target}, {setting}" if setting else target
        number = f"at worst {percent(most if lower else -most)} ({where}), over {_count(worse, 'place')}"
        return _but_for(sum(left for _, left in found.values()), Finding(number, most <= by), lower)

    least = f" by more than {by:.0%}" if by else ""
    return Claim(f"{method} is nowhere behind {baseline}{least} in: {label(metric)}", method, check)


def _is_lower(metric: str) -> bool:
    """Whether less of it is better."""
    return lower_is_better(metric) is not False


def _compared(rows: Sequence[Row], metric: str, method: str, baseline: str, by: float = 0.0) -> Finding | None:
    """What rows say of a method being better than another by a share."""
    changes, left = _changes(rows, metric, method, baseline)
    found = _finding(changes, _is_lower(metric), by)
    if found is None:
        return (
            Finding(f"no share: {_count(range(left), 'pair')} whose baseline is not above zero", None) if left else None
        )
    return _but_for(left, found, _is_lower(metric))


def _but_for(left: int, found: Finding, lower: bool) -> Finding:
    """A finding over all but some pairs.

    Where less is better they are the baseline's best, and without them nothing is confirmed; else its worst, and
    nothing is refuted.
    """
    if not left:
        return found
    number = (
        f"{found.number}; without {_count(range(left), 'pair')} whose baseline is not above zero, so no share of it is"
    )
    return Finding(number, None if found.agrees is lower else found.agrees)


def _finding(changes: Mapping[tuple[str, int], float], lower: bool, by: float) -> Finding | None:
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
        f"{better} of {len(changes)} ({_count(targets, 'target')}, {_count(seeds, 'seed')})"
    )
    gain = (-mean if lower else mean) - by
    return Finding(number, None if abs(gain) <= _half_interval(independent) else gain > 0)


def _changes(rows: Sequence[Row], metric: str, method: str, baseline: str) -> tuple[dict[tuple[str, int], float], int]:
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


def _count(things: Collection[object], name: str) -> str:
    return f"{len(things)} {name}{'' if len(things) == 1 else 's'}"
