"""Maps out of focus."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor


def gaussian_blur(maps: Tensor, deviation: float, mirrored: bool = False) -> Tensor:
    """Maps [B, C, H, W] float under a Gaussian, whose weights sum to 1.

    deviation  its standard deviation, pixels, above 0; three of them to each side are looked at
    mirrored   whether what is beyond the edge is as before it; else there is nothing (0)
    """
    for axis in (2, 3):
        reach = math.ceil(3 * deviation)
        if mirrored:
            reach = min(reach, maps.shape[axis] - 1)
        if reach < 1:
            continue
        offsets = torch.arange(-reach, reach + 1, dtype=maps.dtype, device=maps.device)
        weights = torch.exp(-0.5 * (offsets / deviation) ** 2)
        kernel = (weights / weights.sum()).repeat(maps.shape[1], 1, 1).unsqueeze(3 if axis == 2 else 2)
        pad = (0, 0, reach, reach) if axis == 2 else (reach, reach, 0, 0)
        maps = F.pad(maps, pad, mode="reflect" if mirrored else "constant")
        maps = F.conv2d(maps, kernel, groups=maps.shape[1])
    return maps
