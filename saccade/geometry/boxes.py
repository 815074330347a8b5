"""Boxes: upright rectangles as xyxy (left, top, right, bottom), continuous pixels. Every other form is named.

Conversions and `clip` take what data sets have (numpy) and what networks give (torch); measures take torch, and let
gradients through. How boxes move with their image, `View.move_boxes` says. A box whose right is not beyond its left, or
bottom beyond its top, is empty.
"""

from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from saccade.geometry.view import Size

Boxes = TypeVar("Boxes", np.ndarray, Tensor)


def xyxy_from_xywh(boxes: Boxes) -> Boxes:
    """[..., 4] from (left, top, width, height), as COCO writes it."""
    left, top, width, height = _columns(boxes)
    return _stacked(boxes, left, top, left + width, top + height)


def xywh_from_xyxy(boxes: Boxes) -> Boxes:
    """[..., 4] to (left, top, width, height), as COCO writes it."""
    left, top, right, bottom = _columns(boxes)
    return _stacked(boxes, left, top, right - left, bottom - top)


def xyxy_from_cxcywh(boxes: Boxes) -> Boxes:
    """[..., 4] from (centre x, centre y, width, height), as YOLO writes it."""
    x, y, width, height = _columns(boxes)
    return _stacked(boxes, x - width / 2, y - height / 2, x + width / 2, y + height / 2)


def cxcywh_from_xyxy(boxes: Boxes) -> Boxes:
    """[..., 4] to (centre x, centre y, width, height), as YOLO writes it."""
    left, top, right, bottom = _columns(boxes)
    width, height = right - left, bottom - top
    return _stacked(boxes, left + width / 2, top + height / 2, width, height)


def clip(boxes: Boxes, size: Size) -> Boxes:
    """[..., 4] xyxy cut off at the edges of an image of (height, width) `size`; empty where they lie beyond it."""
    left, top, right, bottom = _columns(boxes)
    height, width = size
    left, right = left.clip(0, width), right.clip(0, width)
    return _stacked(boxes, left, top.clip(0, height), right, bottom.clip(0, height))


def area(boxes: Tensor) -> Tensor:
    """Square pixels of boxes [..., 4] xyxy: [...], 0 where empty; float32 where the boxes are of less precision."""
    boxes = _precise(boxes)
    width, height = (boxes[..., 2:] - boxes[..., :2]).clamp(min=0).unbind(-1)
    return width * height


def iou(first: Tensor, second: Tensor) -> Tensor:
    """Intersection over union of each of `first` [N, 4] with each of `second` [M, 4]: [N, M] in [0, 1].

    Both xyxy in the same pixels. 0 where a box is empty, never nan.
    """
    return paired_iou(first[:, None], second)


def giou(first: Tensor, second: Tensor) -> Tensor:
    """Generalised IoU of each of `first` [N, 4] with each of `second` [M, 4]: [N, M] in [-1, 1]; see `paired_giou`."""
    return paired_giou(first[:, None], second)


def paired_iou(first: Tensor, second: Tensor) -> Tensor:
    """Intersection over union of boxes [..., 4] xyxy, one with one (or as shapes broadcast): [...]."""
    shared, union = _overlap(_precise(first), _precise(second))
    return _divided(shared, union)


def paired_giou(first: Tensor, second: Tensor) -> Tensor:
    """Generalised IoU of boxes [..., 4] xyxy, one with one (or as shapes broadcast): [...] in [-1, 1].

    IoU less the part of the smallest box around both that neither covers, so that boxes apart still tell how far
    (Rezatofighi et al. 2019, algorithm 1, arXiv:1902.09630).
    """
    first, second = _precise(first), _precise(second)
    shared, union = _overlap(first, second)
    low = torch.minimum(first[..., :2], second[..., :2])
    high = torch.maximum(first[..., 2:], second[..., 2:])
    around = area(torch.cat([low, high], dim=-1))
    return _divided(shared, union) - _divided(around - union, around)


def _overlap(first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
    """The areas of what two boxes share, and of their union."""
    low = torch.maximum(first[..., :2], second[..., :2])
    high = torch.minimum(first[..., 2:], second[..., 2:])
    shared = area(torch.cat([low, high], dim=-1))
    return shared, area(first) + area(second) - shared


def _divided(part: Tensor, whole: Tensor) -> Tensor:
    """part / whole, and 0 with a gradient of 0 where there is no whole."""
    there = whole > 0
    return torch.where(there, part, 0) / torch.where(there, whole, 1)


def _precise(boxes: Tensor) -> Tensor:
    """At least float32: the area of an ordinary box is beyond float16."""
    return boxes if boxes.dtype in (torch.float32, torch.float64) else boxes.float()


def _columns(boxes: np.ndarray | Tensor) -> tuple[Any, Any, Any, Any]:
    return boxes[..., 0], boxes[..., 1], boxes[..., 2], boxes[..., 3]


def _stacked(like: Boxes, *columns: Any) -> Boxes:
    """The columns as [..., 4], an array or a tensor as `like` is."""
    if isinstance(like, Tensor):
        return torch.stack(columns, dim=-1)
    return np.stack(columns, axis=-1)
