"""Tables that are looked into where the samples are."""

from __future__ import annotations

import torch
from torch import Tensor


class OnDevice:
    """A table (T,) float64 that is copied to a device once: to copy it in each step would be to wait for the device.

    On Apple's devices, which have no float64, it is float32.
    """

    def __init__(self, table: Tensor) -> None:
        self._tables = {table.device: table}

    def on(self, device: torch.device) -> Tensor:
        """The table there."""
        if device not in self._tables:
            table = next(iter(self._tables.values()))
            self._tables[device] = table.to(device, torch.float32 if device.type == "mps" else table.dtype)
        return self._tables[device]
