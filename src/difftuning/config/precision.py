"""What a network computes in, by name. A recipe that says `auto` is told at once which one that is on this machine."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, WithJsonSchema

AUTO = "auto"
SLOW = "bf16 is emulated on this processor, many times slower than float32; set precision to no, or to auto"


def native_bf16(device: str | None = None) -> bool:
    """Whether a kind of device ("cpu", "cuda", "mps") computes in bf16 by itself.

    GPUs do from Ampere on, CPUs with AVX512-BF16 or AMX. None asks the best that there is here, as `auto` does: a recipe that
    takes a lesser device says its precision.
    """
    import torch  # heavy, and asked of few recipes

    if device is None:
        device = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    if device != "cpu":
        return device == "cuda" and bool(torch.cuda.is_bf16_supported(including_emulation=False))
    ask = getattr(torch.cpu, "get_capabilities", None)  # newer than the oldest torch that we take
    found = {"avx512_bf16": torch.cpu._is_avx512_bf16_supported()} if ask is None else ask()
    return bool(found.get("avx512_bf16") or found.get("amx_bf16") or found.get("bf16"))


def _told(given: Any) -> Any:
    return given if given != AUTO else "bf16" if native_bf16() else "no"


Precision = Annotated[
    Literal["no", "bf16", "fp16"],
    BeforeValidator(_told),
    WithJsonSchema({"enum": ["no", AUTO, "bf16", "fp16"]}),
]
"""Float32, or mixed precision; weights stay as they are. `auto` becomes bf16 where it is native, else no."""
