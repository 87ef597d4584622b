"""Being asked to stop: SIGTERM, which schedulers send some seconds before they take the machine, is read after a step."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def stop_request() -> Iterator[Callable[[], bool]]:
    """Within it the first SIGTERM only makes the answer true; a second one ends the process, as without it.

    Outside the main thread, where Python does not handle signals, the answer stays false.
    """
    asked = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield asked.is_set
        return

    def first(number: int, frame: FrameType | None) -> None:
        asked.set()
        signal.signal(signal.SIGTERM, before)

    before = signal.signal(signal.SIGTERM, first) or signal.SIG_DFL
    try:
        yield asked.is_set
    finally:
        signal.signal(signal.SIGTERM, before)
