"""SegNet: DeconvNet without its full connections, a ninth of the weights.

Badrinarayanan, Kendall and Cipolla, "SegNet: A Deep Convolutional Encoder-Decoder Architecture for Image Segmentation",
PAMI 2017. Section 3 and figure 2: the 13 convolutions of VGG-16 with batch norm, their mirror image, and unpooling by
the kept places of the maxima; the decoder's layers are convolutions, and the last of them gives the classes. 29.5
million weights. On CamVid, 11 classes: 60.1 % mean IoU with 3,433 training images (table 3), 46.4 with the 367 of the
common split (as Jegou et al. 2017 quote it).

The idea that made it matter: only the places of the maxima need be kept, not the maps.
"""

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from saccade.backbones.contract import Backbone
from saccade.backbones.vgg import VGG
from saccade.tasks.segment.contract import Segmenter
from saccade.tasks.segment.deconvnet import Mirror, pooled, vgg_encoder


class SegNet(Segmenter):
    """A VGG and its mirror image, whose last layer names the classes."""

    last_layers = ("score",)

    def __init__(self, body: VGG, num_classes: int, tied: bool) -> None:
        super().__init__()
        self.backbone, self.num_classes, self.in_channels = body, num_classes, body.in_channels
        self.decoder = Mirror(body, transposed=False, tied=tied, last=body.counts[0] - 1)
        self.score = nn.Conv2d(body.channels[0], num_classes, 3, padding=1)

    @property
    def trunk(self) -> Backbone:
        return self.backbone

    def logits(self, inputs: Tensor) -> Tensor:
        return self.score(self.decoder(*pooled(self.backbone, inputs)))


def segnet(
    num_classes: int = 21,
    in_channels: int = 3,
    backbone: str = "vgg16_bn",
    tied: bool = False,
    encoder_options: Mapping[str, Any] | None = None,
) -> SegNet:
    """29.5 million weights; options as of `deconvnet`."""
    return SegNet(vgg_encoder(backbone, in_channels, encoder_options), num_classes, tied)
