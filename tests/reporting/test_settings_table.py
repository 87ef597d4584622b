"""The table of a metric over targets or settings, and the page around it, say what is in the rows."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from difftuning.reporting.settings_table import WIDE, change, heading, settings_table
from difftuning.results import Row
from report_data import STUDY


def row(target: str, method: str, seed: int, value: float, metric: str = "kid", **setting: float) -> Row:
    return Row(
        study="s",
        target=target,
        method=method,
        seed=seed,
        step=1,
        metric=metric,
        value=value,
        setting=dict(setting),
        network="net",
        n=7,
    )


ROWS = [
    row("near", "finetune", 0, 1.0),
    row("near", "finetune", 1, 3.0),
    row("near", "diff-tuning", 0, 0.5),
    row("near", "diff-tuning", 1, 1.5),
    row("far", "finetune", 0, 4.0),
    row("far", "diff-tuning", 0, 5.0),
]


def test_a_line_a_target_and_their_mean_change() -> None:
    table = settings_table(ROWS, "kid", "target")
    assert table is not None
    assert table.head[:3] == ("", "finetune", "diff-tuning")
    lines = {line[0]: line[1:] for line in table.lines}
    assert lines["near"][:2] == ("2 ± 1.4", "1 ± 0.71 *")
    assert lines["near"][2] == "\N{MINUS SIGN}50.0 %, better"
    assert lines["far"][2] == "+25.0 %, worse"
    assert lines["mean"] == ("", "", "\N{MINUS SIGN}12.5 %")
    assert [change([row for row in ROWS if row.target == name], "kid", "diff-tuning") for name in ("near", "far")] == [
        -50.0,
        25.0,
    ]
    assert heading(ROWS, "kid") == "KID ↓ (net, 7 samples)"


def test_each_compared_method_has_its_column_and_its_mean() -> None:
    rows = [*ROWS, row("near", "measured", 0, 0.9), row("near", "measured", 1, 2.7), row("far", "measured", 0, 3.6)]
    table = settings_table(rows, "kid", "target")
    assert table is not None
    assert table.head[-2:] == ("diff-tuning against finetune", "measured against finetune")
    assert [line[-1] for line in table.lines] == [
        f"\N{MINUS SIGN}10.0 %{more}" for more in (", better", ", better", "")
    ]
    assert {table.lines[line][column] for line, column in table.marked} == {"1 ± 0.71 *", "3.6 *"}


def test_a_line_a_setting_and_a_gap_where_nothing_was_measured() -> None:
    rows = [row("near", "finetune", 0, 2.0, steps=8.0), row("near", "diff-tuning", 0, 1.0, steps=16.0)]
    table = settings_table(rows, "kid", "steps")
    assert table is not None
    assert table.lines == (("8", "2", ""), ("16", "", "1"))
    assert settings_table(rows, "frechet", "steps") is None


def test_of_many_methods_there_is_a_line_each_with_its_change_on_every_target() -> None:
    base = [row("near", "finetune", 0, 1.0), row("far", "finetune", 0, 2.0)]
    others = [row("near", f"anchor {n}", 0, 1 + n / 10) for n in range(WIDE)]
    table = settings_table([*base, *others, row("far", "anchor 2", 0, 1.0)], "kid", "target")
    assert table is not None
    assert table.head == ("", "near", "near against finetune", "far", "far against finetune", "mean change")
    lines = {line[0]: line[1:] for line in table.lines}
    assert lines["finetune"] == ("1 *", "", "2", "", "")
    assert lines["anchor 2"] == ("1.2", "+20.0 %, worse", "1 *", "\N{MINUS SIGN}50.0 %, better", "\N{MINUS SIGN}15.0 %")
    assert lines["anchor 7"] == ("1.7", "+70.0 %, worse", "", "", "")
    assert {table.lines[line][column] for line, column in table.marked} == {"1 *"}
    short = settings_table([*base, *others[1:]], "kid", "target")
    assert short is not None
    assert len(short.lines) == 2


def test_a_page_says_what_is_still_to_be_measured_and_draws_what_is_there(tmp_path: Path) -> None:
    rows = tuple(
        row("near", method, 0, 1.0 / n, steps=float(n)) for n in (8, 16) for method in ("finetune", "diff-tuning")
    )
    page = replace(
        STUDY,
        title="Steps",
        asked="The paper (Fig. 7b): More is better.",
        down="steps",
        metrics=("kid",),
        settings=(("training.steps", "8, 16"),),
        methods=(("finetune", "`coefficients.psi.tau=0`"),),
        rows=rows,
        finished=4,
        cells=6,
    )
    page.write(tmp_path / "s.md")
    text = (tmp_path / "s.md").read_text()
    assert "The paper (Fig. 7b): More is better." in text
    assert "4 of 6 runs" in text
    assert "2 runs are still to be made" in text
    assert "![Steps](s.svg)" in text
    made = text.partition("## How it was run")[2]
    assert "By the recipe `studies/micro`." in made
    assert "| training.steps | 8, 16 |" in made
    assert "| finetune | `coefficients.psi.tau=0` |" in made
    assert b"<svg" in (tmp_path / "s.svg").read_bytes()
