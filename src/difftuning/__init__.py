"""Move a pretrained diffusion model to a new domain without letting it forget what still transfers.

The public names are loaded when they are first used, so `import difftuning` costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from difftuning.backbones.loading import load as load
    from difftuning.bank.read import Bank as Bank
    from difftuning.coefficients.chain import ChainOfForgetting as ChainOfForgetting
    from difftuning.errors import DifftuningError as DifftuningError
    from difftuning.objectives.diff_tuning import DiffTuning as DiffTuning
    from difftuning.types import Batch as Batch
    from difftuning.types import Condition as Condition
    from difftuning.types import Draw as Draw
    from difftuning.workflows.diagnose import diagnose as diagnose
    from difftuning.workflows.evaluate import evaluate as evaluate
    from difftuning.workflows.recipe import Recipe as Recipe
    from difftuning.workflows.recipe import load as load_recipe
    from difftuning.workflows.report import report as report
    from difftuning.workflows.sample import sample as sample
    from difftuning.workflows.train import train as train

_HOMES = {
    "Bank": "difftuning.bank.read",
    "Batch": "difftuning.types",
    "ChainOfForgetting": "difftuning.coefficients.chain",
    "Condition": "difftuning.types",
    "DiffTuning": "difftuning.objectives.diff_tuning",
    "DifftuningError": "difftuning.errors",
    "Draw": "difftuning.types",
    "Recipe": "difftuning.workflows.recipe",
    "diagnose": "difftuning.workflows.diagnose",
    "evaluate": "difftuning.workflows.evaluate",
    "load": "difftuning.backbones.loading",
    "load_recipe": "difftuning.workflows.recipe:load",
    "report": "difftuning.workflows.report",
    "sample": "difftuning.workflows.sample",
    "train": "difftuning.workflows.train",
}

__all__ = [
    "Bank",
    "Batch",
    "ChainOfForgetting",
    "Condition",
    "DiffTuning",
    "DifftuningError",
    "Draw",
    "Recipe",
    "__version__",
    "diagnose",
    "evaluate",
    "load",
    "load_recipe",
    "report",
    "sample",
    "train",
]


def __getattr__(name: str) -> Any:
    """Load a public name at its first use (PEP 562)."""
    if name == "__version__":
        from importlib.metadata import version

        return version("difftuning")
    if name not in _HOMES:
        raise AttributeError(f"module 'difftuning' has no attribute {name!r}")
    home, _, other_name = _HOMES[name].partition(":")
    value = getattr(import_module(home), other_name or name)
    globals()[name] = value  # the next use finds it without coming here
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
