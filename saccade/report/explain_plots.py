"""Plots of explanations, as SVG for the page."""

from collections.abc import Mapping, Sequence

import numpy as np

from saccade.report.canvas import INK, as_svg, draw_figure, shortened, width_of
from saccade.report.palette import colour

# Okabe and Ito's, those that stand out on white and on black.
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
MARKS = "o^sDvP"
DASHES = ("-", (0, (5, 1.5)), (0, (1.5, 1.5)))


def answers(amounts: np.ndarray, panels: Mapping[str, Mapping[str, np.ndarray]], title: str, along: str) -> str:
    """How alike the answers of layers are as an image is moved more and more: panels beside each other.

    amounts  [M]
    panels   by their titles: of each layer [M] float in [-1, 1]; nan where nothing is known
    """
    every = [values for lines in panels.values() for values in lines.values()]
    with draw_figure(title, 3.2 * len(panels) + 1.8, 3.2, columns=len(panels)) as (figure, *columns):
        figure.set_layout_engine("constrained")
        lowest = min(-0.05, _least(every))
        for axes, (name, lines) in zip(columns, panels.items(), strict=True):
            axes.set_title(name)
            for n, (layer, values) in enumerate(lines.items()):
                axes.plot(amounts, values, color=COLOURS[n % len(COLOURS)], linestyle=_dash(n), marker=".", label=layer)
            axes.set(xlabel=along, ylim=(lowest, 1.05))
        columns[0].set_ylabel("correlation")
        columns[-1].legend(loc="center left", bbox_to_anchor=(1.0, 0.5), fontsize=8)
        return as_svg(figure, tight=True)


def removed(curves: Mapping[str, tuple[np.ndarray, np.ndarray]], title: str, along: str) -> str:
    """The score as more and more pixels are changed, the most important first: a line for each method.

    curves  shares of the pixels and scores, [S] each
    """
    with draw_figure(title, 4.6, 3.2) as (figure, axes):
        figure.set_layout_engine("constrained")
        axes.set_title(title)
        for n, (name, (shares, scores)) in enumerate(curves.items()):
            chance = name == "random"
            colour = INK if chance else COLOURS[n % len(COLOURS)]
            axes.plot(100 * shares, scores, color=colour, linestyle=":" if chance else _dash(n), label=name)
        axes.set(xlabel=along, ylabel="score", xlim=(0, 100))
        axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), fontsize=8)
        return as_svg(figure, tight=True)


def dots(places: np.ndarray, labels: np.ndarray, classes: Sequence[str], title: str) -> str:
    """Where each of N images lies, a dot each, in the colour of its class.

    places  [N, 2] float (x, y) in [0, 1], y downwards as in a picture
    labels  [N] int64 in [0, K)
    """
    with draw_figure(title, 7.2, 5.4) as (figure, axes):
        figure.set_layout_engine("constrained")
        present: list[int] = np.unique(labels).tolist()
        for n, label in enumerate(present):
            ground = "#{:02x}{:02x}{:02x}".format(*colour(label))
            own = places[labels == label]
            name = "c" * width_of(shortened(classes[label]))
            style = {"s": 26, "alpha": 0.85, "edgecolors": INK, "linewidths": 0.3}
            axes.scatter(own[:, 0], own[:, 1], color=ground, marker=MARKS[n % len(MARKS)], label=name, **style)
        axes.set(xlim=(-0.02, 1.02), ylim=(1.02, -0.02), xticks=[], yticks=[])
        axes.grid(False)
        axes.spines[:].set_visible(False)
        legend = axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), fontsize=9)
        for label, text in zip(present, legend.get_texts(), strict=True):
            text.set_gid(f"name-{label}")
        return as_svg(figure, tuple(classes), tight=True)


def _dash(number: int) -> str | tuple[int, tuple[float, float]]:
    return DASHES[number // len(COLOURS) % len(DASHES)]  # pyright: ignore[reportReturnType]


def _least(lines: Sequence[np.ndarray]) -> float:
    values = np.concatenate([np.ravel(line) for line in lines])
    values = values[np.isfinite(values)]
    return float(values.min()) - 0.05 if len(values) else 0.0
