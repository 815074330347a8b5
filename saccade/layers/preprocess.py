"""The only place where pixels become network input."""

import torch
from torch import Tensor, nn

from saccade.structures import Preprocessing


class Preprocess(nn.Module):
    """Normalises uint8 pixels on the device. No parameters, and nothing in the state dict."""

    scale: Tensor
    offset: Tensor

    def __init__(self, preprocessing: Preprocessing) -> None:
        super().__init__()
        mean, std = (torch.tensor(values).reshape(-1, 1, 1) for values in (preprocessing.mean, preprocessing.std))
        self.register_buffer("scale", 1 / (255 * std), persistent=False)
        self.register_buffer("offset", -mean / std, persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        """Normalised network input.

        images  [B, C, H, W] uint8 in [0, 255], the channels in the order of `Preprocessing.mode`

        Returns [B, C, H, W] float32, channels-last in memory if `images` is.
        """
        return (images * self.scale).add_(self.offset)
