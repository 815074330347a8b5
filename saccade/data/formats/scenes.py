"""Scenes: handwritten digits on textured grounds, with exact boxes, masks, keypoints and pixel labels, at any size.

Everything follows from a key: scene i of a split is the same picture at every size, drawn anew.
"""

import math
from dataclasses import dataclass
from typing import overload

import cv2
import numpy as np

from saccade.data.formats.scene_plan import INK, SPLITS, Plan, plan_of
from saccade.data.label_maps import LabelMaps
from saccade.data.objects import Objects, PackedMasks, starts_of
from saccade.data.source import Source, Split
from saccade.errors import UsageError
from saccade.keyed import generator
from saccade.progress import track
from saccade.structures import Skeleton

SIDES = (64, 1024)
# The picture, of channels from 0 to 1. Its colours, of grounds and digits alike, lie on one sphere.
COLOUR = 0.22  # the sphere's radius
APART = 0.9 * COLOUR  # how far each is from the others of its image, where there is room
LIGHT, GRAIN = 0.15, 0.045  # how bright and dark the light makes a corner; the noise of single pixels
TEXTURE, NOISE, GRAINS = 64, 48, 128  # cells across of a ground, of the noise it is made from, and of the grain
EDGE = 1.6  # how steep the enlarged ink is at the edge of a stroke, a pixel of the handwriting

CLASSES = tuple(str(k) for k in range(10))
SKELETON = Skeleton(("top", "left", "right"), ((1, 0), (0, 2)), (0, 2, 1), (0.05, 0.05, 0.05))


def scenes(side: int = 256) -> Source:
    """2,000 scenes to train on and 500 to test on; pictures and label maps are drawn when they are asked for.

    Masks are of the pixels that are seen, boxes lie tight around them, as in COCO. A digit's keypoints are its ends at
    the top, the left and the right as it was written, and stay with it when it is turned.

    side  height and width of every image, 64 to 1024

    Raises UsageError for another side.
    """
    if not SIDES[0] <= side <= SIDES[1]:
        raise UsageError(f"scenes have a side of {SIDES[0]} to {SIDES[1]} pixels but got {side}; say scenes-256")
    splits = {}
    for name in SPLITS:
        plan = plan_of(name)
        everything = np.arange(len(plan))
        maps = SceneMaps(plan, side, everything)
        splits[name] = Split(
            ScenePictures(plan, side, everything),
            [f"{name}/{index:04d}" for index in everything],
            objects=_objects(plan, side),
            label_maps=LabelMaps(maps, ("background", *CLASSES), {label: label for label in range(11)}),
        )
    return Source("scenes" if side == 256 else f"scenes-{side}", "built in", CLASSES, splits)


@dataclass(frozen=True, eq=False)
class _OnDemand:
    """Something of `scenes` [M] int64 of a plan, at a size."""

    plan: Plan
    side: int
    scenes: np.ndarray

    def __len__(self) -> int:
        return len(self.scenes)


class ScenePictures(_OnDemand):
    """The pictures, drawn when they are asked for: `pictures[i]` is [side, side, 3] uint8 RGB."""

    @overload
    def __getitem__(self, index: int) -> np.ndarray: ...

    @overload
    def __getitem__(self, index: np.ndarray) -> "ScenePictures": ...

    def __getitem__(self, index: int | np.ndarray) -> "np.ndarray | ScenePictures":
        if isinstance(index, np.ndarray):
            return ScenePictures(self.plan, self.side, self.scenes[index])
        return paint(self.plan, int(self.scenes[index]), self.side)


class SceneMaps(_OnDemand):
    """The label maps, drawn when they are asked for: `maps[i]` is [side, side] uint8, 0 the ground, 1 the digit 0."""

    @overload
    def __getitem__(self, index: int) -> np.ndarray: ...

    @overload
    def __getitem__(self, index: np.ndarray) -> "SceneMaps": ...

    def __getitem__(self, index: int | np.ndarray) -> "np.ndarray | SceneMaps":
        if isinstance(index, np.ndarray):
            return SceneMaps(self.plan, self.side, self.scenes[index])
        scene = int(self.scenes[index])
        canvas, _ = self.plan.labelled(scene, self.side)
        labels = self.plan.labels[self.plan.starts[scene] : self.plan.starts[scene + 1]]
        return np.concatenate([[0], labels + 1]).astype(np.uint8)[canvas]


def _objects(plan: Plan, side: int) -> Objects:
    """What is seen of every digit at a size."""
    boxes, areas, counts, keypoints = [], [], [], []
    for scene in track(range(len(plan)), f"outlining {plan.split} scenes", len(plan)):
        canvas, windows = plan.labelled(scene, side)
        for number, (window, digit) in enumerate(zip(windows, plan.of(scene), strict=True), 1):
            seen = canvas[window] == number
            top, left = window[0].start, window[1].start
            rows, columns = np.flatnonzero(seen.any(axis=1)), np.flatnonzero(seen.any(axis=0))
            boxes.append((left + columns[0], top + rows[0], left + columns[-1] + 1, top + rows[-1] + 1))
            areas.append(np.count_nonzero(seen))
            counts.append(_runs(seen, top, left, side))
            keypoints.append(_keypoints(plan, digit, canvas, number))
    count = len(boxes)
    none = np.zeros(count, dtype=bool)
    masks = PackedMasks(
        ring_starts=np.zeros(count + 1, dtype=np.int64),
        point_starts=np.zeros(1, dtype=np.int64),
        points=np.zeros((0, 2), dtype=np.float32),
        count_starts=starts_of([len(own) for own in counts]),
        counts=np.concatenate(counts).astype(np.uint32),
    )
    return Objects(
        starts=plan.starts,
        sizes=np.full((len(plan), 2), side, dtype=np.int32),
        boxes=np.array(boxes, dtype=np.float64),
        labels=plan.labels,
        crowd=none,
        difficult=none,
        areas=np.array(areas, dtype=np.float64),
        masks=masks,
        keypoints=np.array(keypoints, dtype=np.float32),
        skeleton=SKELETON,
        ids=np.arange(count),
        noun="digit",
        files=[f"scenes, {plan.split}"],
    )


def _runs(seen: np.ndarray, top: int, left: int, side: int) -> np.ndarray:
    """The counts of `Runs` of a mask [h, w] bool that stands at (top, left) and is not as high as the image."""
    height, width = seen.shape
    columns = np.zeros((width, height + 2), dtype=bool)
    columns[:, 1:-1] = seen.T
    column, row = np.divmod(np.flatnonzero(columns[:, 1:] != columns[:, :-1]), height + 1)
    return np.diff((left + column) * side + top + row, prepend=0, append=side * side)


def _keypoints(plan: Plan, digit: int, canvas: np.ndarray, number: int) -> list[tuple[float, float, int]]:
    """(x, y, visibility) of each: 1 where a digit in front hides it, else 2."""
    side = len(canvas)
    a, b, c, d, e, f = plan.affines[digit].tolist()
    found = []
    for u, v in plan.points[digit].tolist():
        x, y = side * (a * u + b * v + c), side * (d * u + e * v + f)
        found.append((x, y, 1 if canvas[int(y), int(x)] > number else 2))
    return found


def paint(plan: Plan, scene: int, side: int) -> np.ndarray:
    """The picture of a scene, [side, side, 3] uint8 RGB.

    The ground is as colourful as the digits: they have no brightness and no colour of their own, and are told by their
    shape.
    """
    rng = generator("scenes", plan.split, scene, "colours")
    middle = rng.uniform(0.42, 0.58) + rng.normal(0, 0.04, 3)
    colours: list[np.ndarray] = []
    for _ in range(4):
        colours.append(_another(rng, colours))
    planes = _ground(rng, middle + np.array(colours), side)
    for digit in plan.of(scene):
        colours.append(_another(rng, colours))
        window, ink, affine = plan.drawn(digit, side)
        cell = math.hypot(affine.a, affine.d)
        # Half covered just where the ink is that of the mask's edge, and from none to all within a pixel.
        cover = np.clip(0.5 + (EDGE * cell) * (ink - INK), 0, 1)
        here = planes[:, *window]
        here += cover * ((middle + colours[-1]).astype(np.float32)[:, None, None] - here)
    grain = cv2.resize(rng.standard_normal((GRAINS, GRAINS), dtype=np.float32), (side, side))
    light = cv2.resize(rng.uniform(-LIGHT, LIGHT, (2, 2)).astype(np.float32), (side, side))
    planes += GRAIN * grain + light
    return cv2.merge([np.rint(255 * np.clip(plane, 0, 1)).astype(np.uint8) for plane in planes])


def _another(rng: np.random.Generator, colours: list[np.ndarray]) -> np.ndarray:
    """A further colour [3] float64 of the sphere: the first of some that is far from the others, else the farthest."""
    found = rng.standard_normal((64, 3))
    found *= COLOUR / np.linalg.norm(found, axis=1, keepdims=True)
    others = np.array(colours).reshape(-1, 1, 3)
    nearest = np.linalg.norm(found - others, axis=2).min(axis=0, initial=np.inf)
    enough = nearest >= APART
    return found[enough.argmax() if enough.any() else nearest.argmax()]


def _ground(rng: np.random.Generator, colours: np.ndarray, side: int) -> np.ndarray:
    """[3, side, side] float32: patches of four colours [4, 3], washed out or sharp, along or across, large or small."""
    sharp = math.exp(rng.uniform(math.log(0.7), math.log(4)))
    noise = [cv2.resize(_texture(rng), (side, side), interpolation=cv2.INTER_CUBIC) for _ in range(2)]
    first, second = (np.clip(0.5 + 0.5 * sharp * field, 0, 1).ravel() for field in noise)
    # Between the four corners of a square.
    a, b, c, d = colours
    mixture = np.stack([a, b - a, c - a, a - b - c + d], axis=1).astype(np.float32)
    return (mixture @ np.stack([np.ones_like(first), first, second, first * second])).reshape(3, side, side)


def _texture(rng: np.random.Generator) -> np.ndarray:
    """[TEXTURE, TEXTURE] float32 noise, of mean 0 and deviation 1: large, middling and small patches, all slanted."""
    noise = rng.standard_normal((NOISE, NOISE), dtype=np.float32)
    angle, stretch = rng.uniform(0, math.pi), math.exp(rng.uniform(0, math.log(4)))
    patches = math.exp(rng.uniform(math.log(6), math.log(20)))  # across the image
    slant = np.array([(math.cos(angle) / stretch, math.sin(angle) / stretch), (-math.sin(angle), math.cos(angle))])
    field = np.zeros((TEXTURE, TEXTURE), dtype=np.float32)
    for times, weight in ((0.35, 0.5), (1, 1), (2, 0.5)):
        start = rng.uniform(0, NOISE, (2, 1))
        matrix = np.hstack([patches * times / TEXTURE * slant, start])
        flags = cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP
        field += weight * cv2.warpAffine(noise, matrix, field.shape, flags=flags, borderMode=cv2.BORDER_WRAP)
    return (field - field.mean()) / field.std()
