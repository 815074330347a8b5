"""Class folders: photos/cats/1.jpg, or photos/train/cats/1.jpg beside photos/val/ and photos/test/."""

import os
from dataclasses import replace
from pathlib import Path

import numpy as np

from saccade.data.decode import SUFFIXES
from saccade.data.findings import DataError, Findings
from saccade.data.formats.writing import left_out, require, start_folder, write_images
from saccade.data.source import Source, Split, labels_of

NAME = "class folders"
# What hardly is a class, in lower case.
NOT_CLASSES = ("images", "imgs", "img", "jpegimages", "masks", "mask", "labels", "annotations", "segmentation")
SPLIT_NAMES = {"train": "train", "training": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}


def recognises(path: Path) -> bool:
    """Whether `path` has sub-folders (that they hold images is checked while reading)."""
    return path.is_dir() and bool(_folders(path))


def read(path: Path, findings: Findings) -> Source:
    """Every image below `path`; its class is the folder it stands in, nested ones joined with a slash.

    Raises DataError when there is no image at all, or a class without images.
    """
    folders = {entry.name: entry for entry in _folders(path)}
    parts = {SPLIT_NAMES[name.lower()]: folders[name] for name in folders if name.lower() in SPLIT_NAMES}
    notes: list[str] = []
    doubled = len(parts) < sum(name.lower() in SPLIT_NAMES for name in folders)
    if doubled:
        raise DataError(f"{path} has two folders for the same split among {', '.join(folders)}; keep one of them")
    others = sorted(set(folders) - {part.name for part in parts.values()})
    # A class may be called train: then it holds images and no folders, as the other classes do.
    divided = "train" in parts and (not others or any(_folders(part) for part in parts.values()))
    if divided or not others:
        if others:
            notes.append(f"folders beside train and val were left out: {', '.join(others)}")
    else:
        parts = {"all": path}
    found = {name: _scan(part, notes) for name, part in parts.items()}
    classes = tuple(sorted({name for files in found.values() for name in files}))
    if not any(images for files in found.values() for images in files.values()):
        raise DataError(
            f"{path} has no folder of a class with images in it; expected files ending in {' '.join(sorted(SUFFIXES))}"
        )
    for split, files in found.items():
        for name in classes:
            if files.get(name) or (name not in files and split in ("val", "test")) or not findings.strict:
                continue  # whoever looks at everything counts the classes too
            where = parts[split] / name
            raise DataError(f"the class {name!r} has no images in {where}; add some, or remove the class everywhere")
    if odd := sorted({name.split("/")[0] for name in classes if name.split("/")[0].lower() in NOT_CLASSES}):
        notes.append(f"{' and '.join(odd)} were read as classes; are these images with masks, or with labels?")
    return Source(str(path), NAME, classes, {k: _split(path, v, classes) for k, v in found.items()}, tuple(notes))


def write(source: Source, out: Path) -> list[str]:
    """A copy of the set as class folders: out/train/cats/1.jpg, or out/cats/1.jpg where it is not divided."""
    lost = left_out(list(source.splits.values()), ("objects", "label maps"))
    require(source, ("labels",), NAME)
    start_folder(out)
    for name, split in source.splits.items():
        classes = [source.classes[label] for label in labels_of(split)]
        ids = [f"{own}/{Path(id).name}" for own, id in zip(classes, split.ids, strict=True)]
        written = write_images(replace(split, ids=ids), out if name == "all" else out / name, lost)
        moved = {own for own, path in zip(classes, written, strict=True) if str(Path(path).parent.as_posix()) != own}
        lost += [f"the class {own!r} cannot be the name of a folder and got another" for own in sorted(moved)]
    return lost


def _folders(path: Path) -> list[Path]:
    return sorted(entry for entry in path.iterdir() if entry.is_dir() and not entry.name.startswith("."))


def odd_splits(folder: Path) -> str:
    """What to say of a folder in which some are called after splits and others not; nothing where that is not so."""
    names = [entry.name for entry in _folders(folder)]
    others = [name for name in names if name.lower() not in SPLIT_NAMES]
    if not others or len(others) == len(names):
        return ""
    listed = ", ".join(others)
    return f"{listed} in {folder} are no splits that are known, so all is read as one; name them train, val and test"


def _scan(root: Path, notes: list[str]) -> dict[str, list[Path]]:
    """The image files of each class below `root`. A leaf folder without images is a class without images."""
    found: dict[str, list[Path]] = {}
    other: list[str] = []
    for here, folders, files in os.walk(root, followlinks=True):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        if os.path.realpath(here) in {os.path.realpath(parent) for parent in Path(here).absolute().parents}:
            raise DataError(f"{here} is a link to a folder that it is in; remove it")
        visible = sorted(name for name in files if not name.startswith("."))
        images = [Path(here) / name for name in visible if Path(name).suffix.lower() in SUFFIXES]
        other += [str(Path(here, name)) for name in visible if Path(name).suffix.lower() not in SUFFIXES]
        name = Path(here).relative_to(root).as_posix()
        if name == ".":
            if images:
                notes.append(f"{len(images)} images directly in {root} belong to no class and were left out")
        elif images or not folders:
            found[name] = images
    if other:
        notes.append(f"{len(other)} files that are not images were left out, {other[0]} the first")
    return found


def _split(root: Path, files: dict[str, list[Path]], classes: tuple[str, ...]) -> Split:
    images = [image for name in classes for image in files.get(name, ())]
    labels = np.repeat(np.arange(len(classes)), [len(files.get(name, ())) for name in classes])
    return Split(images, [image.relative_to(root).as_posix() for image in images], labels.astype(np.int64))
