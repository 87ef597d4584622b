"""`train`: move a pretrained model to a target, as a recipe says; running it again goes on."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from difftuning.atomic import remove_left_over, write_bytes, write_folder
from difftuning.bank.mix import coverage
from difftuning.checksums import write_sums
from difftuning.config.loading import dump_recipe
from difftuning.config.provenance import provenance
from difftuning.errors import ConfigError, DataError
from difftuning.json_files import MetricsLog, write_json, write_text
from difftuning.processes import alone, present
from difftuning.reporting.images import image_grid
from difftuning.reporting.metrics import DISTANCES
from difftuning.run_folder import RunFolder
from difftuning.training.checkpoints import read, tensors_digest
from difftuning.training.hooks import Hook
from difftuning.training.preemption import stop_request
from difftuning.training.step_profile import StepProfile
from difftuning.tuning.store import save_tuner
from difftuning.types import Condition
from difftuning.workflows import bank as bank_workflow
from difftuning.workflows import consistency
from difftuning.workflows.assemble import Assembly, Prepared, assemble, prepare
from difftuning.workflows.controls import ControlledBank, UnderMaps
from difftuning.workflows.device_memory import mends, within_memory
from difftuning.workflows.display import Display, Silent, sparkline, total
from difftuning.workflows.drawing import Conditions, draw_images, spread
from difftuning.workflows.heldout import adapting, bank_heldout, by_u, measurement, target_heldout
from difftuning.workflows.judge import Judge, too_few
from difftuning.workflows.notes import notes
from difftuning.workflows.recipe import Recipe
from difftuning.workflows.run_identity import DATA, check_folder

GRID = 32
"""Images of a sample grid."""


def train(
    recipe: Recipe, display: Display | None = None, profile: bool = False, judged: bool = False
) -> dict[str, Any]:
    """Draw the bank where it is missing, train, and write the averaged model to `OUT/model`.

    Under a tuner, what it learned is in `OUT/tuner`, and `OUT/model` has it folded in, where that can be done.

    Args:
        recipe: what to do.
        display: told how far it is.
        profile: time the parts of a step, and show where the time went; what is trained stays the same.
        judged: the run is judged by distances afterwards, so a target that has too few images for them is refused.

    Returns:
        `run`, `step`, `heldout` (the last measured) and `best`, None where it was never measured, `seconds` in steps,
        `bank_coverage` (the share of the bank that was trained on), `target_epochs`, `weights_digest` (of the average), and `model`
        and `tuner`, the folders written;
        under `profile` a list of `{"part", "milliseconds_a_step", "share"}`, the share in per cent.

    Raises:
        DifftuningError: whatever is wrong, before anything is overwritten.
        BusyError: another process is at work on the run folder.
        Preempted: SIGTERM came while it trained; all is saved.
    """
    display = display or Silent()
    with within_memory(lambda: mends(recipe)):
        prepared = check(recipe, display, judged)
        with present().led(RunFolder(recipe.folder).alone()):
            return _run(prepared, display, profile)


def _run(prepared: Prepared, display: Display, profiled: bool) -> dict[str, Any]:
    recipe, processes = prepared.recipe, present()
    processes.on_main(lambda: remove_left_over(recipe.folder))
    if prepared.needs_bank:
        bank_workflow.draw(recipe, prepared.backbone, display)
    run = assemble(prepared)
    if isinstance(run.bank, ControlledBank) and (line := run.bank.left_out()):
        display.note(line)
    trainer = run.trainer
    trainer.check_identity()
    done = processes.on_main(trainer.checkpoints.last_step)
    check_folder(recipe, done)
    if recipe.training.use_best and done == recipe.training.steps:
        _best(run)  # before anything says that the model is that one
    if recipe.training.offload:
        run.backbone.offload()
    processes.on_main(lambda: _describe(run))
    if done == 0:
        _preflight(run)
    trainer.hooks = _hooks(run)
    with display.progress(f"train {recipe.name}", recipe.training.steps, done) as task:
        tell = total(task, done)

        def progress(step: int, metrics: Mapping[str, float]) -> None:
            told = {name: f"{metrics[name]:.4f}" for name in ("loss", "heldout") if name in metrics}
            if errors := by_u(metrics):
                told["by u"] = sparkline(errors)
            tell(step, **told)

        trainer.progress = progress
        profile = StepProfile(trainer) if profiled else None
        with stop_request() as trainer.stop:
            try:
                trainer.run()
            finally:
                run.log.finish()
                parts = [] if profile is None else profile.table()
    found = processes.on_main(lambda: _finish(_unshared(run)))
    if profile is None:
        return found
    display.table("where the time went", ("part", "ms a step", "%"), parts)
    names = ("part", "milliseconds_a_step", "share")
    return {**found, "profile": [dict(zip(names, part, strict=True)) for part in parts]}


def check(recipe: Recipe, display: Display | None = None, judged: bool = False) -> Prepared:
    """Find what is wrong with a recipe, and say how many images there are for what; nothing is written into the run folder.

    Args:
        recipe: what to do.
        display: told what was found.
        judged: the run is to be judged by distances.

    Raises:
        DifftuningError: something cannot be used.
    """
    display = display or Silent()
    prepared = prepare(recipe, display)
    if (why := too_few(recipe, prepared.target)) is not None and (judged or recipe.evaluation.distance_every):
        raise DataError(why)
    for line in notes(prepared):
        display.note(line)
    return prepared


def _describe(run: Assembly) -> None:
    """What the run is made from, and every file that is not used, and why; the notes on the screen name the first ones only."""
    write_text(run.folder.recipe, dump_recipe(run.recipe.model_dump(mode="json")))
    write_json(run.folder.provenance, provenance())
    path = run.folder.set_aside
    if skipped := run.target.skipped:
        write_text(path, "".join(f"{one.origin}\t{one.reason}\n" for one in skipped))
    else:
        path.unlink(missing_ok=True)


def _hooks(run: Assembly) -> list[Hook]:
    recipe, backbone, bank = run.recipe, run.backbone, run.bank
    maps = None if run.controls is None else run.controls.heldout
    on_target = target_heldout(run.target.heldout, run.rows, backbone, recipe, maps)
    on_bank = None if run.heldout_bank is None else bank_heldout(run.heldout_bank, backbone, recipe)
    shown = _shown(run, GRID)
    # The pretrained model is not beside the one that trains, so grids are guided by its own answer.
    sampling = recipe.sampling.model_copy(update={"negative": None})

    def grid(step: int) -> dict[str, float]:
        images, file = draw_images(backbone, shown, sampling), run.folder.samples / f"step-{step:08d}.png"
        present().on_main(lambda: write_bytes(file, image_grid(images, columns=8, scale=2)))
        return {}

    def covered(step: int) -> dict[str, float]:
        used = run.trainer.state.positions[1]
        return {} if bank is None else {"bank_coverage": coverage(used, len(bank))}

    measured = measurement(backbone, on_target, on_bank)
    hooks = [
        Hook(recipe.training.heldout_every, adapting(run.chain, measured), at_start=True),
        Hook(recipe.training.sample_every, grid, at_start=True),
        Hook(recipe.training.heldout_every, covered, at_start=True),
    ]
    if every := recipe.evaluation.distance_every:
        judge = Judge(recipe.model_copy(update={"sampling": sampling}), run.target, run.controls)

        def distances(step: int) -> dict[str, float]:
            images = judge.draw(backbone, run.rows, Silent())
            found = present().on_main(lambda: judge.distances(images, Silent()))
            return {metric: value for metric, value in found.items() if metric in DISTANCES}

        hooks.append(Hook(every, distances, at_start=True))
    if (controls := run.controls) is not None and controls.config.measure_every:
        obeys = consistency.measurement(backbone, run.target, run.rows, controls, sampling, run.folder.samples)
        hooks.append(Hook(controls.config.measure_every, obeys, at_start=True))
    return hooks


def _shown(run: Assembly, count: int) -> Conditions:
    """What a grid shows: classes from all over the target, or held-out images' maps under their prompts."""
    if run.controls is None:
        return Condition(run.rows[spread(len(run.rows), count)])
    places = spread(len(run.controls.heldout), count)
    return UnderMaps(run.rows[run.target.heldout.labels[places]], run.controls.heldout, places)


def _preflight(run: Assembly) -> None:
    """One pass forward and backward, one sample and one save, before a long run can die of any of them."""
    trainer = run.trainer
    trainer.backward(trainer.streams.batch(0, (0, 0)))
    trainer.optimizer.zero_grad()
    draw_images(run.backbone, _shown(run, 1), run.recipe.sampling.model_copy(update={"steps": 2, "negative": None}))
    trainer.save()


def _best(run: Assembly) -> Path:
    """The checkpoint of the lowest held-out error.

    Raises:
        ConfigError: none was measured.
    """
    if (best := run.trainer.checkpoints.best()) is None:
        raise ConfigError(
            f"training.use_best=true, and {run.folder.path} has measured no held-out error, or its checkpoints are gone; "
            "set it to null"
        )
    return best


def _unshared(run: Assembly) -> Assembly:
    """The same run with all weights in this process, out of its last checkpoint, where processes have shared them.

    It is made on the CPU: one device may not hold what they have shared.
    """
    if not present().sharded:
        return run
    with alone():
        whole = run.recipe.training.model_copy(update={"precision": "no"})  # which may be one that a CPU does not have
        made = assemble(prepare(run.recipe.model_copy(update={"trackers": (), "device": "cpu", "training": whole})))
        made.trainer.identity = run.trainer.identity
        made.trainer.resume()
        return made


def _finish(run: Assembly) -> dict[str, Any]:
    """Write the averaged model as a folder, and say how the run ended."""
    trainer = run.trainer
    step = trainer.state.step
    if run.recipe.training.use_best:
        groups, state = read(_best(run))
        trainer.ema.take(groups["ema"])
        step = int(state["step"])
    learned = tensors_digest(trainer.ema.average)  # folding it in multiplies some of it
    # Before the folders, by which a run counts as finished.
    write_json(run.folder.end, {"step": step, "weights_digest": learned, DATA: trainer.identity.digests[DATA]})
    with trainer.ema.swapped():
        if run.recipe.tuner.kind != "full":
            _whole(
                run.folder.tuner,
                lambda aside: save_tuner(
                    run.tuner, aside, run.base, run.backbone.noise_digest(), run.target.class_names
                ),
            )
        if run.tuner.mergeable:
            run.tuner.merge()
            _whole(run.folder.model, run.backbone.save)
    records = MetricsLog(run.folder.metrics).read().records
    heldout = [record["heldout"] for record in records if "heldout" in record]
    target, bank = trainer.state.positions
    return {
        "run": str(run.folder.path),
        "step": trainer.state.step,
        "heldout": heldout[-1] if heldout else None,
        "best": trainer.state.best,
        "seconds": trainer.state.seconds,
        "bank_coverage": coverage(bank, len(run.bank)) if run.bank is not None else None,
        "target_epochs": target / len(run.target.train),
        "weights_digest": learned,
        "model": str(run.folder.model) if run.tuner.mergeable else None,
        "tuner": str(run.folder.tuner) if run.folder.tuner.is_dir() else None,
    }


def _whole(folder: Path, write: Callable[[Path], None]) -> None:
    """Put a folder with the digests of its files in the place of what is there."""

    def filled(aside: Path) -> None:
        write(aside)
        write_sums(aside)

    write_folder(folder, filled)
