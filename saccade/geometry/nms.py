"""Non-maximum suppression: of boxes that overlap, only the best stays (or, soft, the others count less).

Many small operations one after the other, each too small to be worth a thread or the way to a graphics card: so it is
done in numpy on the processor, wherever the boxes come from.
"""

from typing import Literal

import numpy as np
import torch
from torch import Tensor

# Boxes that are decided on together. More would mean more pairs, fewer would mean more and smaller operations.
BLOCK = 128
# Pairs looked at in one operation, at least BLOCK x BLOCK, so that what it works on stays in the processor's cache.
PAIRS = 65536
# How many times as many boxes as are wanted are looked at first, and again where too few of them stay.
BEST = 4


def nms(
    boxes: Tensor, scores: Tensor, threshold: float, labels: Tensor | None = None, most: int | None = None
) -> Tensor:
    """Which boxes stay: from the best score down, each whose IoU with every better one that stays is not above a limit.

    boxes      [N, 4] xyxy, finite; an empty one overlaps nothing
    scores     [N], not nan; of equal ones the first is the better
    threshold  the limit, in [0, 1]
    labels     [N] int64: boxes of different labels leave each other alone; None: all are of one kind
    most       how many of those that stay are wanted, the best; None for all

    Returns [n] int64, the indices of those that stay, best score first, on the device of the boxes.

    Just what going through them one by one gives, IoU and limit in the precision of the boxes (at least float32), but
    a block at a time: it is decided who stays within the block, and these thin out all that come after it. Whether a
    box stays hangs on better ones alone: where enough stay of the best few, the others need no look.
    """
    if most is not None and most < 1:
        raise ValueError(f"most must be at least 1, or None for all, but got {most}")
    table, by_score = _prepared(boxes, scores, threshold, labels)
    by_score = np.argsort(-by_score, kind="stable")
    kinds = None if labels is None else labels.detach().cpu().numpy()
    looked_at = len(by_score) if most is None else BEST * most
    stay = _of_the_best(table, by_score[:looked_at], kinds, threshold)
    while most is not None and len(stay) < most and looked_at < len(by_score):
        looked_at *= BEST
        stay = _of_the_best(table, by_score[:looked_at], kinds, threshold)
    return torch.from_numpy(stay[:most]).to(boxes.device)


def soft_nms(
    boxes: Tensor,
    scores: Tensor,
    decay: Literal["linear", "gaussian"],
    *,
    threshold: float = 0.3,
    sigma: float = 0.5,
    floor: float = 0.001,
    labels: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Boxes that overlap a better one lose score, not their life (Bodla et al. 2017, section 3, arXiv:1704.04503).

    boxes   [N, 4] xyxy, finite
    scores  [N] in [0, 1]; of equal ones the first is the better
    decay   "linear": times 1 - IoU where that is at least `threshold`; "gaussian": times exp(-IoU^2 / sigma), always
    floor   above 0; boxes whose score falls below it are gone
    labels  [N] int64: boxes of different labels leave each other alone; None: all are of one kind

    Returns the indices [n] int64 of the boxes that are left and their new scores [n], best first.
    """
    table, left = _prepared(boxes, scores, threshold, labels)
    if decay not in ("linear", "gaussian"):
        raise ValueError(f'decay must be "linear" or "gaussian" but got {decay!r}')
    if not (sigma > 0 and floor > 0):
        raise ValueError(f"sigma and floor must be above 0 but got {sigma} and {floor}")
    if left.size and not (left.min() >= 0 and left.max() <= 1):
        raise ValueError(f"scores must be in [0, 1] but go from {left.min()} to {left.max()}")
    kinds = None if labels is None else labels.detach().cpu().numpy()
    left, work = left.copy(), np.empty((3, left.size), dtype=table.dtype)
    stay, final = [], []
    while left.size and left[best := int(left.argmax())] >= floor:
        stay.append(best)
        final.append(left[best])
        overlap = np.maximum(_ious(table[:, best : best + 1], table, work)[0], 0)
        linear = np.where(overlap >= threshold, 1 - overlap, 1)
        factor = linear if decay == "linear" else np.exp(-(overlap**2) / sigma)
        left *= factor if kinds is None else np.where(kinds == kinds[best], factor, 1)
        left[best] = -1  # below any floor from now on
    indices = torch.tensor(stay, dtype=torch.int64, device=boxes.device)
    return indices, torch.tensor(np.array(final), dtype=scores.dtype, device=scores.device)


def _of_the_best(table: np.ndarray, by_score: np.ndarray, kinds: np.ndarray | None, threshold: float) -> np.ndarray:
    """Which of the boxes `by_score` [n] of a table [5, N] stay, in that order."""
    if kinds is None:
        return by_score.take(_staying(table.take(by_score, axis=1), None, threshold))
    # Boxes of one label stand together, the best first.
    by_label = np.argsort(kinds.take(by_score), kind="stable")
    in_order = by_score.take(by_label)
    stay = _staying(table.take(in_order, axis=1), kinds.take(in_order), threshold)
    return by_score.take(np.sort(by_label.take(stay)))


def _prepared(boxes: Tensor, scores: Tensor, threshold: float, labels: Tensor | None) -> tuple[np.ndarray, np.ndarray]:
    """A table [5, N] of left, top, right, bottom and area, and the scores [N]; raises ValueError where they are none.

    Areas are never quite 0, so that IoU is never 0 / 0.
    """
    count = len(boxes)
    if boxes.shape != (count, 4) or scores.shape != (count,) or (labels is not None and labels.shape != (count,)):
        shapes = [list(column.shape) for column in (boxes, scores, labels) if column is not None]
        raise ValueError(f"boxes must be [N, 4], scores and labels [N], of one N, but got shapes {shapes}")
    if not 0 <= threshold <= 1:
        raise ValueError(f"threshold must be in [0, 1] but got {threshold}")
    xyxy, confidence = _numbers(boxes), _numbers(scores)
    finfo = np.finfo(xyxy.dtype)
    largest = np.sqrt(finfo.max) / 4  # so that neither an area nor the sum of two overflows
    if count and not np.abs(xyxy).max() < largest:
        raise ValueError(f"boxes must be finite and within {largest:.0e} pixels: has the network's training diverged?")
    if np.isnan(confidence).any():
        raise ValueError("scores must be numbers but some are nan: has the network's training diverged?")
    table = np.empty((5, count), dtype=xyxy.dtype)
    table[:4] = xyxy.T
    width, height = np.maximum(table[2:4] - table[:2], 0)
    table[4] = width * height + finfo.tiny
    return table, confidence


def _numbers(tensor: Tensor) -> np.ndarray:
    """As an array of float64 if it is of that, else of float32."""
    tensor = tensor.detach().cpu()
    return (tensor if tensor.dtype == torch.float64 else tensor.float()).numpy()


def _staying(table: np.ndarray, kinds: np.ndarray | None, threshold: float) -> np.ndarray:
    """Which boxes of a table [5, N] stay, [n] int64.

    kinds  [N] labels, equal ones together; None: all are of one kind. Within a label the best comes first
    """
    left = np.arange(table.shape[1])
    work = np.empty((3, max(PAIRS, len(left))), dtype=table.dtype)
    limit = table.dtype.type(threshold)
    in_order = ~np.tri(BLOCK, dtype=bool)  # [BLOCK, BLOCK]: whether the first is better than the second
    stay = [left[:0]]
    while len(left):
        now, rest = table[:, :BLOCK], table[:, BLOCK:]
        size = now.shape[1]
        suppresses = (_ious(now, now, work) > limit) & in_order[:size, :size]
        if kinds is None:
            keep = _survivors(suppresses)
            free = _free(now.take(keep, axis=1), rest, limit, work)
        else:
            keep = _survivors(suppresses & (kinds[:BLOCK, None] == kinds[:BLOCK]))
            # Of what comes behind the block, only boxes of the block's last label meet any of it.
            last, kinds_behind = kinds[:BLOCK][-1], kinds[BLOCK:]
            reach = int(np.searchsorted(kinds_behind, last, side="right"))
            near = _free(now.take(keep[kinds[keep] == last], axis=1), rest[:, :reach], limit, work)
            free = np.concatenate([near, np.arange(reach, rest.shape[1])])
            kinds = kinds_behind.take(free)
        stay.append(left[:BLOCK].take(keep))
        table, left = rest.take(free, axis=1), left[BLOCK:].take(free)
    return np.concatenate(stay)


def _ious(first: np.ndarray, second: np.ndarray, work: np.ndarray) -> np.ndarray:
    """IoU [n, m] of the boxes of two tables [5, n] and [5, m], in the memory of `work`; below 0 is as good as 0.

    numpy takes the smaller of two numbers four times faster where both lie in memory one behind the other, hence the
    copies of columns to full planes.
    """
    n, m = first.shape[1], second.shape[1]
    width, height, spare = work[:, : n * m].reshape(3, n, m)
    left, top, right, bottom, areas = first[:, :, None]
    for extent, low, high, i in ((width, left, right, 0), (height, top, bottom, 1)):
        np.copyto(extent, high)
        np.minimum(extent, second[2 + i], out=extent)
        np.copyto(spare, low)
        np.maximum(spare, second[i], out=spare)
        if extent is width:  # one of them is enough for the area not to be above 0 where nothing is shared
            np.maximum(extent, spare, out=extent)
        np.subtract(extent, spare, out=extent)
    shared = np.multiply(width, height, out=width)
    union = np.add(areas, second[4], out=spare)
    union -= shared
    return np.divide(shared, union, out=shared)


def _survivors(suppresses: np.ndarray) -> np.ndarray:
    """Those of a block that stay, [n] int64; suppresses [B, B] bool, the first the second, which comes later.

    Who stays is whom none that stays suppresses. Starting with all, each round settles at least one more box for good,
    in practice many, until nothing changes.
    """
    keep, before = ~np.any(suppresses, axis=0), None
    while before is None or not np.array_equal(keep, before):
        keep, before = ~np.any(suppresses[keep], axis=0), keep
    return np.flatnonzero(keep)


def _free(kept: np.ndarray, rest: np.ndarray, limit: np.floating, work: np.ndarray) -> np.ndarray:
    """Those of the table `rest` that none of `kept` suppresses, [n] int64."""
    most = np.zeros(rest.shape[1], dtype=rest.dtype)
    step = max(1, PAIRS // max(1, len(most)))
    for start in range(0, kept.shape[1], step):
        ious = _ious(kept[:, start : start + step], rest, work)
        np.maximum(most, np.maximum.reduce(ious, axis=0), out=most)
    return np.flatnonzero(most <= limit)
