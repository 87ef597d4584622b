"""What is released holds all that it needs: built as a wheel, unpacked alone, and asked."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ZOO_MB = 25

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module", params=["of the tree", "of the sdist"])
def wheel(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out, source = tmp_path_factory.mktemp("wheel"), ROOT
    if request.param == "of the sdist":
        packed = tmp_path_factory.mktemp("sdist")
        command = [sys.executable, "-m", "build", "--sdist", "--outdir", str(packed), str(ROOT)]
        subprocess.run(command, check=True, capture_output=True)
        (source,) = packed.glob("*.tar.gz")
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(out), str(source)]
    subprocess.run(command, check=True, capture_output=True)
    (made,) = out.glob("*.whl")
    return made


def test_it_holds_the_zoo_the_recipes_the_page_and_the_licence(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as file:
        sizes = {one.filename: one.file_size for one in file.infolist()}
    names = ("py.typed", "reporting/page.html.j2", "reporting/page.css", "reporting/page.js", "recipes/own-images.yaml")
    assert {f"difftuning/{name}" for name in names} <= set(sizes)
    assert any(name.endswith("licenses/LICENSE") for name in sizes)
    zoo = sum(size for name, size in sizes.items() if name.startswith("difftuning/zoo/"))
    assert 1e6 < zoo < ZOO_MB * 1e6
    assert not [name for name in sizes if name.startswith(("tests", "docs", "benchmarks"))]


def test_it_works_without_the_checkout(wheel: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(wheel) as file:
        file.extractall(tmp_path / "alone")
    environment = {**os.environ, "PYTHONPATH": str(tmp_path / "alone")}

    def ask(*words: str) -> str:
        command = [sys.executable, "-m", "difftuning", *words]
        done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=environment, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    where = subprocess.run(
        [sys.executable, "-c", "import difftuning; print(difftuning.__file__)"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=environment,
        check=True,
    )
    assert where.stdout.startswith(str(tmp_path))
    assert "own-images" in ask("recipes", "list")
    assert '"family": "DiT"' in ask("info", "dit-icons-32", "--json")
