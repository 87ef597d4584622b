"""Files that are either whole or not there, whatever happens: written aside, synced, renamed, and their folder synced."""

from __future__ import annotations

import os
from pathlib import Path

ASIDE = ".writing-"
"""How the name of a file that is being written begins; after a kill such a file may be left over."""


def sync(path: Path) -> None:
    """Return when a file's content, or the names in a folder, are on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def is_left_over(path: Path) -> bool:
    """Whether a file that was being written will never be finished, because its writer is no more."""
    import psutil  # type: ignore[import-untyped]  # only for what a kill left; every command reads this file

    writer = path.name.removeprefix(ASIDE).partition("-")[0]
    return not writer.isdecimal() or int(writer) == os.getpid() or not psutil.pid_exists(int(writer))


def write_bytes(path: Path, content: bytes) -> None:
    """Replace a file at once, whatever was there; its folder must exist.

    Raises:
        OSError: the disk refuses; the old file is untouched then, and nothing half-written is left.
    """
    aside = path.with_name(f"{ASIDE}{os.getpid()}-{path.name}")
    try:
        with aside.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        aside.replace(path)
    finally:
        aside.unlink(missing_ok=True)
    sync(path.parent)
