"""Being asked to stop: SIGTERM, which schedulers send some seconds before they take the machine, is read after a step.

A launcher of several processes passes it on to them, and often the scheduler has told them already: there it may come twice.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from difftuning.processes import launched


@contextmanager
def stop_request() -> Iterator[Callable[[], bool]]:
    """Within it the first SIGTERM only makes the answer true; a second one ends a process that runs alone, as without it.

    Outside the main thread, where Python does not handle signals, the answer stays false.
    """
    asked = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield asked.is_set
        return

    def first(number: int, frame: FrameType | None) -> None:
        asked.set()
        if not launched():
            signal.signal(signal.SIGTERM, before)

    before = signal.signal(signal.SIGTERM, first) or signal.SIG_DFL
    try:
        yield asked.is_set
    finally:
        signal.signal(signal.SIGTERM, before)
