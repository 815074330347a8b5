"""What looks at each proposed box by itself: pooling, two layers or the backbone's own last ones, two answers.

Girshick, "Fast R-CNN", ICCV 2015, section 2; on a feature pyramid as in Lin et al. 2017, section 4.2.
"""

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from saccade.geometry import boxes as geometry
from saccade.layers.roi_pool import roi_align


class Borrowed(nn.Module):
    """Layers of the backbone that look at boxes in place of the whole image.

    Held in a tuple, where their weights are not found: they are the backbone's, and in the state dict once.
    """

    def __init__(self, layers: nn.Module) -> None:
        super().__init__()
        self.layers = (layers,)

    def forward(self, pooled: Tensor) -> Tensor:
        return self.layers[0](pooled)


class LastStage(Borrowed):
    """The last stage of a ResNet on pooled boxes."""


class FullyConnected(Borrowed):
    """VGG's fully connected layers on pooled boxes."""

    def forward(self, pooled: Tensor) -> Tensor:
        return self.layers[0](pooled.flatten(1))


class TwoLayers(nn.Module):
    """Two fully connected layers on the pixels of a pooled box (Lin et al. 2017, section 4.2)."""

    def __init__(self, channels: int, side: int, width: int = 1024) -> None:
        super().__init__()
        self.fc6 = nn.Linear(channels * side * side, width)
        self.relu6 = nn.ReLU()
        self.fc7 = nn.Linear(width, width)
        self.relu7 = nn.ReLU()

    def forward(self, pooled: Tensor) -> Tensor:
        return self.relu7(self.fc7(self.relu6(self.fc6(pooled.flatten(1)))))


class BoxPredictor(nn.Module):
    """For each of K classes and the background its logit, and how the box should be moved if it is that.

    Of a box that still has pixels the mean over them is looked at.
    """

    def __init__(self, width: int, num_classes: int) -> None:
        super().__init__()
        self.cls_score = nn.Linear(width, num_classes + 1)
        self.bbox_pred = nn.Linear(width, 4 * (num_classes + 1))

    def forward(self, hidden: Tensor) -> tuple[Tensor, Tensor]:
        each = hidden.mean((2, 3)) if hidden.ndim == 4 else hidden
        return self.cls_score(each), self.bbox_pred(each)


class RoiHeads(nn.Module):
    """What looks at each box by itself. `mask_rcnn.py` adds heads of its own, under torchvision's names.

    strides    of the maps that boxes are pooled from
    side       bins down and across that a box is pooled to
    box_head   [n, C, side, side] to [n, width] or [n, width, h, w]
    pooling    `roi_align`, or `roi_pool` as in the first paper
    """

    mask_head: nn.Module
    mask_predictor: nn.Module
    keypoint_head: nn.Module
    keypoint_predictor: nn.Module

    def __init__(
        self,
        strides: Sequence[int],
        side: int,
        box_head: nn.Module,
        width: int,
        num_classes: int,
        pooling: Callable[..., Tensor] = roi_align,
    ) -> None:
        super().__init__()
        self.strides, self.side, self.pooling = tuple(strides), side, pooling
        self.box_head = box_head
        self.box_predictor = BoxPredictor(width, num_classes)

    def pool(self, maps: Sequence[Tensor], boxes: Sequence[Tensor], side: int) -> Tensor:
        """[N, C, side, side]: what the maps hold in the boxes of all images.

        maps   of `strides`, fine to coarse; what lies beyond is left alone
        boxes  [n, 4] of each image

        A box of 224 x 224 pixels is looked at on the map of stride 16, as in ImageNet's networks, one of half the size
        on that of stride 8 ... (Lin et al. 2017, equation 1).
        """
        everything = torch.cat(list(boxes)).float()
        counts = torch.tensor([len(own) for own in boxes], device=everything.device)
        places = torch.arange(len(boxes), device=everything.device)
        images = places.repeat_interleave(counts, output_size=len(everything))
        size = (side, side)
        if everything.is_meta:  # shapes without values, as when layers are counted
            return maps[0].new_empty(len(everything), maps[0].shape[1], *size)
        if len(self.strides) == 1:
            return self.pooling(maps[0], everything, images, size, 1 / self.strides[0])
        exact = 4 + torch.log2(geometry.area(everything).sqrt() / 224) + 1e-6
        finest = int(math.log2(self.strides[0]))
        levels = exact.floor().clamp(finest, finest + len(self.strides) - 1).long() - finest
        pooled = maps[0].new_zeros(len(everything), maps[0].shape[1], *size)
        for level, (own, stride) in enumerate(zip(maps, self.strides, strict=False)):
            mine = (levels == level).nonzero().flatten()
            if len(mine):
                found = self.pooling(own, everything[mine], images[mine], size, 1 / stride)
                pooled = pooled.index_put((mine,), found)
        return pooled

    def look(self, maps: Sequence[Tensor], boxes: Sequence[Tensor]) -> Tensor:
        """[N, width] or [N, width, h, w]: what the box head makes of the boxes of all images."""
        return self.box_head(self.pool(maps, boxes, self.side))

    def forward(self, maps: Sequence[Tensor], boxes: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Logits [N, K + 1], the background first, and moves [N, 4 * (K + 1)], of the boxes of all images."""
        return self.box_predictor(self.look(maps, boxes))
