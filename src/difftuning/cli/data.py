"""The commands that show the targets that are known by name."""

from __future__ import annotations

from typing import Annotated

import typer

from difftuning.cli.display import plain_table
from difftuning.cli.running import SETTINGS, Json, perform
from difftuning.json_files import to_json

data_app = typer.Typer(
    help="The targets that are known by name.", epilog="Example: difftuning data show cub200", context_settings=SETTINGS
)


@data_app.command("list", epilog="Example: difftuning data list")
def data_list(json: Json = False) -> None:
    """List the known targets: how many images and classes, on what terms, where they are looked for, whether they are there."""
    from difftuning.workflows.data import listing

    found = listing()
    if json:
        print(to_json(found, indent=1))
        return
    rows = [
        (
            one["name"],
            "yes" if one["there"] else "no",
            one["images"],
            one["classes"],
            " or ".join(one["looked_for"]) or "comes with difftuning",
            one["terms"],
        )
        for one in found["targets"]
    ]
    print(plain_table(("name", "there", "images", "classes", "looked for", "terms"), rows))


@data_app.command("show", epilog="Example: difftuning data show cub200")
def data_show(name: Annotated[str, typer.Argument(metavar="NAME", help="A known target.")], json: Json = False) -> None:
    """Show a known target: its source, terms, expected size, checksum, and where it is."""
    from difftuning.workflows.data import show

    perform(lambda display: show(name), json, quiet=True)
