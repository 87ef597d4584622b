"""Where a result came from, without telling who made it."""

from __future__ import annotations

import getpass
import json
import socket
import subprocess
from pathlib import Path

import difftuning
from difftuning.config.provenance import commit, provenance, versions


def test_it_names_versions_and_machine() -> None:
    found = provenance()
    assert {"python", "difftuning", "torch", "diffusers"} <= versions().keys()
    assert found["machine"]["cores"] >= 1
    assert found["machine"]["memory_gib"] > 0
    assert found["machine"]["device"]


def test_it_tells_no_path_user_or_host() -> None:
    text = json.dumps(provenance())
    assert str(Path.home()) not in text.replace('"/"', "") or Path.home() == Path("/")
    assert f'"{socket.gethostname()}"' not in text
    assert f'"{getpass.getuser()}"' not in text
    assert "/home/" not in text


def test_the_commit_is_that_of_the_source_tree() -> None:
    source = Path(difftuning.__file__).parent
    head = subprocess.run(["git", "-C", source, "rev-parse", "HEAD"], capture_output=True, text=True, check=False)
    if head.returncode:
        assert commit() is None
    else:
        assert commit() in (head.stdout.strip(), head.stdout.strip() + "-dirty")
