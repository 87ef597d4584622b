"""One process at a time: a lock that goes when its holder does, whatever ends it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from difftuning.errors import BusyError, StorageError


@contextmanager
def alone(path: Path, wait: bool = True, waiting: Callable[[], None] = lambda: None) -> Iterator[None]:
    """Hold the lock of this name; the same process may hold several names, but not one name twice.

    Args:
        path: the lock file, made with its folder where it is missing; it holds nothing.
        wait: until whoever holds it lets go.
        waiting: called once before that, where another process holds it.

    Raises:
        BusyError: another process holds it, without `wait`.
        StorageError: it cannot be made.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # A lock that is only a file would stay when its holder dies on another machine.
        lock = FileLock(path, fallback_to_soft=False)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            if not wait:
                raise
            waiting()
            lock.acquire()
    except Timeout as reason:
        raise BusyError(f"another process is at work behind {path}; wait until it has ended") from reason
    except (OSError, NotImplementedError) as reason:  # the second where a file system has no locks
        raise StorageError(
            f"the lock {path} cannot be taken ({reason}); use a folder on a disk that can be written to"
        ) from reason
    try:
        yield
    finally:
        lock.release()
