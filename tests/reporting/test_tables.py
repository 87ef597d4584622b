"""The arithmetic of the tables against numbers worked out by hand."""

from __future__ import annotations

import pytest

from difftuning.reporting.costs import costs
from difftuning.reporting.tables import gain, pivot, verdict
from difftuning.reporting.text_table import TextTable
from difftuning.results import Row


def row(method: str, metric: str, value: float, seed: int = 0, step: int = 10, network: str | None = None) -> Row:
    return Row(study="s", target="t", method=method, seed=seed, step=step, metric=metric, value=value, network=network)


ROWS = [
    row("pretrained", "heldout", 0.5),
    *(row("finetune", "heldout", value, seed) for seed, value in enumerate((0.4, 0.5, 0.6))),
    *(row("diff-tuning", "heldout", value, seed) for seed, value in enumerate((0.3, 0.4, 0.5))),
    row("finetune", "frechet", 10.0, network="net"),
    row("diff-tuning", "frechet", 12.0, network="net"),
    row("finetune", "precision", 0.5),
    row("diff-tuning", "precision", 0.5),
]


def test_mean_spread_and_the_better_value() -> None:
    table = pivot(ROWS, ("heldout", "frechet", "precision", "kid"))
    assert table.methods == ("pretrained", "finetune", "diff-tuning")
    heldout, distance, precision = table.lines
    cells = [cell for cell in heldout.cells if cell is not None]
    assert [cell.mean for cell in cells] == pytest.approx([0.5, 0.5, 0.4])
    assert [cell.spread for cell in cells][1:] == pytest.approx([0.1, 0.1])
    assert [cell.best for cell in cells] == [False, False, True]
    assert distance.cells[0] is None
    assert [cell.best for cell in distance.cells if cell is not None] == [True, False]
    assert not any(cell.best for cell in precision.cells if cell is not None)


def test_change_in_percent_with_its_judgement() -> None:
    heldout, distance, precision = pivot(ROWS, ("heldout", "frechet", "precision")).lines
    assert heldout.change == pytest.approx(-20)
    assert heldout.change_text == "\N{MINUS SIGN}20.0 %, better"
    assert distance.change_text == "+20.0 %, worse"
    assert precision.change_text == "+0.0 %, equal"


@pytest.mark.parametrize("changes", [{"network": "other"}, {"n": 7}, {"against": "others"}, {"real": 7}])
def test_what_was_measured_in_another_way_is_not_compared(changes: dict[str, str | int]) -> None:
    usual = {"against": "images", "real": 9}
    told = [one.model_copy(update=usual) for one in ROWS]
    rows = [one.model_copy(update=changes if one.method == "diff-tuning" else {}) for one in told]
    mixed = [one if one.method == "diff-tuning" else before for one, before in zip(told, ROWS, strict=True)]
    assert pivot(mixed, ("frechet",)).lines[0].change_text == "+20.0 %, worse", "an earlier version did not tell"
    (line,) = pivot(rows, ("frechet",)).lines
    assert line.change_text == "measured in other ways"
    assert not any(cell.best for cell in line.cells if cell is not None)
    told = verdict([one for one in rows if one.metric == "frechet"])
    assert "not compared" in told
    assert "Frechet distance" in told
    assert "12" not in told


def test_a_lower_recall_is_worse() -> None:
    (line,) = pivot([row("finetune", "recall", 0.5), row("diff-tuning", "recall", 0.4)], ("recall",)).lines
    assert line.change_text == "\N{MINUS SIGN}20.0 %, worse"


def test_as_few_copies_as_among_real_images_are_no_fault_and_fewer_no_merit() -> None:
    few = [row("finetune", "memorised", 0.01), row("diff-tuning", "memorised", 0.05)]
    (line,) = pivot(few, ("memorised",)).lines
    assert line.change_text == "+0.0 %, equal"
    assert [cell.mean for cell in line.cells if cell is not None] == [0.01, 0.05]
    assert not any(cell.best for cell in line.cells if cell is not None)
    (line,) = pivot([row("finetune", "memorised", 0.01), row("diff-tuning", "memorised", 0.1)], ("memorised",)).lines
    assert line.change_text == "+100.0 %, worse"
    assert [cell.best for cell in line.cells if cell is not None] == [True, False]
    assert "equal in memorised share" in verdict(few)


def test_a_metric_without_direction_is_not_judged() -> None:
    (line,) = pivot([row("finetune", "drift", 4.0), row("diff-tuning", "drift", 3.0)], ("drift",)).lines
    assert line.change_text == "\N{MINUS SIGN}25.0 %"
    assert not any(cell.best for cell in line.cells if cell is not None)


def test_methods_of_other_seeds_are_compared_over_those_that_both_have() -> None:
    """A method with the easier seed alone is no better for it."""
    rows = [
        *(row("finetune", "heldout", value, seed) for seed, value in enumerate((0.4, 0.8))),
        row("diff-tuning", "heldout", 0.5, 0),
    ]
    (line,) = pivot(rows, ("heldout",)).lines
    assert [str(cell) for cell in line.cells] == ["0.6 ± 0.28 (2 seeds) *", "0.5 (1 seed)"]
    assert line.change_text == "+25.0 %, worse"
    assert "(0.5 against 0.4)" in verdict(rows)
    equal = [*rows[:2], row("diff-tuning", "heldout", 0.4, 0)]
    (line,) = pivot(equal, ("heldout",)).lines
    assert line.change_text == "+0.0 %, equal"
    assert not any(cell.best for cell in line.cells if cell is not None)


def test_gain_is_a_share_of_the_baseline() -> None:
    assert gain(ROWS, "heldout", "diff-tuning", "finetune") == pytest.approx(0.2)
    assert gain(ROWS, "frechet", "diff-tuning", "finetune") == pytest.approx(-0.2)
    assert gain(ROWS, "kid", "diff-tuning", "finetune") is None


def test_no_share_of_a_negative_baseline() -> None:
    rows = [row("finetune", "kid", -0.001), row("diff-tuning", "kid", 0.001)]
    (line,) = pivot(rows, ("kid",)).lines
    assert line.change is None
    assert line.change_text == "worse"


def test_the_verdict_says_what_is_worse_too() -> None:
    said = verdict(ROWS)
    assert "better in held-out error, target (0.4 against 0.5)" in said
    assert "worse in Frechet distance (12 against 10)" in said
    assert "equal in precision" in said
    assert said.startswith("At equal steps and over 3 seeds")
    assert "distances over net" in said
    assert "FID" not in said


def test_the_verdict_claims_nothing_where_seeds_disagree() -> None:
    pairs = [("finetune", (1.0, 1.0, 1.0)), ("diff-tuning", (0.5, 0.5, 1.1))]
    rows = [row(method, "heldout", value, seed) for method, values in pairs for seed, value in enumerate(values)]
    said = verdict(rows)
    assert "better" not in said
    assert "the seeds disagree, in held-out error" in said
    assert pivot(rows, ("heldout",)).lines[0].change_text == "\N{MINUS SIGN}30.0 %, seeds disagree"


def test_the_verdict_admits_unequal_steps() -> None:
    said = verdict([row("finetune", "heldout", 1.0, step=5), row("diff-tuning", "heldout", 2.0, step=9)])
    assert said.startswith("At different steps (diff-tuning: 9, finetune: 5) and with one seed")


def test_one_method_is_not_compared_and_none_is_not_judged() -> None:
    assert "nothing is compared" in verdict(ROWS[:4])
    assert verdict([]) == "Nothing is judged yet."


def test_costs_are_summed_and_compared() -> None:
    table = costs(
        {"drawing the bank": {"diff-tuning": 10.0}, "training": {"finetune": 40.0, "diff-tuning": 42.0}},
        "diff-tuning",
        "finetune",
    )
    assert table.head == ("", "diff-tuning", "finetune", "diff-tuning / finetune")
    assert table.lines == (
        ("drawing the bank", "10.0 s", "", ""),
        ("training", "42.0 s", "40.0 s", "1.050"),
        ("all stages", "52.0 s", "40.0 s", "1.300"),
    )


def test_sums_of_other_stages_have_no_ratio() -> None:
    table = costs(
        {"training": {"finetune": 40.0, "diff-tuning": 40.0}, "diagnosis": {"diff-tuning": 90.0}},
        "diff-tuning",
        "finetune",
    )
    assert table.lines[-1] == ("all stages", "40.0 s", "130.0 s", "")


def test_markdown_keeps_its_columns() -> None:
    text = TextTable(("", "a|b"), (("x\ny", "1 | 2"),)).markdown()
    assert text == "|  | a\\|b |\n| --- | ---: |\n| x y | 1 \\| 2 |\n"


def test_html_escapes_every_text() -> None:
    hostile = '"><script>'
    html = TextTable(("", hostile), ((hostile, hostile),), frozenset({(0, 1)})).html()
    assert "<script>" not in html
    assert html.count("&lt;script&gt;") == 4
    assert 'class="best"' in html
