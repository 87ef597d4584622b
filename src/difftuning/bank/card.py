"""What a bank is: its settings, the model it was drawn from, its shards; and how two of these are compared."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Protocol

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from difftuning.bank.origin import Origin
from difftuning.config.difference import flat
from difftuning.config.precision import Precision
from difftuning.config.section import Section
from difftuning.errors import BankError, ConfigError
from difftuning.sampling.loop import SolverName, Spacing

CARD, PLAN = "card.json", "plan.json"
_SHOWN = 120
"""Letters of a value in a message."""


def read_prompts(given: Any) -> Any:
    """The prompts of a text file, one a line; anything else as it is.

    Raises:
        ConfigError: there is no such file, or no prompt in it.
    """
    if not isinstance(given, str):
        return given
    try:
        lines = Path(given).expanduser().read_text(encoding="utf-8-sig").splitlines()
    except (OSError, ValueError) as reason:
        raise ConfigError(f"bank.prompts: {given} is no text file with one prompt a line ({reason})") from reason
    found = tuple(dict.fromkeys(line.strip() for line in lines if line.strip()))
    if not found:
        raise ConfigError(f"bank.prompts: there is no prompt in {given}; write one a line, or set it to null")
    return found


class BankConfig(Section):
    """How a bank is drawn."""

    count: int = Field(10_000, gt=0)
    """Items; the paper's studies use 5,000 to 200,000."""
    images: str | None = None
    """Real images of the source domain in the place of drawn ones, as `data.target` names them: a random `count` of them, under no
    condition. Null to draw from the pretrained model."""
    prompts: Annotated[tuple[str, ...] | None, BeforeValidator(read_prompts)] = None
    """For text-to-image: what items are drawn under, a list, or a text file with one prompt a line, which is read at once. Null for
    the default prompt."""
    solver: SolverName = "dpm++"
    """The diffusers scheduler that makes the steps."""
    steps: int = Field(25, gt=0)
    """Steps of the solver; the paper finds the bank robust to them (Fig. 7a)."""
    spacing: Spacing | None = None
    """Which timesteps they are, as `sampling.spacing` has it; null as the model's scheduler says."""
    guidance: float = Field(1.5, ge=0)
    """Classifier-free guidance, 1 is off; 1.5 is what DiT's best distances were measured with."""
    # YAML reads a bare null as None.
    labels: Annotated[
        Literal["balanced", "uniform", "null"], BeforeValidator(lambda given: "null" if given is None else given)
    ] = "balanced"
    """What items are drawn under: all classes in turn, each round in an order of its own, so that a bank smaller than the classes
    are many holds some of all kinds; a class at random; or no condition. Training sees it with
    `training.retention_condition=drawn` alone."""
    seed: int = 0
    """Item i depends on (seed, i) alone."""
    batch_size: int = Field(64, gt=0)
    """Items drawn at once. Kernels round differently at another size, so bytes, but not images, depend on it."""
    shard_size: int = Field(512, gt=0)
    """Items a file, which is what a kill can cost."""
    precision: Precision = "no"
    """What the model computes in; `auto` is bf16, half the time, where the processor has it. Another precision is another bank."""
    compile: bool | None = None
    """Compile the blocks of the network (torch.compile): the first batch takes a minute or more, later ones less. Compiled kernels
    round differently, so it is another bank. Null does not."""
    dtype: Literal["float16", "float32"] = "float16"
    """How latents are stored."""

    @model_validator(mode="after")
    def _nothing_to_guide(self) -> BankConfig:
        if self.labels == "null" and self.guidance != 1:
            raise ValueError(f"guidance={self.guidance:g} has nothing to guide with labels=null; set guidance=1")
        if self.labels == "null" and self.prompts is not None:
            raise ValueError("labels=null draws under no condition, so prompts are of no use; leave one of them out")
        return self


class Labels(Protocol):
    """What a bank needs of a label space."""

    @property
    def null(self) -> int:
        """The label for "no condition"."""
        ...

    def __len__(self) -> int:
        """The number of classes, the null label not counted."""
        ...


class Described(Protocol):
    """What a card says of a model; a `difftuning.backbones.Backbone` is one."""

    @property
    def name(self) -> str:
        """Where it was loaded from."""
        ...

    @property
    def labels(self) -> Labels:
        """Its classes."""
        ...

    @property
    def sample_shape(self) -> tuple[int, int, int]:
        """(C, H, W) of one latent."""
        ...

    @property
    def scheduler_config(self) -> Mapping[str, Any]:
        """Its diffusers scheduler config."""
        ...

    @property
    def told(self) -> dict[str, Any] | None:
        """What decides its samples besides labels, weights and size; None for nothing."""
        ...

    def source_digest(self) -> str:
        """The sha256 of the weights and config that a bank is drawn with."""
        ...


class BankModel(BaseModel):
    """The model a bank was drawn from."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    """Where it was loaded from; not compared, since a model may move."""
    digest: str
    """Of its weights and config."""
    sample_shape: tuple[int, int, int]
    """(C, H, W) of one latent."""
    classes: int
    """Without the null label."""
    null_label: int
    """Its row of the class table."""
    scheduler: dict[str, Any]
    """Its scheduler config: the noise table and the prediction type."""


class ShardEntry(BaseModel):
    """One file of a bank."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    file: str = Field(pattern=r"^items-[0-9]{8,}-[0-9]{8,}\.safetensors$")
    """Its name in the folder, which no path leads out of."""
    start: int
    """Its first item."""
    stop: int
    """One past its last item."""
    bytes: int
    """Size of the file."""
    sha256: str
    """Of labels and latents."""


class BankPlan(BaseModel):
    """Everything that decides the content of a bank, known before the first item is drawn."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: Literal[1] = 1
    """Of the folder."""
    model: BankModel
    """Drawn from."""
    clip: float | None
    """x0-hat was kept within [-clip, clip] while sampling (pixel models), None: it was not."""
    config: BankConfig
    """How it was drawn."""
    images: str | None = None
    """The sha256 of the real images that it holds in order; None where items were drawn."""
    text: dict[str, Any] | None = None
    """What a text-to-image model was told besides the prompts of the config; None for other models."""
    origins: tuple[Origin, ...] | None = None
    """Of the first items, where these were copied from another bank; the others were drawn. None where all were drawn."""

    @property
    def copied(self) -> int:
        """How many of the first items were copied from another bank."""
        return self.origins[-1].stop if self.origins else 0


class BankCard(BankPlan):
    """A finished bank."""

    shards: tuple[ShardEntry, ...]
    """Its files, in order of their items."""
    versions: dict[str, str]
    """Of the libraries that drew it, for the reader; another version may round differently."""

    def digest(self) -> str:
        """The sha256 of all that decides or is content; names and versions are left out."""
        # Null changes nothing: a bank of before there was a key keeps its digest.
        unset: dict[str, Any] = {name: True for name in ("images", "text", "origins") if getattr(self, name) is None}
        unset["config"] = {name for name, value in self.config if value is None}
        content = self.model_dump(mode="json", exclude={"versions": True, "model": {"name"}, **unset})
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def describe(model: Described) -> BankModel:
    """What a card says of this model."""
    # diffusers' private entries are versions and lists in random order; only the class among them is content.
    content = {key: value for key, value in model.scheduler_config.items() if key == "_class_name" or key[0] != "_"}
    return BankModel(
        name=model.name,
        digest=model.source_digest(),
        sample_shape=model.sample_shape,
        classes=len(model.labels),
        null_label=model.labels.null,
        scheduler=json.loads(json.dumps(content, default=lambda array: array.tolist())),
    )


def differences(there: BankPlan | BankModel, here: BankPlan | BankModel) -> list[str]:
    """The fields in which two descriptions differ, as `field: there -> here`.

    The model's name is not compared, nor are scheduler entries that only one side has: versions of diffusers add some.
    """
    before, now = flat(there.model_dump(mode="json")), flat(here.model_dump(mode="json"))
    return [
        f"{field}: {_short(before[field])} -> {_short(now[field])}"
        for field in before
        if field in now and before[field] != now[field] and field.removeprefix("model.") != "name"
    ]


def _short(value: Any) -> str:
    """A value in a message; of a long list of prompts its beginning."""
    text = repr(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}... ({len(text)} letters)"


def check_matches(card: BankCard, model: Described) -> None:
    """Refuse a bank that was drawn from another model.

    Raises:
        BankError: with each field in which they differ.
    """
    found = differences(card.model, describe(model))
    if found:
        raise BankError(
            f"the bank was drawn from {card.model.name}, which is not the model {model.name} ({'; '.join(found)}); "
            "give the model that it was drawn from, or build a bank for this one in another folder"
        )
