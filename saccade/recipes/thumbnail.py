"""A picture of a data set, small enough for a page."""

import numpy as np

from saccade.data.decode import Picture
from saccade.geometry.view import Size, View

TILE = 256  # the most pixels of its longer side


def thumbnail(picture: Picture, longest: int = TILE) -> np.ndarray:
    """The whole picture [h, w, 3] uint8, at most `longest` pixels long."""
    view = small_view(picture.size, longest)
    pixels, reduced = picture.pixels("RGB", view.shrink)
    return view.apply(pixels, reduced=reduced)


def small_view(size: Size, longest: int = TILE) -> View:
    """All of an image of (height, width) `size`, at most `longest` pixels long."""
    factor = min(1.0, longest / max(size))
    scaled = (max(1, round(factor * size[0])), max(1, round(factor * size[1])))
    return View.identity(size).resized(scaled) if factor < 1 else View.identity(size)
