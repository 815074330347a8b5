"""Which pixels belong to a thing: as polygons, or as runs of pixels. Both move with the image."""

from dataclasses import dataclass

import numpy as np

from saccade.geometry.view import Size


@dataclass(frozen=True, eq=False)
class Polygon:
    """An outline. A pixel belongs to it when it lies in any of the rings; a hole is reached by a cut from outside.

    rings  one or more, each [V, 2] float32 or float64 (x, y), V of at least 3, continuous pixels
    """

    rings: tuple[np.ndarray, ...]


@dataclass(frozen=True, eq=False)
class Runs:
    """A mask, exact to the pixel, as COCO's run lengths.

    size    (height, width)
    counts  [R] uint32, lengths of the runs down the columns, the first of them of pixels outside (perhaps 0)
    """

    size: Size
    counts: np.ndarray


Mask = Polygon | Runs
