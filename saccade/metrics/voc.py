"""How well things are found, as Pascal VOC counts it.

Every class by itself: detections are taken best score first, over all images. Each is compared with the thing of its
class and image that it overlaps most (intersection over union; of equals the first). If the overlap reaches the
threshold, the detection is right, but only the first that comes to that thing: any later one is wrong, also if it
overlaps some other thing enough. If it does not, the detection is wrong. A detection whose thing is difficult counts
neither for nor against (Everingham et al. 2010, "The Pascal Visual Object Classes (VOC) Challenge").

Boxes are continuous here. VOC's own code takes xmax and ymax for the last pixel inside, so a box of VOC's integers
becomes ours when 1 is added to both (or 1 taken off xmin and ymin, which count from 1).
"""

import math
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np

from saccade.metrics.counting import check, in_order
from saccade.structures import Instances

WRONG, RIGHT, NEITHER = 0, 1, 2


class Outcome(NamedTuple):
    """One image.

    things  [N] int32: the classes of the things that count
    labels  [D] int32: the classes of the detections that count
    scores  [D] float
    right   [D] bool: found a thing that none of a better score had found
    """

    things: np.ndarray
    labels: np.ndarray
    scores: np.ndarray
    right: np.ndarray


@dataclass(frozen=True)
class ClassRow:
    """One class: how many things count, and AP in percent; nan without any thing."""

    name: str
    count: int
    AP: float


class VocMetric:
    """VOC's mean average precision, from one small record an image, by the image's id.

    classes    K names
    threshold  the least overlap of a right detection
    points     "all": the area under the precision, made to fall with the recall, as in VOC from 2010 on; 11: the mean
               of that precision at recalls 0, 0.1 ... 1, as in VOC 2007

    Crowds count as difficult. Detections of equal score count in the order of their images' ids (2 before 10), then as
    they came.
    """

    def __init__(self, classes: tuple[str, ...], threshold: float = 0.5, points: Literal["all", 11] = "all") -> None:
        if not 0 < threshold <= 1:
            raise ValueError(f"threshold must be above 0 and at most 1 but got {threshold}")
        if points not in ("all", 11):
            raise ValueError(f'points must be "all" or 11 but got {points!r}')
        self.classes, self.threshold = classes, threshold
        self.points: Literal["all", 11] = points
        self.outcomes: dict[str, Outcome] = {}

    def update(self, prediction: Instances, truth: Instances, id: str) -> None:
        """Count one image, both in original pixels."""
        check(prediction, truth, self.classes, id)
        left_out = np.zeros(len(truth), dtype=bool)
        for column in (truth.difficult, truth.crowd):
            if column is not None:
                left_out |= column
        verdicts = _judged(prediction, truth, left_out, self.threshold)
        counts = verdicts != NEITHER
        self.outcomes[id] = Outcome(
            truth.labels[~left_out].astype(np.int32),
            prediction.labels[counts].astype(np.int32),
            np.asarray(prediction.scores)[counts],
            verdicts[counts] == RIGHT,
        )

    def merge(self, other: "VocMetric") -> None:
        """Add what another process has counted."""
        self.outcomes |= other.outcomes

    def result(self) -> dict[str, float]:
        """mAP_voc: the mean over the classes that have a thing to find, in percent; nan if none has."""
        defined = [row.AP for row in self.per_class() if row.count]
        return {"mAP_voc": math.fsum(defined) / len(defined) if defined else math.nan}

    def per_class(self) -> list[ClassRow]:
        """One row a class, in the order of the classes."""
        ordered = [self.outcomes[id] for id in in_order(self.outcomes)]
        nothing = Outcome(*(np.zeros(0, dtype=kind) for kind in (np.int32, np.int32, np.float64, bool)))
        things, labels, scores, right = (np.concatenate(parts) for parts in zip(nothing, *ordered, strict=True))
        order = np.argsort(-scores.astype(np.float64), kind="stable")
        labels, right = labels[order], right[order]
        rows = []
        for k, name in enumerate(self.classes):
            count = int((things == k).sum())
            value = 100 * average_precision(right[labels == k], count, self.points) if count else math.nan
            rows.append(ClassRow(name, count, value))
        return rows


def average_precision(right: np.ndarray, count: int, points: Literal["all", 11]) -> float:
    """In [0, 1].

    right   [D] bool: which detections are right, best score first
    count   how many things there are to find, 1 or more
    points  as in `VocMetric`
    """
    hits = np.cumsum(right)
    precision = hits / np.arange(1, len(right) + 1)
    # The best precision that is to be had at this recall or any higher one.
    best = np.maximum.accumulate(precision[::-1])[::-1]
    if points == "all":
        # Recall grows only where a detection is right, each time by the same.
        return math.fsum(best[right]) / count
    # In whole numbers: a recall of 3 out of 10 reaches 0.3, whatever 0.1 times 3 is in binary.
    reached = [np.flatnonzero(10 * hits >= tenth * count) for tenth in range(11)]
    return math.fsum(best[places[0]] for places in reached if len(places)) / 11


def _judged(prediction: Instances, truth: Instances, left_out: np.ndarray, threshold: float) -> np.ndarray:
    """[D] uint8: WRONG, RIGHT or NEITHER.

    left_out  [N] bool: things that count neither for nor against
    """
    verdicts = np.full(len(prediction), WRONG, dtype=np.uint8)
    overlaps = _overlaps(prediction.boxes.astype(np.float64), truth.boxes.astype(np.float64))
    overlaps[prediction.labels[:, None] != truth.labels[None]] = -1
    taken = np.zeros(len(truth), dtype=bool)
    if not len(truth):
        return verdicts
    for d in np.argsort(-np.asarray(prediction.scores, dtype=np.float64), kind="stable"):
        n = int(overlaps[d].argmax())
        if overlaps[d, n] < threshold:
            continue
        verdicts[d] = NEITHER if left_out[n] else WRONG if taken[n] else RIGHT
        taken[n] = True
    return verdicts


def _overlaps(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """[A, B] float64: intersection over union of boxes [A, 4] and [B, 4] xyxy; 0 where both are without area."""
    sides = np.minimum(a[:, None, 2:], b[None, :, 2:]) - np.maximum(a[:, None, :2], b[None, :, :2])
    shared = sides.clip(min=0).prod(axis=-1)
    sizes = [(boxes[:, 2:] - boxes[:, :2]).clip(min=0).prod(axis=-1) for boxes in (a, b)]
    either = sizes[0][:, None] + sizes[1][None] - shared
    return np.divide(shared, either, out=np.zeros_like(shared), where=either > 0)
