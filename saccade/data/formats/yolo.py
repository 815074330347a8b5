"""YOLO: a text file of boxes, polygons or keypoints beside each image, and a YAML file that names the classes.

The conventions are Ultralytics': DATA is the YAML file, a folder that holds it, a folder with images/ and labels/ (or
train/images and train/labels ...), or one where images, labels and classes.txt lie together. The annotation of
images/train/1.jpg is labels/train/1.txt: the last folder called "images" becomes "labels"; it lies beside the image
where none is called so. An image without that file has nothing on it, unless the YAML file says
`skip_if_label_file_missing: true`: then nobody has looked at it.

`train`, `val` and `test` are folders, lists of folders, or text files of image paths. They are looked for from `path`,
from the folder of the YAML file and from the one above; where the folder of labels is not beside that of the images,
it is looked for beside the YAML file. Class ids may have gaps: labels count the ids from 0 on. Without a YAML file, the
classes are the lines of classes.txt, or the ids that occur.
"""

import itertools
import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from saccade.data.decode import SUFFIXES
from saccade.data.findings import DataError, Findings
from saccade.data.formats.folder import SPLIT_NAMES, odd_splits
from saccade.data.formats.texts import LARGEST_YAML, names_of, text_of, yaml_of
from saccade.data.formats.yolo_lines import Lines, skeleton_of
from saccade.data.formats.yolo_write import labels_for, write
from saccade.data.sizes import upright_sizes
from saccade.data.source import Source, Split
from saccade.progress import track

NAME = "YOLO"
__all__ = ["NAME", "read", "recognises", "write"]
KEYS = ("train", "val", "test")
USUAL = ("data.yaml", "data.yml", "dataset.yaml")
NAMES_LINE = re.compile(rb"^[\"']?names[\"']?\s*:", re.MULTILINE)
SPLIT_LINE = re.compile(rb"^[\"']?(train|val|test)[\"']?\s*:", re.MULTILINE)


@dataclass
class _Part:
    """The images of a split with the files of their labels."""

    images: list[Path] = field(default_factory=list)
    labels: list[Path] = field(default_factory=list)


def recognises(path: Path) -> bool:
    """Whether `path` is a YAML file that names classes and images, or a folder with one, or has images/ and labels/."""
    try:
        if path.is_file():
            return _describes(path) or (path.name in USUAL and bool(_folders(path.parent)))
        return path.is_dir() and (bool(_descriptions(path)) or bool(_folders(path)))
    except OSError:
        return False


def read(path: Path, findings: Findings) -> Source:
    """The set at `path`, its normalised coordinates multiplied by the upright sizes of the images."""
    file = path if path.is_file() else _description(path)
    about: dict[str, Any] = {} if file is None else yaml_of(file)
    base = path if file is None else file.parent
    notes: list[str] = []
    names = _names(about.get("names"), about.get("nc"), file) if file else _listed_names(base)
    skeleton, shape = skeleton_of(about, file) if file and "kpt_shape" in about else (None, None)
    parts = _described(about, base, findings, notes) if set(KEYS) & set(about) else _found(base, notes)
    if not any(part.images for part in parts.values()):
        looked = "; ".join(notes) or f"expected {base / 'images'} and {base / 'labels'}"
        raise DataError(f"{file or path}: no images were found ({looked})")
    lines = {}
    for name, part in parts.items():
        sizes = upright_sizes(part.images)
        lines[name] = Lines(names, shape)
        for image, label, size in zip(
            track(part.images, "reading labels", len(sizes)), part.labels, sizes, strict=True
        ):
            lines[name].add(image, label, (int(size[0]), int(size[1])), findings)
    if all(len(own.missing) == len(own.images) for own in lines.values()):
        first = next(part for part in parts.values() if part.images)
        raise DataError(f"{path}: no image has a file of labels; expected {first.labels[0]} for {first.images[0]}")
    numbers = sorted(names if names is not None else set().union(*(own.seen for own in lines.values())))
    if numbers and numbers[-1] >= len(numbers):
        first = next(label for label, number in enumerate(numbers) if label != number)
        notes.append(f"class ids have gaps: {numbers[first]} is class {first} here, and so on")
    classes = tuple(str(number) if names is None else names[number] for number in numbers)
    skip = about.get("skip_if_label_file_missing", "").lower() == "true"
    splits = {name: _split(own, numbers, skeleton, skip, notes) for name, own in lines.items()}
    return Source(str(path), NAME, classes, {name: own for name, own in splits.items() if len(own)}, tuple(notes))


def _split(lines: Lines, numbers: list[int], skeleton: Any, skip: bool, notes: list[str]) -> Split:
    split = Split(lines.images, _ids(lines.images), objects=lines.objects(numbers, skeleton))
    if lines.missing:
        advice = "were left out, as the YAML file asks" if skip else "have no file of labels: nothing is in them"
        notes.append(
            f"{len(lines.missing)} of {len(split)} images {advice}; {lines.images[lines.missing[0]]} the first"
        )
    return split.take(np.delete(np.arange(len(split)), lines.missing)) if skip else split


def _describes(file: Path) -> bool:
    """Whether a file looks like the description of a YOLO set."""
    if file.suffix.lower() not in (".yaml", ".yml") or not file.is_file():
        return False
    with file.open("rb") as opened:
        content = opened.read(LARGEST_YAML)
    splits = SPLIT_LINE.search(content) is not None or bool(_folders(file.parent))
    return NAMES_LINE.search(content) is not None and splits


def _descriptions(folder: Path) -> list[Path]:
    with os.scandir(folder) as entries:
        names = [entry.name for entry in entries if entry.name.lower().endswith((".yaml", ".yml"))]
    found = [folder / name for name in sorted(names)[:20] if _describes(folder / name)]
    return [file for file in found if file.name == "data.yaml"] or found


def _description(folder: Path) -> Path | None:
    found = _descriptions(folder)
    if len(found) > 1:
        raise DataError(f"{folder} has several descriptions; name one of {', '.join(file.name for file in found)}")
    # A data.yaml that describes nothing is broken, and reading it says how.
    return found[0] if found else next((folder / name for name in USUAL if (folder / name).is_file()), None)


def _folders(base: Path) -> list[tuple[str, Path]]:
    """The folders of images of a set that has no description, with their split."""
    if _is_flat(base):
        return [("all", base)]
    if _has_labels(base / "images", base / "labels"):
        with os.scandir(base / "images") as entries:
            # A file that is no image, such as a system leaves, says nothing about how the set is divided.
            names = sorted(
                entry.name
                for entry in entries
                if not entry.name.startswith(".") and (entry.is_dir() or entry.name.lower().endswith(SUFFIXES))
            )
        if names and all(name.lower() in SPLIT_NAMES for name in names):
            return [(SPLIT_NAMES[name.lower()], base / "images" / name) for name in names]
        return [("all", base / "images")]
    near = sorted(entry for entry in base.iterdir() if entry.name.lower() in SPLIT_NAMES)
    splits = [(SPLIT_NAMES[entry.name.lower()], entry) for entry in near]
    return [(name, entry / "images") for name, entry in splits if _has_labels(entry / "images", entry / "labels")]


def _is_flat(folder: Path) -> bool:
    """Whether images and their labels lie in it together, with a list of the classes, as labelImg leaves them."""
    if not (folder / "classes.txt").is_file():
        return False
    with os.scandir(folder) as entries:
        names = {entry.name.lower() for entry in itertools.islice(entries, 10_000)}
    return any(f"{name.rpartition('.')[0]}.txt" in names for name in names if name.endswith(SUFFIXES))


def _has_labels(images: Path, labels: Path) -> bool:
    """Whether these are folders, and the first files in that of the labels are text."""
    if not images.is_dir() or not labels.is_dir():
        return False
    files = (name for _, _, names in os.walk(labels) for name in names if not name.startswith("."))
    return any(name.endswith(".txt") for name in itertools.islice(files, 1000))


def _names(names: Any, count: Any, file: Path) -> dict[int, str]:
    """The name of each class id."""
    pairs = names.items() if isinstance(names, dict) else enumerate(names) if isinstance(names, list) else ()
    found: dict[int, str] = {}
    for key, name in pairs:
        if not str(key).isdecimal() or len(str(key)) > 9 or not isinstance(name, str) or not name.strip():
            raise DataError(f"{file}: names: {str(key)[:50]!r}: {str(name)[:50]!r} is no class; expected '0: person'")
        if int(key) in found:
            raise DataError(f"{file}: names: has the class id {int(key)} twice; keep one of them")
        found[int(key)] = name
    if not found:
        raise DataError(f"{file}: names: expected a list of classes, or lines '0: person', but got {str(names)[:50]!r}")
    if count not in (None, str(len(found))):
        raise DataError(f"{file}: nc is {str(count)[:50]!r}, but names has {len(found)}; mend one of them")
    return found


def _listed_names(base: Path) -> dict[int, str] | None:
    """The lines of a classes.txt, in the set's folder or in that of the labels."""
    for file in (base / "classes.txt", base / "labels" / "classes.txt"):
        if file.is_file():
            return dict(enumerate(names_of(file)))
    return None


def _described(about: dict[str, Any], base: Path, findings: Findings, notes: list[str]) -> dict[str, _Part]:
    """The images that the YAML file lists."""
    declared = about.get("path", "")
    roots = [base / (declared if isinstance(declared, str) else ""), base, base / ".."]
    parts: dict[str, _Part] = {}
    for key in KEYS:
        entries = about.get(key, "")
        entries = [entries] if isinstance(entries, str) else entries
        if not isinstance(entries, list) or not all(isinstance(entry, str) and "\0" not in entry for entry in entries):
            raise DataError(f"{base}: {key} is {str(entries)[:50]!r}; expected a folder or a list of folders")
        part = _Part()
        for entry in filter(None, entries):
            short = entry.removeprefix("../")  # Roboflow writes its paths as seen from another folder
            place = next((root / name for root in roots for name in (entry, short) if _exists(root / name)), None)
            if place is None:
                gone = f"there is no {os.path.normpath(roots[0] / entry)}"
                if key == "train":
                    findings.add("missing folder", f"{base}: {key}", gone, "correct the path, or remove the line")
                else:
                    notes.append(f"{key} was left out, for {gone}")
            elif place.is_file():
                _add_list(part, place, roots, findings)
            else:
                _add_folder(part, Path(os.path.normpath(place)), base / labels_for(Path(short)), notes)
                if not part.images:
                    notes.append(f"{key} was left out, for there is no image in {os.path.normpath(place)}")
        if part.images:
            parts[key] = part
    return parts


def _exists(path: Path) -> bool:
    try:
        return path.is_dir() or (path.is_file() and path.suffix == ".txt")
    except OSError:  # a name that is too long
        return False


def _found(base: Path, notes: list[str]) -> dict[str, _Part]:
    """The images of a set whose folders say it all."""
    parts: dict[str, _Part] = {}
    for name, folder in _folders(base):
        if name == "all" and (odd := odd_splits(folder)):
            notes.append(odd)
        _add_folder(parts.setdefault(name, _Part()), folder, folder, notes)
    return parts


def _add_folder(part: _Part, folder: Path, other: Path, notes: list[str]) -> None:
    """All images below a folder. Where it has no folder of labels, `other` is it, if it exists."""
    labels = labels_for(folder)
    elsewhere = not labels.is_dir() and other.is_dir()
    images = _files(folder, SUFFIXES)
    part.images += images
    own = [labels_for(image).with_suffix(".txt") for image in images]
    if elsewhere:
        own = [(other / image.relative_to(folder)).with_suffix(".txt") for image in images]
    part.labels += own
    files = _files(other if elsewhere else labels, (".txt",)) if elsewhere or labels != folder else []
    alone = sorted(file for file in set(files) - set(own) if file.name != "classes.txt")
    if alone:
        notes.append(f"{len(alone)} files of labels have no image and were left out, {alone[0]} the first")


def _add_list(part: _Part, file: Path, roots: list[Path], findings: Findings) -> None:
    """The images that a text file lists, a path a line, as seen from its own folder or from the set's."""
    listed: set[Path] = set(part.images)
    for number, line in enumerate(text_of(file).splitlines(), 1):
        name = line.strip()
        if not name:
            continue
        places = [folder / name for folder in (file.parent, *roots)] if "\0" not in name and len(name) < 4096 else []
        place = next((Path(os.path.normpath(place)) for place in places if os.path.isfile(place)), None)
        if place is None:
            reason = f"lists {name[:100]!r}, but there is no such file"
            findings.add("missing image", f"{file}: line {number}", reason, "add the image, or remove the line")
        elif place in listed:
            findings.add("listed twice", f"{file}: line {number}", f"lists {name!r} again", "remove the line")
        else:
            listed.add(place)
            part.images.append(place)
            part.labels.append(labels_for(place).with_suffix(".txt"))


def _files(folder: Path, suffixes: tuple[str, ...]) -> list[Path]:
    """The files below a folder with one of these suffixes, sorted, without hidden ones."""
    found = []
    for here, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        found += [Path(here, name) for name in sorted(files) if name.lower().endswith(suffixes) and name[0] != "."]
    return found


def _ids(images: list[Path]) -> list[str]:
    """What the images are called: their paths below the folder that they share."""
    full = [Path(os.path.abspath(image)) for image in images]
    shared = os.path.commonpath([image.parent for image in full]) if full else ""
    return [image.relative_to(shared).as_posix() for image in full]
