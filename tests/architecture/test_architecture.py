"""What keeps the tree as it is meant: sizes, arrows, and things that are never done."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCES = sorted((ROOT / "src").rglob("*.py"))


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.name)
def test_one_file_one_idea(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= 300, f"{path} has grown; which second idea has moved in?"


def test_arrows_point_down() -> None:
    linter = Path(sys.executable).with_name("lint-imports")
    result = subprocess.run([linter], cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.name)
def test_nothing_is_executed_from_files_and_nothing_is_printed(path: Path) -> None:
    names = {"pickle", "dill", "cloudpickle", "joblib"}
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import | ast.ImportFrom):
            found = {alias.name for alias in node.names} | {getattr(node, "module", "") or ""}
            # The exception by which torch refuses a file is the one thing of pickle that may be named.
            found = set() if found == {"pickle", "UnpicklingError"} else found
            assert not names & found, path
        if isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            keywords = {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords}
            assert called not in ("eval", "exec"), path
            assert called != "torch.load" or keywords.get("weights_only") == "True", path
            assert keywords.get("trust_remote_code", "False") == "False", path
            if called == "print":
                assert "cli" in path.parts, f"{path} prints; only the command line does"


def test_no_helper_drawer() -> None:
    assert not [path for path in SOURCES if re.fullmatch(r"(utils?|helpers?|common|misc)\.py", path.name)]


def test_the_two_commands_of_the_readme_exist() -> None:
    readme, makefile = (ROOT / "README.md").read_text(), (ROOT / "Makefile").read_text()
    for command in ("demo", "test"):
        assert f"make {command}" in readme[:1500]
        assert re.search(rf"^{command}:", makefile, re.MULTILINE)
    assert "make test" in (ROOT / ".ci" / "run").read_text()
