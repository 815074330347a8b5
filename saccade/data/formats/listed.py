"""Images that an annotation file lists by name: where they are, which are missing."""

import os
import posixpath
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from saccade.data.findings import DataError, Findings

TRIED = 20  # images that are looked for in each folder where they might be


def inside(name: str) -> str:
    """A file's name as a path below the folder of images, whatever it says: no annotation reaches other files."""
    parts = posixpath.normpath(name.replace("\\", "/")).split("/")
    return "/".join(part for part in parts if part not in ("", ".", ".."))


def folder_of(file: Path, names: Sequence[str], words: Sequence[str]) -> Path:
    """Where the images are: of all usual places the one where most of those that are looked for are found.

    file   the annotation file: they are beside it or beside its folder
    names  what it lists
    words  what a folder of theirs may be called, as "train2017" and "train"

    Raises DataError when none is anywhere.
    """
    bases = (file.parent, file.absolute().parent.parent)
    places = [base / middle / word for base in bases for word in words for middle in (".", "images")]
    places += [base / middle for base in bases for middle in ("images", ".")]
    places = [place for place in dict.fromkeys(places) if place.is_dir()]
    for wanted in (names[:: -(-len(names) // TRIED)], names):
        counts = [sum(os.path.isfile(place / name) for name in wanted) for place in places]
        if max(counts):
            return places[counts.index(max(counts))]
    raise DataError(
        f"{file}: none of its {len(names)} images is there, {short(names[0])} the first; "
        f"expected them in one of {', '.join(map(str, places))}, by paths from there (a full path is taken as one too)"
    )


def present(folder: Path, names: Sequence[str], wheres: Iterable[str], findings: Findings) -> np.ndarray:
    """[M] bool, which images are there; each of the others is a finding.

    wheres  of each image the place that lists it
    """
    there = np.array([os.path.isfile(folder / name) for name in names], dtype=bool)
    for name, where, is_there in zip(names, wheres, there.tolist(), strict=True):
        if not is_there:
            reason = f"the image {short(name)} is not in {folder}"
            findings.add("missing image", where, reason, "add it, or remove it from the list")
    return there


def short(value: object) -> str:
    """A value of a file for an error message: as Python writes it, no more than 40 letters."""
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:40]}..."
