"""The commands of the knowledge bank."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from difftuning.cli.running import SETTINGS, Json, Overrides, Quiet, RecipeName, perform

BankFolder = Annotated[Path, typer.Argument(metavar="BANK", help="The folder of a bank.")]

bank_app = typer.Typer(
    help="The knowledge bank: samples drawn once from the pretrained model.",
    epilog="Example: difftuning bank verify runs/mine/bank",
    context_settings=SETTINGS,
)


@bank_app.command("build", epilog="Example: difftuning bank build recipe.yaml bank.count=2000")
def bank_build(recipe: RecipeName, overrides: Overrides = None, json: Json = False, quiet: Quiet = False) -> None:
    """Draw the bank of a recipe; an unfinished one is continued and ends with the same bytes."""
    from difftuning.workflows.bank import build as work
    from difftuning.workflows.recipe import load

    resolved = load(recipe, overrides or [])
    perform(lambda display: work(resolved, display).model_dump(mode="json"), json, quiet)


@bank_app.command("extend", epilog="Example: difftuning bank extend runs/mine/bank 4000")
def bank_extend(
    folder: BankFolder,
    count: Annotated[int, typer.Argument(min=1, help="How many items the bank has in the end.")],
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Draw more items into a finished bank."""
    from difftuning.workflows.bank import extend as work

    perform(lambda display: work(folder, count, display).model_dump(mode="json"), json, quiet)


@bank_app.command("info", epilog="Example: difftuning bank info runs/mine/bank")
def bank_info(folder: BankFolder, json: Json = False) -> None:
    """Show the card of a bank."""
    from difftuning.workflows.bank import info as work

    perform(lambda display: work(folder), json, quiet=True)


@bank_app.command("verify", epilog="Example: difftuning bank verify runs/mine/bank")
def bank_verify(folder: BankFolder, json: Json = False, quiet: Quiet = False) -> None:
    """Read a whole bank and check digests, values, duplicates and labels; exit code 1 when something is wrong."""
    from difftuning.workflows.bank import verify as work

    result = perform(lambda display: work(folder, display), json, quiet)
    if not result["ok"]:
        raise typer.Exit(1)
