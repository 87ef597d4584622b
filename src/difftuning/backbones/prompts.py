"""Prompts as rows: what text encoders make of each is computed once.

So a prompt is to a text-to-image model what a class is to a class-conditional one.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from pydantic import Field
from torch import Tensor

from difftuning.config.section import Section
from difftuning.types import moved

MOST_BYTES = 2**31
"""What is kept of embeddings in memory; the least recently used go first and are made again when asked for."""


class TextConfig(Section):
    """What only text-to-image models are told."""

    default_prompt: str = ""
    """Bank items train under it, and without `bank.prompts` they are drawn under it too."""
    distilled_guidance: float = Field(1.0, ge=0)
    """The guidance scale that a guidance-distilled network (Flux dev) is told, in training and in drawing; 1 is none."""


@dataclass(frozen=True, slots=True)
class Embedding:
    """What a model is told of a prompt, or of a batch of prompts, which then stand in a first dimension.

    Attributes:
        states: (L, D) of the tokens.
        pooled: (P,) of the whole prompt; None where the model takes none.
        mask: (L,) 1 for tokens, 0 for padding; None where the model takes none.
    """

    states: Tensor
    pooled: Tensor | None = None
    mask: Tensor | None = None

    @property
    def bytes(self) -> int:
        """The memory it takes."""
        return sum(part.nbytes for part in (self.states, self.pooled, self.mask) if part is not None)

    def to(self, device: torch.device | str) -> Embedding:
        """The same on another device."""
        return Embedding(*(None if part is None else moved(part, device) for part in self._parts))  # type: ignore[arg-type]

    @property
    def _parts(self) -> tuple[Tensor | None, ...]:
        return self.states, self.pooled, self.mask

    def named(self) -> dict[str, Tensor]:
        """Its parts that are there, by name: the arguments that make it again."""
        parts = zip(("states", "pooled", "mask"), self._parts, strict=True)
        return {name: part.contiguous() for name, part in parts if part is not None}

    @staticmethod
    def stack(each: Sequence[Embedding]) -> Embedding:
        """Of some prompts, one a row."""
        parts = zip(*(one._parts for one in each), strict=True)
        stacked = [None if part[0] is None else torch.stack([one for one in part if one is not None]) for part in parts]
        return Embedding(*stacked)  # type: ignore[arg-type]


class Store(Protocol):
    """Where embeddings are kept from one run to the next; `difftuning.data.embeddings.EmbeddingFiles` is one."""

    def get(self, prompt: str, /) -> Mapping[str, Tensor] | None:
        """The parts of an embedding by name; None where they are not kept."""
        ...

    def put(self, prompt: str, tensors: Mapping[str, Tensor], /) -> None:
        """Keep them."""
        ...


class Prompts:
    """Embeddings by prompt, each made alone: so it is the same whatever else is asked with it, bit for bit.

    Args:
        encode: a prompt to its embedding.
        most_bytes: what is kept in memory.

    Attributes:
        store: where they are looked for, and kept, besides; None for nowhere.
    """

    def __init__(self, encode: Callable[[str], Embedding], most_bytes: int = MOST_BYTES) -> None:
        self._encode, self._most = encode, most_bytes
        self._known: OrderedDict[str, Embedding] = OrderedDict()
        self._bytes = 0
        self.store: Store | None = None

    def __call__(self, prompts: Sequence[str]) -> Embedding:
        """(B, ...) of the prompts, on the CPU."""
        return Embedding.stack([self._one(prompt) for prompt in prompts])

    def _one(self, prompt: str) -> Embedding:
        found = self._known.get(prompt)
        if found is not None:
            self._known.move_to_end(prompt)
            return found
        kept = None if self.store is None else self.store.get(prompt)
        if kept is None:
            with torch.no_grad():
                found = self._encode(prompt).to("cpu")
            if self.store is not None:
                self.store.put(prompt, found.named())
        else:
            found = Embedding(**kept)
        self._known[prompt] = found
        self._bytes += found.bytes
        while self._bytes > self._most and len(self._known) > 1:
            self._bytes -= self._known.popitem(last=False)[1].bytes
        return found
