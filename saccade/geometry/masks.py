"""Which pixels belong to a thing: as polygons, or as runs of pixels. Both move with the image.

Polygons become pixels by COCO's own rasteriser, and overlaps are COCO's own, so they agree with COCO by construction.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from faster_coco_eval.core import mask as coco

from saccade.geometry.decimals import shortest
from saccade.geometry.outlines import outlines
from saccade.geometry.view import Size, View

# Beyond this many pixels from the corner of the image, COCO's rasteriser would leave the range of its integers.
FARTHEST = 1e7


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


def bitmap(mask: Mask, size: Size) -> np.ndarray:
    """Which pixels the mask covers, [H, W] bool.

    size  (height, width) of the image; what lies beyond is cut off a polygon, and runs must be of just this size
    """
    runs = runs_of(mask, size)
    counts = _checked(runs)
    inside = np.arange(len(counts)) % 2 == 1
    return np.repeat(inside, counts).reshape(size[1], size[0]).T


def runs_from_bitmap(covered: np.ndarray) -> Runs:
    """The runs of the pixels that are covered, [H, W] bool."""
    down = covered.astype(bool, copy=False).ravel(order="F")
    edges = np.flatnonzero(down[1:] != down[:-1]) + 1
    ends = np.concatenate([[0], edges, [down.size]]) if down[0] else np.concatenate([edges, [down.size]])
    counts = np.diff(ends, prepend=0).astype(np.uint32)
    return Runs((covered.shape[0], covered.shape[1]), counts)


def runs_from_crop(covered: np.ndarray, top: int, left: int, size: Size) -> Runs:
    """The runs of pixels of which all that are covered are in one window of the image: quick where it is small.

    covered    [h, w] bool, the window
    top, left  where it begins
    size       (height, width) of the image
    """
    high, wide = covered.shape
    if high == size[0]:  # a run may go on at the top of the next column
        whole = np.zeros(size, dtype=bool)
        whole[top : top + high, left : left + wide] = covered
        return runs_from_bitmap(whole)
    # Every column with a pixel outside behind it, so that each run ends in its own.
    down = np.zeros((wide, high + 2), dtype=np.int8)
    down[:, 1:-1] = covered.T
    column, row = np.nonzero(np.diff(down, axis=1))
    ends = (left + column) * size[0] + top + row
    counts = np.diff(ends, prepend=0, append=size[0] * size[1]).astype(np.uint32)
    # The last pixel of the image may be covered: then no run outside follows.
    return Runs(size, counts[:-1] if len(counts) > 1 and not counts[-1] else counts)


def runs_of(mask: Mask, size: Size) -> Runs:
    """The same mask as runs; a polygon's pixels are those that COCO gives it.

    size  (height, width) of the image
    """
    if isinstance(mask, Runs):
        if tuple(mask.size) != tuple(size):
            raise ValueError(f"the mask is made for an image of (height, width) {mask.size} but the image is {size}")
        return mask
    height, width = size
    rings = [_drawable(ring, size).ravel().tolist() for ring in mask.rings]
    if not rings:
        return Runs(size, np.array([height * width], dtype=np.uint32))
    merged = coco.merge(coco.frPyObjects(rings, height, width))  # pyright: ignore[reportArgumentType]
    return runs_from_compressed(merged["counts"], size)


def polygon_from_bitmap(covered: np.ndarray) -> Polygon:
    """The outline of the covered pixels, along their edges, so that `bitmap` of it gives them back exactly.

    covered  [H, W] bool

    Each part of pixels that hang together by their edges (4-connected) is one ring, its holes reached by vertical
    cuts. Corners only: no point lies between its neighbours. No rings where nothing is covered.
    """
    return Polygon(outlines(covered.astype(bool, copy=False)))


def area(mask: Mask) -> float:
    """Square pixels: of runs their pixels, of a polygon the shoelace formula (rings that overlap count twice)."""
    if isinstance(mask, Runs):
        return float(mask.counts[1::2].sum(dtype=np.int64))
    return float(sum(_shoelace(np.asarray(ring, dtype=np.float64)) for ring in mask.rings))


def box(mask: Mask) -> np.ndarray:
    """The smallest upright box around the mask, [4] float64 xyxy in pixels; zeros where it covers nothing."""
    if isinstance(mask, Runs):
        return _box_of_runs(mask)
    if not mask.rings:
        return np.zeros(4)
    points = np.concatenate(mask.rings).astype(np.float64)
    return np.concatenate([points.min(axis=0), points.max(axis=0)])


def move(mask: Mask, view: View) -> Mask:
    """The mask in network pixels: a polygon's points move, runs are resampled (nearest) and are of `view.size` then.

    mask  in original pixels, runs of `view.source`
    """
    if isinstance(mask, Polygon):
        return Polygon(tuple(view.move_points(ring) for ring in mask.rings))
    pixels = bitmap(mask, view.source).astype(np.uint8, order="C")[..., None]
    return runs_from_bitmap(view.apply(pixels, interpolation="nearest", fill=(0,))[..., 0] > 0)


def iou(truths: Sequence[Runs], predictions: Sequence[Runs], crowd: np.ndarray | None = None) -> np.ndarray:
    """Intersection over union of masks, [N, M] float64 in [0, 1], as COCO computes it.

    truths       N masks
    predictions  M masks of the same size
    crowd        [N] bool; for a crowd it is the intersection over the prediction's own area
    """
    sizes = {tuple(mask.size) for mask in (*truths, *predictions)}
    if len(sizes) > 1:
        raise ValueError(f"masks of one image must have one size but these have {sorted(sizes)}")
    if not truths or not predictions:
        return np.zeros((len(truths), len(predictions)))
    flags = np.zeros(len(truths)) if crowd is None else np.asarray(crowd)
    if flags.shape != (len(truths),):
        raise ValueError(f"crowd must be [{len(truths)}], one a truth, but got shape {list(flags.shape)}")
    found = coco.iou(_as_coco(predictions), _as_coco(truths), flags.astype(int).tolist())
    return np.ascontiguousarray(np.asarray(found).T)


def compressed(runs: Runs) -> bytes:
    """The runs as COCO's files write them, in printable characters; `runs_from_compressed` is the way back.

    Five bits a character, lowest first, in ASCII from "0" on, a sixth bit where the number goes on; from the fourth
    number on, each is the difference to the one before the last.
    """
    return _as_coco([runs])[0]["counts"]


def runs_from_compressed(string: bytes | str, size: Size) -> Runs:
    """The way back from `compressed`; raises ValueError where the string is none, or not of an image of this size."""
    codes = np.frombuffer(string.encode("utf-8", "surrogatepass") if isinstance(string, str) else string, np.uint8)
    codes = codes.astype(np.int64) - 48
    if codes.size == 0 or codes.min() < 0 or codes.max() > 63 or codes[-1] & 32:
        raise ValueError(f"expected COCO's compressed runs but got {string[:40]!r}, which are cut off or none")
    ends = np.flatnonzero((codes & 32) == 0)
    starts = np.concatenate([[0], ends[:-1] + 1])
    places = np.arange(codes.size) - np.repeat(starts, ends - starts + 1)
    if places.max() > 6:
        raise ValueError(f"a number in the compressed runs {string[:40]!r} has more than 32 bits")
    numbers = np.add.reduceat((codes & 31) << (5 * places), starts)
    numbers -= np.where(codes[ends] & 16, 1 << (5 * (places[ends] + 1)), 0)
    numbers[1::2] = np.cumsum(numbers[1::2])
    numbers[2::2] = np.cumsum(numbers[2::2])
    _check(numbers, size)
    return Runs(size, numbers.astype(np.uint32))


def _checked(runs: Runs) -> np.ndarray:
    """The counts; raises ValueError where they are not those of a mask of its size."""
    _check(runs.counts, runs.size)
    return runs.counts


def _check(counts: np.ndarray, size: Size) -> None:
    total, pixels = int(counts.sum(dtype=np.int64)), size[0] * size[1]
    if counts.size == 0 or counts.min() < 0 or total != pixels:
        raise ValueError(
            f"the runs of a mask of (height, width) {tuple(size)} must be 0 or more and add up to {pixels} pixels "
            f"but add up to {total}"
        )


def _as_coco(masks: Sequence[Runs]) -> list[dict]:
    """The masks as faster_coco_eval takes them."""
    plain = [{"size": list(mask.size), "counts": _checked(mask).tolist()} for mask in masks]
    return [coco.frPyObjects(mask, *mask["size"]) for mask in plain]  # pyright: ignore[reportReturnType]


def _drawable(ring: np.ndarray, size: Size) -> np.ndarray:
    """The ring [V, 2] float64, if it can be drawn: that takes time and memory for every pixel of its length."""
    # COCO rounds fifths of pixels, and the decimals that people write are often on the edge of one.
    ring = shortest(ring) if ring.dtype == np.float32 else np.asarray(ring, dtype=np.float64)
    if ring.ndim != 2 or ring.shape[1] != 2 or len(ring) < 3:
        raise ValueError(f"a ring of a polygon must be [V, 2] with 3 points or more but got shape {list(ring.shape)}")
    reach = np.abs(ring).max()
    length = np.abs(ring - np.roll(ring, 1, axis=0)).max(axis=1).sum()
    longest = 1e6 + 4 * size[0] * size[1]  # the outline of a chessboard of pixels is half as long
    if not reach <= FARTHEST or not length <= longest:
        raise ValueError(
            f"a polygon reaches {reach:g} pixels from the corner and is {length:g} pixels long; an image of (height, "
            f"width) {tuple(size)} needs at most {FARTHEST:g} and {longest:g}: clip it to the image"
        )
    return ring


def _shoelace(ring: np.ndarray) -> float:
    x, y = (ring - ring[0]).T
    return abs(float(x @ np.roll(y, -1) - y @ np.roll(x, -1))) / 2


def _box_of_runs(runs: Runs) -> np.ndarray:
    ends = np.cumsum(_checked(runs), dtype=np.int64)
    first, last = ends[0:-1:2], ends[1::2] - 1
    first, last = first[: len(last)][last >= first[: len(last)]], last[last >= first[: len(last)]]
    if first.size == 0:
        return np.zeros(4)
    height = runs.size[0]
    left, right = int(first[0]) // height, int(last[-1]) // height + 1
    if (first // height != last // height).any():  # it goes on at the top of the next column
        return np.array([left, 0, right, height], dtype=np.float64)
    return np.array([left, (first % height).min(), right, (last % height).max() + 1], dtype=np.float64)
