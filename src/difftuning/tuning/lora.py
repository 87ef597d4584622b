"""LoRA (Hu et al. 2022) and what else peft has for linear layers, through peft.

The published setting of the paper's baselines, rank 8 on query and value alone, is far behind on DiT (a distance of 81 in DiffFit's
table); the default here is all linear layers of attention and feed-forward.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

from pydantic import Field
from torch import nn

from difftuning.config.section import Section
from difftuning.errors import ConfigError, ModelError, did_you_mean
from difftuning.tuning.base import Tuner
from difftuning.tuning.patterns import matching

LINEAR = (
    *(
        f"*.{name}"
        for name in ("to_q", "to_k", "to_v", "to_out.0", "add_q_proj", "add_k_proj", "add_v_proj", "to_add_out")
    ),
    *(f"*.{layer}.{part}" for layer in ("ff", "ff_context") for part in ("net.0.proj", "net.2")),
    *("*.proj_mlp", "single_transformer_blocks.*.proj_out"),
)
"""Attention and feed-forward layers in the names that diffusers' models share; a model has some of them."""
POINTWISE = ("*.qkv", "*.proj")
"""The attention of EDM's networks, whose linear layers are convolutions of one pixel; LoRA takes them too."""
PEFT = ("fourierft", "ia3", "loha", "lokr", "miss", "oft", "vera")
"""The kinds of peft that pass the conformance suite: no change at the start, exact when off, exact again from a file."""
_RESERVED = {
    "inference_mode": "the loop, which trains",
    "target_modules": "tuner.targets",
    "modules_to_save": "labels",
    "peft_type": "tuner.method",
}
"""Options that are set elsewhere."""


class LoRAConfig(Section):
    """A low-rank change of linear layers."""

    kind: Literal["lora"] = "lora"
    rank: int = Field(16, gt=0)
    """Of the change."""
    alpha: float | None = Field(None, gt=0)
    """The change is multiplied by alpha / rank; null takes the rank."""
    dropout: float = Field(0.0, ge=0, lt=1)
    """Of what enters the change."""
    dora: bool = False
    """Length and direction apart (DoRA, Liu et al. 2024)."""
    targets: tuple[str, ...] | None = Field(None, min_length=1)
    """Patterns of layer names; null for all linear layers of attention and feed-forward."""


class PeftConfig(Section):
    """Another kind that peft has, by peft's own options."""

    kind: Literal["peft"] = "peft"
    method: Literal["fourierft", "ia3", "loha", "lokr", "miss", "oft", "vera"]
    """Which."""
    options: dict[str, Any] = Field(default_factory=dict)
    """Of its config class, such as {r: 8} for loha; what is not given is peft's default."""
    targets: tuple[str, ...] | None = Field(None, min_length=1)
    """Patterns of layer names; null for all linear layers of attention and feed-forward."""


class PeftTuner(Tuner):
    """What peft injects into linear layers; the network keeps its class.

    Attributes:
        model: peft's handle on the network.
    """

    def _attach(self, network: nn.Module) -> dict[str, nn.Parameter]:
        from peft import PeftModel  # takes seconds to import, which other commands need not wait for

        config = self._peft_config(self._targets(network))
        try:
            self.model = PeftModel(network, config)
        except (TypeError, ValueError) as reason:
            raise self._refused(reason) from reason
        return {name: value for name, value in network.named_parameters() if value.requires_grad}

    def _refused(self, reason: Exception) -> ConfigError:
        settings = self.config.model_dump(exclude_none=True)
        return ConfigError(
            f"peft cannot make tuner={settings}: {reason}; change its options, or the layers in tuner.targets"
        )

    def _targets(self, network: nn.Module) -> dict[str, nn.Module]:
        layers = {name: module for name, module in network.named_modules() if isinstance(module, nn.Linear | nn.Conv2d)}
        if self.config.targets is not None:
            return {name: layers[name] for name in matching(layers, self.config.targets, "layer")}
        linear: dict[str, nn.Module] = {name: one for name, one in layers.items() if isinstance(one, nn.Linear)}
        found = [pattern for pattern in LINEAR if _matches(linear, pattern)]
        if not found and self.config.kind == "lora":
            linear = {
                name: layer
                for name, layer in layers.items()
                if isinstance(layer, nn.Conv2d) and layer.kernel_size == (1, 1)
            }
            found = [pattern for pattern in POINTWISE if _matches(linear, pattern)]
        if not found:
            raise ModelError(
                f"{type(network).__name__} has no attention or feed-forward layer under a known name; name layers in "
                "tuner.targets"
            )
        return {name: linear[name] for name in matching(linear, found, "layer")}

    def _peft_config(self, targets: dict[str, Any]) -> Any:
        """The config of peft for layers of these names."""
        from peft.mapping import PEFT_TYPE_TO_CONFIG_MAPPING

        known = {key.value.lower(): value for key, value in PEFT_TYPE_TO_CONFIG_MAPPING.items()}
        made: Any = known[self.config.method]
        fields = {field.name for field in dataclasses.fields(made)}
        for key, value in self.config.options.items():
            if key in _RESERVED:
                raise ConfigError(f"tuner.options.{key} is set by {_RESERVED[key]}")
            if key not in fields:
                raise ConfigError(f"peft's {made.__name__} has no option {key!r}{did_you_mean(key, fields)}")
            if key == "bias" and value != "none":
                raise ConfigError(
                    "tuner.options.bias moves the model's own biases, which then cannot be switched off; use 'none'"
                )
        options = dict(self.config.options)
        if self.config.method == "fourierft":
            options.setdefault("init_weights", True)  # otherwise a fresh one changes the answer
        if self.config.method == "ia3":
            options.setdefault("feedforward_modules", [])
        try:
            return made(target_modules=_exactly(targets), **options)
        except (TypeError, ValueError) as reason:
            raise self._refused(reason) from reason

    @contextmanager
    def _off(self) -> Iterator[None]:
        with self.model.disable_adapter():
            yield

    def _merge(self) -> None:
        self.model.merge_and_unload()

    def save_peft(self, folder: Path) -> None:
        """Write the folder that peft loads: `PeftModel.from_pretrained(network, folder)`."""
        self.model.save_pretrained(str(folder))


class LoRA(PeftTuner):
    """A low-rank change of linear layers, zero at the start."""

    def _peft_config(self, targets: dict[str, Any]) -> Any:
        import peft

        config = self.config
        for name, layer in targets.items():
            widest = min(layer.weight.shape[:2])
            if config.rank > widest:
                raise ConfigError(
                    f"tuner.rank={config.rank} is above the size of {name}, {tuple(layer.weight.shape)}; "
                    f"set it to {widest} or less, or leave that layer out of tuner.targets"
                )
        return peft.LoraConfig(
            r=config.rank,
            lora_alpha=config.rank if config.alpha is None else config.alpha,
            lora_dropout=config.dropout,
            use_dora=config.dora,
            target_modules=_exactly(targets),
        )


def _exactly(names: Iterable[str]) -> str:
    """What peft takes for these layers alone: it takes names in a list for endings."""
    return "|".join(map(re.escape, names))


def _matches(names: dict[str, Any], pattern: str) -> bool:
    try:
        return bool(matching(names, [pattern], "layer"))
    except ConfigError:
        return False
