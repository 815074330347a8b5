"""How well things are found, as COCO counts it: average precision and recall of boxes, masks and keypoints.

A detection is right when it overlaps a thing of its class by at least a threshold and no better detection has taken
that thing: intersection over union for boxes and masks, object keypoint similarity for keypoints. AP is the mean of the
precision at 101 recalls, averaged over the thresholds 0.50, 0.55 ... 0.95 and over the classes (Lin et al. 2014,
"Microsoft COCO", and its evaluation code, whose numbers these are to the last digit). faster-coco-eval does the work.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from saccade.geometry.masks import Mask, Runs, area, compressed, runs_of
from saccade.geometry.view import Size
from saccade.metrics.coco import COUNTED, CROWD, DIFFICULT, KINDS, Found, Outcome, Tables, Truth, evaluated
from saccade.metrics.counting import check, in_order
from saccade.metrics.voc import VocMetric
from saccade.structures import Instances, Skeleton


@dataclass(frozen=True)
class ClassRow:
    """One class: how many things count (no crowds, none difficult, for keypoints none without); AP, AP50 in percent."""

    name: str
    count: int
    AP: float
    AP50: float


class DetectionMetric:
    """COCO's numbers for boxes, masks and keypoints, from one small record an image, by the image's id.

    classes   K names
    kinds     what to measure: "box", "mask", "keypoints"
    skeleton  whose sigmas say how exact each keypoint can be; needed for "keypoints"
    voc       whether to count boxes as Pascal VOC does, too

    Crowds are regions in which no detection is wrong, things marked difficult count neither for nor against; no
    detection is held against a class that no image has. Detections of equal score count in the order of their images'
    ids (2 before 10), then as they came.
    """

    def __init__(
        self,
        classes: tuple[str, ...],
        kinds: Sequence[str] = ("box",),
        skeleton: Skeleton | None = None,
        voc: bool = False,
    ) -> None:
        unknown = [kind for kind in kinds if kind not in KINDS]
        if unknown or not kinds:
            raise ValueError(f"kinds must be some of {', '.join(KINDS)} but got {tuple(kinds)}")
        if "keypoints" in kinds and skeleton is None:
            raise ValueError("keypoints are measured with the sigmas of a Skeleton, but there is none: give skeleton=")
        self.classes, self.kinds, self.skeleton = classes, tuple(kinds), skeleton
        self.outcomes: dict[str, Outcome] = {}
        self.voc = VocMetric(classes) if voc else None
        self._tables: dict[str, Tables] = {}

    def update(self, prediction: Instances, truth: Instances, id: str) -> None:
        """Count one image, both in original pixels; masks become run lengths at once, so nothing large is kept."""
        check(prediction, truth, self.classes, id)
        size = prediction.size
        there = Truth(
            boxes=np.array(truth.boxes),
            labels=truth.labels.astype(np.int32),
            standing=_standing(truth),
            areas=_areas(truth, size, f"image {id}: the true thing"),
            masks=self._masks(truth, size, f"image {id}: the true thing"),
            keypoints=self._keypoints(truth, f"image {id}: the truth"),
        )
        found = Found(
            boxes=np.array(prediction.boxes),
            labels=prediction.labels.astype(np.int32),
            scores=np.array(prediction.scores),
            masks=self._masks(prediction, size, f"image {id}: the predicted thing"),
            keypoints=self._keypoints(prediction, f"image {id}: the prediction"),
        )
        self.outcomes[id] = Outcome(size, there, found)
        if self.voc is not None:
            self.voc.update(prediction, truth, id)
        self._tables.clear()

    def merge(self, other: "DetectionMetric") -> None:
        """Add what another process has counted."""
        self.outcomes |= other.outcomes
        if self.voc is not None and other.voc is not None:
            self.voc.merge(other.voc)
        self._tables.clear()

    def result(self) -> dict[str, float]:
        """Percent; nan where there is nothing to find: no image, or no thing (of that size) in any.

        box/ and mask/   AP AP50 AP75, APs APm APl (areas to 32^2, to 96^2 and above), AR1 AR10 AR100 (recall of at most
                         so many detections an image and class), ARs ARm ARl
        keypoint/        AP AP50 AP75 APm APl AR AR50 AR75 ARm ARl, of at most 20 detections
        mAP_voc          with `voc`: of boxes at an overlap of 0.5, all points (`metrics.voc`)
        """
        numbers = {f"{KINDS[kind][1]}/{key}": n for kind in self.kinds for key, n in self._numbers(kind).items()}
        return numbers | (self.voc.result() if self.voc is not None else {})

    def per_class(self, kind: str = "box") -> list[ClassRow]:
        """One row a class, in the order of the classes; nan for one that no image has."""
        precision, counts = self.tables(kind).precision, np.zeros(len(self.classes), dtype=np.int64)
        for outcome in self.outcomes.values():
            truth = outcome.truth
            counted = truth.standing == COUNTED
            if kind == "keypoints" and truth.keypoints is not None:
                counted &= (truth.keypoints[:, :, 2] > 0).any(axis=1)
            counts += np.bincount(truth.labels[counted], minlength=len(self.classes))
        return [
            ClassRow(name, int(counts[k]), _mean(precision[:, :, k, 0]), _mean(precision[0, :, k, 0]))
            for k, name in enumerate(self.classes)
        ]

    def curves(self, kind: str = "box") -> np.ndarray:
        """[K, 10, 101] float64 in [0, 1] or nan: precision by class, threshold 0.50 to 0.95, recall 0.00 to 1.00."""
        return self.tables(kind).precision[:, :, :, 0].transpose(2, 0, 1)

    def tables(self, kind: str) -> Tables:
        """What all numbers of one kind are means of; computed once for what has been counted."""
        if kind not in self.kinds:
            raise ValueError(f"this metric measures {', '.join(self.kinds)}, not {kind}")
        if kind not in self._tables:
            ordered = [self.outcomes[id] for id in in_order(self.outcomes)]
            self._tables[kind] = evaluated(kind, ordered, len(self.classes), self.skeleton)
        return self._tables[kind]

    def _numbers(self, kind: str) -> dict[str, float]:
        """The numbers of one kind, under COCO's names."""
        precision, recall = self.tables(kind).precision, self.tables(kind).recall
        numbers = {"AP": precision[..., 0], "AP50": precision[0, ..., 0], "AP75": precision[5, ..., 0]}
        # The areas that COCO tells apart: all, small (not for keypoints), medium, large.
        letters = ("m", "l") if kind == "keypoints" else ("s", "m", "l")
        numbers |= {f"AP{letter}": precision[..., n] for n, letter in enumerate(letters, 1)}
        if kind == "keypoints":
            numbers |= {"AR": recall[:, :, 0], "AR50": recall[0, :, 0], "AR75": recall[5, :, 0]}
        else:
            numbers |= {f"AR{most}": recall[:, :, 0, n] for n, most in enumerate((1, 10, 100))}
        numbers |= {f"AR{letter}": recall[:, :, n, -1] for n, letter in enumerate(letters, 1)}
        return {key: _mean(table) for key, table in numbers.items()}

    def _masks(self, things: Instances, size: Size, where: str) -> tuple[bytes, ...] | None:
        """Compressed run lengths, one a thing; None where masks are not measured."""
        if "mask" not in self.kinds:
            return None
        masks: Sequence[Mask | None] = things.masks if things.masks is not None else [None] * len(things)
        return tuple(compressed(_runs(mask, size, f"{where} {n}")) for n, mask in enumerate(masks))

    def _keypoints(self, things: Instances, where: str) -> np.ndarray | None:
        """[N, P, 3], a copy; None where keypoints are not measured."""
        if "keypoints" not in self.kinds or self.skeleton is None:
            return None
        expected = (len(things), len(self.skeleton.names), 3)
        keypoints = things.keypoints if len(things) else np.zeros(expected, dtype=np.float32)
        if keypoints is None or keypoints.shape != expected:
            got = "none" if keypoints is None else str(list(keypoints.shape))
            raise ValueError(f"{where} must have keypoints {list(expected)}, as the skeleton has, but got {got}")
        if not np.isfinite(keypoints).all():
            raise ValueError(f"{where} has a keypoint that is not finite")
        return np.array(keypoints)


def _mean(table: np.ndarray) -> float:
    """In percent, of what is defined; nan if nothing is."""
    defined = table[~np.isnan(table)]
    return 100 * float(np.mean(defined)) if defined.size else math.nan


def _runs(mask: Mask | None, size: Size, where: str) -> Runs:
    """A mask as runs; an error names the place."""
    if mask is None:
        raise ValueError(f'{where} has no mask; give it one, or measure without "mask"')
    try:
        return runs_of(mask, size)
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from None


def _standing(truth: Instances) -> np.ndarray:
    """[N] uint8: COUNTED, CROWD or DIFFICULT; a difficult crowd is a crowd."""
    standing = np.full(len(truth), COUNTED, dtype=np.uint8)
    if truth.difficult is not None:
        standing[truth.difficult] = DIFFICULT
    if truth.crowd is not None:
        standing[truth.crowd] = CROWD
    return standing


def _areas(truth: Instances, size: Size, where: str) -> np.ndarray:
    """[N] float64: as the annotation says; where it does not, the mask's; where there is none, the box's."""
    areas = np.full(len(truth), np.nan) if truth.areas is None else truth.areas.astype(np.float64)
    for n in np.flatnonzero(np.isnan(areas)):
        left, top, right, bottom = truth.boxes[n].tolist()
        areas[n] = (right - left) * (bottom - top)
        if truth.masks is not None and truth.masks[n] is not None:
            areas[n] = area(_runs(truth.masks[n], size, f"{where} {n}"))
    return areas
