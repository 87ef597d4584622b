"""Write docs/reference/recipe.md from the schema of a recipe.

python docs/make_reference.py
"""

from __future__ import annotations

from itertools import groupby
from pathlib import Path

from difftuning.config.reference import Key, reference
from difftuning.workflows.recipe import Recipe

PAGE = Path(__file__).parent / "reference" / "recipe.md"
HEAD = """# The keys of a recipe

A recipe is a YAML or TOML file; on the command line `key.path=value` replaces a value. `difftuning recipes keys [KEY]` says the
same as this page, `difftuning train RECIPE --dry-run` prints a recipe with all its values and checks it. A key with a kind in
brackets belongs to that kind of its section; where the recipe has no such section, it chooses the kind if no other kind knows it:
`coefficients.psi.tau=0` makes `coefficients.psi.kind` power.

This page is written by `python docs/make_reference.py` from the schema.
"""


def page() -> str:
    """The page as Markdown."""
    parts = [HEAD]
    for section, keys in groupby(sorted(reference(Recipe), key=_section), _section):
        parts.append(
            f"\n## {f'`{section}`' if section else 'The run'}\n\n| key | values | default | meaning |\n|---|---|---|---|\n"
        )
        parts.extend(_line(key) for key in keys)
    return "".join(parts)


def _section(key: Key) -> str:
    """The part of a recipe that a key stands in; empty at the top."""
    section, dot, _ = key.path.partition(".")
    return section if dot else ""


def _line(key: Key) -> str:
    default = "must be given" if key.default is None else f"`{key.default}`"
    cells = [f"`{key.path}`" + (f" ({key.of})" if key.of else ""), key.values, default, key.about]
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |\n"


if __name__ == "__main__":
    PAGE.parent.mkdir(exist_ok=True)
    PAGE.write_text(page(), encoding="utf-8")
