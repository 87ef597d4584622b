"""From a recipe to objects, once, in reading order: model, target; then bank, streams, trainer.

`prepare` finds what is wrong with a recipe before anything long begins; the bank is drawn after it and before `assemble`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor

from difftuning.backbones.base import Backbone
from difftuning.backbones.solvers import make_scheduler
from difftuning.bank.card import CARD, check_matches
from difftuning.bank.mix import TwoStreams
from difftuning.bank.read import Bank
from difftuning.coefficients.chain import ChainOfForgetting, build_chain
from difftuning.coefficients.families import AdaptiveConfig, Constant
from difftuning.coefficients.realisation import build_realisation
from difftuning.coefficients.weighting import loss_weight
from difftuning.data.opening import open_target
from difftuning.data.order import Order
from difftuning.data.sources import needs_all
from difftuning.data.target import Target
from difftuning.diagnosis.adaptive_chain import AdaptiveChain
from difftuning.errors import ConfigError
from difftuning.evaluation.features import feature_network
from difftuning.json_files import MetricsLog
from difftuning.objectives.diff_tuning import DiffTuning
from difftuning.processes import present
from difftuning.run_folder import RunFolder
from difftuning.sampling.loop import trajectory
from difftuning.training.checkpoints import Checkpoints
from difftuning.training.prefetch import for_device
from difftuning.training.streams import DrawnStreams
from difftuning.training.trackers import TrackedLog, Unwritten, check_installed, open_trackers
from difftuning.training.trainer import Trainer
from difftuning.tuning import Tuner
from difftuning.tuning import build as build_tuner
from difftuning.workflows.anchoring import anchor_of
from difftuning.workflows.controls import BankItems, ControlledBank, Controls, items_of, with_controls
from difftuning.workflows.conventions import check_conventions
from difftuning.workflows.display import Display, Silent, late
from difftuning.workflows.pretrained import pretrained
from difftuning.workflows.recipe import Recipe
from difftuning.workflows.retention_condition import bank_rows, check_condition
from difftuning.workflows.run_identity import identity_of
from difftuning.workflows.teaching import Before

WHOLE = ("control", "distillation", "anchor")
"""Sections of a recipe that ask the network in ways for which its weights cannot be shared by processes."""
TARGET_STREAM, BANK_STREAM = 1, 2
"""Offsets of the seeds of the two orders, so that they are unrelated."""


@dataclass(frozen=True)
class Prepared:
    """What a run starts from, checked.

    Attributes:
        recipe: what is to be done.
        backbone: the pretrained model, with its own labels.
        chain: psi and xi.
        target: the images, split.
        controls: their maps; None where no ControlNet is trained.
    """

    recipe: Recipe
    backbone: Backbone
    chain: ChainOfForgetting | AdaptiveChain
    target: Target
    controls: Controls | None

    @property
    def needs_bank(self) -> bool:
        """Whether training reads the bank: for retention, or to weigh an anchor."""
        return reads_bank(self.recipe, self.chain)

    @property
    def drawn(self) -> ChainOfForgetting | AdaptiveChain:
        """What batches are drawn by: the chain, without the bank's part where a teacher is in its place."""
        return drawn_by(self.recipe, self.chain)


@dataclass(frozen=True)
class Assembly:
    """A run, ready to go.

    Attributes:
        recipe: what it was made from.
        folder: where it lives.
        backbone: the model, with the target's labels, which training moves.
        tuner: what says which of it, attached.
        base: the digest of the model before.
        target: the images, split.
        controls: their maps; None where no ControlNet is trained.
        rows: (K,) int64, the model's row of each target class.
        chain: psi and xi.
        bank: the knowledge bank; None where training does not read it.
        heldout_bank: bank items that training never sees; None where there are none.
        log: where the loop's metrics go.
        trainer: the loop.
    """

    recipe: Recipe
    folder: RunFolder
    backbone: Backbone
    tuner: Tuner
    base: str
    target: Target
    controls: Controls | None
    rows: Tensor
    chain: ChainOfForgetting | AdaptiveChain
    bank: BankItems | None
    heldout_bank: Bank | None
    log: TrackedLog
    trainer: Trainer


def chain_of(recipe: Recipe, backbone: Backbone) -> ChainOfForgetting | AdaptiveChain:
    """Psi and xi for this model; an adaptive psi has not been measured yet."""
    asked, whole = recipe.coefficients, recipe.coefficients.keeps_target
    if isinstance(asked.psi, AdaptiveConfig):
        return AdaptiveChain(whole)
    return build_chain(asked.psi, asked.xi, backbone.process, backbone.clock, asked.any_direction, whole)


def drawn_by(recipe: Recipe, chain: ChainOfForgetting | AdaptiveChain) -> ChainOfForgetting | AdaptiveChain:
    """See `Prepared.drawn`."""
    return chain if recipe.distillation is None else replace(chain.at(0), xi=Constant(0.0))


def reads_bank(recipe: Recipe, chain: ChainOfForgetting | AdaptiveChain) -> bool:
    """See `Prepared.needs_bank`."""
    return drawn_by(recipe, chain).uses_bank or (recipe.anchor is not None and recipe.anchor.kind == "ewc")


def _weight(recipe: Recipe, backbone: Backbone) -> Callable[[Tensor], Tensor] | None:
    """The loss weight over noise levels, if the recipe has one."""
    config = recipe.coefficients.weighting
    return None if config is None else partial(loss_weight, config, backbone.process, backbone.prediction)


def open_bank(recipe: Recipe, backbone: Backbone) -> Bank:
    """The finished bank of a recipe, checked against the pretrained model.

    Raises:
        BankError: there is none, or it was drawn from another model.
    """
    bank = Bank(recipe.bank_path)
    check_matches(bank.card, backbone)
    return bank


def open_heldout_bank(recipe: Recipe, backbone: Backbone) -> Bank | None:
    """The held-out bank of a recipe, which also runs without a bank are measured on; None where nobody has drawn it.

    Raises:
        BankError: it was drawn from another model.
    """
    if not (recipe.heldout_bank_path / CARD).is_file():
        return None
    bank = Bank(recipe.heldout_bank_path)
    check_matches(bank.card, backbone)
    return bank


def trained_besides(recipe: Recipe, backbone: Backbone) -> tuple[str, ...]:
    """What trains beside any tuner: the class table, where it got new rows."""
    table = backbone.class_table
    return () if recipe.labels.kind == "keep" or table is None else (table,)


def prepare(recipe: Recipe, display: Display | None = None) -> Prepared:
    """Load the model, open the target, and check all that a later stage would trip over.

    Raises:
        DifftuningError: the model, the target, the labels, a solver, the feature network or a tracker cannot be used.
    """
    if present().sharded and (found := [key for key in WHOLE if getattr(recipe, key) is not None]):
        raise ConfigError(
            f"{found[0]} needs all weights in every process, and they were launched to share them; launch with --multi_gpu, or set "
            f"{found[0]} to null"
        )
    # Before a model is fetched that may take long.
    check_installed(recipe.trackers)
    feature_network(recipe.evaluation.network, recipe.evaluation.weights)
    backbone = pretrained(recipe)
    chain = chain_of(recipe, backbone)
    for part in (recipe.bank, recipe.sampling):
        scheduler = make_scheduler(part.solver, backbone.scheduler_config, part.spacing)
        if part is recipe.sampling or reads_bank(recipe, chain):
            trajectory(backbone.process, scheduler, part.steps)
    build_tuner(recipe.tuner).attach(backbone.skeleton())
    if drawn_by(recipe, chain).uses_bank:  # which a chain that is measured may come to late
        both, generator = ChainOfForgetting(Constant(0.5), Constant(0.5)), torch.Generator()
        build_realisation(recipe.realisation).draw(both, backbone.clock, recipe.training.batch_size, generator)
    target, controls = target_of(recipe, backbone, display)
    if controls is not None and (reads_bank(recipe, chain) or controls.config.measure_every):
        check_conventions(controls, target, display or Silent())
    backbone.check_labels(recipe.labels, target.class_names)
    check_condition(recipe, backbone)
    if recipe.evaluation.part == "test" and not target.parts.test:
        raise ConfigError(
            f"evaluation.part=test judges on the images that data.per_class leaves over, and of {target.source.name} none are; set "
            "it to null, or data.per_class"
        )
    return Prepared(recipe, backbone, chain, target, controls)


def target_of(recipe: Recipe, backbone: Backbone, display: Display | None = None) -> tuple[Target, Controls | None]:
    """The images of a recipe as this model takes them, and their control maps where it is told of any.

    Raises:
        ConfigError: of some sets images are mirrored and of others not, which their maps cannot be.
        DataError: there are no usable ones.
    """
    if recipe.control is not None:
        needs_all(recipe.data, "control")
        if len(recipe.data.flips) > 1:
            raise ConfigError(
                "data.flip differs between the sets of data.also, and control maps are mirrored in all or none; give all the same"
            )
    with late(display or Silent(), "encode the images") as progress:
        target = open_target(recipe.data, backbone.image_size, backbone.codec, None, progress, backbone.by_prompt)
    return (target, None) if recipe.control is None else with_controls(recipe.control, target)


def assemble(prepared: Prepared) -> Assembly:
    """Build everything a run needs; the bank must be there already. The model becomes the one that training moves."""
    recipe, backbone, chain, target = prepared.recipe, prepared.backbone, prepared.chain, prepared.target
    folder = RunFolder(recipe.folder).make()
    bank = open_bank(recipe, backbone) if prepared.needs_bank else None
    heldout_bank = open_heldout_bank(recipe, backbone)
    tuner = build_tuner(recipe.tuner)
    items = None if bank is None else items_of(bank, recipe.control, backbone)
    before = Before(recipe, backbone, tuner)
    rows = backbone.change_labels(recipe.labels, target.class_names)
    conditions = bank_rows(recipe, items, before.labels, backbone)  # which may move the null label
    streams = TwoStreams(
        target=target.train,
        target_order=Order(recipe.seed * 4 + TARGET_STREAM, len(target.train)),
        rows=rows,
        null_label=backbone.labels.null,
        default_label=backbone.default_label,
        label_dropout=recipe.training.label_dropout,
        flip=any(recipe.data.flips),
        bank=items,
        bank_order=Order(recipe.seed * 4 + BANK_STREAM, len(items)) if items is not None else None,
        retention_labels=recipe.training.retention_labels or 0.0,
        label_rows=rows[target.trained_classes],
        bank_rows=conditions,
        target_maps=None if prepared.controls is None else prepared.controls.train,
        bank_maps=items.maps if isinstance(items, ControlledBank) else None,
    )
    processes = present()
    by_time = _weight(recipe, backbone)
    drawn = DrawnStreams(
        prepared.drawn,
        backbone.clock,
        build_realisation(recipe.realisation),
        streams,
        recipe.training.batch_size,
        recipe.seed,
        by_time,
        processes,
    )
    plain = DiffTuning(backbone, backbone.process, backbone.prediction, backbone.learned_variance)
    parameters = tuner.attach(backbone.network, trained_besides(recipe, backbone), recipe.seed)
    log = TrackedLog(Unwritten(), ())
    if processes.main:
        log = TrackedLog(MetricsLog(folder.metrics), open_trackers(recipe.trackers, folder.path, recipe.name))
    trainer = Trainer(
        network=backbone.network,
        parameters=parameters,
        objective=before.objective(plain, backbone, chain.at(0).xi, by_time),
        kept={"heldout_by_u": chain} if isinstance(chain, AdaptiveChain) else {},
        penalty=anchor_of(recipe, plain, parameters, backbone, items),
        streams=for_device(drawn, backbone.device),
        checkpoints=Checkpoints(folder.checkpoints, recipe.training.keep),
        log=log,
        config=recipe.training,
        optim=recipe.optim,
        ema_config=recipe.ema,
        seed=recipe.seed,
        identity=identity_of(recipe, before.digest, backbone.noise_digest(), items, target, prepared.controls),
    )
    controls = prepared.controls
    return Assembly(
        recipe, folder, backbone, tuner, before.digest, target, controls, rows, chain, items, heldout_bank, log, trainer
    )
