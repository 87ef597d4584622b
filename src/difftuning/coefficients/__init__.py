"""psi and xi over the forgetting clock, the chain that they make, and how it acts on a batch."""

from difftuning.coefficients.chain import ChainOfForgetting, build_chain
from difftuning.coefficients.families import KINDS, Psi, Xi
from difftuning.coefficients.realisation import (
    KINDS as REALISATIONS,
)
from difftuning.coefficients.realisation import (
    Realisation,
    RealisationConfig,
    Source,
    Timestep,
    Weight,
    build_realisation,
)
from difftuning.coefficients.weighting import KINDS as WEIGHTINGS
from difftuning.coefficients.weighting import Weighting, loss_weight

__all__ = [
    "KINDS",
    "REALISATIONS",
    "WEIGHTINGS",
    "ChainOfForgetting",
    "Psi",
    "Realisation",
    "RealisationConfig",
    "Source",
    "Timestep",
    "Weight",
    "Weighting",
    "Xi",
    "build_chain",
    "build_realisation",
    "loss_weight",
]
