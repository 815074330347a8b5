"""The objects of all images of a split, in a few flat arrays: a million take little memory, which processes share."""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from saccade.geometry.masks import Mask, Polygon, Runs
from saccade.geometry.view import Size
from saccade.structures import Instances, Skeleton


@dataclass(frozen=True, eq=False)
class PackedMasks:
    """The masks of N objects: polygons, runs, or none.

    ring_starts   [N + 1] int64: object n has the rings ring_starts[n] to ring_starts[n + 1]; none if it is no polygon
    point_starts  [R + 1] int64: ring r has the points point_starts[r] to point_starts[r + 1]
    points        [V, 2] float32 (x, y), original pixels
    count_starts  [N + 1] int64: object n has the runs count_starts[n] to count_starts[n + 1]; none if it has no runs
    counts        [C] uint32, as in `Runs`, of masks as large as the image
    """

    ring_starts: np.ndarray
    point_starts: np.ndarray
    points: np.ndarray
    count_starts: np.ndarray
    counts: np.ndarray

    def __len__(self) -> int:
        return len(self.ring_starts) - 1

    def get(self, n: int, size: Size) -> Mask | None:
        """The mask of object n; its arrays are views of the packed ones.

        size  (height, width) of its image
        """
        first, last = self.ring_starts[n : n + 2]
        if first < last:
            starts = self.point_starts[first : last + 1]
            return Polygon(tuple(self.points[a:b] for a, b in itertools.pairwise(starts)))
        begin, end = self.count_starts[n : n + 2]
        return Runs(size, self.counts[begin:end]) if begin < end else None

    def masked(self) -> np.ndarray:
        """[N] bool: which objects have a mask."""
        return (np.diff(self.ring_starts) > 0) | (np.diff(self.count_starts) > 0)

    def take(self, chosen: np.ndarray) -> "PackedMasks":
        """Only these objects, [M] int64, in this order."""
        ring_starts, rings = gathered(self.ring_starts, chosen)
        point_starts, points = gathered(self.point_starts, rings)
        count_starts, counts = gathered(self.count_starts, chosen)
        return PackedMasks(ring_starts, point_starts, self.points[points], count_starts, self.counts[counts])

    @staticmethod
    def pack(masks: Sequence[Mask | None]) -> "PackedMasks":
        """From one mask an object."""
        polygons = [mask.rings if isinstance(mask, Polygon) else () for mask in masks]
        rings = [ring for own in polygons for ring in own]
        runs = [mask.counts if isinstance(mask, Runs) else () for mask in masks]
        return PackedMasks(
            starts_of([len(own) for own in polygons]),
            starts_of([len(ring) for ring in rings]),
            np.concatenate([np.zeros((0, 2)), *rings]).astype(np.float32),
            starts_of([len(own) for own in runs]),
            np.concatenate([np.zeros(0), *runs]).astype(np.uint32),
        )


@dataclass(frozen=True, eq=False)
class Objects:
    """The objects of M images, N together. `objects[i]` are those of image i.

    starts     [M + 1] int64: image i has the objects starts[i] to starts[i + 1]
    sizes      [M, 2] int32 (height, width) of the upright images, as far as the annotation or the file says; else 0
    boxes      [N, 4] float64 xyxy, original pixels
    labels     [N] int64, 0..K-1
    crowd      [N] bool: a region with many of them, no single one (COCO)
    difficult  [N] bool: not counted for or against (Pascal VOC)
    areas      [N] float64, square pixels of the mask as the annotation says; nan where it does not
    masks      of every object, or None where the format has none
    keypoints  [N, P, 3] float32 (x, y, visibility), as in `Instances`, or None where there are none
    skeleton   what the P keypoints are; None where there are none
    ids        [N] int64: what the annotation calls the object: its id, its place in the file, or its line
    noun       what `ids` count: "annotation", "object", "line"
    files      the annotation's file, for error messages: one an image, or one for all
    image_ids  [M] int64: what the annotation calls the images; None where it has no numbers for them (COCO does)
    class_ids  [K] int64: what it calls the classes; None where labels are what the file has, or stand for names
    """

    starts: np.ndarray
    sizes: np.ndarray
    boxes: np.ndarray
    labels: np.ndarray
    crowd: np.ndarray
    difficult: np.ndarray
    areas: np.ndarray
    masks: PackedMasks | None
    keypoints: np.ndarray | None
    skeleton: Skeleton | None
    ids: np.ndarray
    noun: str
    files: Sequence[str]
    image_ids: np.ndarray | None = None
    class_ids: np.ndarray | None = None

    def __post_init__(self) -> None:
        count = int(self.starts[-1])
        columns = ("boxes", "labels", "crowd", "difficult", "areas", "masks", "keypoints", "ids")
        for name in columns:
            column = getattr(self, name)
            if column is not None and len(column) != count:
                raise ValueError(f"Objects.{name} must have {count} entries, as starts says, but has {len(column)}")
        if self.image_ids is not None and len(self.image_ids) != len(self):
            raise ValueError(f"Objects of {len(self)} images got {len(self.image_ids)} image_ids")
        if len(self.sizes) != len(self) or len(self.files) not in (1, len(self)):
            raise ValueError(f"Objects of {len(self)} images got {len(self.sizes)} sizes and {len(self.files)} files")
        if (self.keypoints is None) != (self.skeleton is None):
            raise ValueError("Objects needs keypoints and skeleton together, or neither")

    def __len__(self) -> int:
        return len(self.starts) - 1

    @property
    def count(self) -> int:
        """N, the objects of all images together."""
        return int(self.starts[-1])

    @property
    def images(self) -> np.ndarray:
        """[N] int64: which image each object is in."""
        return np.repeat(np.arange(len(self)), np.diff(self.starts))

    def __getitem__(self, image: int) -> Instances:
        """The objects of one image."""
        mine = slice(int(self.starts[image]), int(self.starts[image + 1]))
        height, width = (int(length) for length in self.sizes[image])
        masks = None
        if self.masks is not None:
            masks = tuple(self.masks.get(n, (height, width)) for n in range(mine.start, mine.stop))
        return Instances(
            size=(height, width),
            boxes=self.boxes[mine],
            labels=self.labels[mine],
            crowd=self.crowd[mine],
            difficult=self.difficult[mine],
            areas=self.areas[mine],
            masks=masks,
            keypoints=None if self.keypoints is None else self.keypoints[mine],
        )

    def image_of(self, n: int) -> int:
        """The image that object n is in."""
        return int(np.searchsorted(self.starts, n, side="right")) - 1

    def where(self, n: int) -> str:
        """The place of object n, as error messages name it."""
        image = self.image_of(n)
        return f"{self.files[image if len(self.files) > 1 else 0]}: {self.noun} {self.ids[n]}"

    def take(self, indices: Sequence[int] | np.ndarray) -> "Objects":
        """Only these images, in this order."""
        indices = np.asarray(indices, dtype=np.int64)
        starts, chosen = gathered(self.starts, indices)
        files = self.files if len(self.files) == 1 else [self.files[i] for i in indices]
        image_ids = None if self.image_ids is None else self.image_ids[indices]
        own = {"starts": starts, "sizes": self.sizes[indices], "files": files, "image_ids": image_ids}
        return replace(self, **own, **self._columns(chosen))

    def only(self, keep: np.ndarray) -> "Objects":
        """Without the objects where `keep` [N] bool is False; every image stays."""
        before = np.concatenate([[0], np.cumsum(keep)])
        return replace(self, starts=before[self.starts], **self._columns(np.flatnonzero(keep)))

    def with_images(self, changed: Mapping[int, Instances]) -> "Objects":
        """With other objects in some images: as many in each as before, in their order."""
        boxes, sizes, areas = self.boxes.copy(), self.sizes.copy(), self.areas.copy()
        keypoints = None if self.keypoints is None else self.keypoints.copy()
        masks = None
        if self.masks is not None:
            of_image = zip(self.images.tolist(), range(self.count), strict=True)
            masks = [self.masks.get(n, (int(sizes[i, 0]), int(sizes[i, 1]))) for i, n in of_image]
        for image, instances in changed.items():
            mine = slice(int(self.starts[image]), int(self.starts[image + 1]))
            boxes[mine], sizes[image] = instances.boxes, instances.size
            if instances.areas is not None:
                areas[mine] = instances.areas
            if keypoints is not None:
                keypoints[mine] = instances.keypoints
            if masks is not None and instances.masks is not None:
                masks[mine] = instances.masks
        packed = None if masks is None else PackedMasks.pack(masks)
        return replace(self, boxes=boxes, sizes=sizes, areas=areas, keypoints=keypoints, masks=packed)

    def _columns(self, chosen: np.ndarray) -> dict[str, Any]:
        """What belongs to objects, of these objects [n] int64."""
        plain = ("boxes", "labels", "crowd", "difficult", "areas", "ids", "keypoints")
        columns = {name: column[chosen] for name in plain if (column := getattr(self, name)) is not None}
        return columns if self.masks is None else columns | {"masks": self.masks.take(chosen)}


def starts_of(lengths: Sequence[int] | np.ndarray) -> np.ndarray:
    """[n + 1] int64: where each of n parts of these lengths begins, and where the last one ends."""
    return np.concatenate([[0], np.cumsum(np.asarray(lengths, dtype=np.int64))]).astype(np.int64)


def gathered(starts: np.ndarray, chosen: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """What to take from a packed array so that only the chosen parts are left, in their order.

    starts  [n + 1] int64
    chosen  [m] int64, parts 0..n-1

    Returns the new starts [m + 1] and the indices into the packed array, both int64.
    """
    lengths = np.diff(starts)[chosen]
    fresh = starts_of(lengths)
    return fresh, np.arange(fresh[-1]) + np.repeat(starts[:-1][chosen] - fresh[:-1], lengths)
