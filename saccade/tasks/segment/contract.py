"""What a segmenter promises: the task, the loop and every explanation use these and no more."""

from abc import abstractmethod
from typing import ClassVar

import torch
from torch import Tensor

from saccade.structures import Preprocessing, Size
from saccade.tasks.contract import OnBackbone

WINDOW = 512  # pixels a side that training takes of an image


class Segmenter(OnBackbone):
    """A network that says of every pixel what it is; or, asked for colours, what it should be.

    multiple          of pixels that the sides of its input must be; what is missing is mirrored at the right and bottom
    sees_all          whether a pixel's answer hangs on the whole image: then windows of an image are answered otherwise
    auxiliary_weight  of the losses of auxiliary heads
    """

    input_size: Size = (WINDOW, WINDOW)
    multiple: ClassVar[int] = 32
    sees_all: ClassVar[bool] = False
    auxiliary_weight: ClassVar[float] = 0.0

    @abstractmethod
    def logits(self, inputs: Tensor) -> Tensor:
        """[B, K, H, W] of inputs [B, C, H, W] whose sides are multiples of `multiple`."""

    def forward(self, inputs: Tensor) -> Tensor:
        """Logits [B, K, H, W] of inputs [B, C, H, W] float, normalised, of any size."""
        height, width = inputs.shape[2:]
        down, right = -height % self.multiple, -width % self.multiple
        if down or right:
            inputs = mirrored(inputs, (0, down), (0, right))
        return self.logits(inputs)[:, :, :height, :width]

    def training_logits(self, inputs: Tensor) -> list[Tensor]:
        """Logits [B, K, H, W], then those of auxiliary heads, which only a loss asks for."""
        return [self(inputs)]

    def standard_preprocessing(self) -> Preprocessing:
        """What it was designed for: all of the image, pixel for pixel, in training in windows."""
        return Preprocessing.windows(self.input_size[0], "L" if self.in_channels == 1 else "RGB")


def mirrored(inputs: Tensor, rows: tuple[int, int], columns: tuple[int, int]) -> Tensor:
    """The image continued beyond its edges by its mirror image, as often as that takes.

    inputs   [B, C, H, W]
    rows     how many more above and below
    columns  how many more to the left and right

    Returns [B, C, rows[0] + H + rows[1], columns[0] + W + columns[1]].
    """
    for axis, (before, after) in ((2, rows), (3, columns)):
        length = inputs.shape[axis]
        places = torch.arange(-before, length + after, device=inputs.device)
        # Back and forth, the pixel at the edge once.
        period = max(1, 2 * (length - 1))
        places = (places + length - 1).remainder(period).sub(length - 1).abs() if length > 1 else places * 0
        inputs = inputs.index_select(axis, places)
    return inputs.contiguous(memory_format=torch.channels_last)
