"""Annotations of COCO's kind, packed as they come. `Collector` is fed lists of them and keeps flat arrays."""

import itertools
import re
from array import array
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
from msgspec import Struct

from saccade.data.findings import Findings
from saccade.data.formats.listed import short
from saccade.data.objects import Objects, PackedMasks, starts_of
from saccade.geometry.masks import FARTHEST, runs_from_compressed
from saccade.structures import Skeleton

LEFT_OUT, UNKNOWN = -1, -2  # in place of an image: one that was told of already, and one that is not listed
HUGE = 1 << 62  # an id beyond that is kept apart from numbers
NO_ID = np.iinfo(np.int64).min


class EncodedRuns(Struct):
    """A mask as run lengths: plain, or compressed into a text."""

    size: tuple[int, int]
    counts: str | list[int]


class Annotation(Struct, gc=False):
    """One object as the file has it."""

    id: int | str
    image_id: int | str
    category_id: int | str
    bbox: tuple[float, float, float, float]
    area: float | None = None
    iscrowd: int | bool | None = 0
    segmentation: list[list[float]] | EncodedRuns | None = None
    keypoints: list[float] | None = None


class _Fault(Exception):
    """What is wrong with one annotation, in words."""


class Collector:
    """Packs annotations as they come, and leaves out, with a finding, what cannot be.

    file      for error messages
    places    image id -> 0..M-1, or LEFT_OUT
    sizes     [M, 2] int32 (height, width), 0 where it is not known
    labels    category id -> 0..K-1
    posed     of each label, whether its keypoints are those of the skeleton
    skeleton  None reads no keypoints
    """

    def __init__(
        self,
        file: Path,
        places: Mapping[int | str, int],
        sizes: np.ndarray,
        labels: Mapping[int, int],
        posed: Sequence[bool],
        skeleton: Skeleton | None,
        findings: Findings,
    ) -> None:
        self.file, self.sizes = file, sizes
        self._places, self._labels = _Table(places), _Table(labels)
        self._image_ids, self._class_ids = _ids_of(places, len(sizes)), _ids_of(labels, len(labels))
        self.posed, self.skeleton, self.findings = posed, skeleton, findings
        self.nameless = 0  # annotations whose keypoints could not be read, because nobody says what they are
        self._columns = {
            "images": _Column(np.int32),
            "labels": _Column(np.int64),
            "ids": _Column(np.int64),
            "boxes": _Column(np.float64, 4),
            "areas": _Column(np.float64),
            "crowd": _Column(np.bool_),
        }
        if skeleton is not None:
            self._columns["keypoints"] = _Column(np.float32, len(skeleton.names), 3)
        self._masks = _Masks()

    def add(self, annotations: list[Annotation]) -> None:
        """Some more of them."""
        images = self._places.look_up([a.image_id for a in annotations])
        labels = self._labels.look_up([a.category_id for a in annotations])
        ids = _numbers([a.id for a in annotations])
        # Four times as fast as np.array of tuples.
        corners = itertools.chain.from_iterable([a.bbox for a in annotations])
        boxes = np.fromiter(corners, dtype=np.float64, count=4 * len(annotations)).reshape(-1, 4)
        areas = np.array([a.area for a in annotations], dtype=np.float64)
        far = (np.abs(boxes) > FARTHEST).any(axis=1) | (np.abs(areas) > FARTHEST**2)
        keep = (images >= 0) & (labels >= 0) & (ids != NO_ID) & ~far
        for n in np.flatnonzero(~keep & (images != LEFT_OUT)).tolist():
            self._tell(annotations[n], *_plain_fault(annotations[n], images[n], labels[n], ids[n]))
        keypoints = self._add_shapes(annotations, keep, images, labels)
        boxes[far] = 0  # those are left out; their sums could overflow
        boxes[:, 2:] += boxes[:, :2]
        columns = {"images": images, "labels": labels, "ids": ids, "boxes": boxes, "areas": areas}
        columns["crowd"] = np.array([bool(a.iscrowd) for a in annotations], dtype=bool)
        if keypoints is not None:
            columns["keypoints"] = keypoints
        for name, column in columns.items():
            self._columns[name].add(column[keep])

    def finish(self) -> Objects:
        """All of them by image, within an image in the order of the file."""
        masks = self._masks.packed()
        images, ids = self._columns.pop("images").array(), self._columns.pop("ids").array()
        order = np.argsort(images, kind="stable")
        self._number_anew(ids)
        in_order = bool((order[1:] > order[:-1]).all())
        starts = starts_of(np.bincount(images, minlength=len(self.sizes)))
        places = np.empty(len(images), dtype=np.int32)
        places[order] = np.arange(len(order), dtype=np.int32)
        ids, masks = ids[order], masks if masks is None or in_order else masks.take(order)
        count = len(order)
        del images, order  # what follows is the largest, and wants their room

        def column(name: str) -> np.ndarray:
            return self._columns.pop(name).array(places)

        return Objects(
            starts=starts,
            sizes=self.sizes,
            boxes=column("boxes"),
            labels=column("labels"),
            crowd=column("crowd"),
            difficult=np.zeros(count, dtype=bool),
            areas=column("areas"),
            masks=masks,
            keypoints=None if self.skeleton is None else column("keypoints"),
            skeleton=self.skeleton,
            ids=ids,
            noun="annotation",
            files=[str(self.file)],
            image_ids=self._image_ids,
            class_ids=self._class_ids,
        )

    def _number_anew(self, ids: np.ndarray) -> None:
        """Give each annotation with the id of one before it a new one above all others, in place."""
        order = np.argsort(ids, kind="stable")
        ranked = ids[order]
        repeated = np.sort(order[1:][ranked[1:] == ranked[:-1]])
        for n in repeated.tolist():
            where = f"{self.file}: annotation {ids[n]}"
            reason = "its id is another annotation's too"
            self.findings.add("duplicate id", where, reason, "give each one its own", done="numbered anew")
        if len(repeated):
            fresh = 1 + max(0, int(ids[ids < HUGE].max(initial=0)))
            ids[repeated] = np.arange(fresh, fresh + len(repeated))

    def _add_shapes(
        self, annotations: list[Annotation], keep: np.ndarray, images: np.ndarray, labels: np.ndarray
    ) -> np.ndarray | None:
        """Their masks and keypoints; where these are broken, `keep` becomes False. The keypoints [n, P, 3] float32."""
        rings, runs = np.zeros((2, len(annotations)), dtype=np.int64)
        skeleton = self.skeleton
        keypoints = None if skeleton is None else np.zeros((len(annotations), len(skeleton.names), 3), np.float32)
        shaped = [n for n, a in enumerate(annotations) if a.segmentation or a.keypoints]
        for n in shaped:
            annotation = annotations[n]
            if not keep[n]:
                continue
            try:
                if annotation.keypoints and keypoints is not None and self.posed[labels[n]]:
                    keypoints[n] = _keypoints(annotation.keypoints, keypoints.shape[1])
                elif annotation.keypoints:
                    self.nameless += 1
                if annotation.segmentation:
                    rings[n], runs[n] = self._masks.add(annotation.segmentation, self.sizes[images[n]])
            except _Fault as fault:
                keep[n] = False
                self._tell(annotation, "broken annotation", str(fault), "correct or remove this annotation")
        self._masks.close(rings[keep], runs[keep])
        return keypoints

    def _tell(self, annotation: Annotation, kind: str, reason: str, advice: str) -> None:
        self.findings.add(kind, f"{self.file}: annotation {short(annotation.id)}", reason, advice)


class _Column:
    """An array [n, *shape] that grows by pieces, which are let go one by one as they are joined."""

    def __init__(self, dtype: type[np.generic], *shape: int) -> None:
        self._dtype, self._shape = dtype, shape
        self._pieces: list[np.ndarray] = []

    def add(self, values: "np.ndarray | list[float] | list[int]") -> None:
        self._pieces.append(np.array(values, dtype=self._dtype))

    def array(self, places: np.ndarray | None = None) -> np.ndarray:
        """All of it; nothing is left here.

        places  [n] where each row goes, a permutation; None leaves them in their order
        """
        end = sum(map(len, self._pieces))
        joined = np.empty((end, *self._shape), dtype=self._dtype)
        while self._pieces:
            piece = self._pieces.pop()
            begin = end - len(piece)
            if places is None:
                joined[begin:end] = piece
            else:
                joined[places[begin:end]] = piece
            end = begin
        return joined


class _Masks:
    """Masks on their way into `PackedMasks`."""

    def __init__(self) -> None:
        self._rings, self._runs, self._lengths = _Column(np.int64), _Column(np.int64), _Column(np.int64)
        self._points, self._counts = _Column(np.float32, 2), _Column(np.uint32)
        self._fresh: tuple[list[int], list[float]] = [], []  # how long rings are, and their points, not yet packed

    def add(self, segmentation: "list[list[float]] | EncodedRuns", size: np.ndarray) -> tuple[int, int]:
        """One more mask, of an image of `size` (height, width): how many rings it has, and how many runs."""
        if isinstance(segmentation, EncodedRuns):
            counts = _counts(segmentation, (int(size[0]), int(size[1])))
            self._counts.add(counts)
            return 0, len(counts)
        for ring in segmentation:
            if len(ring) % 2 or len(ring) < 6:
                raise _Fault(f"a polygon has {len(ring)} numbers; expected x, y of 3 points or more")
            if max(ring) > FARTHEST or min(ring) < -FARTHEST:
                raise _Fault(f"a polygon reaches {max(ring, key=abs):g}; expected pixels, at most {FARTHEST:g}")
        lengths, points = self._fresh
        for ring in segmentation:
            lengths.append(len(ring) // 2)
            points.extend(ring)
        return len(segmentation), 0

    def close(self, rings: np.ndarray, runs: np.ndarray) -> None:
        """Some objects more are complete: how many rings and how many runs each has, [n] int64."""
        self._rings.add(rings)
        self._runs.add(runs)
        self._lengths.add(self._fresh[0])
        self._points.add(np.array(self._fresh[1]).reshape(-1, 2))
        self._fresh = [], []

    def packed(self) -> PackedMasks | None:
        """All of them; None when there are none."""
        lengths, counts = self._lengths.array(), self._counts.array()
        if not len(lengths) and not len(counts):
            return None
        return PackedMasks(
            ring_starts=starts_of(self._rings.array()),
            point_starts=starts_of(lengths),
            points=self._points.array(),
            count_starts=starts_of(self._runs.array()),
            counts=counts,
        )


def whole(id: int | str) -> int | str:
    """An id as a number where it is one, perhaps written as a text."""
    if isinstance(id, str) and re.fullmatch(r"-?\d{1,18}", id, re.ASCII):
        return int(id)
    return id


def _ids_of(places: Mapping[Any, int], count: int) -> np.ndarray | None:
    """[count] int64, the id of each image or class 0..count-1; None when they are not all numbers."""
    ids = np.zeros(count, dtype=np.int64)
    for id, place in places.items():
        if place >= 0:
            if not isinstance(id, int) or abs(id) >= HUGE:
                return None
            ids[place] = id
    return ids


class _Table:
    """What each id stands for, looked up many at a time."""

    def __init__(self, meanings: Mapping[Any, int]) -> None:
        self._meanings = meanings
        ids = np.array([id for id in meanings if isinstance(id, int) and abs(id) < HUGE], dtype=np.int64)
        order = np.argsort(ids)
        self._ids = ids[order]
        self._found = np.array([meanings[id] for id in ids.tolist()], dtype=np.int64)[order]

    def look_up(self, ids: list[int | str]) -> np.ndarray:
        """[n] int64, UNKNOWN for an id that is not there."""
        try:
            wanted = _as_array(ids)
            places = np.minimum(np.searchsorted(self._ids, wanted), len(self._ids) - 1)
            return np.where(self._ids[places] == wanted, self._found[places], UNKNOWN)
        except (TypeError, OverflowError, IndexError):  # texts or huge numbers among them, or a table without numbers
            return np.array([self._meanings.get(whole(id), UNKNOWN) for id in ids], dtype=np.int64)


def _numbers(ids: list[int | str]) -> np.ndarray:
    """[n] int64; NO_ID for what is no whole number of 64 bits."""
    try:
        return _as_array(ids)
    except (TypeError, OverflowError):
        plain = map(whole, ids)
        return np.array([id if isinstance(id, int) and abs(id) < 1 << 63 else NO_ID for id in plain], dtype=np.int64)


def _as_array(ids: list[int | str]) -> np.ndarray:
    """[n] int64; raises TypeError where one is a text, which numpy would take for a number, OverflowError if huge."""
    return np.frombuffer(array("q", cast(list[int], ids)), dtype=np.int64)


def _plain_fault(annotation: Annotation, image: int, label: int, id: int) -> tuple[str, str, str]:
    """Kind, reason and advice for an annotation that is not usable, whatever its mask."""
    if image == UNKNOWN:
        reason = f"its image_id {short(annotation.image_id)} is that of no image in the file"
        return "unknown image", reason, "add the image to the list, or remove this annotation"
    if label == UNKNOWN:
        reason = f"its category_id {short(annotation.category_id)} is that of no category in the file"
        return "unknown category", reason, "add the category to the list, or remove this annotation"
    if id == NO_ID:
        return "broken annotation", "its id is no whole number of 64 bits", "number the annotations"
    if max(map(abs, annotation.bbox)) > FARTHEST:
        reason = f"its bbox is {list(annotation.bbox)}; expected x, y, width, height in pixels, at most {FARTHEST:g}"
    else:
        reason = f"its area is {annotation.area:g}; expected square pixels"
    return "broken annotation", reason, "correct or remove this annotation"


def _keypoints(numbers: list[float], count: int) -> np.ndarray:
    """[P, 3] (x, y, visibility)."""
    if len(numbers) != 3 * count:
        raise _Fault(f"its keypoints are {len(numbers)} numbers; expected {3 * count}: x, y, visibility of {count}")
    points = np.array(numbers).reshape(count, 3)
    if np.abs(points).max() > FARTHEST:
        raise _Fault(f"a keypoint is at {np.abs(points).max():g}; expected pixels, at most {FARTHEST:g}")
    if not np.isin(points[:, 2], (0, 1, 2)).all():
        wrong = points[~np.isin(points[:, 2], (0, 1, 2)), 2][0]
        raise _Fault(f"a keypoint has the visibility {wrong:g}; expected 0 (not marked), 1 (hidden) or 2 (seen)")
    return points


def _counts(runs: EncodedRuns, size: tuple[int, int]) -> np.ndarray:
    """[R] uint32, as in `Runs`."""
    if runs.size != size:
        known = f"is {size[0]} x {size[1]}" if size[0] else "has no size that is known"
        raise _Fault(
            f"its runs are of an image {short(runs.size[0])} high, {short(runs.size[1])} wide, but its image {known}"
        )
    if isinstance(runs.counts, str):
        try:
            return runs_from_compressed(runs.counts, size).counts
        except ValueError as error:
            raise _Fault(str(error)) from None
    pixels = size[0] * size[1]
    if not runs.counts or min(runs.counts) < 0 or sum(runs.counts) != pixels:
        raise _Fault(f"its runs must be 0 or more and add up to the {pixels:,} pixels of the image")
    return np.array(runs.counts, dtype=np.uint32)
