"""What the values of masks mean: a table that a person wrote, or the values that occur."""

import os
import re
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from saccade.data.findings import DataError
from saccade.data.formats.texts import text_of
from saccade.data.label_maps import UNKNOWN
from saccade.progress import track
from saccade.structures import VOID

VOID_NAMES = ("void", "ignore", "unlabelled", "unlabeled")
COLOUR = re.compile(r"(?:#([0-9a-fA-F]{6})|(\d{1,3})[\s,]+(\d{1,3})[\s,]+(\d{1,3}))\s+(\S.*)")
VALUE = re.compile(r"(\d{1,5})\s+(\S.*)")
# Names that cannot stand behind a value: they would be void, or make a colour of it.
TAKEN = re.compile(rf"(?i:{'|'.join(VOID_NAMES)})|\d{{1,3}}[\s,]+\d{{1,3}}\s.*")


@dataclass(frozen=True, eq=False)
class Table:
    """What the values of masks mean, as in `LabelMaps`."""

    classes: tuple[str, ...]
    coding: Mapping[int, int]
    colour: bool = False
    colours: np.ndarray | None = None


def named_in_yaml(classes: Any, file: Path) -> Table:
    """The classes of a YAML file: a name a value."""
    pairs = classes.items() if isinstance(classes, dict) else enumerate(classes) if isinstance(classes, list) else ()
    found: list[tuple[int, str]] = []
    for value, name in pairs:
        if not re.fullmatch(r"\d{1,5}", str(value)) or not isinstance(name, str) or not name.strip():
            raise DataError(f"{file}: classes: {str(value)[:50]!r}: {str(name)[:50]!r} is none; expected '0: road'")
        found.append((int(value), name))
    return _grey(sorted(found), f"{file}: classes")


def table_of(path: Path) -> Table | None:
    """What classes.txt says, in the folder or the one above."""
    places = (path / "classes.txt", path / ".." / "classes.txt")
    file = next((Path(os.path.normpath(place)) for place in places if place.is_file()), None)
    if file is None:
        return None
    lines = {number: line.strip() for number, line in enumerate(text_of(file).splitlines(), 1) if line.strip()}
    if not lines:
        raise DataError(f"{file} is empty; expected a class a line: 'road', '7 road' or '128 64 128 road'")
    for pattern, shown in ((COLOUR, "'128 64 128 road'"), (VALUE, "'7 road'")):
        found = {number: pattern.fullmatch(line) for number, line in lines.items()}
        matches = {number: match for number, match in found.items() if match}
        if matches and len(matches) < len(lines):
            number = next(number for number in lines if number not in matches)
            raise DataError(f"{file}: line {number}: is {lines[number][:50]!r}; expected {shown}, as in other lines")
        if matches and pattern is COLOUR:
            return _coloured(matches, file)
        if matches:
            return _grey([(int(match[1]), match[2]) for match in matches.values()], str(file))
    return _grey(list(enumerate(lines.values())), str(file))


def _grey(pairs: list[tuple[int, str]], where: str) -> Table:
    """From values and names, in the order of the labels."""
    classes, coding = _coding(pairs, where, str)
    return Table(classes, {VOID: VOID} | coding)


def _coloured(matches: dict[int, re.Match[str]], file: Path) -> Table:
    pairs: list[tuple[int, str]] = []
    for number, match in matches.items():
        red, green, blue = bytes.fromhex(match[1]) if match[1] else (int(match[k]) for k in (2, 3, 4))
        if max(red, green, blue) > 255:
            raise DataError(f"{file}: line {number}: has the colour {red} {green} {blue}; expected values of 0 to 255")
        pairs.append((red << 16 | green << 8 | blue, match[5]))
    classes, coding = _coding(pairs, str(file), lambda value: f"#{value:06x}")
    colours = np.zeros((len(classes), 3), dtype=np.uint8)
    for value, label in coding.items():
        if label != VOID:
            colours[label] = value >> 16, value >> 8 & 255, value & 255
    return Table(classes, coding, True, colours)


def _coding(
    pairs: list[tuple[int, str]], where: str, shown: Callable[[int], str]
) -> tuple[tuple[str, ...], dict[int, int]]:
    """The classes, and the label of each value; void for the names that say so."""
    classes: list[str] = []
    coding: dict[int, int] = {}
    for value, name in pairs:
        if value in coding:
            raise DataError(f"{where}: has the value {shown(value)} twice; keep one of them")
        if name in classes:
            raise DataError(f"{where}: has the class {name[:50]!r} twice; rename one of them")
        void = name.lower() in VOID_NAMES
        coding[value] = VOID if void else len(classes)
        classes += [] if void else [name]
    if not 1 <= len(classes) <= UNKNOWN:
        raise DataError(f"{where}: has {len(classes)} classes; expected 1 to {UNKNOWN}, void ones not counted")
    return tuple(classes), coding


def values_of(files: Sequence[Path]) -> tuple[set[int], dict[Path, str]]:
    """The values that occur in masks, and what is wrong with those that cannot be read.

    Raises DataError, naming the file and what to write, when one is coloured.
    """
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        found = list(track(pool.map(_values, files), "reading the values of masks", len(files)))
    good = set[int]().union(*(values for values in found if not isinstance(values, str)))
    return good, {file: values for file, values in zip(files, found, strict=True) if isinstance(values, str)}


def of_values(seen: set[int], files: Sequence[Path]) -> Table:
    """Classes named after the values that occur in these masks."""
    values = sorted(seen if seen <= {0, VOID} else seen - {VOID}) or [0]
    if len(values) > UNKNOWN:
        raise DataError(
            f"{files[0].parent}: these masks hold {len(values)} values; expected at most {UNKNOWN} classes: "
            f"are they photographs, or blurred?"
        )
    coding = {VOID: VOID} | {value: label for label, value in enumerate(values)}
    return Table(tuple(map(str, values)), coding)


def _values(file: Path) -> set[int] | str:
    """The values in a mask, or what is wrong with it."""
    try:
        with Image.open(file) as image:
            if image.mode == "1":
                return set(np.unique(np.asarray(image)).astype(int).tolist())
            if image.mode in ("L", "P"):
                return {value for value, count in enumerate(image.histogram()) if count}
            if image.mode == "I;16":
                return set(np.unique(np.asarray(image)).tolist())
            few = image.resize((min(image.width, 256), min(image.height, 256)), Image.Resampling.NEAREST)
            pixels = np.asarray(few.convert("RGB"))
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        return f"cannot be read ({error})"
    colours = np.unique(pixels.reshape(-1, 3), axis=0)[:5].tolist()
    shown = ", ".join(" ".join(map(str, colour)) for colour in colours)
    raise DataError(
        f"{file} is coloured, and no file says what its colours ({shown} ...) mean; write classes.txt beside the "
        f"folders of images and masks, a line a class: '128 64 128 road'"
    )


def with_palette(table: Table, mask: Path) -> Table:
    """The table with the colours that the palette of a mask gives its values, if it has one."""
    values = [value for value, label in sorted(table.coding.items(), key=lambda pair: pair[1]) if label != VOID]
    if table.colour or max(values) > VOID:
        return table
    try:
        with Image.open(mask) as image:
            palette = image.getpalette("RGB") if image.mode == "P" else None
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):  # who decodes it says so
        palette = None
    if palette is None:
        return table
    colours = np.zeros((VOID + 1, 3), dtype=np.uint8)
    colours[: len(palette) // 3] = np.reshape(palette, (-1, 3))
    return replace(table, colours=colours[values])


def classes_file(classes: Sequence[str]) -> str:
    """The content of a classes.txt: each label and its class."""
    return "".join(f"{label} {name}\n" for label, name in enumerate(classes))
