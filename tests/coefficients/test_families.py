"""Coefficients: closed forms, ranges and directions, configs."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, TypeAdapter, ValidationError

from difftuning.coefficients.families import (
    KINDS,
    SNR,
    Constant,
    Family,
    Measured,
    Power,
    PowerOfComplement,
    Psi,
    Ramp,
    Step,
    build,
)
from difftuning.errors import ConfigError
from difftuning.noise.clock import UniformIndex, default_clock
from difftuning.noise.process import EDM, StraightFlow, from_scheduler_config

U = torch.linspace(0, 1, 1001, dtype=torch.float64)
LINEAR = from_scheduler_config({})
unit = st.floats(0, 1)
knots = st.lists(st.tuples(unit, unit), min_size=2, max_size=6).map(
    lambda pairs: tuple(zip(sorted(u for u, _ in pairs), sorted(v for _, v in pairs), strict=True))
)
rising = st.one_of(
    st.builds(Power, st.floats(0, 20)),
    st.builds(Constant, unit),
    st.builds(Step, unit),
    st.tuples(unit, unit).filter(lambda pair: pair[0] != pair[1]).map(lambda pair: Ramp(*sorted(pair))),
    knots.filter(lambda pairs: len({u for u, _ in pairs}) == len(pairs)).map(Measured),
)


@given(rising)
def test_every_psi_stays_in_range_rises_and_keeps_shape_and_dtype(psi: Family) -> None:
    values = psi(U)
    assert bool(((values >= 0) & (values <= 1)).all())
    assert bool((values.diff() >= -1e-12).all())
    for u in (torch.rand(2, 3), torch.rand(()).double()):
        assert psi(u).shape == u.shape
        assert psi(u).dtype == u.dtype


@pytest.mark.parametrize("tau", [0.3, 0.5, 0.7, 1.0, 1.5])
def test_power_has_its_closed_form(tau: float) -> None:
    expected = torch.tensor([float(u) ** tau for u in U], dtype=torch.float64)
    torch.testing.assert_close(Power(tau)(U), expected)
    torch.testing.assert_close(PowerOfComplement(tau)(1 - U), expected)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_power_zero_is_exactly_one_everywhere(dtype: torch.dtype) -> None:
    assert torch.equal(Power(0.0)(U.to(dtype)), torch.ones(1001, dtype=dtype))


def test_snr_is_one_minus_alphas_cumprod_on_the_table() -> None:
    psi = SNR(LINEAR, UniformIndex(1000))
    u = UniformIndex(1000).u(torch.arange(1000, dtype=torch.float64))
    torch.testing.assert_close(psi(u), 1 - LINEAR.alphas_cumprod, rtol=1e-12, atol=1e-12)
    # The values that the reference gives for DiT's linear schedule, at steps counted from 1 and on average.
    at = psi(u)[[99, 249, 499, 749]]
    torch.testing.assert_close(at, torch.tensor([0.103, 0.476, 0.921, 0.997], dtype=torch.float64), rtol=0, atol=2e-3)
    assert float(psi(u).mean()) == pytest.approx(0.72, abs=0.005)


@pytest.mark.parametrize("process", [LINEAR, StraightFlow(), EDM()], ids=lambda process: type(process).__name__)
def test_snr_rises_from_zero_to_one_on_every_process(process: StraightFlow) -> None:
    values = SNR(process, default_clock(process))(U)
    assert bool((values.diff() >= 0).all())
    assert float(values[0]) < 1e-2
    assert float(values[-1]) > 0.99


def test_step_ramp_and_measured_have_their_values() -> None:
    u = torch.tensor([0.0, 0.1, 0.2, 0.5, 1.0])
    assert Step(0.2)(u).tolist() == [0, 0, 1, 1, 1]
    torch.testing.assert_close(Ramp(0.1, 0.5)(u), torch.tensor([0, 0, 0.25, 1, 1]))
    torch.testing.assert_close(
        Measured(((0.1, 0.2), (0.3, 0.4), (0.5, 0.9)))(u), torch.tensor([0.2, 0.2, 0.3, 0.9, 0.9])
    )


@pytest.mark.parametrize("bad", [((0.1, 0.5),), ((0.5, 0.1), (0.5, 0.2)), ((0.5, 0.1), (0.2, 0.2))])
def test_knots_that_do_not_rise_in_u_are_refused(bad: tuple[tuple[float, float], ...]) -> None:
    with pytest.raises(ConfigError, match="u rising"):
        Measured(bad)


SMALLEST: dict[str, dict[str, object]] = {
    "power": {},
    "power-of-complement": {},
    "snr": {},
    "constant": {"value": 0.5},
    "step": {"at": 0.5},
    "ramp": {"start": 0.1, "stop": 0.2},
    "measured": {"knots": [[0, 0], [1, 1]]},
}


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_is_built_from_its_config_and_survives_a_recipe(kind: str) -> None:
    config = KINDS[kind].config.model_validate({"kind": kind, **SMALLEST[kind]})
    again = KINDS[kind].config.model_validate_json(config.model_dump_json())
    assert again == config
    values = build(again, LINEAR, default_clock(LINEAR))(U)
    assert bool(((values >= 0) & (values <= 1)).all())


def test_the_union_reads_the_kind_and_refuses_what_no_family_has() -> None:
    adapter: TypeAdapter[BaseModel] = TypeAdapter(Psi)
    assert adapter.validate_python({"kind": "power", "tau": 0.7}) == KINDS["power"].config(tau=0.7)
    for wrong in (
        {"kind": "power", "tau": -1},
        {"kind": "step", "at": 2},
        {"kind": "power", "exponent": 1},
        {"kind": "x"},
    ):
        with pytest.raises(ValidationError):
            adapter.validate_python(wrong)
