"""Darknet: the backbones of YOLO.

Redmon, Divvala, Girshick and Farhadi, "You Only Look Once: Unified, Real-Time Object Detection", CVPR 2016, section 2.2
and figure 3: `extraction`, the first 20 convolutions of YOLO's 24, GoogLeNet's idea with 1 x 1 filters in the place of
modules; 12 % top-5 error on ImageNet. Redmon and Farhadi, "YOLOv3: An Incremental Improvement", arXiv:1804.02767,
section 2.4, table 1: `darknet53`, residual; 22.8 % top-1 and 6.2 % top-5 error (table 2). `darknet_tiny` is what
YOLOv3-tiny has in its place, a convolution and a pooling a stage, as in its published configuration.

The idea that made it matter: a backbone made for detection, fast for its strength, with strides in filters in the place
of poolings.

Layers stand in the order of Darknet's configurations, so that its files of weights can be read (`darknet_weights.py`).
"""

from collections.abc import Sequence

from torch import Tensor, nn

from saccade.backbones.contract import Backbone

SLOPE = 0.1  # of the rectifier, below zero
EPSILON = 1e-6  # what norms add, so that nothing is divided by 0


class Layer(nn.Sequential):
    """A convolution, batch norm, and a rectifier that lets a tenth through below zero."""

    def __init__(self, channels: int, out: int, kernel: int, stride: int = 1) -> None:
        convolution = nn.Conv2d(channels, out, kernel, stride, kernel // 2, bias=False)
        nn.init.kaiming_normal_(convolution.weight, a=SLOPE, mode="fan_out", nonlinearity="leaky_relu")
        super().__init__(convolution, nn.BatchNorm2d(out, eps=EPSILON), nn.LeakyReLU(SLOPE))


class Residual(nn.Module):
    """Half of the channels by 1 x 1, all of them by 3 x 3, and what came in added."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.reduce = Layer(channels, channels // 2, 1)
        self.expand = Layer(channels // 2, channels, 3)

    def forward(self, inputs: Tensor) -> Tensor:
        return inputs + self.expand(self.reduce(inputs))


class Darknet(Backbone):
    """Stages one after the other, the map of each, and a 1 x 1 convolution for the classes."""

    last_layers = ("classifier",)

    def __init__(
        self, stages: Sequence[nn.Module], channels: Sequence[int], strides: Sequence[int], num_classes: int
    ) -> None:
        super().__init__()
        self.stages = nn.ModuleList(stages)
        self.channels, self.strides = tuple(channels), tuple(strides)
        self.classifier = nn.Conv2d(channels[-1], num_classes, 1) if num_classes else None

    def maps(self, inputs: Tensor) -> list[Tensor]:
        maps = []
        for stage in self.stages:
            inputs = stage(inputs)
            maps.append(inputs)
        return maps

    def classify(self, coarsest: Tensor) -> Tensor:
        pooled = coarsest.mean((2, 3))
        if self.classifier is None:
            return pooled
        return self.classifier(pooled[:, :, None, None]).flatten(1)

    @staticmethod
    def outputs(num_classes: int) -> int:
        """Channels of the last layers: how many answers a file of weights for so many classes has."""
        return num_classes


def darknet53(num_classes: int = 1000, in_channels: int = 3) -> Darknet:
    """41.6 million weights, 9.3e9 multiply-adds at 256 x 256 (table 2 counts operations: 18.7e9)."""
    stages, channels, width = [], in_channels, 32
    for number, blocks in enumerate((1, 2, 8, 8, 4)):
        first = [Layer(channels, width, 3)] if number == 0 else []
        stages.append(
            nn.Sequential(*first, Layer(width, 2 * width, 3, 2), *(Residual(2 * width) for _ in range(blocks)))
        )
        channels = width = 2 * width
    return Darknet(stages, (64, 128, 256, 512, 1024), (2, 4, 8, 16, 32), num_classes)


def darknet_tiny(num_classes: int = 1000, in_channels: int = 3) -> Darknet:
    """Seven convolutions: 6.3 million weights. Poolings stand at the beginning of a stage, so that its map is that of a
    convolution; the last one does not stride."""
    stages, channels = [], in_channels
    for number, width in enumerate((16, 32, 64, 128, 256, 512)):
        stages.append(nn.Sequential(*([nn.MaxPool2d(2)] if number else []), Layer(channels, width, 3)))
        channels = width
    # At every pixel, so that the map stays as large.
    stages[-1].extend([nn.ConstantPad2d((0, 1, 0, 1), float("-inf")), nn.MaxPool2d(2, 1), Layer(512, 1024, 3)])
    return Darknet(stages, (16, 32, 64, 128, 256, 1024), (1, 2, 4, 8, 16, 32), num_classes)


def extraction(num_classes: int = 1000, in_channels: int = 3) -> Darknet:
    """The first 20 convolutions of YOLO's 24 (figure 3). A pooling begins each stage but the first."""
    stages = [
        nn.Sequential(Layer(in_channels, 64, 7, 2)),
        nn.Sequential(nn.MaxPool2d(2), Layer(64, 192, 3)),
        nn.Sequential(nn.MaxPool2d(2), Layer(192, 128, 1), Layer(128, 256, 3), *_reduced(256, 256, 512)),
        nn.Sequential(
            nn.MaxPool2d(2),
            *(layer for _ in range(4) for layer in _reduced(512, 256, 512)),
            *_reduced(512, 512, 1024),
        ),
        nn.Sequential(nn.MaxPool2d(2), *_reduced(1024, 512, 1024), *_reduced(1024, 512, 1024)),
    ]
    return Darknet(stages, (64, 192, 512, 1024, 1024), (2, 4, 8, 16, 32), num_classes)


def _reduced(channels: int, between: int, out: int) -> list[Layer]:
    """1 x 1 to fewer channels, then 3 x 3."""
    return [Layer(channels, between, 1), Layer(between, out, 3)]
