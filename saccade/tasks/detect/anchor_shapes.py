"""Which anchors fit the boxes of a data set: k-means over their widths and heights.

Redmon and Farhadi, "YOLO9000: Better, Faster, Stronger", CVPR 2017, section 2, "Dimension Clusters": the distance is 1
less the overlap (intersection over union), so that large boxes do not count more than small ones.
"""

import math
from typing import NamedTuple

import numpy as np

from saccade import keyed
from saccade.errors import SaccadeError

MOST = 20_000  # boxes that are looked at; of more, so many at random
ROUNDS, TRIES = 300, 8


class Anchors(NamedTuple):
    """What fits a set best.

    shapes    [K, 2] float (width, height), pixels of the network's input, small to large
    sides     [N, 2] float, the boxes that were looked at, likewise
    overlaps  [N] float: how much each box overlaps the anchor that is likest to it
    """

    shapes: np.ndarray
    sides: np.ndarray
    overlaps: np.ndarray


def cluster(sides: np.ndarray, count: int, seed: int = 0) -> Anchors:
    """The anchors that on average overlap boxes best.

    sides  [N, 2] float (width, height) above 0
    count  K

    Where fewer shapes than anchors occur, the rest are these, half as large, twice as large and so on.

    Raises SaccadeError when there is no box.
    """
    sides = np.asarray(sides, dtype=np.float64)
    # The same shares of images that differ in size are the same but for their last digits.
    sides = np.round(sides[(sides > 0).all(axis=1)], 2)
    sides = sides[(sides > 0).all(axis=1)]
    if not len(sides):
        raise SaccadeError("there is no box to take anchors from; mark some things first")
    rng = keyed.generator(seed, "anchors")
    if len(sides) > MOST:
        sides = sides[np.sort(rng.choice(len(sides), MOST, replace=False))]
    different = np.unique(sides, axis=0)
    if len(different) <= count:
        shapes = different
        factors = (factor for power in range(1, count + 1) for factor in (2.0**-power, 2.0**power))
        while len(shapes) < count:
            scaled = different * next(factors)
            new = ~(overlap(scaled, shapes) > 0.99).any(axis=1)
            shapes = np.concatenate([shapes, scaled[new]])[:count]
    else:
        tries = [_means(sides, different, count, rng) for _ in range(TRIES)]
        shapes = max(tries, key=lambda own: overlap(sides, own).max(axis=1).mean())
    shapes = shapes[np.argsort(shapes.prod(axis=1), kind="stable")]
    return Anchors(shapes, sides, overlap(sides, shapes).max(axis=1))


def as_settings(shapes: np.ndarray) -> list[list[float]]:
    """Anchors as `network={anchors=...}` takes them: to three digits, small to large as these are then."""
    rounded = [[float(f"{side:.3g}") for side in shape] for shape in shapes]
    return sorted(rounded, key=math.prod)


def _means(sides: np.ndarray, different: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """One k-means, from shapes that lie apart (k-means++)."""
    shapes = different[rng.integers(len(different))][None]
    while len(shapes) < count:
        away = (1 - overlap(different, shapes).max(axis=1)) ** 2
        shapes = np.concatenate([shapes, different[rng.choice(len(different), p=away / away.sum())][None]])
    owner = np.full(len(sides), -1)
    for _ in range(ROUNDS):
        nearest = overlap(sides, shapes).argmax(axis=1)
        if np.array_equal(nearest, owner):
            break
        owner = nearest
        shapes = np.stack([sides[owner == k].mean(axis=0) if (owner == k).any() else shapes[k] for k in range(count)])
    return shapes


def overlap(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Intersection over union of boxes of (width, height) [N, 2] and [K, 2], corner on corner: [N, K]."""
    shared = np.minimum(first[:, None], second).prod(axis=2)
    return shared / (first.prod(axis=1)[:, None] + second.prod(axis=1) - shared)
