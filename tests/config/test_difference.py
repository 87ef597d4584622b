"""What differs between recipes is named, and nothing else."""

from __future__ import annotations

from difftuning.config.difference import differences


def test_equal_recipes_do_not_differ() -> None:
    assert differences([{"a": {"b": 1}}, {"a": {"b": 1}}]) == []


def test_each_key_is_named_by_its_path_with_all_values() -> None:
    one = {"seed": 0, "optim": {"lr": 1e-4, "warmup": 5}, "anchor": None}
    other = {"seed": 0, "optim": {"lr": 1e-3, "warmup": 5}, "anchor": {"kind": "l2-sp"}}
    assert differences([one, other, one]) == [
        ("optim.lr", (1e-4, 1e-3, 1e-4)),
        ("anchor.kind", (None, "l2-sp", None)),
    ]


def test_a_section_of_another_kind_is_told_by_its_keys() -> None:
    found = differences([{"psi": {"kind": "power", "tau": 1}}, {"psi": {"kind": "constant", "value": 1}}])
    assert found == [
        ("psi.kind", ("power", "constant")),
        ("psi.tau", (1, None)),
        ("psi.value", (None, 1)),
    ]
