"""The family of networks in one picture: accuracy against operations, parameters as areas.

After Canziani, Paszke and Culurciello, "An Analysis of Deep Neural Network Models for Practical Applications", 2017,
figure 2.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

from saccade.errors import UsageError

# Okabe and Ito: told apart with every kind of colour vision.
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000", "#999999", "#8a6d00", "#5d3a9b")
SUFFIXES = (".svg", ".png", ".pdf")
LETTER = 7.5  # points high


class Costs(Protocol):
    """What is drawn of a network's costs."""

    @property
    def parameters(self) -> int: ...
    @property
    def multiply_adds(self) -> int: ...


class Member(Protocol):
    """A network of the family."""

    @property
    def name(self) -> str: ...
    @property
    def facts(self) -> Costs: ...
    @property
    def top1_error(self) -> float | None: ...


def draw_family(members: Sequence[Member], path: Path) -> int:
    """Draw those whose error on ImageNet is published, and say how many they are.

    path  ends in .svg, .png or .pdf

    Raises UsageError for another suffix, or when there is nothing to draw.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    if path.suffix not in SUFFIXES:
        raise UsageError(f"--plot writes {', '.join(SUFFIXES)}, not {path.name!r}")
    drawn = [(member, member.top1_error) for member in members if member.top1_error is not None]
    if not drawn:
        raise UsageError("none of these networks has published weights, so there is no accuracy to draw")
    figure = Figure(figsize=(10, 6.4), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    families: dict[str, str] = {}
    # The large ones first, so that none is hidden.
    for member, error in sorted(drawn, key=lambda pair: -pair[0].facts.parameters):
        colour = families.setdefault(_family(member.name), COLOURS[len(families) % len(COLOURS)])
        x, y, area = member.facts.multiply_adds / 1e9, 100 - error, 9 * member.facts.parameters / 1e6
        axes.scatter(x, y, s=area, color=colour, alpha=0.45, linewidth=0)
        axes.scatter(x, y, s=5, color=colour)
    axes.set_xscale("log")
    axes.set_xlabel("multiply-adds of one image, 10⁹")
    axes.set_ylabel("top-1 accuracy on ImageNet, %")
    axes.set_title("Accuracy against operations; areas are parameters", loc="left")
    axes.margins(0.09)
    axes.grid(alpha=0.2)
    axes.spines[["top", "right"]].set_visible(False)
    for millions in (5, 50, 150):
        axes.scatter([], [], s=9 * millions, color="#777777", alpha=0.45, linewidth=0, label=f"{millions} million")
    axes.legend(loc="lower right", frameon=False, labelspacing=1.8, borderpad=1.2, title="parameters")
    _label(axes, [(member.facts.multiply_adds / 1e9, 100 - error, member.name) for member, error in drawn])
    figure.savefig(path, dpi=160)
    return len(drawn)


def _family(name: str) -> str:
    """Networks of one family share their letters up to the first digit: resnet18 and resnet50."""
    return name[: next((i for i, letter in enumerate(name) if letter.isdigit()), len(name))].rstrip("_")


def _label(axes: Any, points: Sequence[tuple[float, float, str]]) -> None:
    """Names beside their points, each at the first of eight places where it covers no other name and no point."""
    axes.figure.draw_without_rendering()
    scale = 72 / axes.figure.dpi
    centres = [scale * axes.transData.transform(point[:2]) for point in points]  # in points, like the letters
    taken = [(x - 3, y - 3, x + 3, y + 3) for x, y in centres]
    for (x, y), point in zip(centres, points, strict=True):
        width, height = 0.58 * LETTER * len(point[2]), 1.15 * LETTER
        places = [
            (x + right * (6 + width / 2), y + up * height)
            for up in (0, 0.5, -0.5, 1, -1, 1.6, -1.6)
            for right in ((1, -1) if abs(up) < 1 else (0, 1, -1))
        ]
        boxes = [(a - width / 2, b - height / 2, a + width / 2, b + height / 2) for a, b in places]
        free = next((i for i, box in enumerate(boxes) if not any(_overlap(box, other) for other in taken)), 0)
        taken.append(boxes[free])
        moved = (places[free][0] - x, places[free][1] - y)
        axes.annotate(
            point[2], point[:2], xytext=moved, textcoords="offset points", fontsize=LETTER, ha="center", va="center"
        )


def _overlap(one: tuple[float, ...], other: tuple[float, ...]) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]
