"""A folder that tells whether its files are still what was written: `SHA256SUMS`, which `sha256sum -c` reads too."""

from __future__ import annotations

import hashlib
from pathlib import Path

from difftuning.errors import CheckpointError

SUMS = "SHA256SUMS"


def write_sums(folder: Path) -> None:
    """List the files of a folder with their digests, in the format of sha256sum."""
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != SUMS)
    lines = [f"{_file_digest(path)}  {path.relative_to(folder).as_posix()}\n" for path in files]
    (folder / SUMS).write_text("".join(lines), encoding="utf-8")


def check_sums(folder: Path, mend: str) -> None:
    """See that all files that a folder lists are there and are what was written; without a list nothing is checked.

    Raises:
        CheckpointError: a file is missing or changed.
    """
    listed = folder / SUMS
    if not listed.is_file():
        return
    try:
        lines = listed.read_text(encoding="utf-8").splitlines()
        wrong = [name for digest, _, name in (line.partition("  ") for line in lines) if _changed(folder, name, digest)]
    except (OSError, ValueError) as reason:
        raise CheckpointError(f"{listed} cannot be read ({reason}); {mend}") from reason
    if wrong or not lines:
        raise CheckpointError(f"{folder}: {', '.join(wrong) or SUMS} is missing or not what was written; {mend}")


def _changed(folder: Path, name: str, digest: str) -> bool:
    path = folder / name
    inside = path.resolve().is_relative_to(folder.resolve())
    return not inside or not path.is_file() or _file_digest(path) != digest


def _file_digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
