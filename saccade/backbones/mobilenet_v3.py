"""MobileNetV3.

Howard, Sandler, Chu, Chen, Chen, Tan, Wang, Zhu, Pang, Vasudevan, Le and Adam, "Searching for MobileNetV3", ICCV 2019.
Tables 1 and 2: the layers; table 3: large has 5.4 million weights, 219 million multiply-adds and 75.2 % top-1 accuracy
on ImageNet, small 2.5 million, 56 million and 67.4 %.

The idea that made it matter: let a search find the widths for the time a telephone takes, and spend what people know on
the rest: cheap activations, channel attention, a shorter end.

State-dict keys, shapes, dropout and first weights are torchvision's. Table 2 marks a squeeze-and-excitation at the last
1 x 1 convolution of the small network; the authors' code has none there, the 2.5 million weights leave no room for one
(it would have 0.17 million), nor is there one here.

Squeeze-and-excitation weighs the channels by their means over the whole map, which are not quite the same on the finer
map of a dilated network: with `output_stride`, its pixels equal the strided network's only nearly.
"""

from torch import Tensor, nn

from saccade.backbones.contract import Backbone
from saccade.layers.depthwise import DepthwiseConv2d
from saccade.layers.initialise import initialise_he
from saccade.layers.stages import stage_maps

# Kernel, channels inside, channels out, squeeze-and-excitation, activation and stride, as in tables 1 and 2.
Row = tuple[int, int, int, bool, type[nn.Module], int]
LARGE: tuple[Row, ...] = (
    (3, 16, 16, False, nn.ReLU, 1),
    (3, 64, 24, False, nn.ReLU, 2),
    (3, 72, 24, False, nn.ReLU, 1),
    (5, 72, 40, True, nn.ReLU, 2),
    (5, 120, 40, True, nn.ReLU, 1),
    (5, 120, 40, True, nn.ReLU, 1),
    (3, 240, 80, False, nn.Hardswish, 2),
    (3, 200, 80, False, nn.Hardswish, 1),
    (3, 184, 80, False, nn.Hardswish, 1),
    (3, 184, 80, False, nn.Hardswish, 1),
    (3, 480, 112, True, nn.Hardswish, 1),
    (3, 672, 112, True, nn.Hardswish, 1),
    (5, 672, 160, True, nn.Hardswish, 2),
    (5, 960, 160, True, nn.Hardswish, 1),
    (5, 960, 160, True, nn.Hardswish, 1),
)
SMALL: tuple[Row, ...] = (
    (3, 16, 16, True, nn.ReLU, 2),
    (3, 72, 24, False, nn.ReLU, 2),
    (3, 88, 24, False, nn.ReLU, 1),
    (5, 96, 40, True, nn.Hardswish, 2),
    (5, 240, 40, True, nn.Hardswish, 1),
    (5, 240, 40, True, nn.Hardswish, 1),
    (5, 120, 48, True, nn.Hardswish, 1),
    (5, 144, 48, True, nn.Hardswish, 1),
    (5, 288, 96, True, nn.Hardswish, 2),
    (5, 576, 96, True, nn.Hardswish, 1),
    (5, 576, 96, True, nn.Hardswish, 1),
)


def _convolution(
    channels: int,
    out: int,
    kernel: int,
    activation: type[nn.Module] | None,
    stride: int = 1,
    layer: type[nn.Conv2d] = nn.Conv2d,
) -> nn.Sequential:
    convolution = layer(channels, out, kernel, stride, padding=kernel // 2, bias=False)
    norm = nn.BatchNorm2d(out, eps=0.001, momentum=0.01)
    return nn.Sequential(convolution, norm, *([activation()] if activation else []))


def _eights(channels: int) -> int:
    """The nearest multiple of eight, or the next one where that is less than nine tenths."""
    nearest = (channels + 4) // 8 * 8
    return nearest if nearest >= 0.9 * channels else nearest + 8


class SqueezeExcitation(nn.Module):
    """Each channel times a weight in [0, 1], which two small layers derive from the means of all (section 5.3)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        squeezed = _eights(channels // 4)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc1 = nn.Conv2d(channels, squeezed, 1)
        self.activation = nn.ReLU()
        self.fc2 = nn.Conv2d(squeezed, channels, 1)
        self.scale_activation = nn.Hardsigmoid()

    def forward(self, inputs: Tensor) -> Tensor:
        return inputs * self.scale_activation(self.fc2(self.activation(self.fc1(self.avgpool(inputs)))))


class InvertedResidual(nn.Module):
    """1 x 1 to `width` channels, a filter in each of them, their weights, 1 x 1 to `out` (figure 4)."""

    def __init__(
        self,
        channels: int,
        kernel: int,
        width: int,
        out: int,
        squeeze: bool,
        activation: type[nn.Module],
        stride: int,
    ) -> None:
        super().__init__()
        self.block = nn.Sequential()
        if width != channels:
            self.block.append(_convolution(channels, width, 1, activation))
        self.block.append(_convolution(width, width, kernel, activation, stride, DepthwiseConv2d))
        if squeeze:
            self.block.append(SqueezeExcitation(width))
        self.block.append(_convolution(width, out, 1, None))
        self.adds = stride == 1 and channels == out

    def forward(self, inputs: Tensor) -> Tensor:
        return inputs + self.block(inputs) if self.adds else self.block(inputs)


class MobileNetV3(Backbone):
    """Maps of the last layer at strides 2, 4, 8, 16 and 32; `stages` are their ends (exclusive) in `features`.

    hidden  channels between the pooled features and the logits
    """

    last_layers = ("classifier.3",)

    def __init__(
        self,
        rows: tuple[Row, ...],
        stages: tuple[int, ...],
        channels: tuple[int, ...],
        hidden: int,
        num_classes: int,
        in_channels: int,
        dropout: float,
    ) -> None:
        super().__init__()
        self.channels, self.strides, self.stages = channels, (2, 4, 8, 16, 32), stages
        self.features = nn.Sequential(_convolution(in_channels, 16, 3, nn.Hardswish, stride=2))
        into = 16
        for row in rows:
            self.features.append(InvertedResidual(into, *row))
            into = row[2]
        self.features.append(_convolution(into, 6 * into, 1, nn.Hardswish))
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Sequential()
        if num_classes:
            for layer in (nn.Linear(6 * into, hidden), nn.Hardswish(), nn.Dropout(dropout)):
                self.classifier.append(layer)
            self.classifier.append(nn.Linear(hidden, num_classes))
        initialise_he(self)

    def maps(self, inputs: Tensor) -> list[Tensor]:
        return stage_maps(self.features, self.stages, inputs)

    def classify(self, coarsest: Tensor) -> Tensor:
        return self.classifier(self.avgpool(coarsest).flatten(1))


def mobilenet_v3_large(num_classes: int = 1000, in_channels: int = 3, dropout: float = 0.2) -> MobileNetV3:
    """5.5 million weights, 217 million multiply-adds."""
    stages, channels = (2, 4, 7, 13, 17), (16, 24, 40, 112, 960)
    return MobileNetV3(LARGE, stages, channels, 1280, num_classes, in_channels, dropout)


def mobilenet_v3_small(num_classes: int = 1000, in_channels: int = 3, dropout: float = 0.2) -> MobileNetV3:
    """2.5 million weights, 57 million multiply-adds."""
    stages, channels = (1, 2, 4, 9, 13), (16, 16, 24, 48, 576)
    return MobileNetV3(SMALL, stages, channels, 1024, num_classes, in_channels, dropout)
