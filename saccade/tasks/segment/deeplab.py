"""DeepLabv3: filters that look near and far at once.

Chen, Papandreou, Schroff and Adam, "Rethinking Atrous Convolution for Semantic Image Segmentation", 2017. Section 3.3
and figure 5: five looks at the last map beside each other, of 1 x 1, of 3 x 3 with three rates of dilation, and of the
mean of the image; batch norm in each. 79.8 % mean IoU on Pascal VOC 2012's validation images at best (table 6), with a
stride of 8 and rates 12, 24 and 36.

State-dict keys and shapes are torchvision's, which also gave it the auxiliary head.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from saccade.backbones.catalogue import encoder
from saccade.backbones.contract import Backbone
from saccade.tasks.segment.fcn import Dilated

RATES = (12, 24, 36)
WIDTH = 256


def _look(channels: int, out: int, rate: int | None = None) -> nn.Sequential:
    """1 x 1, or 3 x 3 with taps `rate` pixels apart."""
    filters = nn.Conv2d(channels, out, 1, bias=False)
    if rate is not None:
        filters = nn.Conv2d(channels, out, 3, padding=rate, dilation=rate, bias=False)
    return nn.Sequential(filters, nn.BatchNorm2d(out), nn.ReLU())


class ImageMean(nn.Sequential):
    """The mean of the image, everywhere the same."""

    def __init__(self, channels: int, out: int) -> None:
        super().__init__(
            nn.AdaptiveAvgPool2d(1), nn.Conv2d(channels, out, 1, bias=False), nn.BatchNorm2d(out), nn.ReLU()
        )

    def forward(self, input: Tensor) -> Tensor:
        return super().forward(input).expand(-1, -1, *input.shape[2:])


class AtrousPyramid(nn.Module):
    """The five looks, and one 1 x 1 over all of them."""

    def __init__(self, channels: int, rates: Sequence[int] = RATES) -> None:
        super().__init__()
        looks = [_look(channels, WIDTH), *(_look(channels, WIDTH, rate) for rate in rates)]
        self.convs = nn.ModuleList([*looks, ImageMean(channels, WIDTH)])
        self.project = nn.Sequential(
            nn.Conv2d(len(self.convs) * WIDTH, WIDTH, 1, bias=False), nn.BatchNorm2d(WIDTH), nn.ReLU(), nn.Dropout(0.5)
        )

    def forward(self, inputs: Tensor) -> Tensor:
        return self.project(torch.cat([look(inputs) for look in self.convs], 1))


class DeepLabV3(Dilated):
    """The pyramid on a dilated backbone."""

    sees_all = True

    def __init__(self, body: Backbone, num_classes: int, auxiliary: bool) -> None:
        classifier = nn.Sequential(
            AtrousPyramid(body.channels[-1]),
            nn.Conv2d(WIDTH, WIDTH, 3, padding=1, bias=False),
            nn.BatchNorm2d(WIDTH),
            nn.ReLU(),
            nn.Conv2d(WIDTH, num_classes, 1),
        )
        super().__init__(body, classifier, num_classes, auxiliary)


def deeplabv3(
    num_classes: int = 21,
    in_channels: int = 3,
    backbone: str = "resnet50",
    auxiliary: bool = True,
    encoder_options: Mapping[str, Any] | None = None,
) -> DeepLabV3:
    """On any backbone, dilated to a stride of 8.

    auxiliary        whether there is a second head, on the map before, in training
    encoder_options  what the backbone's builder takes besides
    """
    return DeepLabV3(encoder(backbone, in_channels, 8, **dict(encoder_options or {})), num_classes, auxiliary)


def deeplabv3_resnet50(num_classes: int = 21, in_channels: int = 3) -> DeepLabV3:
    """torchvision's: 66.4 % mean IoU on COCO's val2017, VOC's classes, with the published weights, as it states."""
    return deeplabv3(num_classes, in_channels)


def deeplabv3_resnet101(num_classes: int = 21, in_channels: int = 3) -> DeepLabV3:
    """torchvision's: 67.4 % likewise."""
    return deeplabv3(num_classes, in_channels, "resnet101")
