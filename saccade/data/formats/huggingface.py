"""Hugging Face `datasets`: the folder that `save_to_disk` makes of a Dataset or a DatasetDict.

An Image column, and either a ClassLabel column, or a column `objects` with bbox (x, y, width, height, as COCO's) and
category (ClassLabel), perhaps with area, iscrowd and id. Images stay in the file, encoded as they are, until one is
asked for. Needs the extra: pip install 'saccade[data]'.
"""

import io
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

import numpy as np
from PIL import Image

from saccade.data.findings import DataError, Findings
from saccade.data.formats.coco_write import xywh_from_xyxy
from saccade.data.formats.folder import SPLIT_NAMES
from saccade.data.formats.writing import left_out, require, start_folder
from saccade.data.objects import Objects, starts_of
from saccade.data.sizes import upright_size
from saccade.data.source import Source, Split
from saccade.errors import UsageError
from saccade.geometry.masks import FARTHEST
from saccade.progress import track

if TYPE_CHECKING:
    from datasets import Dataset

NAME = "Hugging Face"


class StoredImages:
    """The images of a Dataset as the files they were: the content of each is read when it is asked for.

    rows    [M] int64, which rows of the Dataset
    column  the name of the images' column, not decoding
    """

    def __init__(self, dataset: "Dataset", rows: np.ndarray, column: str) -> None:
        self.dataset, self.rows, self.column = dataset, rows, column

    def __len__(self) -> int:
        return len(self.rows)

    @overload
    def __getitem__(self, index: int) -> bytes: ...

    @overload
    def __getitem__(self, index: np.ndarray) -> "StoredImages": ...

    def __getitem__(self, index: "int | np.ndarray") -> "bytes | StoredImages":
        if isinstance(index, np.ndarray):
            return StoredImages(self.dataset, self.rows[index], self.column)
        return self.dataset[int(self.rows[index])][self.column]["bytes"]


def recognises(path: Path) -> bool:
    """Whether it is a folder with the files that `save_to_disk` puts beside the data."""
    one = all((path / name).is_file() for name in ("state.json", "dataset_info.json"))
    return one or (path / "dataset_dict.json").is_file()


def read(path: Path, findings: Findings) -> Source:
    """The set at `path`, its images not decoded.

    Raises DataError when it has no column of images, or none of what they show.
    """
    datasets = _library()
    try:
        loaded = datasets.load_from_disk(str(path))
    except Exception as error:  # whatever pyarrow, json and datasets raise on damaged files
        raise DataError(f"{path} cannot be read as a saved Dataset ({error}); save it again") from None
    parts: dict[str, Dataset] = {"all": loaded} if isinstance(loaded, datasets.Dataset) else dict(loaded)
    known = {name: part for name, part in parts.items() if name == "all" or name.lower() in SPLIT_NAMES}
    notes = [f"splits that are not train, val or test were left out: {', '.join(set(parts) - set(known))}"]
    splits: dict[str, Split] = {}
    classes: tuple[str, ...] = ()
    for name, part in known.items():
        where = f"{path}: {name}"
        image, target = _columns(part, where)
        names = _classes(part.features[target], where)
        if splits and names != classes:
            raise DataError(f"{where} has other classes than the splits before it; expected the same ones")
        classes = names
        part = part.cast_column(image, datasets.Image(decode=False))
        splits[SPLIT_NAMES.get(name.lower(), name)] = _split(part, image, target, where, len(classes), findings)
    if not splits:
        raise DataError(f"{path} has the splits {', '.join(parts) or 'none'}; expected train, val or test")
    return Source(str(path), NAME, classes, splits, tuple(notes[: len(known) < len(parts)]))


def _library() -> Any:
    try:
        import datasets
    except ModuleNotFoundError:
        raise UsageError("Hugging Face data needs the package datasets; run: pip install 'saccade[data]'") from None
    return datasets


def _columns(dataset: "Dataset", where: str) -> tuple[str, str]:
    """The names of the column of images, and of that which says what they show."""
    kinds = {name: type(feature).__name__ for name, feature in dataset.features.items()}
    images = [name for name, kind in kinds.items() if kind == "Image"]
    targets = [name for name in kinds if name == "objects"] + [n for n, kind in kinds.items() if kind == "ClassLabel"]
    if not images or not targets:
        found = ", ".join(f"{name} ({kind})" for name, kind in kinds.items()) or "none"
        raise DataError(f"{where} has the columns {found}; expected an Image, and a ClassLabel or objects")
    image = "image" if "image" in images else images[0]
    return image, next((name for name in ("objects", "label", "labels") if name in targets), targets[0])


def _classes(feature: Any, where: str) -> tuple[str, ...]:
    """The names of a ClassLabel, or of that inside a column of objects."""
    inner = getattr(feature, "feature", feature)
    if isinstance(inner, dict):
        if "bbox" not in inner or "category" not in inner:
            raise DataError(f"{where}: objects have {', '.join(inner)}; expected bbox and category")
        inner = getattr(inner["category"], "feature", inner["category"])
    if type(inner).__name__ != "ClassLabel":
        raise DataError(f"{where}: the classes are {inner}; expected a ClassLabel, which names them")
    return tuple(inner.names)


def _split(dataset: "Dataset", image: str, target: str, where: str, classes: int, findings: Findings) -> Split:
    """The rows that can be used."""
    table: Any = dataset.with_format("arrow").select_columns([image])[:]
    contents, paths = (table.column(image).combine_chunks().field(name) for name in ("bytes", "path"))
    stored = np.asarray(contents.is_valid())
    for row in np.flatnonzero(~stored).tolist():
        reason = "it has no image, or only the name of a file elsewhere"
        findings.add("missing image", f"{where}: row {row}", reason, "save the set anew, or remove the row")
    names = [Path(name or "").name for name in paths.to_pylist()]
    ids = names if all(names) and len(set(names)) == len(names) else [str(row) for row in range(len(names))]
    if target != "objects":
        labels = np.array([-1 if k is None else k for k in dataset[target]], dtype=np.int64)
        usable = (labels >= 0) & (labels < classes)
        for row in np.flatnonzero(~usable & stored).tolist():
            reason = f"its {target} is {labels[row]}; expected 0 to {classes - 1}"
            findings.add("no class", f"{where}: row {row}", reason, "label it, or remove the row")
        rows = np.flatnonzero(usable & stored)
        return Split(StoredImages(dataset, rows, image), [ids[row] for row in rows], labels[rows])
    rows = np.flatnonzero(stored)
    sizes = [upright_size(_opened(contents[row])) for row in track(rows.tolist(), "measuring images", len(rows))]
    objects = _objects(dataset[target], rows, np.array(sizes, dtype=np.int32), where, classes, findings)
    return Split(StoredImages(dataset, rows, image), [ids[row] for row in rows], objects=objects)


def _opened(content: Any) -> Any:
    """A binary value of pyarrow as an open file, without a copy."""
    import pyarrow

    return pyarrow.BufferReader(content.as_buffer())


def _objects(
    column: Sequence[Any], rows: np.ndarray, sizes: np.ndarray, where: str, classes: int, findings: Findings
) -> Objects:
    counts, boxes, labels, ids = [], [], [], []
    areas: list[float] = []
    crowd: list[bool] = []
    for row in rows.tolist():
        before = len(boxes)
        for number, thing in enumerate(_things(column[row], f"{where}: row {row}", findings)):
            box: list[float] = thing.get("bbox") or []
            category = thing.get("category")
            fits = len(box) == 4 and all(x is not None and abs(x) <= FARTHEST for x in box)
            if not fits or category is None or not 0 <= category < classes:
                place = f"{where}: row {row}: object {number}"
                reason = f"its bbox is {box} and its category {category}; expected 4 numbers, and 0 to {classes - 1}"
                findings.add("broken annotation", place, reason, "correct or remove it")
                continue
            boxes.append([box[0], box[1], box[0] + box[2], box[1] + box[3]])
            labels.append(category)
            areas.append(math.nan if thing.get("area") is None else thing["area"])
            crowd.append(bool(thing.get("iscrowd")))
            ids.append(len(ids) if thing.get("id") is None else thing["id"])
        counts.append(len(boxes) - before)
    return Objects(
        starts=starts_of(counts),
        sizes=sizes.reshape(-1, 2),
        boxes=np.array(boxes, dtype=np.float64).reshape(-1, 4),
        labels=np.array(labels, dtype=np.int64),
        crowd=np.array(crowd, dtype=bool),
        difficult=np.zeros(len(boxes), dtype=bool),
        areas=np.array(areas, dtype=np.float64),
        masks=None,
        keypoints=None,
        skeleton=None,
        ids=np.array(ids, dtype=np.int64),
        noun="object",
        files=[where],
    )


def _things(value: Any, where: str, findings: Findings) -> list[dict[str, Any]]:
    """The objects of a row, however they are stored: a list of each property, or a list of objects."""
    if not isinstance(value, dict):
        return [thing for thing in value or () if thing is not None]
    lists = {name: own for name, own in value.items() if own is not None}
    if len({len(own) for own in lists.values()}) > 1:
        reason = f"its lists differ in length: {', '.join(f'{name} {len(own)}' for name, own in lists.items())}"
        findings.add("broken annotation", where, reason, "give every object each property")
        return []
    return [dict(zip(lists, properties, strict=True)) for properties in zip(*lists.values(), strict=True)]


def write(source: Source, out: Path) -> list[str]:
    """A copy in the new folder `out`, as `save_to_disk` makes it, the encoded images inside."""
    datasets = _library()
    boxed = any(split.objects is not None for split in source.splits.values())
    require(source, ("objects", "labels"), NAME)
    start_folder(out)
    label = datasets.ClassLabel(names=list(source.classes))
    inner = {"bbox": datasets.List(datasets.Value("float64"), length=4), "category": label}
    inner |= {"area": datasets.Value("float64"), "iscrowd": datasets.Value("bool"), "id": datasets.Value("int64")}
    target = {"objects": {name: datasets.List(kind) for name, kind in inner.items()}} if boxed else {"label": label}
    features = datasets.Features({"image": datasets.Image(), **target})
    saved = datasets.DatasetDict(
        {
            name: datasets.Dataset.from_dict(
                {"image": [_stored(split, i) for i in range(len(split))], **_targets(split, boxed)}, features=features
            )
            for name, split in source.splits.items()
        }
    )
    quiet = datasets.are_progress_bars_disabled()
    datasets.disable_progress_bars()
    try:
        (saved["all"] if list(saved) == ["all"] else saved).save_to_disk(str(out))
    finally:
        if not quiet:
            datasets.enable_progress_bars()
    kinds = ["masks", "keypoints", "difficult", "label maps", *(["labels"] if boxed else [])]
    return left_out(list(source.splits.values()), kinds)


def _stored(split: Split, index: int) -> dict[str, Any]:
    """An image as an Image column takes it; a file is read when the set is saved."""
    image = split.images[index]
    if isinstance(image, Path):
        return {"path": str(image), "bytes": None}
    if isinstance(image, bytes):
        return {"path": Path(split.ids[index]).name, "bytes": image}
    encoded = io.BytesIO()
    Image.fromarray(image).save(encoded, "PNG")
    return {"path": f"{Path(split.ids[index]).stem}.png", "bytes": encoded.getvalue()}


def _targets(split: Split, boxed: bool) -> dict[str, Any]:
    if not boxed:
        assert split.labels is not None
        return {"label": split.labels.tolist()}
    if split.objects is None:
        return {"objects": [{"bbox": [], "category": [], "area": [], "iscrowd": [], "id": []}] * len(split)}
    found = []
    for image in range(len(split)):
        mine = slice(*split.objects.starts[image : image + 2].tolist())
        areas = [None if math.isnan(area) else area for area in split.objects.areas[mine].tolist()]
        found.append(
            {
                "bbox": xywh_from_xyxy(split.objects.boxes[mine]).tolist(),
                "category": split.objects.labels[mine].tolist(),
                "area": areas,
                "iscrowd": split.objects.crowd[mine].tolist(),
                "id": split.objects.ids[mine].tolist(),
            }
        )
    return {"objects": found}
