"""The recipes that ship with difftuning, by name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from difftuning.config.loading import SUFFIXES, load_recipe
from difftuning.errors import ConfigError, did_you_mean

_PACKAGE = Path(__file__).parent.parent
FOLDERS = (_PACKAGE / "recipes", _PACKAGE.parent.parent / "recipes")
"""Where shipped recipes lie: inside an installed package, or at the top of a checkout."""


def _shipped() -> dict[str, Path]:
    for folder in FOLDERS:
        found = {path.relative_to(folder).with_suffix("").as_posix(): path for path in sorted(folder.rglob("*.yaml"))}
        if found:
            return found
    return {}


def locate(path_or_name: str) -> Path:
    """The file of a recipe.

    Args:
        path_or_name: a file of the user's, or the name of a shipped recipe.

    Raises:
        ConfigError: it is neither.
    """
    path, shipped = Path(path_or_name).expanduser(), _shipped()
    if path.is_file():
        return path
    if path_or_name in shipped:
        return shipped[path_or_name]
    if path.is_dir():
        raise ConfigError(f"{path_or_name!r} is a folder; name a recipe file in it, such as {path / 'recipe.yaml'}")
    beside = [str(path.with_name(other.name)) for other in path.parent.glob("*") if other.suffix in SUFFIXES]
    hint = did_you_mean(path_or_name, [*shipped, *beside])
    raise ConfigError(f"there is no recipe {path_or_name!r}, neither as a file nor by name{hint}")


def listing() -> dict[str, Any]:
    """The shipped recipes: `{"recipes": [{"name", "about"}, ...]}`, `about` being a recipe's first comment line."""
    recipes = []
    for name, path in _shipped().items():
        first = path.read_text(encoding="utf-8").partition("\n")[0]
        recipes.append({"name": name, "about": first.removeprefix("#").strip() if first.startswith("#") else ""})
    return {"recipes": recipes}


def show(name: str) -> dict[str, Any]:
    """A recipe as it stands in its file: `{"name", "text", "recipe"}`.

    Raises:
        ConfigError: there is no such recipe, or it cannot be read.
    """
    path = locate(name)
    return {"name": name, "text": path.read_text(encoding="utf-8"), "recipe": load_recipe(path)}
