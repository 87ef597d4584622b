"""Overrides and checks, against a small schema with every kind of place a recipe has."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import pytest
from pydantic import BaseModel, ConfigDict, Field, model_validator

from difftuning.config.overrides import apply_overrides
from difftuning.config.validate import validate
from difftuning.errors import ConfigError


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Power(Strict):
    kind: Literal["power"] = "power"
    tau: float = Field(1.0, ge=0)


class Ramp(Strict):
    kind: Literal["ramp"] = "ramp"
    start: float = 0.1
    stop: float = 0.2

    @model_validator(mode="after")
    def _ordered(self) -> Ramp:
        if self.start >= self.stop:
            raise ValueError(f"start = {self.start} must lie below stop = {self.stop}")
        return self


class Coefficients(Strict):
    psi: Annotated[Power | Ramp, Field(discriminator="kind")] = Power()
    xi: Annotated[Power | Ramp, Field(discriminator="kind")] | None = None


class Optim(Strict):
    lr: float = Field(1e-3, gt=0)
    betas: tuple[float, float] = (0.9, 0.999)
    precision: Literal["no", "bf16"] = "no"


class Recipe(Strict):
    target: str
    seed: int = 0
    crop: int | Literal["none"] = "none"
    optim: Optim = Optim()
    coefficients: Coefficients = Coefficients()
    stages: list[Optim] = []


BASE: dict[str, Any] = {"target": "openmoji", "coefficients": {"psi": {"kind": "power", "tau": 0.5}}}


def resolve(*overrides: str) -> Recipe:
    return validate(Recipe, apply_overrides(BASE, overrides, Recipe))


def test_values_are_yaml_and_the_last_one_wins() -> None:
    recipe = resolve("optim.lr=1", "optim.lr=1e-4", "optim.betas=[0.5, 0.9]", "optim.precision=no", "target=./a=b")
    assert recipe.optim == Optim(lr=1e-4, betas=(0.5, 0.9))
    assert recipe.target == "./a=b"
    assert BASE == {"target": "openmoji", "coefficients": {"psi": {"kind": "power", "tau": 0.5}}}


def test_items_of_lists_are_keys() -> None:
    base = {**BASE, "stages": [{"lr": 1.0}, {"lr": 2.0}]}
    found = apply_overrides(base, ["stages.1.lr=3"], Recipe)
    assert found["stages"] == [{"lr": 1.0}, {"lr": 3}]
    with pytest.raises(ConfigError, match="a list of 2, which has no item '7'"):
        apply_overrides(base, ["stages.7.lr=3"], Recipe)


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_another_kind_drops_what_it_does_not_know_in_any_order(order: tuple[int, int]) -> None:
    both = ("coefficients.psi.kind=ramp", "coefficients.psi.start=0.15")
    assert resolve(*(both[index] for index in order)).coefficients.psi == Ramp(start=0.15)


@pytest.mark.parametrize(
    "before",
    [
        ("coefficients.psi={kind: power, tau: 2}",),
        ("coefficients={psi: {kind: power, tau: 2}}",),
        ("coefficients.psi.tau=2", "coefficients.psi.kind=power"),
        ("coefficients.psi.kind=power", "coefficients.psi.tau=2"),
    ],
)
def test_a_later_kind_takes_the_place_of_what_was_given_before(before: tuple[str, ...]) -> None:
    later = ("coefficients.psi.kind=ramp", "coefficients.psi.start=0.15")
    for behind in (later, later[::-1]):
        given = apply_overrides(BASE, [*before, *behind], Recipe)
        assert given["coefficients"]["psi"] == {"kind": "ramp", "start": 0.15}


def test_a_section_left_to_its_default_keeps_the_defaults_kind() -> None:
    found = validate(Recipe, apply_overrides({"target": "a"}, ["coefficients.psi.tau=0.3"], Recipe))
    assert found.coefficients.psi == Power(tau=0.3)


def test_a_section_left_to_its_default_becomes_of_the_only_kind_that_knows_a_key() -> None:
    found = validate(Recipe, apply_overrides({"target": "a"}, ["coefficients.psi.start=0.15"], Recipe))
    assert found.coefficients.psi == Ramp(start=0.15)
    both = ["coefficients.xi.stop=0.7", "coefficients.xi.start=0.15"]
    for order in (both, both[::-1]):
        assert resolve(*order).coefficients.xi == Ramp(start=0.15, stop=0.7)
    with pytest.raises(ConfigError, match=r"unknown key 'coefficients\.psi\.start'"):
        resolve("coefficients.psi.start=0.15")


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("optim.lrr=1", r"override 'optim\.lrr=1': unknown key 'optim\.lrr'; did you mean 'lr'\?"),
        ("optm.lr=1", r"unknown key 'optm'; did you mean 'optim'\?"),
        ("coefficients.psi.start=1", r"psi\.start'; kind ramp has it: set coefficients\.psi\.kind=ramp too"),
        ("optim.lr.x=1", r"override 'optim\.lr\.x=1'"),
        ("seed", r"must read key\.path=value"),
        (".seed=1", r"must read key\.path=value"),
        ("optim.betas=[1", r"override 'optim\.betas=\[1'"),
    ],
)
def test_a_wrong_override_is_named_as_it_was_typed(override: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        resolve("optim.lr=2", override)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("recipe", "message"),
    [
        (
            {"target": "a", "optim": {"lrr": 1}},
            r"^optim\.lrr = 1: unknown key 'lrr'; did you mean 'lr'\? Known: betas, lr, precision$",
        ),
        ({"targt": "a"}, r"^targt = 'a': unknown key 'targt'; did you mean 'target'\?.*\(also wrong: target\)$"),
        ({}, r"^target is missing; give it a value in the recipe or as target=VALUE$"),
        ({"target": "a", "optim": {"lr": "fast"}}, r"^optim\.lr = 'fast': it should be a valid number"),
        ({"target": "a", "optim": {"lr": -1}}, r"^optim\.lr = -1: it should be greater than 0$"),
        (
            {"target": "a", "optim": {"precision": "bf61"}},
            r"^optim\.precision = 'bf61' is unknown; did you mean 'bf16'\? Known: bf16, no$",
        ),
        ({"target": {"label": None}}, r"braces are a map in YAML; write target=\"'\{label\}'\"$"),
        ({"target": "a", "optim": 3}, r"^optim = 3: a section with keys is expected\. Known: betas, lr, precision$"),
        (
            {"target": "a", "coefficients": {"psi": {"kind": "rmp"}}},
            r"^coefficients\.psi\.kind = 'rmp' is unknown; did you mean 'ramp'\? Known: power, ramp$",
        ),
        (
            {"target": "a", "coefficients": {"psi": {"tau": 1}}},
            r"^coefficients\.psi\.kind is missing\. Known: power, ramp$",
        ),
        (
            {"target": "a", "coefficients": {"psi": {"kind": "power", "tua": 1}}},
            r"^coefficients\.psi\.tua = 1: unknown key 'tua'; did you mean 'tau'\? Known: kind, tau$",
        ),
        (
            {"target": "a", "coefficients": {"xi": {"kind": "power", "tau": -1}}},
            r"^coefficients\.xi\.tau = -1: it should be greater than or equal to 0$",
        ),
        (
            {"target": "a", "coefficients": {"psi": {"kind": "ramp", "start": 1.0}}},
            r"^coefficients\.psi = .*: start = 1\.0 must lie below stop = 0\.2$",
        ),
        ({"target": "a", "crop": 0.5}, r"^crop = 0\.5"),
        ({"target": "a", "stages": [{"lr": 1}, {"lr": 0}]}, r"^stages\.1\.lr = 0: "),
    ],
)
def test_one_line_with_path_value_and_nearest_key(recipe: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        validate(Recipe, recipe)
    assert "\n" not in str(caught.value)


def test_a_section_checked_alone_is_named_with_its_place() -> None:
    with pytest.raises(ConfigError, match=r"^optim\.lr = 0"):
        validate(Optim, {"lr": 0}, where="optim")
