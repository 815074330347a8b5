"""FPN: maps of every stride that all know what only the coarsest could see.

Lin et al., "Feature Pyramid Networks for Object Detection", CVPR 2017, section 3: each map of the backbone is brought
to d channels by a 1 x 1 convolution, the coarser sum is enlarged (nearest) and added to it, and a 3 x 3 convolution
follows. Section 4.1: one more level for large objects, every second pixel of the coarsest.
"""

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn


class FeaturePyramid(nn.Module):
    """The pyramid of some maps. State-dict keys are torchvision's.

    channels  of each map, fine to coarse
    width     channels of each level, d in the paper
    """

    def __init__(self, channels: Sequence[int], width: int = 256) -> None:
        super().__init__()
        self.inner_blocks = nn.ModuleList(nn.Sequential(nn.Conv2d(own, width, 1)) for own in channels)
        self.layer_blocks = nn.ModuleList(nn.Sequential(nn.Conv2d(width, width, 3, padding=1)) for _ in channels)
        for module in self.modules():
            if isinstance(module, nn.Conv2d) and module.bias is not None:
                nn.init.kaiming_uniform_(module.weight, a=1)
                nn.init.zeros_(module.bias)

    def forward(self, maps: Sequence[Tensor]) -> list[Tensor]:
        """One level a map [B, width, h, w], fine to coarse, and one more of half the size.

        maps  [B, channels[i], h, w] float each, fine to coarse
        """
        inner = [block(own) for block, own in zip(self.inner_blocks, maps, strict=True)]
        total, levels = inner[-1], []
        for number in range(len(inner) - 1, -1, -1):
            if number < len(inner) - 1:
                total = inner[number] + F.interpolate(total, size=inner[number].shape[-2:], mode="nearest")
            levels.insert(0, self.layer_blocks[number](total))
        return [*levels, levels[-1][..., ::2, ::2]]
