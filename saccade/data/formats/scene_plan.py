"""What stands where in the scenes of `scenes.py`: which digit, how large, how turned, who in front of whom.

All in units of the image, so that a scene is the same arrangement at every size. How hard the set is stands in the
constants below and is nobody's to choose.

The digits are scikit-learn's 1,797, the test part of Alpaydin and Kaynak's Optical Recognition of Handwritten Digits
(1998). They stand form after form, each with the same row of digits in one hand; the last three forms are kept for the
test split.
"""

import functools
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

from saccade.data.objects import starts_of
from saccade.geometry.affine import Affine, scaling, translation
from saccade.keyed import generator

SPLITS = {"train": 2000, "test": 500}
FIRST_TEST_DIGIT = 1415  # of scikit-learn's order: here the last three forms begin
MOST_DIGITS = 8
HEIGHTS = (0.12, 0.45)  # of the box around the whole digit, turned as it stands and nothing hidden; of the image's
DEGREES = 20.0

INK = 0.4  # a pixel belongs to a digit where its ink, 0 to 1 and smoothly enlarged, is at least so much
# Of a digit's pixels at most 0.3 are to be hidden by those in front of it; less is planned, since pixels differ from
# size to size.
PLANNED_COVER, PLANNING_SIDE = 0.23, 160
ROOM = 0.01  # between a digit and the image's edge
TRIES = 12  # places for one digit, before another is drawn
CELLS, FINE = 10, 8  # a digit's 8 x 8 pixels with one of margin around, each enlarged so many times


@dataclass(frozen=True, eq=False)
class Plan:
    """What stands where in the M scenes of a split, N digits together, in units of the image: the same at every size.

    split    "train" or "test"
    starts   [M + 1] int64: scene i has the digits starts[i] to starts[i + 1], those in front last
    digits   [N] int64: which of scikit-learn's digits
    labels   [N] int64, 0..9
    ink      [N, 8, 8] uint8, 0..16
    affines  [N, 6] float64: `Affine` from the digit's pixels, (0, 0) its middle, to the image, 0..1
    points   [N, 3, 2] float64: the keypoints (x, y) in the digit's pixels
    """

    split: str
    starts: np.ndarray
    digits: np.ndarray
    labels: np.ndarray
    ink: np.ndarray
    affines: np.ndarray
    points: np.ndarray

    def __len__(self) -> int:
        return len(self.starts) - 1

    def of(self, scene: int) -> range:
        """The digits of a scene, those in front last."""
        return range(self.starts[scene], self.starts[scene + 1])

    def drawn(self, digit: int, side: int) -> tuple[tuple[slice, slice], np.ndarray, Affine]:
        """One digit alone at a size: where (rows, columns), its ink there [h, w] float32, and the map that put it."""
        affine = scaling(side, side).after(Affine(*self.affines[digit].tolist()))
        return *_drawn(_enlarged(self.ink[digit]), affine, side), affine

    def labelled(self, scene: int, side: int) -> tuple[np.ndarray, list[tuple[slice, slice]]]:
        """[side, side] int8, which digit is seen where, 0 for the ground, 1 for the first; and their windows."""
        canvas, windows = np.zeros((side, side), dtype=np.int8), []
        for number, digit in enumerate(self.of(scene), 1):
            window, ink, _ = self.drawn(digit, side)
            canvas[window][ink >= INK] = number
            windows.append(window)
        return canvas, windows


@dataclass(frozen=True, eq=False)
class _Handwriting:
    """scikit-learn's digits, and what of them is needed to place one.

    ink       [1797, 8, 8] uint8, 0..16
    labels    [1797] int64
    outlines  1797 convex hulls [V, 2] float64 (x, y) in the digit's pixels, (0, 0) its middle
    points    [1797, 3, 2] float64: the keypoints, likewise
    """

    ink: np.ndarray
    labels: np.ndarray
    outlines: list[np.ndarray]
    points: np.ndarray


@functools.cache
def _handwriting() -> _Handwriting:
    from sklearn.datasets import load_digits

    bunch: Any = load_digits()
    ink = bunch.images.astype(np.uint8)
    masks = [_enlarged(one) >= INK for one in ink]
    outlines = [_in_digit(_hull(mask)) for mask in masks]
    points = np.stack([_in_digit(_ends(mask)) for mask in masks])
    return _Handwriting(ink, bunch.target.astype(np.int64), outlines, points)


@functools.cache
def _enlarging() -> np.ndarray:
    """[CELLS * FINE, 8] float32: from the digit's pixels to finer ones, by Keys's cubic (1981, equation 15).

    Ours, so that no version of a library changes the set.
    """
    places = (np.arange(CELLS * FINE) + 0.5) / FINE - 0.5
    x = np.abs(places[:, None] - np.arange(1, CELLS - 1))
    near, far = 1.5 * x**3 - 2.5 * x**2 + 1, -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2
    return np.where(x < 1, near, np.where(x < 2, far, 0)).astype(np.float32)


def _enlarged(ink: np.ndarray) -> np.ndarray:
    """[80, 80] float32, ink from 0 to 1 (a little beyond), of one digit [8, 8] uint8."""
    weights = _enlarging()
    return weights @ (ink * np.float32(1 / 16)) @ weights.T


def _in_digit(points: np.ndarray) -> np.ndarray:
    """Points (x, y) of the enlarged digit in its own pixels, (0, 0) its middle."""
    return points / FINE - CELLS / 2


def _hull(mask: np.ndarray) -> np.ndarray:
    """[V, 2] float64: the convex hull of a mask's pixels, their corners included."""
    rows = np.flatnonzero(mask.any(axis=1))
    first, last = mask[rows].argmax(axis=1), mask.shape[1] - mask[rows, ::-1].argmax(axis=1)
    corners = [(x, y + down) for y, *ends in zip(rows, first, last, strict=True) for x in ends for down in (0, 1)]
    return cv2.convexHull(np.array(corners, dtype=np.float32))[:, 0].astype(np.float64)


def _ends(mask: np.ndarray) -> np.ndarray:
    """[3, 2] float64: the ends (x, y) of a digit at the top, the left and the right.

    An end is the middle of the ink that is in one piece with the outermost pixel and no further in than half one of
    the digit's own pixels: the middle of the bar of a 7, and the tip of a 1.
    """
    top = _top(mask)
    left, right = _top(mask.T), _top(mask[:, ::-1].T)
    return np.array([top, left[::-1], (mask.shape[1] - right[1], right[0])])


def _top(mask: np.ndarray) -> np.ndarray:
    """(x, y) of the end at the top."""
    first = int(mask.any(axis=1).argmax())
    band = mask[first : first + FINE // 2].astype(np.uint8)
    _, pieces = cv2.connectedComponents(band, connectivity=4)
    outermost = np.flatnonzero(band[0])
    y, x = np.nonzero(pieces == pieces[0, outermost[len(outermost) // 2]])
    return np.array([x.mean() + 0.5, first + y.mean() + 0.5])


def _drawn(enlarged: np.ndarray, affine: Affine, side: int) -> tuple[tuple[slice, slice], np.ndarray]:
    """A digit's ink in an image of `side` pixels: the window (rows, columns), and [h, w] float32 there.

    enlarged  as from `_enlarged`
    affine    from the digit's pixels to those of the image
    """
    whole = affine.after(translation(-CELLS / 2, -CELLS / 2).after(scaling(1 / FINE, 1 / FINE)))
    left, top, right, bottom = whole.bounds(CELLS * FINE, CELLS * FINE)
    left, top = max(0, math.floor(left)), max(0, math.floor(top))
    right, bottom = min(side, math.ceil(right)), min(side, math.ceil(bottom))
    # OpenCV counts from the centre of pixel (0, 0), we count from its corner.
    moved = translation(-left - 0.5, -top - 0.5).after(whole).after(translation(0.5, 0.5))
    matrix = np.array(moved.inverse()).reshape(2, 3)
    ink = cv2.warpAffine(enlarged, matrix, (right - left, bottom - top), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP)
    return (slice(top, bottom), slice(left, right)), ink


@functools.cache
def plan_of(split: str) -> Plan:
    """Every scene of a split."""
    hand = _handwriting()
    first, last = (FIRST_TEST_DIGIT, len(hand.ink)) if split == "test" else (0, FIRST_TEST_DIGIT)
    scenes = [_arranged(generator("scenes", split, index), range(first, last)) for index in range(SPLITS[split])]
    digits = np.array([digit for scene in scenes for digit, _ in scene])
    affines = np.array([affine for scene in scenes for _, affine in scene])
    starts = starts_of([len(scene) for scene in scenes])
    return Plan(split, starts, digits, hand.labels[digits], hand.ink[digits], affines, hand.points[digits])


def _arranged(rng: np.random.Generator, pool: range) -> list[tuple[int, Affine]]:
    """One scene: 1 to 8 digits of the pool with their places, those in front last."""
    count = int(rng.integers(1, MOST_DIGITS + 1))
    canvas = np.zeros((PLANNING_SIDE, PLANNING_SIDE), dtype=np.int8)
    # Of the ground, number 0, any part may be covered.
    areas, hidden = np.full(count + 1, np.inf), np.zeros(count + 1)
    scene: list[tuple[int, Affine]] = []
    while len(scene) < count:
        digit = pool[int(rng.integers(len(pool)))]
        enlarged = _enlarged(_handwriting().ink[digit])
        for affine in _places(rng, digit):
            window, ink = _drawn(enlarged, scaling(PLANNING_SIDE, PLANNING_SIDE).after(affine), PLANNING_SIDE)
            mask = ink >= INK
            covered = hidden + np.bincount(canvas[window][mask], minlength=count + 1)
            if (covered <= PLANNED_COVER * areas).all():
                scene.append((digit, affine))
                hidden, areas[len(scene)] = covered, np.count_nonzero(mask)
                canvas[window][mask] = len(scene)
                break
    return scene


def _places(rng: np.random.Generator, digit: int) -> Iterator[Affine]:
    """Some places for a digit of one size and one slant, all of it in the image."""
    height, angle = rng.uniform(*HEIGHTS), math.radians(rng.uniform(-DEGREES, DEGREES))
    turn = np.array([(math.cos(angle), math.sin(angle)), (-math.sin(angle), math.cos(angle))])
    outline = _handwriting().outlines[digit] @ turn.T
    low, high = outline.min(axis=0), outline.max(axis=0)
    factor = height / (high[1] - low[1])
    a, b, d, e = (factor * turn).ravel().tolist()
    for place in rng.uniform(size=(TRIES, 2)):
        x, y = ROOM + place * (1 - 2 * ROOM - factor * (high - low)) - factor * low
        yield Affine(a, b, float(x), d, e, float(y))
