"""A claim is checked in pairs that share target, setting and seed."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from difftuning.results import Row
from difftuning.studies import KINDS
from difftuning.studies.claims import (
    ahead,
    ahead_at,
    ahead_at_best,
    ahead_of_best,
    ahead_of_itself,
    nowhere_behind,
    sooner,
)

PAIR = (("finetune", 0.2), ("diff-tuning", 0.3))


def row(method: str, value: float, metric: str = "heldout", target: str = "a", seed: int = 0, **setting: float) -> Row:
    return Row(
        study="s", target=target, method=method, seed=seed, step=1, metric=metric, value=value, setting=dict(setting)
    )


def test_lower_is_ahead_where_lower_is_better() -> None:
    rows = [row("finetune", 2.0), row("diff-tuning", 1.5), row("finetune", 1.0, target="b")]
    rows += [row("diff-tuning", 1.1, target="b")]
    found = ahead("heldout").check(rows)
    assert found is not None
    assert "\N{MINUS SIGN}7.5%" in found.number
    assert "better in 1 of 2 (2 targets, 1 seed)" in found.number
    more = ahead("heldout", by=0.1).check(rows)
    assert more is not None
    assert not more.agrees


def test_a_mean_within_its_spread_decides_nothing() -> None:
    def both(*pairs: tuple[float, float]) -> list[Row]:
        return [
            row(method, value, seed=seed)
            for seed, pair in enumerate(pairs)
            for method, value in zip(("finetune", "diff-tuning"), pair, strict=True)
        ]

    unsure, sure = both((1.0, 0.9), (1.0, 1.08), (1.0, 0.98)), both((1.0, 0.9), (1.0, 0.91), (1.0, 0.92))
    found = ahead("heldout").check(unsure), ahead("heldout").check(sure)
    behind = ahead("heldout", "finetune", "diff-tuning").check(sure)
    assert [one and one.agrees for one in (*found, behind)] == [None, True, False]


def test_higher_is_ahead_where_higher_is_better() -> None:
    rows = [row(name, value, "recall", seed=seed) for seed in (0, 1) for name, value in PAIR]
    found = ahead("recall").check(rows)
    assert found is not None
    assert found.agrees
    assert "+50.0%" in found.number


def test_one_pair_decides_nothing_and_what_is_left_out_does_not_count() -> None:
    rows = [row(name, value, "recall") for name, value in PAIR]
    found = ahead("recall").check(rows)
    assert found is not None
    assert found.agrees is None
    assert (
        ahead("recall", without=["8.0"]).check([row(name, value, "recall", steps=8.0) for name, value in PAIR]) is None
    )


def test_seeds_of_a_target_are_not_independent() -> None:
    """Two of three targets better, each the same in every seed: nine pairs, and no verdict."""
    changes = {"a": 0.8, "b": 0.9, "c": 1.05}
    rows = [
        row(name, value, target=target, seed=seed)
        for target, changed in changes.items()
        for seed in range(3)
        for name, value in (("finetune", 1.0), ("diff-tuning", changed))
    ]
    found = ahead("heldout").check(rows)
    assert found is not None
    assert found.agrees is None


def test_a_target_of_more_seeds_weighs_no_more() -> None:
    def pair(target: str, seed: int, change: float) -> list[Row]:
        return [
            row("finetune", 1.0, target=target, seed=seed),
            row("diff-tuning", 1 + change, target=target, seed=seed),
        ]

    rows = [one for seed in range(3) for one in pair("a", seed, -0.1)]
    rows += [one for target in "bcdefgh" for one in pair(target, 0, 0.0)]
    found = ahead("heldout").check(rows)
    assert found is not None
    assert found.number.startswith("\N{MINUS SIGN}1.2%")
    assert found.agrees is None


def test_only_equal_settings_are_compared() -> None:
    rows = [row("finetune", 2.0, steps=8.0), row("diff-tuning", 1.0, steps=16.0)]
    assert ahead("heldout").check(rows) is None
    found = ahead("heldout").check([*rows, row("diff-tuning", 1.0, steps=8.0)])
    assert found is not None
    assert "better in 1 of 1" in found.number


def test_nowhere_behind_is_about_the_worst_place_in_the_mean_over_its_seeds() -> None:
    rows = [row("finetune", 1.0, seed=seed, target=target) for seed in (0, 1) for target in "ab"]
    rows += [row("measured", 1.03, seed=0), row("measured", 0.99, seed=1)]
    rows += [row("measured", 0.5, seed=seed, target="b") for seed in (0, 1)]
    found, strict = (nowhere_behind("heldout", "measured", by=by).check(rows) for by in (0.02, 0.005))
    assert found is not None
    assert strict is not None
    assert (found.agrees, strict.agrees) == (True, False)
    assert found.number == "at worst +1.0% (a), over 2 places"
    assert nowhere_behind("heldout", "measured").check(rows[:4]) is None


def test_two_methods_at_two_values_of_a_setting_are_compared() -> None:
    rows = [row("finetune", 1.0, bank=0), row("diff-tuning", 0.9, bank=50), row("diff-tuning", 0.5, bank=5000)]
    claim = ahead_at("heldout", "bank", ("diff-tuning", 50), ("finetune", 0))
    assert claim.text == "diff-tuning at bank 50 is ahead of finetune at bank 0 in: held-out error, target"
    found = claim.check(rows)
    assert found is not None
    assert found.number.startswith("\N{MINUS SIGN}10.0% in the mean")
    assert ahead_at("heldout", "bank", ("diff-tuning", 50), ("finetune", 50)).check(rows) is None


def test_one_setting_alone_is_compared_where_only_that_is_asked() -> None:
    rows = [
        row(method, value, lr=lr)
        for lr, changed in ((1.0, 0.5), (2.0, 2.0))
        for method, value in (("finetune", 1.0), ("diff-tuning", changed))
    ]
    claim = ahead("heldout", only="2.0")
    assert claim.text == "diff-tuning is ahead of finetune in: held-out error, target, 2.0"
    found = claim.check(rows)
    assert found is not None
    assert found.number.startswith("+100.0% in the mean")
    assert ahead("heldout", only="3.0").check(rows) is None


def test_a_name_keeps_its_hyphen() -> None:
    rows = [row("finetune", 1.0, target="pacs-photo"), row("measured", 1.1, target="pacs-photo")]
    found = nowhere_behind("heldout", "measured").check(rows)
    assert found is not None
    assert found.number == "at worst +10.0% (pacs-photo), over 1 place"


def test_nowhere_behind_knows_which_way_is_worse() -> None:
    rows = [row("finetune", 0.5, "recall", steps=8.0), row("measured", 0.4, "recall", steps=8.0)]
    found = nowhere_behind("recall", "measured", by=0.1).check(rows)
    assert found is not None
    assert (found.agrees, found.number) == (False, "at worst \N{MINUS SIGN}20.0% (a, 8.0), over 1 place")


def test_claims_are_about_methods_of_their_study() -> None:
    for study in KINDS.values():
        methods = {cell.method for cell in study.cells}
        rows = [row(method, 1.0, metric) for method in methods for metric in ("heldout", "kid", "frechet", "drift")]
        rows += [
            row(method, 1.0, metric)
            for method in methods
            for metric in (
                *("heldout_best", "heldout_bank", "drift_fisher", "convergence"),
                *("frechet_best", "heldout_curve", "frechet_curve"),
            )
        ]
        rows += [row(method, 1.0, "swap_kid", share=share) for method in methods for share in (0, 0.1, 0.5)]
        rows += [
            row(method, 1.0, metric, **{study.down: value})
            for method in methods
            for metric in ("heldout", "heldout_best", "frechet", "kid")
            for value in dict.fromkeys(cell.setting[study.down] for cell in study.cells if study.down in cell.setting)
        ]
        assert all(claim.check(rows) is not None for claim in study.claims), study.name


def test_a_mean_decides_where_its_confidence_interval_does() -> None:
    # Three changes of -1, -2 and -3 %: 4.303 standard errors of .577 % reach over 0; -2, -3 and -4 % do not.
    for best, agrees in ((0.99, None), (0.98, True)):
        rows = [row("finetune", 1.0, target=target) for target in "abc"]
        rows += [row("diff-tuning", best - n / 100, target=target) for n, target in enumerate("abc")]
        found = ahead("heldout").check(rows)
        assert found is not None
        assert found.agrees is agrees


def test_runs_that_differ_by_rounding_are_equal() -> None:
    rows = [row("finetune", 1.0), row("diff-tuning", 1 - 1e-7), row("finetune", 1.0, seed=1)]
    rows += [row("diff-tuning", 0.9, seed=1)]
    found = ahead("heldout").check(rows)
    assert found is not None
    assert "better in 1, equal in 1 of 2" in found.number


def test_seeds_of_a_target_are_compared_over_the_settings_that_all_have() -> None:
    rows = [row("finetune", 1.0, seed=seed, steps=8.0) for seed in (0, 1)]
    rows += [row("diff-tuning", 0.9, seed=seed, steps=8.0) for seed in (0, 1)]
    rows += [row("finetune", 1.0, steps=16.0), row("diff-tuning", 9.0, steps=16.0)]
    found = ahead("heldout").check(rows)
    assert found is not None
    assert found.number.startswith("\N{MINUS SIGN}10.0% in the mean")


def test_each_at_its_best_setting_is_compared_across_settings() -> None:
    rows = [
        row("finetune", 1.0, steps=1.5),
        row("finetune", 2.0, steps=3.0),
        row("diff-tuning", 1.5, steps=1.5),
        row("diff-tuning", 0.8, steps=3.0),
    ]
    found = ahead_at_best("heldout").check(rows)
    assert found is not None
    assert "\N{MINUS SIGN}20.0% in the mean" in found.number
    assert ahead_at_best("heldout").check(rows[:2]) is None


def test_the_best_setting_is_that_of_the_mean_over_seeds() -> None:
    rows = [row("finetune", 1.0, seed=seed, steps=1.5) for seed in (0, 1)]
    rows += [row("diff-tuning", value, seed=seed, steps=1.5) for seed, value in ((0, 0.5), (1, 1.5))]
    rows += [row("diff-tuning", 0.9, seed=seed, steps=3.0) for seed in (0, 1)]
    found = ahead_at_best("heldout").check(rows)
    assert found is not None
    assert "\N{MINUS SIGN}10.0% in the mean, from \N{MINUS SIGN}10.0% to \N{MINUS SIGN}10.0%" in found.number


def test_the_best_of_several_strengths_is_chosen_on_each_target() -> None:
    values = {"a": {"weak": 2.0, "strong": 1.0}, "b": {"weak": 1.0, "strong": 4.0}}
    rows = [row(name, value, target=target) for target, found in values.items() for name, value in found.items()]
    rows += [row("diff-tuning", 0.8, target=target) for target in values]
    found = ahead_of_best("heldout", "diff-tuning", "anchor", ("weak", "strong")).check(rows)
    assert found is not None
    assert "\N{MINUS SIGN}20.0% in the mean, from \N{MINUS SIGN}20.0% to \N{MINUS SIGN}20.0%" in found.number
    weak = ahead_of_best("heldout", "diff-tuning", "anchor", ("weak",)).check(rows)
    assert weak is not None
    assert "\N{MINUS SIGN}40.0% in the mean" in weak.number
    assert ahead_of_best("heldout", "diff-tuning", "anchor", ("weak", "unmeasured")).check(rows) is None


def test_a_method_is_compared_with_itself_at_another_value_of_a_setting() -> None:
    values = {(0.0, 1): 2.0, (0.1, 1): 1.4, (0.5, 1): 3.0, (0.0, 2): 1.0, (0.1, 2): 0.8, (0.5, 2): 4.0}
    rows = [
        row("finetune", value, seed=seed, share=share, scale=scale)
        for seed in (0, 1)
        for (share, scale), value in values.items()
    ]
    rows += [row("diff-tuning", 9.0, share=0.1), row("finetune", 9.0, share=0.2)]
    found = ahead_of_itself("heldout", "share", 0.1, 0).check(rows)
    assert found is not None
    assert "\N{MINUS SIGN}25.0% in the mean" in found.number
    worse = ahead_of_itself("heldout", "share", 0.5, 0).check(rows)
    assert [one and one.agrees for one in (found, worse)] == [True, False]
    assert ahead_of_itself("heldout", "share", 0.7, 0).check(rows) is None


@pytest.mark.parametrize(("change", "agrees"), [(0.005, True), (-0.05, True), (0.02, None), (0.05, False)])
def test_hardly_behind_itself_allows_a_share(change: float, agrees: bool | None) -> None:
    rows = [
        row("finetune", value * (1 + spread), share=share, seed=seed)
        for seed, spread in enumerate((-0.001, 0.0, 0.001))
        for share, value in ((50, 2.0), (5, 2.0 * (1 + change + (0.5 - seed) * 0.001)))
    ]
    claim = ahead_of_itself("heldout", "share", 5, 50, within=0.02)
    assert claim.text.startswith("finetune at share 5 is no more than 2% behind finetune at share 50")
    found = claim.check(rows)
    assert found is not None
    assert found.agrees is agrees


def test_sooner_compares_the_steps_to_the_lowest_of_the_other_curve() -> None:
    def curve(method: str, values: Sequence[float], target: str) -> list[Row]:
        points = zip((100, 200, 300, 400), values, strict=True)
        return [row(method, value, "heldout_curve", target).model_copy(update={"step": step}) for step, value in points]

    base = [*curve("finetune", (5, 4, 3, 3.5), "a"), *curve("finetune", (5, 3, 4, 4), "b")]
    fast = [*curve("diff-tuning", (4, 3, 2, 2), "a"), *curve("diff-tuning", (2, 3, 4, 4), "b")]
    found = sooner("heldout").check([*base, *fast])
    assert found is not None
    assert found.number.startswith(
        "steps to it: \N{MINUS SIGN}41.7% in the mean, from \N{MINUS SIGN}50.0% to \N{MINUS SIGN}33.3%"
    )
    assert found.agrees is None, "two pairs do not decide so much"
    again = [one.model_copy(update={"seed": 1}) for one in (*base, *fast)]
    twice = sooner("heldout").check([*base, *fast, *again])
    assert twice is not None
    assert twice.agrees
    never = sooner("heldout").check([*base, *curve("diff-tuning", (9, 8, 7, 6), "a"), *fast[4:]])
    assert never is not None
    assert (never.number, never.agrees) == ("1 of 2 runs never come to it", False)
    assert sooner("heldout").check(base) is None


def test_an_unfinished_setting_does_not_choose_the_seeds() -> None:
    hard, rows = {0: 1.0, 1: 2.0}, []
    for target in "ab":
        for seed, level in hard.items():
            rows += [row("finetune", level * at, target=target, seed=seed, at=at) for at in (1.0, 1.1)]
            rows += [row("diff-tuning", 0.95 * level * at, target=target, seed=seed, at=at) for at in (1.0, 1.1)]
    unfinished = [one for one in rows if (one.method, one.seed, one.setting["at"]) != ("finetune", 1, 1.1)]
    found = ahead_at_best("heldout").check(unfinished)
    assert found is not None
    assert "\N{MINUS SIGN}5.0% in the mean" in found.number
    assert "better in 2 of 2 (2 targets, 1 seed)" in found.number


def test_what_has_no_share_confirms_nothing() -> None:
    rows = [row("finetune", 0.1, "kid", target) for target in "abc"] + [row("finetune", -0.01, "kid", "d")]
    rows += [row("diff-tuning", 0.09, "kid", target) for target in "abc"] + [row("diff-tuning", 0.04, "kid", "d")]
    for claim in (ahead("kid"), nowhere_behind("kid", "diff-tuning")):
        found, without = claim.check(rows), claim.check([one for one in rows if one.target != "d"])
        assert found is not None
        assert without is not None
        assert (found.agrees, without.agrees) == (None, True)
        assert "without 1 pair whose baseline is not above zero" in found.number
    alone = ahead("kid").check([one for one in rows if one.target == "d"])
    assert alone is not None
    assert (alone.number, alone.agrees) == ("no share: 1 pair whose baseline is not above zero", None)
    # Where more is better, a baseline of zero is its worst: a loss may be none with it, and a gain stays one.
    recall = [row(method, value, "recall", target) for target in "abc" for method, value in PAIR]
    recall += [row("finetune", 0.0, "recall", "d"), row("diff-tuning", 0.4, "recall", "d")]
    gain = ahead("recall").check(recall)
    assert gain is not None
    assert gain.agrees is True
