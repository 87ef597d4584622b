"""From a recipe to objects, once, in reading order: model, target, bank, trainer."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from difftuning.backbones.base import Backbone
from difftuning.backbones.loading import load
from difftuning.bank.card import check_matches
from difftuning.bank.mix import TwoStreams
from difftuning.bank.read import Bank
from difftuning.coefficients.chain import ChainOfForgetting, build_chain
from difftuning.coefficients.realisation import build_realisation
from difftuning.data.order import Order
from difftuning.data.target import Target, open_target
from difftuning.objectives.diff_tuning import DiffTuning
from difftuning.results import MetricsLog, RunFolder
from difftuning.training.checkpoints import Checkpoints
from difftuning.training.streams import DrawnStreams
from difftuning.training.trackers import TrackedLog, open_trackers
from difftuning.training.trainer import Trainer
from difftuning.tuning import KINDS as TUNERS
from difftuning.workflows.recipe import Recipe

TARGET_STREAM, BANK_STREAM = 1, 2
"""Offsets of the seeds of the two orders, so that they are unrelated."""


@dataclass(frozen=True)
class Assembly:
    """A run, ready to go.

    Attributes:
        recipe: what it was made from.
        folder: where it lives.
        backbone: the model, with the target's labels, which training moves.
        target: the images, split.
        rows: (K,) int64, the model's row of each target class.
        chain: psi and xi.
        bank: the knowledge bank; None where psi is 1 everywhere.
        log: where the loop's metrics go.
        trainer: the loop.
    """

    recipe: Recipe
    folder: RunFolder
    backbone: Backbone
    target: Target
    rows: Tensor
    chain: ChainOfForgetting
    bank: Bank | None
    log: TrackedLog
    trainer: Trainer


def pretrained(recipe: Recipe) -> Backbone:
    """The model as it was published, on the device, with its own labels."""
    if recipe.threads is not None:
        torch.set_num_threads(recipe.threads)
    device = recipe.device or ("cuda" if torch.cuda.is_available() else "cpu")
    return load(recipe.model).to(device)


def chain_of(recipe: Recipe, backbone: Backbone) -> ChainOfForgetting:
    """Psi and xi for this model."""
    coefficients = recipe.coefficients
    return build_chain(coefficients.psi, coefficients.xi, backbone.process, backbone.clock, coefficients.any_direction)


def open_bank(recipe: Recipe, backbone: Backbone) -> Bank:
    """The finished bank of a recipe, checked against the pretrained model.

    Raises:
        BankError: there is none, or it was drawn from another model.
    """
    bank = Bank(recipe.bank_path)
    check_matches(bank.card, backbone)
    return bank


def assemble(recipe: Recipe, backbone: Backbone) -> Assembly:
    """Build everything a run needs; the bank must be there already.

    Args:
        recipe: what to build.
        backbone: the pretrained model of the recipe, as it was published; training moves it.
    """
    folder = RunFolder(recipe.folder).make()
    chain = chain_of(recipe, backbone)
    bank = open_bank(recipe, backbone) if chain.uses_bank else None
    target = open_target(recipe.data, backbone.image_size, backbone.codec)
    rows = backbone.change_labels(recipe.labels, target.class_names)
    tuner = TUNERS[recipe.tuner.kind][1](recipe.tuner)
    streams = TwoStreams(
        target=target.train,
        target_order=Order(recipe.seed * 4 + TARGET_STREAM, len(target.train)),
        rows=rows,
        null_label=backbone.labels.null,
        label_dropout=recipe.training.label_dropout,
        flip=recipe.data.flip,
        bank=bank,
        bank_order=Order(recipe.seed * 4 + BANK_STREAM, len(bank)) if bank is not None else None,
    )
    log = TrackedLog(MetricsLog(folder.metrics), open_trackers(recipe.trackers, folder.path, recipe.name))
    trainer = Trainer(
        network=backbone.network,
        parameters=tuner.attach(backbone.network),
        objective=DiffTuning(backbone, backbone.process, backbone.prediction, backbone.learned_variance),
        streams=DrawnStreams(
            chain,
            backbone.clock,
            build_realisation(recipe.realisation),
            streams,
            recipe.training.batch_size,
            recipe.seed,
        ),
        checkpoints=Checkpoints(folder.checkpoints, recipe.training.keep),
        log=log,
        config=recipe.training,
        optim=recipe.optim,
        ema_config=recipe.ema,
        seed=recipe.seed,
        identity={
            "recipe_digest": recipe.digest(),
            "bank_digest": "" if bank is None else bank.digest,
            "data_digest": target.train.digest,
        },
    )
    return Assembly(recipe, folder, backbone, target, rows, chain, bank, log, trainer)
