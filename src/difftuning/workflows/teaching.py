"""The objective of a recipe: denoising, and where it has `distillation` a teacher beside it, the model as it was before."""

from __future__ import annotations

import copy
from collections.abc import Callable

from torch import Tensor

from difftuning.backbones.base import Backbone
from difftuning.backbones.switched_off import SwitchedOff
from difftuning.coefficients.families import Family
from difftuning.objectives.diff_tuning import DiffTuning
from difftuning.objectives.distillation import Distillation
from difftuning.training.interfaces import Objective
from difftuning.tuning import Tuner
from difftuning.workflows.recipe import Recipe


class Before:
    """What is left of a model when its labels change and a tuner is attached.

    Args:
        recipe: which says whether there is a teacher.
        backbone: the model as it still is; copied only where the tuner cannot be switched off to ask it.
        tuner: not attached yet.

    Attributes:
        labels: the model's own.
        digest: of its weights.
    """

    def __init__(self, recipe: Recipe, backbone: Backbone, tuner: Tuner) -> None:
        self.recipe, self.tuner = recipe, tuner
        self.labels, self.digest = backbone.labels, backbone.digest()
        copied = recipe.distillation is not None and not tuner.reversible
        self._copy = copy.deepcopy(backbone) if copied else None

    def objective(
        self, plain: DiffTuning, backbone: Backbone, xi: Family, by_time: Callable[[Tensor], Tensor] | None
    ) -> Objective:
        """The objective, for the changed model with its tuner attached; a teacher's weight is xi, times what that of all is."""
        config = self.recipe.distillation
        if config is None:
            return plain
        teacher = self._copy
        known = backbone.labels if backbone.by_prompt else self.labels
        if teacher is None:
            teacher = SwitchedOff(backbone, self.tuner.off, known, self.recipe.labels, self.digest)
        else:
            teacher.network.eval().requires_grad_(False)
            teacher.codec = backbone.codec  # which it is never asked for
            teacher.labels = known
        # A teacher of prompts knows those of the target too.
        null = None if backbone.by_prompt else teacher.labels.null
        return Distillation(plain, teacher, null, xi, config.weight, by_time)
