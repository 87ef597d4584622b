"""Which parameters are trained."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pydantic import BaseModel

from difftuning.tuning.base import Tuner
from difftuning.tuning.full import Full, FullConfig

KINDS: dict[str, tuple[type[BaseModel], Callable[[Any], Tuner]]] = {"full": (FullConfig, Full)}
"""Name to (config, tuner)."""

__all__ = ["KINDS", "Full", "FullConfig", "Tuner"]
