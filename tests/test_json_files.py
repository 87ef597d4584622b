"""Strict JSON, whole-file writes, and a log that survives being cut short."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from difftuning.errors import CheckpointError
from difftuning.json_files import JsonLines, MetricsLog, read_json, write_json


def test_what_json_cannot_hold_becomes_null(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"a": [float("nan"), float("inf"), 1.5], "b": Path("x")})
    assert read_json(tmp_path / "a.json") == {"a": [None, None, 1.5], "b": "x"}


def test_a_write_that_fails_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    write_json(path, {"a": 1})
    with pytest.raises(TypeError, match="object"):
        write_json(path, {"a": object()})
    assert read_json(path) == {"a": 1}


def test_a_killed_writer_leaves_a_whole_file(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    code = f"""
from pathlib import Path
from difftuning.json_files import write_json
print("ready", flush=True)
for i in range(10**9):
    write_json(Path({str(path)!r}), {{"i": i, "fill": ["x" * 100] * 200}})
    if i == 3:
        print("going", flush=True)
"""
    writer = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert writer.stdout is not None
    for word in ("ready", "going"):
        assert writer.stdout.readline().strip() == word
    writer.send_signal(signal.SIGKILL)
    writer.communicate()
    assert len(read_json(path)["fill"]) == 200


@given(
    st.lists(st.dictionaries(st.text(min_size=1), st.integers() | st.text() | st.booleans(), min_size=2), max_size=5),
    st.data(),
)
def test_cut_anywhere_a_log_keeps_all_whole_records_and_reports_the_rest(
    tmp_path_factory: pytest.TempPathFactory, records: list[dict[str, object]], data: st.DataObject
) -> None:
    log = JsonLines(tmp_path_factory.mktemp("log") / "metrics.jsonl")
    ends = [0]
    for record in records:
        log.append(record)
        ends.append(log.path.stat().st_size)
    cut = data.draw(st.integers(0, ends[-1]))
    if records:
        os.truncate(log.path, cut)
    # A record whose newline alone is missing is whole.
    whole = sum(cut >= end - 1 for end in ends[1:])
    lines = log.read()
    assert lines.records == records[:whole]
    assert len(lines.torn) == (0 if cut in ends or cut + 1 in ends[1:] else 1)

    after = JsonLines(log.path)
    after.append({"next": 1, "line": 2})
    assert after.read().records == [*records[:whole], {"next": 1, "line": 2}]
    assert after.read().torn == lines.torn


def test_a_bad_line_in_the_middle_is_an_error_with_its_number(tmp_path: Path) -> None:
    (tmp_path / "m.jsonl").write_text('{"step": 1}\nnonsense\n{"step": 2}\n')
    with pytest.raises(CheckpointError, match="line 2"):
        JsonLines(tmp_path / "m.jsonl").read()


def test_rewinding_forgets_later_steps_and_the_rest_goes_on(tmp_path: Path) -> None:
    log = MetricsLog(tmp_path / "metrics.jsonl")
    for step in (10, 20, 30):
        log.write(step, {"loss": step / 100})
    log.write(40, {})
    log.rewind(20)
    log.write(25, {"loss": float("nan")})
    assert log.read().records == [{"step": 10, "loss": 0.1}, {"step": 20, "loss": 0.2}, {"step": 25, "loss": None}]
    assert all(json.loads(line) for line in log.path.read_text().splitlines())
