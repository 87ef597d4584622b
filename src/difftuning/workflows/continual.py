"""`continual`: take a model through a stream of domains, phase by phase, and measure what it knows of each after each.

    OUT/stream.yaml   OUT/phase-1/ ... (run folders)   OUT/measured/DIGEST.json
    OUT/results.json  OUT/matrices.json  OUT/stream.md  OUT/stream.svg

Each phase is an ordinary run, so all that there is for a run works on it. Killed at any moment, the same command goes on.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from difftuning.config.loading import dump_recipe
from difftuning.config.provenance import provenance
from difftuning.continual.memory import Refresh, Static
from difftuning.continual.page import write_page
from difftuning.continual.stream import Stream
from difftuning.data.opening import open_target
from difftuning.data.sources import needs_all
from difftuning.data.target import Target
from difftuning.errors import CheckpointError, ConfigError, DataError
from difftuning.json_files import read_json, write_json, write_text
from difftuning.lock import alone
from difftuning.results import write_results
from difftuning.run_folder import RunFolder
from difftuning.workflows.display import Display, Silent
from difftuning.workflows.judge import too_few
from difftuning.workflows.phase_bank import compose_bank
from difftuning.workflows.phases import recipes_of
from difftuning.workflows.pretrained import pretrained
from difftuning.workflows.recipe import Recipe
from difftuning.workflows.runs import is_finished
from difftuning.workflows.stream_measures import StreamMeasures
from difftuning.workflows.stream_rows import rows_of
from difftuning.workflows.train import train

BEGUN = "phase.json"
"""In the folder of a phase: what decided it when it began."""
RESULTS, MATRICES, PAGE = "results.json", "matrices.json", "stream.md"
"""In the folder of a stream."""


def continual(stream: Stream, display: Display | None = None) -> dict[str, Any]:
    """Train the phases that are not finished, measure all models on all phases, and write results, matrices, heat map and page.

    Returns:
        `stream` (the folder), `phases`, `method`; `cumulative`, the measures after the last phase on the held-out images of all
        phases; `forgetting` and `forward_transfer` of the held-out error, shares; and the files `results`, `matrices`, `heat_map`
        and `page`.

    Raises:
        ConfigError: the stream or the recipe of a phase is wrong; all are checked before the first one is trained.
        CheckpointError: a phase was begun under another stream, or from another model.
        BusyError: another process is at it.
    """
    display = display or Silent()
    recipes, out = recipes_of(stream), Path(stream.out)
    with alone(out / ".continual.lock", wait=False):
        targets = phase_targets(recipes)
        write_text(out / "stream.yaml", dump_recipe(stream.model_dump(mode="json")))
        with display.progress(f"stream {stream.name}", len(recipes)) as task:
            for number in range(1, len(recipes) + 1):
                _phase(stream, recipes[:number], targets[:number], display)
                task.advance()
        names = tuple(phase.name for phase in stream.spans())
        alone_too = stream.distances == "all"
        found = StreamMeasures(out / "measured", names, recipes, targets, display, alone=alone_too).all()
        by, rows = provenance(), rows_of(stream, recipes, found)
        write_json(out / MATRICES, found.summary())
        files = write_page(out / PAGE, stream, found)
        # Last, so that whoever finds it finds all.
        write_results(out / RESULTS, rows, by["machine"], by["commit"], stream.model_dump(mode="json"))
    error = found.matrices["heldout"]
    return {
        "stream": str(out),
        "method": stream.method.kind,
        "phases": list(names),
        "cumulative": found.cumulative[-1],
        "forgetting": error.mean_forgetting(),
        "forward_transfer": error.mean_forward(),
        "results": str(out / RESULTS),
        "matrices": str(out / MATRICES),
        **{name: str(file) for name, file in files.items()},
    }


def phase_targets(recipes: list[Recipe]) -> list[Target]:
    """The images of each phase alone, whatever its method trains on besides; opening them finds what is wrong with any.

    Raises:
        DifftuningError: the model or a target cannot be used.
    """
    for recipe in recipes:
        needs_all(recipe.data, "continual")
    model = pretrained(recipes[0])
    targets = [
        open_target(
            recipe.data.model_copy(update={"also": None}), model.image_size, model.codec, by_prompt=model.by_prompt
        )
        for recipe in recipes
    ]
    for recipe, target in zip(recipes, targets, strict=True):
        if (why := too_few(recipe, target)) is not None:
            raise DataError(f"{recipe.name}: {why}")
    unknown = sorted({*targets[0].class_names} - {*model.labels.names})
    if recipes[0].labels.kind == "keep" and unknown and not model.by_prompt:
        raise ConfigError(
            f"labels.kind=keep would train {unknown[0]!r} under another name of the model, and a stream goes by names; use "
            "replace or extend"
        )
    return targets


def _phase(stream: Stream, recipes: list[Recipe], targets: list[Target], display: Display) -> None:
    """Compose the bank of the last one of these phases and train it, as far as that is not done."""
    recipe = recipes[-1]
    _begin(stream, recipe, targets[-1], number=len(recipes))
    if is_finished(recipe):
        # Where the stream or its images have been moved, the verbs for a run find them here.
        file, now = RunFolder(recipe.folder).recipe, dump_recipe(recipe.model_dump(mode="json"))
        if file.read_text(encoding="utf-8") != now:
            write_text(file, now)
        display.note(f"{recipe.name} is finished")
        return
    if isinstance(stream.method, Static | Refresh) and len(recipes) > 1:
        compose_bank(stream.method, recipes, targets, display)
    train(recipe, display)


def _begin(stream: Stream, recipe: Recipe, target: Target, number: int) -> None:
    """Note what decides a phase, or see that it is what decided it when it began; `target` are its images.

    Raises:
        CheckpointError: it is not.
    """
    file = recipe.folder / BEGUN
    # Model and images by their content, since their paths go wherever they are moved.
    decides = {
        "model": pretrained(recipe).digest(),
        "images": f"{target.train.digest}/{target.heldout.digest}",
        "recipe": recipe.by_content().digest(),
        "bank": recipe.bank.model_dump(mode="json", exclude_none=True),
        "method": stream.method.model_dump(mode="json", exclude_none=True),
        **({"end": "use_best"} if recipe.training.use_best else {}),
    }
    folder = RunFolder(recipe.folder)
    if not file.is_file() or not any(part.is_dir() for part in (folder.bank, folder.checkpoints, folder.model)):
        # What nothing has been made under binds nobody.
        write_json(file, decides)
        return
    begun = read_json(file)
    # Keys that are null change nothing; an earlier version wrote some of them, and none of later ones.
    begun["method"] = {key: value for key, value in begun.get("method", {}).items() if value is not None}
    if "images" not in begun:  # an earlier version told them by their path, in the recipe
        decides.pop("images")
        former = recipe.model_copy(update={"model": ""}).former_digests()
        decides["recipe"] = begun["recipe"] if begun.get("recipe") in former else decides["recipe"]
    if changed := [name for name in {**begun, **decides} if begun.get(name) != decides.get(name)]:
        raise CheckpointError(
            f"phase {number} in {recipe.folder} was begun with another {' and '.join(changed)}; use another `out`, or remove "
            f"phase-{number} and those after it to train them again"
        )
