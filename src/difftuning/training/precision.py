"""Mixed precision of a training step: accelerate on one device, and the attention kernel that suits it."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from torch.nn.attention import SDPBackend, sdpa_kernel

from difftuning.config.precision import Precision
from difftuning.errors import ConfigError


def make_accelerator(precision: Precision, device: torch.device) -> Accelerator:
    """Accelerate on the device where the parameters are.

    Raises:
        ConfigError: the precision is not to be had there, or there are several processes.
    """
    if precision == "fp16" and device.type == "cpu":
        raise ConfigError("training.precision=fp16 needs a GPU; use bf16 or no on a CPU")
    # accelerate keeps the first precision of a process for good; a second run of the same process may have another.
    AcceleratorState._reset_state(reset_partial_state=True)
    accelerator = Accelerator(cpu=device.type == "cpu", mixed_precision=precision)
    if accelerator.num_processes > 1:
        raise ConfigError(
            f"{accelerator.num_processes} processes were launched, and training runs in one; start it without a launcher"
        )
    return accelerator


def attention_kernel(precision: Precision, device: torch.device) -> AbstractContextManager[None]:
    """On a CPU in bf16, plain attention: the flash kernel's backward pass takes twice as long there (torch 2.15)."""
    plain = precision == "bf16" and device.type == "cpu"
    return sdpa_kernel(SDPBackend.MATH) if plain else nullcontext()
