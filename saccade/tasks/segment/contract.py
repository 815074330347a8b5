"""What a segmenter promises: the task, the loop and every explanation use these and no more."""

from abc import abstractmethod
from collections.abc import Sequence
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from saccade.backbones.contract import Backbone
from saccade.errors import UsageError
from saccade.layers.meta import on_meta
from saccade.structures import Preprocessing, Size
from saccade.tasks.contract import OnBackbone

WINDOW = 512  # pixels a side that training takes of an image
SIDE = 256  # of the image on which the place of maps is tried


class Segmenter(OnBackbone):
    """A network that says of every pixel what it is; or, asked for colours, what it should be.

    multiple          of pixels that the sides of its input must be; what is missing is mirrored at the right and bottom
    grid              windows of an image begin at such multiples: so the network's maps lie in them as in the whole
    sees_all          whether a pixel's answer hangs on the whole image: then windows of an image are answered otherwise
    auxiliary_weight  of the losses of auxiliary heads
    """

    input_size: Size = (WINDOW, WINDOW)
    multiple: ClassVar[int] = 32
    grid: ClassVar[int] = 32
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


def check_maps(body: Backbone, places: Sequence[int], least: float = 1.0) -> None:
    """Raise UsageError where a map does not lie on the image: filters without a border lose some of it, and what a
    pixel of such a map is about lies elsewhere than its place says.

    places  which of the backbone's maps are looked at
    least   the share of a map that must be there; poolings that were dilated lose two or three pixels of 32
    """
    inputs = torch.empty(1, body.in_channels, SIDE, SIDE, device="meta")
    with torch.no_grad():
        maps = on_meta(body).eval().maps(inputs)
    for place in places:
        wanted = -(-SIDE // body.strides[place])
        if not least * wanted <= maps[place].shape[2] <= wanted:
            raise UsageError(
                f"the maps of {body.name} lose their borders ({maps[place].shape[2]} pixels of {wanted} at a stride of "
                f"{body.strides[place]}) and do not lie on the image; choose another backbone, such as resnet50"
            )


def mirrored(inputs: Tensor, rows: tuple[int, int], columns: tuple[int, int]) -> Tensor:
    """The image continued beyond its edges by its mirror image, as often as that takes.

    inputs   [B, C, H, W]
    rows     how many more above and below
    columns  how many more to the left and right

    Returns [B, C, rows[0] + H + rows[1], columns[0] + W + columns[1]].
    """
    for axis, (before, after) in ((2, rows), (3, columns)):
        length = inputs.shape[axis]
        # Back and forth, the pixel at the edge once; a single one has nothing but itself to be mirrored. Not more at a
        # time than there was in the beginning, so that each new edge is one of the image's own.
        most, mode = (length - 1, "reflect") if length > 1 else (before + after, "replicate")
        while before or after:
            own = min(before, most), min(after, most)
            inputs = F.pad(inputs, (0, 0, *own) if axis == 2 else (*own, 0, 0), mode=mode)
            before, after = before - own[0], after - own[1]
    return inputs.contiguous(memory_format=torch.channels_last)
