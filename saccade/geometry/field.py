"""Bending an image: a smooth displacement of network pixels, and all that is drawn on them moves by it.

A View moves straight lines to straight lines; a Field does what no matrix can, and comes after the view. It is always
one to one: nothing folds over, so every point has one place to go to, and `move_points` finds it.
"""

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from saccade.geometry import masks
from saccade.geometry.masks import Mask, Polygon
from saccade.geometry.resample import Size

# Along x, and along y, the displacement changes by at most this much a pixel: below 0.7, nothing can fold over.
STEEPEST = 0.6
# Edges that were straight are followed by points this many pixels apart, at most so many an edge.
APART, MOST = 4.0, 64
# How close `move_points` comes, in pixels, and how many steps it may take; a handful is usual.
CLOSE, STEPS = 1e-6, 100


@dataclass(frozen=True, eq=False)
class Field:
    """A smooth displacement: pixel x of the result shows the image at x + d(x).

    shift  [H + 1, W + 1, 2] float32 (x, y) in pixels: d at the corners of the pixels; in between it is interpolated,
           and beyond the image it is that of the nearest edge
    """

    shift: np.ndarray

    def __post_init__(self) -> None:
        shape = self.shift.shape
        if self.shift.dtype != np.float32 or len(shape) != 3 or shape[2] != 2 or min(shape) < 2:
            raise ValueError(f"Field.shift must be float32 [H + 1, W + 1, 2] but got {self.shift.dtype} {list(shape)}")

    @property
    def size(self) -> Size:
        """(height, width) of the image it bends."""
        return self.shift.shape[0] - 1, self.shift.shape[1] - 1

    @staticmethod
    def elastic(size: Size, amplitude: float, smoothness: float, rng: np.random.Generator) -> "Field":
        """Random displacements, smoothed (Simard, Steinkraus and Platt 2003, section 2).

        size        (height, width) of the image
        amplitude   how far pixels move, as the root of the mean square, in shares of the shorter side
        smoothness  the standard deviation of the smoothing kernel, in shares of the shorter side

        As there, displacements are drawn evenly from a square and smoothed by a kernel; it is a cubic B-spline here, a
        Gaussian to the eye, so that only a coarse grid is drawn, as for U-Net (Ronneberger et al. 2015, section 3.1).
        A field that would fold over is weakened as a whole until it does not.
        """
        side = min(size)
        spacing = math.sqrt(3) * max(smoothness * side, 1.0)  # the B-spline's deviation is 1 / sqrt(3) of its spacing
        counts = [math.floor(length / spacing) + 4 for length in size]
        # The mean square of an even draw is 1/3, and smoothing along one axis leaves 151/315 of it.
        reach = amplitude * side * math.sqrt(3 / 2) * 315 / 151
        nodes = rng.uniform(-reach, reach, (*counts, 2))
        nodes *= min(1.0, STEEPEST / max(_steepness(nodes, spacing), 1e-12))
        down, across = (_weights(length, spacing) for length in size)
        shift = np.stack([down @ nodes[..., k] @ across.T for k in (0, 1)], axis=-1)
        return Field(shift.astype(np.float32))

    @staticmethod
    def perspective(size: Size, amount: float, rng: np.random.Generator) -> "Field":
        """The image seen from aside: each corner of the result shows a place up to so far from the image's corner.

        size    (height, width) of the image
        amount  in shares of the width (along x) and of the height (along y), below 0.25
        """
        if not 0 <= amount < 0.25:
            raise ValueError(f"beyond a quarter of the side corners can pass each other: amount was {amount}")
        height, width = size
        corners = np.array([(0, 0), (width, 0), (width, height), (0, height)], dtype=np.float32)
        moved = corners + rng.uniform(-amount, amount, (4, 2)).astype(np.float32) * np.array(
            [width, height], dtype=np.float32
        )
        matrix = cv2.getPerspectiveTransform(corners, moved.astype(np.float32))
        return Field((cv2.perspectiveTransform(_corners(size), matrix) - _corners(size)).astype(np.float32))

    def after(self, first: "Field") -> "Field":
        """The field that bends by `first`, then by this one.

        On images of few pixels, what is interpolated between the corners could fold over though neither field does:
        there, `first` is halved until it does not.
        """
        if self.size != first.size:
            raise ValueError(f"fields of images of (height, width) {first.size} and {self.size} do not combine")
        between, shift = _corners(self.size) + self.shift, first.shift
        while True:
            # OpenCV reckons in 1/32 of a pixel here, over which the first field changes by less than 0.02 pixels.
            further = cv2.remap(shift, between, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)  # pyright: ignore
            both = Field(self.shift + further)
            if both.least_growth > 0 or self.least_growth <= 0:
                return both
            shift = shift / 2

    @property
    def least_growth(self) -> float:
        """The least that a square pixel of the result shows of the image, in square pixels; above 0 nothing folds.

        Exact for the interpolated field: inside a pixel, the determinant is largest and least at the corners.
        """
        places = (_corners(self.size) + self.shift).astype(np.float64)
        right, down = np.diff(places, axis=1), np.diff(places, axis=0)
        return min(
            float((a[..., 0] * b[..., 1] - a[..., 1] * b[..., 0]).min())
            for a in (right[:-1], right[1:])
            for b in (down[:, :-1], down[:, 1:])
        )

    def apply(
        self, image: np.ndarray, *, fill: Sequence[int] = (0, 0, 0), interpolation: str = "bilinear"
    ) -> np.ndarray:
        """The bent image, [H, W, C] uint8.

        image          [H, W, C] uint8, network pixels
        fill           one value 0..255 a channel, for what lies beyond the image
        interpolation  "bilinear" or "nearest" (for label maps, never blended)
        """
        self._check(image.shape[:2])
        height, width = self.size
        # The middle of a pixel moves by the mean of its corners. OpenCV counts from the centre of pixel (0, 0): the one
        # whose upper left corner is (x, y) has its centre at (x, y) there.
        places = cv2.blur(self.shift, (2, 2), anchor=(0, 0))[:-1, :-1] + _corners(self.size)[:-1, :-1]
        flag = cv2.INTER_LINEAR if interpolation == "bilinear" else cv2.INTER_NEAREST
        bent = cv2.remap(image, places, None, flag, borderMode=cv2.BORDER_REPLICATE)  # pyright: ignore
        bent = bent.reshape(image.shape)
        x, y = places[..., 0], places[..., 1]
        bent[(x < -0.5) | (y < -0.5) | (x > width - 0.5) | (y > height - 0.5)] = fill
        return bent

    def move_points(self, points: np.ndarray) -> np.ndarray:
        """Where points of the image are in the result: the x with x + d(x) = point, to a millionth of a pixel.

        points  [..., 2] float (x, y), network pixels; also beyond the image

        Returns [..., 2] float64.
        """
        moved = np.array(points, dtype=np.float64)
        flat = moved.reshape(-1, 2)
        finite = np.isfinite(flat).all(axis=1)
        flat[finite] = self._solve(flat[finite])
        return flat.reshape(moved.shape)

    def _solve(self, goal: np.ndarray) -> np.ndarray:
        """[n, 2] x with x + d(x) = goal [n, 2], by Newton's method; a step that leads away is halved."""
        at = goal - self._at(goal)[0]
        shift, slopes = self._at(at)
        missing = at + shift - goal
        length = np.ones((len(goal), 1))
        # A millionth of a pixel, or what float64 can tell apart so far out.
        close = np.maximum(CLOSE, 1e-12 * np.abs(goal).max(axis=1, initial=0))
        for _ in range(STEPS):
            open = np.flatnonzero(np.abs(missing).max(axis=1, initial=0) > close)
            if not open.size:
                break
            step = np.linalg.solve(np.eye(2) + slopes[open], missing[open, :, None])[..., 0]
            tried = at[open] - length[open] * step
            shift, steep = self._at(tried)
            left = tried + shift - goal[open]
            nearer = np.abs(left).max(axis=1) < np.abs(missing[open]).max(axis=1)
            better = open[nearer]
            at[better], missing[better], slopes[better] = tried[nearer], left[nearer], steep[nearer]
            length[open] = np.where(nearer[:, None], np.minimum(1, 2 * length[open]), length[open] / 2)
        return at

    def _at(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """d at points [n, 2] float64 (x, y), and its slopes [n, 2, 2], those along x in [..., 0]."""
        height, width = self.size
        inside = points.clip(0, (width, height))
        cell = np.minimum(inside.astype(np.int64), (width - 1, height - 1))
        (x, y), (right, down) = cell.T, (inside - cell).T[..., None]
        a, b = self.shift[y, x].astype(np.float64), self.shift[y, x + 1]
        c, e = self.shift[y + 1, x], self.shift[y + 1, x + 1]
        upper, lower = a + right * (b - a), c + right * (e - c)
        along_x = (b - a) * (1 - down) + (e - c) * down
        slopes = np.stack([along_x, lower - upper], axis=-1) * (inside == points)[:, None, :]
        return upper + down * (lower - upper), slopes

    def move_boxes(self, boxes: np.ndarray) -> np.ndarray:
        """The smallest upright boxes around what the field makes of boxes, not clipped to the image.

        boxes  [N, 4] xyxy, network pixels

        Returns [N, 4] float64 xyxy.
        """
        moved = self.move_points(_outlines(boxes))
        return np.concatenate([moved.min(axis=1), moved.max(axis=1)], axis=1)

    def growth(self, boxes: np.ndarray) -> np.ndarray:
        """[N] float64: how many times as large what boxes [N, 4] xyxy hold becomes; 1 for a box of no area."""
        outlines = _outlines(boxes)
        before, after = _areas(outlines), _areas(self.move_points(outlines))
        return np.divide(after, before, out=np.ones_like(after), where=before > 0)

    def move_mask(self, mask: Mask) -> Mask:
        """The mask in pixels of the result: a polygon's edges are followed by points, runs are resampled (nearest)."""
        if isinstance(mask, Polygon):
            return Polygon(tuple(self.move_points(_followed(ring)) for ring in mask.rings))
        pixels = masks.bitmap(mask, self.size).astype(np.uint8, order="C")[..., None]
        return masks.runs_from_bitmap(self.apply(pixels, interpolation="nearest", fill=(0,))[..., 0] > 0)

    def move_keypoints(self, keypoints: np.ndarray) -> np.ndarray:
        """Keypoints [..., P, 3] (x, y, visibility), float64; those of visibility 0 stay (0, 0, 0). Nothing mirrors."""
        moved = np.array(keypoints, dtype=np.float64)
        marked = moved[..., 2] != 0
        moved[marked, :2] = self.move_points(moved[marked, :2])
        moved[~marked] = 0
        return moved

    def _check(self, size: tuple[int, ...]) -> None:
        if tuple(size) != self.size:
            raise ValueError(f"a field of (height, width) {self.size} cannot bend an image of {tuple(size)}")


@functools.lru_cache(maxsize=8)
def _corners(size: Size) -> np.ndarray:
    """[H + 1, W + 1, 2] float32 (x, y): the corners of the pixels. Not to be written to."""
    grid = np.empty((size[0] + 1, size[1] + 1, 2), dtype=np.float32)
    grid[..., 0], grid[..., 1] = np.arange(size[1] + 1), np.arange(size[0] + 1)[:, None]
    grid.setflags(write=False)
    return grid


def _bell(at: np.ndarray) -> np.ndarray:
    """The cubic B-spline, a bell over (-2, 2) whose shifted copies add up to 1."""
    far = np.abs(at)
    return np.where(far < 1, 2 / 3 - far**2 + far**3 / 2, np.clip(2 - far, 0, None) ** 3 / 6)


def _slope_of_bell(at: np.ndarray) -> np.ndarray:
    far = np.abs(at)
    return np.sign(at) * np.where(far < 1, 1.5 * far**2 - 2 * far, -0.5 * np.clip(2 - far, 0, None) ** 2)


@functools.lru_cache(maxsize=64)
def _weights(length: int, spacing: float) -> np.ndarray:
    """[length + 1, nodes] float64: what each node has to say at each corner; the second node lies at 0."""
    at = np.arange(length + 1)[:, None] / spacing + 1
    return _bell(at - np.arange(math.floor(length / spacing) + 4))


def _steepness(nodes: np.ndarray, spacing: float) -> float:
    """The longest change of the displacement a pixel along x or along y; looked for at four places a node and axis.

    nodes  [h, w, 2], displacements of the nodes, `spacing` pixels apart
    """
    steepest = 0.0
    at = [np.arange(1, count - 2 + 1e-9, 0.25)[:, None] - np.arange(count) for count in nodes.shape[:2]]
    for down, across in ((_bell, _slope_of_bell), (_slope_of_bell, _bell)):
        slopes = np.einsum("ri,ijk,cj->rck", down(at[0]), nodes, across(at[1]), optimize=True)
        steepest = max(steepest, float((slopes**2).sum(axis=-1).max()))
    return math.sqrt(steepest) / spacing


def _outlines(boxes: np.ndarray) -> np.ndarray:
    """Points along the edges of boxes [N, 4] xyxy, in their order round each box, [N, V, 2] float64."""
    boxes = np.asarray(boxes, dtype=np.float64).reshape(-1, 4)
    longest = np.nan_to_num(boxes[:, 2:] - boxes[:, :2]).max(initial=0)
    share = np.arange(count := max(1, min(MOST, math.ceil(longest / APART)))) / count
    ends = boxes[:, [[0, 1], [2, 1], [2, 3], [0, 3], [0, 1]]]
    edges = ends[:, :-1, None] + share[:, None] * np.diff(ends, axis=1)[:, :, None]
    return edges.reshape(len(boxes), 4 * count, 2)


def _followed(ring: np.ndarray) -> np.ndarray:
    """The ring [V, 2] with more points along its edges, so that they can bend, [v, 2] float64."""
    ring = np.asarray(ring, dtype=np.float64)
    edges = np.roll(ring, -1, axis=0) - ring
    parts = np.ceil(np.abs(edges).max(axis=1) / APART).clip(1, MOST).astype(np.int64)
    first = np.concatenate([[0], np.cumsum(parts)[:-1]])
    share = (np.arange(parts.sum()) - np.repeat(first, parts)) / np.repeat(parts, parts)
    return np.repeat(ring, parts, axis=0) + share[:, None] * np.repeat(edges, parts, axis=0)


def _areas(outlines: np.ndarray) -> np.ndarray:
    """[N] float64: the areas inside outlines [N, V, 2], by the shoelace formula."""
    x, y = np.moveaxis(outlines - outlines[:, :1], -1, 0)
    return np.abs((x * np.roll(y, -1, axis=1) - y * np.roll(x, -1, axis=1)).sum(axis=1)) / 2
