"""A set as a table: a line a box, or a line an image and its class."""

import csv
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np

from saccade.data.formats.texts import fit_names
from saccade.data.formats.writing import left_out, require, start_folder, write_images
from saccade.data.source import Source, Split

CORNERS = ("xmin", "ymin", "xmax", "ymax")


def write(source: Source, out: Path) -> list[str]:
    """A copy in the new folder `out`: annotations.csv and images/, in folders named after the splits.

    Boxes as xmin, ymin, xmax, ymax, label, where the set has objects; else the label of each image.
    """
    boxed = any(split.objects is not None for split in source.splits.values())
    require(source, ("objects", "labels"), "a table")
    start_folder(out)
    classes, lost = fit_names(source.classes)
    with (out / "annotations.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        divided = list(source.splits) != ["all"]
        writer.writerow(["image", *(CORNERS if boxed else ()), "label", *(["split"] if divided else [])])
        for name, split in source.splits.items():
            images = [f"images/{name}/{image}" for image in write_images(split, out / "images" / name, lost)]
            rows = _boxes(split, images, classes) if boxed else _labels(split, images, classes)
            writer.writerows([*row, name] if divided else row for row in rows)
    return lost + _lost(list(source.splits.values()), boxed, classes)


def in_order(names: Iterable[str]) -> tuple[str, ...]:
    """The classes of a table, which says nothing of their order: by number if all are numbers, else by name."""
    found = sorted(set(names))
    if all(re.fullmatch(r"-?\d{1,18}", name, re.ASCII) for name in found):
        found.sort(key=int)
    return tuple(found)


def _boxes(split: Split, images: Sequence[str], classes: Sequence[str]) -> Iterator[list[str]]:
    objects = split.objects
    for index, image in enumerate(images):
        first, last = (0, 0) if objects is None else objects.starts[index : index + 2].tolist()
        if objects is None or first == last:
            yield [image, "", "", "", "", ""]
            continue
        for box, label in zip(objects.boxes[first:last].tolist(), objects.labels[first:last].tolist(), strict=True):
            sides: list[str] = [repr(side).removesuffix(".0") for side in box]
            yield [image, *sides, classes[int(label)]]


def _labels(split: Split, images: Sequence[str], classes: Sequence[str]) -> Iterator[list[str]]:
    assert split.labels is not None
    for image, label in zip(images, split.labels.tolist(), strict=True):
        yield [image, classes[int(label)]]


def _lost(splits: Sequence[Split], boxed: bool, classes: tuple[str, ...]) -> list[str]:
    """What a table cannot carry, in words."""
    objects = [split.objects.labels for split in splits if split.objects is not None]
    labels = [split.labels for split in splits if split.labels is not None]
    used = tuple(classes[label] for label in np.unique(np.concatenate(objects if boxed else labels)).tolist())
    kinds = ["masks", "keypoints", "crowd", "difficult", "areas", "label maps", *(["labels"] if boxed else [])]
    lost = left_out(splits, kinds)
    if len(used) < len(classes):
        lost.append(f"{len(classes) - len(used)} classes are no longer known, because nothing is of them")
    if in_order(used) != used:
        lost.append("classes are numbered anew, in the order of their names")
    return lost
