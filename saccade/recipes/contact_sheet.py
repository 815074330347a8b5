"""A contact sheet: some images of a data set with all that is marked on them, as a page or as one picture."""

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from saccade import checkpoint
from saccade.data.decode import DecodeError
from saccade.data.findings import DataError, Findings
from saccade.data.source import Source, Split, read
from saccade.data.targets import truth_of
from saccade.errors import UsageError, unknown
from saccade.geometry.view import View
from saccade.keyed import generator
from saccade.progress import track
from saccade.report.draw import draw
from saccade.report.page import TINY, Fact, Listing, Page, Pictures, Prose, Section, Tile, render
from saccade.report.sheet import grid
from saccade.structures import VOID, LabelMap

LONGEST = 512  # pixels of an image on the sheet
NAMED = 6  # so many classes are named under an image


@dataclass(frozen=True, eq=False)
class Shown:
    """One image of the sheet.

    classes   what is marked on it, and how often; of label maps how many pixels
    title     the same in words
    pictures  [h, w, 3] uint8 each: the image with its things drawn, with its label map; or as it is
    problem   why it cannot be shown, or not with what is marked on it
    """

    split: str
    id: str
    classes: dict[str, int]
    title: str
    pictures: list[np.ndarray]
    problem: str = ""


@dataclass(frozen=True, eq=False)
class ContactSheet:
    """A sheet that was written.

    left_out  annotations that could not be read, in words
    """

    path: Path
    source: Source
    shown: list[Shown]
    left_out: list[str]

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        images = [
            {"split": one.split, "id": one.id, "classes": one.classes, "problem": one.problem or None}
            for one in self.shown
        ]
        return {"data": self.source.name, "out": str(self.path), "images": images, "left_out": self.left_out}


def make_contact_sheet(
    data: str | Path, out: Path, count: int = 24, split: str | None = None, wanted: str | None = None
) -> ContactSheet:
    """Choose images of DATA, the same ones every time, and draw what is marked on them.

    out     a page (.html) or a picture (.png)
    count   how many images, of all splits together
    split   only of this one
    wanted  only images on which this class is marked

    Raises UsageError for an unknown split, class or kind of file.
    """
    if out.suffix.lower() not in (".html", ".png"):
        raise UsageError(f"a contact sheet is a page or a picture, .html or .png, but --out is {out}")
    if count < 1:
        raise UsageError(f"a contact sheet shows 1 image or more but --count is {count}")
    findings = Findings(strict=False)
    source = read(data, findings)
    if split is not None and split not in source.splits:
        raise unknown("split", split, source.splits)
    splits = source.splits if split is None else {split: source.splits[split]}
    share = math.ceil(count / len(splits))
    chosen = [(name, index) for name, part in splits.items() for index in choose(part, source, share, wanted, name)]
    shown = [show_image(source, *place) for place in track(chosen[:count], "drawing", min(count, len(chosen)))]
    if not shown:
        raise UsageError(f"{wanted!r} is marked on no image of {', '.join(splits)}")
    sheet = ContactSheet(out, source, shown, [str(finding) for finding in findings.kept])
    checkpoint.write(out, _as_png(shown) if out.suffix.lower() == ".png" else _as_page(sheet).encode())
    return sheet


def choose(split: Split, source: Source, count: int, wanted: str | None, key: str) -> list[int]:
    """Images of every class in turn, and of those on which nothing is marked; in their order, and keyed.

    wanted  only images on which this class is marked
    """
    rng = generator("contact sheet", key)
    order = rng.permutation(len(split))
    if wanted is not None:
        found = _marked_with(split, _number_of(wanted, split, source), order)
        return sorted(index for index, _ in zip(found, range(count), strict=False))
    queues = [iter(group) for group in _groups(split, len(source.classes), order)]
    queues = [queues[k] for k in rng.permutation(len(queues))]
    chosen: set[int] = set()
    while queues and len(chosen) < count:
        queue = queues.pop(0)
        fresh = next((index for index in queue if index not in chosen), None)
        if fresh is not None:
            chosen.add(fresh)
            queues.append(queue)
    return sorted(chosen)


def _number_of(wanted: str, split: Split, source: Source) -> int:
    """The label of a class by its name."""
    alone = split.objects is None and split.labels is None and split.label_maps is not None
    classes = split.label_maps.classes if alone and split.label_maps else source.classes
    if wanted not in classes:
        raise unknown("class", wanted, classes)
    return classes.index(wanted)


def _marked_with(split: Split, label: int, order: np.ndarray) -> Iterator[int]:
    """The images on which a class is marked, in the order given. Label maps are read one after the other."""
    if split.objects is not None:
        have = np.zeros(len(split), dtype=bool)
        have[split.objects.images[split.objects.labels == label]] = True
    elif split.labels is not None:
        have = split.labels == label
    else:
        maps = split.label_maps
        yield from (int(i) for i in order if maps is not None and (maps[int(i)].labels == label).any())
        return
    yield from (int(i) for i in order if have[i])


def _groups(split: Split, classes: int, order: np.ndarray) -> list[list[int]]:
    """The images of each class, and those without any, in the order given; all together where only pixels are known."""
    if split.objects is not None:
        pairs = np.unique(np.stack([split.objects.labels, split.objects.images]), axis=1)
        empty = np.flatnonzero(np.diff(split.objects.starts) == 0)
        members = [pairs[1, pairs[0] == label] for label in range(classes)] + [empty]
    elif split.labels is not None:
        members = [np.flatnonzero(split.labels == label) for label in range(classes)]
    else:
        members = [np.arange(len(split))]
    rank = np.empty(len(split), dtype=np.int64)
    rank[order] = np.arange(len(split))
    return [own[np.argsort(rank[own])].tolist() for own in members if len(own)]


def show_image(source: Source, name: str, index: int, only: int | None = None) -> Shown:
    """One image with what is marked on it; what is wrong with it is said, not raised.

    only  the one object to draw, 0..n-1 in the image; None draws all
    """
    split = source.splits[name]
    id = str(split.ids[index])
    try:
        picture = split.open(index)
        view = _sheet_view(picture.size)
        pixels, reduced = picture.pixels("RGB", view.shrink)
    except DecodeError as error:
        return Shown(name, id, {}, "", [], f"cannot be read: {error.reason}")
    image = view.apply(pixels, reduced=reduced)
    classes: dict[str, int] = {} if split.labels is None else {source.classes[int(split.labels[index])]: 1}
    title, pictures = _title(classes, counted=False), []
    try:
        if split.objects is not None:
            things = split.objects[index]
            things = things if only is None else things.take(np.array([only]))
            things = replace(things, size=picture.size) if things.size == (0, 0) else things
            _check_size(things.size, picture.size)
            classes = {source.classes[label]: n for label, n in sorted(Counter(things.labels.tolist()).items())}
            title = _title(classes, counted=True)
            pictures.append(draw(image, things.moved(view), source.classes, split.objects.skeleton))
        if split.targets is not None:
            title = "and what it should become"
            target = truth_of(split, index, picture.size, "targets")
            pictures += [image, view.apply(target.pixels)]
        if split.label_maps is not None:
            known = split.label_maps[index]
            _check_size((known.labels.shape[0], known.labels.shape[1]), picture.size)
            if split.objects is None:
                values, counts = np.unique(known.labels, return_counts=True)
                named = zip(values.tolist(), counts.tolist(), strict=True)
                classes = {known.classes[label] if label != VOID else "void": n for label, n in named}
                title = _title(classes, counted=False)
            labels = view.apply(known.labels[..., None], interpolation="nearest")[..., 0]
            pictures.append(draw(image, LabelMap(labels, known.classes), known.classes))
    except (DataError, DecodeError, ValueError) as error:
        return Shown(name, id, classes, title, [*pictures, image], str(error))
    return Shown(name, id, classes, title, pictures or [image])


def _check_size(marked: tuple[int, ...], size: tuple[int, int]) -> None:
    if tuple(marked) != size:
        raise DataError(f"marked on an image of {marked[0]} x {marked[1]} pixels (height x width), not {size}")


def _sheet_view(size: tuple[int, int]) -> View:
    """The whole image of (height, width), at most LONGEST pixels long."""
    view, factor = View.identity(size), LONGEST / max(size)
    if factor >= 1:
        return view
    return view.resized((max(1, round(factor * size[0])), max(1, round(factor * size[1]))))


def _title(classes: dict[str, int], counted: bool) -> str:
    """What is on an image, in words."""
    names = [f"{n} × {name}" if counted and n > 1 else name for name, n in list(classes.items())[:NAMED]]
    more = f" and {len(classes) - NAMED} more" if len(classes) > NAMED else ""
    return (", ".join(names) + more) or "nothing marked"


def _as_page(sheet: ContactSheet) -> str:
    source = sheet.source
    sizes = ", ".join(f"{len(split):,} {name}" for name, split in source.splits.items())
    facts = [
        Fact("images", f"{sum(map(len, source.splits.values())):,}", sizes),
        Fact("classes", f"{len(source.classes):,}", ", ".join(source.classes[:10])),
    ]
    objects = [split.objects.count for split in source.splits.values() if split.objects is not None]
    facts += [Fact("objects", f"{sum(objects):,}")] if objects else []
    sections = []
    for name in dict.fromkeys(one.split for one in sheet.shown):
        own = [one for one in sheet.shown if one.split == name]
        caption = f"{len(own):,} of {len(source.splits[name]):,} images"
        sections.append(Section(name, [Pictures(*block) for block in _blocks(own, caption)]))
    if sheet.left_out:
        left_out = [Prose(f"{len(sheet.left_out)} annotations cannot be used."), Listing(sheet.left_out[:100])]
        sections.append(Section("Left out", left_out))
    sections += [Section("Notes", [Listing(list(source.notes))])] if source.notes else []
    return render(Page(Path(source.name).name, f"A contact sheet: {source.format}", facts, sections))


def _blocks(own: list[Shown], caption: str) -> Iterator[tuple[list[Tile], str, bool]]:
    """The tiles of one split with their caption, and whether they are large: first the things, then the label maps."""
    tiles = [tiles_of(one) for one in own]
    for number in range(max(map(len, tiles))):
        block = [pictures[number] for pictures in tiles if number < len(pictures)]
        yield block, f"{caption}{', pixel by pixel' if number else ''}.", any(not tile.tiny for tile in block)


def tiles_of(one: Shown) -> list[Tile]:
    """The pictures of one image with their captions."""
    good = False if one.problem else None
    grey = np.full((TINY + 1, TINY + 1, 3), 128, dtype=np.uint8)
    detail = f"{one.id}: {one.problem}" if one.problem else one.id
    return [Tile(picture, one.title, detail, good) for picture in one.pictures or [grey]]


def _as_png(shown: Sequence[Shown]) -> bytes:
    """The pictures in rows and columns, each with what is in it and its id below."""
    tiles = [tile for one in shown for tile in tiles_of(one)]
    # All of an image in one row.
    most = max(max(1, len(one.pictures)) for one in shown)
    return grid(tiles, most * math.ceil(math.sqrt(len(tiles)) / most))
