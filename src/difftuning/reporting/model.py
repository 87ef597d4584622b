"""What a report is made of: the measured things that a workflow fills in, and the page that is made from them."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from difftuning.reporting.chart import Chart
from difftuning.reporting.tables import Table
from difftuning.reporting.text_table import TextTable
from difftuning.results import Row


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture with what it shows.

    Attributes:
        data: the bytes of an SVG, a PNG or a WebP.
        title: a short heading.
        caption: how to read it.
        crisp: it is made of enlarged pixels and is never stretched beyond its own size.
        wide: it has a line of the page to itself.
    """

    data: bytes
    title: str
    caption: str = ""
    crisp: bool = False
    wide: bool = False

    @property
    def chart(self) -> Chart | None:
        """The numbers of a curve; None for other pictures."""
        return Chart.of(self.data)

    @property
    def uri(self) -> str:
        """The picture as a data URI."""
        kinds = {b"\x89PNG": "png", b"RIFF": "webp"}
        return f"data:image/{kinds.get(self.data[:4], 'svg+xml')};base64,{base64.b64encode(self.data).decode()}"


@dataclass(frozen=True, slots=True)
class Slides:
    """Pictures of the same things along an axis, such as training steps, which a page shows one at a time under a slider.

    Attributes:
        title: a short heading.
        axis: what the slider moves over.
        slides: (the place on the axis, its pictures side by side), in order.
        caption: how to read them.
        always: without scripts they are shown one under the other; where False, nothing is, since another picture shows the same.
    """

    title: str
    axis: str
    slides: Sequence[tuple[str, Sequence[Picture]]]
    caption: str = ""
    always: bool = True


@dataclass(frozen=True, slots=True)
class Section:
    """A part of the page.

    Attributes:
        title: its heading.
        text: paragraphs.
        table: a table, where there is one.
        pictures: shown side by side where they fit.
        slides: shown below them.
        listing: preformatted text, under the title `listing_title`.
        listing_title: what is folded away, or the heading of an open listing.
        open: whether the listing is shown without being asked for.
        facts: short pairs of a name and a value.
    """

    title: str
    text: Sequence[str] = ()
    table: Table | TextTable | None = None
    pictures: Sequence[Picture] = ()
    slides: Slides | None = None
    listing: str = ""
    listing_title: str = "show"
    open: bool = False
    facts: Sequence[tuple[str, str]] = ()


@dataclass(frozen=True, slots=True)
class Report:
    """What a page says.

    Attributes:
        title: of the page.
        verdict: one sentence, computed from measured rows.
        facts: short pairs of a name and a value, at the top.
        sections: in reading order.
        reload: seconds after which an open page loads itself again; None for a page that is finished.
    """

    title: str
    verdict: str
    facts: Sequence[tuple[str, str]] = ()
    sections: Sequence[Section] = field(default_factory=tuple)
    reload: int | None = None


@dataclass(frozen=True, slots=True)
class ReportData:
    """The measurements behind a comparison of methods; a section of the page whose fields are empty is left out.

    Methods are named as in the rows: "pretrained", "finetune", "diff-tuning". Pictures are PNG, WebP or SVG bytes.

    Attributes:
        title: of the page.
        columns: the methods or runs compared, in order, by which each has one colour and sign throughout; empty for those drawn.
        rows: all result rows, of all methods and seeds; the verdict and the table come from them alone.
        facts: what was done, in short pairs: model, target, images, steps, batch, seeds.
        done: what was done, in paragraphs.
        differences: what differs between the recipes: the names of the runs, then a line a key.
        recipes: method or run -> its resolved recipe as text.
        grids: title -> picture; the places of all grids of samples start from the same seeds.
        steps: (training step, method -> grid of samples at that step), in order.
        series: `METHOD` or `METHOD seed N` -> (step, held-out error) while training.
        losses: the same for the loss.
        distances: Frechet distance by its network -> the same for it, where it was measured while training.
        obedience: what control consistency is measured by -> method -> seed -> (step, consistency); of ControlNets.
        obeying: (training step, method -> controls, and below each what was drawn under it), in order.
        by_obedience: method -> the most and the least obedient of them at the last step: controls, drawn images, and maps of these.
        coefficients: method -> u, psi(u), xi(u), of equal length.
        by_u_target: method -> error on held-out target images in equal bins of u; needs "pretrained".
        by_u_bank: the same on the pretrained model's own samples.
        swap: method -> (share in [0, 1] of the last steps given to the pretrained model, distance).
        swap_distance: what the distance of `swap` is called, with its network.
        strips: method -> picture of the swap, a row a seed and a column a share.
        shares: (share in [0, 1], method -> samples at that share), in order: the columns of the strips one by one.
        bank_picture: some of the bank, or None.
        bank_card: its card in short pairs.
        nearest: method -> picture of samples, and under each its nearest training image.
        drift: method -> layer -> squared distance from the pretrained weights.
        seconds: stage -> method -> seconds.
        machine: what it ran on, in short pairs.
        set_aside: (file or row, reason) of what could not be used.
        commands: what to type to repeat it, one a line.
        notes: what to keep in mind when reading the numbers.
        method: whose numbers the verdict is about.
        baseline: what it is compared with.
        reload: seconds after which the page loads itself again, while a run is going on or not judged; None for a finished page.
    """

    title: str
    rows: Sequence[Row]
    columns: Sequence[str] = ()
    facts: Sequence[tuple[str, str]] = ()
    done: Sequence[str] = ()
    differences: TextTable | None = None
    recipes: Mapping[str, str] = field(default_factory=dict)
    grids: Mapping[str, bytes] = field(default_factory=dict)
    steps: Sequence[tuple[int, Mapping[str, bytes]]] = ()
    series: Mapping[str, Sequence[tuple[int, float]]] = field(default_factory=dict)
    losses: Mapping[str, Sequence[tuple[int, float]]] = field(default_factory=dict)
    distances: Mapping[str, Mapping[str, Sequence[tuple[int, float]]]] = field(default_factory=dict)
    obedience: Mapping[str, Mapping[str, Mapping[int, Sequence[tuple[int, float]]]]] = field(default_factory=dict)
    obeying: Sequence[tuple[int, Mapping[str, bytes]]] = ()
    by_obedience: Mapping[str, bytes] = field(default_factory=dict)
    coefficients: Mapping[str, tuple[Sequence[float], Sequence[float], Sequence[float]]] = field(default_factory=dict)
    by_u_target: Mapping[str, Sequence[float]] = field(default_factory=dict)
    by_u_bank: Mapping[str, Sequence[float]] = field(default_factory=dict)
    swap: Mapping[str, Sequence[tuple[float, float]]] = field(default_factory=dict)
    swap_distance: str = "Frechet distance"
    strips: Mapping[str, bytes] = field(default_factory=dict)
    shares: Sequence[tuple[float, Mapping[str, bytes]]] = ()
    bank_picture: bytes | None = None
    bank_card: Sequence[tuple[str, str]] = ()
    nearest: Mapping[str, bytes] = field(default_factory=dict)
    drift: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    seconds: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    machine: Sequence[tuple[str, str]] = ()
    set_aside: Sequence[tuple[str, str]] = ()
    commands: Sequence[str] = ()
    notes: Sequence[str] = ()
    method: str = "diff-tuning"
    baseline: str = "finetune"
    reload: int | None = None
