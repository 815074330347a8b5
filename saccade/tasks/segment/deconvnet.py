"""DeconvNet: a classifier and its mirror image, which puts back what the poolings took away.

Noh, Hong and Han, "Learning Deconvolution Network for Semantic Segmentation", ICCV 2015. Section 3.2 and figure 2: the
switches of each pooling are kept, unpooling puts values back there, and transposed convolutions fill what lies between;
table 2: the layers, 252 million weights, on VGG-16 with batch norm everywhere. 69.6 % mean IoU on Pascal VOC 2012's
test images, 71.7 in an ensemble with an FCN (table 1). The paper looks at proposals of 224 x 224 pixels; here, as in
its figure 2, at an image, of 224 pixels a side or more.

The idea that made it matter: detail is not interpolated but learnt, layer by layer.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from saccade.backbones.catalogue import encoder
from saccade.backbones.contract import Backbone
from saccade.backbones.vgg import VGG
from saccade.errors import UsageError
from saccade.layers.initialise import initialise_he
from saccade.layers.unpool import pool_with_places, unpool
from saccade.tasks.segment.contract import Segmenter, mirrored


class Tied(nn.Module):
    """The transposed convolution with the filters of a convolution of the encoder; only its biases are its own.

    convolution  of odd sides, padded so that maps keep their size
    """

    def __init__(self, convolution: nn.Conv2d) -> None:
        super().__init__()
        self.bias = nn.Parameter(convolution.weight.new_zeros(convolution.in_channels))
        # In a tuple, which torch does not look into: the weights stay the encoder's alone, and are saved once.
        self._convolution = (convolution,)

    def forward(self, inputs: Tensor) -> Tensor:
        (convolution,) = self._convolution
        edge = convolution.kernel_size[0] // 2
        return F.conv_transpose2d(inputs, convolution.weight, self.bias, padding=edge)


class Mirror(nn.Module):
    """The stages of a VGG backwards: unpooled, then as many 3 x 3 layers, the last of them as wide as the stage before.

    transposed  the layers are transposed convolutions, as DeconvNet has it, else convolutions, as SegNet has it
    tied        they have the encoder's filters, transposed, as far as the encoder has one of their shape
    last        layers of the finest stage; None for as many as the encoder's
    """

    def __init__(self, body: VGG, *, transposed: bool, tied: bool, last: int | None = None) -> None:
        super().__init__()
        self.stages = nn.ModuleList()
        filters = [[layer for layer in layers if isinstance(layer, nn.Conv2d)] for layers, _ in body.stages]
        for stage in range(len(body.counts) - 1, -1, -1):
            width, out = body.channels[stage], body.channels[max(0, stage - 1)]
            count = body.counts[stage] if stage or last is None else last
            layers: list[nn.Module] = []
            for place in range(count):
                own = filters[stage][-1 - place]
                wide = out if place == body.counts[stage] - 1 else width
                if tied and own.in_channels == wide:
                    layers.append(Tied(own))
                else:
                    kind = nn.ConvTranspose2d if transposed else nn.Conv2d
                    layers.append(kind(width, wide, 3, padding=1))
                layers += [nn.BatchNorm2d(wide), nn.ReLU()]
            self.stages.append(nn.Sequential(*layers))
        initialise_mirror(self)

    def forward(self, inputs: Tensor, places: Sequence[Tensor], sizes: Sequence[tuple[int, int]]) -> Tensor:
        """The coarsest map brought up to the image.

        places, sizes  of the poolings, fine to coarse: where each value stood, in a map of which (height, width)
        """
        for stage, own, size in zip(self.stages, reversed(places), reversed(sizes), strict=True):
            inputs = stage(unpool(inputs, own, size))
        return inputs


def initialise_mirror(module: nn.Module) -> None:
    """He initialisation, transposed convolutions likewise."""
    initialise_he(module)
    for layer in module.modules():
        if isinstance(layer, nn.ConvTranspose2d):
            nn.init.kaiming_normal_(layer.weight, mode="fan_in", nonlinearity="relu")


def pooled(body: VGG, inputs: Tensor) -> tuple[Tensor, list[Tensor], list[tuple[int, int]]]:
    """The last map, pooled, and of all poolings the places and the sizes before, fine to coarse."""
    places, sizes = [], []
    for layers, pool in body.stages:
        inputs = layers(inputs)
        sizes.append((inputs.shape[2], inputs.shape[3]))
        inputs, own = pool_with_places(pool, inputs)
        places.append(own)
    return inputs, places, sizes


def vgg_encoder(backbone: str, in_channels: int, options: Mapping[str, Any] | None) -> VGG:
    """A VGG without its classifier. Raises UsageError for a network whose poolings have no windows of their own."""
    body = encoder(backbone, in_channels, **dict(options or {}))
    if not isinstance(body, VGG):
        raise UsageError(
            f"unpooling needs a backbone of max poolings that do not overlap, a VGG, and {backbone} is none; "
            f"choose vgg16_bn or vgg11_bn"
        )
    return body


class DeconvNet(Segmenter):
    """VGG down to a vector of each 7 x 7 window of its last map, and up again."""

    last_layers = ("score",)

    def __init__(self, body: VGG, num_classes: int, hidden: int, tied: bool) -> None:
        super().__init__()
        self.backbone, self.num_classes, self.in_channels = body, num_classes, body.in_channels
        channels = body.channels[-1]
        self.fc6 = _layer(nn.Conv2d(channels, hidden, 7), hidden)
        self.fc7 = _layer(nn.Conv2d(hidden, hidden, 1), hidden)
        self.deconv_fc6 = _layer(nn.ConvTranspose2d(hidden, channels, 7), channels)
        for layer in (self.fc6, self.fc7, self.deconv_fc6):
            initialise_mirror(layer)
        self.decoder = Mirror(body, transposed=True, tied=tied)
        self.score = nn.Conv2d(body.channels[0], num_classes, 1)

    @property
    def trunk(self) -> Backbone:
        return self.backbone

    def logits(self, inputs: Tensor) -> Tensor:
        height, width = inputs.shape[2:]
        # fc6 takes 7 pixels of a map of stride 32.
        inputs = mirrored(inputs, (0, max(0, 224 - height)), (0, max(0, 224 - width)))
        coarsest, places, sizes = pooled(self.backbone, inputs)
        hidden = self.deconv_fc6(self.fc7(self.fc6(coarsest)))
        return self.score(self.decoder(hidden, places, sizes))[:, :, :height, :width]


def _layer(convolution: nn.Module, width: int) -> nn.Sequential:
    return nn.Sequential(convolution, nn.BatchNorm2d(width), nn.ReLU())


def deconvnet(
    num_classes: int = 21,
    in_channels: int = 3,
    backbone: str = "vgg16_bn",
    hidden: int = 4096,
    tied: bool = False,
    encoder_options: Mapping[str, Any] | None = None,
) -> DeconvNet:
    """252 million weights.

    backbone         a VGG
    hidden           units of fc6 and fc7
    tied             the decoder has the encoder's filters, transposed
    encoder_options  what the backbone's builder takes besides, such as {"width": 16}
    """
    return DeconvNet(vgg_encoder(backbone, in_channels, encoder_options), num_classes, hidden, tied)
