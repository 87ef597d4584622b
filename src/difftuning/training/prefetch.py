"""The next batch made while the device works on this one: a batch is a pure function, so it can be made before it is asked for."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor

import torch
from torch import Tensor

from difftuning.training.interfaces import Streams
from difftuning.types import Batch, Condition, Draw


class Prefetched:
    """Streams one batch ahead, bit for bit those that they are made of.

    One thread makes all batches, so the streams below need not bear two. What goes wrong in it is raised where its batch is asked
    for.

    Args:
        streams: where batches come from.
        pin: put them into memory that a GPU copies from without being waited for.
    """

    def __init__(self, streams: Streams, pin: bool = False) -> None:
        self._streams, self._pin = streams, pin
        self._thread = ThreadPoolExecutor(1, "difftuning-prefetch")
        self._ahead: tuple[int, tuple[int, int], Future[Batch]] | None = None

    def batch(self, step: int, positions: tuple[int, int]) -> Batch:
        """The batch of a step; that of the step after it is begun."""
        if self._ahead is None or self._ahead[:2] != (step, positions):
            self._begin(step, positions)  # the first batch, or one that nobody foresaw
        assert self._ahead is not None
        batch = self._ahead[2].result()
        drawn = batch.draw if batch.whole is None else batch.whole  # by all processes together
        from_bank = int(drawn.from_bank.sum())
        self._begin(step + 1, (positions[0] + len(drawn) - from_bank, positions[1] + from_bank))
        return batch

    def _begin(self, step: int, positions: tuple[int, int]) -> None:
        self._ahead = step, positions, self._thread.submit(self._made, step, positions)

    def _made(self, step: int, positions: tuple[int, int]) -> Batch:
        batch = self._streams.batch(step, positions)
        return pinned(batch) if self._pin else batch


def for_device(streams: Streams, device: torch.device) -> Streams:
    """Streams as a device wants them: on a CPU as they are, since a thread would only take its cores."""
    return streams if device.type == "cpu" else Prefetched(streams, pin=device.type == "cuda")


def pinned(batch: Batch) -> Batch:
    """The same batch in page-locked memory."""
    condition, draw = batch.condition, batch.draw
    control: Tensor | None = None if condition.control is None else condition.control.pin_memory()
    return Batch(
        batch.x0.pin_memory(),
        batch.noise.pin_memory(),
        Condition(condition.labels.pin_memory(), control, condition.host),
        Draw(draw.t.pin_memory(), draw.u.pin_memory(), draw.from_bank.pin_memory(), draw.weight.pin_memory()),
        batch.whole,
    )
