"""COCO (Lin et al., ECCV 2014; format: cocodataset.org, "Data format"): a JSON file of boxes, masks, keypoints a split.

Layouts: annotations/instances_train2017.json beside train2017/ (or images/train2017/, or images/), likewise for other
splits; Roboflow's train/_annotations.coco.json among its images, valid/, test/; a folder of JSON files, or one of them,
with the images beside it or in images/.

Where person_keypoints_train2017.json stands beside instances_train2017.json, only its keypoints are taken, each by the
id of its annotation: COCO's two files have the same persons. Alone it is read as any other file is.

Classes are the categories in the order of their ids. Boxes come as x, y, width, height and leave as xyxy. Where
categories have keypoints, all must have the same ones, or all keypoints are left out; the sigmas are COCO's or
CrowdPose's for just their keypoints, 0.05 for others. Captions, licences and attributes are passed over.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from saccade.data.findings import DataError, Findings
from saccade.data.formats.coco_json import Category, Document, Listed
from saccade.data.formats.coco_objects import LEFT_OUT
from saccade.data.formats.coco_skeletons import skeleton_of
from saccade.data.formats.coco_write import write
from saccade.data.formats.folder import SPLIT_NAMES
from saccade.data.formats.listed import folder_of, present, short
from saccade.data.objects import Objects
from saccade.data.sizes import upright_sizes
from saccade.data.source import Source, Split
from saccade.structures import Skeleton

NAME = "COCO"
__all__ = ["NAME", "read", "recognises", "write"]
BEGINNING = 1 << 16  # bytes of a file that are looked at to recognise it
LIST = re.compile(rb'"(images|annotations|categories)"\s*:\s*\[')
OWN_KEY = re.compile(rb'"(images|annotations)"\s*:')
FIRST_KEY = re.compile(rb'\s*\{\s*"(images|annotations|categories|info|licenses)"\s*:')
PART = re.compile(r"(?<![a-z])(train(?:ing)?|val(?:id(?:ation)?)?|test)(?![a-z])", re.IGNORECASE)
MAIN, POSES = "instances_", "person_keypoints_"
ROBOFLOW = "_annotations.coco.json"
OTHERS = ("captions_", "image_info_", "stuff_", "panoptic_")


@dataclass
class _Part:
    """A split while it is read.

    name   as in the file's: train2017
    poses  the file whose keypoints are taken
    """

    name: str
    document: Document
    listed: Listed
    poses: Document | None


def recognises(path: Path) -> bool:
    """Whether it is a COCO file, or a folder with one where they usually are."""
    try:
        return _is_coco(path) if path.is_file() else next(_found(path), None) is not None
    except OSError:
        return False


def read(path: Path, findings: Findings) -> Source:
    """The set at `path`. Images that are listed and not there are findings; DataError when none is there.

    What is wrong with the shape of objects (boxes without area, or outside their image) is no matter of the format:
    they are read as they are.
    """
    notes: list[str] = []
    parts: dict[str, _Part] = {}
    categories: dict[int, Category] = {}
    for split, (file, poses) in _files(path, notes).items():
        document = Document(file)
        parts[split] = _Part(_bare(file), document, document.images(findings), Document(poses) if poses else None)
        for one in (document, parts[split].poses):
            if one is not None:
                _join(categories, one, findings)
    categories = dict(sorted(categories.items()))
    if not categories:
        raise DataError(f"{path} has no category that can be used; expected categories with id and name")
    skeleton = skeleton_of([(category.keypoints, category.edges) for category in categories.values()], notes)
    splits = {split: _split(split, part, categories, skeleton, findings) for split, part in parts.items()}
    for part in parts.values():
        notes += part.document.notes
    _note_twins(categories, notes)
    return Source(str(path), NAME, tuple(category.name for category in categories.values()), splits, tuple(notes))


def _is_coco(file: Path) -> bool:
    with file.open("rb") as opened:
        beginning = opened.read(BEGINNING).removeprefix(b"\xef\xbb\xbf")
    if len(beginning) < BEGINNING and not OWN_KEY.search(beginning):
        return False  # other tools list categories too, such as the notes that Label Studio puts beside YOLO's files
    return bool(FIRST_KEY.match(beginning)) or (beginning.lstrip()[:1] == b"{" and bool(LIST.search(beginning)))


def _found(path: Path) -> Iterator[Path]:
    """The COCO files of a folder: in annotations/, else beside the images of each split, else directly in it."""
    for places in (("annotations/*.json",), (f"*/{ROBOFLOW}", ROBOFLOW), ("*.json",)):
        files = sorted(file for pattern in places for file in path.glob(pattern) if file.is_file())
        # Of an empty or broken file the name alone says what it was to be, and reading it says what is wrong.
        named = {file for file in files if file.name.startswith((MAIN, POSES)) or file.name == ROBOFLOW}
        files = [file for file in files if file in named or (not file.name.startswith(OTHERS) and _is_coco(file))]
        yield from files
        if files:
            return


def _files(path: Path, notes: list[str]) -> dict[str, tuple[Path, Path | None]]:
    """Of each split its file, and the one that has its keypoints."""
    if path.is_file():
        return {_split_of(path): (path, None)}
    files = list(_found(path))
    if files and (others := [file.name for file in files[0].parent.glob("*.json") if file.name.startswith(OTHERS)]):
        notes.append(f"files of other things than objects were left out: {', '.join(sorted(others))}")
    main = [file for file in files if file.name.startswith(MAIN)]
    poses = {_bare(file): file for file in files if file.name.startswith(POSES)}
    if main or poses:
        with_main = {_bare(file) for file in main}
        main += [file for name, file in poses.items() if name not in with_main]
        if left := [file.name for file in files if not file.name.startswith((MAIN, POSES))]:
            notes.append(f"files not named {MAIN} or {POSES} were left out: {', '.join(left)}")
    splits: dict[str, tuple[Path, Path | None]] = {}
    for file in main or files:
        split = _split_of(file)
        if split in splits:
            raise DataError(
                f"{path} has two COCO files of {split!r}, {splits[split][0].name} and {file.name}; "
                f"keep one of them there, or name the file itself"
            )
        twin = poses.get(_bare(file))
        splits[split] = (file, None if twin == file else twin)
    return dict(sorted(splits.items(), key=lambda item: ("train", "val", "test", "all").index(item[0])))


def _bare(file: Path) -> str:
    """train2017 of instances_train2017.json; the folder of Roboflow's files."""
    if file.name == ROBOFLOW:
        return file.parent.name
    return file.stem.removeprefix(MAIN).removeprefix(POSES)


def _split_of(file: Path) -> str:
    """The split that a file's name speaks of; "all" when it speaks of none."""
    words = PART.findall(_bare(file))
    return SPLIT_NAMES[words[-1].lower()] if words else "all"


def _join(categories: dict[int, Category], document: Document, findings: Findings) -> None:
    """Add the categories of one more file; raises DataError when an id means two things."""
    for id, category in document.categories(findings).items():
        known = categories.setdefault(id, category)
        if known.name != category.name:
            raise DataError(
                f"{document.file}: category {id} is {short(category.name)} here and {short(known.name)} in another "
                f"split; number the categories of all splits alike"
            )
        if not known.keypoints:
            categories[id] = category


def _note_twins(categories: dict[int, Category], notes: list[str]) -> None:
    names = [category.name for category in categories.values()]
    for name in sorted({name for name in names if names.count(name) > 1}):
        ids = ", ".join(str(id) for id, category in categories.items() if category.name == name)
        notes.append(f"several categories are called {short(name)} ({ids}); they are kept apart")


def _split(
    split: str, part: _Part, categories: dict[int, Category], skeleton: Skeleton | None, findings: Findings
) -> Split:
    part.listed, paths = _present(part, split, findings)
    unknown = np.flatnonzero(part.listed.sizes[:, 0] == 0)
    if len(unknown):
        part.listed.sizes[unknown] = upright_sizes([paths[i] for i in unknown])
    objects = part.document.objects(part.listed, categories, skeleton, findings)
    if part.poses is not None and skeleton is not None:
        poses = part.poses.objects(part.listed, categories, skeleton, findings)
        objects = _with_keypoints(objects, poses, findings)
    return Split(paths, part.listed.names, objects=objects)


def _present(part: _Part, split: str, findings: Findings) -> tuple[Listed, list[Path]]:
    """The images that are there, and their paths; objects of the others will be left out with them."""
    names = part.listed.names
    if not names:
        raise DataError(f"{part.document.file} lists no image that can be used")
    words = (part.name, split, *(word for word, meant in SPLIT_NAMES.items() if meant == split))
    folder = folder_of(part.document.file, names, words)
    there = present(folder, names, (f"{part.document.file}: image {short(name)}" for name in names), findings)
    places = np.where(there, np.cumsum(there) - 1, LEFT_OUT).tolist()
    names = [names[n] for n in np.flatnonzero(there)]
    moved = {id: places[n] if n >= 0 else n for id, n in part.listed.places.items()}
    return Listed(moved, names, part.listed.sizes[there]), [folder / name for name in names]


def _with_keypoints(objects: Objects, poses: Objects, findings: Findings) -> Objects:
    """The same objects with the keypoints of others, by annotation id."""
    assert objects.keypoints is not None and poses.keypoints is not None
    order = np.argsort(objects.ids)
    ids = objects.ids[order]
    places = np.searchsorted(ids, poses.ids)
    known = places < len(ids)
    known[known] = ids[places[known]] == poses.ids[known]
    for n in np.flatnonzero(~known).tolist():
        reason = f"{objects.files[0]} has no annotation of this id, which its keypoints could belong to"
        findings.add("unknown annotation", poses.where(n), reason, "give both the same id, or remove it")
    keypoints = objects.keypoints.copy()
    keypoints[order[places[known]]] = poses.keypoints[known]
    return replace(objects, keypoints=keypoints)
