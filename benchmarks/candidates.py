"""Boxes with scores, as detectors give them and as they never do: the same on both sides of a measurement.

numpy only, because the peers use it too, in their own environment.
"""

import sys
import time
from collections.abc import Callable

import numpy as np

HEIGHT, WIDTH = 800, 1333
IMAGES, PASSES = 20, 3


def crowded(count: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """About 10 to 100 objects, each found many times, a tenth of its size beside it and a fifth too large or too small.

    Returns boxes [count, 4] float32 xyxy and scores [count] float32, the better the closer.
    """
    objects = int(rng.integers(10, 101))
    centres, sizes = _placed(objects, rng)
    which = rng.integers(objects, size=count)
    off, scale = rng.normal(0, 0.1, (count, 2)), np.exp(rng.normal(0, 0.2, (count, 2)))
    boxes = _around(centres[which] + off * sizes[which], sizes[which] * scale)
    return boxes, (rng.random(count) * np.exp(-2 * np.abs(off).sum(axis=1))).astype(np.float32)


def scattered(count: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Anywhere, about nothing: nearly all of them stay. Shapes as in `crowded`."""
    return _around(*_placed(count, rng)), rng.random(count).astype(np.float32)


def _placed(count: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Centres anywhere in the image and sizes from 16 to 400 pixels, small ones more often, both [count, 2] (x, y)."""
    return rng.random((count, 2)) * (WIDTH, HEIGHT), np.exp(rng.uniform(np.log(16), np.log(400), (count, 2)))


def _around(centres: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    return np.concatenate([centres - sizes / 2, centres + sizes / 2], axis=1).astype(np.float32)


def rounds(suppress: Callable[[np.ndarray, np.ndarray, float], int]) -> Callable[[], tuple[int, float]]:
    """A round of work, as sys.argv says (crowded|scattered COUNT THRESHOLD): 20 images, three times over.

    suppress  boxes, scores and threshold -> how many boxes stay
    """
    how, count, threshold = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])
    rng = np.random.default_rng(0)
    images = [{"crowded": crowded, "scattered": scattered}[how](count, rng) for _ in range(IMAGES)]

    def one_round() -> tuple[int, float]:
        started = time.perf_counter()
        for _ in range(PASSES):
            for boxes, scores in images:
                suppress(boxes, scores, threshold)
        return PASSES * len(images), time.perf_counter() - started

    one_round()
    return one_round
