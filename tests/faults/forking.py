"""Verbs in processes of their own that cost milliseconds: children of one process that has everything imported.

What a child does is what `python -m difftuning` does after its imports. The process that forks must never have trained itself.
"""

from __future__ import annotations

import os
import time
import traceback
from collections.abc import Callable
from pathlib import Path

# Everything that a verb imports, before the first fork.
from difftuning.cli.main import guarded, main

CRASHED = 99
"""The exit code of a child in which Python itself failed."""


def verb(*arguments: str) -> Callable[[], int]:
    """A command line, to be run in a child."""
    return lambda: main([*arguments, "--quiet"])


def work(task: Callable[[], object]) -> Callable[[], int]:
    """A workflow, to be run in a child as the command line runs it."""
    return lambda: guarded(task, debug=True)


def start(task: Callable[[], int], log: Path) -> int:
    """Fork a child that runs a task with its output in a file; returns its process id."""
    child = os.fork()
    if child:
        return child
    code = CRASHED
    try:
        file = os.open(log, os.O_CREAT | os.O_WRONLY | os.O_TRUNC)
        os.dup2(file, 1)
        os.dup2(file, 2)
        code = task()
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)


def end(child: int) -> int:
    """Wait for a child: its exit code, or minus the signal that ended it."""
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def run(task: Callable[[], int], log: Path, delay: float | None = None, signal: int = 0) -> int:
    """A child from beginning to end, or until it gets a signal after so many seconds."""
    child = start(task, log)
    if delay is not None:
        time.sleep(delay)
        os.kill(child, signal)
    return end(child)
