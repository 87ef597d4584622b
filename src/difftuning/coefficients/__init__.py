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

__all__ = [
    "KINDS",
    "REALISATIONS",
    "ChainOfForgetting",
    "Psi",
    "Realisation",
    "RealisationConfig",
    "Source",
    "Timestep",
    "Weight",
    "Xi",
    "build_chain",
    "build_realisation",
]
