"""What every pixel is, for all images of a split: one PNG an image, decoded when it is asked for."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol, overload

import numpy as np
from PIL import Image

from saccade.data.findings import DataError
from saccade.progress import track
from saccade.structures import VOID, LabelMap

UNKNOWN = 254


class Maps(Protocol):
    """Maps that are made when they are asked for, indexed as an array [M, H, W] is."""

    def __len__(self) -> int: ...

    @overload
    def __getitem__(self, index: int) -> np.ndarray: ...

    @overload
    def __getitem__(self, index: np.ndarray) -> "Maps": ...


@dataclass(frozen=True, eq=False)
class LabelMaps:
    """One map of labels an image.

    maps     M paths of images as wide and high as theirs, or M arrays as stored, or what is indexed like an array of
             these and makes each when it is asked for
    classes  K names, K of at most 254; background an ordinary class where the set has one
    coding   which stored value is which label, 0..K-1 or VOID. A value is the byte of a grey or palette image, 0..255
             (0 or 1 of one with 1 bit), or 65536 red + 256 green + blue of a coloured one
    colour   True where the maps are coloured
    colours  [K, 3] uint8, what to draw each class in; None where the set does not say
    """

    maps: Sequence[Path] | Sequence[np.ndarray] | Maps
    classes: tuple[str, ...]
    coding: Mapping[int, int]
    colour: bool = False
    colours: np.ndarray | None = None

    def __post_init__(self) -> None:
        if not 1 <= len(self.classes) <= UNKNOWN:
            raise DataError(f"label maps can tell 1 to {UNKNOWN} classes apart, but there are {len(self.classes)}")
        wrong = {label for label in self.coding.values() if label != VOID and not 0 <= label < len(self.classes)}
        if wrong:
            raise ValueError(f"LabelMaps.coding must give labels below {len(self.classes)} or {VOID} but gives {wrong}")

    def __len__(self) -> int:
        return len(self.maps)

    def __getitem__(self, image: int) -> LabelMap:
        """The map of one image; raises DataError, naming the file, when it cannot be read or holds unknown values."""
        stored = self.stored(image)
        labels = self.decoded(stored)
        if (labels == UNKNOWN).any():
            values = np.unique(stored[labels == UNKNOWN])
            raise DataError(
                f"{self.where(image)}: holds the values {', '.join(map(self.named, values[:5]))}"
                f"{' ...' if len(values) > 5 else ''}, which are no class; known are "
                f"{', '.join(map(self.named, sorted(self.coding)[:20]))}. Name the missing classes, or one as void"
            )
        return LabelMap(labels, self.classes)

    def stored(self, image: int) -> np.ndarray:
        """[H, W] values as `coding` has them, uint8 or int32; raises DataError when the file cannot be read."""
        source = self.maps[image]
        if not isinstance(source, Path):
            return source
        try:
            with Image.open(source) as file:
                if self.colour:
                    pixels = np.asarray(file.convert("RGB")).astype(np.int32)
                    return pixels[..., 0] << 16 | pixels[..., 1] << 8 | pixels[..., 2]
                if file.mode not in ("L", "P", "1", "I;16"):
                    raise DataError(
                        f"{source}: is a coloured image ({file.mode}); expected grey or palette values, "
                        f"or a colour a class, named in a table of colours"
                    )
                return np.asarray(file, dtype=np.uint8) if file.mode == "1" else np.asarray(file)
        except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
            raise DataError(f"{source}: cannot be read as a map of labels ({error}); fetch it again") from None

    def decoded(self, stored: np.ndarray) -> np.ndarray:
        """[H, W] uint8: labels, VOID, and UNKNOWN for values that are not in `coding`."""
        if stored.dtype == np.uint8:
            table = np.full(256, UNKNOWN, dtype=np.uint8)
            for value, label in self.coding.items():
                if value < len(table):  # others stand in maps of 16 bits
                    table[value] = label
            return table[stored]
        values, where = np.unique(stored, return_inverse=True)
        table = np.array([self.coding.get(int(value), UNKNOWN) for value in values], dtype=np.uint8)
        return table[where].reshape(stored.shape)

    def named(self, value: int) -> str:
        """A stored value as people write it."""
        return f"#{int(value):06x}" if self.colour else str(int(value))

    def where(self, image: int) -> str:
        """The file, as error messages name it."""
        source = self.maps[image]
        return str(source) if isinstance(source, Path) else f"map {image}"

    def renamed(self, classes: tuple[str, ...]) -> "LabelMaps":
        """The same maps with the labels that other classes have, which must include their own names."""
        numbers = {own: classes.index(name) for own, name in enumerate(self.classes)}
        coding = {value: numbers.get(label, label) for value, label in self.coding.items()}
        return replace(self, classes=classes, coding=coding, colours=None)

    def take(self, indices: Sequence[int] | np.ndarray) -> "LabelMaps":
        """Only these images, in this order."""
        if isinstance(self.maps, Sequence):
            return replace(self, maps=[self.maps[i] for i in indices])
        return replace(self, maps=self.maps[np.asarray(indices, dtype=np.int64)])


def frequencies_of(maps: LabelMaps, doing: str) -> np.ndarray:
    """The share of each class in the labelled pixels of those images that it is in, [K] float64; 0 where it is in none.

    doing  what the progress bar calls it
    """
    own, around = np.zeros(len(maps.classes)), np.zeros(len(maps.classes))
    for image in track(range(len(maps)), doing, len(maps)):
        counts = maps[image].counts()[: len(maps.classes)]
        own += counts
        around += np.where(counts > 0, counts.sum(), 0)
    return own / np.maximum(around, 1)
