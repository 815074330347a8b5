"""Looks at every image once, and says what is wrong, where, and what to do."""

import hashlib
import os
from collections import defaultdict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np

from saccade.data.decode import DecodeError
from saccade.data.findings import Finding
from saccade.data.source import Source, Split, labels_of
from saccade.progress import track


@dataclass(frozen=True)
class Checked:
    """What a look at every image gave.

    findings  what is wrong
    notes     what is worth knowing
    counts    images of each class in each split, {split: [K] int}
    sizes     (height, width) of every image that could be read, [N, 2] int
    """

    source: Source
    findings: list[Finding]
    notes: list[str]
    counts: dict[str, np.ndarray]
    sizes: np.ndarray

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        counts = {name: dict(zip(self.source.classes, map(int, row), strict=True)) for name, row in self.counts.items()}
        return {
            "data": self.source.name,
            "format": self.source.format,
            "images": counts,
            "findings": [vars(finding) for finding in self.findings],
            "notes": self.notes,
        }


def broken_images(split: Split, what: str) -> dict[int, str]:
    """The images of a split that cannot be decoded: {index: reason}. Reads every one, in parallel, with a bar."""

    def reason(index: int) -> str | None:
        try:
            # Every byte of the file passes the decoder, but few pixels are made.
            split.open(index).pixels("RGB", shrink=16)
        except DecodeError as error:
            return error.reason
        return None

    if isinstance(split.images, np.ndarray):
        return {}
    reasons = _in_parallel(reason, len(split), what)
    return {index: reason for index, reason in enumerate(reasons) if reason}


def check(source: Source) -> Checked:
    """Everything that can be known to be wrong before training, of every image of every split."""
    findings: list[Finding] = []
    sizes: list[tuple[int, int]] = []
    seen: dict[bytes, list[tuple[str, str, int]]] = defaultdict(list)
    turned = 0
    for name, split in source.splits.items():
        looks = _in_parallel(lambda index, split=split: _look(split, index), len(split), f"reading {name}")
        for index, look in enumerate(looks):
            if look.broken:
                findings.append(_broken(f"{name}/{split.ids[index]}", look.broken))
                continue
            sizes.append(look.size)
            turned += look.turned
            seen[look.digest].append((name, split.ids[index], int(labels_of(split)[index])))
    findings += [finding for copies in seen.values() if len(copies) > 1 for finding in _copies(copies, source)]
    counts = {n: np.bincount(labels_of(s), minlength=len(source.classes)) for n, s in source.splits.items()}
    findings += _missing_classes(source, counts)
    notes = [*source.notes, *_remarks(seen, turned, counts, source)]
    return Checked(source, findings, notes, counts, np.array(sizes).reshape(-1, 2))


@dataclass(frozen=True)
class _Look:
    """One image: why it is broken, or its size, the hash of its content, and whether EXIF turns it."""

    broken: str = ""
    size: tuple[int, int] = (0, 0)
    digest: bytes = b""
    turned: bool = False


def _look(split: Split, index: int) -> _Look:
    try:
        picture = split.open(index)
        picture.pixels("RGB", shrink=16)
        digest = hashlib.blake2b(split.content(index), digest_size=16).digest()
    except DecodeError as error:
        return _Look(broken=error.reason)
    return _Look(size=picture.size, digest=digest, turned=getattr(picture, "orientation", 1) != 1)


def _in_parallel(look: Callable[[int], Any], count: int, what: str) -> list[Any]:
    """look(0), look(1), ... in threads: decoders let go of Python's lock while they work."""
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return list(track(pool.map(look, range(count)), what, count))


def _broken(where: str, reason: str) -> Finding:
    return Finding("broken image", where, reason, "fetch it again or remove it, or fit with --skip-broken")


def _copies(copies: list[tuple[str, str, int]], source: Source) -> list[Finding]:
    """What is wrong with several images having the same content."""
    where = " = ".join(f"{split}/{id}" for split, id, _ in copies)
    if len({label for _, _, label in copies}) > 1:
        names = " and ".join(sorted({source.classes[label] for _, _, label in copies}))
        return [Finding("two labels", where, f"the same image is called {names}", "keep the right one")]
    if len({split for split, _, _ in copies}) > 1:
        return [
            Finding(
                "same image in two splits",
                where,
                "what is trained on must not be tested on",
                "remove all but one",
            )
        ]
    return []


def _missing_classes(source: Source, counts: dict[str, np.ndarray]) -> list[Finding]:
    return [
        Finding("class without images", f"{name}/{source.classes[label]}", "nothing can be measured for it", "add some")
        for name, row in counts.items()
        for label in np.flatnonzero(row == 0)
    ]


def _remarks(
    seen: dict[bytes, list[tuple[str, str, int]]], turned: int, counts: dict[str, np.ndarray], source: Source
) -> list[str]:
    """What is worth knowing and not wrong."""
    remarks = []
    if turned:
        remarks.append(f"{turned} images are stored turned (EXIF); they are turned upright when they are read")
    repeats = sum(len(copies) - 1 for copies in seen.values() if len({(s, label) for s, _, label in copies}) == 1)
    if repeats:
        remarks.append(f"{repeats} images are copies of another one of the same class and split")
    for name, row in counts.items():
        if row.min() and row.max() >= 3 * row.min():
            most, least = source.classes[row.argmax()], source.classes[row.argmin()]
            remarks.append(
                f"{name} is unbalanced: {row.max()} images of {most}, {row.min()} of {least}; "
                f"consider --set class_weights=balanced"
            )
    return remarks
