"""Which truth each box stands for in the loss, and which boxes the loss looks at.

Ren et al., "Faster R-CNN", PAMI 2017, sections 3.1.2 and 3.1.3; Girshick, "Fast R-CNN", ICCV 2015, section 2.3.
"""

import torch
from torch import Tensor

from saccade.geometry.boxes import iou

BACKGROUND, BETWEEN = -1, -2
PAIRS = 1 << 21  # overlaps worked out at once, some 100 MB: an image may have 5,000 things and 250,000 anchors


def match(boxes: Tensor, truths: Tensor, background: float, thing: float, rescue: bool = False) -> Tensor:
    """For each box the truth it overlaps most, or that it is none.

    boxes       [N, 4] xyxy
    truths      [M, 4] xyxy, the same pixels; M may be 0
    background  overlaps (intersection over union) below this are background
    thing       from this on they are the thing; those between are neither
    rescue      the boxes that overlap some truth most of all, however little, stand for what they overlap most: so that
                none is left out

    Returns [N] int64: 0..M-1, BACKGROUND or BETWEEN.
    """
    best = torch.full((len(boxes),), -1.0, device=boxes.device)
    found = torch.zeros(len(boxes), dtype=torch.int64, device=boxes.device)
    rescued = torch.zeros(len(boxes), dtype=torch.bool, device=boxes.device)
    step = max(1, PAIRS // max(1, len(boxes)))
    for start in range(0, len(truths) if len(boxes) else 0, step):
        overlap = iou(truths[start : start + step], boxes)
        value, which = overlap.max(dim=0)
        better = value > best
        best, found = torch.where(better, value, best), torch.where(better, which + start, found)
        if rescue:
            most = overlap.max(dim=1, keepdim=True).values
            rescued |= ((overlap == most) & (most > 0)).any(dim=0)
    kept = torch.where(best >= thing, found, torch.where(best >= background, BETWEEN, BACKGROUND))
    return torch.where(rescued, found, kept)


def sample(matches: Tensor, count: int, share: float) -> tuple[Tensor, Tensor]:
    """Some things and some background at random, so that the many do not drown the few.

    matches  [N] int64, as `match` gives them
    count    how many in all
    share    at most so much of them are things; background fills up the rest

    Returns the indices of the things and those of the background, int64.
    """
    things, background = (matches >= 0).nonzero().flatten(), (matches == BACKGROUND).nonzero().flatten()
    things = _some(things, min(len(things), int(count * share)))
    return things, _some(background, min(len(background), count - len(things)))


def _some(places: Tensor, count: int) -> Tensor:
    return places[torch.randperm(len(places), device=places.device)[:count]]
