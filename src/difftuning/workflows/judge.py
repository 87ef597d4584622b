"""Who judges samples: held-out and training images of a target, seen by a feature network."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from difftuning.backbones.base import Backbone
from difftuning.data.latent_files import LatentFiles
from difftuning.data.latents import LatentSet
from difftuning.data.target import Target
from difftuning.errors import DataError
from difftuning.evaluation import fidelity
from difftuning.evaluation.features import FeatureNetwork, feature_network
from difftuning.evaluation.fidelity import Measures, Reference
from difftuning.results import BEST, CURVE, OVER_NETWORK, Row
from difftuning.types import Condition
from difftuning.workflows.controls import Controls, UnderMaps
from difftuning.workflows.display import Display
from difftuning.workflows.drawing import Conditions, draw_images
from difftuning.workflows.pretrained import device_of
from difftuning.workflows.recipe import Recipe

PASS = 64
"""Images between two movements of the bar."""


def judged_on(recipe: Recipe, target: Target) -> Target:
    """A target with the images that its recipe is judged on as the held-out ones; those that are left over need to be there."""
    if recipe.evaluation.part is None:
        return target
    assert target.test is not None
    return replace(target, heldout=target.test)


def too_few(recipe: Recipe, target: Target) -> str | None:
    """Why samples cannot be judged by what a recipe holds out or leaves over of a target; None where they can."""
    left_over = recipe.evaluation.part is not None
    if (count := len(target.parts.test if left_over else target.heldout)) >= fidelity.LEAST:
        return None
    what, mend = (
        ("left over", "lower data.per_class") if left_over else ("held out", f"set data.heldout={fidelity.LEAST}")
    )
    return f"{count} image of {target.source.name} is {what}, and distances need {fidelity.LEAST}; {mend}"


@dataclass
class Judge:
    """Held-out and training images of a target, against which any samples are judged.

    Attributes:
        recipe: its evaluation and sampling settings.
        target: the images, as `judged_on` has them.
        controls: their maps, which samples are drawn under; None where there are none.
        network: the feature network of the recipe.

    Raises:
        DataError: there are too few images to judge by.
    """

    recipe: Recipe
    target: Target
    controls: Controls | None = None
    network: FeatureNetwork = field(init=False)

    def __post_init__(self) -> None:
        if (why := too_few(self.recipe, self.target)) is not None:
            raise DataError(why)
        self.target = judged_on(self.recipe, self.target)
        self.network = feature_network(self.recipe.evaluation.network, self.recipe.evaluation.weights)
        self.network.network.to(device_of(self.recipe.device))

    @cached_property
    def heldout(self) -> Reference:
        """The held-out images."""
        return self._reference(self.target.heldout)

    @cached_property
    def training(self) -> Reference:
        """The training images."""
        return self._reference(self.target.train)

    def _reference(self, part: LatentSet | LatentFiles) -> Reference:
        return Reference.of(self.target.pictures(part, self.recipe.evaluation.references), self.network)

    def conditions(self, rows: Tensor, count: int) -> Conditions:
        """What `count` images are drawn under: the classes in the proportions of the held-out images, and their maps."""
        labels = rows[self.target.heldout.labels]
        places = torch.arange(count) * len(labels) // count
        if self.controls is None:
            return Condition(labels[places])
        return UnderMaps(labels[places], self.controls.heldout, places)

    def draw(self, model: Backbone, rows: Tensor, display: Display, before: Backbone | None = None) -> Tensor:
        """As many samples as the recipe says; `before` is the pretrained model, for domain guidance."""
        count = self.recipe.evaluation.samples
        with display.progress(f"samples of {self.recipe.name}", count) as task:
            return draw_images(model, self.conditions(rows, count), self.recipe.sampling, task.advance, before)

    def distances(self, images: Tensor, display: Display) -> Measures:
        """Distances, precision, recall and memorised share of (N, 3, H, W) uint8 images."""
        with display.progress(f"features of {self.recipe.name}", len(images)) as task:

            def passing() -> Any:
                for part in torch.split(images, PASS):
                    yield part
                    task.advance(len(part))

            return fidelity.evaluate(passing(), self.heldout, self.training, self.network)

    def row(
        self,
        method: str,
        metric: str,
        value: float,
        step: int,
        setting: dict[str, Any] | None = None,
        n: int | None = None,
        against: str | None = None,
    ) -> Row:
        """One result row of this target; `against` tells what it was measured on where it is not a matter of features."""
        over_network = metric.removesuffix(CURVE).removesuffix(BEST) in OVER_NETWORK
        heldout = self.target.heldout
        return Row(
            study=self.recipe.name.split("/")[0],
            target=self.recipe.data.target,
            method=method,
            tuner=self.recipe.tuner.kind,
            setting=setting or {},
            seed=self.recipe.seed,
            step=step,
            metric=metric,
            value=value,
            network=self.network.name if over_network else None,
            n=self.recipe.evaluation.samples if over_network else n,
            against=heldout.digest if over_network else against,
            real=min(len(heldout), self.recipe.evaluation.references) if over_network else None,
        )
