"""The page: what a run found, as one HTML file that needs nothing else, on any screen."""

import base64
import hashlib
import io
import math
import re
from dataclasses import dataclass
from functools import cache
from numbers import Integral, Real
from pathlib import Path
from typing import ClassVar

import jinja2
import numpy as np
from PIL import Image

# Pictures up to this long are shown pixel by pixel and kept exactly; longer ones are shrunk to LONGEST.
TINY, LONGEST = 64, 256
LARGE = 640  # and so long where details matter
JPEG_QUALITY = 85

Cell = str | float | int


@dataclass(frozen=True)
class Fact:
    """One headline number, for example ("top-1 error", "1.11 %", "4 of 360 images")."""

    label: str
    value: str
    detail: str = ""


@dataclass(frozen=True)
class Figure:
    """A plot.

    svg  one SVG element, or several in a row; it goes into the page as it is, so it must be ours
    """

    svg: str
    caption: str
    kind: ClassVar[str] = "figure"


@dataclass(frozen=True)
class Table:
    """Rows that can be sorted by a click on a column's head; columns of numbers stand on the right.

    rows  each as long as the header; nan is shown as a dash and sorted last
    """

    header: tuple[str, ...]
    rows: list[tuple[Cell, ...]]
    caption: str = ""
    kind: ClassVar[str] = "table"

    def __post_init__(self) -> None:
        for number, row in enumerate(self.rows):
            if len(row) != len(self.header):
                raise ValueError(
                    f"row {number} of the table must have {len(self.header)} cells but has {len(row)}: {row}"
                )

    @property
    def numeric(self) -> list[bool]:
        """Which columns hold nothing but numbers."""
        return [bool(self.rows) and all(is_number(row[k]) for row in self.rows) for k in range(len(self.header))]


@dataclass(frozen=True, eq=False)
class Tile:
    """A picture with a line under it.

    image   [H, W, C] uint8 in [0, 255], C is 1 (grey) or 3 (RGB)
    detail  a second, quieter line
    good    whether what the title says is right; None where nobody asked
    """

    image: np.ndarray
    title: str
    detail: str = ""
    good: bool | None = None

    def __post_init__(self) -> None:
        shape = self.image.shape
        if self.image.dtype != np.uint8 or len(shape) != 3 or shape[2] not in (1, 3) or 0 in shape:
            raise ValueError(f"Tile.image must be uint8 [H, W, 1 or 3] but got {self.image.dtype} {list(shape)}")

    @property
    def tiny(self) -> bool:
        """Whether it is shown pixel by pixel."""
        return max(self.image.shape[:2]) <= TINY


@dataclass(frozen=True)
class Pictures:
    """Tiles in as many columns as the screen has room for; few and large ones where details matter."""

    tiles: list[Tile]
    caption: str
    large: bool = False
    kind: ClassVar[str] = "pictures"


@dataclass(frozen=True)
class Listing:
    """A plain list."""

    items: list[str]
    kind: ClassVar[str] = "listing"


@dataclass(frozen=True)
class Code:
    """Text to be shown letter by letter, for example a configuration."""

    text: str
    kind: ClassVar[str] = "code"


@dataclass(frozen=True)
class Prose:
    """Text to be read; an empty line parts two paragraphs."""

    text: str
    kind: ClassVar[str] = "prose"

    @property
    def paragraphs(self) -> list[str]:
        """The text in its parts."""
        return [part.strip() for part in re.split(r"\n\s*\n", self.text) if part.strip()]


Block = Figure | Table | Pictures | Listing | Code | Prose


@dataclass(frozen=True)
class Section:
    """Blocks under a heading; with open=False they show after a click."""

    title: str
    blocks: list[Block]
    open: bool = True


@dataclass(frozen=True)
class Page:
    """The result first, in big numbers; then the sections."""

    title: str
    subtitle: str
    facts: list[Fact]
    sections: list[Section]


def render(page: Page) -> str:
    """The page as HTML that loads nothing from anywhere.

    Text may hold anything: it is escaped. Names that are not valid Unicode, as file names can be, get a question mark.
    """
    html = _template().render(page=page).lstrip()
    return html.encode("utf-8", "replace").decode("utf-8")


@cache
def _template() -> jinja2.Template:
    folder = jinja2.FileSystemLoader(Path(__file__).parent)
    environment = jinja2.Environment(
        loader=folder, autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {
        "shown": shown,
        "picture_uri": picture_uri,
        "with_own_ids": with_own_ids,
        "sha256": lambda text: base64.b64encode(hashlib.sha256(text.encode()).digest()).decode(),
    }
    environment.tests["numeric"] = is_number
    return environment.get_template("page.html")


def is_number(cell: object) -> bool:
    """True for Python's and numpy's numbers; True and False are words."""
    return isinstance(cell, Real) and not isinstance(cell, bool)


def shown(cell: Cell) -> str:
    """A cell as people read it: whole numbers in full, others to two places, small ones to two digits."""
    if not is_number(cell) or isinstance(cell, Integral):
        return str(cell)
    value = float(cell)
    if math.isnan(value):
        return "–"
    if math.isinf(value):
        return "∞" if value > 0 else "−∞"
    return (f"{value:.2g}" if 0 < abs(value) < 0.01 else f"{value:.2f}").replace("-", "−")


def picture_uri(tile: Tile, large: bool = False) -> str:
    """The tile's picture as a data URI: PNG where every pixel is seen, JPEG of 256 pixels (640 if large) otherwise."""
    image = Image.fromarray(tile.image[..., 0] if tile.image.shape[2] == 1 else tile.image)
    file = io.BytesIO()
    if tile.tiny:
        image.save(file, "PNG", optimize=True)
    else:
        longest = LARGE if large else LONGEST
        image.thumbnail((longest, longest), Image.Resampling.LANCZOS)
        image.save(file, "JPEG", quality=JPEG_QUALITY, optimize=True)
    return f"data:image/{'png' if tile.tiny else 'jpeg'};base64,{base64.b64encode(file.getvalue()).decode()}"


def with_own_ids(svg: str, prefix: str) -> str:
    """The SVG with `prefix` before its ids and all that refers to them, so that two plots in a page do not mix."""
    return re.sub(r'((?<= id=")|(?<="url\(#)|(?<= href="#))', prefix, svg)
