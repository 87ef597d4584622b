"""The files of a run: strict JSON and text written whole or not at all, and records appended a line each.

JSON has no NaN and no infinity: a number that is not finite is written as null.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from difftuning.atomic import storing, write_bytes
from difftuning.errors import CheckpointError

SEAL = "sha256"
"""The entry of a sealed file that says what the others were when it was written."""


def _finite(value: Any) -> Any:
    """The same value with null for each float that JSON cannot hold."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): _finite(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(entry) for entry in value]
    return value


def to_json(value: Any, indent: int | None = None) -> str:
    """Strict JSON: paths as text, numbers that are not finite as null.

    Raises:
        TypeError: the value holds something that JSON cannot hold.
    """
    return json.dumps(_finite(value), indent=indent, allow_nan=False, default=_path_as_text)


def _path_as_text(value: object) -> str:
    if isinstance(value, Path):
        return str(value)
    raise TypeError(f"{type(value).__name__} {value!r} cannot be written as JSON")


def write_text(path: Path, text: str) -> None:
    """Write a text file whole or not at all; its folder is made when needed.

    Raises:
        StorageError: the disk refuses.
    """
    write_bytes(path, text.encode("utf-8"))


def write_json(path: Path, value: Any) -> None:
    """Write a JSON file whole or not at all; see `write_text`."""
    write_text(path, to_json(value, indent=1) + "\n")


def read_json(path: Path, mend: str = "make it again with the verb that writes it") -> Any:
    """The value of a JSON file.

    Raises:
        CheckpointError: the file is missing, unreadable or not JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as reason:
        raise CheckpointError(f"{path} cannot be read ({reason}); {mend}") from reason


def write_sealed(path: Path, value: Mapping[str, Any]) -> None:
    """Write a JSON file with the digest of its other entries among them; see `write_text`."""
    plain = json.loads(to_json(value))
    write_json(path, {**plain, SEAL: _digest(plain)})


def read_sealed(path: Path, mend: str) -> dict[str, Any]:
    """The entries of a JSON file without their digest; one of before there were digests is read unchecked.

    Raises:
        CheckpointError: the file cannot be read, or is not what was written.
    """
    found = read_json(path, mend)
    if not isinstance(found, dict):
        raise CheckpointError(f"{path} holds no entries but {type(found).__name__}; {mend}")
    entries = {key: entry for key, entry in found.items() if key != SEAL}
    if SEAL in found and found[SEAL] != _digest(entries):
        raise CheckpointError(f"{path} is not what was written; {mend}")
    return entries


def _digest(value: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Lines:
    """What a JSONL file holds.

    Attributes:
        records: the complete records, oldest first.
        torn: the texts of lines that a crash cut short; they are never dropped in silence.
    """

    records: list[dict[str, Any]]
    torn: list[str]


class JsonLines:
    """An append-only file of JSON records, one a line, that survives a crash in the middle of a line.

    The file is made, with its folder, at the first write. A line that was cut short is kept as the record
    `{"torn": its text}` when writing goes on behind it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._mended = False

    def append(self, record: Mapping[str, Any]) -> None:
        """Add one record, in a single write.

        Raises:
            StorageError: the disk refuses.
        """
        with storing(self.path):
            if not self._mended:
                self.path.parent.mkdir(parents=True, exist_ok=True)
                self._mend()
                self._mended = True
            with self.path.open("ab", buffering=0) as file:
                line = (to_json(record) + "\n").encode()
                if file.write(line) != len(line):  # a disk that fills up takes a part
                    raise OSError("the disk took only a part of the line")
                os.fsync(file.fileno())  # a checkpoint, which is synced too, must not know of more than its log

    def read(self) -> Lines:
        """All records; a missing file has none.

        Raises:
            CheckpointError: a line other than the last one is not a JSON record.
        """
        if not self.path.is_file():
            return Lines([], [])
        records: list[dict[str, Any]] = []
        torn: list[str] = []
        lines = self.path.read_text(encoding="utf-8", errors="replace").split("\n")
        for number, line in enumerate(lines, start=1):
            if not line:
                continue
            try:
                record = json.loads(line)
                if not isinstance(record, dict):
                    raise ValueError("not a record")
            except ValueError as reason:
                if number < len(lines):
                    raise CheckpointError(
                        f"{self.path}, line {number} is not a JSON record ({line[:60]!r}); remove that line"
                    ) from reason
                torn.append(line)
                continue
            if record.keys() == {"torn"}:
                torn.append(str(record["torn"]))
            else:
                records.append(record)
        return Lines(records, torn)

    def rewrite(self, lines: Lines) -> None:
        """Replace the whole file at once."""
        kept = [{"torn": text} for text in lines.torn] + lines.records
        write_text(self.path, "".join(to_json(record) + "\n" for record in kept))

    def _mend(self) -> None:
        """Make the file end with a newline, so that the next record starts a line of its own."""
        if self.path.is_file() and self.path.read_bytes()[-1:] not in (b"", b"\n"):
            self.rewrite(self.read())


class MetricsLog(JsonLines):
    """`metrics.jsonl` of a run: what the training loop writes its metrics to."""

    def write(self, step: int, metrics: Mapping[str, Any]) -> None:
        """Record the metrics of a step; without metrics nothing is written."""
        if metrics:
            self.append({"step": step, **metrics})

    def rewind(self, step: int) -> None:
        """Forget the records after a step, which is about to be repeated."""
        lines = self.read()
        kept = [record for record in lines.records if int(record.get("step", 0)) <= step]
        if len(kept) < len(lines.records) or lines.torn:
            self.rewrite(Lines(kept, lines.torn))
