"""What a claim says of the rows: a number, and whether it agrees."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from statistics import fmean

from difftuning.reporting.metrics import label
from difftuning.reporting.text_table import percent
from difftuning.results import CURVE, Row
from difftuning.studies.comparison import Finding, but_for, compared, counted, is_lower, judged, paired_changes


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
    only: str = "",
) -> Claim:
    """One method is better than another in the mean, by at least a share.

    Runs are compared in pairs that share target, setting and seed. A mean whose 95 % confidence interval reaches over the bound
    decides nothing. Rows with one of the settings `without` do not count, or all but those with the one that is `only` asked.
    """

    def check(rows: Sequence[Row]) -> Finding | None:
        there = ((row, {*map(str, row.setting.values())}) for row in rows)
        kept = [row for row, values in there if not values & {*without} and (not only or only in values)]
        return compared(kept, metric, method, baseline, by)

    least = f" by {by:.1%} or more" if by else ""
    but = f", without {' and '.join(without)}" if without else f", {only}" if only else ""
    return Claim(f"{method} is ahead of {baseline}{least} in: {label(metric)}{but}", method, check)


def ahead_at_best(metric: str, method: str = "diff-tuning", baseline: str = "finetune") -> Claim:
    """`ahead`, each in the setting that is best for it on a target, in the mean over seeds: one may suit one and not the other.

    Of an unfinished study, over the seeds that all settings of a method have on a target: some are easier than others.
    """
    lower = is_lower(metric)

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
        return compared(best, metric, method, baseline)

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
        return compared(found, metric, names[ours], names[theirs], -(within or 0.0))

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
        found = judged(shares, True, 0.0)
        if len(shares) == len(pairs) and found is not None:
            return Finding(f"steps to it: {found.number}", found.agrees)
        return Finding(f"{len(pairs) - len(shares)} of {len(pairs)} runs never come to it", False)

    return Claim(f"{method} comes to the lowest of {baseline} in fewer steps in: {label(metric)}", method, check)


def nowhere_behind(metric: str, method: str, baseline: str = "finetune", by: float = 0.0) -> Claim:
    """One method is nowhere worse than another by more than a share: on no target, in no setting, in the mean over seeds."""
    lower = is_lower(metric)

    def check(rows: Sequence[Row]) -> Finding | None:
        places: dict[tuple[str, str], list[Row]] = defaultdict(list)
        for row in rows:
            places[row.target, ", ".join(map(str, row.setting.values()))].append(row)
        found = {place: paired_changes(part, metric, method, baseline) for place, part in places.items()}
        worse = {place: fmean(shares.values()) * (1 if lower else -1) for place, (shares, _) in found.items() if shares}
        if not worse:
            return None
        (target, setting), most = max(worse.items(), key=lambda item: item[1])
        where = f"{target}, {setting}" if setting else target
        number = f"at worst {percent(most if lower else -most)} ({where}), over {counted(worse, 'place')}"
        return but_for(sum(left for _, left in found.values()), Finding(number, most <= by), lower)

    least = f" by more than {by:.0%}" if by else ""
    return Claim(f"{method} is nowhere behind {baseline}{least} in: {label(metric)}", method, check)
