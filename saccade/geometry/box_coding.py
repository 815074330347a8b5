"""How far one box is from another, in the four numbers that detectors learn.

Girshick et al., "Rich Feature Hierarchies for Accurate Object Detection and Semantic Segmentation", CVPR 2014,
appendix C, equations 1 to 9: the centre's way in widths and heights of the anchor, and the logarithm of how many times
as wide and high.
"""

import math

import torch
from torch import Tensor

# exp of more would overflow in training's first steps; no box is 1000 / 16 times as large as its anchor.
LARGEST = math.log(1000 / 16)
Weights = tuple[float, float, float, float]
PLAIN: Weights = (1.0, 1.0, 1.0, 1.0)


def encode(boxes: Tensor, anchors: Tensor, weights: Weights = PLAIN) -> Tensor:
    """What `decode` makes `boxes` of, at `anchors`: [N, 4] float (x, y, width, height).

    boxes    [N, 4] xyxy, pixels, not empty
    anchors  [N, 4] xyxy, the same pixels, not empty
    weights  factors on the four, so that all have about the same spread
    """
    size, own = anchors[:, 2:] - anchors[:, :2], boxes[:, 2:] - boxes[:, :2]
    way = (boxes[:, :2] + 0.5 * own - anchors[:, :2] - 0.5 * size) / size
    return torch.cat([way, (own / size).log()], dim=1) * boxes.new_tensor(weights)


def decode(deltas: Tensor, anchors: Tensor, weights: Weights = PLAIN) -> Tensor:
    """Boxes [N, ..., 4] xyxy in the pixels of the anchors.

    deltas   [N, ..., 4] float, as `encode` gives them
    anchors  [N, 4] xyxy
    """
    deltas = deltas.float() / deltas.new_tensor(weights, dtype=torch.float32)
    anchors = anchors.reshape(len(anchors), *[1] * (deltas.ndim - 2), 4)
    size = anchors[..., 2:] - anchors[..., :2]
    centre = anchors[..., :2] + 0.5 * size + deltas[..., :2] * size
    half = 0.5 * size * deltas[..., 2:].clamp(max=LARGEST).exp()
    return torch.cat([centre - half, centre + half], dim=-1)
