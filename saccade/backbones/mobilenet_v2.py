"""MobileNetV2.

Sandler, Howard, Zhu, Zhmoginov and Chen, "MobileNetV2: Inverted Residuals and Linear Bottlenecks", CVPR 2018. Table 2:
the layers; table 4: 3.4 million weights, 300 million multiply-adds and 72.0 % top-1 accuracy on ImageNet.

The idea that made it matter: carry few channels from block to block, widen them only inside, where each is filtered on
its own, and squeeze them again without an activation, which would destroy what few channels hold.

State-dict keys, shapes, dropout and first weights are torchvision's, with 3.50 million weights (3.47 without those of
the batch norms) and 301 million multiply-adds.
"""

from torch import Tensor, nn

from saccade.backbones.contract import Backbone
from saccade.layers.depthwise import DepthwiseConv2d
from saccade.layers.initialise import initialise_he
from saccade.layers.stages import stage_maps

# Expansion, channels, blocks and the stride of the first of them, as in table 2.
STAGES = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)


def _convolution(
    channels: int, out: int, kernel: int, stride: int = 1, layer: type[nn.Conv2d] = nn.Conv2d
) -> nn.Sequential:
    return nn.Sequential(
        layer(channels, out, kernel, stride, padding=kernel // 2, bias=False),
        nn.BatchNorm2d(out),
        nn.ReLU6(),
    )


class InvertedResidual(nn.Module):
    """1 x 1 to `expansion` times the channels, 3 x 3 in each of them, 1 x 1 to `out` (table 1, figure 4 d)."""

    def __init__(self, channels: int, out: int, stride: int, expansion: int) -> None:
        super().__init__()
        width = expansion * channels
        widen = [_convolution(channels, width, 1)] if expansion > 1 else []
        self.conv = nn.Sequential(
            *widen,
            _convolution(width, width, 3, stride, DepthwiseConv2d),
            nn.Conv2d(width, out, 1, bias=False),
            nn.BatchNorm2d(out),
        )
        self.adds = stride == 1 and channels == out

    def forward(self, inputs: Tensor) -> Tensor:
        return inputs + self.conv(inputs) if self.adds else self.conv(inputs)


class MobileNetV2(Backbone):
    """Table 2; `stages` are the ends (exclusive) in `features` of the maps at strides 2, 4, 8, 16 and 32."""

    last_layers = ("classifier.1",)

    def __init__(self, num_classes: int, in_channels: int, dropout: float) -> None:
        super().__init__()
        self.channels, self.strides, self.stages = (16, 24, 32, 96, 1280), (2, 4, 8, 16, 32), (2, 4, 7, 14, 19)
        self.features = nn.Sequential(_convolution(in_channels, 32, 3, stride=2))
        channels = 32
        for expansion, out, count, stride in STAGES:
            for index in range(count):
                self.features.append(InvertedResidual(channels, out, 1 if index else stride, expansion))
                channels = out
        self.features.append(_convolution(channels, 1280, 1))
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        last = [nn.Dropout(dropout), nn.Linear(1280, num_classes)] if num_classes else []
        self.classifier = nn.Sequential(*last)
        initialise_he(self)

    def maps(self, inputs: Tensor) -> list[Tensor]:
        return stage_maps(self.features, self.stages, inputs)

    def classify(self, coarsest: Tensor) -> Tensor:
        return self.classifier(self.avgpool(coarsest).flatten(1))


def mobilenet_v2(num_classes: int = 1000, in_channels: int = 3, dropout: float = 0.2) -> MobileNetV2:
    """3.5 million weights, 300 million multiply-adds."""
    return MobileNetV2(num_classes, in_channels, dropout)
