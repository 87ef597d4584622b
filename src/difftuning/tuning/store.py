"""A tuner on the disk: a small file of what was learned beside the settings that read it.

FOLDER/  tuner.json  tuner.safetensors  and for what peft made: adapter_config.json  adapter_model.safetensors
         pytorch_lora_weights.safetensors for LoRA on what diffusers can load one into, kohya_lora_weights.safetensors on UNets too
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from difftuning.errors import CheckpointError
from difftuning.json_files import read_sealed
from difftuning.tuning.base import Tuner
from difftuning.tuning.lora import LoRA, PeftTuner
from difftuning.tuning.lora_file import save_lora_files

SETTINGS, LEARNED = "tuner.json", "tuner.safetensors"
FORMAT = 1


def save_tuner(tuner: Tuner, folder: Path, base: str, noise: str, classes: Sequence[str]) -> None:
    """Write a tuner.

    Args:
        tuner: attached.
        folder: made when needed.
        base: the digest of the pretrained model.
        noise: what that says of noise.
        classes: the target's, which the model had got when the tuner was attached.
    """
    folder.mkdir(parents=True, exist_ok=True)
    state = {name: value.cpu().contiguous() for name, value in tuner.state().items()}
    save_file(state, folder / LEARNED)
    if isinstance(tuner, PeftTuner):
        tuner.save_peft(folder)
    if isinstance(tuner, LoRA):
        save_lora_files(tuner, folder)
    about = {
        "format": FORMAT,
        "tuner": tuner.config.model_dump(mode="json"),
        "base": base,
        "noise": noise,
        "classes": list(classes),
        "parameters": sum(value.numel() for value in state.values()),
    }
    # Last, so that it says that all else is there.
    (folder / SETTINGS).write_text(json.dumps(about, indent=1) + "\n")


def read_tuner(folder: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """What `save_tuner` wrote: the content of tuner.json, and what was learned.

    Raises:
        CheckpointError: there is none, it cannot be read, or is of a later version.
    """
    mend = "finish the run with `difftuning train`"
    about = read_sealed(folder / SETTINGS, mend)
    if about.get("format") != FORMAT:
        raise CheckpointError(
            f"the tuner in {folder} is of format {about.get('format')!r}, and this version reads {FORMAT}; use the version that "
            "wrote it"
        )
    try:
        return about, load_file(folder / LEARNED)
    except (OSError, SafetensorError) as reason:
        raise CheckpointError(f"there is no readable tuner in {folder} ({reason}); {mend}") from reason
