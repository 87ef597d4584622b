"""Images under prompts in the place of classes: what text-to-image models are trained on."""

from __future__ import annotations

import string

from PIL import Image

from difftuning.data.base import ImageSource
from difftuning.errors import ConfigError, DataError, did_you_mean

FIELDS = ("caption", "label")


class Prompted(ImageSource):
    """A source whose label space is its prompts, each distinct one once.

    Attributes:
        captioned: how many images have a caption.

    Args:
        source: of images with captions or classes.
        template: makes the prompt, from {caption} and {label}; None takes the caption, and the class where there is none.

    Raises:
        ConfigError: the template has another field, or is malformed.
        DataError: it asks for captions and an image has none.
    """

    def __init__(self, source: ImageSource, template: str | None) -> None:
        self.name, self.skipped, self.notes, self._source = source.name, source.skipped, source.notes, source
        self._template = template
        fields(template or "")  # before anything is read
        self.captioned = sum(source.caption(index) is not None for index in range(len(source)))
        prompts = [
            prompt_of(
                template,
                source.caption(index),
                source.class_names[source.label(index)],
                f"{source.origin(index)} of {source.name}",
            )
            for index in range(len(source))
        ]
        self.class_names = tuple(sorted(set(prompts)))
        rows = {prompt: row for row, prompt in enumerate(self.class_names)}
        self._rows = [rows[prompt] for prompt in prompts]

    def report(self, rows: list[int]) -> str:
        """How many prompts there are, where they come from, and some of them by row."""
        some = ", ".join(repr(self.class_names[row]) for row in dict.fromkeys(rows))
        told = f"prompts: {len(self.class_names)}, for instance {some}; {self.captioned} of {len(self)} images have a caption"
        by_folders = not self.captioned and self._template is None
        return (
            told
            + ", so they train under the names of their classes; if these say too little, set data.prompt" * by_folders
        )

    def __len__(self) -> int:
        """How many images there are."""
        return len(self._source)

    def read(self, index: int) -> Image.Image:
        """The image."""
        return self._source.read(index)

    def label(self, index: int) -> int:
        """Its prompt, as a place in `class_names`."""
        return self._rows[index]

    def key(self, index: int) -> str:
        """The sha256 of the image."""
        return self._source.key(index)

    def origin(self, index: int) -> str:
        """The file or row, for messages."""
        return self._source.origin(index)

    def size(self, index: int) -> tuple[int, int] | None:
        """The sides of its picture."""
        return self._source.size(index)

    def caption(self, index: int) -> str | None:
        """Its prompt."""
        return self.class_names[self._rows[index]]


def prompt_of(template: str | None, caption: str | None, label: str, origin: str) -> str:
    """The prompt of an image: its caption, else its class; or what a template makes of both.

    Raises:
        ConfigError: the template is malformed.
        DataError: it asks for a caption and there is none.
    """
    if template is None:
        return label if caption is None else caption
    if caption is None and "caption" in fields(template):
        raise DataError(
            f"data.prompt={template!r} asks for captions, and {origin} has none; write one, or use {{label}} alone"
        )
    return template.format(caption=caption, label=label)


def fields(template: str) -> set[str]:
    """Which of `FIELDS` a template has.

    Raises:
        ConfigError: it has another one, or is malformed.
    """
    try:
        parsed = [part for part in string.Formatter().parse(template) if part[1] is not None]
        found = {str(name) for _, name, _, _ in parsed}
        if any(spec or conversion for _, _, spec, conversion in parsed):  # a width can ask for gigabytes
            raise ValueError("a field is a name alone, without : or !")
    except ValueError as reason:
        raise ConfigError(
            f"data.prompt={template!r} is no template ({reason}); write a brace of its own as {{{{"
        ) from reason
    for name in found:
        if name not in FIELDS:
            raise ConfigError(f"data.prompt={template!r} has the field {name!r}{did_you_mean(name, FIELDS)}")
    return found
