"""The table of the held-out error by noise says what is in the rows, and compares pairs alone."""

from __future__ import annotations

from difftuning.reporting.noise_table import noise_table
from difftuning.results import Row


def rows(method: str, *errors: float, target: str = "near", seed: int = 0, **setting: float) -> list[Row]:
    """A run whose errors are those of bins of u from 0.05 on."""
    settings = [{"u": 0.05 + 0.1 * index, **setting} for index in range(len(errors))]
    return [
        Row(study="s", target=target, method=method, seed=seed, step=1, metric="heldout_by_u", value=value, setting=one)
        for one, value in zip(settings, errors, strict=True)
    ]


def test_changes_are_of_pairs_and_means_of_all_runs() -> None:
    alone = rows("finetune", 8.0, 8.0, target="far")
    table = noise_table([*rows("finetune", 2.0, 4.0), *alone, *rows("diff-tuning", 1.0, 5.0)])
    assert table is not None
    assert table.head == ("u", "0.05", "0.15")
    assert table.lines == (
        ("finetune", "5", "6"),
        ("diff-tuning against finetune", "\N{MINUS SIGN}50.0%", "+25.0%"),
    )


def test_without_pairs_every_line_is_of_means() -> None:
    table = noise_table([*rows("finetune", 2.0, bank=0), *rows("diff-tuning", 1.0, bank=5), *rows("b", 3.0, bank=9)])
    assert table is not None
    assert [line[:2] for line in table.lines] == [("finetune", "2"), ("diff-tuning", "1"), ("b", "3")]
    assert noise_table([]) is None
