"""What is this DATA? A path whose format is recognised, or the name of a set that needs no download."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol, overload

import numpy as np

from saccade.data.decode import ArrayPicture, DecodeError, FilePicture, Picture
from saccade.data.findings import DataError, Findings, told
from saccade.data.label_maps import LabelMaps
from saccade.data.objects import Objects
from saccade.errors import UsageError, unknown
from saccade.structures import COLOURS, Known


class Images(Protocol):
    """Pictures that are made when they are asked for, indexed as an array [M, H, W, 3] uint8 is.

    Each is an array [H, W] or [H, W, 3] uint8, or the content of an image file.
    """

    def __len__(self) -> int: ...

    @overload
    def __getitem__(self, index: int) -> "np.ndarray | bytes": ...

    @overload
    def __getitem__(self, index: np.ndarray) -> "Images": ...


@dataclass(frozen=True, eq=False)
class Split:
    """Images with what is known of them, in a fixed order. Nothing is decoded until it is opened.

    images      a list of M paths; or an array [M, H, W] or [M, H, W, 3] uint8, or what is indexed like one and makes
                each image when it is asked for
    ids         M names, unique within the split
    labels      [M] int64, 0..K-1, where every image has one class
    objects     boxes, masks and keypoints, where things in the images are marked
    label_maps  where every pixel has a class
    targets     M paths of images, or arrays [H, W, 3] uint8, as large as theirs: what each image should become
    """

    images: list[Path] | np.ndarray | Images
    ids: Sequence[str]
    labels: np.ndarray | None = None
    objects: Objects | None = None
    label_maps: LabelMaps | None = None
    targets: Sequence[Path | np.ndarray] | None = None

    def __post_init__(self) -> None:
        for name in ("images", "labels", "objects", "label_maps", "targets"):
            column = getattr(self, name)
            if column is not None and len(column) != len(self.ids):
                raise ValueError(f"a Split of {len(self.ids)} ids needs as many {name} but got {len(column)}")

    def __len__(self) -> int:
        return len(self.ids)

    def __repr__(self) -> str:
        names = ("labels", "objects", "label_maps", "targets")
        known = " and ".join(name for name in names if getattr(self, name) is not None)
        return f"Split({len(self)} images with {known or 'nothing known'})"

    def open(self, index: int) -> Picture:
        """The image, its pixels not yet decoded."""
        image = self.images[index]
        if isinstance(image, (Path, bytes)):
            return FilePicture(image, self.ids[index])
        return ArrayPicture(image)

    def content(self, index: int) -> bytes:
        """What the image consists of, byte for byte: equal for duplicates."""
        image = self.images[index]
        if not isinstance(image, Path):
            return image if isinstance(image, bytes) else image.tobytes()
        try:
            return image.read_bytes()
        except OSError as error:
            raise DecodeError(self.ids[index], f"cannot be read ({error.strerror})") from None

    @property
    def bytes(self) -> list[int]:
        """The size of each image in bytes; of images in memory, of all together."""
        if isinstance(self.images, list):
            return [image.stat().st_size for image in self.images]
        return [getattr(self.images, "nbytes", 0)]

    def take(self, indices: Sequence[int] | np.ndarray) -> "Split":
        """Only these images, in this order."""
        chosen = np.asarray(indices, dtype=np.int64)
        places: list[int] = chosen.tolist()
        return Split(
            [self.images[i] for i in places] if isinstance(self.images, list) else self.images[chosen],
            [self.ids[i] for i in places],
            None if self.labels is None else self.labels[chosen],
            None if self.objects is None else self.objects.take(chosen),
            None if self.label_maps is None else self.label_maps.take(chosen),
            None if self.targets is None else [self.targets[i] for i in places],
        )


def labels_of(split: Split) -> np.ndarray:
    """[M] int64, the class of each image; raises DataError where images have none of their own."""
    if split.labels is None:
        marked = "every pixel is" if split.targets is None else "each image should become"
        marked = marked if split.objects is None else "things in the images are"
        instead = "choose a detector, such as fasterrcnn_fpn, or " if split.objects is not None else ""
        raise DataError(
            f"this data says what {marked}, not which one class each image is of, which telling classes apart needs; "
            f"{instead}give folders named after the classes: photos/cats/1.jpg"
        )
    return split.labels


def maps_of(split: Split) -> LabelMaps:
    """The class of every pixel; raises DataError where nobody says it."""
    if split.label_maps is None:
        marked = "things in the images are" if split.objects is not None else "each image is"
        raise DataError(
            f"this data says what {marked}, not what every pixel is, which segmentation needs; give images/ and masks/ "
            f"side by side, PNG files of the same names, a value a class"
        )
    return split.label_maps


def classes_of(source: "Source", known: Known) -> tuple[str, ...]:
    """The classes of what is learnt: those of the label maps may have a background that things have not."""
    if known == "targets":
        return COLOURS
    if known != "label_maps":
        return source.classes
    return maps_of(next(iter(source.splits.values()))).classes


def content_of(split: Split) -> bytes:
    """What is known of the images, byte for byte: equal only where it is the same. Of files their sizes."""
    parts = [] if split.labels is None else [split.labels]
    if split.objects is not None:
        objects = split.objects
        parts += [objects.starts, objects.boxes, objects.labels, objects.crowd, objects.difficult]
        parts += [] if objects.keypoints is None else [objects.keypoints]
        parts += [] if objects.masks is None else [objects.masks.points, objects.masks.counts]
    maps = split.label_maps
    if maps is not None and isinstance(maps.maps, np.ndarray):
        parts.append(maps.maps)
    elif maps is not None and isinstance(maps.maps, Sequence):
        stored = [one.stat().st_size if isinstance(one, Path) else one.tobytes() for one in maps.maps]
        parts.append(np.frombuffer(repr((stored, sorted(maps.coding.items()))).encode(), dtype=np.uint8))
    if split.targets is not None:
        stored = [one.stat().st_size if isinstance(one, Path) else one.tobytes() for one in split.targets]
        parts.append(np.frombuffer(repr(stored).encode(), dtype=np.uint8))
    return b"".join(part.tobytes() for part in parts)


@dataclass(frozen=True, eq=False)
class Source:
    """A data set: its splits ("train", "val", "test", or "all" before it is split) and its classes.

    classes  K names, of the labels or of the objects; of the label maps where there is nothing else
    notes    what was passed over while reading, in words
    """

    name: str
    format: str
    classes: tuple[str, ...]
    splits: dict[str, Split]
    notes: tuple[str, ...] = field(default=())

    def __post_init__(self) -> None:
        for name, split in self.splits.items():
            for labels in (split.labels, None if split.objects is None else split.objects.labels):
                if labels is not None and len(labels) and not 0 <= labels.min() <= labels.max() < len(self.classes):
                    raise DataError(
                        f"{self.name}: labels of {name!r} run from {labels.min()} to {labels.max()}, "
                        f"but there are {len(self.classes)} classes"
                    )

    def with_splits(self, splits: dict[str, Split]) -> "Source":
        """The same set, divided otherwise."""
        return replace(self, splits=splits)

    def has(self, what: Known) -> bool:
        """Whether every split has it."""
        return all(getattr(split, what) is not None for split in self.splits.values())


class Format(Protocol):
    """What a module of `data/formats/` has; some have `Writable` too."""

    @property
    def NAME(self) -> str:
        """What people call it."""
        ...

    def recognises(self, path: Path) -> bool:
        """Whether this file or folder looks like it; quick, and never an error."""
        ...

    def read(self, path: Path, findings: Findings) -> Source:
        """The set; nothing is decoded yet.

        Raises DataError, naming the place, when it cannot be used. What is wrong with a single annotation goes to
        `findings`, which may stop there; else the annotation is left out.
        """
        ...


class Writable(Protocol):
    """What a module of `data/formats/` has whose format can be written."""

    def write(self, source: Source, out: Path) -> list[str]:
        """A copy of the set in the new folder `out`, its images byte for byte as they are.

        Returns what the format cannot carry, in words, with counts; nothing when all of it is there.
        """
        ...


def read(data: str | Path, findings: Findings | None = None) -> Source:
    """Read DATA: the name of a built-in set, or a file or folder whose format is recognised.

    findings  where to put what is wrong with single annotations, which are then left out; None stops at the first

    Raises UsageError when there is no such thing, DataError when it is there and cannot be used.
    """
    from saccade.data.formats import builtin, catalogue

    path = Path(data)
    if (make := builtin.named(str(data))) and not path.exists():
        return make()
    if not path.exists():
        if path.name == str(data):
            raise unknown("data set or folder", str(data), builtin.BUILTIN)
        raise UsageError(f"There is no {path}; expected a folder of images, one sub-folder a class")
    for form in catalogue.FORMATS.values():
        if form.recognises(path):
            return _read(form, path, Findings() if findings is None else findings)
    known = "class folders, COCO, Pascal VOC, YOLO, images with masks, pairs of images, CSV, idx or Hugging Face"
    if not path.is_dir():
        raise UsageError(f"{path} is a file of no known format; expected a folder or an annotation file: {known}")
    found = ", ".join(sorted(entry.name for entry in path.iterdir())[:5]) or "nothing"
    tables = sorted(entry for entry in path.iterdir() if entry.suffix.lower() in (".csv", ".tsv"))
    if tables:
        raise DataError(f"{path} is of no format that is known ({known}); name its table itself, {tables[0]}")
    raise DataError(
        f"{path} is of no format that is known ({known}); it holds {found}. "
        f"The simplest is images in folders named after their classes: {path}/cats/1.jpg, {path}/dogs/2.jpg, "
        f"or {path}/train/cats/1.jpg and {path}/val/..."
    )


def _read(form: Format, path: Path, findings: Findings) -> Source:
    try:
        return form.read(path, findings)
    except DataError as error:
        # Why nothing is left: what was wrong with each thing.
        raise DataError(f"{error}\n{told(findings.kept)}" if findings.kept else str(error)) from None
