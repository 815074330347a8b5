"""What can be wrong with the objects in images: seen in all of them at once, whatever format they came from."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np

from saccade.data.objects import Objects

# Formats round coordinates, and tools click beside the edge: up to a pixel beyond the image is nobody's fault.
EDGE = 1.0
# So far out of its box, in longer sides of the box, a keypoint may be. Boxes are drawn around what is visible: a joint
# that is seen may look out of it a little, one that is hidden may be well outside.
SEEN_SHARE, HIDDEN_SHARE = 0.1, 1.0


@dataclass(frozen=True, eq=False)
class Fault:
    """One kind of thing that is wrong with objects.

    wrong   [N] bool, with which
    reason  what to say of object n
    remedy  what a repair does to them; "" where only a person can tell
    """

    kind: str
    wrong: np.ndarray
    reason: Callable[[int], str]
    advice: str
    remedy: Literal["left out", "clipped to the image", "its corners put in order", ""]


def faults(objects: Objects, sizes: np.ndarray) -> list[Fault]:
    """Everything that is wrong with the objects of a split; kinds that nothing is wrong with are left away.

    sizes  [M, 2] (height, width) of the upright images, 0 where not known
    """
    degenerate, swapped, outside = _degenerate(objects), _swapped(objects), _outside(objects, sizes)
    # A box that is nothing, or elsewhere, is not also called one that sticks out or a duplicate.
    usable = ~(degenerate.wrong | swapped.wrong | outside.wrong)
    found = [degenerate, swapped, outside, _sticking_out(objects, sizes, usable), _duplicates(objects, usable)]
    if objects.keypoints is not None:
        found.append(_stray_keypoints(objects, objects.keypoints, usable))
    return [fault for fault in found if fault.wrong.any()]


def _degenerate(objects: Objects) -> Fault:
    x0, y0, x1, y1 = objects.boxes.T
    return Fault(
        "degenerate box",
        (x1 == x0) | (y1 == y0),
        lambda n: f"the box {_shown(objects.boxes[n])} has no area",
        "draw it again or remove it",
        "left out",
    )


def _swapped(objects: Objects) -> Fault:
    x0, y0, x1, y1 = objects.boxes.T
    return Fault(
        "swapped corners",
        ((x1 < x0) | (y1 < y0)) & (x1 != x0) & (y1 != y0),
        lambda n: f"the box {_shown(objects.boxes[n])} ends before it begins",
        "put the smaller x and the smaller y first",
        "its corners put in order",
    )


def _outside(objects: Objects, sizes: np.ndarray) -> Fault:
    # Of a box whose corners are swapped too: put in order, nothing of it would be left in the image.
    (x0, y0), (x1, y1) = (choose(objects.boxes[:, :2], objects.boxes[:, 2:]).T for choose in (np.minimum, np.maximum))
    height, width = sizes[objects.images].T
    return Fault(
        "box outside the image",
        (width > 0) & ((x0 >= width) | (y0 >= height) | (x1 <= 0) | (y1 <= 0)) & (x1 > x0) & (y1 > y0),
        lambda n: f"no part of the box {_shown(objects.boxes[n])} is in the image {_size_of(objects, sizes, n)}",
        "remove it, or see whether it belongs to another image",
        "left out",
    )


def _sticking_out(objects: Objects, sizes: np.ndarray, usable: np.ndarray) -> Fault:
    x0, y0, x1, y1 = objects.boxes.T
    height, width = sizes[objects.images].T
    out = (x0 < -EDGE) | (y0 < -EDGE) | (x1 > width + EDGE) | (y1 > height + EDGE)
    return Fault(
        "box beyond the edge",
        usable & (width > 0) & out,
        lambda n: f"the box {_shown(objects.boxes[n])} reaches out of the image {_size_of(objects, sizes, n)}",
        "clip it to the image",
        "clipped to the image",
    )


def _duplicates(objects: Objects, usable: np.ndarray) -> Fault:
    """The same class and box again (to a hundredth of a pixel) in the same image; the first one is right."""
    keys = np.column_stack([objects.images, objects.labels, np.rint(objects.boxes * 100).astype(np.int64)])
    order = np.lexsort(keys.T[::-1])
    repeated = np.zeros(objects.count, dtype=bool)
    repeated[order[1:]] = (keys[order[1:]] == keys[order[:-1]]).all(axis=1)

    def reason(n: int) -> str:
        first = np.flatnonzero((keys == keys[n]).all(axis=1))[0]
        return f"has the same class and box as {objects.noun} {objects.ids[first]}, {_shown(objects.boxes[n])}"

    return Fault("duplicate", repeated & usable, reason, "remove one of them", "left out")


def _stray_keypoints(objects: Objects, keypoints: np.ndarray, usable: np.ndarray) -> Fault:
    low, high = objects.boxes[:, None, :2], objects.boxes[:, None, 2:]
    points, seen = keypoints[..., :2], keypoints[..., 2:] > 1
    margin = EDGE + np.where(seen, SEEN_SHARE, HIDDEN_SHARE) * (high - low).max(axis=2, keepdims=True)
    stray = ((points < low - margin) | (points > high + margin)).any(axis=2) & (keypoints[..., 2] > 0)

    def reason(n: int) -> str:
        which = int(np.flatnonzero(stray[n])[0])
        name = objects.skeleton.names[which] if objects.skeleton else str(which)
        return f"its {name} at {_shown(points[n, which])} is outside its box {_shown(objects.boxes[n])}"

    return Fault(
        "keypoint outside its box",
        stray.any(axis=1) & usable,
        reason,
        "move the point, or draw the box around all of the thing",
        "",
    )


def _shown(numbers: np.ndarray) -> str:
    return "[" + ", ".join(f"{number:.6g}" for number in numbers) + "]"


def _size_of(objects: Objects, sizes: np.ndarray, n: int) -> str:
    height, width = sizes[objects.image_of(n)]
    return f"({width} wide, {height} high)"
