"""Detection: where things are, of which class, perhaps which pixels they have and where their joints are."""

from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np
from torch import Tensor

from saccade.geometry import boxes as geometry
from saccade.geometry.masks import Runs, runs_from_crop
from saccade.geometry.view import Size, View
from saccade.metrics.detection import DetectionMetric
from saccade.structures import Batch, Instances, Known, Skeleton
from saccade.tasks.contract import Preprocessor, label_of
from saccade.tasks.detect.contract import Detections, Detector

SURE = 0.5  # how likely a pixel must be the thing's to be in its mask


class Aim(NamedTuple):
    """What to explain: why one box is taken for one class, or why one of its keypoints is seen where it is.

    box       [4] xyxy, pixels of the network's input
    label     0..K-1, or the name of the class
    keypoint  0..P-1, or None for the class
    """

    box: Tensor
    label: int | str
    keypoint: int | None = None


class Detect:
    """The task of finding things of K classes.

    kinds     what is said of each: "box", perhaps "mask", "keypoints"
    skeleton  what the keypoints are, where there are some
    """

    name = "detect"
    known: Known = "objects"

    def __init__(
        self, classes: Sequence[str], kinds: Sequence[str] = ("box",), skeleton: Skeleton | None = None
    ) -> None:
        self.classes, self.kinds, self.skeleton = tuple(classes), tuple(kinds), skeleton

    def loss(self, model: Detector, inputs: Tensor, batch: Batch) -> dict[str, Tensor]:
        """The method's own losses, by name."""
        return model.losses(inputs, batch.sizes, batch.targets)

    def predict(self, model: Detector, preprocess: Preprocessor, batch: Batch) -> list[Instances]:
        """What is in each image, best score first, in original pixels."""
        found = model.detect(preprocess(batch.images), batch.sizes)
        return [in_original(one, view) for one, view in zip(found, batch.views, strict=True)]

    def score(self, model: Detector, inputs: Tensor, target: Aim) -> Tensor:
        """The logit [B] of one class for what is in one box, or the highest one of a keypoint in it."""
        label = label_of(self.classes, target.label)
        if target.keypoint is not None:
            return model.keypoint_logit(inputs, target.box, target.keypoint)
        return model.box_logit(inputs, target.box, label)

    def objective(self, result: dict[str, float]) -> float:
        """Lower is better: minus the AP of the finest thing that is said, or of boxes where that is not defined."""
        names = {"box": "box/AP", "mask": "mask/AP", "keypoints": "keypoint/AP"}
        values = [result[names[kind]] for kind in reversed(self.kinds)]
        return -next((value for value in values if not np.isnan(value)), 0.0)

    def metric(self) -> DetectionMetric:
        return DetectionMetric(self.classes, self.kinds, self.skeleton, voc=True)


def in_original(found: Detections, view: View) -> Instances:
    """What was found in one image, in its original pixels."""
    back = view.inverse()
    boxes = geometry.clip(back.move_boxes(found.boxes.cpu().numpy().astype(np.float64)), view.source)
    masks = keypoints = None
    if found.masks is not None:
        shares = found.masks.float().cpu().numpy()
        masks = tuple(paste(share, box, view.source) for share, box in zip(shares, boxes, strict=True))
    if found.keypoints is not None:
        keypoints = found.keypoints.cpu().numpy().astype(np.float64)
        keypoints[..., :2] = back.move_points(keypoints[..., :2])
    return Instances(
        size=view.source,
        boxes=boxes,
        labels=found.labels.cpu().numpy().astype(np.int64),
        scores=found.scores.float().cpu().numpy(),
        masks=masks,
        keypoints=keypoints,
    )


def paste(share: np.ndarray, box: np.ndarray, size: Size) -> Runs:
    """The mask of one thing: each pixel of the image at which its share of the box is sure enough.

    share  [m, m] float32 in [0, 1], over the box
    box    [4] xyxy, inside the image
    size   (height, width) of the image

    Between the parts of the box it is interpolated, and beyond them it is 0.
    """
    left, top = np.floor(box[:2]).astype(int)
    right, bottom = np.minimum(np.ceil(box[2:]).astype(int), (size[1], size[0]))
    right, bottom = max(right, left + 1), max(bottom, top + 1)
    across, down = share.shape[1] / max(box[2] - box[0], 1e-6), share.shape[0] / max(box[3] - box[1], 1e-6)
    # From the centres of the image's pixels to those of the parts.
    way = np.array(
        [
            [across, 0, (left + 0.5 - box[0]) * across - 0.5],
            [0, down, (top + 0.5 - box[1]) * down - 0.5],
        ]
    )
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    spread = cv2.warpAffine(share, way, (right - left, bottom - top), flags=flags, borderMode=cv2.BORDER_CONSTANT)
    return runs_from_crop(spread >= SURE, top, left, size)
