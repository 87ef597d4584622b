"""The commands: each reads its arguments, calls one workflow and prints what that returns.

Workflows are imported inside the commands, so that `--help` and typing errors answer at once.
"""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Callable, Mapping
from contextlib import redirect_stdout
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any

import typer

from difftuning.cli.display import make_display, plain_table
from difftuning.results import to_json
from difftuning.workflows.display import Display

_SETTINGS = {"help_option_names": ["-h", "--help"]}

app = typer.Typer(
    name="difftuning",
    help="Move a pretrained diffusion model to a new domain without letting it forget what still transfers.\n\n"
    "Start with `difftuning demo --quick`. `--debug`, anywhere on the line, shows the traceback of an error.",
    context_settings=_SETTINGS,
    pretty_exceptions_enable=False,
    add_completion=False,
)
bank_app = typer.Typer(
    help="The knowledge bank: samples drawn once from the pretrained model.", context_settings=_SETTINGS
)
recipes_app = typer.Typer(help="The recipes that ship with difftuning.", context_settings=_SETTINGS)

RecipeName = Annotated[str, typer.Argument(metavar="RECIPE", help="A recipe file, or the name of a shipped recipe.")]
Overrides = Annotated[
    list[str] | None, typer.Argument(metavar="[KEY.PATH=VALUE]...", help="Values to replace, such as optim.lr=1e-4.")
]
Run = Annotated[Path, typer.Argument(metavar="RUN", help="A run folder.")]
BankFolder = Annotated[Path, typer.Argument(metavar="BANK", help="The folder of a bank.")]
Json = Annotated[bool, typer.Option("--json", help="Print the result as one JSON object on stdout, and nothing else.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Show no progress.")]


def _run(work: Callable[[Display], Mapping[str, Any]], json: bool, quiet: bool) -> Mapping[str, Any]:
    """Do the work and print its result: JSON, or its plain entries a line each. Only results reach stdout."""
    result = _work(work, json or quiet)
    if json:
        print(to_json(result, indent=1))
    else:
        entries = _entries(result)
        width = max((len(name) for name, _ in entries), default=0)
        for name, value in entries:
            print(f"{name.ljust(width)}  {value}")
    return result


def _work(work: Callable[[Display], Mapping[str, Any]], silent: bool) -> Mapping[str, Any]:
    with redirect_stdout(sys.stderr):  # some libraries print
        return work(make_display(silent, sys.stderr))


def _entries(result: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    """What a person reads of a result: its single values under dotted names; lists of records are for `--json`."""
    found = []
    for name, value in result.items():
        if isinstance(value, Mapping):
            found += _entries(value, f"{prefix}{name}.")
        elif isinstance(value, list | tuple):
            if value and all(isinstance(item, str | int | float) for item in value):
                found.append((prefix + name, ", ".join(str(item) for item in value)))
        elif value is not None:
            found.append((prefix + name, str(value)))
    return found


def _version(asked: bool) -> None:
    if asked:
        print(version("difftuning"))
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and stop.")
    ] = False,
) -> None:
    """Options of difftuning itself; its help stands at the app."""


@app.command()
def demo(
    overrides: Overrides = None,
    out: Annotated[Path, typer.Option(help="The folder for its runs and its report.")] = Path("runs/demo"),
    quick: Annotated[bool, typer.Option("--quick", help="About 3 minutes instead of 15.")] = False,
    seed: Annotated[int, typer.Option(min=0, help="The seed of everything random.")] = 0,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Move the embedded model to a new domain twice, with and without Diff-Tuning, and report."""
    from difftuning.workflows.demo import demo as work

    _run(lambda display: work(out, quick, seed, overrides or [], display), json, quiet)


@app.command()
def train(
    recipe: RecipeName,
    overrides: Overrides = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check everything, print the resolved recipe and stop.")
    ] = False,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Train as a recipe says; a run folder that already holds the same recipe is continued."""
    from difftuning.config.loading import dump_recipe
    from difftuning.workflows.recipe import load

    resolved = load(recipe, overrides or [])
    from difftuning.workflows.train import check
    from difftuning.workflows.train import train as work

    if dry_run:
        values = resolved.model_dump(mode="json")
        print(to_json(values, indent=1) if json else dump_recipe(values), end="\n" if json else "")
        with redirect_stdout(sys.stderr):
            check(resolved, make_display(json or quiet, sys.stderr))
        return
    _run(lambda display: work(resolved, display), json, quiet)


@app.command()
def sample(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A run folder, or a model as a recipe names it.")],
    out: Annotated[Path | None, typer.Option(help="The folder for the images; RUN/samples/drawn without it.")] = None,
    count: Annotated[int, typer.Option(min=1, help="How many images.")] = 16,
    label: Annotated[
        list[str] | None, typer.Option(help="A class by name; may be given many times. All without it.")
    ] = None,
    steps: Annotated[int | None, typer.Option(min=1, help="Solver steps; the recipe's without it.")] = None,
    guidance: Annotated[
        float | None, typer.Option(min=0.0, help="Guidance scale, 1 is off; the recipe's without it.")
    ] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Of image i, with i; the recipe's without it.")] = None,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Draw images from a trained run, or from any model."""
    from difftuning.results import RunFolder
    from difftuning.workflows.sample import sample as work

    folder = RunFolder(run)
    # A model that is not a run of ours is an input, which is never written to.
    images = out or (folder.samples / "drawn" if folder.recipe.is_file() else Path("samples"))
    _run(lambda display: work(run, images, count, label, steps, guidance, seed, display), json, quiet)


@app.command()
def evaluate(run: Run, json: Json = False, quiet: Quiet = False) -> None:
    """Measure a run: distances, precision, recall, memorisation, held-out error, drift."""
    from difftuning.workflows.evaluate import evaluate as work

    _run(lambda display: work(run, display), json, quiet)


@app.command()
def diagnose(run: Run, json: Json = False, quiet: Quiet = False) -> None:
    """Measure the chain of forgetting of a run: held-out error by u, and the denoiser swap."""
    from difftuning.workflows.diagnose import diagnose as work

    _run(lambda display: work(run, display), json, quiet)


@app.command()
def study(
    name: Annotated[str, typer.Argument(metavar="NAME", help="A study, or all.")],
    out: Annotated[Path, typer.Option(help="Where its runs and banks lie; studies share them.")] = Path("runs/studies"),
    results: Annotated[Path | None, typer.Option(help="The folder of NAME.json; OUT/results without it.")] = None,
    pages: Annotated[Path | None, typer.Option(help="The folder of NAME.md; OUT/pages without it.")] = None,
    quick: Annotated[bool, typer.Option("--quick", help="The smallest form, which only shows that it works.")] = False,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Run an experiment of the paper, or one of ours, going on from the runs that are finished."""
    from difftuning.workflows.study import study as work

    _run(lambda display: work(name, out, results, pages, quick, display), json, quiet)


@app.command()
def report(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN...", help="One or more run folders.")],
    out: Annotated[Path | None, typer.Option(help="The HTML file; report.html of the first run without it.")] = None,
    json: Json = False,
) -> None:
    """Write one page with the tables and pictures of some runs."""
    from difftuning.results import RunFolder
    from difftuning.workflows.report import report as work

    page = out or RunFolder(runs[0]).report
    _run(lambda display: {"report": work(runs, page)}, json, quiet=True)


@app.command()
def info(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A run folder, or a model as a recipe names it.")],
    json: Json = False,
) -> None:
    """Show the state of a run (its step, the digests of weights, bank and recipe), or what a model is and knows."""
    from difftuning.workflows.info import info as work

    _run(lambda display: work(run), json, quiet=True)


@app.command()
def doctor(
    hub: Annotated[bool, typer.Option("--hub", help="Also try to reach the model hub.")] = False, json: Json = False
) -> None:
    """Check versions, devices, memory, disk and weights; exit code 1 when something is missing."""
    from difftuning.workflows.doctor import doctor as work

    result = _work(lambda display: work(hub), silent=True)
    if json:
        print(to_json(result, indent=1))
    else:
        columns = ("state", "name", "value", "mend")
        print(plain_table(columns, [[check[column] for column in columns] for check in result["checks"]]))
    if not result["ok"]:
        raise typer.Exit(1)


@bank_app.command("build")
def bank_build(recipe: RecipeName, overrides: Overrides = None, json: Json = False, quiet: Quiet = False) -> None:
    """Draw the bank of a recipe; an unfinished one is continued and ends with the same bytes."""
    from difftuning.workflows.bank import build as work
    from difftuning.workflows.recipe import load

    resolved = load(recipe, overrides or [])
    _run(lambda display: work(resolved, display).model_dump(mode="json"), json, quiet)


@bank_app.command("extend")
def bank_extend(
    folder: BankFolder,
    count: Annotated[int, typer.Argument(min=1, help="How many items the bank has in the end.")],
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Draw more items into a finished bank."""
    from difftuning.workflows.bank import extend as work

    _run(lambda display: work(folder, count, display).model_dump(mode="json"), json, quiet)


@bank_app.command("info")
def bank_info(folder: BankFolder, json: Json = False) -> None:
    """Show the card of a bank."""
    from difftuning.workflows.bank import info as work

    _run(lambda display: work(folder), json, quiet=True)


@bank_app.command("verify")
def bank_verify(folder: BankFolder, json: Json = False, quiet: Quiet = False) -> None:
    """Read a whole bank and check digests, values, duplicates and labels; exit code 1 when something is wrong."""
    from difftuning.workflows.bank import verify as work

    result = _run(lambda display: work(folder, display), json, quiet)
    if not result["ok"]:
        raise typer.Exit(1)


@recipes_app.command("list")
def recipes_list(json: Json = False) -> None:
    """List the shipped recipes."""
    from difftuning.workflows.recipes import listing

    found = listing()
    print(
        to_json(found, indent=1)
        if json
        else plain_table(("name", "about"), [(one["name"], one["about"]) for one in found["recipes"]])
    )


@recipes_app.command("show")
def recipes_show(name: RecipeName, json: Json = False) -> None:
    """Print a recipe, ready to be copied into a file and changed."""
    from difftuning.workflows.recipes import show

    found = show(name)
    print(to_json(found, indent=1) if json else found["text"].rstrip("\n"))


@recipes_app.command("keys")
def recipes_keys(
    key: Annotated[str, typer.Argument(metavar="[KEY]", help="A key or a section alone, such as optim.")] = "",
    json: Json = False,
) -> None:
    """Say what every key of a recipe may be, what it is when it is not given, and what it means."""
    from difftuning.workflows.recipe import keys

    found = keys(key)
    if json:
        print(to_json(found, indent=1))
        return
    for one in found["keys"]:
        kind = f" (kind {one['of']})" if one["of"] else ""
        default = "no default" if one["default"] is None else f"default {one['default'] or 'empty'}"
        print(f"{one['path']}{kind}: {one['values']}; {default}")
        print(textwrap.fill(one["about"], 100, initial_indent="    ", subsequent_indent="    "))


app.add_typer(bank_app, name="bank")
app.add_typer(recipes_app, name="recipes")
