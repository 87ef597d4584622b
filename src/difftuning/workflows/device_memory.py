"""What a device has left: compared with what is put upon it before that, and the keys that help where it runs out all the same."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager

import psutil  # type: ignore[import-untyped]
import torch
from torch import Tensor, nn

from difftuning.backbones.base import Backbone
from difftuning.errors import ConfigError
from difftuning.training.memory import Memory, size_of
from difftuning.workflows.recipe import Recipe

GIB = 2**30
WORKING = 0.25
"""Of what is free: the share that work needs beside the weights, where text encoders may stay away."""
LAST = "take a smaller model, or a device with more memory"


def free(device: torch.device) -> int:
    """Bytes that a device has left for this process, what it holds already among them."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0]) + torch.cuda.memory_reserved(device)
    return int(psutil.virtual_memory().available)


def left(device: torch.device) -> int:
    """Bytes that a device has left for what is not there yet; all of them where what moves there leaves the same memory."""
    if device.type == "cuda":
        return free(device) - torch.cuda.memory_allocated(device)
    return int(psutil.virtual_memory().total)


def place(model: Backbone, device: torch.device, room: int, offload: bool) -> Backbone:
    """Put a model upon a device, in place, if it can hold it.

    Args:
        model: as it was loaded.
        device: which.
        room: bytes that it has left, see `left`.
        offload: text encoders stay where they are if they would leave too little for work.

    Raises:
        ConfigError: it cannot; nothing was moved.
    """
    parts = (model.encoders.values(), (*model.at_work, *model.codec.modules))
    away, needed = (size_of(_elsewhere(some, device)) for some in parts)
    if model.encoders:
        model.encoders_stay = offload and away + needed > (1 - WORKING) * room
    needed += 0 if model.encoders_stay else away
    if needed > room:
        saved = f"training.offload=true leaves its text encoders, {away / GIB:.1f} GiB, in the host's memory"
        raise ConfigError(
            f"the weights of {model.name} take {needed / GIB:.1f} GiB in float32, and {device} has {room / GIB:.1f} free; "
            f"{saved if not offload and 0 <= room - needed + away else LAST}"
        )
    return model.to(device)


def _elsewhere(parts: Iterable[nn.Module], device: torch.device) -> Iterator[Tensor]:
    """The tensors of some parts that are not on a device yet."""
    for part in parts:
        yield from (one for one in (*part.parameters(), *part.buffers()) if one.device.type != device.type)


def mends(recipe: Recipe, device: str = "cuda", found: Memory | None = None) -> list[str]:
    """Which keys would save memory in training, and how much where that was counted."""

    def much(share: Callable[[Memory], float], of: str = "") -> str:
        return f"saves {of}{share(found) / GIB:.1f} GiB" if found else "saves memory"

    mends = []
    if not recipe.training.gradient_checkpointing:
        mends.append("training.gradient_checkpointing=true keeps a small part of the activations")
    if recipe.training.accumulate < recipe.training.batch_size:
        mends.append(f"training.accumulate={recipe.training.batch_size} keeps those of one sample")
    if not recipe.training.offload and device != "cpu":
        mends.append("training.offload=true moves autoencoder and text encoders to the host")
    if recipe.ema.device is None and device != "cpu":
        mends.append(f"ema.device=cpu {much(lambda held: held.average)}")
    if not recipe.optim.eight_bit:
        mends.append(f"optim.eight_bit=true {much(lambda held: 0.75 * held.moments)}")
    if recipe.tuner.kind == "full":
        saved = much(lambda held: held.gradients + held.moments + held.average, "nearly all of ")
        mends.append(f"tuner.kind=lora {saved}")
    return mends or [LAST]


@contextmanager
def within_memory(mends: Callable[[], Sequence[str]]) -> Iterator[None]:
    """Within it a device that runs out of memory is an error of ours.

    Args:
        mends: what may help, asked for when it is needed.

    Raises:
        ConfigError: it ran out.
    """
    try:
        yield
    except torch.OutOfMemoryError as reason:
        raise ConfigError(f"{ran_out(reason)}; {'; '.join(mends())}") from reason


def ran_out(reason: BaseException) -> str:
    """What torch says of a device that ran out of memory, without its table of who holds what."""
    return ". ".join(str(reason).split(". ")[:2]).rstrip(".")
