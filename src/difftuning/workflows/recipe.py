"""A recipe: everything a run is made from, in one complete, frozen, saved value."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from difftuning.backbones.labels import LabelChange, Replace
from difftuning.backbones.prompts import TextConfig
from difftuning.bank.card import BankConfig
from difftuning.coefficients.families import AdaptiveConfig, Fixed, PowerConfig, Psi, Xi
from difftuning.coefficients.realisation import RealisationConfig, SourceConfig
from difftuning.coefficients.weighting import Weighting
from difftuning.config.loading import load_recipe
from difftuning.config.overrides import apply_overrides
from difftuning.config.precision import Precision
from difftuning.config.section import Section
from difftuning.config.validate import validate
from difftuning.data.control_maps import ControlConfig
from difftuning.data.sources import DataConfig
from difftuning.errors import ConfigError
from difftuning.noise.clock import ClockConfig
from difftuning.objectives.anchor import AnchorConfig
from difftuning.objectives.distillation import DistillationConfig
from difftuning.run_folder import RunFolder
from difftuning.sampling.loop import SolverName, Spacing
from difftuning.training.config import TrainingConfig
from difftuning.training.ema import EMAConfig
from difftuning.training.optim import OptimConfig
from difftuning.training.trackers import NAMES, TrackerName
from difftuning.tuning import FullConfig, TunerConfig
from difftuning.workflows.recipes import locate

LEFT_OUT = {"name", "out", "bank", "bank_folder", "device", "threads", "trackers", "evaluation", "sampling"}
"""Keys that do not decide a training."""
TELLS = {"log_every", "heldout_every", "sample_every", "save_every", "keep", "use_best"}
"""Those of the section `training`."""


class CoefficientsConfig(Section):
    """How reconsolidation and retention are weighted over the forgetting clock u."""

    psi: Psi = AdaptiveConfig()
    """Reconsolidation, rising with u; the paper's is u (power with tau = 1), and power with tau = 0 is standard fine-tuning."""
    xi: Xi | None = None
    """Retention, falling with u; null for 1 less `psi`, which is the paper's."""
    whole_target: bool | None = None
    """Train on the target at its whole weight, and retain beside it: psi is then 1 at each u, and xi is 1 less the `psi` above.
    Null is yes for an adaptive psi, and no for all others."""
    any_direction: bool = False
    """Allow a psi that falls or a xi that rises, for ablations."""
    weighting: Weighting | None = None
    """A weight of the loss over noise levels besides, of both streams alike; null for none."""

    @model_validator(mode="after")
    def _one_retention(self) -> CoefficientsConfig:
        if self.whole_target and self.xi is not None:
            raise ValueError("whole_target takes retention from psi, and xi is set besides; leave one of the two out")
        if self.psi.kind == "adaptive" and self.xi is not None:
            raise ValueError(
                "an adaptive psi, the default, decides retention too, and xi is set besides; set coefficients.psi={kind: power, "
                "tau: 1}, or coefficients.xi=null"
            )
        return self

    @property
    def keeps_target(self) -> bool:
        """Whether the target is trained on at its whole weight, with retention beside it."""
        return self.psi.kind == "adaptive" if self.whole_target is None else self.whole_target

    def plain(self) -> CoefficientsConfig:
        """Those of standard fine-tuning that is the same in all else."""
        return self.model_copy(update={"psi": PowerConfig(tau=0), "xi": None, "whole_target": None})


class SamplingConfig(Section):
    """How images are drawn from the trained model, for grids, evaluation and diagnosis."""

    solver: SolverName = "ddim"
    """The diffusers scheduler that makes the steps."""
    steps: int = Field(50, gt=0)
    """Steps of the solver."""
    spacing: Spacing | None = None
    """Which timesteps they are, of models with a table of them: `trailing` starts at the last one, where all is noise; `leading`
    starts below it, and solvers of more than 100 steps too far below; `linspace` has both ends. Null as the scheduler says."""
    guidance: float = Field(1.5, ge=0)
    """Classifier-free guidance; 1 is off."""
    negative: Literal["pretrained"] | None = None
    """What guidance leads away from: null for the model's own answer without a class, `pretrained` for the pretrained model's
    (domain guidance), with one pass of it more a step."""
    interpolation: Fixed | None = None
    """Draw a finished run from theta0 + a(u) (theta - theta0), a function of u like psi: `constant` for the same share of the
    fine-tuning everywhere, `step` to leave little noise to the pretrained weights; null for theta itself. Other curves
    are read in the middle of each tenth of u."""
    clip: float | None = Field(None, gt=0)
    """Keep the clean estimate within this range, for pixel models; null takes 1 for pixels and no limit for latents."""
    batch_size: int = Field(64, gt=0)
    """Samples a pass; it does not change them."""
    precision: Precision = "no"
    """What the model computes in; `auto` is bf16, half the time, where the processor has it."""
    seed: int = Field(1234, ge=0)
    """Sample i depends on this seed and i alone."""


class EvaluationConfig(Section):
    """How samples are compared with held-out images of the target."""

    network: str = "efficientnet-lite0"
    """The feature network: efficientnet-lite0, inception, or module:package.module:Class."""
    weights: str | None = None
    """A weights file for the network; null takes its own."""
    part: Literal["test"] | None = None
    """`test`: judge on the images that `data.per_class` leaves over, which decide nothing while training; null for the held-out
    ones, which an adaptive psi and `training.use_best` look at."""
    samples: int = Field(1000, gt=1)
    """How many images are drawn."""
    references: int = Field(10_000, gt=1)
    """At most so many held-out images, and as many training images, are compared with: spread over all there are. The features of
    a large target would take longer than its training."""
    heldout_draws: int = Field(256, gt=1)
    """Draws in each of the ten bins of u of the held-out error."""
    fisher_draws: int | None = Field(None, gt=0)
    """Bank items, one backward pass each, behind the weights of the Fisher-weighted drift; null leaves it out."""
    distance_every: int | None = Field(None, gt=0)
    """Steps between measurements of the distances while training, of `samples` images each time; null measures the end alone."""


class Recipe(Section):
    """One run: the model, the target, and all that decides what comes of them."""

    name: str = "run"
    """For tables and pages."""
    out: str = "runs/run"
    """The run folder; running the same recipe again continues there."""
    seed: int = Field(0, ge=0)
    """Of the data order, the draws, the noise and the dropout."""
    device: str | None = None
    """Where to run: cpu, cuda, cuda:1, mps. Null takes the first CUDA device, else the CPU."""
    threads: int | None = Field(None, gt=0)
    """CPU threads; null leaves them to PyTorch."""
    model: str = "dit-icons-32"
    """The pretrained model: a zoo name, a pipeline folder, or a hub name."""
    data: DataConfig
    """The target."""
    labels: LabelChange = Replace()
    """What becomes of the model's classes."""
    clock: ClockConfig | None = None
    """The training law of t, under whose rank psi and xi are functions; null for that which models of the family are trained by."""
    resolution: int | None = Field(None, gt=0)
    """The side of images in pixels, for UNets and text-to-image models; null for what the model was trained at."""
    text: TextConfig | None = None
    """What only text-to-image models are told; null for what is usual."""
    control: ControlConfig | None = None
    """Train a ControlNet upon the model, which is then told of a map of each image; null for none."""
    bank: BankConfig = BankConfig()
    """How the knowledge bank is drawn."""
    bank_folder: str | None = None
    """Where the bank is; null for `OUT/bank`. Runs from one model can share one."""
    coefficients: CoefficientsConfig = CoefficientsConfig()
    """psi and xi."""
    realisation: RealisationConfig = SourceConfig()
    """How psi and xi act."""
    distillation: DistillationConfig | None = None
    """Retention by a frozen copy of the model in the place of the bank (App. C of the paper); null for the bank."""
    anchor: AnchorConfig | None = None
    """A pull of the weights towards the pretrained ones besides, for comparison; null for none."""
    tuner: TunerConfig = FullConfig()
    """Which parameters move."""
    optim: OptimConfig = OptimConfig()
    """The optimiser."""
    training: TrainingConfig = TrainingConfig()
    """How long and how often."""
    ema: EMAConfig = EMAConfig(kind="halflife")
    """The average of the weights."""
    trackers: Annotated[
        tuple[TrackerName, ...], BeforeValidator(lambda given: (given,) if given in NAMES else given)
    ] = ()
    """Where metrics go besides metrics.jsonl: tensorboard, wandb; one name or a list."""
    sampling: SamplingConfig = SamplingConfig()
    """How images are drawn."""
    evaluation: EvaluationConfig = EvaluationConfig()
    """How they are judged."""

    @model_validator(mode="after")
    def _teacher_and_realisation(self) -> Recipe:
        if self.distillation is not None and self.realisation.kind == "timestep":
            raise ValueError(
                "distillation weighs the teacher by xi(u) over the model's own law of noise, and realisation.kind=timestep draws "
                "another one; use realisation.kind=source"
            )
        return self

    @model_validator(mode="after")
    def _measured_while_training(self) -> Recipe:
        if self.coefficients.psi.kind != "adaptive":
            return self
        if self.distillation is not None:
            raise ValueError(
                "an adaptive psi, the default, changes xi while training, and a teacher is weighed by one xi; set "
                "coefficients.psi={kind: power, tau: 1}"
            )
        if not self.training.heldout_every:
            raise ValueError(
                "an adaptive psi, the default, follows the held-out error, and training.heldout_every=0 never measures it; set it, "
                "or coefficients.psi={kind: power, tau: 1}, which is the paper's"
            )
        return self

    @model_validator(mode="after")
    def _judged_with_maps(self) -> Recipe:
        if self.control is not None and self.evaluation.part is not None:
            raise ValueError(
                "evaluation.part=test judges images without maps, and `control` is set; leave one of the two out"
            )
        return self

    @property
    def folder(self) -> Path:
        """The run folder."""
        return Path(self.out)

    @property
    def bank_path(self) -> Path:
        """The folder of the bank."""
        return Path(self.bank_folder) if self.bank_folder else self.folder / "bank"

    @property
    def heldout_bank_path(self) -> Path:
        """The folder of bank items that training never sees, beside the bank."""
        return heldout_of(self.bank_path)

    def digest(self) -> str:
        """The identity of the training: what moves the weights, not where it is, how it is judged, how often it tells, how it ends.

        Neither is it what a training does to need less memory. The bank is left out: a checkpoint names the digest of the one that
        was read. So are keys that are null, which change nothing: a new one of a later version leaves the digests of earlier runs
        as they are.
        """
        # One training, one digest: what is said and what follows from saying nothing are the same.
        unsaid = {key: getattr(self.training, key) or None for key in ("compile", "retention_labels")}
        training = self.training.model_copy(update={"offload": None, "gradient_checkpointing": False, **unsaid})
        optim = self.optim.model_copy(update={"eight_bit": self.optim.eight_bit or None})
        ema = self.ema.model_copy(update={"device": None})
        return self.model_copy(update={"training": training, "optim": optim, "ema": ema})._as_said()

    def former_digests(self) -> set[str]:
        """What earlier versions called this training: by its places too, or by that of its maps alone, and by all that is said."""
        by_maps = self.by_content().model_copy(update={"control": self.control})
        return {self.digest(), self._as_said(), self.by_content()._as_said(), by_maps.digest(), by_maps._as_said()}

    def _as_said(self) -> str:
        exclude: dict[str, Any] = {**dict.fromkeys(LEFT_OUT, True), "training": TELLS}
        kept = self.coefficients.model_copy(update={"whole_target": self.coefficients.keeps_target or None})
        text = self.model_copy(update={"coefficients": kept}).model_dump_json(exclude=exclude, exclude_none=True)
        if self.coefficients.psi.kind == "adaptive":  # which is made from what is measured, and when
            text += f" {self.evaluation.heldout_draws} draws every {self.training.heldout_every}"
        return hashlib.sha256(text.encode()).hexdigest()

    def by_content(self) -> Recipe:
        """The same without the places of model, images and maps, for who tells these by their content wherever they lie."""
        also = self.data.also and tuple(one.model_copy(update={"target": ""}) for one in self.data.also)
        data = self.data.model_copy(update={"target": "", "also": also})
        control = self.control and self.control.model_copy(update={"folder": self.control.folder and ""})
        return self.model_copy(update={"model": "", "data": data, "control": control})

    def judged(self) -> str:
        """The identity of what `evaluate` and `diagnose` find: of the training, and of how it ends, is drawn and is judged."""
        ends = [part.model_dump_json(exclude_none=True) for part in (self.sampling, self.evaluation)]
        return hashlib.sha256("/".join([self.digest(), str(bool(self.training.use_best)), *ends]).encode()).hexdigest()


def heldout_of(bank: Path) -> Path:
    """The folder of the held-out items of a bank, beside it."""
    return bank.with_name(f"{bank.name}-heldout")


def load(path_or_name: str, overrides: list[str]) -> Recipe:
    """Read a recipe file (or a shipped recipe by name) and apply overrides, each `"key.of.it=value"`.

    Raises:
        ConfigError: the file, a key or a value is wrong; the message names it and the nearest known one.
    """
    return validate(Recipe, read(path_or_name, overrides))


def read(path_or_name: str, overrides: list[str]) -> dict[str, Any]:
    """The values of a recipe with its overrides, which nobody has looked at yet."""
    path = locate(path_or_name)
    given, run = load_recipe(path), RunFolder(path.parent)
    if run.recipe == path and run.checkpoints.is_dir():  # a run goes on where it lies now
        given["out"] = str(run.path)
    if "recipe" in given and ("phases" in given or "windows" in given):
        raise ConfigError(f"{path_or_name} is a stream and no recipe; run `difftuning continual {path_or_name}`")
    return apply_overrides(given, overrides, Recipe)
