"""COCO's evaluation of what was found, by faster-coco-eval: from our records to its tables."""

from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
from faster_coco_eval import COCO, COCOeval_faster
from faster_coco_eval import mask as coco_mask

from saccade.geometry.view import Size
from saccade.structures import Skeleton

# What we call it, what COCO calls it, and what its numbers begin with.
KINDS: dict[str, tuple[Literal["bbox", "segm", "keypoints"], str]] = {
    "box": ("bbox", "box"),
    "mask": ("segm", "mask"),
    "keypoints": ("keypoints", "keypoint"),
}
COUNTED, CROWD, DIFFICULT = 0, 1, 2
# COCO's code knows no "difficult", but leaves alone every thing whose area is outside the range it looks at, and the
# widest range ends at 1e10.
BEYOND_ALL_AREAS = 1e11


class Truth(NamedTuple):
    """The things of one image.

    boxes      [N, 4] float xyxy, original pixels
    labels     [N] int32, 0..K-1
    standing   [N] uint8: COUNTED, CROWD or DIFFICULT
    areas      [N] float64, square pixels
    masks      N compressed run lengths; None where masks are not measured
    keypoints  [N, P, 3] float (x, y, visibility); None where keypoints are not measured
    """

    boxes: np.ndarray
    labels: np.ndarray
    standing: np.ndarray
    areas: np.ndarray
    masks: tuple[bytes, ...] | None
    keypoints: np.ndarray | None


class Found(NamedTuple):
    """The detections in one image: boxes, labels, masks and keypoints as in `Truth`, and scores [N] float."""

    boxes: np.ndarray
    labels: np.ndarray
    scores: np.ndarray
    masks: tuple[bytes, ...] | None
    keypoints: np.ndarray | None


class Outcome(NamedTuple):
    """One image: its size (height, width), what is there and what was found."""

    size: Size
    truth: Truth
    found: Found


@dataclass(frozen=True, eq=False)
class Tables:
    """Precision and recall; nan where a class has no thing to find.

    precision  [T, R, K, A] float64, by threshold, recall (101 of them), class and area, of the most detections
    recall     [T, K, A, M] float64, by threshold, class, area and how many detections an image and class may have
    """

    precision: np.ndarray
    recall: np.ndarray


def evaluated(kind: str, outcomes: list[Outcome], classes: int, skeleton: Skeleton | None) -> Tables:
    """Hand all images to faster-coco-eval.

    outcomes  in the order in which equal scores count
    """
    # Classes without truth have no number in any case, and most images have few classes.
    present = np.unique(np.concatenate([np.zeros(0, np.int32), *(outcome.truth.labels for outcome in outcomes)]))
    areas, amounts = (3, 1) if kind == "keypoints" else (4, 3)
    precision, recall = np.full((10, 101, classes, areas), np.nan), np.full((10, classes, areas, amounts), np.nan)
    if len(present):
        truths, found = _data_sets(kind, outcomes, present)
        sigmas = None if skeleton is None else list(skeleton.sigmas)
        evaluation = COCOeval_faster(truths, found, KINDS[kind][0], print_function=_silent, kpt_oks_sigmas=sigmas)
        evaluation.evaluate()
        evaluation.accumulate()
        precision[:, :, present] = evaluation.eval["precision"][..., -1]
        recall[:, present] = evaluation.eval["recall"]
    for table in (precision, recall):
        table[table == -1] = np.nan
    return Tables(precision, recall)


def _data_sets(kind: str, outcomes: list[Outcome], present: np.ndarray) -> tuple[COCO, COCO]:
    """Truth and detections as faster-coco-eval takes them. All ids begin at 1; to it, 0 is none.

    present  [k] classes that it shall look at
    """
    images = [{"id": n, "height": size[0], "width": size[1]} for n, (size, _, _) in enumerate(outcomes, 1)]
    categories = [{"id": k + 1, "name": str(k)} for k in present.tolist()]
    data_sets = []
    for read in (_truths, _detections):
        annotations: list[dict[str, Any]] = []
        for number, outcome in enumerate(outcomes, 1):
            for entry in read(kind, outcome):
                entry["image_id"], entry["id"] = number, len(annotations) + 1
                annotations.append(entry)
        content = {"images": images, "annotations": annotations, "categories": categories}
        data_sets.append(COCO(content, print_function=_silent))
    return data_sets[0], data_sets[1]


def _truths(kind: str, outcome: Outcome) -> list[dict[str, Any]]:
    """The things of one image as COCO's annotations."""
    truth, entries = outcome.truth, _things(kind, outcome.size, outcome.truth)
    areas = np.where(truth.standing == DIFFICULT, BEYOND_ALL_AREAS, truth.areas) if kind != "keypoints" else truth.areas
    for n, entry in enumerate(entries):
        entry["area"], entry["iscrowd"] = float(areas[n]), int(truth.standing[n] == CROWD)
        if kind == "keypoints" and truth.keypoints is not None:
            # COCO's code leaves alone a thing that is said to have no keypoint, but measures by those that it has.
            marked = int((truth.keypoints[n, :, 2] > 0).sum())
            entry["num_keypoints"] = 0 if truth.standing[n] == DIFFICULT else marked
    return entries


def _detections(kind: str, outcome: Outcome) -> list[dict[str, Any]]:
    """The detections in one image as COCO's results, with areas as its code gives them."""
    found, entries = outcome.found, _things(kind, outcome.size, outcome.found)
    if kind == "mask":
        areas = coco_mask.area([entry["segmentation"] for entry in entries]) if entries else []
    elif kind == "keypoints" and found.keypoints is not None and entries:
        places = found.keypoints[:, :, :2].astype(np.float64)
        areas = (places.max(axis=1) - places.min(axis=1)).prod(axis=1)
    else:
        areas = [entry["bbox"][2] * entry["bbox"][3] for entry in entries]
    for entry, score, area in zip(entries, found.scores.tolist(), areas, strict=True):
        entry["score"], entry["area"], entry["iscrowd"] = score, float(area), 0
    return entries


def _things(kind: str, size: Size, things: Truth | Found) -> list[dict[str, Any]]:
    """What annotations and results have in common."""
    corners = things.boxes.astype(np.float64)
    boxes = np.concatenate([corners[:, :2], corners[:, 2:] - corners[:, :2]], axis=1).tolist()
    labels = things.labels.tolist()
    entries: list[dict[str, Any]] = [{"category_id": k + 1, "bbox": box} for k, box in zip(labels, boxes, strict=True)]
    for n, entry in enumerate(entries):
        if kind == "mask" and things.masks is not None:
            entry["segmentation"] = {"size": list(size), "counts": things.masks[n]}
        if kind == "keypoints" and things.keypoints is not None:
            entry["keypoints"] = things.keypoints[n].astype(np.float64).ravel().tolist()
    return entries


def _silent(*_: object) -> None:
    """Where faster-coco-eval's progress goes: numbers are returned, not printed."""
