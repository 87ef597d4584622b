"""Whatever a user or a stranger can hand in: each input is either taken or refused by a difftuning error, soon, and nothing is
written. Inputs are drawn by hypothesis, or made by damaging real ones.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Collection, Iterator
from contextlib import chdir
from pathlib import Path
from typing import Any

from hypothesis import strategies as st
from torch import zeros

from difftuning.backbones.labels import LabelSpace, change_labels
from difftuning.backbones.solvers import SOLVERS, make_scheduler
from difftuning.bank.card_file import read_card
from difftuning.config.loading import dump_recipe, load_recipe, parse_yaml
from difftuning.config.overrides import apply_overrides
from difftuning.config.validate import validate
from difftuning.data.decoding import decode
from difftuning.data.prompted import Prompted
from difftuning.json_files import MetricsLog
from difftuning.noise.process import from_scheduler_config
from difftuning.results import read_rows
from difftuning.training.checkpoints import read_state
from difftuning.tuning.store import read_tuner
from difftuning.workflows import phases
from difftuning.workflows.recipe import Recipe
from difftuning.workflows.recipes import listing, show
from faults.file_kinds import captioned, images, into, model_index, part_mark, scheduler_file, sums, table, tar_shard
from faults.trying import Tally, Try, damaged, drawn

COUNTS = {
    "recipes": 3_000,
    "recipes, drawn": 1_000,
    "overrides": 3_000,
    "streams": 1_000,
    "streams, drawn": 1_000,
    "label maps": 2_000,
    "schedulers' configs": 2_000,
    "schedulers' config files": 2_000,
    "prompt templates": 2_000,
    "captions": 10_000,
    "tables of rows": 300,
    "tar shards": 4_000,
    "marks of encoded parts": 3_000,
    "image files": 45_000,
    "bank cards": 6_000,
    "sums of a folder": 3_000,
    "checkpoint states": 6_000,
    "tuners": 5_000,
    "results": 4_000,
    "metrics": 5_000,
    "model indices": 12_000,
}
"""Inputs of each kind, many where one costs little."""
odd = ["kind", "steps", "psi", "tau", "null", "1e400", "-1", "nan", "../x", "\x00", "🦊" * 3]
words = st.text(max_size=12) | st.sampled_from(odd)
scalars = st.none() | st.booleans() | st.integers() | st.floats() | words
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(words, inner, max_size=4), max_leaves=12
)


def kinds(folder: Path) -> dict[str, Callable[[int, Tally, int], None]]:
    """Every kind of input: what tries so many of them, with a seed. Files are written into the folder and nowhere else."""
    sample = Path(__file__).parents[1] / "formats" / "2"
    shipped = {one["name"]: show(one["name"])["text"].encode() for one in listing()["recipes"]}
    recipes = [text for name, text in shipped.items() if not name.startswith("streams/")]
    streams = [text for name, text in shipped.items() if name.startswith("streams/")]
    plain = parse_yaml(recipes[0].decode(), "a recipe")
    space = LabelSpace(("cat", "dog", "fox"))

    def recipe(content: bytes) -> object:
        (folder / "recipe.yaml").write_bytes(content)
        made = validate(Recipe, load_recipe(folder / "recipe.yaml"))
        return dump_recipe(made.model_dump(mode="json"))

    def stream(content: bytes) -> object:
        (folder / "stream.yaml").write_bytes(content)
        return phases.recipes_of(phases.load(str(folder / "stream.yaml"), []))

    def override(text: Any) -> object:
        return validate(Recipe, apply_overrides(plain, [text] if isinstance(text, str) else text, Recipe))

    def labels(given: Any) -> object:
        made = validate(Recipe, {**plain, "labels": given}).labels
        return change_labels(made, space, zeros(4, 1), ("cat", "owl"))

    def scheduler(config: Any) -> object:
        from_scheduler_config(config)
        return make_scheduler(random.Random(str(config)).choice(SOLVERS), config)

    def caption(template: Any) -> object:
        return Prompted(captioned(folder / "captioned"), template).class_names

    def caption_file(content: bytes) -> object:
        source = captioned(folder / "captions")
        (folder / "captions/0.txt").write_bytes(content)
        return Prompted(source, None).class_names

    names = list(Recipe.model_fields)
    sections = st.dictionaries(st.sampled_from(names) | words, values, max_size=4)
    some = st.lists(st.fixed_dictionaries({"name": words, "changes": st.lists(words)}) | values, max_size=3)
    methods = st.fixed_dictionaries({"kind": st.sampled_from(["refresh", "replay", "ewc"]) | words, "keep": scalars})
    parts_of_streams = st.fixed_dictionaries(
        {"recipe": st.just("studies/micro") | words},
        optional={
            "phases": some,
            "windows": st.integers(0, 5) | scalars,
            "method": methods,
            "changes": st.lists(words),
        },
    )
    paths = st.lists(
        st.sampled_from([*names, "kind", "tau", "steps", "lr", "0", "count"]) | words, min_size=1, max_size=4
    )
    overrides = st.builds(
        lambda path, value: f"{'.'.join(path)}={value}", paths, words | st.integers() | values.map(json.dumps)
    )
    keys = "_class_name num_train_timesteps beta_start beta_end beta_schedule trained_betas shift sigma_min sigma_max sigma_data"
    keys += " prediction_type rescale_betas_zero_snr timestep_spacing use_flow_sigmas clip_sample"
    classes = ["DDPMScheduler", "EDMEulerScheduler", "FlowMatchEulerDiscreteScheduler", "DDIMScheduler", "linear"]
    settings_of = scalars | st.sampled_from(classes) | st.lists(st.floats(-1, 2), max_size=5) | st.integers(1, 50)
    configs = st.dictionaries(st.sampled_from(keys.split()), settings_of)
    maps = st.fixed_dictionaries({"kind": st.sampled_from(["from-source", "extend", "keep", "replace"]) | words})
    starts = st.dictionaries(
        st.sampled_from(["cat", "owl"]) | words, st.sampled_from(["cat", "fox"]) | scalars, max_size=3
    )
    mapped = st.builds(lambda head, start: {**head, "start": start}, maps, starts | values) | maps
    fields = ["{caption}", "{label}", "{", "}", "{{", "{label:>9999999}", "{caption!r}", "{0}"]
    templates = st.lists(words | st.sampled_from(fields))

    def file_kind(path: str, attempt: Callable[[Path], object]) -> Callable[[int, Tally, int], None]:
        scratch = folder / path.replace("/", "-") / Path(path).name
        scratch.parent.mkdir(parents=True, exist_ok=True)
        for beside in (sample / path).parent.iterdir():
            if beside.is_file():
                (scratch.parent / beside.name).write_bytes(beside.read_bytes())
        whole = (sample / path).read_bytes()
        try_it = into(scratch, lambda: attempt(scratch.parent))
        text = values.map(lambda value: json.dumps(value).encode())

        def tries(count: int, tally: Tally, of: int) -> None:
            damaged(try_it, [whole], count - count // 4, tally, random.Random(of))
            drawn(try_it, text, count // 4, tally, of)

        return tries

    def spread(attempt: Try, strategy: st.SearchStrategy[Any]) -> Callable[[int, Tally, int], None]:
        return lambda count, tally, of: drawn(attempt, strategy, count, tally, of)

    def harmed(attempt: Try, whole: list[bytes]) -> Callable[[int, Tally, int], None]:
        return lambda count, tally, of: damaged(attempt, whole, count, tally, random.Random(of))

    step = "checkpoints/step-00000004"
    return {
        "recipes": harmed(recipe, recipes),
        "recipes, drawn": spread(lambda given: recipe(json.dumps(given).encode()), sections),
        "streams": harmed(stream, streams),
        "streams, drawn": spread(lambda given: stream(json.dumps(given).encode()), parts_of_streams),
        "overrides": spread(override, overrides | st.text()),
        "label maps": spread(labels, mapped | values),
        "schedulers' configs": spread(scheduler, configs),
        "schedulers' config files": scheduler_file(folder / "scheduled"),
        "prompt templates": spread(caption, templates.map("".join)),
        "captions": harmed(caption_file, ["a fox, eine Fuchs, 狐".encode(), b"\xff\xfe<script>", b"{label}\n" * 9]),
        "tables of rows": table(folder / "rows"),
        "tar shards": tar_shard(folder / "shards"),
        "marks of encoded parts": part_mark(folder / "parts"),
        "image files": harmed(lambda content: decode(content, "an image", 2**22), images()),
        "bank cards": file_kind("bank/card.json", read_card),
        "sums of a folder": sums(folder / "summed"),
        "checkpoint states": file_kind(f"{step}/state.json", read_state),
        "tuners": file_kind("tuner/tuner.json", read_tuner),
        "results": file_kind("results.json", lambda found: read_rows(found / "results.json")),
        "metrics": file_kind("metrics.jsonl", lambda found: MetricsLog(found / "metrics.jsonl").rewind(2)),
        "model indices": model_index(folder / "index"),
    }


def all_inputs(folder: Path, share: float, wanted: Collection[str] = (), of: int = 0) -> Iterator[tuple[str, Any]]:
    """The figures kind by kind, of that share of `COUNTS` or a few more; then what was written outside the folder.

    Args:
        folder: empty.
        share: of the counts.
        wanted: kinds; all of them when empty.
        of: the seed.
    """
    inside = folder / "inside"
    inside.mkdir()
    with chdir(inside):
        for name, tries in kinds(inside).items():
            if wanted and name not in wanted:
                continue
            tally = Tally()
            tries(max(10, int(COUNTS[name] * share)), tally, of)
            for escaped in tally.escaped[:5]:
                print(f"{name}: {escaped}", flush=True)
            yield name, tally.figures()
    yield "written outside", sorted(path.name for path in folder.iterdir() if path != inside)
