"""The outlines of pixels, along their edges: one ring a part, holes and all."""

from collections.abc import Iterable

import numpy as np


def outlines(covered: np.ndarray) -> tuple[np.ndarray, ...]:
    """One ring for each part of pixels that hang together by their edges (4-connected), from the top down.

    covered  [H, W] bool

    Returns rings [V, 2] float64 (x, y), clockwise as one sees them, of corners only. The edge of a hole runs the other
    way round and is reached by a cut straight down from the edge above it, so a ring fills as it should both by the
    even-odd and by the winding rule, and in COCO's rasteriser, which passes over vertical edges.
    """
    padded = np.pad(covered, 1)
    y, x, follows = _corners(padded)
    firsts = np.array([loop[0] for loop in _loops(follows, range(len(follows)))], dtype=np.int64)
    is_part = padded[y[firsts] + 1, x[firsts] + 1]
    follows, cuts = _with_cuts(padded, y, x, follows, firsts[~is_part])
    points = np.concatenate([np.stack([x, y], axis=1), cuts]).astype(np.float64)
    return tuple(_corners_only(points[loop]) for loop in _loops(follows, firsts[is_part]))


def _corners(padded: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The corners of all outlines, row by row, and how they follow each other with the covered pixels on the right.

    padded  [H + 2, W + 2] bool, not covered all around

    Returns y [n], x [n] and follows [n], the number of the next corner, all int64. Where two parts touch at a point,
    each of them has a corner there. Corners 2 m and 2 m + 1 are the left and right end of a horizontal edge.
    """
    nw, ne, sw, se = padded[:-1, :-1], padded[:-1, 1:], padded[1:, :-1], padded[1:, 1:]
    touching = (nw == se) & (ne == sw) & (nw != ne)
    y, x = np.nonzero(touching | (nw ^ ne ^ sw ^ se))
    copies = 1 + touching[y, x]
    y, x = np.repeat(y, copies), np.repeat(x, copies)
    number = np.arange(len(y))
    # Of two corners at a point the first has the edge to the left, the second that to the right; the edge upwards
    # belongs to the first if the pixels there are north-west and south-east, else to the second.
    second = np.concatenate([[False], (y[1:] == y[:-1]) & (x[1:] == x[:-1])])
    swapped = touching[y, x] & ne[y, x]
    by_column = np.lexsort((second ^ swapped, y, x))
    down = np.empty_like(number)
    down[by_column] = by_column.reshape(-1, 2)[:, ::-1].ravel()
    rightwards = np.repeat(se[y[::2], x[::2]], 2)  # edges with covered pixels below them
    leaves_across = rightwards == (number % 2 == 0)
    return y, x, np.where(leaves_across, number ^ 1, down)


def _with_cuts(
    padded: np.ndarray, y: np.ndarray, x: np.ndarray, follows: np.ndarray, holes: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The loops of holes joined to the loops above them: to and fro on a cut straight down to their first corner.

    holes  [h] int64, the first corner of each hole

    Returns follows [n + 2 h] and the new points [2 h, 2] int64 (x, y), the two ends of each cut there and back.
    """
    holes = holes[np.argsort(-x[holes])]  # of several on one edge, the one joined last comes first
    above = np.array([np.flatnonzero(~padded[: y[hole] + 1, x[hole] + 1])[-1] for hole in holes], dtype=np.int64)
    width = padded.shape[1]
    edges = np.searchsorted(y[::2] * width + x[::2], above * width + x[holes], side="right") - 1
    after = follows.tolist()
    for hole, left_end in zip(holes.tolist(), (2 * edges).tolist(), strict=True):
        after += [after[hole], after[left_end]]
        after[left_end], after[hole] = len(after) - 2, len(after) - 1
    return np.array(after, dtype=np.int64), np.repeat(np.stack([x[holes], above], axis=1), 2, axis=0)


def _loops(follows: np.ndarray, starts: Iterable[int]) -> list[list[int]]:
    """The closed loops through these corners, each once and from the first of them on."""
    after, seen = follows.tolist(), bytearray(len(follows))
    loops = []
    for first in starts:
        if not seen[first]:
            loop, corner = [], first
            while not seen[corner]:
                seen[corner] = 1
                loop.append(corner)
                corner = after[corner]
            loops.append(loop)
    return loops


def _corners_only(ring: np.ndarray) -> np.ndarray:
    """The ring [V, 2] without points that lie in line with both neighbours."""
    before, after = np.roll(ring, 1, axis=0), np.roll(ring, -1, axis=0)
    return ring[~((before == ring) & (ring == after)).any(axis=1)]


def clipped(ring: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """What of a ring [V, 2] (x, y) is inside the image (height, width); [0, 2] where nothing is.

    Side by side (Sutherland and Hodgman 1974): what is outside is cut off where its edges cross the side.
    """
    for axis, limit, sign in ((0, 0.0, 1), (0, float(size[1]), -1), (1, 0.0, 1), (1, float(size[0]), -1)):
        if not len(ring):
            return ring
        inside = sign * (ring[:, axis] - limit) >= 0
        points: list[np.ndarray] = []
        for n, (point, after) in enumerate(zip(ring, np.roll(ring, -1, axis=0), strict=True)):
            if inside[n]:
                points.append(point)
            if inside[n] != inside[(n + 1) % len(ring)]:
                share = (limit - point[axis]) / (after[axis] - point[axis])
                crossing = point + share * (after - point)
                crossing[axis] = limit
                points.append(crossing)
        ring = np.array(points).reshape(-1, 2)
    return ring
