"""How many items a device works on at once: half as many each time that its memory runs out."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from difftuning.processes import present


class AtOnce:
    """Work that is done a few items at a time, and from where memory ran out on by half as many.

    Attributes:
        most: so many at a time, for all that is asked of it from now on.

    Args:
        most: to begin with.
    """

    def __init__(self, most: int) -> None:
        self.most = most

    def of(self, count: int, work: Callable[[int, int], Tensor]) -> Tensor:
        """What work finds of items 0 ... count - 1, joined.

        Args:
            count: at least one.
            work: items start ... stop - 1 to a tensor with a row each, which must not depend on what else is in it.

        Raises:
            OutOfMemoryError: memory runs out on a single item, or where processes that share the weights would have to agree.
        """
        parts: list[Tensor] = []
        done = 0
        while done < count:
            stop = min(done + self.most, count)
            try:
                parts.append(work(done, stop))
            except torch.OutOfMemoryError:
                if stop - done == 1 or present().together:
                    raise
                self.most = (stop - done) // 2
            else:
                done = stop
                continue
            # What failed is let go of here, where its traceback holds no tensor any more.
            torch.cuda.empty_cache()
        return torch.cat(parts)
