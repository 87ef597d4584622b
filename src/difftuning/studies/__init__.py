"""Studies: one file for a table or figure of the paper, or for a question of ours. They only describe; `study` runs them."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from difftuning.studies import (
    ablation,
    bank_guidance,
    bank_steps,
    closer,
    continual,
    control,
    convergence,
    distillation,
    drift,
    edm,
    families,
    forgetting,
    guidance,
    headline,
    images_per_class,
    inference_steps,
    memory,
    probe,
    realisation,
    regularisers,
    retention_map,
    reweighting,
    sensitivity,
    settings,
    source_model,
    targets,
    tuned,
    tuners,
    unseen,
)
from difftuning.studies.base import Cell, Study

_ALL = (
    targets,
    headline,
    unseen,
    convergence,
    closer,
    ablation,
    sensitivity,
    memory,
    bank_steps,
    bank_guidance,
    source_model,
    inference_steps,
    distillation,
    reweighting,
    realisation,
    drift,
    forgetting,
    regularisers,
    guidance,
    settings,
    tuned,
    tuners,
    retention_map,
    images_per_class,
    probe,
    continual,
    control,
    families,
    edm,
)
KINDS: Mapping[str, Study] = MappingProxyType({module.STUDY.name: module.STUDY for module in _ALL})
"""Name to study, in the order in which `study all` runs them."""

__all__ = ["KINDS", "Cell", "Study"]
