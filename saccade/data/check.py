"""Looks at every image and every annotation once, and says what is wrong, where, and what to do."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from saccade.data.faults import Fault, faults
from saccade.data.findings import Finding
from saccade.data.looks import Look, looks_of
from saccade.data.near_copies import near_copies
from saccade.data.objects import Objects
from saccade.data.source import Source, Split
from saccade.structures import VOID


@dataclass(frozen=True)
class Checked:
    """What a look at everything gave.

    findings  what is wrong
    notes     what is worth knowing
    unit      what `counts` counts: "images", "objects" or "pixels"
    counts    of each class in each split, {split: [K] int}
    sizes     (height, width) of every image that could be read, [N, 2] int
    looks     of every image, by split
    faults    of the objects, by split
    spoilt    images that a repair leaves out, with the reason, {split: {index: reason}}
    """

    source: Source
    findings: list[Finding]
    notes: list[str]
    unit: str
    counts: dict[str, np.ndarray]
    sizes: np.ndarray
    looks: dict[str, list[Look]] = field(repr=False)
    faults: dict[str, list[Fault]] = field(repr=False)
    spoilt: dict[str, dict[int, str]] = field(repr=False)

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        counts = {name: dict(zip(self.source.classes, map(int, row), strict=True)) for name, row in self.counts.items()}
        return {
            "data": self.source.name,
            "format": self.source.format,
            self.unit: counts,
            "findings": [vars(finding) for finding in self.findings],
            "notes": self.notes,
        }


def check(source: Source, read: Sequence[Finding] = ()) -> Checked:
    """Everything that can be known to be wrong before training, of every image and annotation of every split.

    read  what the reader has found already
    """
    looks, objects_wrong = {}, {}
    spoilt: dict[str, dict[int, str]] = {name: {} for name in source.splits}
    findings = list(read)
    for name, split in source.splits.items():
        looks[name] = looks_of(split, f"reading {name}")
        findings += _images_wrong(name, split, looks[name], spoilt[name], {finding.where for finding in read})
        if split.objects is not None:
            objects_wrong[name] = faults(split.objects, _sizes(split, looks[name]))
            findings += [
                _of_object(name, split, fault, int(n))
                for fault in objects_wrong[name]
                for n in np.flatnonzero(fault.wrong)
            ]
            findings += _out_of_measure(name, split.objects, _sizes(split, looks[name]))
    findings += _copies(source, looks, spoilt)
    findings += _look_alikes(source, looks, spoilt)
    unit, counts = count(source, looks)
    if unit == "images":
        findings += _missing_classes(source, counts)
    if unit == "pixels":
        findings += _void_for_a_class(source, looks, counts)
    notes = [*source.notes, *_remarks(source, looks, unit, counts)]
    sizes = np.array([look.size for own in looks.values() for look in own if not look.broken]).reshape(-1, 2)
    return Checked(source, findings, notes, unit, counts, sizes, looks, objects_wrong, spoilt)


def count(source: Source, looks: dict[str, list[Look]]) -> tuple[str, dict[str, np.ndarray]]:
    """What there is of each class, {split: [K] int}, and in what unit: images, else objects, else pixels."""
    classes = len(source.classes)
    if source.has("labels"):
        labels = {name: split.labels for name, split in source.splits.items()}
        return "images", {name: np.bincount(own, minlength=classes) for name, own in labels.items() if own is not None}
    if source.has("objects"):
        packed = {name: split.objects for name, split in source.splits.items()}
        return "objects", {name: np.bincount(own.labels, minlength=classes) for name, own in packed.items() if own}
    if source.has("targets"):
        return "targets", {name: np.full(classes, len(split)) for name, split in source.splits.items()}
    return "pixels", {name: _pixels(own, classes)[:-1] for name, own in looks.items()}


def _pixels(looks: list[Look], classes: int) -> np.ndarray:
    """[K + 1] int64: the pixels of each class, and in the end void, in all label maps of a split."""
    return np.sum([np.zeros(classes + 1, np.int64), *(k.pixels for k in looks if k.pixels is not None)], axis=0)


def _sizes(split: Split, looks: list[Look]) -> np.ndarray:
    """[M, 2] (height, width): what the annotation says, in whose frame the boxes are; else of the image itself."""
    sizes = np.array([look.size for look in looks], dtype=np.int64).reshape(-1, 2)
    return sizes if split.objects is None else np.where(split.objects.sizes > 0, split.objects.sizes, sizes)


def _images_wrong(name: str, split: Split, looks: list[Look], spoilt: dict[int, str], told: set[str]) -> list[Finding]:
    """Images that cannot be read, label maps with values that are no class, annotations of another size.

    told  places of which the reader has said so
    """
    findings = []
    for index, look in enumerate(looks):
        where = f"{name}/{split.ids[index]}"
        if look.broken:
            spoilt[index] = look.broken
            if str(split.images[index]) in told:
                continue
            skip = ", or fit with --skip-broken" if split.labels is not None else ""
            advice = (
                "mend it, or remove it and its image"
                if look.kind != "broken image"
                else f"fetch it again or remove it{skip}"
            )
            findings.append(Finding(look.kind, where, look.broken, advice))
        elif look.strange and split.label_maps is not None:
            values = ", ".join(map(split.label_maps.named, look.strange[:5]))
            more = " and more" if len(look.strange) > 5 else ""
            advice = "add them to the list of classes, or one of them as void"
            place = split.label_maps.where(index)
            reason = f"holds {values}{more}, no class"
            findings.append(Finding("unknown value in a map", place, reason, advice, ((name, index),)))
        elif split.objects is not None and (said := _other_size(split.objects.sizes[index], look)):
            files = split.objects.files
            place = f"{files[index]} ({where})" if len(files) > 1 else where
            findings.append(Finding("size differs", place, *said, ((name, index),)))
    return findings


def _other_size(stated: np.ndarray, look: Look) -> tuple[str, str] | None:
    """What to say when the annotation was made for an image of another size."""
    high, wide = (int(length) for length in stated)
    if not high or (high, wide) == look.size:
        return None
    height, width = look.size
    reason = f"its annotation is of an image {wide} x {high}, the file has {width} x {height}"
    if look.exif >= 5 and (wide, high) == look.size:
        advice = "let --fix turn the annotation too, or take the orientation out of the file's EXIF"
        return f"{reason}: EXIF turns it, the annotation was drawn without", advice
    return reason, "annotate the image that is there"


def _out_of_measure(name: str, objects: Objects, sizes: np.ndarray) -> list[Finding]:
    """Shares of the image where pixels were meant, and the other way round; sizes [M, 2] (height, width)."""
    if not objects.count:
        return []
    what = f"all {objects.count} boxes of {name}"
    if objects.boxes.min() >= 0 and objects.boxes.max() <= 1:
        advice = "multiply them by the width and the height of the image: pixels are expected"
        reason = f"{what} lie between 0 and 1, as fractions of the image do"
        return [Finding("boxes as fractions", objects.where(0), reason, advice)]
    known = sizes[objects.images].max(axis=1)
    if (known > 0).all() and (objects.boxes.max(axis=1) > 2 * known).all():
        advice = "divide them by the width and the height of the image, or see whether these are its images"
        reason = f"{what} reach beyond twice their image, as pixels do where fractions of it are expected"
        return [Finding("boxes out of measure", objects.where(0), reason, advice)]
    return []


def _of_object(name: str, split: Split, fault: Fault, n: int) -> Finding:
    assert split.objects is not None
    index = split.objects.image_of(n)
    id, where = split.ids[index], split.objects.where(n)
    place = where if id in where else f"{where} ({id})"
    number = n - int(split.objects.starts[index])
    return Finding(fault.kind, place, fault.reason(n), fault.advice, ((name, index),), number)


def _copies(source: Source, looks: dict[str, list[Look]], spoilt: dict[str, dict[int, str]]) -> list[Finding]:
    """The same image with two labels, or in two splits."""
    seen: dict[bytes, list[tuple[str, int]]] = defaultdict(list)
    for name, own in looks.items():
        for index, look in enumerate(own):
            if look.digest:
                seen[look.digest].append((name, index))
    findings = []
    for copies in seen.values():
        where = " = ".join(f"{name}/{source.splits[name].ids[index]}" for name, index in copies)
        known = [source.splits[name].labels for name, _ in copies]
        labels = {int(own[index]) for own, (_, index) in zip(known, copies, strict=True) if own is not None}
        if len(labels) > 1:
            names = " and ".join(sorted(source.classes[label] for label in labels))
            reason = f"the same image is called {names}"
            findings.append(Finding("two labels", where, reason, "keep the right one", tuple(copies)))
        elif len({name for name, _ in copies}) > 1:
            findings.append(Finding("same image in two splits", where, LEAKS, "remove all but one", tuple(copies)))
            _spoil(spoilt, copies, "stands in another split too")
    return findings


LEAKS = "what is trained on must not be tested on"


def _look_alikes(source: Source, looks: dict[str, list[Look]], spoilt: dict[str, dict[int, str]]) -> list[Finding]:
    """Images in two splits that look the same although their files differ."""
    if len(source.splits) < 2:
        return []
    kept = {name: [i for i, look in enumerate(own) if look.small is not None] for name, own in looks.items()}
    hashes = [np.array([looks[name][i].hash for i in own], dtype=np.uint64) for name, own in kept.items()]
    small = [np.array([looks[name][i].small for i in own], dtype=np.uint8) for name, own in kept.items()]
    findings, names = [], list(kept)
    for a, i, b, j in near_copies(hashes, small):
        one, other = (names[a], kept[names[a]][i]), (names[b], kept[names[b]][j])
        if looks[one[0]][one[1]].digest == looks[other[0]][other[1]].digest:
            continue
        where = " ~ ".join(f"{name}/{source.splits[name].ids[index]}" for name, index in (one, other))
        advice = "if they show the same, remove one"
        findings.append(Finding("look-alikes in two splits", where, LEAKS, advice, (one, other)))
        _spoil(spoilt, [one, other], "looks like an image of another split")
    return findings


def _spoil(spoilt: dict[str, dict[int, str]], copies: list[tuple[str, int]], reason: str) -> None:
    """Copies go from the training images first: what is measured on test images stays comparable."""
    order = ("test", "val")
    stays = min((name for name, _ in copies), key=lambda name: order.index(name) if name in order else len(order))
    for name, index in copies:
        if name != stays:
            spoilt[name][index] = reason


def _missing_classes(source: Source, counts: dict[str, np.ndarray]) -> list[Finding]:
    return [
        Finding("class without images", f"{name}/{source.classes[label]}", "nothing can be measured for it", "add some")
        for name, row in counts.items()
        for label in np.flatnonzero(row == 0)
    ]


def _void_for_a_class(source: Source, looks: dict[str, list[Look]], counts: dict[str, np.ndarray]) -> list[Finding]:
    """Masks of 0 and 255 whose one thing is 255: of two classes the second has no pixel, and void has some."""
    total = np.sum(list(counts.values()), axis=0)
    void = sum(int(_pixels(own, len(total))[-1]) for own in looks.values())
    if len(total) != 2 or total[1] or not void:
        return []
    name = source.classes[1]
    reason = f"no pixel is {name}, but {void / (void + total[0]):.0%} have the value {VOID}, which is void"
    advice = f"if {VOID} is {name}, say so in classes.txt: '0 {source.classes[0]}' and '{VOID} {name}'"
    return [Finding("void in place of a class", source.name, reason, advice)]


def _remarks(source: Source, looks: dict[str, list[Look]], unit: str, counts: dict[str, np.ndarray]) -> list[str]:
    """What is worth knowing and not wrong."""
    remarks = []
    if turned := sum(look.exif != 1 for own in looks.values() for look in own):
        remarks.append(f"{turned} images are stored turned (EXIF); they are turned upright when they are read")
    seen: dict[tuple, int] = defaultdict(int)
    for name, own in looks.items():
        labels = source.splits[name].labels
        for index, look in enumerate(own):
            if look.digest:
                seen[name, None if labels is None else int(labels[index]), look.digest] += 1
    if repeats := sum(copies - 1 for copies in seen.values()):
        alike = "class and split" if unit == "images" else "split"
        remarks.append(f"{repeats} images are copies of another one of the same {alike}")
    for name, row in counts.items():
        remarks += _balance(source, name, row, unit)
        if unit == "pixels" and (void := int(_pixels(looks[name], len(row))[-1])):
            remarks.append(f"{void / (void + row.sum()):.1%} of the pixels of {name} are void: they count for nothing")
        objects = source.splits[name].objects
        if objects is not None and (empty := int((np.diff(objects.starts) == 0).sum())):
            remarks.append(f"{empty} of {len(objects)} images of {name} have no object")
    return remarks


def _balance(source: Source, name: str, row: np.ndarray, unit: str) -> list[str]:
    """What to say of how often the classes occur in a split."""
    if unit != "images":
        missing = [source.classes[label] for label in np.flatnonzero(row == 0)]
        several = f"{', '.join(missing[:5])}{' ...' if len(missing) > 5 else ''}"
        return [f"{name} has no {unit} of {len(missing)} of {len(row)} classes: {several}"] if missing else []
    if not row.min() or row.max() < 3 * row.min():
        return []
    most, least = source.classes[row.argmax()], source.classes[row.argmin()]
    return [
        f"{name} is unbalanced: {row.max()} images of {most}, {row.min()} of {least}; "
        f"consider --set class_weights=balanced"
    ]
