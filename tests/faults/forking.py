"""Verbs in processes of their own that cost milliseconds: children of one process that has everything imported.

What a child does is what `python -m difftuning` does after its imports. The process that forks must never have trained itself.
"""

from __future__ import annotations

import os
import sys
import time
import traceback
from collections.abc import Callable, Mapping
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


def command(*arguments: str, log: Path, environment: Mapping[str, str] | None = None) -> int:
    """Start `python -m difftuning`, as a user does, with its output in a file; returns its process id."""
    given = [sys.executable, "-m", "difftuning", *arguments, "--quiet"]
    flags = os.O_CREAT | os.O_WRONLY | os.O_TRUNC
    output = [(os.POSIX_SPAWN_OPEN, 1, str(log), flags, 0o600), (os.POSIX_SPAWN_DUP2, 1, 2)]
    return os.posix_spawn(sys.executable, given, {**os.environ, **(environment or {})}, file_actions=output)


def end(child: int) -> int:
    """Wait for a child: its exit code, or minus the signal that ended it."""
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def kill(child: int, delay: float, signal: int) -> int:
    """Send a child a signal after so many seconds, should it still be there: its exit code, or minus the signal that ended it."""
    until = time.monotonic() + delay
    while time.monotonic() < until:
        if os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None:
            return end(child)
        time.sleep(min(0.01, max(0.0, until - time.monotonic())))
    os.kill(child, signal)
    return end(child)


def run(task: Callable[[], int], log: Path, delay: float | None = None, signal: int = 0) -> int:
    """A child from beginning to end, or until it gets a signal after so many seconds."""
    child = start(task, log)
    return end(child) if delay is None else kill(child, delay, signal)
