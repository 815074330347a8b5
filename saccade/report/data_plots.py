"""Plots of data sets, as SVG for the page: how often each class occurs, how large images and things are."""

from collections.abc import Mapping

import numpy as np

from saccade.report.canvas import BLUE, INK, VERMILION, as_svg, draw_figure, shortened, width_of

MOST_CLASSES = 40
GREEN = "#009e73"  # the third of Okabe and Ito's colours that stays apart from the other two
SPLIT_COLOURS = (BLUE, VERMILION, GREEN)


def balance(counts: Mapping[str, np.ndarray], classes: tuple[str, ...], unit: str) -> str:
    """How much there is of each class, the most frequent first, a bar a split.

    counts  [K] int a split
    unit    what is counted: "images", "objects", "pixels"
    """
    total = np.sum(list(counts.values()), axis=0)
    order = np.argsort(-total, kind="stable")[:MOST_CLASSES]
    height = 0.9 + 0.2 * len(order) * max(1.0, 0.6 * len(counts))
    with draw_figure(f"{unit} of each class", 6.4, height) as (figure, axes):
        figure.set_layout_engine("constrained")
        rows, thick = np.arange(len(order)), 0.8 / len(counts)
        for place, (name, row) in enumerate(counts.items()):
            where = rows + (place - (len(counts) - 1) / 2) * thick
            axes.barh(where, row[order], 0.92 * thick, color=SPLIT_COLOURS[place % 3], label=name)
        axes.set_yticks(rows, ["c" * width_of(shortened(classes[k])) for k in order])
        for k, tick in zip(order, axes.get_yticklabels(), strict=True):
            tick.set_gid(f"name-{k}")
        axes.set(xlabel=unit, ylim=(len(order) - 0.5, -0.5))
        axes.grid(False)
        axes.grid(True, axis="x")
        if len(counts) > 1:
            axes.legend(loc="lower right")
        return as_svg(figure, classes)


def sizes(images: np.ndarray) -> str:
    """How wide and high the images are; the larger the dot, the more of that size.

    images  [M, 2] int (height, width)
    """
    unique, number = np.unique(images, axis=0, return_counts=True)
    with draw_figure("sizes of the images", 3.4, 3.0) as (figure, axes):
        figure.set_layout_engine("constrained")
        axes.scatter(unique[:, 1], unique[:, 0], s=12 + 120 * number / number.max(), color=BLUE, alpha=0.45, lw=0)
        axes.set(xlabel="width, pixels", ylabel="height, pixels", title="Images")
        axes.set_xlim(0, 1.08 * unique[:, 1].max())
        axes.set_ylim(0, 1.08 * unique[:, 0].max())
        return as_svg(figure)


def object_sizes(shares: np.ndarray) -> str:
    """How long the things are, as a share of their image's longer side.

    shares  [N] float in [0, 1]
    """
    with draw_figure("sizes of the objects", 3.4, 3.0) as (figure, axes):
        figure.set_layout_engine("constrained")
        axes.hist(100 * shares, bins=np.linspace(0, 100, 26), color=BLUE, alpha=0.7)
        axes.axvline(100 * float(np.median(shares)), color=INK, linewidth=1, linestyle=(0, (4, 3)), label="median")
        axes.set(xlabel="longer side, % of the image's", ylabel="objects", title="Objects", xlim=(0, 100))
        axes.legend(loc="best")
        return as_svg(figure)
