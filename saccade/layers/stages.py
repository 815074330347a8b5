"""Running a network stage by stage."""

from collections.abc import Sequence

from torch import Tensor, nn


def stage_maps(features: nn.Sequential, ends: Sequence[int], inputs: Tensor) -> list[Tensor]:
    """What layers that run one after the other give at the end of each stage.

    ends    for each stage, the number of its last layer, exclusive
    inputs  [B, C, H, W] float
    """
    maps, start = [], 0
    for end in ends:
        inputs = features[start:end](inputs)
        maps.append(inputs)
        start = end
    return maps
