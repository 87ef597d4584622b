"""From a stream to the recipe of each phase: an ordinary run, whose model is the one that the phase before has written."""

from __future__ import annotations

from pathlib import Path
from typing import Any, assert_never

from difftuning.backbones.labels import Extend
from difftuning.coefficients.families import AdaptiveConfig
from difftuning.config.loading import load_recipe
from difftuning.config.overrides import apply_overrides
from difftuning.config.validate import validate
from difftuning.continual.memory import Refresh, Static, memory
from difftuning.continual.stream import EWC, L2SP, Joint, Method, Replay, Sequential, Stream
from difftuning.data.sources import DataConfig, FurtherSet, SetConfig
from difftuning.errors import ConfigError
from difftuning.objectives.anchor import AnchorConfig, EWCConfig, L2SPConfig
from difftuning.run_folder import RunFolder
from difftuning.tuning import build as build_tuner
from difftuning.workflows.evaluate import method_of
from difftuning.workflows.recipe import Recipe, read
from difftuning.workflows.recipes import locate


def load(path_or_name: str, overrides: list[str], changes: list[str] | None = None) -> Stream:
    """Read a stream file (or a shipped stream by name) and apply dotted overrides.

    Args:
        path_or_name: YAML or TOML.
        overrides: of the stream.
        changes: further ones of the recipe of every phase.

    Raises:
        ConfigError: the file, a key or a value is wrong; the message names it and the nearest known one.
    """
    given = load_recipe(locate(path_or_name))
    if "recipe" not in given and {"model", "training"} & given.keys():
        raise ConfigError(f"{path_or_name} is a recipe and no stream; run `difftuning train {path_or_name}`")
    stream = validate(Stream, apply_overrides(given, overrides, Stream))
    return stream.model_copy(update={"changes": (*stream.changes, *(changes or ()))})


def recipes_of(stream: Stream) -> list[Recipe]:
    """The recipe of each phase, in order.

    Raises:
        ConfigError: a change cannot be applied, or sets what the stream decides, or a tuner leaves no model to go on from.
    """
    sets: list[DataConfig] = []
    found: list[Recipe] = []
    first: Recipe | None = None
    for number, phase in enumerate(stream.spans(), start=1):
        own = validate(Recipe, read(stream.recipe, [*stream.changes, *phase.changes]))
        first = first or own
        _check(own, first, stream.method, f"phase {phase.name!r} of the stream {stream.name!r}")
        data = own.data
        if stream.labels == "apart":
            data = data.model_copy(update={"class_prefix": f"{phase.name}/{data.class_prefix or ''}"})
        place = {"name": f"{stream.name}/{phase.name}", "out": str(folder_of(stream, number)), "bank_folder": None}
        recipe = own.model_copy(update=place | {"data": data} | _of_method(stream.method, own, data, sets))
        if number > 1:
            before = RunFolder(folder_of(stream, number - 1)).model
            recipe = recipe.model_copy(update={"model": str(before), "labels": Extend()})
        found.append(recipe)
        _check_bank(stream.method, found, f"phase {phase.name!r} of the stream {stream.name!r}")
        sets.append(data)
    return found


def _check(own: Recipe, first: Recipe, method: Method, where: str) -> None:
    """Refuse what a stream decides by itself, or cannot go on from; `first` is of the first phase."""
    for key in ("evaluation", "sampling"):
        if getattr(own, key) != getattr(first, key):
            raise ConfigError(
                f"{where} changes {key}, and all phases are judged alike; set it for all phases, in `changes` of the stream"
            )
    if own.model != first.model:
        raise ConfigError(
            f"{where} sets model={own.model!r}, but goes on from the model of the phase before; "
            "set `model` for all phases, in `changes` of the stream"
        )
    if own.data.also is not None:
        raise ConfigError(f"{where} sets data.also, by which its method joins the phases; make it a phase of its own")
    if own.bank_folder is not None:
        raise ConfigError(f"{where} sets bank_folder={own.bank_folder!r}; each phase has its bank in its own folder")
    if own.evaluation.part is not None:
        raise ConfigError(f"{where} sets evaluation.part; a stream is judged on the held-out images of its phases")
    if own.control is not None:
        raise ConfigError(f"{where} sets `control`; a stream is measured without maps, so set it to null")
    if isinstance(method, Static | Refresh) and (method_of(own) == "finetune" or own.distillation is not None):
        raise ConfigError(
            f"{where} reads no bank (standard fine-tuning, or a teacher in its place), and method.kind={method.kind} makes one; "
            "use method.kind=sequential, or another psi"
        )
    if not build_tuner(own.tuner).mergeable:
        raise ConfigError(
            f"{where} tunes by {own.tuner.kind}, which cannot be folded into a model that the next phase starts from; "
            "use lora, or tune all weights"
        )


def _check_bank(method: Method, recipes: list[Recipe], where: str) -> None:
    """Refuse a bank that keeps more items of an earlier one than that has."""
    if not isinstance(method, Static | Refresh) or len(recipes) == 1:
        return
    count = recipes[-1].bank.count
    for risen in (False, True):
        made = memory(method, len(recipes), risen)
        if (kept := round(made.keep * count)) > (there := recipes[made.source - 1].bank.count):
            raise ConfigError(
                f"{where} sets bank.count={count}, {kept} of which are kept of the {there} items of phase {made.source}; set "
                "bank.count for all phases, in `changes` of the stream"
            )


def folder_of(stream: Stream, number: int) -> Path:
    """The run folder of a phase, counted from 1."""
    return Path(stream.out) / f"phase-{number}"


def identity_of(stream: Stream) -> str:
    """What decides the numbers of a stream besides the pretrained model, as text: not where it lies, nor how it is called."""
    recipes = [
        recipe.model_copy(update={"model": recipe.model if place == 0 else ""})
        for place, recipe in enumerate(recipes_of(stream))
    ]
    parts = [json for recipe in recipes for json in (recipe.digest(), *_judged(recipe))]
    parts += [f"use_best of {place}" for place, recipe in enumerate(recipes) if recipe.training.use_best]
    if stream.distances != "all":
        parts.append(f"distances {stream.distances}")
    # A key that is null changes nothing: streams of before it was there keep their identity.
    unset = {"condition"} if getattr(stream.method, "condition", None) is None else None
    return "\n".join([stream.method.model_dump_json(exclude=unset), *parts])


def _judged(recipe: Recipe) -> list[str]:
    return [part.model_dump_json(exclude_none=True) for part in (recipe.bank, recipe.sampling, recipe.evaluation)]


def _of_method(method: Method, own: Recipe, data: DataConfig, earlier: list[DataConfig]) -> dict[str, Any]:
    """What a method changes in the recipe of a phase that has these earlier sets before it."""
    plain = {
        "coefficients": own.coefficients.plain(),
        "distillation": None,
        "anchor": None,
    }
    match method:
        case Static() | Refresh():
            return _remembering(method, own, data, earlier)
        case Sequential():
            return plain
        case Joint():
            return plain | {"data": _with(data, earlier)}
        case Replay():
            return plain | {"data": _replaying(data, earlier, method.per_class)}
        case EWC():
            anchor: AnchorConfig = EWCConfig(strength=method.strength, draws=method.draws)
        case L2SP():
            anchor = L2SPConfig(strength=method.strength)
        case _:
            assert_never(method)
    # The first phase has no phase before it.
    return plain | ({"anchor": anchor} if earlier else {})


def _remembering(method: Static | Refresh, own: Recipe, data: DataConfig, earlier: list[DataConfig]) -> dict[str, Any]:
    """What a method with a bank changes: an adaptive psi follows the error on all phases so far, and sees what is forgotten."""
    changed: dict[str, Any] = {}
    if earlier and isinstance(method, Refresh) and method.condition == "drawn":
        changed["training"] = own.training.model_copy(update={"retention_condition": "drawn"})
    if earlier and isinstance(own.coefficients.psi, AdaptiveConfig):
        changed["data"] = _with(data, earlier, {"measure_only": True})
    return changed


def _replaying(data: DataConfig, earlier: list[DataConfig], per_class: int) -> DataConfig:
    """A set and so many images of each class of earlier ones, out of those that their phases were trained on."""
    known = [one.model_copy(update={"per_class": min(per_class, one.per_class or per_class)}) for one in earlier]
    return _with(data, known)


def _with(data: DataConfig, sets: list[DataConfig], changes: dict[str, Any] | None = None) -> DataConfig:
    """A set and others besides, with these keys of the others changed."""
    shared = [{name: getattr(one, name) for name in SetConfig.model_fields} for one in sets]
    also = tuple(FurtherSet(**(one | (changes or {}))) for one in shared)
    return data.model_copy(update={"also": also or None})
