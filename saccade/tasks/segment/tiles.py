"""Images of any size in bounded memory: windows that overlap, of each of which only the middle is believed.

Ronneberger et al. 2015, figure 2 (overlap-tile). Where a network's answer for a pixel hangs on no more than the
overlap around it, the answers are those of the whole image.
"""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from saccade.errors import UsageError
from saccade.geometry.view import Size, View

AT_ONCE = 1 << 20  # pixels of the original that are brought back at a time
TILE = 1024  # pixels a side of a window
OVERLAP = 4  # a window goes beyond what it answers for by one part in so many of its side, each way


class Window(NamedTuple):
    """A part of an image, in pixels; for each axis, rows then columns, from and to.

    seen  what the network looks at
    kept  what it answers for
    """

    seen: tuple[tuple[int, int], tuple[int, int]]
    kept: tuple[tuple[int, int], tuple[int, int]]


def windows(size: Size, tile: int = TILE, grid: int = 32) -> Iterator[Window]:
    """The windows that an image is looked at in: one where it has at most twice the pixels of a window, else as many
    as it takes, whose answers cover it once.

    size  (height, width)
    tile  pixels a side of a window
    grid  windows begin at such multiples, so that the network's maps lie in them as in the whole image

    Raises UsageError as `check_tile`.
    """
    if size[0] * size[1] <= 2 * tile * tile:
        whole = (0, size[0]), (0, size[1])
        yield Window(whole, whole)
        return
    check_tile(tile, grid)
    overlap = tile // OVERLAP // grid * grid
    spans = [list(_spans(length, tile, overlap, grid)) for length in size]
    for seen_rows, kept_rows in spans[0]:
        for seen_columns, kept_columns in spans[1]:
            yield Window((seen_rows, seen_columns), (kept_rows, kept_columns))


def check_tile(tile: int, grid: int) -> None:
    """Raise UsageError for a window too small to overlap with the next one by so many pixels that grids can lie on."""
    if tile < OVERLAP * grid:
        raise UsageError(f"a tile must have {OVERLAP * grid} pixels a side or more for this network, got {tile}")


def _spans(length: int, tile: int, overlap: int, grid: int) -> Iterator[tuple[tuple[int, int], tuple[int, int]]]:
    """What is seen and what is kept along one axis."""
    step = (tile - 2 * overlap) // grid * grid
    start = 0
    while True:
        first = start + overlap if start else 0
        end = start + tile
        if end >= length:
            yield (start, length), (first, length)
            return
        yield (start, end), (first, start + step + overlap)
        start += step


def answers(
    run: Callable[[Tensor], Tensor], image: Tensor, view: View, tile: int, grid: int
) -> Iterator[tuple[slice, slice, Tensor]]:
    """What a network says of the pixels of the original image, part by part, each pixel once.

    run         from a part of the image to values [1, K, h, w] of its pixels
    image       [1, C, H, W] uint8, network pixels
    view        from original pixels to network pixels, neither turned nor mirrored
    tile, grid  as of `windows`

    Yields rows and columns of the original, and [K, R, C] float32 at the centres of these pixels: interpolated linearly
    between the network's.
    """
    for window in windows(view.size, tile, grid):
        (top, bottom), (left, right) = window.seen
        values = run(image[:, :, top:bottom, left:right])[0].float()
        rows = _originals(view.affine.e, view.affine.f, view.source[0], window.kept[0])
        columns = _originals(view.affine.a, view.affine.c, view.source[1], window.kept[1])
        if view.size == view.source:
            own = values[:, rows.start - top : rows.stop - top, columns.start - left : columns.stop - left]
            yield rows, columns, own
            continue
        step = max(1, AT_ONCE // max(1, columns.stop - columns.start))
        for start in range(rows.start, rows.stop, step):
            part = slice(start, min(start + step, rows.stop))
            yield part, columns, _resampled(values, view, (top, left), part, columns)


def _originals(scale: float, offset: float, length: int, kept: tuple[int, int]) -> slice:
    """Which pixels of the original have their centre between two lines of network pixels."""
    first, last = ((line - offset) / scale - 0.5 for line in kept)
    return slice(int(np.clip(np.ceil(first), 0, length)), int(np.clip(np.ceil(last), 0, length)))


def _resampled(values: Tensor, view: View, corner: tuple[int, int], rows: slice, columns: slice) -> Tensor:
    """[K, R, C] the values [K, h, w] of a window at `corner` (top, left) at the centres of pixels of the original."""
    _, height, width = values.shape
    y = (torch.arange(rows.start, rows.stop, device=values.device) + 0.5) * view.affine.e + view.affine.f - corner[0]
    x = (torch.arange(columns.start, columns.stop, device=values.device) + 0.5) * view.affine.a + view.affine.c
    across, down = torch.meshgrid(2 * (x - corner[1]) / width - 1, 2 * y / height - 1, indexing="xy")
    grid = torch.stack([across, down], dim=-1)[None]
    return F.grid_sample(values[None], grid, "bilinear", "border", align_corners=False)[0]
