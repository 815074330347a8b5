"""Pooling that remembers where the largest values stood, and its way back.

Zeiler, Taylor and Fergus, "Adaptive Deconvolutional Networks for Mid and High Level Feature Learning", ICCV 2011: the
"switches". Noh et al. 2015, section 3.2.1; Badrinarayanan et al. 2017, figure 3.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def pool_with_places(pool: nn.MaxPool2d, inputs: Tensor) -> tuple[Tensor, Tensor]:
    """What the pooling gives, [B, C, h, w], and where in the map each of it stood: int64, row times width + column."""
    return F.max_pool2d(
        inputs, pool.kernel_size, pool.stride, pool.padding, pool.dilation, pool.ceil_mode, return_indices=True
    )


def unpool(inputs: Tensor, places: Tensor, size: tuple[int, int]) -> Tensor:
    """Each value at its place in a map of (height, width), 0 elsewhere. Where windows overlap and two values have one
    place, one of them stands there.

    inputs  [B, C, h, w]
    places  [B, C, h, w] int64, as of `pool_with_places`

    Returns [B, C, height, width].
    """
    # torch's own, without its layer's check that the sizes fit together: the places say where all goes.
    return torch.ops.aten.max_unpool2d(inputs, places, list(size))
