"""What a detector found, as one COCO file: its annotations have scores, its images are called what they were given."""

from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np

from saccade.data.formats.coco_write import segmentation_of, skeleton_entries, xywh_from_xyxy
from saccade.geometry.masks import Mask, area, runs_of
from saccade.structures import Instances, Skeleton


def encode(found: Sequence[tuple[str, Instances]], classes: Sequence[str], skeleton: Skeleton | None = None) -> bytes:
    """The content of the file; images, classes and annotations are numbered from 1.

    found  the name of each image, and what is in it, in its pixels
    """
    categories: list[dict[str, Any]] = [{"id": n, "name": name} for n, name in enumerate(classes, 1)]
    if skeleton is not None:
        categories = [one | skeleton_entries(skeleton) for one in categories]
    images, annotations = [], []
    for number, (name, things) in enumerate(found, 1):
        images.append({"id": number, "file_name": name, "height": things.size[0], "width": things.size[1]})
        for n in range(len(things)):
            annotations.append({"id": len(annotations) + 1, "image_id": number} | annotation_of(things, n, 1))
    content = {"info": {}, "licenses": [], "images": images, "categories": categories, "annotations": annotations}
    return msgspec.json.format(msgspec.json.encode(content), indent=1) + b"\n"


def annotation_of(things: Instances, n: int, first: int = 1) -> dict[str, Any]:
    """One thing as COCO writes it, in hundredths of pixels.

    first  the number of the first class
    """
    box = np.round(xywh_from_xyxy(np.round(things.boxes[n : n + 1].astype(np.float64), 2))[0], 2)
    entry: dict[str, Any] = {
        "category_id": int(things.labels[n]) + first,
        "bbox": box.tolist(),
        "area": float(round(box[2] * box[3], 2)),
        "iscrowd": 0,
    }
    if things.scores is not None:
        entry["score"] = round(float(things.scores[n]), 5)
    mask: Mask | None = None if things.masks is None else things.masks[n]
    if mask is not None:
        runs = runs_of(mask, things.size)
        entry["segmentation"], entry["area"] = segmentation_of(runs), area(runs)
    if things.keypoints is not None:
        # In a file a keypoint is there or not; how sure it is of each stands beside.
        points = things.keypoints[n]
        entry["keypoints"] = [v for x, y, _ in points.tolist() for v in (round(x, 2), round(y, 2), 2)]
        entry["num_keypoints"] = len(points)
        entry["keypoint_scores"] = [round(score, 5) for score in points[:, 2].tolist()]
    return entry
