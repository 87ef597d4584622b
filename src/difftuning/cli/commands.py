"""The commands: each reads its arguments, calls one workflow and prints what that returns.

Workflows are imported inside the commands, so that `--help` and typing errors answer at once.
"""

from __future__ import annotations

import sys
from contextlib import redirect_stdout
from importlib.metadata import version
from pathlib import Path
from typing import Annotated

import typer

from difftuning.cli.bank import bank_app
from difftuning.cli.data import data_app
from difftuning.cli.display import make_display, plain_table
from difftuning.cli.recipes import recipes_app
from difftuning.cli.running import SETTINGS, Json, Overrides, Quiet, RecipeName, Run, on_stderr, perform
from difftuning.json_files import to_json
from difftuning.workflows.display import Display

app = typer.Typer(
    name="difftuning",
    help="Move a pretrained diffusion model to a new domain without letting it forget what still transfers.\n\n"
    "`--debug`, anywhere on the line, shows the traceback of an error.",
    epilog="Example: difftuning demo --quick",
    context_settings=SETTINGS,
    pretty_exceptions_enable=False,
)


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


@app.command(
    short_help="Move a small model with and without Diff-Tuning, and report.",
    epilog="Example: difftuning demo --quick --out runs/demo",
)
def demo(
    overrides: Overrides = None,
    out: Annotated[Path, typer.Option(help="The folder for its runs and its report.")] = Path("runs/demo"),
    quick: Annotated[bool, typer.Option("--quick", help="About 3 minutes instead of 12 to 20.")] = False,
    seed: Annotated[int, typer.Option(min=0, help="The seed of everything random.")] = 0,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Move the embedded model to a new domain twice, with and without Diff-Tuning, and report."""
    from difftuning.workflows.demo import demo as work

    perform(lambda display: work(out, quick, seed, overrides or [], display), json, quiet)


@app.command(
    short_help="Train as a recipe says, or go on with it.",
    epilog="Example: difftuning train own-images data.target=./my_images out=runs/mine --report",
)
def train(
    recipe: RecipeName,
    overrides: Overrides = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check everything, print the recipe and what it needs, and stop.")
    ] = False,
    report: Annotated[
        bool, typer.Option("--report", help="Then evaluate and diagnose the run, and write its report.")
    ] = False,
    profile: Annotated[bool, typer.Option("--profile", help="Show in the end where the time of a step went.")] = False,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Train as a recipe says; a run folder that already holds the same recipe is continued."""
    from difftuning.config.loading import dump_recipe
    from difftuning.workflows.recipe import load

    resolved = load(recipe, overrides or [])
    if dry_run:
        values = resolved.model_dump(mode="json")
        print(to_json(values, indent=1) if json else dump_recipe(values), end="\n" if json else "")
        from difftuning.workflows.preflight import dry_run as try_out

        with redirect_stdout(sys.stderr):
            try_out(resolved, make_display(json or quiet, sys.stderr), judged=report)
        return
    from difftuning.workflows.train import train as work

    if report:
        from difftuning.workflows.report import judge_and_report

        perform(
            lambda display: work(resolved, display, profile, judged=True) | judge_and_report(resolved.folder, display),
            json,
            quiet,
        )
        return
    perform(lambda display: work(resolved, display, profile), json, quiet)


@app.command(epilog="Example: difftuning sample runs/mine --label cat --count 4")
def sample(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A run folder, or a model as a recipe names it.")],
    out: Annotated[
        Path | None, typer.Option(help="The folder for them; else RUN/samples/drawn, or ./samples of a model.")
    ] = None,
    count: Annotated[int, typer.Option(min=1, help="How many images.")] = 16,
    label: Annotated[
        list[str] | None,
        typer.Option(
            "--label", "--prompt", help="A class by name, or a prompt; may be given many times. All without it."
        ),
    ] = None,
    steps: Annotated[int | None, typer.Option(min=1, help="Solver steps; the recipe's without it.")] = None,
    guidance: Annotated[
        float | None, typer.Option(min=0.0, help="Guidance scale, 1 is off; the recipe's without it.")
    ] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Of image i, with i; the recipe's without it.")] = None,
    control: Annotated[
        Path | None, typer.Option(help="A control map, or a folder of them; those of held-out images without it.")
    ] = None,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Draw images from a trained run, or from any model."""
    from difftuning.run_folder import RunFolder
    from difftuning.workflows.sample import sample as work

    folder = RunFolder(run)
    # A model that is not a run of ours is an input, which is never written to.
    images = out or (folder.samples / "drawn" if folder.recipe.is_file() else Path("samples"))
    perform(lambda display: work(run, images, count, label, steps, guidance, seed, display, control), json, quiet)


@app.command(
    short_help="Measure a run: distances, memorisation, held-out error.",
    epilog="Example: difftuning evaluate runs/mine",
)
def evaluate(run: Run, json: Json = False, quiet: Quiet = False) -> None:
    """Measure a run: distances, precision, recall, memorisation, held-out error, drift."""
    from difftuning.cli.told import evaluation
    from difftuning.workflows.evaluate import evaluate as work

    perform(lambda display: work(run, display), json, quiet, evaluation)


@app.command(short_help="Measure where a run has forgotten.", epilog="Example: difftuning diagnose runs/mine")
def diagnose(
    run: Run,
    advise: Annotated[
        bool, typer.Option("--advise", help="Of a run of standard fine-tuning: only which psi the target asks for.")
    ] = False,
    samples: Annotated[
        int, typer.Option(min=8, help="How many images the swap curve draws; --advise draws none.")
    ] = 256,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Measure the chain of forgetting of a run: held-out error by u, and the denoiser swap."""
    from difftuning.cli.told import diagnosis
    from difftuning.workflows.advise import advise as advice
    from difftuning.workflows.diagnose import diagnose as work

    if advise:
        perform(lambda display: advice(run), json, quiet)
    else:
        perform(lambda display: work(run, display, samples), json, quiet, diagnosis)


@app.command(
    short_help="Take a model through a stream of domains.", epilog="Example: difftuning continual streams/icons"
)
def continual(
    stream: Annotated[str, typer.Argument(metavar="STREAM", help="A stream file, or the name of a shipped stream.")],
    overrides: Overrides = None,
    change: Annotated[
        list[str] | None,
        typer.Option("--change", help="KEY.PATH=VALUE in the recipe of every phase; may be given many times."),
    ] = None,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Take a model through a stream of domains, and measure what it keeps of each; a stopped stream is continued."""
    from difftuning.workflows.continual import continual as work
    from difftuning.workflows.phases import load

    resolved = load(stream, overrides or [], change)
    perform(lambda display: work(resolved, display), json, quiet)


@app.command(
    short_help="Run an experiment of the paper, or one of ours.", epilog="Example: difftuning study targets --quick"
)
def study(
    name: Annotated[str, typer.Argument(metavar="NAME", help="A study, or all.")],
    out: Annotated[Path, typer.Option(help="Where its runs and banks lie; studies share them.")] = Path("runs/studies"),
    results: Annotated[Path | None, typer.Option(help="The folder of NAME.json; OUT/results without it.")] = None,
    pages: Annotated[Path | None, typer.Option(help="The folder of NAME.md; OUT/pages without it.")] = None,
    quick: Annotated[bool, typer.Option("--quick", help="The smallest form, which only shows that it works.")] = False,
    only_pages: Annotated[
        bool, typer.Option("--only-pages", help="Run nothing; write the pages again from the rows that are there.")
    ] = False,
    seeds: Annotated[int | None, typer.Option(min=1, help="Run only the first so many seeds; all without it.")] = None,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Run an experiment of the paper, or one of ours, going on from the runs that are finished."""
    from difftuning.workflows.study import study as work

    perform(lambda display: work(name, out, results, pages, quick, only_pages, seeds, display), json, quiet)


@app.command(epilog="Example: difftuning report runs/plain runs/mine --out both.html")
def report(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN...", help="One or more run folders.")],
    out: Annotated[Path | None, typer.Option(help="The HTML file; report.html of the first run without it.")] = None,
    watch: Annotated[
        bool, typer.Option("--watch", help="Write it again until the runs are trained; an open page follows.")
    ] = False,
    every: Annotated[int, typer.Option(min=1, help="Seconds between two pages of --watch.")] = 10,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Write one page with the tables and pictures of some runs."""
    from difftuning.run_folder import RunFolder
    from difftuning.workflows import report as workflow

    page = out or RunFolder(runs[0]).report

    def work(display: Display) -> dict[str, Path]:
        written = workflow.watch(runs, page, every, display) if watch else workflow.report(runs, page, display=display)
        return {"report": written}

    perform(work, json, quiet)


@app.command(
    short_help="Show the state of a run, or what a model is and knows.",
    epilog="Example: difftuning info runs/mine --json",
)
def info(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A run folder, or a model as a recipe names it.")],
    json: Json = False,
) -> None:
    """Show the state of a run (its step, the digests of weights, bank and recipe), or what a model is and knows."""
    from difftuning.workflows.info import info as work

    perform(lambda display: work(run), json, quiet=True)


@app.command(
    short_help="Write published weights of EDM or DiT as a model folder.",
    epilog="Example: difftuning convert edm-cifar10-32x32-cond-vp.pkl runs/edm-cifar10",
)
def convert(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A .pkl of EDM or a .pt of DiT, as published.")],
    out: Annotated[Path, typer.Argument(metavar="OUT", help="The model folder, which must not exist yet.")],
    vae: Annotated[Path | None, typer.Option(help="The folder of the autoencoder that a DiT belongs to.")] = None,
    heads: Annotated[
        int | None, typer.Option(min=1, help="Attention heads of a DiT whose width is none of the published.")
    ] = None,
    json: Json = False,
) -> None:
    """Write published weights of EDM or DiT as a model folder, running nothing of their file."""
    from difftuning.workflows.convert import convert as work

    perform(lambda display: work(file, out, vae, heads), json, quiet=True)


@app.command(short_help="Check versions, devices, memory, disk and weights.", epilog="Example: difftuning doctor --hub")
def doctor(
    hub: Annotated[bool, typer.Option("--hub", help="Also try to reach the model hub.")] = False, json: Json = False
) -> None:
    """Check versions, devices, memory, disk and weights; exit code 1 when something is missing."""
    from difftuning.workflows.doctor import doctor as work

    result = on_stderr(lambda display: work(hub), silent=True)
    if json:
        print(to_json(result, indent=1))
    else:
        columns = ("state", "name", "value", "mend")
        print(plain_table(columns, [[check[column] for column in columns] for check in result["checks"]]))
    if not result["ok"]:
        raise typer.Exit(1)


app.add_typer(bank_app, name="bank")
app.add_typer(data_app, name="data")
app.add_typer(recipes_app, name="recipes")
