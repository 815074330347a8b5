"""How well every pixel is named, and how well the outlines are met.

With n_ij pixels of class i that were said to be class j, and t_i of class i in all (Long et al. 2015, "Fully
Convolutional Networks for Semantic Segmentation", section 5), all over the whole set:

    pixel accuracy              sum_i n_ii / sum_i t_i
    accuracy of class i         n_ii / t_i
    IoU of class i              n_ii / (t_i + sum_j n_ji - n_ii)
    frequency-weighted IoU      sum_i t_i IoU_i / sum_i t_i

A class that no pixel has, in truth and prediction, has no IoU and is left out of the mean; one that is only predicted
has IoU 0. A class that no pixel of the truth has, has no accuracy and is left out of that mean.

Boundary F (Csurka et al. 2013, "What is a good evaluation measure for semantic segmentation?"; averaged as by
Badrinarayanan et al. 2017, "SegNet"): a pixel of a class is on its boundary when one of its four
neighbours in the image is not of that class. In one image, precision is the share of a class's predicted boundary
that is closer than 0.75 % of the image's diagonal to its true boundary, from pixel centre to pixel centre, recall the
share of the true boundary that is so close to the predicted one, and F their harmonic mean; 0 if only one of the two
has a boundary, undefined and left out if neither has. The number is the mean over the classes that the image truly has,
then over the images.

Void pixels of the truth count nowhere: they are void in both maps before anything is counted, so what is predicted
there changes no number; the rim of a class towards void is a boundary of it. Void that is predicted where the truth
names a class is wrong, and of no class.
"""

import math
from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np

from saccade.structures import VOID, LabelMap, value_counts

MOST_CLASSES = 254


class Outcome(NamedTuple):
    """One image.

    pairs       [n] uint16, ascending: truth times (K + 1) plus prediction, K for void; only those that occur
    counts      [n] uint32: how many pixels
    boundaries  [m, 5] uint32, a row for each class that the image truly has: the class; pixels on its true boundary,
                those of them that are met; pixels on its predicted boundary, those of them that are right
    """

    pairs: np.ndarray
    counts: np.ndarray
    boundaries: np.ndarray


@dataclass(frozen=True)
class ClassRow:
    """One class: how many pixels have it; IoU, accuracy and boundary F in percent, nan where undefined."""

    name: str
    count: int
    iou: float
    accuracy: float
    boundary_f: float


class SegmentationMetric:
    """Keeps one small record an image, by the image's id: so nothing depends on order, batches or processes."""

    def __init__(self, classes: tuple[str, ...]) -> None:
        if not 1 <= len(classes) <= MOST_CLASSES:
            raise ValueError(f"a map of labels tells 1 to {MOST_CLASSES} classes apart, but there are {len(classes)}")
        self.classes = classes
        self.outcomes: dict[str, Outcome] = {}

    def update(self, prediction: LabelMap, truth: LabelMap, id: str) -> None:
        """Count one image, both maps in original pixels."""
        if prediction.labels.shape != truth.labels.shape:
            raise ValueError(
                f"image {id}: the predicted map is {list(prediction.labels.shape)} (height, width), the true one "
                f"{list(truth.labels.shape)}; bring the prediction to the size of the original image"
            )
        for what, labels in (("prediction", prediction.labels), ("truth", truth.labels)):
            wrong = labels[(labels >= len(self.classes)) & (labels != VOID)]
            if wrong.size:
                raise ValueError(
                    f"image {id}: the {what} has the label {wrong[0]}; expected 0 to {len(self.classes) - 1}, "
                    f"or {VOID} for void"
                )
        said = np.where(truth.labels == VOID, VOID, prediction.labels)
        self.outcomes[id] = Outcome(*_pairs(truth.labels, said, len(self.classes)), _boundaries(truth.labels, said))

    def merge(self, other: "SegmentationMetric") -> None:
        """Add what another process has counted."""
        self.outcomes |= other.outcomes

    def result(self) -> dict[str, float]:
        """mean_iou, mean_accuracy, frequency_weighted_iou, pixel_error, boundary_f, in percent; nan where undefined."""
        confusion = self.confusion()
        right, total = int(np.trace(confusion)), int(confusion.sum())
        rows = self.per_class()
        shared = [row.count * row.iou for row in rows if row.count]
        images = [_mean([_f(row) for row in outcome.boundaries.tolist()]) for outcome in self.outcomes.values()]
        return {
            "mean_iou": _mean([row.iou for row in rows]),
            "mean_accuracy": _mean([row.accuracy for row in rows]),
            "frequency_weighted_iou": math.fsum(shared) / total if total else math.nan,
            "pixel_error": 100 * (total - right) / total if total else math.nan,
            "boundary_f": 100 * _mean(images),
        }

    def confusion(self) -> np.ndarray:
        """[K, K + 1] int64 pixels: row the truth, column what was predicted, the last of them void."""
        width = len(self.classes) + 1
        counts = np.zeros(len(self.classes) * width, dtype=np.int64)
        for outcome in self.outcomes.values():
            counts[outcome.pairs] += outcome.counts
        return counts.reshape(-1, width)

    def per_class(self) -> list[ClassRow]:
        """One row a class, in the order of the classes."""
        confusion = self.confusion()
        outlines: list[list[float]] = [[] for _ in self.classes]
        for outcome in self.outcomes.values():
            for row in outcome.boundaries.tolist():
                outlines[row[0]].append(_f(row))
        rows = []
        for k, name in enumerate(self.classes):
            right, count, said = int(confusion[k, k]), int(confusion[k].sum()), int(confusion[:, k].sum())
            iou, accuracy = (100 * right / of if of else math.nan for of in (count + said - right, count))
            rows.append(ClassRow(name, count, iou, accuracy, 100 * _mean(outlines[k])))
        return rows


def _mean(values: list[float]) -> float:
    """Of those that are defined; nan if none is. The same in any order."""
    defined = [value for value in values if not math.isnan(value)]
    return math.fsum(defined) / len(defined) if defined else math.nan


def _f(row: list[int]) -> float:
    """Boundary F in [0, 1] of a row of `Outcome.boundaries`; nan where neither map has a boundary of the class."""
    _, true, met, predicted, right = row
    if not true and not predicted:
        return math.nan
    if not met or not right:
        return 0.0
    precision, recall = right / predicted, met / true
    return 2 * precision * recall / (precision + recall)


def _pairs(truth: np.ndarray, said: np.ndarray, classes: int) -> tuple[np.ndarray, np.ndarray]:
    """`Outcome.pairs` and `.counts` of two maps [H, W] uint8."""
    counts = np.zeros(classes * (classes + 1), dtype=np.int64)
    # In strips, as counting makes eight bytes of each pixel's one.
    for row in range(0, len(truth), 256):
        true, own = truth[row : row + 256], said[row : row + 256]
        known = true != VOID
        pairs = true[known].astype(np.uint16) * np.uint16(classes + 1) + np.minimum(own[known], np.uint8(classes))
        counts += np.bincount(pairs, minlength=len(counts))
    pairs = np.flatnonzero(counts)
    return pairs.astype(np.uint16), counts[pairs].astype(np.uint32)


def _boundaries(truth: np.ndarray, said: np.ndarray) -> np.ndarray:
    """`Outcome.boundaries` of two maps [H, W] uint8."""
    height, width = truth.shape
    edges = [_edges(labels) for labels in (truth, said)]
    present = np.flatnonzero(value_counts(truth)[:VOID])
    rows = np.zeros((len(present), 5), dtype=np.uint32)
    for row, k in zip(rows, present, strict=True):
        true, predicted = edges[0] & (truth == k), edges[1] & (said == k)
        x, y, w, h = cv2.boundingRect((true | predicted).view(np.uint8))
        true, predicted = true[y : y + h, x : x + w], predicted[y : y + h, x : x + w]
        met, right = _near(true, predicted, height, width), _near(predicted, true, height, width)
        row[:] = k, true.sum(), met, predicted.sum(), right
    return rows


def _edges(labels: np.ndarray) -> np.ndarray:
    """[H, W] bool: which pixels have a neighbour, of four, with another label."""
    edges = np.zeros(labels.shape, dtype=bool)
    for changed, one, other in (
        (labels[1:] != labels[:-1], edges[1:], edges[:-1]),
        (labels[:, 1:] != labels[:, :-1], edges[:, 1:], edges[:, :-1]),
    ):
        one |= changed
        other |= changed
    return edges


def _near(points: np.ndarray, others: np.ndarray, height: int, width: int) -> int:
    """How many of the points, [h, w] bool, have one of the others closer than 0.75 % of the diagonal of the image."""
    if not points.any() or not others.any():
        return 0
    distances = cv2.distanceTransform((~others).view(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)[points]
    # Squared distances are whole numbers, and so is this comparison: nothing hangs on a rounding.
    squared = np.rint(distances.astype(np.float64) ** 2)
    return int((160_000 * squared < 9 * (height**2 + width**2)).sum())
