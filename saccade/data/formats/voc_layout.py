"""Where a VOC set has its images, annotations and lists: as in the development kit, or all in one folder."""

import itertools
import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from saccade.data.decode import SUFFIXES
from saccade.data.findings import DataError, Findings
from saccade.data.formats.folder import SPLIT_NAMES
from saccade.data.formats.texts import text_of
from saccade.data.formats.voc_files import looks_like_voc


@dataclass
class Layout:
    """Where things are: files by their stem, that is their path inside the folder without the suffix."""

    root: Path
    images: dict[str, Path]
    annotations: dict[str, Path]
    splits: dict[str, list[str]]
    flat: bool = False


def recognises(path: Path) -> bool:
    """Whether `path` is a VOC folder, holds one, or has annotations in XML beside its images."""
    try:
        return bool(_kits(path)) or _flat(path)
    except OSError:
        return False


def child(folder: Path, *names: str) -> Path | None:
    """The sub-folder of that name, in upper or lower case."""
    return next((entry for entry in sorted(folder.iterdir()) if entry.name.lower() in names and entry.is_dir()), None)


def _is_kit(folder: Path) -> bool:
    annotations, images = child(folder, "annotations"), child(folder, "jpegimages", "images")
    if images is None:
        return False
    if images.name == "JPEGImages":
        return annotations is not None or (folder / "SegmentationClass").is_dir()
    return annotations is not None and any(name.lower().endswith(".xml") for name in _first_names(annotations))


def _first_names(folder: Path) -> list[str]:
    """The names of some files of a folder, which may be large."""
    with os.scandir(folder) as entries:
        return [entry.name for entry in itertools.islice(entries, 10_000)]


def _kits(path: Path) -> list[Path]:
    """The VOC folders that `path` may mean."""
    if path.parent.name == "ImageSets" and path.is_dir() and _is_kit(path.parent.parent):
        return [path.parent.parent]
    if not path.is_dir():
        return []
    if _is_kit(path):
        return [path]
    near = [entry for entry in sorted(path.iterdir()) if entry.is_dir() and not entry.name.startswith(".")]
    near = [entry for entry in near if entry.name != "VOCdevkit"] + [
        entry for kit in near if kit.name == "VOCdevkit" for entry in sorted(kit.iterdir()) if entry.is_dir()
    ]
    return [kit for kit in near[:50] if _is_kit(kit)]


def _flat(path: Path) -> bool:
    """Whether XML files of annotations lie beside images here, or in the folders of the splits."""
    if not path.is_dir():
        return False
    for folder in (path, *(entry for entry in path.iterdir() if entry.name.lower() in SPLIT_NAMES and entry.is_dir())):
        names = _first_names(folder)
        files = [name for name in names if name.lower().endswith(".xml")]
        if any(name.lower().endswith(SUFFIXES) for name in names) and any(
            looks_like_voc(folder / name) for name in files[:20]
        ):
            return True
    return False


def find_layout(path: Path, findings: Findings, notes: list[str]) -> Layout:
    kits = _kits(path)
    if len(kits) > 1:
        raise DataError(f"{path} holds several VOC folders; name one of {', '.join(str(kit) for kit in kits)}")
    if not kits:
        images, annotations = _index(path, SUFFIXES, findings), _index(path, (".xml",), findings)
        return Layout(path, images, annotations, _folder_splits({**images, **annotations}, notes), flat=True)
    root = kits[0]
    folder, marked = child(root, "jpegimages", "images"), child(root, "annotations")
    images = _index(folder, SUFFIXES, findings) if folder else {}
    annotations = _index(marked, (".xml",), findings) if marked else {}
    named = (
        [path] if path.parent.name == "ImageSets" else [root / "ImageSets" / kind for kind in ("Main", "Segmentation")]
    )
    for lists in named:
        splits = _lists(lists, {**images, **annotations}, findings, notes)
        if splits:
            unlisted = len(set(images) - set(itertools.chain(*splits.values())))
            if unlisted:
                notes.append(f"{unlisted} images are in no list of {lists} and were left out")
            return Layout(root, images, annotations, splits)
    return Layout(root, images, annotations, {"all": sorted({**images, **annotations})})


def _index(folder: Path, suffixes: Iterable[str], findings: Findings) -> dict[str, Path]:
    """The files below `folder`, by their stems."""
    found: dict[str, Path] = {}
    for here, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(files):
            file = Path(here, name)
            if name.startswith(".") or file.suffix.lower() not in suffixes:
                continue
            stem = file.relative_to(folder).with_suffix("").as_posix()
            if stem in found:
                advice = f"rename one of them, and its annotation; {file.name} is left out"
                findings.add(
                    "ambiguous image", str(file), f"{found[stem].name} has the same name but for the end", advice
                )
            else:
                found[stem] = file
    return found


def _folder_splits(stems: Iterable[str], notes: list[str]) -> dict[str, list[str]]:
    """Splits after the first part of the stem, if it is train or val; else all is one."""
    splits: dict[str, list[str]] = {}
    for stem in sorted(stems):
        first = stem.split("/")[0].lower() if "/" in stem else ""
        splits.setdefault(SPLIT_NAMES.get(first, "all"), []).append(stem)
    if "train" not in splits and "val" not in splits:
        return {"all": sorted(stems)}
    if rest := splits.pop("all", None):
        notes.append(f"{len(rest)} images or annotations beside train and val were left out, {rest[0]} the first")
    return splits


def _lists(folder: Path, stems: dict[str, Path], findings: Findings, notes: list[str]) -> dict[str, list[str]]:
    """The splits that text files of `folder` list; none where it has none."""
    files = {name: folder / f"{name}.txt" for name in ("train", "val", "test", "trainval")}
    files = {name: file for name, file in files.items() if file.is_file()}
    if "trainval" in files:
        both = files.pop("trainval")
        if "train" not in files and "val" not in files:
            files["train"] = both
        elif "train" not in files or "val" not in files:
            notes.append(f"{both} was left out, because one of its parts has a list of its own")
    return {name: _list(file, stems, findings) for name, file in files.items()}


def _list(file: Path, stems: dict[str, Path], findings: Findings) -> list[str]:
    """The stems that a file lists, a line each; a 1, 0 or -1 behind it, as lists of one class have, is passed over."""
    listed: dict[str, None] = {}
    for number, line in enumerate(text_of(file).splitlines(), 1):
        name = line.strip()
        if name not in stems:
            name = re.sub(r"\s+-?[01]$", "", name)
        if not name:
            continue
        where = f"{file}: line {number}"
        if name not in stems:
            reason = f"lists {name[:100]!r}, but there is no image and no annotation of that name"
            findings.add("missing image", where, reason, "add the image, or remove the line")
        elif name in listed:
            findings.add("listed twice", where, f"lists {name!r} again", "remove the line")
        listed |= {name: None} if name in stems else {}
    return list(listed)
