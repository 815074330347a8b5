"""The shapes of a set's boxes and of the anchors found for them, as SVG."""

import numpy as np

from saccade.report.canvas import BLUE, VERMILION, as_svg, draw_figure

SHOWN = 4000


def anchor_plot(sides: np.ndarray, shapes: np.ndarray) -> str:
    """Each box a dot, width against height; each anchor as large as it is.

    sides   [N, 2] float (width, height), pixels
    shapes  [K, 2] float, likewise
    """
    shown = sides[np.linspace(0, len(sides) - 1, min(len(sides), SHOWN)).astype(int)]
    with draw_figure("Boxes and anchors", 4.6, 4.6) as (figure, axes):
        figure.set_layout_engine("constrained")
        axes.plot(*shown.T, ".", color=BLUE, markersize=3, alpha=0.35, label="boxes")
        axes.plot(*shapes.T, "o", color=VERMILION, label="anchors")
        for width, height in shapes:
            axes.plot([0, width, width], [height, height, 0], color=VERMILION, linewidth=1, alpha=0.7)
        most = 1.08 * max(float(shown.max()), float(shapes.max()))
        axes.set(xlim=(0, most), ylim=(0, most), xlabel="width, pixels", ylabel="height, pixels", aspect="equal")
        axes.legend(loc="upper right")
        return as_svg(figure)
