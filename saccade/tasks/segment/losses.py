"""Losses of label maps. Each is a mean over the pixels somebody labelled, and 0 where there are none.

Each takes logits [B, K, H, W] float32 and labels [B, H, W] int64, 0..K-1 or 255 for void, and gives a scalar.
"""

from collections.abc import Callable, Sequence

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from saccade.structures import VOID

FOCUS = 2.0  # gamma of Lin et al. 2017, section 3.2

Loss = Callable[[Tensor, Tensor, Tensor], Tensor]  # of logits, labels and a weight for each pixel [B, H, W]


def cross_entropy(logits: Tensor, labels: Tensor, weights: Tensor) -> Tensor:
    """Softmax cross-entropy."""
    return _mean(F.cross_entropy(logits, labels, ignore_index=VOID, reduction="none"), weights)


def binary(logits: Tensor, labels: Tensor, weights: Tensor) -> Tensor:
    """Each class by itself against all others, by a sigmoid; the mean over the classes."""
    wanted = _one_hot(logits, labels)
    return _mean(F.binary_cross_entropy_with_logits(logits, wanted, reduction="none").mean(1), weights)


def focal(logits: Tensor, labels: Tensor, weights: Tensor) -> Tensor:
    """Cross-entropy in which what is nearly right counts little (Lin et al., "Focal Loss for Dense Object Detection",
    ICCV 2017, equation 4), here of the softmax."""
    entropy = F.cross_entropy(logits, labels, ignore_index=VOID, reduction="none")
    return _mean((1 - (-entropy).exp()) ** FOCUS * entropy, weights)


def dice(logits: Tensor, labels: Tensor, weights: Tensor) -> Tensor:
    """1 minus the overlap 2 sum(p q) / (sum(p) + sum(q)) of what is said and what is true, over the batch, the mean of
    the classes that are there (Sudre et al., "Generalised Dice overlap", 2017, section 2, with equal weights)."""
    known = weights * (labels != VOID)
    shares, true = logits.softmax(1) * known[:, None], _one_hot(logits, labels) * known[:, None]
    shared, total, there = (sums.sum((0, 2, 3)) for sums in (shares * true, shares + true, true))
    return (1 - 2 * shared[there > 0] / total[there > 0]).sum() / max(1, int((there > 0).sum()))


def lovasz(logits: Tensor, labels: Tensor, weights: Tensor) -> Tensor:
    """The piecewise linear extension of 1 minus the IoU of each class that is there (Berman, Rannen Triki and
    Blaschko, "The Lovasz-Softmax loss", CVPR 2018, equations 8, 9, 11), over the batch. Pixels count alike: `weights`
    have no place in it."""
    known = labels != VOID
    shares, labels = logits.softmax(1).movedim(1, -1)[known], labels[known]
    losses = []
    for label in labels.unique():
        true = (labels == label).float()
        errors = (true - shares[:, label]).abs()
        order = _worst_first(errors)
        errors, true = errors[order], true[order]
        # Equation 9: the IoU lost as more and more of the pixels, the worst first, are taken for wrong.
        missing = true.sum() - true.cumsum(0)
        lost = 1 - missing / (true.sum() + (1 - true).cumsum(0))
        losses.append((errors * lost.diff(prepend=lost.new_zeros(1))).sum())
    return torch.stack(losses).mean() if losses else logits.sum() * 0


def _worst_first(errors: Tensor) -> Tensor:
    """The order of [N] float32 from large to small, [N] int64."""
    if errors.device.type == "cpu":
        # On a million numbers a sixth of the time of torch's.
        return torch.from_numpy(np.argsort(-errors.detach().numpy()))
    return errors.argsort(descending=True)


LOSSES: dict[str, Loss] = {
    "cross_entropy": cross_entropy,
    "binary": binary,
    "focal": focal,
    "dice": dice,
    "lovasz": lovasz,
}


def _mean(values: Tensor, weights: Tensor) -> Tensor:
    """Of the pixels with a weight, by their weight; 0 where none has one."""
    return (values * weights).sum() / weights.sum().clamp(min=torch.finfo(weights.dtype).tiny)


def _one_hot(logits: Tensor, labels: Tensor) -> Tensor:
    """[B, K, H, W] like the logits; void is all 0."""
    known = labels != VOID
    wanted = torch.zeros_like(logits)
    return wanted.scatter_(1, (labels * known)[:, None], known[:, None].to(logits.dtype))


def pixel_weights(labels: Tensor, class_weights: Tensor | None, border: float, sigma: float) -> Tensor:
    """How much each pixel counts, [B, H, W] float32; void not at all.

    labels         [B, H, W] int64
    class_weights  [K], a factor for the pixels of each class; None for 1
    border, sigma  as of `border_weights`; a border of 0 adds nothing
    """
    weights = (labels != VOID).float()
    if class_weights is not None:
        weights = weights * class_weights.to(labels.device)[labels * (labels != VOID)]
    if border:
        added = np.stack([border_weights(own, border, sigma) for own in labels.cpu().numpy().astype(np.uint8)])
        weights = weights + torch.from_numpy(added).to(labels.device) * (labels != VOID)
    return weights


def border_weights(labels: np.ndarray, border: float = 10.0, sigma: float = 5.0) -> np.ndarray:
    """What a pixel between two things counts more, so that the narrow gaps between them are learnt:

        border * exp(-(d1 + d2)^2 / (2 sigma^2))

    with the distances in pixels to the nearest and the second nearest thing (Ronneberger et al. 2015, "U-Net",
    equation 2). Class 0 is the ground; of all others, what hangs together is a thing.

    labels  [H, W] uint8, 255 void

    Returns [H, W] float32, 0 outside the ground.
    """
    first, second = (np.full(labels.shape, np.inf, dtype=np.float32) for _ in range(2))
    reach = int(np.ceil(4 * sigma))  # beyond, exp(-8) and less
    for label in np.unique(labels[(labels != VOID) & (labels != 0)]):
        count, parts, boxes, _ = cv2.connectedComponentsWithStats((labels == label).view(np.uint8), connectivity=4)
        for part in range(1, count):
            x, y, w, h = boxes[part, :4]
            window = slice(max(0, y - reach), y + h + reach), slice(max(0, x - reach), x + w + reach)
            away = cv2.distanceTransform((parts[window] != part).view(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
            nearest, next_nearest = first[window], second[window]
            np.minimum(next_nearest, np.maximum(nearest, away), out=next_nearest)
            np.minimum(nearest, away, out=nearest)
    gaps = np.exp(-((first + second) ** 2) / (2 * sigma**2))
    return np.where(labels == 0, border * gaps, 0).astype(np.float32)


def balanced(frequencies: Sequence[float] | np.ndarray) -> list[float]:
    """A factor for each class: the median of the classes' frequencies over its own (Eigen and Fergus, "Predicting
    Depth, Surface Normals and Semantic Labels", ICCV 2015, section 6.3.2); a class without a pixel counts 1.

    frequencies  K numbers: the share of a class in the pixels of the images that it is in
    """
    there = np.array(frequencies, dtype=np.float64)
    median = np.median(there[there > 0]) if there.any() else 1.0
    return np.where(there > 0, median / np.where(there > 0, there, 1), 1.0).tolist()
