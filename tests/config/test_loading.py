"""Recipe files: no surprises in, the same values out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from difftuning.config.loading import dump_recipe, load_recipe, parse_yaml
from difftuning.errors import ConfigError

SCALARS: list[tuple[str, Any]] = [
    ("1e-4", 1e-4), ("1E5", 1e5), ("-3.5e+2", -350.0), (".5", 0.5), ("1.", 1.0), (".inf", float("inf")),
    ("7", 7), ("-7", -7), ("010", 10), ("0x10", 16),
    ("true", True), ("False", False), ("no", "no"), ("on", "on"), ("yes", "yes"), ("y", "y"),
    ("null", None), ("~", None), ("", None),
    ("1:30", "1:30"), ("2024-01-02", "2024-01-02"), ("1_000", "1_000"), ("./my_images", "./my_images"), ("e5", "e5"),
    ("'1e-4'", "1e-4"), ("[1, 2e-1, a]", [1, 0.2, "a"]), ("{a: 1, b: no}", {"a": 1, "b": "no"}),
]  # fmt: skip


@pytest.mark.parametrize(("text", "value"), SCALARS)
def test_scalars_are_read_by_yaml_1_2(text: str, value: Any) -> None:
    found = parse_yaml(text, "text")
    assert found == value
    assert type(found) is type(value)


SCALAR = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text(" #'\":-.,[]{}&*!|>%@`0e1~\n\té漢")
    | st.sampled_from([text for text, _ in SCALARS])
)
KEY = st.sampled_from(["a", "no", "1e-4", "null", "b c"])
VALUE = st.recursive(
    SCALAR, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEY, inner, max_size=3), max_leaves=8
)


@given(st.dictionaries(st.sampled_from(["seed", "on", "optim"]), VALUE))
def test_what_is_dumped_reads_back_the_same(recipe: dict[str, Any]) -> None:
    back = parse_yaml(dump_recipe(recipe), "text")
    assert back == recipe
    assert repr(back) == repr(recipe)


def test_yaml_and_toml_by_suffix(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("optim:\n  lr: 1e-4\n")
    (tmp_path / "a.toml").write_text("[optim]\nlr = 1e-4\n")
    (tmp_path / "empty.yml").write_text("# nothing\n")
    assert load_recipe(tmp_path / "a.yaml") == load_recipe(tmp_path / "a.toml") == {"optim": {"lr": 1e-4}}
    assert load_recipe(tmp_path / "empty.yml") == {}


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.json", "{}", "must end in one of"),
        ("a.yaml", "a: [1\nb: 2\n", "line 2"),
        ("a.yaml", "a: 1\nb: 2\na: 3\n", r"line 3: the key 'a' stands twice"),
        ("a.yaml", "- 1\n", "not list"),
        ("a.yaml", "a: !!python/object/apply:os.getcwd []\n", "line 1"),
        ("a.toml", "a = \n", "not TOML"),
    ],
)
def test_errors_name_the_file_and_the_place(tmp_path: Path, name: str, content: str, message: str) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(ConfigError, match=message) as caught:
        load_recipe(tmp_path / name)
    assert name in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_file_names_its_neighbour(tmp_path: Path) -> None:
    (tmp_path / "emoji.yaml").write_text("")
    with pytest.raises(ConfigError, match=r"did you mean 'emoji\.yaml'"):
        load_recipe(tmp_path / "emojy.yaml")
