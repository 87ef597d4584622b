"""What a claim says of the rows: a number, and whether it agrees."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev

from difftuning.reporting.tables import label, lower_is_better
from difftuning.reporting.text_table import percent
from difftuning.results import CURVE, Row


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
        check: what the rows say; None where they do not say anything yet.
    """

    text: str
    check: Callable[[Sequence[Row]], Finding | None]


def ahead(
    metric: str,
    method: str = "diff-tuning",
    baseline: str = "finetune",
    by: float = 0.0,
    without: Collection[str] = (),
) -> Claim:
    """One method is better than another in the mean, by at least a share.

    Runs are compared in pairs that share target, setting and seed. A mean within two of its standard errors decides nothing.
    Rows with one of the settings `without` do not count.
    """

    def check(rows: Sequence[Row]) -> Finding | None:
        kept = [row for row in rows if not {*row.setting.values()} & {*without}]
        return _finding(_changes(kept, metric, method, baseline), _is_lower(metric), by)

    least = f" by {by:.1%} or more" if by else ""
    return Claim(f"{method} is ahead of {baseline}{least} in: {label(metric)}", check)


def ahead_at_best(metric: str, method: str = "diff-tuning", baseline: str = "finetune") -> Claim:
    """`ahead`, each in the setting that is best for it on a target, in the mean over seeds: one may suit one and not the other."""
    lower = _is_lower(metric)

    def check(rows: Sequence[Row]) -> Finding | None:
        found: dict[tuple[str, str], dict[str, list[Row]]] = defaultdict(lambda: defaultdict(list))
        for row in rows:
            if row.metric == metric and row.method in (method, baseline):
                found[row.target, row.method][str(sorted(row.setting.items()))].append(row)
        best = [
            row.model_copy(update={"setting": {}})
            for settings in found.values()
            for row in (min if lower else max)(settings.values(), key=lambda same: fmean(row.value for row in same))
        ]
        return _finding(_changes(best, metric, method, baseline), lower, 0.0)

    text = f"{method} is ahead of {baseline}, each at its best setting, in: {label(metric)}"
    return Claim(text, check)


def ahead_of_best(metric: str, method: str, name: str, strengths: Collection[str]) -> Claim:
    """`ahead_at_best` of what has several strengths, each of them a method in the rows; together they are called `name`."""
    at_best = ahead_at_best(metric, method, name)

    def check(rows: Sequence[Row]) -> Finding | None:
        together = [
            row.model_copy(update={"method": name, "setting": {**row.setting, "strength": row.method}})
            if row.method in strengths
            else row
            for row in rows
        ]
        return at_best.check(together)

    return Claim(f"{method} is ahead of {name} at its best strength in: {label(metric)}", check)


def ahead_of_itself(metric: str, key: str, value: float, base: float, method: str = "finetune") -> Claim:
    """A method is better at one value of a setting than at another."""
    at, than = f"{method} at {key} {value:g}", f"{method} at {key} {base:g}"

    def check(rows: Sequence[Row]) -> Finding | None:
        names = {value: at, base: than}
        found = [
            row.model_copy(
                update={
                    "method": names[here],
                    "setting": {name: other for name, other in row.setting.items() if name != key},
                }
            )
            for row in rows
            if row.method == method and (here := row.setting.get(key)) in names
        ]
        return _finding(_changes(found, metric, at, than), _is_lower(metric), 0.0)

    return Claim(f"{at} is ahead of {than} in: {label(metric)}", check)


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

    text = f"{method} comes to the lowest of {baseline} in fewer steps in: {label(metric)}"
    return Claim(text, check)


def nowhere_behind(metric: str, method: str, baseline: str = "finetune", by: float = 0.0) -> Claim:
    """One method is nowhere worse than another by more than a share: on no target, in no setting, in the mean over seeds."""
    lower = _is_lower(metric)

    def check(rows: Sequence[Row]) -> Finding | None:
        places: dict[tuple[str, str], list[Row]] = defaultdict(list)
        for row in rows:
            places[row.target, ", ".join(map(str, row.setting.values()))].append(row)
        found = {place: list(_changes(part, metric, method, baseline).values()) for place, part in places.items()}
        worse = {place: fmean(changes) * (1 if lower else -1) for place, changes in found.items() if changes}
        if not worse:
            return None
        (target, setting), most = max(worse.items(), key=lambda item: item[1])
        where = f"{target}, {setting}" if setting else target
        return Finding(f"at worst {percent(most if lower else -most)} ({where}), over {len(worse)} places", most <= by)

    text = f"{method} is nowhere behind {baseline} by more than {by:.0%} in: {label(metric)}"
    return Claim(text, check)


def _is_lower(metric: str) -> bool:
    """Whether less of it is better."""
    return lower_is_better(metric) is not False


def _finding(changes: Mapping[tuple[str, int], float], lower: bool, by: float) -> Finding | None:
    """What changes by (target, seed) say of being better by a share."""
    if not changes:
        return None
    mean = fmean(changes.values())
    targets, seeds = {target for target, _ in changes}, {seed for _, seed in changes}
    better = sum(change < 0 if lower else change > 0 for change in changes.values())
    number = (
        f"{mean:+.1%} in the mean, from {min(changes.values()):+.1%} to {max(changes.values()):+.1%}; "
        f"better in {better} of {len(changes)} ({_count(targets, 'target')}, {_count(seeds, 'seed')})"
    ).replace("-", "\N{MINUS SIGN}")
    gain = (-mean if lower else mean) - by
    return Finding(number, None if abs(gain) <= 2 * _standard_error(changes) else gain > 0)


def _changes(rows: Sequence[Row], metric: str, method: str, baseline: str) -> dict[tuple[str, int], float]:
    """The mean change of each (target, seed) over the settings that both methods have."""
    values: dict[str, dict[tuple[str, int, str], float]] = {method: {}, baseline: {}}
    for row in rows:
        if row.metric == metric and row.method in values:
            values[row.method][row.target, row.seed, str(sorted(row.setting.items()))] = row.value
    found: dict[tuple[str, int], list[float]] = defaultdict(list)
    for key, value in values[method].items():
        base = values[baseline].get(key, 0.0)
        if base > 0:
            found[key[:2]].append(value / base - 1)
    return {key: fmean(changes) for key, changes in found.items()}


def _standard_error(changes: Mapping[tuple[str, int], float]) -> float:
    """Of the mean over targets where these are three or more, else over all pairs, since seeds of a target are not independent.

    Infinite for a single pair, which decides nothing.
    """
    by_target: dict[str, list[float]] = defaultdict(list)
    for (target, _), change in changes.items():
        by_target[target].append(change)
    values = [fmean(found) for found in by_target.values()] if len(by_target) > 2 else list(changes.values())
    return stdev(values) / len(values) ** 0.5 if len(values) > 1 else math.inf


def _count(things: set[str] | set[int], name: str) -> str:
    return f"{len(things)} {name}{'' if len(things) == 1 else 's'}"
