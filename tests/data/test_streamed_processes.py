"""Several processes share the reading of a stream; where their machines share no cache, each has all of it in the end."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

import launching
from data.test_streamed import EACH, FILES, opened, shard

SCRIPT = """
import os, sys
from pathlib import Path
sys.path.insert(0, "tests")
from data.test_latents import Pooling
from data.test_streamed import opened
codec = Pooling()
target = opened(Path(sys.argv[1]), Path(os.environ.get("CACHE_OF_" + os.environ["RANK"], sys.argv[2])), codec)
print(target.train.digest, len(target.train), len(target.heldout), codec.calls, target.train.report)
"""


@pytest.mark.slow
@pytest.mark.parametrize("shared", [True, False], ids=["one cache", "a cache each"])
def test_every_process_has_the_whole_set(shared: bool, tmp_path: Path) -> None:
    folder = tmp_path / "shards"
    folder.mkdir()
    for file in range(FILES):
        shard(folder / f"set-{file:03d}.tar", range(file * EACH, (file + 1) * EACH))
    alone = opened(folder, tmp_path / "alone").train
    # Two machines with one process each, as far as a process can tell.
    own = {} if shared else {"LOCAL_WORLD_SIZE": "1", "CACHE_OF_1": str(tmp_path / "other")}
    script = tmp_path / "open.py"
    script.write_text(SCRIPT)
    found = launching.run([str(script), str(folder), str(tmp_path / "cache")], PYTHONPATH=":".join(sys.path), **own)
    assert [code for code, _, _ in found] == [0, 0], found
    told = [out.split(maxsplit=4) for _, out, _ in found]
    assert {one[0] for one in told} == {alone.digest}
    assert {int(one[1]) for one in told} == {len(alone)}
    assert {int(one[1]) + int(one[2]) for one in told} == {FILES * EACH}
    calls = [int(one[3]) for one in told]
    assert all(calls)
    again = launching.run([str(script), str(folder), str(tmp_path / "cache")], PYTHONPATH=":".join(sys.path), **own)
    assert [(code, out.split(maxsplit=4)[3]) for code, out, _ in again] == [(0, "0"), (0, "0")], again
