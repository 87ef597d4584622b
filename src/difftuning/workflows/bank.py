"""`bank`: draw the knowledge bank of a recipe, grow it, describe it, check it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

from difftuning.backbones.base import Backbone
from difftuning.backbones.loading import load
from difftuning.backbones.prompts import TextConfig
from difftuning.backbones.solvers import make_scheduler
from difftuning.bank import audit, generate
from difftuning.bank.card import CARD, BankCard, BankConfig
from difftuning.bank.card_file import read_card, read_plan
from difftuning.bank.read import is_whole
from difftuning.errors import BusyError, StorageError
from difftuning.lock import alone
from difftuning.processes import present
from difftuning.run_folder import RunFolder
from difftuning.workflows import costs
from difftuning.workflows.device_memory import LAST, left, place, within_memory
from difftuning.workflows.display import Display, Silent, Task, total
from difftuning.workflows.drawing import clip_of
from difftuning.workflows.heldout import BANK_ITEMS
from difftuning.workflows.pretrained import device_of, pretrained
from difftuning.workflows.recipe import Recipe, heldout_of
from difftuning.workflows.source_images import source_images

DRAWING = ("solver", "steps", "guidance", "labels", "prompts", "precision")
"""What of a bank's settings says nothing where its items are images of a folder."""
HELDOUT_SEED = 1_000_003
"""Added to the seed of a bank for that of its held-out items."""


def build(recipe: Recipe, display: Display | None = None) -> BankCard:
    """Draw the bank of a recipe; a finished one is left as it is, a begun one is finished."""
    return draw(recipe, pretrained(recipe), display or Silent())


def draw(recipe: Recipe, backbone: Backbone, display: Display) -> BankCard:
    """`build`, with the pretrained model at hand; draws the held-out bank too, which only measurements read."""
    there = read_plan(recipe.bank_path)
    if isinstance(there, BankCard) and there.origins is not None:
        return there  # composed for a phase of a stream: whoever reads it sees whether it fits
    makers = _makers(recipe, backbone)
    folders = (recipe.heldout_bank_path, recipe.bank_path)
    if present().on_main(lambda: _only_read(folders, makers)):
        return read_card(recipe.bank_path)
    if not len(backbone.labels) and recipe.bank.images is None:
        display.note(f"{backbone.name} is asked under no class or prompt, so its bank is drawn without guidance")
    items = sum(maker.plan.config.count for maker in makers)
    progress = display.progress(f"bank of {backbone.name}", items)
    memory = within_memory(lambda: [_smaller(recipe)])
    held = alone(lock_of(recipe.bank_path), waiting=lambda: display.note(waits_for(recipe)))
    with memory, present().led(held), progress as task, _timed(recipe):
        _, card = [generate.fill(maker, folder, telling(task)) for folder, maker in zip(folders, makers, strict=True)]
        return card


def waits_for(recipe: Recipe) -> str:
    """What is told while another process is at the bank of a recipe."""
    return f"another process is at the bank {recipe.bank_path}; this one goes on when that is done"


def _smaller(recipe: Recipe) -> str:
    """What helps where a batch of the bank takes too much memory; its size is not changed unasked, since the bytes depend on it."""
    size = recipe.bank.batch_size
    return f"draw the bank with bank.batch_size={size // 2}" if size > 1 else LAST


def _makers(recipe: Recipe, backbone: Backbone) -> tuple[generate.Maker, generate.Maker]:
    """What makes the held-out bank, and what makes the bank."""
    config, unseen = recipe.bank, unseen_of(recipe.bank)
    if config.images is not None:
        bank, heldout = source_images(backbone, config, unseen)
        return heldout, bank
    clip = clip_of(backbone, recipe.sampling.clip)
    return (
        generate.drawer(backbone, make_scheduler, unseen, clip),
        generate.drawer(backbone, make_scheduler, config, clip),
    )


def _only_read(folders: tuple[Path, Path], makers: tuple[generate.Maker, generate.Maker]) -> bool:
    """Whether both banks are whole already and lie where nothing can be written, which who reads them need not."""
    try:
        with alone(lock_of(folders[1]), wait=False):
            return False
    except BusyError:
        return False
    except StorageError:
        return all(is_whole(folder, maker.plan) for folder, maker in zip(folders, makers, strict=True))


@contextmanager
def _timed(recipe: Recipe) -> Iterator[None]:
    """Note what drawing takes in the folder of the run, where the bank is not whole already."""
    whole = present().on_main(lambda: isinstance(read_plan(recipe.bank_path), BankCard))
    with nullcontext() if whole else costs.timed(RunFolder(recipe.folder), costs.BANK, adds=True):
        yield


def unseen_of(config: BankConfig) -> BankConfig:
    """How the held-out bank beside a bank is drawn."""
    return config.model_copy(update={"count": min(BANK_ITEMS, config.count), "seed": config.seed + HELDOUT_SEED})


def telling(task: Task, done: int = 0) -> generate.Progress:
    """What the drawing of a bank tells its progress to."""
    tell = total(task, done)
    return lambda now, _: tell(now)


def extend(folder: Path, count: int, display: Display | None = None) -> BankCard:
    """Bring a finished bank to `count` items, and a small held-out bank beside it with it; its card says which model to load."""
    display = display or Silent()
    card = read_card(folder)
    model = drawn_by(card)
    unseen = heldout_of(folder)
    with present().led(alone(lock_of(folder))):
        if (unseen / CARD).is_file() and read_card(unseen).config.count < (enough := min(BANK_ITEMS, count)):
            generate.extend(model, make_scheduler, unseen, enough)
        with display.progress(f"bank of {card.model.name}", count, card.config.count) as task:
            return generate.extend(model, make_scheduler, folder, count, telling(task, card.config.count))


def drawn_by(card: BankCard) -> Backbone:
    """The model that a bank was drawn from, asked as it was then.

    Raises:
        ModelError: it is not there any more, or cannot be asked so.
    """
    model = load(card.model.name)
    model.configure(TextConfig.model_validate(card.text or {}))
    side = card.model.sample_shape[-1] * model.image_size // model.sample_shape[-1]
    if side != model.image_size:
        model.resize(side)
    model.ask_under(card.config.prompts)
    device = device_of(None)
    return place(model, device, left(device), offload=True)


def lock_of(folder: Path) -> Path:
    """What whoever draws a bank holds: runs may share one."""
    return folder.with_name(f".{folder.name}.lock")


def info(folder: Path) -> dict[str, Any]:
    """The card of a bank and its digest; of one made of images, without what only drawing has."""
    card = read_card(folder)
    found = card.model_dump(mode="json")
    if card.config.images is not None:
        found["config"] = {key: value for key, value in found["config"].items() if key not in DRAWING}
    return {"digest": card.digest(), **found}


def verify(folder: Path, display: Display | None = None) -> dict[str, Any]:
    """Read every item: digests, values that are not finite, duplicates, balance of the classes."""
    count = read_card(folder).config.count
    with (display or Silent()).progress(f"verify {folder.name}", count) as task:
        found = audit.verify(folder, telling(task))
    return {"ok": found.ok, **found.model_dump(mode="json")}
