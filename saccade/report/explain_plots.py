"""Plots of explanations, as SVG for the page."""

from collections.abc import Mapping, Sequence

import numpy as np

from saccade.report.canvas import INK, as_svg, draw_figure

# Okabe and Ito's, those that stand out on white and on black.
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
DASHES = ("-", (0, (5, 1.5)), (0, (1.5, 1.5)))


def answers(amounts: np.ndarray, lines: Mapping[str, np.ndarray], title: str, along: str) -> str:
    """How alike the answers of layers are as an image is moved more and more.

    amounts  [M]
    lines    of each layer [M] float in [-1, 1]; nan where nothing is known
    """
    with draw_figure(title, 4.6, 3.2) as (figure, axes):
        figure.set_layout_engine("constrained")
        axes.set_title(title)
        for n, (name, values) in enumerate(lines.items()):
            if not np.isfinite(values).any():
                continue
            axes.plot(amounts, values, color=COLOURS[n % len(COLOURS)], linestyle=_dash(n), marker=".", label=name)
        axes.set(xlabel=along, ylabel="correlation", ylim=(min(-0.05, _least(lines.values())), 1.05))
        axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), fontsize=8)
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


def _least(lines: Sequence[np.ndarray] | object) -> float:
    values = np.concatenate([np.ravel(line) for line in lines])  # pyright: ignore[reportGeneralTypeIssues]
    values = values[np.isfinite(values)]
    return float(values.min()) - 0.05 if len(values) else 0.0
