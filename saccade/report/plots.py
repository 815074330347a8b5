"""Plots as SVG, for the page: they take the page's text colour and fonts, so they read in the light and in the dark."""

import io
import math
import re
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from html import escape
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# From the palette of Okabe and Ito, told apart with every kind of colour vision.
BLUE, VERMILION = "#0072b2", "#d55e00"
# Stands for the text colour of the page, and is put in its place when the plot is drawn.
INK = "#010203"
FONTS = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif"
LONGEST_NAME = 18
MOST_NUMBERED = 20
MOST_MARKED = 12
# A picture of more cells than this is shrunk on the screen, and must be blended rather than thinned out.
MOST_CRISP = 250

_STYLE = {
    "svg.fonttype": "none",
    "text.parse_math": False,
    "text.color": INK,
    "font.size": 9,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "axes.titlecolor": INK,
    "axes.titlesize": 10,
    "axes.titlelocation": "left",
    "axes.titlepad": 8,
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "grid.color": INK,
    "grid.alpha": 0.14,
    "grid.linewidth": 0.6,
    "xtick.color": INK,
    "ytick.color": INK,
    "xtick.major.size": 3,
    "ytick.major.size": 0,
    "xtick.major.width": 0.6,
    "lines.linewidth": 1.8,
    "lines.markersize": 4.5,
    "legend.frameon": False,
    "legend.handlelength": 1.2,
    "legend.borderaxespad": 0.1,
}
# matplotlib reads its style from one global table: one plot at a time.
_LOCK = threading.Lock()


def curves(lines: Sequence[dict[str, float]]) -> str:
    """How a training went, epoch by epoch: the loss, the validation error if it was measured, the learning rate.

    lines  of log.jsonl: epoch (from 0), learning_rate, train/loss, and perhaps val/loss and val/top1_error (percent)

    Two or three SVGs one after the other, so that they stand in a row on a screen and in a column on a phone.
    """
    if not lines:
        raise ValueError("curves needs at least one line of the log but got none")
    error = "val/top1_error"
    panels: list[tuple[str, dict[str, tuple[str, str]]]] = [
        ("Loss", {"train/loss": ("training", BLUE), "val/loss": ("validation", VERMILION)}),
        ("Validation error, %", {error: ("validation", VERMILION)}),
        ("Learning rate", {"learning_rate": ("", INK)}),
    ]
    return "\n".join(
        _panel(title, lines, keys) for title, keys in panels if any(key in line for line in lines for key in keys)
    )


def _panel(title: str, lines: Sequence[dict[str, float]], keys: dict[str, tuple[str, str]]) -> str:
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    with _figure(f"{title} by epoch", 3.08, 2.2) as (figure, axes):
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
        return _svg(figure)


def _line(axes: "Axes", lines: Sequence[dict[str, float]], key: str, name: str, colour: str) -> list[float]:
    """Draw one curve; gives its values. Epochs are counted from 1, as people do."""
    points = [(int(line["epoch"]) + 1, line[key]) for line in lines if key in line and math.isfinite(line[key])]
    if not points:
        return []
    epochs, values = zip(*points, strict=True)
    axes.plot(epochs, values, color=colour, label=name, marker="o" if len(points) <= MOST_MARKED else "")
    return list(values)


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
    with _figure("Confusion matrix", side, side) as (figure, axes):
        axes.imshow(_cell_colours(matrix), interpolation="none")
        axes.set(xlabel="prediction", ylabel="truth")
        axes.spines[:].set_visible(True)
        axes.grid(False)
        axes.tick_params(length=0)
        labels = ["c" * _width(_shortened(classes[k])) for k in shown]
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
        svg = _svg(figure, classes, tight=True)
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
    with _figure("Calibration", 4.2, 4.2, rows=(3, 1)) as (figure, axes, below):
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
        return _svg(figure)


@contextmanager
def _figure(title: str, width: float, height: float, rows: tuple[int, ...] = (1,)) -> Iterator[tuple]:
    """(figure, axes, ...) of this size in inches, in our style whatever the user's is.

    title  what screen readers call it; the ids in the SVG depend on it
    rows   the relative heights of the axes
    """
    from matplotlib import style
    from matplotlib.figure import Figure

    with _LOCK, style.context(["default", _STYLE | {"svg.hashsalt": title}]):
        figure = Figure(figsize=(width, height), label=title)
        axes = figure.subplots(len(rows), 1, squeeze=False, height_ratios=rows)
        yield figure, *axes[:, 0]


def _svg(figure: "Figure", names: tuple[str, ...] = (), tight: bool = False) -> str:
    """The figure as an element that can stand in a page.

    names  what to write for the texts that are marked name-0, name-1 ...: matplotlib lays out a stand-in, so its own
           fonts, which lack most of the world's letters, never see them; the browser has the fonts
    tight  cut to what is drawn
    """
    file = io.StringIO()
    nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
    box = "tight" if tight else None
    figure.savefig(file, format="svg", transparent=True, bbox_inches=box, pad_inches=0.03, metadata=nothing)
    svg = file.getvalue()
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<defs>\s*<style.*?</style>\s*</defs>", "", svg, count=1, flags=re.DOTALL)
    svg = re.sub(r"base64,[^\"]*", lambda data: re.sub(r"\s", "", data[0]), svg)
    svg = re.sub(r"font-family: [^;\"]*", f"font-family: {FONTS}", svg).replace(INK, "currentColor")
    svg = re.sub(r"<svg [^>]*>", lambda root: _root(root[0], str(figure.get_label())), svg, count=1).replace(
        "xlink:href", "href"
    )
    svg = re.sub(
        r'<g id="name-(\d+)">\s*(<text [^>]*>)[^<]*</text>',
        lambda found: f"<g>{found[2]}{_name(names[int(found[1])])}</text>",
        svg,
    )
    used = set(re.findall(r"#([\w.-]+)", svg))
    svg = re.sub(r' id="([^"]*)"', lambda found: found[0] if found[1] in used else "", svg)
    return re.sub(r"\s*\n\s*", "\n", svg).strip()


def _root(tag: str, title: str) -> str:
    """The opening tag: it shrinks with its surroundings, as far as its text can still be read."""
    width, height = (float(re.findall(rf'{side}="([\d.]+)pt"', tag)[0]) for side in ("width", "height"))
    pixels = width * 4 / 3
    style = f"min-width:{min(pixels, max(270, 0.7 * pixels)):.0f}px;stroke-linejoin:round"
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" role="img" aria-label="{escape(title)}" style="{style}" '
        f'width="{pixels:.0f}" height="{height * 4 / 3:.0f}" viewBox="0 0 {width:g} {height:g}">'
    )


def _name(name: str) -> str:
    """A class name as SVG; the whole of it appears under the pointer."""
    short = _shortened(name)
    return escape(short) if short == name else f"<title>{escape(name)}</title>{escape(short)}"


def _shortened(name: str) -> str:
    return name if len(name) <= LONGEST_NAME else name[: LONGEST_NAME - 1] + "…"


def _width(name: str) -> int:
    """How many c's the name is about as wide as."""
    from unicodedata import east_asian_width

    widths = (1.8 if east_asian_width(letter) in "WF" else 1.25 if letter.isupper() else 1.0 for letter in name)
    return max(1, math.ceil(sum(widths)))
