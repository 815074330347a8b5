"""Images of any size in bounded memory: windows that overlap, of each of which only the middle is believed.

Ronneberger et al. 2015, figure 2 (overlap-tile). Where a network's answer for a pixel hangs on no more than the
overlap around it, the answers are those of the whole image.
"""

from collections.abc import Iterator
from typing import NamedTuple

from saccade.geometry.view import Size

TILE = 1024  # pixels a side of a window
OVERLAP = 4  # a window goes beyond what it answers for by one part in so many of its side, each way


class Window(NamedTuple):
    """A part of an image, in pixels; for each axis, rows then columns, from and to.

    seen  what the network looks at
    kept  what it answers for
    """

    seen: tuple[tuple[int, int], tuple[int, int]]
    kept: tuple[tuple[int, int], tuple[int, int]]


def windows(size: Size, tile: int = TILE, multiple: int = 32) -> Iterator[Window]:
    """The windows that an image is looked at in: one where it has at most twice the pixels of a window, else as many
    as it takes, whose answers cover it once.

    size      (height, width)
    tile      pixels a side of a window, at least four times `multiple`
    multiple  windows begin at such multiples, so that the network's grid lies in them as in the whole image

    Raises ValueError for a window that is too small to be worth its overlap.
    """
    if size[0] * size[1] <= 2 * tile * tile:
        whole = (0, size[0]), (0, size[1])
        yield Window(whole, whole)
        return
    overlap = tile // OVERLAP // multiple * multiple
    if overlap < multiple:
        raise ValueError(f"a tile must have {OVERLAP * multiple} pixels a side or more for this network, got {tile}")
    spans = [list(_spans(length, tile, overlap, multiple)) for length in size]
    for seen_rows, kept_rows in spans[0]:
        for seen_columns, kept_columns in spans[1]:
            yield Window((seen_rows, seen_columns), (kept_rows, kept_columns))


def _spans(length: int, tile: int, overlap: int, multiple: int) -> Iterator[tuple[tuple[int, int], tuple[int, int]]]:
    """What is seen and what is kept along one axis."""
    step = (tile - 2 * overlap) // multiple * multiple
    start = 0
    while True:
        first = start + overlap if start else 0
        end = start + tile
        if end >= length:
            yield (start, length), (first, length)
            return
        yield (start, end), (first, start + step + overlap)
        start += step
