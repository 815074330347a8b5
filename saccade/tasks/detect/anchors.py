"""Anchors: boxes of a few sizes and shapes at every pixel of a map, which a detector moves into place.

Ren et al., "Faster R-CNN", PAMI 2017, section 3.1.1.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from saccade.structures import Size

RATIOS = (0.5, 1.0, 2.0)  # height : width


def shapes(sizes: Sequence[float], ratios: Sequence[float] = RATIOS) -> Tensor:
    """[A, 4] float xyxy about (0, 0), in whole pixels: for each ratio of height to width all sizes.

    sizes  the square roots of the areas, pixels
    """
    root = torch.tensor(ratios).sqrt()
    high = (root[:, None] * torch.tensor(sizes, dtype=torch.float32)).flatten()
    wide = (1 / root[:, None] * torch.tensor(sizes, dtype=torch.float32)).flatten()
    return (torch.stack([-wide, -high, wide, high], dim=1) / 2).round()


def anchors_of(maps: Sequence[Tensor], size: Size, of_level: Sequence[Tensor]) -> list[Tensor]:
    """The anchors of each map, [h * w * A, 4] float xyxy in pixels of the input: row by row, at each pixel all shapes.

    maps      [B, C, h, w] each
    size      (height, width) of the input; its whole part a pixel of the map is the stride, as in torchvision
    of_level  the `shapes` of each map
    """
    found = []
    for one, own in zip(maps, of_level, strict=True):
        height, width = one.shape[-2:]
        y = torch.arange(height, device=one.device) * (size[0] // height)
        x = torch.arange(width, device=one.device) * (size[1] // width)
        corner = torch.stack(torch.meshgrid(y, x, indexing="ij"), dim=-1).flip(-1).repeat(1, 1, 2)
        found.append((corner.view(-1, 1, 4) + own.to(one.device)).view(-1, 4))
    return found
