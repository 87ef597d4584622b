"""Real processes that talk through gloo, started with what a launcher tells them and without its own seconds."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Sequence


def start(arguments: Sequence[str], count: int = 2, **environment: str) -> list[subprocess.Popen[str]]:
    """`python ARGUMENTS` in so many processes that know of each other."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    told = {
        **os.environ,
        "ACCELERATE_USE_CPU": "true",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": port,
        "WORLD_SIZE": str(count),
        "LOCAL_WORLD_SIZE": str(count),
        "OMP_NUM_THREADS": "1",
        **environment,
    }
    ranks = [{"RANK": str(rank), "LOCAL_RANK": str(rank)} for rank in range(count)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return [subprocess.Popen([sys.executable, *arguments], env=told | rank, **pipes) for rank in ranks]  # type: ignore[call-overload]


def finish(processes: Sequence[subprocess.Popen[str]], seconds: float = 240) -> list[tuple[int, str, str]]:
    """Exit code, stdout and stderr of each; one that does not end in time is killed, and fails the test."""
    try:
        return [(process.wait(seconds), *process.communicate()) for process in processes]
    finally:
        for process in processes:
            process.kill()


def run(
    arguments: Sequence[str], count: int = 2, seconds: float = 240, **environment: str
) -> list[tuple[int, str, str]]:
    """`start` and `finish`."""
    return finish(start(arguments, count, **environment), seconds)
