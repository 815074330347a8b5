"""PSPNet: every pixel is told what the whole image is like.

Zhao, Shi, Qi, Wang and Jia, "Pyramid Scene Parsing Network", CVPR 2017. Section 3.2 and figure 3: the last map, at a
stride of 8, averaged over 1, 2 x 2, 3 x 3 and 6 x 6 parts, each brought to a quarter of the channels and put beside the
map itself; 4: an auxiliary loss on the map before, weighed 0.4. 82.6 % mean IoU on Pascal VOC 2012's test images,
85.4 with COCO. The stem is the backbone's own, where the paper has three 3 x 3 filters.

The idea that made it matter: a boat is a boat and not a car because there is a river around it.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from saccade.backbones.catalogue import encoder
from saccade.tasks.segment.fcn import Dilated

BINS = (1, 2, 3, 6)
WIDTH = 512


class PyramidPooling(nn.Module):
    """A map beside its averages over coarser and finer parts of it."""

    def __init__(self, channels: int, bins: Sequence[int] = BINS) -> None:
        super().__init__()
        own = channels // len(bins)
        self.stages = nn.ModuleList(
            nn.Sequential(
                nn.AdaptiveAvgPool2d(side), nn.Conv2d(channels, own, 1, bias=False), nn.BatchNorm2d(own), nn.ReLU()
            )
            for side in bins
        )
        self.channels = channels + own * len(bins)

    def forward(self, inputs: Tensor) -> Tensor:
        size = inputs.shape[2:]
        averages = [F.interpolate(stage(inputs), size, mode="bilinear", align_corners=False) for stage in self.stages]
        return torch.cat([inputs, *averages], 1)


class PSPNet(Dilated):
    """Pyramid pooling on a dilated backbone."""

    last_layers = ("classifier.5", "aux_classifier.4")
    sees_all = True
    auxiliary_weight = 0.4

    def __init__(
        self, backbone: str, in_channels: int, num_classes: int, width: int, options: Mapping[str, Any]
    ) -> None:
        body = encoder(backbone, in_channels, 8, **options)
        pyramid = PyramidPooling(body.channels[-1])
        classifier = nn.Sequential(
            pyramid,
            nn.Conv2d(pyramid.channels, width, 3, padding=1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(),
            nn.Dropout(0.1),
            nn.Conv2d(width, num_classes, 1),
        )
        super().__init__(body, classifier, num_classes, auxiliary=True)


def pspnet(
    num_classes: int = 21,
    in_channels: int = 3,
    backbone: str = "resnet50",
    width: int = WIDTH,
    encoder_options: Mapping[str, Any] | None = None,
) -> PSPNet:
    """On ResNet-50 49 million weights, the auxiliary head's 2.4 included.

    backbone         any of the catalogue, dilated to a stride of 8
    width            channels between the pyramid and the classes
    encoder_options  what the backbone's builder takes besides
    """
    return PSPNet(backbone, in_channels, num_classes, width, dict(encoder_options or {}))
