"""A repaired copy of a data set: what can be put right without a person is, and every change is written down."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from saccade.data.check import Checked
from saccade.data.findings import Finding
from saccade.data.label_maps import LabelMaps
from saccade.data.source import Source, Split
from saccade.geometry.affine import Affine
from saccade.geometry.masks import Polygon
from saccade.geometry.outlines import clipped
from saccade.geometry.view import Size, View
from saccade.structures import VOID, Instances


@dataclass(frozen=True)
class Change:
    """One thing that is different in the repaired copy.

    where   the file, and in it the line or the annotation
    reason  what was wrong
    change  what was done: "left out", "clipped to the image" ...
    """

    where: str
    reason: str
    change: str


def repair(checked: Checked, read: Sequence[Finding] = ()) -> tuple[Source, list[Change]]:
    """The set as it should be, and what was changed. What only a person can decide stays as it is.

    read  what the reader has found, and left out or mended, already
    """
    changes = [Change(finding.where, finding.reason, finding.done) for finding in read]
    splits = {}
    for name, split in checked.source.splits.items():
        mended = _turned(split, checked, name, changes)
        mended = _objects(mended, checked, name, changes)
        mended = _maps(mended, checked, name, changes)
        for index, reason in checked.spoilt[name].items():
            changes.append(Change(f"{name}/{split.ids[index]}", reason, "left out"))
        splits[name] = mended.take([i for i in range(len(split)) if i not in checked.spoilt[name]])
    return checked.source.with_splits({name: split for name, split in splits.items() if len(split)}), changes


def _objects(split: Split, checked: Checked, name: str, changes: list[Change]) -> Split:
    objects = split.objects
    if objects is None:
        return split
    keep = np.ones(objects.count, dtype=bool)
    mended: dict[int, Instances] = {}
    for fault in checked.faults[name]:
        if not fault.remedy:
            continue
        for n in map(int, np.flatnonzero(fault.wrong)):
            changes.append(Change(objects.where(n), fault.reason(n), fault.remedy))
            if fault.remedy == "left out":
                keep[n] = False
            else:
                image = objects.image_of(n)
                known = objects[image].size
                size = known if 0 not in known else checked.looks[name][image].size
                things = mended.get(image, objects[image])
                mended[image] = _clipped(things, n - int(objects.starts[image]), size)
    return replace(split, objects=objects.with_images(mended).only(keep) if mended else objects.only(keep))


def _clipped(things: Instances, n: int, size: Size) -> Instances:
    """The n-th with the corners of its box in order, and box and polygon inside the image (height, width)."""
    boxes = things.boxes.copy()
    ordered = [*np.minimum(boxes[n, :2], boxes[n, 2:]), *np.maximum(boxes[n, :2], boxes[n, 2:])]
    boxes[n] = np.clip(ordered, 0, [size[1], size[0], size[1], size[0]])
    areas = None if things.areas is None else things.areas.copy()
    if areas is not None:
        areas[n] = np.nan  # what the annotation says was of what it was before
    masks = list(things.masks or ())
    if masks and isinstance(mask := masks[n], Polygon):
        rings = [clipped(np.asarray(ring, dtype=np.float64), size) for ring in mask.rings]
        masks[n] = Polygon(tuple(ring for ring in rings if len(ring) > 2))
    return replace(things, boxes=boxes, areas=areas, masks=tuple(masks) if masks else None)


def _turned(split: Split, checked: Checked, name: str, changes: list[Change]) -> Split:
    """Where EXIF turns an image by a quarter and its annotation was drawn without, that is turned as well."""
    objects = split.objects
    if objects is None:
        return split
    turned = {}
    for index, look in enumerate(checked.looks[name]):
        height, width = map(int, objects.sizes[index])
        if look.exif not in QUARTER or (width, height) != look.size:
            continue
        view = View(QUARTER[look.exif](height, width), (height, width), look.size)
        turned[index] = objects[index].moved(view, objects.skeleton)
        changes.append(Change(f"{name}/{split.ids[index]}", "EXIF turns the image only", "turned with it"))
    return replace(split, objects=objects.with_images(turned)) if turned else split


# From stored to upright pixels, by EXIF orientation, for an image of this (height, width).
QUARTER = {
    5: lambda height, width: Affine(a=0, b=1, c=0, d=1, e=0, f=0),
    6: lambda height, width: Affine(a=0, b=-1, c=height, d=1, e=0, f=0),
    7: lambda height, width: Affine(a=0, b=-1, c=height, d=-1, e=0, f=width),
    8: lambda height, width: Affine(a=0, b=1, c=0, d=-1, e=0, f=width),
}


def _maps(split: Split, checked: Checked, name: str, changes: list[Change]) -> Split:
    """Values of label maps that are no class become void."""
    maps = split.label_maps
    if maps is None:
        return split
    strange = [(index, look.strange) for index, look in enumerate(checked.looks[name]) if look.strange]
    for index, values in strange:
        changes.append(
            Change(maps.where(index), f"holds {', '.join(map(maps.named, values))}, no class", "became void")
        )
    coding = dict(maps.coding) | {value: VOID for _, values in strange for value in values}
    mended: LabelMaps = replace(maps, coding=coding)
    return replace(split, label_maps=mended)
