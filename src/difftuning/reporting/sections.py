"""The page of a comparison, section by section in reading order; one without data is left out."""

from __future__ import annotations

from collections.abc import Mapping

from difftuning.reporting import figures, study_figures
from difftuning.reporting.costs import costs
from difftuning.reporting.metrics import DISTANCES, LABELS
from difftuning.reporting.model import Picture, Report, ReportData, Section, Slides
from difftuning.reporting.tables import pivot, verdict
from difftuning.reporting.text_table import TextTable

METRICS = tuple(LABELS)
SMALL = 2048
"""Below so many samples the bias of a Frechet distance is worth a warning: it has the rank of its covariance only above."""

UNCHANGED = 5e-4
"""A change of an error that would be told as 0.0 %."""


def compose(data: ReportData) -> Report:
    """The page of a comparison."""
    made = (
        _done(data),
        _differences(data),
        _measured(data),
        _samples(data),
        _training(data),
        _obedience(data),
        _by_u(data),
        _swap(data),
        _bank(data),
        _nearest(data),
        _drift(data),
        _costs(data),
        _set_aside(data),
        _repeat(data),
        _notes(data),
    )
    sections = [section for section in made if section is not None]
    return Report(data.title, _headline(data), data.facts, sections, data.reload)


def _headline(data: ReportData) -> str:
    """How two methods compare, or where a single one stands beside the pretrained model."""
    methods = dict.fromkeys(row.method for row in data.rows if row.method != "pretrained")
    if len(methods) != 1:
        return verdict(data.rows, data.method, data.baseline)
    name = next(iter(methods))
    parts = []
    for curves, what in (
        (data.by_u_target, "held-out error"),
        (data.by_u_bank, f"error on {_bank_items(data)}"),
    ):
        if name in curves and "pretrained" in curves:
            change = sum(curves[name]) / sum(curves["pretrained"]) - 1
            told = f"{100 * abs(change):.1f} % {'below' if change < 0 else 'above'}"
            parts.append(f"its {what} is {'the same' if abs(change) < UNCHANGED else told}")
    if not parts:
        return f"One method was judged, {name}, and there is nothing here to compare it with."
    seeds = {row.seed for row in data.rows if row.method == name}
    first = f" (seed {min(seeds)})" if len(seeds) > 1 else ""
    return f"Beside the pretrained model that {name}{first} began with, {' and '.join(parts)}."


def _of_images(data: ReportData) -> bool:
    """Whether the bank holds images of a folder in the place of drawn samples."""
    return "images of" in dict(data.bank_card)


def _bank_items(data: ReportData) -> str:
    return "the images of the bank" if _of_images(data) else "the pretrained model's own samples"


def _done(data: ReportData) -> Section | None:
    if not data.done and not data.recipes:
        return None
    listing = "\n\n".join(f"# {name}\n{text.rstrip()}" for name, text in data.recipes.items())
    return Section("What was done", data.done, listing=listing, listing_title="the complete recipes")


def _differences(data: ReportData) -> Section | None:
    if data.differences is None:
        return None
    text = ["Every key of the recipes that is not the same in all of these runs, but for where they lie."]
    return Section("What differs between the runs", text, data.differences)


def _measured(data: ReportData) -> Section | None:
    table = pivot(data.rows, METRICS, data.method, data.baseline)
    if not table.lines:
        return None
    star = any(cell is not None and cell.best for line in table.lines for cell in line.cells)
    text = [
        "Mean ± standard deviation over seeds; an arrow points to the better direction"
        + (", and the better trained method has a star." if star else ".")
    ]
    if any(line.change_text for line in table.lines):
        text[0] += (
            f" The last column is the change against {data.baseline}; a judgement is given only where all seeds agree."
        )
    metrics = {line.metric for line in table.lines}
    if "heldout" in metrics:
        text.append("The held-out error is the denoising error on images that training never saw, averaged over u.")
    return Section("What was measured", text, table)


def _samples(data: ReportData) -> Section | None:
    if not data.grids and not data.steps:
        return None
    pictures = [Picture(picture, title, crisp=True) for title, picture in data.grids.items()]
    slides = [(f"{step:,}", _side_by_side(grids)) for step, grids in data.steps]
    caption = "Each step draws from the same seeds and classes again."
    return Section(
        "Samples from the same seeds",
        ["Each place in the grids of samples starts from the same noise and asks for the same class."],
        pictures=pictures,
        slides=Slides("While training", "training step", slides, caption) if slides else None,
    )


def _side_by_side(pictures: Mapping[str, bytes]) -> list[Picture]:
    return [Picture(picture, name, crisp=True) for name, picture in pictures.items()]


def _training(data: ReportData) -> Section | None:
    series = {name: points for name, points in data.series.items() if points}
    pictures = []
    if series:
        caption = (
            "The triangle marks the lowest point. Where a curve turns up, the model starts to forget or to memorise."
        )
        pictures.append(Picture(figures.training_curves(series, columns=data.columns), "held-out error", caption))
    for what, distances in data.distances.items():
        caption = "Each point draws its samples from the same seeds, guided by the model's own answer without a class."
        pictures.append(Picture(figures.training_curves(distances, what, data.columns), what, caption))
    losses = {name: points for name, points in data.losses.items() if points}
    if losses:
        caption = "The mean of the batches since the point before; a run's own coefficients weigh it, so levels do not compare."
        pictures.append(Picture(figures.training_curves(losses, "loss", data.columns), "loss", caption))
    if data.coefficients:
        caption = (
            "An item of the batch comes from the target with probability ψ / (ψ + ξ), else from the bank. A ψ that adapts is "
            "shown as it was in the end."
        )
        pictures.append(
            Picture(figures.coefficients(data.coefficients, data.columns), "coefficients of Diff-Tuning", caption)
        )
    return Section("While training", pictures=pictures) if pictures else None


def _obedience(data: ReportData) -> Section | None:
    if not data.obedience:
        return None
    caption = "Thin lines are runs, the thick one is their mean."
    picture = Picture(
        study_figures.leaps(
            {
                measure: {name: study_figures.Leaping(runs, []) for name, runs in methods.items()}
                for measure, methods in data.obedience.items()
            }
        ),
        "control consistency",
        caption,
    )
    text = [
        "Images are drawn under the maps of held-out images, always from the same noise, and maps of these are compared with those "
        "asked for. It measures obedience and not quality: a richer image may obey less, and a plain one that is nothing may "
        "obey well.",
        f"The measure is {', '.join(data.obedience)}.",
    ]
    ranked = "From the most obedient on the left to the least: the map, what was drawn under it, and the map of that."
    ends = [
        Picture(sheet, f"{name}, best and worst", ranked, crisp=True, wide=True)
        for name, sheet in data.by_obedience.items()
    ]
    slides = [
        (f"{step:,}", [Picture(sheet, name, crisp=True, wide=True) for name, sheet in pictures.items()])
        for step, pictures in data.obeying
    ]
    below = "Above the maps, below what was drawn under them from the same noise."
    shown = Slides("Map by map", "training step", slides, below) if slides else None
    return Section("Whether it obeys its maps", text, pictures=[picture, *ends], slides=shown)


def _by_u(data: ReportData) -> Section | None:
    pictures = []
    for curves, title in (
        (data.by_u_target, "on held-out images of the target"),
        (data.by_u_bank, f"on {_bank_items(data)}"),
    ):
        if "pretrained" in curves and len(curves) > 1:
            pictures.append(Picture(figures.heldout_by_u(curves, columns=data.columns), title))
    if not pictures:
        return None
    text = [
        "Denoising error by noise level, against the pretrained model: below zero has learned, above has forgotten. "
        "Small u is little noise, where a pretrained denoiser is expected to transfer.",
    ]
    return Section("What was learned and forgotten, by noise level", text, pictures=pictures)


def _swap(data: ReportData) -> Section | None:
    pictures = []
    swap = {name: points for name, points in data.swap.items() if points}
    if swap:
        caption = (
            "The ring marks the lowest point; at 0 % the trained model takes every step, at 100 % the pretrained one."
        )
        title = "distance against the share swapped"
        pictures.append(Picture(figures.swap_curves(swap, data.swap_distance, data.columns), title, caption))
    caption = "A row is one seed; above each column stands the share of the last steps taken by the pretrained model."
    pictures += [Picture(strip, name, caption, crisp=True, wide=True) for name, strip in data.strips.items()]
    if not pictures:
        return None
    text = [
        "The trained model takes the noisy steps and hands the last ones to the pretrained model. Where the curve falls, "
        "the pretrained denoiser is the better one at little noise: that knowledge should have been kept.",
    ]
    shares = [(f"{100 * share:g} %", _side_by_side(drawn)) for share, drawn in data.shares]
    slides = Slides("Share by share", "last steps taken by the pretrained model", shares, always=False)
    return Section("The chain of forgetting", text, pictures=pictures, slides=slides if shares else None)


def _bank(data: ReportData) -> Section | None:
    if data.bank_picture is None and not data.bank_card:
        return None
    pictures = (
        [Picture(data.bank_picture, "some of it", crisp=True, wide=True)] if data.bank_picture is not None else []
    )
    items = "Samples drawn once from the pretrained model before training"
    if _of_images(data):
        items = "Real images that stand for what the pretrained model knows"
    text = [f"{items}; retention trains on them."]
    return Section("The knowledge bank", text, pictures=pictures, facts=data.bank_card)


def _nearest(data: ReportData) -> Section | None:
    if not data.nearest:
        return None
    pictures = [Picture(picture, name, crisp=True, wide=True) for name, picture in data.nearest.items()]
    text = ["Under each sample stands the training image nearest to it: a pair that is equal was memorised."]
    return Section("Nearest training images", text, pictures=pictures)


def _drift(data: ReportData) -> Section | None:
    drift = {name: layers for name, layers in data.drift.items() if layers}
    if not drift:
        return None
    text = ["How far training moved each layer from the pretrained weights, from the first layer down to the last."]
    picture = Picture(figures.layer_drift(drift, data.columns), "drift by layer")
    return Section("Where the weights moved", text, pictures=[picture])


def _costs(data: ReportData) -> Section | None:
    if not data.seconds and not data.machine:
        return None
    text = [
        "Wall clock on this machine, other work on it included; of each method's first run. "
        "What is missing was not done or not timed."
    ]
    table = costs(data.seconds, data.method, data.baseline) if data.seconds else None
    return Section("What it cost", text, table, facts=data.machine)


def _set_aside(data: ReportData) -> Section | None:
    if not data.set_aside:
        return None
    count = len(data.set_aside)
    table = TextTable(("file", "reason"), tuple(data.set_aside), prose=True)
    text = [f"{count} {'file was' if count == 1 else 'files were'} not used; training went on without."]
    return Section("Set aside", text, table)


def _repeat(data: ReportData) -> Section | None:
    if not data.commands:
        return None
    return Section("To repeat it", listing="\n".join(data.commands), listing_title="commands", open=True)


def _notes(data: ReportData) -> Section | None:
    notes = list(data.notes)
    distances = [row for row in data.rows if row.metric in DISTANCES]
    frechet = [row for row in distances if row.metric != "kid" and row.n is not None]
    counts = {
        count: what for row in frechet for count, what in ((row.real, "real images"), (row.n, "samples")) if count
    }
    if counts and (least := min(counts)) < SMALL:
        notes.append(
            f"A Frechet distance over {least} {counts[least]} is biased upwards and rewards memorised training images: compare it "
            "at equal n only, and read the held-out error and the memorised share beside it."
        )
    networks = ", ".join(dict.fromkeys(row.network for row in distances if row.network))
    if networks and not any(row.metric == "fid" for row in distances):
        notes.append(
            f"Distances are over the features of {networks}; they are not FID and do not compare with published FIDs."
        )
    return Section("Notes", notes) if notes else None
