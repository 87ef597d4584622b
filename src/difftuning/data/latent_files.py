"""Latents that stay on disk: written part by part as a set is read, and read at random with no index of them in memory."""

from __future__ import annotations

import hashlib
import zlib
from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from difftuning.data.base import Skipped
from difftuning.data.tensors import write_tensors
from difftuning.errors import CheckpointError, DataError
from difftuning.json_files import read_sealed, write_sealed
from difftuning.row_files import Place, RowFiles, places

_ANEW = "remove it and run the same command again; of a set that has grown other images are held out then"
MEND = "remove it and run the same command again, which encodes that part anew"


@dataclass(frozen=True, slots=True)
class Part:
    """What became of some rows of a file of the set.

    Attributes:
        names: their classes, or prompts, sorted; what is stored as a label is a place in them.
        items: how many of them are there to train on.
        keys: digests of the held-out images.
        rows: how many rows they are.
        skipped: how many were set aside.
        some: a few of those, and why.
        last: no row of the file comes after them.
        labels: the sha256 of the labels of those items.
        digest: of the images and their labels.
    """

    names: tuple[str, ...]
    items: int
    keys: tuple[str, ...]
    rows: int
    skipped: int
    some: tuple[Skipped, ...]
    last: bool
    labels: str
    digest: str


@dataclass(frozen=True, slots=True)
class Shares:
    """How much of a set is kept besides what is trained on; which images, their content tells.

    Attributes:
        heldout: the share of images that are held out.
        shown: the share that is trained on and whose pictures are kept.
        expected: how many rows the set was thought to have.
    """

    heldout: float
    shown: float
    expected: int


def read_shares(path: Path) -> Shares | None:
    """The shares of a set that are kept besides; None where it was never read.

    Raises:
        DataError: they are not what was written.
    """
    if not path.is_file():
        return None
    try:
        return Shares(**read_sealed(path, _ANEW))
    except (CheckpointError, TypeError) as reason:
        raise DataError(f"{path} is not what was written ({reason}); {_ANEW}") from reason


def write_shares(path: Path, shares: Shares) -> None:
    """Keep them: they stay when the set grows, so that what was encoded before stays too."""
    if not path.is_file():
        write_sealed(path, asdict(shares))


class PartFolder:
    """The parts of sets that are encoded alike, by the key of their file and their number in it.

    Of each there are latents to train on, what is kept besides, and a mark, written last, that it is whole.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._names: dict[tuple[str, ...], tuple[str, ...]] = {}  # of many parts of the same classes, one

    def latents(self, place: tuple[str, int]) -> Path:
        """Latents to train on (n, views, C, H, W) float16, a checksum of each (n, views) int64, and labels (n,) int32."""
        return self.folder / f"{_stem(place)}.safetensors"

    def aside(self, place: tuple[str, int]) -> Path:
        """What is kept besides."""
        return self.folder / f"{_stem(place)}-aside.safetensors"

    def _mark(self, place: tuple[str, int]) -> Path:
        return self.folder / f"{_stem(place)}.json"

    def write(
        self, place: tuple[str, int], part: Part, latents: Tensor, labels: Tensor, aside: Mapping[str, Tensor]
    ) -> None:
        """Store a part."""
        sums = torch.tensor([[checksum(view) for view in item] for item in latents], dtype=torch.int64)
        sums = sums.view(latents.shape[:2])
        write_tensors(self.latents(place), {"latents": latents, "sums": sums, "labels": labels})
        write_tensors(self.aside(place), aside)
        some = [[one.origin, one.reason] for one in part.some]
        entries = {name: getattr(part, name) for name in Part.__slots__ if name != "some"}
        write_sealed(self._mark(place), {**entries, "some": some})

    def all(self, files: Iterable[str]) -> dict[str, list[Part]]:
        """The parts of each of some files."""
        return {file: self.of(file) for file in files}

    def of(self, file: str) -> list[Part]:
        """The parts of a file that are whole, up to the first that is not.

        Raises:
            DataError: a mark is not what was written.
        """
        found: list[Part] = []
        while not (found and found[-1].last) and (part := self._read((file, len(found)))) is not None:
            found.append(part)
        return found

    def _read(self, place: tuple[str, int]) -> Part | None:
        if not self._mark(place).is_file():
            return None
        try:
            found: dict[str, Any] = read_sealed(self._mark(place), MEND)
            some = tuple(Skipped(origin, reason) for origin, reason in found.pop("some"))
            names = self._names.setdefault(names := tuple(found["names"]), names)
            part = Part(**{**found, "names": names, "keys": tuple(found["keys"]), "some": some})
        except CheckpointError as reason:
            raise DataError(str(reason)) from reason
        except (KeyError, TypeError, ValueError) as reason:  # its seal is gone with what it sealed
            raise DataError(f"{self._mark(place)} is not what was written ({reason}); {MEND}") from reason
        return part if _whole(self.latents(place), part) and self.aside(place).is_file() else None


def _stem(place: tuple[str, int]) -> str:
    return f"{place[0]}-{place[1]:06d}"


def digest_of(labels: Tensor) -> str:
    """The sha256 of labels (n,)."""
    return hashlib.sha256(labels.numpy().tobytes()).hexdigest()


def checksum(view: Tensor) -> int:
    """Of one item's latents: they are too many to be read whole before they are used."""
    return zlib.crc32(view.numpy().tobytes())


def _whole(path: Path, part: Part) -> bool:
    """Whether latents are there, as long as their header says, and with the labels that were written."""
    try:
        found = places(path)
        end = max(place.at + place.shape[0] * place.row_bytes for place in found.values())
        if found["latents"].shape[0] != part.items or path.stat().st_size != end:
            return False
        with safe_open(path, "pt") as file:
            return digest_of(file.get_tensor("labels")) == part.labels
    except (OSError, ValueError, KeyError, TypeError, IndexError, SafetensorError):
        return False


class LatentFiles:
    """The items to train on, on disk; like a `difftuning.data.latents.LatentSet` to who trains on them.

    Args:
        files: of latents.
        parts: one for each of them.
        names: the label space of all.
        flips: mirrored latents are stored too.
        indices: places of those whose pictures were kept, in the source of pictures.
        report: what was read and what was there.

    Attributes:
        class_names: `names`.
        skipped: a few of what was set aside; `set_aside` says how many that are.
        digest: the sha256 of everything stored.
    """

    def __init__(
        self,
        files: Sequence[Path],
        parts: Sequence[Part],
        names: tuple[str, ...],
        flips: bool,
        indices: Tensor,
        report: str,
    ) -> None:
        self.class_names, self.flips, self.indices, self.report = names, flips, indices, report
        self.skipped = [one for part in parts for one in part.some]
        self.set_aside = sum(part.skipped for part in parts)
        kept = [(file, part) for file, part in zip(files, parts, strict=True) if part.items]
        self._files = RowFiles([file for file, _ in kept])
        self._places = [places(file) for file, _ in kept]
        rows = {name: row for row, name in enumerate(names)}
        of = {part.names: torch.tensor([rows[name] for name in part.names], dtype=torch.int64) for _, part in kept}
        self._rows = [of[part.names] for _, part in kept]
        self._starts = list(accumulate((part.items for _, part in kept), initial=0))
        self.digest = hashlib.sha256("/".join([*names, *(part.digest for part in parts)]).encode()).hexdigest()

    def __len__(self) -> int:
        return self._starts[-1]

    @property
    def host_bytes(self) -> int:
        """What of the latents lies in memory: nothing."""
        return 0

    def get(self, indices: Tensor, flip: Tensor) -> Tensor:
        """Items by indices (n,) int64, flip (n,) bool: mirrored left to right -> (n, C, H, W) float32.

        Raises:
            DataError: a mirrored item is asked of latents without flips, or a file has gone, shrunk or changed.
        """
        if bool(flip.any()) and not self.flips:
            raise DataError("mirrored items are asked for, and none were encoded; set data.flip=true")
        found, sums = self._views("latents", indices, flip), self._views("sums", indices, flip)
        for index, view, expected in zip(indices.tolist(), found, sums.tolist(), strict=True):
            if checksum(view) != expected:
                raise DataError(f"{self._files.paths[self._find(index)[0]]} is not what was written; {MEND}")
        return found.float()

    def _views(self, name: str, indices: Tensor, flip: Tensor) -> Tensor:
        first = self._places[0][name]
        view = Place((1, *first.shape[2:]), first.dtype, 0)  # one of an item's
        pairs = [self._find(index) for index in indices.tolist()]
        offsets = [
            self._places[file][name].at + row * first.row_bytes + mirrored * view.row_bytes
            for (file, row), mirrored in zip(pairs, flip.tolist(), strict=True)
        ]
        found = torch.empty(len(indices), *view.shape[1:], dtype=view.dtype)
        self._read(view, found, [file for file, _ in pairs], offsets)
        return found

    def classes(self, indices: Tensor) -> Tensor:
        """The classes of items by indices (n,) int64 -> (n,) int64."""
        pairs = [self._find(index) for index in indices.tolist()]
        label = self._places[0]["labels"]
        offsets = [self._places[file]["labels"].at + row * label.row_bytes for file, row in pairs]
        found = torch.empty(len(indices), dtype=label.dtype)
        self._read(label, found, [file for file, _ in pairs], offsets)
        return torch.tensor([int(self._rows[file][one]) for (file, _), one in zip(pairs, found.tolist(), strict=True)])

    def _find(self, index: int) -> tuple[int, int]:
        if not 0 <= index < len(self):
            raise IndexError(f"item {index} asked for, there are {len(self)}")
        file = bisect_right(self._starts, index) - 1
        return file, index - self._starts[file]

    def _read(self, place: Place, into: Tensor, files: Sequence[int], offsets: Sequence[int]) -> None:
        try:
            self._files.read(place, into, files, offsets)
        except (OSError, EOFError) as reason:
            raise DataError(f"latents on disk cannot be read ({reason}); {MEND}") from reason
