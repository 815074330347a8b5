"""The geometry of one image: a single matrix from original pixels to network pixels.

Flip, crop, rotation, shear, scale and letterbox all multiply into it, so an image is resampled
once however many changes were asked for, and everything drawn on it moves by the same matrix.

Coordinates are continuous (x, y): pixel (0, 0) covers [0, 1) x [0, 1). Sizes are (height, width).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from saccade.geometry.affine import Affine, scaling, translation
from saccade.geometry.resample import Size, warp


@dataclass(frozen=True)
class View:
    """A geometric change of one image.

    affine  from original (x, y) to network (x, y); original means upright
    source  (height, width) of the original image
    size    (height, width) of what the network sees
    """

    affine: Affine
    source: Size
    size: Size

    def __post_init__(self) -> None:
        self.affine.inverse()
        if len(self.source) != 2 or len(self.size) != 2 or min(*self.source, *self.size) < 1:
            raise ValueError(f"View needs sizes (height, width) of at least 1 but got {self.source} and {self.size}")

    @staticmethod
    def identity(size: Size) -> "View":
        """The image as it is."""
        return View(Affine(), size, size)

    @property
    def matrix(self) -> np.ndarray:
        """[3, 3] float64, from original (x, y, 1) to network (x, y, 1)."""
        return self.affine.matrix()

    def then(self, affine: Affine, size: Size | None = None) -> "View":
        """This view followed by one more change.

        affine  from this view's pixels to the new ones
        size    (height, width) of the result; None keeps this one
        """
        return View(affine.after(self.affine), self.source, size or self.size)

    def resized(self, size: Size) -> "View":
        """Stretched to (height, width)."""
        return self.then(scaling(size[1] / self.size[1], size[0] / self.size[0]), size)

    def cropped(self, top: float, left: float, size: Size) -> "View":
        """The window of (height, width) whose corner is (top, left), in this view's pixels."""
        return self.then(translation(-left, -top), size)

    def centre_cropped(self, size: Size) -> "View":
        """The middle (height, width), at a whole pixel as everyone does it."""
        return self.cropped(round((self.size[0] - size[0]) / 2), round((self.size[1] - size[1]) / 2), size)

    def letterboxed(self, size: Size) -> "View":
        """All of the image inside (height, width), as large as it fits, centred, its shape kept."""
        factor = min(size[0] / self.size[0], size[1] / self.size[1])
        top, left = (size[0] - factor * self.size[0]) / 2, (size[1] - factor * self.size[1]) / 2
        return self.then(translation(left, top).after(scaling(factor, factor)), size)

    def flipped(self, *, horizontal: bool = False, vertical: bool = False) -> "View":
        """Mirrored left to right, top to bottom, or both."""
        height, width = self.size
        across = (-1.0, float(width)) if horizontal else (1.0, 0.0)
        down = (-1.0, float(height)) if vertical else (1.0, 0.0)
        return self.then(Affine(a=across[0], c=across[1], e=down[0], f=down[1]))

    def quarter_turned(self) -> "View":
        """Turned by 90 degrees counter-clockwise, pixel for pixel; height and width swap."""
        height, width = self.size
        return self.then(Affine(a=0.0, b=1.0, d=-1.0, e=0.0, f=float(width)), (width, height))

    def turned(self, degrees: float, shear: float = 0.0, factor: float = 1.0) -> "View":
        """Rotated counter-clockwise, slanted along x (both in degrees) and scaled about its centre."""
        angle, slant = math.radians(degrees), math.tan(math.radians(shear))
        cos, sin = factor * math.cos(angle), factor * math.sin(angle)
        turn = Affine(a=cos, b=sin, d=-sin, e=cos).after(Affine(b=slant))
        y, x = self.size[0] / 2, self.size[1] / 2
        return self.then(translation(x, y).after(turn).after(translation(-x, -y)))

    def inverse(self) -> "View":
        """The way back: from network pixels to original ones."""
        return View(self.affine.inverse(), self.size, self.source)

    def move_points(self, points: np.ndarray) -> np.ndarray:
        """Points [..., 2] float (x, y) of the original, in network pixels."""
        matrix = self.matrix
        return np.asarray(points, dtype=np.float64) @ matrix[:2, :2].T + matrix[:2, 2]

    def move_boxes(self, boxes: np.ndarray) -> np.ndarray:
        """The smallest upright boxes around what this view makes of boxes, not clipped to what it shows.

        boxes  [..., 4] xyxy, original pixels

        Returns [..., 4] float64 xyxy, network pixels.
        """
        moved = self.move_points(boxes[..., [[0, 1], [2, 1], [0, 3], [2, 3]]])
        return np.concatenate([moved.min(axis=-2), moved.max(axis=-2)], axis=-1)

    @property
    def shrink(self) -> float:
        """How many original pixels one network pixel spans, along the original's axis where that is less."""
        return min(self.affine.inverse().spread)

    @property
    def determinant(self) -> float:
        """How many square pixels a square pixel of the original becomes; below 0 in a mirror."""
        return self.affine.a * self.affine.e - self.affine.b * self.affine.d

    @property
    def mirrors(self) -> bool:
        """Whether left and right hands look swapped: after one flip, but not after two, which are half a turn."""
        return self.determinant < 0

    def apply(
        self, pixels: np.ndarray, *, reduced: int = 1, interpolation: str = "bilinear", fill: Sequence[int] = (0, 0, 0)
    ) -> np.ndarray:
        """The image the network sees, resampled once and antialiased where it shrinks.

        pixels         [h, w, C] uint8, the original, or the original decoded at 1/`reduced` of its size
        reduced        what one of these pixels spans in original pixels
        interpolation  "bilinear" (antialiased) or "nearest" (for label maps, never blended)
        fill           one value 0..255 a channel, for what lies beyond the image

        Returns [height, width, C] uint8. A map of labels is an image of one channel, [h, w, 1], and moves with
        interpolation="nearest" and fill=(255,): void, as nobody says what lies beyond the image.
        """
        return warp(pixels, self.affine.after(scaling(reduced, reduced)), self.size, interpolation, fill)
