"""Mixed precision of a training step: accelerate on the device of this process, and the attention kernel that suits it."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from accelerate.utils import GradientAccumulationPlugin
from torch.nn.attention import SDPBackend, sdpa_kernel

from difftuning.config.precision import Precision
from difftuning.errors import ConfigError


def make_accelerator(precision: Precision, device: torch.device, tf32: bool | None = None) -> Accelerator:
    """Accelerate on the device where the parameters are; `tf32` of None leaves torch's own switches alone.

    Raises:
        ConfigError: the precision is not to be had there.
    """
    if precision == "fp16" and device.type == "cpu":
        raise ConfigError("training.precision=fp16 needs a GPU; use bf16 or no on a CPU")
    if tf32 is not None:
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = tf32
    # accelerate keeps the first precision of a process for good; a second run of the same process may have another.
    AcceleratorState._reset_state(reset_partial_state=True)
    return Accelerator(
        cpu=device.type == "cpu",
        mixed_precision=precision,
        # A launcher's own number of passes would divide the loss once more.
        gradient_accumulation_plugin=GradientAccumulationPlugin(num_steps=1),
    )


def attention_kernel(precision: Precision, device: torch.device) -> AbstractContextManager[None]:
    """On a CPU in bf16, plain attention: the flash kernel's backward pass takes twice as long there (torch 2.15)."""
    plain = precision == "bf16" and device.type == "cpu"
    return sdpa_kernel(SDPBackend.MATH) if plain else nullcontext()
