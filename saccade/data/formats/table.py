"""CSV: a table with a line a box, or a line an image and its class; its first line names the columns.

Boxes are in columns xmin, ymin, xmax, ymax (or x1, y1, x2, y2), or x, y, width, height (or w, h), in continuous pixels;
beside corners, width and height are the image's and are passed over. A line whose box is empty is an image without
objects. The image is a path below the table's folder, or below images/ there. A column `split` divides one table;
train.csv, val.csv, test.csv are a split each. Commas, semicolons or tabs; UTF-8.
"""

import codecs
import csv
import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn

import numpy as np

from saccade.data.decode import SUFFIXES as IMAGE_SUFFIXES
from saccade.data.findings import DataError, Findings
from saccade.data.formats.folder import SPLIT_NAMES
from saccade.data.formats.listed import folder_of, inside, present, short
from saccade.data.formats.table_write import CORNERS, in_order, write
from saccade.data.objects import Objects, starts_of
from saccade.data.sizes import upright_sizes
from saccade.data.source import Source, Split
from saccade.geometry.masks import FARTHEST

NAME = "CSV"
__all__ = ["NAME", "read", "recognises", "write"]
SUFFIXES = (".csv", ".tsv")
LONGEST_HEADER = 1 << 14  # bytes
# What a column may be called, in lower case, without blanks and underscores; the better name first.
SPELLINGS = {
    "image": ("image", "imagepath", "imagefile", "imagename", "filename", "filepath", "file", "path", "img", "imageid"),
    "label": ("label", "class", "classname", "labelname", "category", "categoryname", "name"),
    "split": ("split", "subset"),
    "xmin": ("xmin", "x1", "left"),
    "ymin": ("ymin", "y1", "top"),
    "xmax": ("xmax", "x2", "right"),
    "ymax": ("ymax", "y2", "bottom"),
    "x": ("x", "xmin", "x1", "left"),
    "y": ("y", "ymin", "y1", "top"),
    "width": ("width", "w"),
    "height": ("height", "h"),
}
SIDES = ("x", "y", "width", "height")


@dataclass(frozen=True)
class _Header:
    """What the columns of a table are.

    box  the four columns of a box: CORNERS or SIDES; None where images have classes
    """

    delimiter: str
    names: list[str]
    columns: dict[str, int]
    box: tuple[str, ...] | None

    def unused(self) -> list[str]:
        """The names of columns that say nothing here."""
        used = {self.columns[role] for role in ("image", "label", "split", *(self.box or ())) if role in self.columns}
        return [name for n, name in enumerate(self.names) if n not in used]


@dataclass
class _Rows:
    """What a table says of one split; `lines` are where each object stands, and `first` where each image stands."""

    images: dict[str, int] = field(default_factory=dict)
    first: list[int] = field(default_factory=list)
    places: list[int] = field(default_factory=list)
    boxes: list[list[float]] = field(default_factory=list)
    labels: list[str] = field(default_factory=list)
    lines: list[int] = field(default_factory=list)


class _Fault(Exception):
    """What is wrong with one line, in words."""


def recognises(path: Path) -> bool:
    """Whether it is a table, or a folder with one of images and labels, or with one a split."""
    try:
        return bool(_files(path))
    except DataError:  # it is such a table, and reading it will say what is wrong
        return True
    except (OSError, csv.Error):
        return False


def read(path: Path, findings: Findings) -> Source:
    """The set at `path`; classes are the labels that occur, sorted, by number if all are numbers.

    Raises DataError, naming file and line, when it is no table of images or no image is there.
    """
    notes: list[str] = []
    tables: dict[str, tuple[Path, _Rows]] = {}
    boxed: set[bool] = set()
    for split, (file, header) in _files(path).items():
        for name, rows in _read_rows(file, header, split, findings).items():
            tables[name] = (file, rows)
        boxed.add(header.box is not None)
        if unused := header.unused():
            notes.append(f"columns of {file.name} that were left out: {', '.join(map(short, unused))}")
    if len(boxed) > 1:
        raise DataError(f"{path} has a table of boxes and a table without; give all of them the same columns")
    if not tables:
        raise DataError(f"{path} lists no image; expected a line a box, or a line an image")
    classes = in_order({label for _, rows in tables.values() for label in rows.labels})
    make = _with_objects if boxed == {True} else _with_labels
    order = [name for name in ("train", "val", "test", "all") if name in tables]
    return Source(
        str(path), NAME, classes, {name: make(*tables[name], name, classes, findings) for name in order}, tuple(notes)
    )


def _files(path: Path) -> dict[str, tuple[Path, _Header]]:
    """The tables that stand at `path`, by split; none when it is something else."""
    if path.is_file():
        if path.suffix.lower() not in SUFFIXES:
            return {}
        return {SPLIT_NAMES.get(path.stem.lower(), "all"): (path, _header(path) or _refuse(path))}
    files = sorted(file for file in path.iterdir() if file.suffix.lower() in SUFFIXES and file.is_file())
    named = [file for file in files if file.stem.lower() in SPLIT_NAMES]
    if len(files) != 1 and not named:
        return {}
    found: dict[str, tuple[Path, _Header]] = {}
    for file in named or files:
        header = _header(file)
        if header is None:
            return {}
        split = SPLIT_NAMES.get(file.stem.lower(), "all")
        if split in found:
            raise DataError(f"{path} has two tables of {split!r}, {found[split][0].name} and {file.name}; keep one")
        found[split] = (file, header)
    return found


def _first_line(file: Path) -> str:
    with file.open("rb") as opened:
        content = opened.readline(LONGEST_HEADER)
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise DataError(f"{file} is in UTF-16; save it as UTF-8")
    line = re.split("[\r\n]", content.decode("utf-8-sig", "replace"), maxsplit=1)[0]
    if re.fullmatch("sep=.", line.strip()):
        raise DataError(f"{file}: line 1: is {line.strip()!r}, as a spreadsheet puts it; remove that line")
    return line


def _refuse(file: Path) -> NoReturn:
    """Say why a table is none of images."""
    line = _first_line(file)
    if re.search(rf"({'|'.join(map(re.escape, IMAGE_SUFFIXES))})[\"']?\s*[,;\t]", line, re.IGNORECASE):
        reason = "names an image, not the columns; add a line above it"
    else:
        reason = f"is {short(line)}; expected the names of columns, one of images and one of labels"
    raise DataError(f"{file}: line 1: {reason}, as 'image,xmin,ymin,xmax,ymax,label' or 'image,label'")


def _header(file: Path) -> _Header | None:
    """What the columns of a table are; None when it has none of images and labels."""
    line = _first_line(file)
    for delimiter in ",;\t":
        names = next(csv.reader([line], delimiter=delimiter, skipinitialspace=True), [])
        plain = [re.sub(r"[ _.-]", "", name.lower()) for name in names]
        columns = {
            role: plain.index(spelling)
            for role, spellings in SPELLINGS.items()
            for spelling in reversed(spellings)
            if spelling in plain
        }
        if "image" not in columns or "label" not in columns:
            continue
        box = next((sides for sides in (CORNERS, SIDES) if all(side in columns for side in sides)), None)
        if box is None and any(side in columns for side in CORNERS):
            raise DataError(
                f"{file}: line 1: a box needs the columns {', '.join(CORNERS)} or {', '.join(SIDES)}, "
                f"but there are {', '.join(map(short, names))}"
            )
        return _Header(delimiter, names, columns, box)
    return None


def _read_rows(file: Path, header: _Header, split: str, findings: Findings) -> dict[str, _Rows]:
    """The lines of a table, by split."""
    found: dict[str, _Rows] = {}
    for line, cells in _lines(file, header.delimiter):
        try:
            if len(cells) != len(header.names):
                raise _Fault(f"has {len(cells)} cells; expected {len(header.names)}, as the first line has")
            values = {role: cells[column].strip() for role, column in header.columns.items()}
            if broken := next((value for value in values.values() if re.search("[\r\n]", value)), None):
                raise _Fault(f"has a line break in {short(broken)}; expected a quote before and behind each cell")
            name = split
            if "split" in values:
                name = SPLIT_NAMES.get(values["split"].lower(), "")
                if not name:
                    raise _Fault(f"has the split {short(values['split'])}; expected train, val or test")
            _add(found.setdefault(name, _Rows()), values, header.box, line)
        except _Fault as fault:
            findings.add("broken annotation", f"{file}: line {line}", str(fault), "correct or remove the line")
    return {name: rows for name, rows in found.items() if rows.images}


def _lines(file: Path, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    """The rows below the header that are not empty, each with the number of its line."""
    begins = 1
    try:
        with file.open(encoding="utf-8", newline="") as opened:
            reader = csv.reader(opened, delimiter=delimiter, skipinitialspace=True, strict=True)
            next(reader, None)
            begins = reader.line_num + 1
            for cells in reader:
                if any(cells):
                    yield begins, cells
                begins = reader.line_num + 1
    except csv.Error as error:
        reason = f"is no row of a table ({error}); see whether a quote is opened and not closed"
        raise DataError(f"{file}: line {begins}: {reason}") from None
    except UnicodeDecodeError as error:
        reason = f"is no text in UTF-8 ({error}); save the table as UTF-8"
        raise DataError(f"{file}: line {begins} or soon after: {reason}") from None
    except OSError as error:
        raise DataError(f"{file} cannot be read ({error.strerror})") from None


def _add(rows: _Rows, values: dict[str, str], box: tuple[str, ...] | None, line: int) -> None:
    """One more line; raises _Fault when it makes no sense."""
    image = inside(values["image"])
    if not image:
        raise _Fault("names no image")
    empty = box is not None and not any(values[side] for side in box)
    if not empty and not values["label"]:
        raise _Fault("has no label; expected the name of a class")
    if empty and values["label"]:
        raise _Fault(f"has the label {short(values['label'])} and no box; an image without objects has neither")
    if box is None and image in rows.images:
        raise _Fault(f"gives {short(image)} a class, as line {rows.first[rows.images[image]]} does; expected one line")
    corners = None if box is None or empty else _corners(values, box)
    place = rows.images.setdefault(image, len(rows.images))
    if place == len(rows.first):
        rows.first.append(line)
    if not empty:
        rows.places.append(place)
        rows.boxes.append(corners or [])
        rows.labels.append(values["label"])
        rows.lines.append(line)


def _corners(values: dict[str, str], box: tuple[str, ...]) -> list[float]:
    """xyxy."""
    numbers = []
    for side in box:
        try:
            number = float(values[side]) if "_" not in values[side] else math.nan
        except ValueError:
            number = math.nan
        if not abs(number) <= FARTHEST:
            comma = " with a decimal point" if "," in values[side] else ""
            raise _Fault(f"has {short(values[side])} for {side}; expected pixels{comma}, at most {FARTHEST:g}")
        numbers.append(number)
    x, y, right, bottom = numbers
    return numbers if box == CORNERS else [x, y, x + right, y + bottom]


def _located(file: Path, rows: _Rows, split: str, findings: Findings) -> tuple[list[str], list[Path], np.ndarray]:
    """The images that are there and their paths; and of all that are listed, whether they are there, [M] bool."""
    names = list(rows.images)
    folder = folder_of(file, names, (split, file.stem))
    there = present(folder, names, (f"{file}: line {line}" for line in rows.first), findings)
    names = [names[n] for n in np.flatnonzero(there)]
    return names, [folder / name for name in names], there


def _with_objects(file: Path, rows: _Rows, split: str, classes: Sequence[str], findings: Findings) -> Split:
    names, paths, there = _located(file, rows, split, findings)
    places = np.array(rows.places, dtype=np.int64)
    order = np.argsort(places, kind="stable")
    order = order[there[places[order]]]
    number = {name: label for label, name in enumerate(classes)}
    objects = Objects(
        starts=starts_of(np.bincount(places[order], minlength=len(there))[there]),
        sizes=upright_sizes(paths),
        boxes=np.array(rows.boxes, dtype=np.float64).reshape(-1, 4)[order],
        labels=np.array([number[label] for label in rows.labels], dtype=np.int64)[order],
        crowd=np.zeros(len(order), dtype=bool),
        difficult=np.zeros(len(order), dtype=bool),
        areas=np.full(len(order), np.nan),
        masks=None,
        keypoints=None,
        skeleton=None,
        ids=np.array(rows.lines, dtype=np.int64)[order],
        noun="line",
        files=[str(file)],
    )
    return Split(paths, names, objects=objects)


def _with_labels(file: Path, rows: _Rows, split: str, classes: Sequence[str], findings: Findings) -> Split:
    names, paths, there = _located(file, rows, split, findings)
    number = {name: label for label, name in enumerate(classes)}
    return Split(paths, names, np.array([number[label] for label in rows.labels], dtype=np.int64)[there])
