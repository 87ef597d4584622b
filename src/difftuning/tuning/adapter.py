"""AdaptFormer (Chen et al. 2022): a narrow branch beside the feed-forward layer of each block.

    out = FeedForward(x) + scale * Up(ReLU(Down(x)))

Up starts at zero, so a fresh one changes nothing. The branch is not linear in x and cannot be folded into the weights.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, ClassVar, Literal

from pydantic import Field
from torch import Tensor, nn

from difftuning.config.section import Section
from difftuning.errors import ConfigError, ModelError
from difftuning.tuning.base import Tuner
from difftuning.tuning.blocks import feed_forwards, width_of
from difftuning.tuning.switch import Switch, added, switched_off


class AdaptFormerConfig(Section):
    """A bottleneck beside each feed-forward layer."""

    kind: Literal["adaptformer"] = "adaptformer"
    bottleneck: int = Field(64, gt=0)
    """Its width; 64 is the authors' usual one."""
    scale: float = Field(0.1, gt=0)
    """What the branch is multiplied by."""


class Bottleneck(Switch):
    """The branch."""

    def __init__(self, width: int, bottleneck: int, scale: float) -> None:
        super().__init__()
        self.scale = scale
        self.down, self.up = nn.Linear(width, bottleneck), nn.Linear(bottleneck, width)
        nn.init.kaiming_uniform_(self.down.weight, a=5**0.5)
        nn.init.zeros_(self.down.bias)
        nn.init.zeros_(self.up.weight)
        nn.init.zeros_(self.up.bias)

    def forward(self, x: Tensor) -> Tensor:
        """What is added to the layer's answer."""
        answer: Tensor = self.scale * self.up(nn.functional.relu(self.down(x)))
        return answer


class AdaptFormer(Tuner):
    """Adds a branch to every feed-forward layer, under the name `adaptformer` in it."""

    mergeable: ClassVar[bool] = False

    def _attach(self, network: nn.Module) -> dict[str, nn.Parameter]:
        layers = feed_forwards(network, "AdaptFormer")
        for name, layer in layers.items():
            width = width_of(layer)
            if self.config.bottleneck >= width:
                raise ConfigError(
                    f"tuner.bottleneck={self.config.bottleneck} is no bottleneck for {name}, which is {width} wide; lower it"
                )
            layer.adaptformer = Bottleneck(width, self.config.bottleneck, self.config.scale)
            layer.register_forward_hook(_beside)
        return added(network, "adaptformer")

    @contextmanager
    def _off(self) -> Iterator[None]:
        with switched_off(self.network):
            yield

    def _merge(self) -> None:
        raise ModelError(
            "AdaptFormer's branch has a nonlinearity and cannot be folded into the weights; keep the tuner's file beside the model"
        )


# Not a closure: a copy of the network has branches of its own.
def _beside(layer: Any, given: tuple[Tensor, ...], answer: Tensor) -> Tensor | None:
    return answer + layer.adaptformer(given[0]) if layer.adaptformer.on else None
