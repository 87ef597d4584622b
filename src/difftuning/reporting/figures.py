"""Figures as picture data: SVG for curves, PNG for images. Drawn on a transparent ground in colours for light and dark pages."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image
from torch import Tensor

mpl.use("Agg")

COLOURS = {"pretrained": "#7f7f7f", "finetune": "#d55e00", "diff-tuning": "#0072b2"}
"""Okabe and Ito's palette, which colour-blind readers can tell apart; others follow."""
OTHERS = ("#009e73", "#cc79a7", "#e69f00", "#56b4e9")
INK = "#767676"
"""A grey that reads on white and on black."""


def _colour(name: str, index: int) -> str:
    return COLOURS.get(name, OTHERS[index % len(OTHERS)])


def _figure(width: float = 6.4, height: float = 3.8) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(width, height), layout="constrained")
    figure.patch.set_alpha(0)
    axes = figure.subplots()
    axes.patch.set_alpha(0)
    axes.spines[["top", "right"]].set_visible(False)
    for spine in axes.spines.values():
        spine.set_color(INK)
    axes.tick_params(colors=INK)
    axes.xaxis.label.set_color(INK)
    axes.yaxis.label.set_color(INK)
    axes.grid(alpha=0.25, color=INK)
    return figure, axes


def _finish(figure: Figure, axes: Axes) -> bytes:
    if axes.get_legend_handles_labels()[0]:
        legend = axes.legend(frameon=False, labelcolor=INK)
        legend.set_in_layout(True)
    out = io.BytesIO()
    with mpl.rc_context({"svg.fonttype": "path", "svg.hashsalt": "difftuning"}):
        figure.savefig(out, format="svg", metadata={"Date": None})
    return out.getvalue()


def training_curves(series: Mapping[str, Sequence[tuple[int, float]]]) -> bytes:
    """Held-out error against steps, one line a run."""
    figure, axes = _figure()
    for index, (name, points) in enumerate(series.items()):
        steps, errors = zip(*points, strict=True)
        axes.plot(steps, errors, marker="o", markersize=3, color=_colour(name.split(" ")[0], index), label=name)
        lowest = min(range(len(errors)), key=lambda at: errors[at])
        axes.plot(steps[lowest], errors[lowest], marker="v", markersize=9, color=_colour(name.split(" ")[0], index))
    axes.set_xlabel("training steps")
    axes.set_ylabel("held-out error of the target")
    return _finish(figure, axes)


def error_by_u(curves: Mapping[str, Sequence[float]], reference: Sequence[float], what: str) -> bytes:
    """Error in equal bins of u, in percent of the reference (the pretrained model), so that a few percent are seen."""
    figure, axes = _figure()
    bins = len(reference)
    u = [(index + 0.5) / bins for index in range(bins)]
    axes.axhline(0, color=COLOURS["pretrained"], linestyle="--", label="pretrained")
    for index, (name, errors) in enumerate(curves.items()):
        change = [100 * (error / base - 1) for error, base in zip(errors, reference, strict=True)]
        axes.plot(u, change, marker="o", color=_colour(name, index), label=name)
    axes.set_xlim(0, 1)
    axes.set_xlabel("forgetting clock u   (0: data, 1: noise)")
    axes.set_ylabel(f"{what}: change in %")
    return _finish(figure, axes)


def swap_curves(curves: Mapping[str, Sequence[tuple[float, float]]], ylabel: str) -> bytes:
    """Distance against the share of the last steps given to the pretrained model."""
    figure, axes = _figure()
    for index, (name, points) in enumerate(curves.items()):
        axes.plot(
            [100 * share for share, _ in points],
            [value for _, value in points],
            marker="o",
            color=_colour(name, index),
            label=name,
        )
    axes.set_xlabel("last steps taken by the pretrained model, %")
    axes.set_ylabel(ylabel)
    return _finish(figure, axes)


def coefficients(u: Sequence[float], psi: Sequence[float], xi: Sequence[float]) -> bytes:
    """Psi and xi over u."""
    figure, axes = _figure(height=2.6)
    axes.plot(u, psi, color=COLOURS["finetune"], label="psi, reconsolidation (target)")
    axes.plot(u, xi, color=COLOURS["diff-tuning"], label="xi, retention (bank)")
    axes.set_xlabel("forgetting clock u   (0: data, 1: noise)")
    axes.set_ylim(-0.03, 1.03)
    return _finish(figure, axes)


def image_grid(images: Tensor, columns: int, scale: int = 3, gap: int = 1) -> bytes:
    """(N, 3, H, W) uint8 as one PNG, row by row, pixels enlarged as squares so that small icons stay crisp."""
    lines = -(-len(images) // columns)
    height, width = images.shape[-2:]
    sheet = Image.new("RGBA", (columns * (width + gap) - gap, lines * (height + gap) - gap))
    for index, image in enumerate(images):
        place = (index % columns * (width + gap), index // columns * (height + gap))
        sheet.paste(Image.fromarray(image.permute(1, 2, 0).cpu().numpy()), place)
    out = io.BytesIO()
    sheet.resize((sheet.width * scale, sheet.height * scale), Image.Resampling.NEAREST).save(out, "PNG", optimize=True)
    return out.getvalue()
