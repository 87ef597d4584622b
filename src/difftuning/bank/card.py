"""What a bank is: its settings, the model it was drawn from, its shards; and how two of these are compared."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Protocol, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from difftuning.config.precision import Precision
from difftuning.config.section import Section
from difftuning.errors import BankError
from difftuning.sampling.loop import SolverName

CARD, PLAN = "card.json", "plan.json"
Kind = TypeVar("Kind", bound="BankPlan")


class BankConfig(Section):
    """How a bank is drawn."""

    count: int = Field(10_000, gt=0)
    """Items; the paper's studies use 5,000 to 200,000."""
    images: str | None = None
    """Real images of the source domain in the place of drawn ones, as `data.target` names them: a random `count` of them, under no
    condition. Null to draw from the pretrained model."""
    prompts: str | tuple[str, ...] | None = None
    """For text-to-image: what items are drawn under, a list, or a text file with one prompt a line. Null for the default prompt."""
    solver: SolverName = "dpm++"
    """The diffusers scheduler that makes the steps."""
    steps: int = Field(25, gt=0)
    """Steps of the solver; the paper finds the bank robust to them (Fig. 7a)."""
    guidance: float = Field(1.5, ge=0)
    """Classifier-free guidance, 1 is off; 1.5 is what DiT's best distances were measured with."""
    # YAML reads a bare null as None.
    labels: Annotated[
        Literal["balanced", "uniform", "null"], BeforeValidator(lambda given: "null" if given is None else given)
    ] = "balanced"
    """What items are drawn under: all classes in turn, each round in an order of its own, so that a bank smaller than the classes
    are many holds some of all kinds; a class at random; or no condition. Training sees none of it."""
    seed: int = 0
    """Item i depends on (seed, i) alone."""
    batch_size: int = Field(64, gt=0)
    """Items drawn at once. Kernels round differently at another size, so bytes, but not images, depend on it."""
    shard_size: int = Field(512, gt=0)
    """Items a file, which is what a kill can cost."""
    precision: Precision = "no"
    """What the model computes in; `auto` is bf16, half the time, where the processor has it. Another precision is another bank."""
    dtype: Literal["float16", "float32"] = "float16"
    """How latents are stored."""

    @model_validator(mode="after")
    def _nothing_to_guide(self) -> BankConfig:
        if self.labels == "null" and self.guidance != 1:
            raise ValueError(f"guidance={self.guidance:g} has nothing to guide with labels=null; set guidance=1")
        return self


class Labels(Protocol):
    """What a bank needs of a label space."""

    @property
    def null(self) -> int:
        """The label for "no condition"."""
        ...

    @property
    def names(self) -> tuple[str, ...]:
        """The classes, or the prompts."""
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

    def digest(self) -> str:
        """The sha256 of its weights and config."""
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

    file: str
    """Its name in the folder."""
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
    prompts: str | None = None
    """The sha256 of the prompts that items were drawn under; None where the config names none."""


class BankCard(BankPlan):
    """A finished bank."""

    shards: tuple[ShardEntry, ...]
    """Its files, in order of their items."""
    versions: dict[str, str]
    """Of the libraries that drew it, for the reader; another version may round differently."""

    def digest(self) -> str:
        """The sha256 of all that decides or is content; names and versions are left out."""
        # A bank of before there were real images and prompts keeps its digest.
        unset = {name for name in ("images", "prompts") if getattr(self, name) is None}
        unset_too: dict[str, Any] = {**dict.fromkeys(unset, True), "config": unset}
        content = self.model_dump(mode="json", exclude={"versions": True, "model": {"name"}, **unset_too})
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def digest_prompts(model: Described, config: BankConfig) -> str | None:
    """The identity of the prompts that a bank is drawn under, wherever they were read from; None where it names none."""
    return None if config.prompts is None else hashlib.sha256(json.dumps(model.labels.names).encode()).hexdigest()


def describe(model: Described) -> BankModel:
    """What a card says of this model."""
    # diffusers' private entries are versions and lists in random order; only the class among them is content.
    content = {key: value for key, value in model.scheduler_config.items() if key == "_class_name" or key[0] != "_"}
    return BankModel(
        name=model.name,
        digest=model.digest(),
        sample_shape=model.sample_shape,
        classes=len(model.labels),
        null_label=model.labels.null,
        scheduler=json.loads(json.dumps(content, default=lambda array: array.tolist())),
    )


def differences(there: BankPlan | BankModel, here: BankPlan | BankModel) -> list[str]:
    """The fields in which two descriptions differ, as `field: there -> here`.

    The model's name is not compared, nor are scheduler entries that only one side has: versions of diffusers add some.
    """
    before, now = _flat(there.model_dump(mode="json")), _flat(here.model_dump(mode="json"))
    return [
        f"{field}: {before[field]!r} -> {now[field]!r}"
        for field in before
        if field in now and before[field] != now[field] and field.removeprefix("model.") != "name"
    ]


def _flat(value: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, entry in value.items():
        flat |= _flat(entry, f"{prefix}{key}.") if isinstance(entry, dict) else {f"{prefix}{key}": entry}
    return flat


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


def read_card(folder: Path) -> BankCard:
    """The card of a finished bank.

    Raises:
        BankError: there is no finished bank, or its card is damaged.
    """
    if not (folder / CARD).is_file():
        if (folder / PLAN).is_file():
            raise BankError(
                f"the bank {folder} is not finished (no {CARD}); run `difftuning bank build` again to finish it"
            )
        raise BankError(f"there is no bank in {folder} (no {CARD}); make one with `difftuning bank build`")
    return _read(BankCard, folder / CARD)


def read_plan(folder: Path) -> BankPlan | None:
    """The card of a folder, or the plan of an unfinished one, or None where neither is.

    Raises:
        BankError: the file is damaged.
    """
    if (folder / CARD).is_file():
        return _read(BankCard, folder / CARD)
    return _read(BankPlan, folder / PLAN) if (folder / PLAN).is_file() else None


def _read(kind: type[Kind], path: Path) -> Kind:
    try:
        return kind.model_validate_json(path.read_bytes())
    except (OSError, ValidationError) as reason:
        first = " ".join(str(reason).split())[:200]
        raise BankError(f"{path} cannot be read ({first}); remove the folder and build the bank again") from reason
