"""From boxes with scores to what was found: sure enough, inside the image, none twice."""

import torch
from torch import Tensor

from saccade.geometry import boxes as geometry
from saccade.geometry.nms import nms
from saccade.structures import Size
from saccade.tasks.detect.contract import Detections

SMALLEST = 0.01  # pixels: what has less of a side is no box


def select(
    boxes: Tensor,
    scores: Tensor,
    size: Size,
    sure: float,
    overlap: float,
    most: int,
    before: int | None = None,
) -> Detections:
    """The detections of one image, best first. Boxes of different classes leave each other alone.

    boxes    [N, 4] xyxy float, pixels of the network's input, or [N, K, 4]: one of each class
    scores   [N, K] float in [0, 1]
    size     (height, width) of the image without what it was padded with
    sure     scores must be above this
    overlap  of two boxes of a class (intersection over union), above which only the better stays
    most     how many stay at most
    before   how many of each class go into the comparison at most; None for all
    """
    if before is not None and before < len(scores):
        least = scores.topk(before, dim=0).values[-1].clamp(min=sure)
        # Of equal scores at the limit a few more may pass.
        places = ((scores >= least) & (scores > sure)).nonzero()
    else:
        places = (scores > sure).nonzero()
    rows, labels = places.unbind(1)
    chosen = geometry.clip(boxes[rows] if boxes.ndim == 2 else boxes[rows, labels], size)
    there = ((chosen[:, 2:] - chosen[:, :2]) >= SMALLEST).all(dim=1)
    chosen, sure_of, labels = chosen[there], scores[rows, labels][there], labels[there]
    kept = nms(chosen, sure_of, overlap, labels, most)
    return Detections(chosen[kept], sure_of[kept], labels[kept])


def place_of(box: Tensor, boxes: Tensor) -> Tensor:
    """Which of the boxes of each image lies most like one box, or nearest where none overlaps it, [B] int64.

    box    [4] xyxy
    boxes  [B, N, 4] xyxy, the same pixels
    """
    with torch.no_grad():
        return geometry.paired_giou(boxes, box.to(boxes)).argmax(dim=1)
