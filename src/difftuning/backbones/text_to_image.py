"""Text-to-image models: Stable Diffusion 1 and 2, SDXL, PixArt, Stable Diffusion 3, Flux. A prompt is a row, like a class.

The label space is the prompts that a run is about: those of the bank before training, those of the target's images after. Text
encoders and autoencoder stay frozen and are shared by copies of a model. Row `labels.null` is the empty prompt, which label dropout
trains and guidance leads away from; the row behind it is the default prompt, under which bank items train.
"""

from __future__ import annotations

import copy
import hashlib
import json
import math
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import diffusers
import torch
from torch import Tensor, nn

from difftuning.backbones.base import Backbone
from difftuning.backbones.codec import VAECodec, digest_module
from difftuning.backbones.folder import in_dtype, no_bars, only_errors, read_index
from difftuning.backbones.labels import FromSource, LabelChange, LabelSpace
from difftuning.backbones.prompts import Embedding, Prompts, TextConfig
from difftuning.backbones.solvers import EVEN
from difftuning.backbones.text_families import KINDS, Asked, Family
from difftuning.errors import ModelError
from difftuning.noise.process import StraightFlow
from difftuning.types import Condition

_HALF = "fp16"
"""The variant by which diffusers names weights in half precision."""
TEXT = "text.json"
"""In the folder of a model that we wrote: the prompts that it was trained under, and the size of its images in pixels."""
ENCODERS = ("text_encoder", "text_encoder_2", "text_encoder_3")
TOKENIZERS = ("tokenizer", "tokenizer_2", "tokenizer_3")
VERSIONED = ("transformers_version", "dtype", "torch_dtype")
"""In the config of a text encoder, and not of its content."""


class TextToImage(Backbone):
    """A text-to-image pipeline.

    Args:
        pipe: a diffusers pipeline of one of the classes in `text_families.KINDS`.
        prompts: what it is asked under, besides the empty prompt.
        default_prompt: of bank items.
        name: for cards and messages.

    Raises:
        ModelError: it has no autoencoder or no text encoder, or its channels do not fit.
    """

    def __init__(
        self, pipe: Any, prompts: tuple[str, ...] = (), default_prompt: str = "", name: str = "text-to-image"
    ) -> None:
        self.pipeline = type(pipe).__name__
        self.family = KINDS[self.pipeline]
        network = getattr(pipe, self.family.network)
        shape = self.family.shape(network.config)
        out_channels = int(getattr(network.config, "out_channels", None) or shape[0])
        out = shape[0] if self.pipeline == "FluxPipeline" else out_channels
        super().__init__(name, network, pipe.scheduler, pipe.vae, shape, out)
        if not isinstance(self.codec, VAECodec):
            raise ModelError(f"{name}: a {self.pipeline} without its autoencoder; put its `vae` folder back")
        if self.family.clock is not None and isinstance(self.process, StraightFlow):
            self.clock = self.family.clock(self.scheduler_config)
        if self.pipeline == "FluxPipeline":
            self.scheduler_config = {**self.scheduler_config, EVEN: True}
        self._shift()
        self.pipe = pipe
        self.encoders = {part: one for part in ENCODERS if (one := getattr(pipe, part, None)) is not None}
        if not self.encoders:
            raise ModelError(f"{name}: a {self.pipeline} without a text encoder; put its `text_encoder` folder back")
        for encoder in self.encoders.values():
            encoder.eval().requires_grad_(False)
        self.embeddings = Prompts(partial(_encode, pipe, self.family, next(iter(self.encoders.values()))))
        self._asked: tuple[tuple[torch.device, tuple[str, ...]], Embedding] | None = None
        self._encoder_digests = ""
        self.labels = LabelSpace(prompts)
        self.default_prompt = default_prompt
        self.distilled_guidance = 1.0
        self.by_prompt = True
        pipe.set_progress_bar_config(disable=True)

    def _shift(self) -> None:
        """Where a scheduler shifts by the size of the image (Flux), what it shifts by at ours, in the form that solvers know."""
        config = self.scheduler.config
        if config.get("use_dynamic_shifting"):
            tokens = self.sample_shape[1] * self.sample_shape[2] // 4
            low, high = config["base_image_seq_len"], config["max_image_seq_len"]
            slope = (config["max_shift"] - config["base_shift"]) / (high - low)
            mu = config["base_shift"] + slope * (tokens - low)
            self.scheduler_config = {**self.scheduler_config, "use_dynamic_shifting": False, "shift": math.exp(mu)}

    def __deepcopy__(self, memo: dict[int, Any]) -> TextToImage:
        """A network of its own; all that is frozen is shared."""
        copied = copy.copy(self)
        copied.network = copy.deepcopy(self.network, memo)
        return copied

    def ask_under(self, prompts: tuple[str, ...] | None) -> None:
        """Know these prompts alone, or the default one; the empty prompt is the null label and no prompt besides."""
        default = (self.default_prompt,) if self.default_prompt else ()
        self.labels = LabelSpace(default if prompts is None else prompts)

    @property
    def told(self) -> dict[str, Any]:
        """What a distilled network is told; the default prompt where the bank is drawn under it."""
        default = {"default_prompt": self.default_prompt} if self.labels.names in ((), (self.default_prompt,)) else {}
        return {"distilled_guidance": self.distilled_guidance, **default}

    @property
    def default_label(self) -> int:
        """The row of the default prompt, behind that of the empty one."""
        return self.labels.null + 1

    def __call__(self, x_t: Tensor, t: Tensor, condition: Condition, /) -> Tensor:
        """The network's answer."""
        return self.family.ask(self.base, self.asked(x_t, t, condition))

    @property
    def base(self) -> Any:
        """The pipeline's own network, which is the one that trains unless something is put upon it."""
        return self.network

    @property
    def at_work(self) -> list[nn.Module]:
        """The network that trains, and the pipeline's own where that is another."""
        return [self.network, self.base]

    def asked(self, x_t: Tensor, t: Tensor, condition: Condition) -> Asked:
        """What a network of the family is asked."""
        prompt = self._prompt(condition.rows(), x_t.device)
        x, time = self.process.network_input(x_t, t), self.process.network_time(t).to(x_t.dtype)
        return Asked(x, time, prompt, self.image_size, self.distilled_guidance)

    def _prompt(self, rows: list[int], device: torch.device) -> Embedding:
        """The embeddings of some rows; those of the last call are kept there, since each step of a solver asks for the same."""
        known, beyond = self.labels.names, ("", self.default_prompt)
        key = device, tuple(known[row] if row < len(known) else beyond[row - len(known)] for row in rows)
        if self._asked is None or self._asked[0] != key:
            self._asked = key, self.embeddings(key[1]).to(device)
        return self._asked[1]

    def cut_short(self, prompts: Sequence[str]) -> int:
        """How many of some prompts have more tokens than any of the text encoders reads."""
        tokenizers = [one for part in TOKENIZERS if (one := getattr(self.pipe, part, None)) is not None]
        limits = [min(one.model_max_length, self.family.tokens or one.model_max_length) for one in tokenizers]
        with only_errors():
            return sum(
                all(len(one(prompt).input_ids) > limit for one, limit in zip(tokenizers, limits, strict=True))
                for prompt in prompts
            )

    def configure(self, text: TextConfig) -> None:
        """Take the default prompt and what a distilled network is told.

        Raises:
            ModelError: the network is not distilled and told a scale.
        """
        if text.distilled_guidance != 1 and not self.base.config.get("guidance_embeds"):
            raise ModelError(
                f"{self.name} has no input for text.distilled_guidance; take it out, or use sampling.guidance"
            )
        self.default_prompt, self.distilled_guidance = text.default_prompt, text.distilled_guidance

    def check_labels(self, change: LabelChange, target: tuple[str, ...]) -> None:
        """Raise what `change_labels` would: prompts need no rows to start from."""
        if isinstance(change, FromSource):
            raise ModelError(f"{self.name} is asked under prompts, so labels.kind=from-source has no rows; use replace")

    def change_labels(self, change: LabelChange, target: tuple[str, ...]) -> Tensor:
        """Take the target's prompts, whatever the change: nothing is lost by it, since any prompt can be asked."""
        self.check_labels(change, target)
        self.labels = LabelSpace(target)
        return torch.arange(len(target))

    def rows(self, names: Sequence[str]) -> Tensor:
        """(n,) int64: the rows of any prompts; new ones are added."""
        self.labels = LabelSpace(tuple(dict.fromkeys((*self.labels.names, *names))))
        return super().rows(names)

    def to(self, device: torch.device | str) -> Backbone:
        """The network, the autoencoder and, unless they stay where they are, the text encoders on another device, in place."""
        for encoder in () if self.encoders_stay else self.encoders.values():
            encoder.to(device)
        return super().to(device)

    def offload(self) -> None:
        """The autoencoder and the text encoders in the host's memory; all prompts are encoded before."""
        for prompt in (*self.labels.names, "", self.default_prompt):
            self.embeddings([prompt])
        super().offload()
        for encoder in self.encoders.values():
            encoder.to("cpu")

    def resize(self, side: int) -> None:
        """Draw and train at another size."""
        config = self.base.config
        most = None if self.family.most is None else self.family.most(config)
        self.sample_shape = self.shape_of(side, self.family.divisor(config), most)
        self._shift()

    def digest(self) -> str:
        """Of the pipeline's own network and the text encoders."""
        whole = f"{digest_module(self.base, self.base.config)}/{self._of_encoders()}"
        return hashlib.sha256(whole.encode()).hexdigest()

    def _of_encoders(self) -> str:
        if not self._encoder_digests:  # frozen, and large
            configs = [encoder.config.to_dict() for encoder in self.encoders.values()]
            told = [{key: value for key, value in config.items() if key not in VERSIONED} for config in configs]
            parts = [digest_module(*part) for part in zip(self.encoders.values(), told, strict=True)]
            self._encoder_digests = "/".join(parts)
        return self._encoder_digests

    def prompt_digest(self) -> str:
        """The sha256 of all that decides an embedding besides its prompt: pipeline, encoders, tokenizers, and kind of device."""
        total = hashlib.sha256(f"{self.pipeline}/{self._of_encoders()}/{self.family.tokens}".encode())
        total.update(str(self.pipe.config.get("force_zeros_for_empty_prompt")).encode())
        total.update(next(iter(self.encoders.values())).device.type.encode())
        for tokenizer in (getattr(self.pipe, part, None) for part in TOKENIZERS):
            if tokenizer is not None:
                total.update(f"{type(tokenizer).__name__}/{tokenizer.model_max_length}/".encode())
                with TemporaryDirectory() as folder:
                    files = map(Path, tokenizer.save_pretrained(folder))
                    for file in sorted(one for one in files if one.name != "tokenizer_config.json" and one.is_file()):
                        total.update(file.read_bytes())  # the config names where it came from
        return total.hexdigest()

    def beside(self, dtype: torch.dtype) -> dict[str, nn.Module]:
        """The parts of the pipeline, besides its own network, that training moved, on the CPU."""
        return {}

    def save(self, folder: Path, dtype: torch.dtype = torch.float32) -> None:
        """Write the pipeline's folder, and what its config does not hold beside it."""
        saved, network = copy.copy(self.pipe), in_dtype(self.base, dtype)
        if self.family.network == "unet":  # for diffusers; in a transformer it is what positions are counted by
            network.register_to_config(sample_size=self.sample_shape[-1])
        saved.register_modules(**{self.family.network: network, **self.beside(dtype)})
        with no_bars():
            saved.save_pretrained(folder)
        text = {"image_size": self.image_size, "prompts": list(self.labels.names)}
        (Path(folder) / TEXT).write_text(json.dumps(text, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")


def _encode(pipe: Any, family: Family, encoder: Any, prompt: str) -> Embedding:
    """In float32, whatever precision asks: what is kept must not depend on who was the first to ask."""
    with torch.autocast(encoder.device.type, enabled=False), only_errors():
        return family.encode(pipe, prompt)


def load_text_to_image(folder: Path, name: str, made: type[TextToImage] = TextToImage) -> TextToImage:
    """Read a pipeline folder. Weights become float32; a safety checker is not needed and not read.

    Args:
        folder: of the pipeline.
        name: for cards and messages.
        made: what becomes of it.

    Raises:
        ModelError: a part is missing or unreadable.
    """
    index = read_index(folder, name)
    kind = str(index["_class_name"])
    # diffusers wants to be told of each part that is not there.
    absent: dict[str, Any] = {part: None for part, of in index.items() if of == [None, None]}
    if "safety_checker" in index:
        absent |= {"safety_checker": None, "requires_safety_checker": False}
    files = [file.name for file in folder.glob("*/*.safetensors")]
    if files and all(f".{_HALF}" in name for name in files):  # fetched as a variant
        absent |= {"variant": _HALF}
    try:
        with no_bars():
            pipe = getattr(diffusers, kind).from_pretrained(folder, local_files_only=True, **absent)
        written = folder / TEXT
        text = json.loads(written.read_text(encoding="utf-8")) if written.is_file() else {}
        prompts, side = tuple(map(str, text.get("prompts", ()))), text.get("image_size")
    except (OSError, ValueError, KeyError, AttributeError, TypeError, ImportError, RuntimeError) as reason:
        raise ModelError(f"{name}: {folder} is not a readable {kind} folder ({reason})") from reason
    for part in pipe.components.values():
        if isinstance(part, nn.Module):
            part.float()
    model = made(pipe, prompts, name=name)
    if side is not None:
        model.resize(int(side))
    return model
