"""Plots of trainings and of what classifiers get right, as SVG for the page."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from saccade.report.canvas import BLUE, INK, VERMILION, as_svg, draw_figure, shortened, width_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MOST_NUMBERED = 20
MOST_MARKED = 12
# A picture of more cells than this is shrunk on the screen, and must be blended rather than thinned out.
MOST_CRISP = 250


def curves(lines: Sequence[dict[str, float]]) -> str:
    """How a training went, epoch by epoch: the loss, the validation error if it was measured, the learning rate.

    lines  of log.jsonl: epoch (from 0), learning_rate, train/loss, and perhaps val/loss, val/top1_error, val/box/AP,
           val/mask/AP, val/keypoint/AP, val/mean_iou (percent), val/psnr

    Two or three SVGs one after the other, so that they stand in a row on a screen and in a column on a phone.
    """
    if not lines:
        raise ValueError("curves needs at least one line of the log but got none")
    precision = {
        "val/box/AP": ("boxes", BLUE),
        "val/mask/AP": ("masks", VERMILION),
        "val/keypoint/AP": ("keypoints", INK),
    }
    panels: list[tuple[str, dict[str, tuple[str, str]]]] = [
        ("Loss", {"train/loss": ("training", BLUE), "val/loss": ("validation", VERMILION)}),
        ("Validation error, %", {"val/top1_error": ("validation", VERMILION)}),
        ("Validation AP, %", precision),
        ("Validation mean IoU, %", {"val/mean_iou": ("validation", VERMILION)}),
        ("Validation PSNR, dB", {"val/psnr": ("validation", VERMILION)}),
        ("Learning rate", {"learning_rate": ("", INK)}),
    ]
    return "\n".join(
        _panel(title, lines, keys) for title, keys in panels if any(key in line for line in lines for key in keys)
    )


def _panel(title: str, lines: Sequence[dict[str, float]], keys: dict[str, tuple[str, str]]) -> str:
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    with draw_figure(f"{title} by epoch", 3.08, 2.2) as (figure, axes):
        figure.set_layout_engine("constrained")
        axes.set_title(title)
        axes.set_xlabel("epoch")
        drawn = [_line(axes, lines, key, name, colour) for key, (name, colour) in keys.items()]
        first, last = (bound(int(line["epoch"]) for line in lines) + 1 for bound in (min, max))
        margin = max(0.5, 0.03 * (last - first))
        axes.set_xlim(first - margin, last + margin)
        lowest, highest = min(0.0, *sum(drawn, [0.0])), max(sum(drawn, [0.0]))
        axes.set_ylim(1.08 * lowest, 1.08 * highest or 1.0)
        axes.xaxis.set_major_locator(MaxNLocator(5, integer=True, min_n_ticks=1, steps=[1, 2, 5, 10]))
        axes.yaxis.set_major_locator(MaxNLocator(4, steps=[1, 2, 2.5, 5, 10]))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        if sum(map(bool, drawn)) > 1:
            axes.legend(loc="best")
        return as_svg(figure)


def _line(axes: "Axes", lines: Sequence[dict[str, float]], key: str, name: str, colour: str) -> list[float]:
    """Draw one curve; gives its values. Epochs are counted from 1, as people do."""
    points = [(int(line["epoch"]) + 1, line[key]) for line in lines if key in line and math.isfinite(line[key])]
    if not points:
        return []
    epochs, values = zip(*points, strict=True)
    axes.plot(epochs, values, color=colour, label=name, marker="o" if len(points) <= MOST_MARKED else "")
    return list(values)


def rate_test(rates: Sequence[float], losses: Sequence[float], smoothed: Sequence[float], found: float) -> str:
    """The loss against the learning rate of a range test, with the rate that was chosen.

    rates     rising, one a step; `losses` and `smoothed`, their running average, likewise
    """
    from matplotlib.ticker import FuncFormatter, NullFormatter

    with draw_figure("Loss by learning rate", 6.4, 2.6) as (figure, axes):
        figure.set_layout_engine("constrained")
        axes.plot(rates, losses, ".", color=INK, alpha=0.35, label="a step")
        axes.plot(rates, smoothed, color=BLUE, label="running average")
        axes.axvline(found, color=VERMILION, linestyle="--", label=f"chosen: {found:.2g}")
        axes.set(xscale="log", xlabel="learning rate", ylabel="loss")
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.xaxis.set_minor_formatter(NullFormatter())
        # What runs away would press all else flat.
        axes.set_ylim(0.9 * min(losses), 1.1 * max(smoothed[0], 2 * min(smoothed)))
        axes.legend(loc="best")
        return as_svg(figure)


def confusion(matrix: np.ndarray, classes: tuple[str, ...]) -> str:
    """What each class was taken for: blue is right, orange wrong, and the stronger the larger the share of the row.

    matrix   [K, K] int64 counts, row the truth, column the prediction
    classes  K names, of any length and script
    """
    if matrix.shape != (len(classes),) * 2:
        raise ValueError(f"matrix must be [{len(classes)}, {len(classes)}] but got shape {list(matrix.shape)}")
    count = len(classes)
    side = min(7.0, 1.2 + 0.48 * count)
    step = math.ceil(count / MOST_NUMBERED)
    shown = list(range(0, count, step))
    with draw_figure("Confusion matrix", side, side) as (figure, axes):
        axes.imshow(_cell_colours(matrix), interpolation="none")
        axes.set(xlabel="prediction", ylabel="truth")
        axes.spines[:].set_visible(True)
        axes.grid(False)
        axes.tick_params(length=0)
        labels = ["c" * width_of(shortened(classes[k])) for k in shown]
        axes.set_yticks(shown, labels)
        cell = 72 * side * 0.77 / count
        # A letter is about 5 points wide.
        slanted = 5 * max(map(len, labels)) > 0.9 * cell * step
        axes.set_xticks(
            shown, labels, **({"rotation": 45, "ha": "right", "rotation_mode": "anchor"} if slanted else {})
        )
        for k, *ticks in zip(shown, axes.get_xticklabels(), axes.get_yticklabels(), strict=True):
            for tick in ticks:
                tick.set_gid(f"name-{k}")
        if count <= MOST_NUMBERED:
            _numbers(axes, matrix, cell)
        svg = as_svg(figure, classes, tight=True)
    return svg if count <= MOST_CRISP else svg.replace("image-rendering:crisp-edges;image-rendering:pixelated", "")


def _cell_colours(matrix: np.ndarray) -> np.ndarray:
    """[K, K, 4] uint8: red, green, blue and how opaque, from the counts [K, K].

    Under numbers at most three quarters opaque, so that dark text on white and light text on black stay legible;
    and a single mistake among thousands is still seen, also where a cell is but a dot.
    """
    totals = np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    faintest, strongest = min(0.5, 0.16 + len(matrix) / 400), 0.75 if len(matrix) <= MOST_NUMBERED else 1.0
    opacity = np.where(matrix > 0, faintest + (strongest - faintest) * matrix / totals, 0.0)
    cells = np.empty((*matrix.shape, 4), dtype=np.uint8)
    cells[..., :3] = _bytes_of(VERMILION)
    cells[np.diag_indices(len(matrix))] = (*_bytes_of(BLUE), 0)
    cells[..., 3] = np.rint(255 * opacity)
    return cells


def _bytes_of(colour: str) -> tuple[int, ...]:
    return tuple(bytes.fromhex(colour[1:]))


def _numbers(axes: "Axes", matrix: np.ndarray, cell: float) -> None:
    """The counts, in the cells; `cell` is the side of one, in points."""
    size = min(10.0, 1.4 * cell / max(3, len(str(matrix.max()))))
    for row, column in np.ndindex(matrix.shape):
        value = int(matrix[row, column])
        axes.text(
            column,
            row,
            str(value),
            size=size,
            ha="center",
            va="center_baseline",
            alpha=1.0 if value else 0.45,
        )


def calibration(bins: list[tuple[int, float, float]]) -> str:
    """Whether the score can be believed: the share that is right against the score, and how many images had that score.

    bins  (images, mean score in [0, 1], share that is right in [0, 1]) of equal bins of the score
    """
    width = 1 / len(bins)
    full = [(index, *values) for index, values in enumerate(bins) if values[0]]
    centres = [(index + 0.5) * width for index, *_ in full]
    with draw_figure("Calibration", 4.2, 4.2, rows=(3, 1)) as (figure, axes, below):
        figure.set_layout_engine("constrained")
        axes.bar(centres, [right for *_, right in full], 0.92 * width, color=BLUE, alpha=0.35)
        axes.plot(
            [0, 1], [0, 1], color=INK, alpha=0.6, linewidth=1, linestyle=(0, (4, 3)), label="score can be believed"
        )
        scores, rights = [score for *_, score, _ in full], [right for *_, right in full]
        axes.plot(scores, rights, "o", color=BLUE, label="measured")
        axes.set(xlim=(0, 1), ylim=(0, 1.02), ylabel="share that is right")
        axes.legend(loc="upper left")
        axes.tick_params(labelbottom=False)
        below.bar(centres, [images for _, images, *_ in full], 0.92 * width, color=INK, alpha=0.45)
        below.set(xlim=(0, 1), xlabel="score of the predicted class", ylabel="images")
        below.yaxis.get_major_locator().set_params(integer=True, nbins=3)
        return as_svg(figure)
