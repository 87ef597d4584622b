"""What a network computes in, by name. A recipe that says `auto` is told at once which one that is on this machine."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator

AUTO = "auto"
SLOW = "bf16 is emulated on this processor, many times slower than float32; set precision to no, or to auto"


def native_bf16() -> bool:
    """Whether the best device here computes in bf16 by itself: a GPU of Ampere or newer, a CPU with AVX512-BF16 or AMX."""
    import torch  # heavy, and asked of few recipes

    if torch.cuda.is_available():
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if torch.backends.mps.is_available():
        return False
    found = torch.cpu.get_capabilities()
    return bool(found.get("avx512_bf16") or found.get("amx_bf16") or found.get("bf16"))


def _told(given: Any) -> Any:
    return given if given != AUTO else "bf16" if native_bf16() else "no"


Precision = Annotated[Literal["no", "bf16", "fp16"], BeforeValidator(_told)]
"""Float32, or mixed precision; weights stay as they are. `auto` becomes bf16 where it is native, else no."""
