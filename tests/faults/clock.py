"""A clock that jumps by years at each look, for whole processes: a library in C that is loaded before the system's own."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

# Only the clock of dates jumps, as it does when a machine's time is set; the monotonic one that waits are measured by goes on.
SOURCE = r"""
#define _GNU_SOURCE
#include <stdlib.h>
#include <sys/time.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static time_t jumped(time_t now) { return now + (random() % 63072001) - 31536000 * (1 + random() % 2); }

int clock_gettime(clockid_t clock, struct timespec *now) {
    int code = syscall(SYS_clock_gettime, clock, now);
    if (code == 0 && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)) now->tv_sec = jumped(now->tv_sec);
    return code;
}

int gettimeofday(struct timeval *now, void *zone) {
    struct timespec found;
    clock_gettime(CLOCK_REALTIME, &found);
    now->tv_sec = found.tv_sec;
    now->tv_usec = found.tv_nsec / 1000;
    return 0;
}

time_t time(time_t *into) {
    struct timespec found;
    clock_gettime(CLOCK_REALTIME, &found);
    if (into) *into = found.tv_sec;
    return found.tv_sec;
}
"""


def jumping_clock(folder: Path) -> dict[str, str]:
    """The environment of a process whose clock jumps.

    Raises:
        OSError: there is no C compiler here, or it fails.
    """
    compiler = shutil.which("cc")
    if compiler is None:
        raise OSError("there is no C compiler `cc`")
    source, library = folder / "clock.c", folder / "clock.so"
    source.write_text(SOURCE)
    done = subprocess.run([compiler, "-shared", "-fPIC", "-o", library, source], capture_output=True, text=True)
    if done.returncode:
        raise OSError(done.stderr)
    return {"LD_PRELOAD": str(library)}
