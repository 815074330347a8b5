"""Plots of what detectors find and where they err, as SVG for the page."""

from collections.abc import Mapping, Sequence

import numpy as np

from saccade.report.canvas import BLUE, INK, VERMILION, as_svg, draw_figure, shortened
from saccade.report.palette import OKABE_ITO

COLOURS = tuple("#{:02x}{:02x}{:02x}".format(*OKABE_ITO[k]) for k in (4, 0, 2, 5, 1, 3))
STROKES = ("-", (0, (5, 2)), (0, (1, 1.5)))


def precision_recall(curves: np.ndarray, names: Sequence[str]) -> str:
    """Precision against recall, one line a class.

    curves  [K, 101] in [0, 1]: precision at recalls 0.00 to 1.00
    names   K
    """
    recalls = np.linspace(0, 1, curves.shape[1])
    with draw_figure("Precision by recall", 5.2, 3.8) as (figure, axes):
        figure.set_layout_engine("constrained")
        for number, (curve, name) in enumerate(zip(curves, names, strict=True)):
            stroke = STROKES[number // len(COLOURS) % len(STROKES)]
            colour = COLOURS[number % len(COLOURS)]
            axes.plot(recalls, curve, color=colour, linestyle=stroke, linewidth=1.6, label=shortened(name))
        axes.set(xlim=(0, 1.005), ylim=(0, 1.02), xlabel="recall: share of the things that are found")
        axes.set_ylabel("precision: share of the finds that are right")
        figure.legend(loc="outside right upper")
        return as_svg(figure)


def scores(right: np.ndarray, wrong: np.ndarray) -> str:
    """How many finds had which score.

    right, wrong  [n] scores in [0, 1]
    """
    bins = np.linspace(0, 1, 21)
    heights = [np.histogram(values, bins)[0] for values in (right, wrong)]
    with draw_figure("Finds by score", 5.2, 2.6) as (figure, axes):
        figure.set_layout_engine("constrained")
        width = 0.9 * (bins[1] - bins[0])
        centres = (bins[1:] + bins[:-1]) / 2
        axes.bar(centres, heights[0], width, color=BLUE, label="right")
        axes.bar(centres, heights[1], width, bottom=heights[0], color=VERMILION, label="wrong")
        axes.set(xlim=(0, 1), xlabel="score", ylabel="finds")
        axes.yaxis.get_major_locator().set_params(integer=True, nbins=4)
        axes.legend(loc="upper center")
        return as_svg(figure)


def costs(values: Mapping[str, float]) -> str:
    """What each cause of errors costs, as bars.

    values  AP in percentage points, by cause
    """
    names, amounts = list(values)[::-1], np.array(list(values.values()))[::-1]
    with draw_figure("AP50 lost by cause", 5.2, 2.4) as (figure, axes):
        figure.set_layout_engine("constrained")
        axes.barh(names, amounts, 0.7, color=[VERMILION if name == "missed" else BLUE for name in names])
        for place, amount in enumerate(amounts):
            axes.annotate(f" {amount:.1f}", (max(amount, 0), place), va="center", color=INK)
        axes.set(xlabel="AP50 that would be gained by mending it alone, points")
        axes.set_xlim(0, 1.15 * max(float(amounts.max(initial=0)), 1.0))
        axes.grid(visible=False)
        return as_svg(figure)


def shares(values: Mapping[str, float], label: str) -> str:
    """One bar a class, of percent, the largest above.

    values  percent by name
    label   what they are
    """
    names = sorted(values, key=lambda name: values[name])
    with draw_figure(label, 5.2, max(1.6, 0.7 + 0.26 * len(names))) as (figure, axes):
        figure.set_layout_engine("constrained")
        axes.barh([shortened(name) for name in names], [values[name] for name in names], 0.7, color=BLUE)
        for place, name in enumerate(names):
            axes.annotate(f" {values[name]:.1f}", (values[name], place), va="center", color=INK)
        axes.set(xlabel=label, xlim=(0, 112))
        axes.grid(visible=False)
        return as_svg(figure)
