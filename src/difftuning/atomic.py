"""Files and folders that are whole or not there, whatever happens: written aside, synced, renamed, and their folder synced."""

from __future__ import annotations

import hashlib
import os
import shutil
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from difftuning.errors import StorageError

ASIDE = ".writing-"
"""How the name of what is being written begins; after a kill it may be left over."""
MACHINE = hashlib.sha256(socket.gethostname().encode()).hexdigest()[:8]
"""Tells the processes of this machine, or container, from those of others that write to the same disk."""


def sync(path: Path) -> None:
    """Return when a file's content, or the names in a folder, are on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def aside_of(path: Path) -> Path:
    """Where this process writes what is to take a path's place."""
    return path.with_name(f"{ASIDE}{os.getpid()}-{MACHINE}-{path.name}")


def is_left_over(path: Path) -> bool:
    """Whether something that was being written will never be finished, because its writer is no more.

    What was begun on another machine, or in another container, is never taken for it: nothing tells whether that is at it.
    """
    import psutil  # type: ignore[import-untyped]  # only for what a kill left; every command reads this file

    writer, machine, *_ = f"{path.name.removeprefix(ASIDE)}--".split("-")
    if not (writer.isascii() and writer.isdecimal() and len(writer) < 10):
        return True
    if machine != MACHINE:
        return False
    return int(writer) == os.getpid() or not psutil.pid_exists(int(writer))


def remove_left_over(folder: Path) -> None:
    """Remove what dead processes left half-written in a folder; this process must not be writing there."""
    for path in folder.glob(f"{ASIDE}*"):
        if is_left_over(path):
            _remove(path)


@contextmanager
def storing(path: Path) -> Iterator[None]:
    """Within it, what a disk refuses is an error that says what and how to mend it.

    Raises:
        StorageError: the disk refuses.
    """
    try:
        yield
    except Exception as reason:
        # safetensors wraps the system's errors in a kind of its own, of which only the text says that it was the disk.
        if isinstance(reason, OSError) or (type(reason).__name__ == "SafetensorError" and "I/O error" in str(reason)):
            raise StorageError(
                f"{path} could not be written ({reason}); what was there before is untouched: mend the disk and run the same "
                "command again"
            ) from reason
        raise


def write_bytes(path: Path, content: bytes) -> None:
    """Replace a file at once, whatever was there; its folder is made when needed.

    Raises:
        StorageError: the disk refuses; the old file is untouched then, and nothing half-written is left.
    """
    aside = aside_of(path)
    with storing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with aside.open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            aside.replace(path)
        finally:
            aside.unlink(missing_ok=True)
        sync(path.parent)


def write_folder(folder: Path, write: Callable[[Path], None]) -> None:
    """Replace a folder at once, whatever was there; the folder that holds it is made when needed.

    A kill between the two renames leaves no folder, never a torn one: both the old and the new one lie beside it then.

    Args:
        folder: to be replaced.
        write: fills the folder given to it, which is made already.

    Raises:
        StorageError: the disk refuses; the old folder is untouched then, and nothing half-written is left.
    """
    aside = aside_of(folder)
    old = aside.with_name(f"{aside.name}-old")
    with storing(folder):
        try:
            _remove(aside)
            aside.mkdir(parents=True)
            write(aside)
            for path in (*aside.rglob("*"), aside):
                sync(path)
            if folder.exists():
                folder.rename(old)
            aside.rename(folder)
            sync(folder.parent)
        finally:
            _remove(aside)
            if old.exists() and not folder.exists():
                old.rename(folder)
            _remove(old)


def remove_folder(folder: Path) -> None:
    """Remove a folder at once: it is whole until it is gone, but for its name."""
    aside = aside_of(folder)
    folder.rename(aside)
    _remove(aside)


def _remove(path: Path) -> None:
    """A file or a folder, if it is there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
