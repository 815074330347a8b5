"""Learning curves as SVG for the page: error against images a class, every way in one plot."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from saccade.metrics.power_law import PowerLaw
from saccade.report.canvas import INK, as_svg, draw_figure
from saccade.report.palette import OKABE_ITO

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Blue, vermilion, green, purple of Okabe and Ito: apart on white and on black, for every kind of colour vision.
COLOURS = tuple("#{:02x}{:02x}{:02x}".format(*OKABE_ITO[k]) for k in (4, 0, 2, 5))
MARKERS = ("o", "s", "^", "D")  # and by shape, for print
BEYOND = 4  # times today's size


@dataclass(frozen=True, eq=False)
class Line:
    """One way of training.

    sizes   [N] float, images a class, above 0, rising
    errors  N arrays [R] of the repeats' errors in percent, one each at least
    law     None where there is none
    """

    name: str
    sizes: np.ndarray
    errors: list[np.ndarray]
    law: PowerLaw | None


def learning_curves(lines: Sequence[Line], today: float) -> str:
    """Points with the range of their repeats, the fitted lines with bands of 90 %, dashed beyond today's size.

    today  images a class
    """
    first = min(line.sizes[0] for line in lines)
    with draw_figure("Error by images a class", 6.6, 4.2) as (figure, axes):
        figure.set_layout_engine("constrained")
        axes.set_xscale("log")
        for number, line in enumerate(lines):
            _draw(axes, line, number, len(lines), today)
        highest = max(float(row.max()) for line in lines for row in line.errors)
        axes.set(xlabel="images a class to train on", ylabel="error, %")
        axes.set(xlim=(0.85 * first, BEYOND * today), ylim=(0, min(102.0, 1.1 * highest + 0.5)))
        _ticks(axes, first, today)
        axes.axvline(today, color=INK, alpha=0.5, linewidth=1, linestyle=(0, (1, 2)))
        axes.annotate("today ", (today, 1), xycoords=("data", "axes fraction"), ha="right", va="top", alpha=0.7)
        axes.legend(loc="lower left" if _falls_late(lines) else "upper right", handlelength=1.8)
        return as_svg(figure)


def _draw(axes: "Axes", line: Line, number: int, count: int, today: float) -> None:
    colour, marker = COLOURS[number % len(COLOURS)], MARKERS[number % len(MARKERS)]
    # Side by side where they have the same size.
    places = line.sizes * 1.04 ** (number - (count - 1) / 2)
    means = np.array([row.mean() for row in line.errors])
    reach = np.array([(row.mean() - row.min(), row.max() - row.mean()) for row in line.errors]).T
    bars = axes.errorbar(places, means, reach, color=colour, fmt=marker, elinewidth=1.2, capsize=2.5, zorder=3)
    if line.law is not None:
        grid = np.geomspace(line.law.first, BEYOND * today, 120)
        low, high = np.percentile(line.law.drawn(grid), (5, 95), axis=0)
        error = line.law.error(grid)
        axes.fill_between(grid, np.minimum(low, error), np.maximum(high, error), color=colour, alpha=0.13, linewidth=0)
        measured = grid <= today
        axes.plot(grid[measured], error[measured], color=colour, linewidth=1.5)
        axes.plot(grid[~measured], error[~measured], color=colour, linewidth=1.5, linestyle=(0, (4, 3)))
    bars.set_label(line.name)


def _ticks(axes: "Axes", first: float, today: float) -> None:
    """1, 2, 5, 10, 20 ... in full."""
    from matplotlib.ticker import FixedFormatter, FixedLocator, NullLocator

    numbers = [step * 10**power for power in range(9) for step in (1, 2, 5)]
    shown = [n for n in numbers if 0.85 * first <= n <= BEYOND * today]
    axes.xaxis.set_major_locator(FixedLocator(shown))
    axes.xaxis.set_major_formatter(FixedFormatter([f"{n:,}" for n in shown]))
    axes.xaxis.set_minor_locator(NullLocator())


def _falls_late(lines: Sequence[Line]) -> bool:
    """Whether there is more room at the lower left than at the upper right."""
    highest = max(float(row.max()) for line in lines for row in line.errors)
    at_first = min(float(line.errors[0].mean()) for line in lines)
    at_last = max(float(line.errors[-1].mean()) for line in lines)
    return at_first > highest - at_last
