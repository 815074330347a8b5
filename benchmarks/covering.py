"""An image to be covered place by place, and how: the same on both sides of a measurement."""

import torch
from torch import Tensor

SIDE, SQUARE, STRIDE, TARGET = 224, 32, 16, 3
PLACES = (1 + (SIDE - SQUARE) // STRIDE) ** 2


def image() -> Tensor:
    """[1, 3, 224, 224] float32."""
    return torch.randn(1, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0))
