"""Figures as SVG, for the page: in the page's text colour and fonts, so they read in the light and in the dark."""

import io
import math
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from html import escape
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# From the palette of Okabe and Ito, told apart with every kind of colour vision.
BLUE, VERMILION = "#0072b2", "#d55e00"
# Stands for the text colour of the page, and is put in its place when the plot is drawn.
INK = "#010203"
FONTS = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif"
LONGEST_NAME = 18

STYLE = {
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
LOCK = threading.Lock()


@contextmanager
def draw_figure(
    title: str, width: float, height: float, rows: tuple[int, ...] = (1,), columns: int = 1
) -> Iterator[tuple]:
    """(figure, axes, ...) of this size in inches, in our style whatever the user's is.

    title    what screen readers call it; the ids in the SVG depend on it
    rows     the relative heights of the axes
    columns  of axes, equally wide; the axes come row by row
    """
    from matplotlib import style
    from matplotlib.figure import Figure

    with LOCK, style.context(["default", STYLE | {"svg.hashsalt": title}]):
        figure = Figure(figsize=(width, height), label=title)
        axes = figure.subplots(len(rows), columns, squeeze=False, height_ratios=rows)
        yield figure, *axes.flat


def as_svg(figure: "Figure", names: tuple[str, ...] = (), tight: bool = False) -> str:
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
    short = shortened(name)
    return escape(short) if short == name else f"<title>{escape(name)}</title>{escape(short)}"


def shortened(name: str) -> str:
    return name if len(name) <= LONGEST_NAME else name[: LONGEST_NAME - 1] + "…"


def width_of(name: str) -> int:
    """How many c's the name is about as wide as."""
    from unicodedata import east_asian_width

    widths = (1.8 if east_asian_width(letter) in "WF" else 1.25 if letter.isupper() else 1.0 for letter in name)
    return max(1, math.ceil(sum(widths)))
