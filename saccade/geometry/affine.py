"""Affine maps of the plane, as six plain numbers: composed thousands of times a second, where arrays would be slow."""

import functools
import math
from typing import NamedTuple

import numpy as np


class Affine(NamedTuple):
    """x' = a x + b y + c, y' = d x + e y + f: the first two rows of a 3 x 3 matrix."""

    a: float = 1.0
    b: float = 0.0
    c: float = 0.0
    d: float = 0.0
    e: float = 1.0
    f: float = 0.0

    def after(self, first: "Affine") -> "Affine":
        """The map that applies `first`, then this one (the matrix product self @ first)."""
        a, b, c, d, e, f = self
        return Affine(
            a * first.a + b * first.d,
            a * first.b + b * first.e,
            a * first.c + b * first.f + c,
            d * first.a + e * first.d,
            d * first.b + e * first.e,
            d * first.c + e * first.f + f,
        )

    @functools.lru_cache(maxsize=64)  # noqa: B019  (the maps of one image, which are asked for again and again)
    def inverse(self) -> "Affine":
        """The way back. Raises ValueError where there is none."""
        a, b, c, d, e, f = self
        determinant = a * e - b * d
        if not math.isfinite(sum(self)) or abs(determinant) < 1e-12:
            raise ValueError(f"an affine map must be finite and have an inverse but got {tuple(self)}")
        a, b, d, e = e / determinant, -b / determinant, -d / determinant, a / determinant
        return Affine(a, b, -(a * c + b * f), d, e, -(d * c + e * f))

    def matrix(self) -> np.ndarray:
        """The map as a matrix [3, 3] float64 on (x, y, 1)."""
        return np.array([self[:3], self[3:], (0, 0, 1)], dtype=np.float64)

    @property
    def spread(self) -> tuple[float, float]:
        """The lengths of the rows (of x', of y'): of an inverse view, the input pixels that one output pixel spans."""
        return math.hypot(self.a, self.b), math.hypot(self.d, self.e)

    def bounds(self, width: float, height: float) -> tuple[float, float, float, float]:
        """The box (left, top, right, bottom) around what the rectangle from (0, 0) to (width, height) becomes."""
        left = self.c + min(0, self.a * width) + min(0, self.b * height)
        right = self.c + max(0, self.a * width) + max(0, self.b * height)
        top = self.f + min(0, self.d * width) + min(0, self.e * height)
        bottom = self.f + max(0, self.d * width) + max(0, self.e * height)
        return left, top, right, bottom


def translation(right: float, down: float) -> Affine:
    """Moves by `right` and `down` pixels."""
    return Affine(c=right, f=down)


def scaling(horizontal: float, vertical: float) -> Affine:
    """Scales about the corner (0, 0)."""
    return Affine(a=horizontal, e=vertical)
