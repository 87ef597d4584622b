"""Several sources as one."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate

from PIL import Image

from difftuning.data.base import ImageSource
from difftuning.data.latents import together


class Joined(ImageSource):
    """The images of several sources, one source after the other; classes of the same name are one.

    Args:
        sources: at least one.

    Attributes:
        starts: the place of the first image of each source, and how many there are in all.
    """

    def __init__(self, sources: Sequence[ImageSource]) -> None:
        self._sources = sources
        self.name = " and ".join(source.name for source in sources)
        self.class_names = together([source.class_names for source in sources])
        self.skipped = tuple(one for source in sources for one in source.skipped)
        self.notes = tuple(note for source in sources for note in source.notes)
        self.starts = [0, *accumulate(len(source) for source in sources)]

    def _at(self, index: int) -> tuple[ImageSource, int]:
        place = bisect_right(self.starts, index) - 1
        return self._sources[place], index - self.starts[place]

    def __len__(self) -> int:
        """How many there are in all."""
        return self.starts[-1]

    def read(self, index: int) -> Image.Image:
        """The image."""
        source, within = self._at(index)
        return source.read(within)

    def label(self, index: int) -> int:
        """Its class, among those of all."""
        source, within = self._at(index)
        return self.class_names.index(source.class_names[source.label(within)])

    def key(self, index: int) -> str:
        """The sha256 of its content."""
        source, within = self._at(index)
        return source.key(within)

    def origin(self, index: int) -> str:
        """Its source, and the file or row there."""
        source, within = self._at(index)
        return f"{source.name}: {source.origin(within)}"

    def size(self, index: int) -> tuple[int, int] | None:
        """The sides of its picture."""
        source, within = self._at(index)
        return source.size(within)

    def place(self, index: int) -> str:
        """The file or row within its own set."""
        source, within = self._at(index)
        return source.place(within)

    def in_column(self, column: str, index: int) -> bytes:
        """Another picture of its row."""
        source, within = self._at(index)
        return source.in_column(column, within)

    def caption(self, index: int) -> str | None:
        """Its caption."""
        source, within = self._at(index)
        return source.caption(within)
