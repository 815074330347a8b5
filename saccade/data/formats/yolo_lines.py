"""The lines of YOLO's label files: what they say of an image, gathered in flat arrays."""

from array import array
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from saccade.data.findings import DataError, Findings
from saccade.data.formats import coco_skeletons
from saccade.data.formats.coco_skeletons import COCO_NAMES, mirror_of
from saccade.data.formats.texts import text_of
from saccade.data.objects import Objects, PackedMasks, starts_of
from saccade.geometry.view import Size
from saccade.structures import Skeleton

FARTHEST = 1e6  # image sizes; a coordinate beyond is none
MOST_POINTS = 1000  # keypoints of one thing
MOST_FAULTS = 100  # broken lines of one file


class _Fault(Exception):
    """What is wrong with a line, in words; where is said by who catches it."""


class Lines:
    """The lines of all label files of a split.

    names  of the class ids that there are; None where nobody says
    shape  how many keypoints an object has, and how many numbers (2 or 3) each; None where they have none
    """

    def __init__(self, names: dict[int, str] | None, shape: tuple[int, int] | None) -> None:
        self.names, self.shape = names, shape
        self.images: list[Path] = []
        self.files: list[str] = []
        self.sizes: list[Size] = []
        self.missing: list[int] = []  # images without a file of labels
        self.seen: set[int] = set()
        self.counts: list[int] = []  # objects an image
        self.lengths: list[int] = []  # points an object: those of its polygon, 0 for a box
        self.ids, self.numbers = array("q"), array("q")  # of the class; of the line
        self.boxes, self.points, self.keypoints = array("d"), array("d"), array("d")  # in image sizes

    def add(self, image: Path, file: Path, size: Size, findings: Findings) -> None:
        """One more image with its file of labels; an image whose file is broken as a whole is left out.

        size  (height, width), 0 where the image cannot be read: then its objects are left out
        """
        text = ""
        if file.is_file():
            try:
                text = text_of(file)
            except DataError as error:
                reason = str(error).removeprefix(f"{file} ")
                findings.add("broken annotation file", str(file), reason, "or remove it and its image")
                return
        else:
            self.missing.append(len(self.images))
        if 0 in size and text.strip():
            reason = f"cannot be read as an image, so that the coordinates in {file} have no measure"
            findings.add("broken image", str(image), reason, "replace it, or remove it and its labels")
            text = ""
        before = len(self.ids)
        self._add_lines(text.splitlines(), file, findings)
        self.images.append(image)
        self.files.append(str(file))
        self.sizes.append(size)
        self.counts.append(len(self.ids) - before)

    def _add_lines(self, lines: list[str], file: Path, findings: Findings) -> None:
        faults = 0
        for number, line in enumerate(lines, 1):
            try:
                if line and not line.isspace():
                    self._add_line(line, number)
            except _Fault as fault:
                findings.add("broken annotation", f"{file}: line {number}", str(fault), "mend or remove the line")
                faults += 1
            if faults == MOST_FAULTS:
                reason = f"has {faults} broken lines before it; what follows was not read"
                findings.add("broken annotation file", f"{file}: line {number}", reason, "see whether it has labels")
                return

    def _add_line(self, line: str, number: int) -> None:
        id, numbers = _numbers(line)
        if self.names is not None and id not in self.names:
            raise _Fault(f"the class id {id} has no name; known are {min(self.names)} to {max(self.names)}")
        polygon, keypoints = [], []
        if self.shape is not None:
            keypoints = _keypoints(numbers, *self.shape)
        elif len(numbers) >= 6 and len(numbers) % 2 == 0:
            polygon = numbers
        elif len(numbers) != 4:
            raise _Fault(
                f"has {len(numbers) + 1} numbers; expected 5 for a box (id, centre x, y, width, height) "
                f"or 7, 9, 11 ... for a polygon (id, x, y, x, y, x, y ...)"
            )
        if polygon:
            xs, ys = polygon[::2], polygon[1::2]
            self.boxes.extend((min(xs), min(ys), max(xs), max(ys)))
        else:
            x, y, width, height = numbers[:4]
            self.boxes.extend((x - width / 2, y - height / 2, x + width / 2, y + height / 2))
        self.ids.append(id)
        self.seen.add(id)
        self.numbers.append(number)
        self.lengths.append(len(polygon) // 2)
        self.points.extend(polygon)
        self.keypoints.extend(keypoints)

    def objects(self, numbers: list[int], skeleton: Skeleton | None) -> Objects:
        """All of them, in pixels.

        numbers  the class ids, in the order of their labels 0..K-1
        """
        sizes = np.array(self.sizes, dtype=np.int32).reshape(-1, 2)
        scales = np.repeat(sizes[:, ::-1].astype(np.float64), self.counts, axis=0)  # (width, height) of each object's
        count, lengths = len(self.ids), np.array(self.lengths, dtype=np.int64)
        masks = None
        if lengths.any():
            points = _array(self.points).reshape(-1, 2) * np.repeat(scales, lengths, axis=0)
            none, polygons = np.zeros(count + 1, dtype=np.int64), lengths > 0
            ring_starts, point_starts = starts_of(polygons), starts_of(lengths[polygons])
            masks = PackedMasks(
                ring_starts, point_starts, points.astype(np.float32), none, np.zeros(0, dtype=np.uint32)
            )
        keypoints = None
        if skeleton is not None:
            keypoints = _array(self.keypoints).reshape(count, -1 if count else len(skeleton.names), 3)
            keypoints = (keypoints * np.pad(scales, ((0, 0), (0, 1)), constant_values=1)[:, None]).astype(np.float32)
        return Objects(
            starts=starts_of(self.counts),
            sizes=sizes,
            boxes=_array(self.boxes).reshape(-1, 4) * np.tile(scales, 2),
            labels=np.searchsorted(np.array(numbers, dtype=np.int64), np.array(self.ids, dtype=np.int64)),
            crowd=np.zeros(count, dtype=bool),
            difficult=np.zeros(count, dtype=bool),
            areas=np.full(count, np.nan),
            masks=masks,
            keypoints=keypoints,
            skeleton=skeleton,
            ids=np.array(self.numbers, dtype=np.int64),
            noun="line",
            files=self.files if self.files else [""],
        )


def _array(numbers: "array[float]") -> np.ndarray:
    return np.array(numbers, dtype=np.float64)


def _numbers(line: str) -> tuple[int, list[float]]:
    """The class id of a line, and the other numbers."""
    words = line.split()
    try:
        numbers = [float(word) for word in words]
        good = "_" not in line
    except ValueError:
        numbers, good = [], False
    if not good or not all(-FARTHEST <= number <= FARTHEST for number in numbers[1:]):
        word = next(word for word in words if not _is_number(word))
        raise _Fault(f"{word[:50]!r} is no coordinate; expected numbers, 0 to 1 inside the image")
    if not numbers[0].is_integer() or not 0 <= numbers[0] < 1e9:
        raise _Fault(f"begins with {words[0][:50]!r}; expected a class id, 0 or more")
    return int(numbers[0]), numbers[1:]


def _is_number(word: str) -> bool:
    try:
        return abs(float(word)) <= FARTHEST and "_" not in word
    except ValueError:
        return False


def _keypoints(numbers: list[float], count: int, width: int) -> list[float]:
    """(x, y, visibility) of each keypoint; where a file has no visibility, (0, 0) is a keypoint that is not marked."""
    if len(numbers) != 4 + count * width:
        raise _Fault(
            f"has {len(numbers) + 1} numbers; expected {5 + count * width}: id, centre x, y, width, height, "
            f"and {count} keypoints of {width} numbers, as kpt_shape says"
        )
    if width == 3:
        strange = [value for value in numbers[6::3] if value not in (0, 1, 2)]
        if strange:
            raise _Fault(f"a keypoint has the visibility {strange[0]:g}; expected 0 not marked, 1 hidden or 2 seen")
        return numbers[4:]
    pairs = zip(numbers[4::2], numbers[5::2], strict=True)
    return [value for x, y in pairs for value in (x, y, 0.0 if x == 0 and y == 0 else 2.0)]


def skeleton_of(about: dict[str, Any], file: Path) -> tuple[Skeleton, tuple[int, int]]:
    """What the keypoints are, and `kpt_shape`: how many there are, and how many numbers each has.

    17 keypoints without names and with COCO's `flip_idx` are COCO's. Without `flip_idx`, the names tell left from
    right. Sigmas are those that are published for these names; edges are not in the file.
    """
    shape = _whole(about["kpt_shape"], "kpt_shape", file)
    if len(shape) != 2 or not 1 <= shape[0] <= MOST_POINTS or shape[1] not in (2, 3):
        raise DataError(f"{file}: kpt_shape is {shape}; expected [17, 3]: how many keypoints, and 2 or 3 numbers each")
    count = shape[0]
    mirror = tuple(_whole(about["flip_idx"], "flip_idx", file)) if "flip_idx" in about else None
    if "kpt_names" in about:
        names = about["kpt_names"]
        if isinstance(names, dict):  # names by class; they share the skeleton
            names = next(iter(names.values()), None)
    else:
        names = list(COCO_NAMES) if mirror == mirror_of(COCO_NAMES) else [str(k) for k in range(count)]
    if not isinstance(names, list) or len(names) != count or not all(isinstance(name, str) for name in names):
        raise DataError(f"{file}: kpt_names is {str(names)[:50]!r}; expected {count} names, as kpt_shape says")
    try:
        known = known_skeleton(tuple(names))
        return replace(known, mirror=known.mirror if mirror is None else mirror), (count, shape[1])
    except ValueError as error:
        raise DataError(f"{file}: flip_idx: {error}") from None


def known_skeleton(names: tuple[str, ...]) -> Skeleton:
    """What can be known of keypoints from their names alone."""
    known = coco_skeletons.skeleton_of([(names, ())], [])
    assert known is not None  # there are names
    return known


def _whole(values: Any, key: str, file: Path) -> list[int]:
    """A list of whole numbers."""
    good = isinstance(values, list) and all(isinstance(value, str) and value.strip().isdecimal() for value in values)
    if not good or any(len(value) > 9 for value in values):
        raise DataError(f"{file}: {key} is {str(values)[:50]!r}; expected a list of whole numbers")
    return [int(value) for value in values]
