"""What is this DATA? A path whose format is recognised, or the name of a set that needs no download."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from saccade.data.decode import ArrayPicture, DecodeError, FilePicture, Picture
from saccade.errors import SaccadeError, UsageError, unknown


class DataError(SaccadeError):
    """A data set that cannot be used as it is."""


@dataclass(frozen=True, eq=False)
class Split:
    """Images with their targets, in a fixed order. Nothing is decoded until it is opened.

    images   N paths, or an array [N, H, W] or [N, H, W, 3] uint8
    targets  [N] int64, labels 0..K-1
    ids      N names, unique within the split
    """

    images: Sequence[Path] | np.ndarray
    targets: np.ndarray
    ids: Sequence[str]

    def __post_init__(self) -> None:
        if not len(self.images) == len(self.targets) == len(self.ids):
            raise ValueError(
                f"a Split needs as many images as targets and ids "
                f"but got {len(self.images)}, {len(self.targets)} and {len(self.ids)}"
            )

    def __len__(self) -> int:
        return len(self.ids)

    def open(self, index: int) -> Picture:
        """The image, its pixels not yet decoded."""
        image = self.images[index]
        if isinstance(image, Path):
            return FilePicture(image, self.ids[index])
        return ArrayPicture(image)

    def content(self, index: int) -> bytes:
        """What the image consists of, byte for byte: equal for duplicates."""
        image = self.images[index]
        if not isinstance(image, Path):
            return image.tobytes()
        try:
            return image.read_bytes()
        except OSError as error:
            raise DecodeError(self.ids[index], f"cannot be read ({error.strerror})") from None

    @property
    def bytes(self) -> list[int]:
        """The size of each image in bytes; of images in memory, of all together."""
        if isinstance(self.images, np.ndarray):
            return [self.images.nbytes]
        return [image.stat().st_size for image in self.images]

    def take(self, indices: Sequence[int] | np.ndarray) -> "Split":
        """Only these images, in this order."""
        images = self.images[indices] if isinstance(self.images, np.ndarray) else [self.images[i] for i in indices]
        return Split(images, self.targets[indices], [self.ids[i] for i in indices])


@dataclass(frozen=True, eq=False)
class Source:
    """A data set: its splits ("train", "val", "test", or "all" before it is split) and its classes.

    notes  what was passed over while reading, in words
    """

    name: str
    format: str
    classes: tuple[str, ...]
    splits: dict[str, Split]
    notes: tuple[str, ...] = field(default=())

    def __post_init__(self) -> None:
        for name, split in self.splits.items():
            if len(split) and not 0 <= split.targets.min() <= split.targets.max() < len(self.classes):
                raise DataError(
                    f"{self.name}: labels of {name!r} run from {split.targets.min()} to {split.targets.max()}, "
                    f"but there are {len(self.classes)} classes"
                )

    def with_splits(self, splits: dict[str, Split]) -> "Source":
        """The same set, divided otherwise."""
        return replace(self, splits=splits)


def read(data: str | Path) -> Source:
    """Read DATA: the name of a built-in set, class folders, or a folder of idx files.

    Raises UsageError when there is no such thing, DataError when it is there and cannot be used.
    """
    from saccade.data.formats import builtin, folder, idx

    path = Path(data)
    if str(data) in builtin.BUILTIN and not path.exists():
        return builtin.BUILTIN[str(data)]()
    if not path.exists():
        if path.name == str(data):
            raise unknown("data set or folder", str(data), builtin.BUILTIN)
        raise UsageError(f"There is no {path}; expected a folder of images, one sub-folder a class")
    if not path.is_dir():
        raise UsageError(f"{path} is a file; expected a folder of images, one sub-folder a class, or of idx files")
    formats: tuple[tuple[Callable[[Path], bool], Callable[[Path], Source]], ...] = (
        (idx.recognises, idx.read),
        (folder.recognises, folder.read),
    )
    for recognises, reader in formats:
        if recognises(path):
            return reader(path)
    found = ", ".join(sorted(entry.name for entry in path.iterdir())[:5]) or "nothing"
    raise DataError(
        f"{path} holds no images in folders named after their classes, and no idx files; it holds {found}. "
        f"Expected {path}/cats/1.jpg, {path}/dogs/2.jpg, or {path}/train/cats/1.jpg and {path}/val/..."
    )
