"""Why a detector errs: each wrong detection and each missed thing is put down to one cause.

Bolya, Foley, Hays and Hoffman, "TIDE: A General Toolbox for Identifying Object Detection Errors", ECCV 2020, section
2.2: the causes; section 2.3: what each of them costs, as the AP that would be gained if it alone were mended.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np
import torch

from saccade.geometry.boxes import area, iou
from saccade.metrics.coco import COUNTED, CROWD, Outcome
from saccade.metrics.voc import average_precision

# In the order of the paper.
CAUSES = {
    "class": "the right place, the wrong class",
    "place": "the right class, not quite the right place",
    "both": "neither the right class nor quite the right place",
    "duplicate": "of a thing that a better detection had found",
    "background": "nothing is there",
    "missed": "a thing that nothing was found of",
}
FOUND, NEAR = 0.5, 0.1  # overlaps from which on a thing is found, and is meant at all


@dataclass(frozen=True, eq=False)
class Judged:
    """One image.

    things  [N] int32: the classes of the things that count
    labels  [D] int32: the classes of the detections that count, best score first
    scores  [D] float
    causes  [D] strings: "" where it is right, else one of `CAUSES`
    meant   [D] int64: the thing that it found or, with the class or the place mended, would find; -1 for none
    missed  [N] bool
    """

    things: np.ndarray
    labels: np.ndarray
    scores: np.ndarray
    causes: np.ndarray
    meant: np.ndarray
    missed: np.ndarray


@dataclass(frozen=True)
class Errors:
    """What is wrong in all images together.

    counts  by cause, of detections of at least `score` and of the things that these missed
    costs   AP50 that each cause costs, in percentage points
    AP50    as it is, in percent, all points; nan where there is nothing to find
    score   the least score of what is counted
    """

    AP50: float
    score: float
    counts: Mapping[str, int] = field(default_factory=dict)
    costs: Mapping[str, float] = field(default_factory=dict)


def judge(outcome: Outcome, score: float = 0.0) -> Judged:
    """What is right and wrong in one image, by its boxes. What falls on crowds or difficult things does not count.

    score  detections of less are as if they were not there
    """
    truth, found = outcome.truth, outcome.found
    counted = truth.standing == COUNTED
    order = np.argsort(-found.scores.astype(np.float64), kind="stable")
    order = order[found.scores[order] >= score]
    labels, scores = found.labels[order], found.scores[order]
    overlaps = _overlaps(found.boxes[order], truth.boxes, truth.standing == CROWD)
    same = labels[:, None] == truth.labels[None]
    aside = (overlaps * (same & ~counted)).max(axis=1, initial=0) >= FOUND
    own, things = overlaps[:, counted], truth.labels[counted]
    of_class, of_other = own * same[:, counted], own * ~same[:, counted]
    taken = np.zeros(len(things), dtype=bool)
    causes, meant, kept = [], [], []
    for d in range(len(labels)):
        free = np.where(taken, 0.0, of_class[d])
        best = int(free.argmax()) if len(things) else -1
        if len(things) and free[best] >= FOUND:
            taken[best] = True
            causes.append("")
            meant.append(best)
        elif aside[d]:
            continue
        else:
            cause, thing = _cause(of_class[d], of_other[d])
            causes.append(cause)
            meant.append(thing)
        kept.append(d)
    causes_, meant_ = np.array(causes, dtype="<U10"), np.array(meant, dtype=np.int64)
    # A thing that was found in a wrong class or place was not missed, but taken for something else.
    mended = np.isin(causes_, ("class", "place"))
    missed = ~taken
    missed[meant_[mended]] = False
    return Judged(things, labels[kept], scores[kept], causes_, meant_, missed)


def _cause(of_class: np.ndarray, of_other: np.ndarray) -> tuple[str, int]:
    """Why one detection is wrong, and which thing is meant.

    of_class, of_other  [N] float: its overlap with each thing of its class, and of any other
    """
    if not len(of_class):
        return "background", -1
    same, other = int(of_class.argmax()), int(of_other.argmax())
    if NEAR <= of_class[same] < FOUND:
        return "place", same
    if of_other[other] >= FOUND:
        return "class", other
    if of_class[same] >= FOUND:
        return "duplicate", -1
    return ("both" if of_other[other] >= NEAR else "background"), -1


def errors_of(outcomes: Iterable[Outcome], classes: int, score: float = 0.5) -> Errors:
    """The errors of all images.

    outcomes  in the order in which equal scores count
    score     detections of at least this are counted; the costs are of all
    """
    outcomes = list(outcomes)
    judged, sure = ([judge(outcome, least) for outcome in outcomes] for least in (0.0, score))
    AP50 = _mean_ap(judged, classes, "")
    counts = {cause: sum(int((one.causes == cause).sum()) for one in sure) for cause in CAUSES}
    counts["missed"] = sum(int(one.missed.sum()) for one in sure)
    costs = {cause: _mean_ap(judged, classes, cause) - AP50 for cause in CAUSES}
    return Errors(AP50, score, counts, costs)


def _mean_ap(judged: list[Judged], classes: int, mended: str) -> float:
    """The mean over the classes of AP50 in percent, one cause mended: a wrong class or place put right, a thing that
    was missed not asked for, all else left out."""
    things, labels, scores, right = [], [], [], []
    for one in judged:
        label, is_right, keep = one.labels.copy(), one.causes == "", np.ones(len(one.labels), dtype=bool)
        mine = np.flatnonzero(one.causes == mended) if mended else []
        taken = set(one.meant[is_right].tolist())
        for d in mine:
            thing = int(one.meant[d])
            if mended in ("class", "place") and thing not in taken:
                taken.add(thing)
                label[d], is_right[d] = one.things[thing], True
            else:
                keep[d] = False
        things.append(one.things[~one.missed] if mended == "missed" else one.things)
        labels.append(label[keep])
        scores.append(one.scores[keep])
        right.append(is_right[keep])
    if not judged:
        return math.nan
    every = [np.concatenate(parts) for parts in (things, labels, scores, right)]
    order = np.argsort(-every[2].astype(np.float64), kind="stable")
    label, is_right = every[1][order], every[3][order]
    values = []
    for k in range(classes):
        count = int((every[0] == k).sum())
        if count:
            values.append(100 * average_precision(is_right[label == k], count, "all"))
        elif mended == "missed" and any((one.things == k).any() for one in judged):
            values.append(100.0 if not (label == k).any() else 0.0)
    return math.fsum(values) / len(values) if values else math.nan


def _overlaps(found: np.ndarray, truths: np.ndarray, crowd: np.ndarray) -> np.ndarray:
    """[D, N] float64: intersection over union; over the detection's own area where the truth is a crowd, as in COCO."""
    own, there = torch.from_numpy(found.astype(np.float64)), torch.from_numpy(truths.astype(np.float64))
    overlaps = iou(own, there).numpy()
    for n in np.flatnonzero(crowd):
        cut = torch.cat([torch.maximum(own[:, :2], there[n, :2]), torch.minimum(own[:, 2:], there[n, 2:])], dim=1)
        overlaps[:, n] = (area(cut) / area(own).clamp(min=1e-12)).numpy()
    return overlaps
