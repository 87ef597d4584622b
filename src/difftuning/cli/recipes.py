"""The commands that show recipes."""

from __future__ import annotations

import textwrap
from typing import Annotated

import typer

from difftuning.cli.display import plain_table
from difftuning.cli.running import SETTINGS, Json, RecipeName
from difftuning.json_files import to_json

recipes_app = typer.Typer(
    help="The recipes that ship with difftuning.",
    epilog="Example: difftuning recipes show own-images > recipe.yaml",
    context_settings=SETTINGS,
)


@recipes_app.command("list", epilog="Example: difftuning recipes list")
def recipes_list(json: Json = False) -> None:
    """List the shipped recipes."""
    from difftuning.workflows.recipes import listing

    found = listing()
    print(
        to_json(found, indent=1)
        if json
        else plain_table(("name", "about"), [(one["name"], one["about"]) for one in found["recipes"]])
    )


@recipes_app.command("show", epilog="Example: difftuning recipes show own-images > recipe.yaml")
def recipes_show(name: RecipeName, json: Json = False) -> None:
    """Print a recipe, ready to be copied into a file and changed."""
    from difftuning.workflows.recipes import show

    found = show(name)
    print(to_json(found, indent=1) if json else found["text"].rstrip("\n"))


@recipes_app.command("diff", epilog="Example: difftuning recipes diff runs/plain/recipe.yaml runs/mine/recipe.yaml")
def recipes_diff(
    one: RecipeName,
    other: Annotated[str, typer.Argument(metavar="OTHER", help="The recipe that it is compared with.")],
    json: Json = False,
) -> None:
    """Say which keys of two recipes differ, with all the values that they do not set."""
    from difftuning.workflows.recipe_keys import diff

    found = diff(one, other)
    if json:
        print(to_json(found, indent=1))
        return
    rows = [(key["key"], str(key["one"]), str(key["other"])) for key in found["differences"]]
    print(plain_table(("key", one, other), rows) if rows else f"{one} and {other} are the same recipe")


@recipes_app.command("keys", epilog="Example: difftuning recipes keys optim")
def recipes_keys(
    key: Annotated[str, typer.Argument(metavar="[KEY]", help="A key or a section alone, such as optim.")] = "",
    json: Json = False,
) -> None:
    """Say what every key of a recipe may be, what it is when it is not given, and what it means."""
    from difftuning.workflows.recipe_keys import keys

    found = keys(key)
    if json:
        print(to_json(found, indent=1))
        return
    for one in found["keys"]:
        kind = f" (kind {one['of']})" if one["of"] else ""
        default = "no default" if one["default"] is None else f"default {one['default'] or 'empty'}"
        print(f"{one['path']}{kind}: {one['values']}; {default}")
        print(textwrap.fill(one["about"], 100, initial_indent="    ", subsequent_indent="    "))
