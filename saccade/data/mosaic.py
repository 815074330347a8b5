"""Mosaic: four training images in one, so that a step sees more things, smaller, and cut off anywhere.

Bochkovskiy, Wang and Liao, "YOLOv4: Optimal Speed and Accuracy of Object Detection", arXiv:2004.10934, section 3.3.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from saccade.geometry.affine import translation
from saccade.geometry.view import Size, View
from saccade.structures import Instances, Skeleton, joined

MIDDLE = (0.3, 0.7)  # where the four meet, in shares of the sides
SMALLER = 0.5  # the most that each is scaled down


class Part(NamedTuple):
    """A rectangle of the mosaic, whole pixels."""

    top: int
    left: int
    size: Size


def parts(size: Size, rng: np.random.Generator) -> list[Part]:
    """Four rectangles that meet in one point: top left, top right, bottom left, bottom right."""
    row, column = (min(max(round(rng.uniform(*MIDDLE) * length), 1), length - 1) for length in size)
    rows, columns = ((0, row), (row, size[0] - row)), ((0, column), (column, size[1] - column))
    return [Part(top, left, (high, wide)) for top, high in rows for left, wide in columns]


def framed(view: View, size: Size, rng: np.random.Generator) -> View:
    """As much of a view, scaled down somewhat, as a part of this size shows; where it is smaller, somewhere in it."""
    factor = math.exp(rng.uniform(math.log(SMALLER), 0))
    view = view.resized((max(1, round(view.size[0] * factor)), max(1, round(view.size[1] * factor))))
    top, left = (_offset(own - part, rng) for own, part in zip(view.size, size, strict=True))
    return view.cropped(top, left, size)


def _offset(room: int, rng: np.random.Generator) -> int:
    """Any whole number between 0 and `room`, which may be below 0."""
    return int(math.copysign(rng.integers(abs(room) + 1), room))


def assembled(
    images: Sequence[np.ndarray],
    targets: Sequence[Instances],
    places: Sequence[Part],
    size: Size,
    skeleton: Skeleton | None,
) -> tuple[np.ndarray, Instances]:
    """The four as one.

    images   [H, W, C] uint8 each, as large as its part
    targets  the things in each, its own pixels
    size     (height, width) of the mosaic
    """
    canvas = np.empty((*size, images[0].shape[2]), dtype=np.uint8)
    moved = []
    for image, target, (top, left, (high, wide)) in zip(images, targets, places, strict=True):
        canvas[top : top + high, left : left + wide] = image
        moved.append(target.moved(View.identity((high, wide)).then(translation(left, top), size), skeleton))
    return canvas, joined(moved)
