"""A bank that is killed and started again, at any moment, ends with the same bytes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

# A process of its own imports everything once. Each attempt is a child that it forks and kills after a random time, so
# kills fall into drawing, writing and renaming alike, into the first build and into its extension.
SCRIPT = """
import os, random, signal, sys, time, traceback
from pathlib import Path

import torch
from tiny import tiny_dit
from difftuning.backbones.solvers import make_scheduler
from difftuning.bank.generate import BankConfig, build, extend

torch.set_num_threads(1)
model, folder = tiny_dit(), Path(sys.argv[1])
config = BankConfig(count=21, steps=2, batch_size=2, shard_size=4)


def at_once():
    build(model, make_scheduler, folder / "whole", config)


def killed():
    if not (folder / "killed" / "card.json").exists():
        build(model, make_scheduler, folder / "killed", config.model_copy(update={"count": 10}))
    extend(model, make_scheduler, folder / "killed", 21)


def run(task, delay=None):
    "In a child, killed `delay` seconds after it began; True when it got to the end before."
    child = os.fork()
    if child == 0:
        try:
            task()
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    if delay is not None:
        time.sleep(delay)
        os.kill(child, signal.SIGKILL)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert code in (0, -signal.SIGKILL), code
    return code == 0


begin = time.monotonic()
assert run(at_once)
whole = time.monotonic() - begin
delays, kills = random.Random(0), 0
# A shard is about a sixth of the work, so most attempts finish one or two and some none. On a machine that has become
# slower since `whole` was timed the attempts grow until they finish some.
while not run(killed, delays.uniform(0.0, 0.4) * whole * (1 + kills / 10)):
    kills += 1
    assert kills < 200
print(kills)
"""


def contents(folder: Path) -> dict[str, bytes]:
    """Every file of a folder."""
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def test_killed_at_many_moments_it_ends_with_the_same_bytes(tmp_path: Path) -> None:
    paths = {"PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", SCRIPT, str(tmp_path)]
    script = subprocess.run(command, capture_output=True, text=True, env=os.environ | paths)
    assert script.returncode == 0, script.stderr
    assert int(script.stdout) >= 2
    assert contents(tmp_path / "killed") == contents(tmp_path / "whole")
