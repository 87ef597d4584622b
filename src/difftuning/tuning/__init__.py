"""Which parameters are trained. A tuner is one file and one row here; the conformance suite tests it by its existing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

from pydantic import BaseModel, Field

from difftuning.tuning.adapter import AdaptFormer, AdaptFormerConfig
from difftuning.tuning.base import Tuner
from difftuning.tuning.delta import BitFitConfig, DeltaConfig, DeltaParameters
from difftuning.tuning.difffit import DiffFit, DiffFitConfig
from difftuning.tuning.full import Full, FullConfig
from difftuning.tuning.lora import LoRA, LoRAConfig, PeftConfig, PeftTuner
from difftuning.tuning.prompts import VPTConfig, VPTDeep

KINDS: dict[str, tuple[type[BaseModel], Callable[[Any], Tuner]]] = {
    "full": (FullConfig, Full),
    "lora": (LoRAConfig, LoRA),
    "peft": (PeftConfig, PeftTuner),
    "bitfit": (BitFitConfig, DeltaParameters),
    "delta": (DeltaConfig, DeltaParameters),
    "difffit": (DiffFitConfig, DiffFit),
    "adaptformer": (AdaptFormerConfig, AdaptFormer),
    "vpt-deep": (VPTConfig, VPTDeep),
}
"""Name to (config, tuner)."""

TunerConfig = Annotated[
    FullConfig | LoRAConfig | PeftConfig | BitFitConfig | DeltaConfig | DiffFitConfig | AdaptFormerConfig | VPTConfig,
    Field(discriminator="kind"),
]
"""The config of any of them."""


def build(config: Any) -> Tuner:
    """The tuner that a config describes, not attached yet."""
    return KINDS[config.kind][1](config)


__all__ = ["KINDS", "Full", "FullConfig", "Tuner", "TunerConfig", "build"]
