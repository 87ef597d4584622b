"""What `auto` becomes, and what is said of bf16 where it is emulated."""

from __future__ import annotations

import time

import pytest
import torch
from pydantic import ValidationError

from difftuning.config.precision import native_bf16
from difftuning.workflows.doctor import doctor
from difftuning.workflows.recipe import SamplingConfig, load


def test_auto_is_told_at_once_and_the_rest_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    for native, told in ((True, "bf16"), (False, "no")):
        monkeypatch.setattr("difftuning.config.precision.native_bf16", lambda native=native: native)
        assert SamplingConfig(precision="auto").precision == told
        assert {load("demo", []).bank.precision, load("own-images", []).training.precision} == {told}
    assert SamplingConfig(precision="bf16").precision == "bf16"
    with pytest.raises(ValidationError, match="'no', 'bf16' or 'fp16'"):
        SamplingConfig(precision="fp8")


@pytest.mark.skipif(torch.cuda.is_available(), reason="of CPUs")
def test_a_processor_that_is_told_to_have_bf16_is_not_slow_in_it() -> None:
    left, right = torch.randn(256, 256), torch.randn(256, 256)

    def seconds(dtype: torch.dtype) -> float:
        a, b = left.to(dtype), right.to(dtype)
        best = float("inf")
        for _ in range(5):
            begun = time.perf_counter()
            a @ b
            best = min(best, time.perf_counter() - begun)
        return best

    seconds(torch.bfloat16)
    if native_bf16():
        assert seconds(torch.bfloat16) < 3 * seconds(torch.float32)
    checks = {check["name"]: check for check in doctor(False)["checks"]}
    assert checks["bf16"]["state"] == ("ok" if native_bf16() else "warn")
