"""Keypoints: how they move with the image, and how alike two sets of them are."""

from collections.abc import Sequence

import numpy as np

from saccade.geometry.view import View


def move(keypoints: np.ndarray, view: View, mirror: Sequence[int] | None) -> np.ndarray:
    """The keypoints in network pixels; in a mirror, what was left is right.

    keypoints  [..., P, 3] float (x, y, visibility), original pixels; visibility is kept, points of 0 become (0, 0, 0)
    mirror     P numbers: which keypoint each one is in a mirror; None only if the view is no mirror

    Returns [..., P, 3] float64, network pixels.
    """
    moved = np.concatenate([view.move_points(keypoints[..., :2]), keypoints[..., 2:].astype(np.float64)], axis=-1)
    moved[keypoints[..., 2] == 0] = 0
    if not view.mirrors:
        return moved
    if mirror is None:
        raise ValueError("the view mirrors, so left and right keypoints must swap: pass which is which in a mirror")
    if len(mirror) != moved.shape[-2]:
        raise ValueError(f"mirror must name {moved.shape[-2]} keypoints, as many as there are, but names {len(mirror)}")
    return moved[..., list(mirror), :]


def oks(
    truths: np.ndarray, predictions: np.ndarray, boxes: np.ndarray, areas: np.ndarray, sigmas: Sequence[float]
) -> np.ndarray:
    """Object keypoint similarity of each truth with each prediction, [N, M] float64 in [0, 1], as COCO computes it.

    truths       [N, P, 3] float (x, y, visibility), pixels; only points of visibility above 0 count
    predictions  [M, P, 2 or more] float (x, y, ...), pixels
    boxes        [N, 4] xyxy of the truths: one without a marked point is as far as points lie outside its box
                 thrice as wide and high
    areas        [N] square pixels of the truths
    sigmas       P numbers above 0: how far apart two people mark a keypoint, relative to the root of the area

    The mean over keypoints of exp(-d^2 / (2 area (2 sigma)^2)), d the distance
    (https://cocodataset.org/#keypoints-eval, "Object Keypoint Similarity").
    """
    points = np.asarray(predictions, dtype=np.float64)[None, :, :, :2]
    where, marked = truths[:, None, :, :2], truths[:, None, :, 2] > 0
    low, high = boxes[:, None, None, :2], boxes[:, None, None, 2:]
    low, high = low - (high - low), high + (high - low)
    beyond = np.maximum(low - points, 0) + np.maximum(points - high, 0)
    none_marked = ~np.any(marked, axis=2)[..., None]
    squared = (np.where(none_marked[..., None], beyond, points - where) ** 2).sum(axis=3)
    # np.spacing(1) is COCO's guard against an area of 0.
    variances = (2 * np.asarray(sigmas, dtype=np.float64)) ** 2
    alike = np.exp(-squared / variances / (areas[:, None, None] + np.spacing(1)) / 2)
    counts = np.broadcast_to(marked | none_marked, alike.shape)
    return (alike * counts).sum(axis=2) / np.maximum(counts.sum(axis=2), 1)
