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
        mean, std = (torch.tensor(values) for values in (preprocessing.mean, preprocessing.std))
        self.register_buffer("scale", 1 / (255 * std), persistent=False)
        self.register_buffer("offset", -mean / std, persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        """Normalised network input.

        images  [B, C, H, W] uint8 in [0, 255], the channels in the order of `Preprocessing.mode`

        Returns [B, C, H, W] float32, channels-last in memory.
        """
        batch, _, height, width = images.shape
        # As rows of whole lines, which vectorises: channels of three would be broadcast one pixel at a time.
        lines = images.permute(0, 2, 3, 1).reshape(batch * height, -1).float()
        normalised = torch.addcmul(self.offset.repeat(width), lines, self.scale.repeat(width))
        return normalised.reshape(batch, height, width, -1).permute(0, 3, 1, 2)
