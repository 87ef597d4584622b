"""Mixed precision of a training step: accelerate on the device of this process, and the attention kernel that suits it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from accelerate.utils import DistributedDataParallelKwargs, GradientAccumulationPlugin
from torch.nn.attention import SDPBackend, sdpa_kernel

from difftuning.config.precision import Precision
from difftuning.errors import ConfigError
from difftuning.processes import present


@contextmanager
def rounding(tf32: bool | None) -> Iterator[None]:
    """Within it a GPU rounds the factors of float32 products to TF32, or does not; None leaves it as it is."""
    products, convolutions = torch.backends.cuda.matmul, torch.backends.cudnn
    before = products.allow_tf32, convolutions.allow_tf32
    try:
        if tf32 is not None:
            products.allow_tf32 = convolutions.allow_tf32 = tf32
        yield
    finally:
        products.allow_tf32, convolutions.allow_tf32 = before


def make_accelerator(precision: Precision, device: torch.device) -> Accelerator:
    """Accelerate on the device where the parameters are.

    Raises:
        ConfigError: the precision is not to be had there.
    """
    if precision == "fp16" and device.type == "cpu":
        raise ConfigError("training.precision=fp16 needs a GPU; use bf16 or no on a CPU")
    # accelerate keeps the first precision of a process for good; a second run of the same process may have another.
    AcceleratorState._reset_state(reset_partial_state=True)
    if present().engine:
        from difftuning.training.zero import make_engine_accelerator  # DeepSpeed is seldom there

        return make_engine_accelerator(precision)
    return Accelerator(
        cpu=device.type == "cpu",
        mixed_precision=precision,
        # A launcher's own number of passes would divide the loss once more.
        gradient_accumulation_plugin=GradientAccumulationPlugin(num_steps=1),
        # By default DDP keeps the gradients twice: in the parameters, and in what it sends.
        kwargs_handlers=[DistributedDataParallelKwargs(gradient_as_bucket_view=True)],
    )


def attention_kernel(precision: Precision, device: torch.device) -> AbstractContextManager[None]:
    """On a CPU in bf16, plain attention: the flash kernel's backward pass takes twice as long there (torch 2.15)."""
    plain = precision == "bf16" and device.type == "cpu"
    return sdpa_kernel(SDPBackend.MATH) if plain else nullcontext()
