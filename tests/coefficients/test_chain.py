"""The chain of forgetting: what it accepts, what it refuses, and its integral."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from difftuning.coefficients.chain import ChainOfForgetting, build_chain
from difftuning.coefficients.families import (
    Constant,
    ConstantConfig,
    Family,
    Measured,
    Power,
    PowerConfig,
    PowerOfComplement,
    Ramp,
    SNRConfig,
    Step,
)
from difftuning.errors import ConfigError
from difftuning.noise.clock import default_clock
from difftuning.noise.process import from_scheduler_config

LINEAR = from_scheduler_config({})


@settings(max_examples=25)
@given(st.floats(0, 20))
def test_power_has_target_share_one_over_one_plus_tau(tau: float) -> None:
    chain = ChainOfForgetting.from_psi(Power(tau))
    assert chain.complementary
    assert chain.target_share == pytest.approx(1 / (1 + tau), abs=1e-4)


def test_the_shares_that_the_paper_studies() -> None:
    shares = [ChainOfForgetting.from_psi(Power(tau)).target_share for tau in (0.3, 0.5, 0.7, 1, 1.5)]
    assert shares == pytest.approx([0.769, 0.667, 0.588, 0.5, 0.4], abs=5e-4)


def test_tau_zero_is_standard_fine_tuning_and_needs_no_bank() -> None:
    chain = ChainOfForgetting.from_psi(Power(0.0))
    assert chain.complementary
    assert chain.target_share == 1
    assert chain.uses_target
    assert not chain.uses_bank


@pytest.mark.parametrize(
    ("psi", "xi", "complementary"),
    [
        (Power(1.0), PowerOfComplement(1.0), True),
        (Power(0.5), PowerOfComplement(0.5), False),
        (Power(1.0), Constant(0.0), False),
        (Constant(1.0), PowerOfComplement(1.0), False),
        (Constant(0.3), Constant(0.7), True),
    ],
)
def test_the_papers_chains_and_ablations_are_accepted(psi: Family, xi: Family, complementary: bool) -> None:
    assert ChainOfForgetting(psi, xi).complementary == complementary


@pytest.mark.parametrize(
    ("psi", "xi", "message"),
    [
        (Constant(1.5), Constant(0.0), r"psi = Constant\(value=1.5\) is 1.5 at u = 0.0000"),
        (Power(-1.0), Constant(0.0), r"psi = Power\(tau=-1.0\) is inf at u = 0.0000"),
        (Power(1.0), Constant(-0.5), r"xi = Constant\(value=-0.5\) is -0.5"),
        (Ramp(0.5, 0.5), Constant(0.0), r"psi = Ramp\(.*\) is nan at u = 0.5000"),
        (Measured(((0.0, 0.0), (0.5, 1.0), (1.0, 0.0))), Constant(0.0), r"psi = Measured.* must rise .* u = 0.5000"),
        (PowerOfComplement(1.0), Constant(0.0), r"psi = PowerOfComplement.* must rise"),
        (Power(1.0), Step(0.25), r"xi = Step\(at=0.25\) must fall .* u = 0.2"),
        (Constant(0.0), Constant(0.0), "nothing would be trained"),
    ],
)
def test_what_is_no_chain_is_refused_by_family_and_place(psi: Family, xi: Family, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        ChainOfForgetting(psi, xi)


def test_a_reversed_chain_is_possible_on_request_but_its_range_is_still_checked() -> None:
    chain = ChainOfForgetting(PowerOfComplement(1.0), Power(1.0), any_direction=True)
    assert chain.complementary
    with pytest.raises(ConfigError, match="keep it within"):
        ChainOfForgetting(Constant(2.0), Constant(0.0), any_direction=True)


def test_configs_build_the_chain() -> None:
    clock = default_clock(LINEAR)
    u = torch.rand(100, dtype=torch.float64)
    chain = build_chain(PowerConfig(tau=0.5), None, LINEAR, clock)
    assert torch.equal(chain.xi(u), 1 - u**0.5)
    assert build_chain(SNRConfig(), None, LINEAR, clock).target_share == pytest.approx(0.72, abs=0.005)
    only_target = build_chain(PowerConfig(), ConstantConfig(value=0), LINEAR, clock)
    assert not only_target.uses_bank
    assert not only_target.complementary
    beside = build_chain(PowerConfig(tau=1), None, LINEAR, clock, whole_target=True)
    assert torch.equal(beside.psi(u), torch.ones_like(u))
    assert torch.equal(beside.xi(u), 1 - u)
    assert not build_chain(PowerConfig(tau=0), None, LINEAR, clock, whole_target=True).uses_bank, "standard fine-tuning"
