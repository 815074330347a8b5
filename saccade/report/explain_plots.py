"""Plots of explanations, as SVG for the page."""

from collections.abc import Mapping, Sequence

import numpy as np

from saccade.report.canvas import INK, as_svg, draw_figure

# Okabe and Ito's, those that stand out on white and on black.
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
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


def _dash(number: int) -> str | tuple[int, tuple[float, float]]:
    return DASHES[number // len(COLOURS) % len(DASHES)]  # pyright: ignore[reportReturnType]


def _least(lines: Sequence[np.ndarray]) -> float:
    values = np.concatenate([np.ravel(line) for line in lines])
    values = values[np.isfinite(values)]
    return float(values.min()) - 0.05 if len(values) else 0.0
