"""PReLU-net.

He, Zhang, Ren and Sun, "Delving Deep into Rectifiers: Surpassing Human-Level Performance on ImageNet Classification",
ICCV 2015. Table 3: models A, B and C of 19, 22 and 22 layers, 1.90e10, 2.32e10 and 5.30e10 multiply-adds (1.91, 2.32
and 5.35 counted here). C has 24.27 % top-1 and 7.38 % top-5 error on ten views of ImageNet's validation pictures. The
paper counts no weights.

The idea that made it matter: rectifiers whose slope for negative inputs is learned, and random weights scaled to what a
rectifier lets through, so that deep networks train from scratch.

No implementation is published; the layers are named as in table 3. The pyramid's bins overlap where the map cannot be
divided evenly, as in SPP-net (He et al. 2014). The paper does not decay the slopes; nor does saccade.
"""

import torch
from torch import Tensor, nn

from saccade.backbones.contract import Backbone


class SpatialPyramid(nn.Module):
    """The maximum of each of 7 x 7, 3 x 3, 2 x 2 and 1 x 1 bins: 63 numbers a channel, whatever the map's size."""

    bins = 63

    def __init__(self) -> None:
        super().__init__()
        self.levels = nn.ModuleList(nn.AdaptiveMaxPool2d(side) for side in (7, 3, 2, 1))

    def forward(self, inputs: Tensor) -> Tensor:
        return torch.cat([level(inputs).flatten(1) for level in self.levels], 1)


class PReLUNet(Backbone):
    """A 7 x 7 layer and three stages of `count` 3 x 3 layers (table 3). Maps at strides 2, 4, 8 and 16."""

    last_layers = ("fc3",)

    def __init__(
        self, widths: tuple[int, int, int], count: int, num_classes: int, in_channels: int, dropout: float
    ) -> None:
        super().__init__()
        self.channels, self.strides = (96, *widths), (2, 4, 8, 16)
        self.conv1 = nn.Conv2d(in_channels, 96, 7, stride=2, padding=3)
        self.prelu1 = nn.PReLU(96)
        self.pool1 = nn.MaxPool2d(2)
        self.stage1 = _stage(96, widths[0], count)
        self.pool2 = nn.MaxPool2d(2)
        self.stage2 = _stage(widths[0], widths[1], count)
        self.pool3 = nn.MaxPool2d(2)
        self.stage3 = _stage(widths[1], widths[2], count)
        self.headless = not num_classes
        if not self.headless:
            self.pyramid = SpatialPyramid()
            self.fc1 = nn.Linear(self.pyramid.bins * widths[2], 4096)
            self.fc1_prelu = nn.PReLU(4096)
            self.fc1_dropout = nn.Dropout(dropout)
            self.fc2 = nn.Linear(4096, 4096)
            self.fc2_prelu = nn.PReLU(4096)
            self.fc2_dropout = nn.Dropout(dropout)
            self.fc3 = nn.Linear(4096, num_classes)
        _initialise(self)

    def maps(self, inputs: Tensor) -> list[Tensor]:
        first = self.prelu1(self.conv1(inputs))
        fine = self.stage1(self.pool1(first))
        middle = self.stage2(self.pool2(fine))
        return [first, fine, middle, self.stage3(self.pool3(middle))]

    def classify(self, coarsest: Tensor) -> Tensor:
        if self.headless:
            return coarsest.mean((2, 3))
        hidden = self.fc1_dropout(self.fc1_prelu(self.fc1(self.pyramid(coarsest))))
        hidden = self.fc2_dropout(self.fc2_prelu(self.fc2(hidden)))
        return self.fc3(hidden)


def _stage(channels: int, width: int, count: int) -> nn.Sequential:
    """3 x 3 layers; a slope for each channel starts at a quarter (section 2.1), which is torch's own start."""
    layers: list[nn.Module] = []
    for before in (channels, *[width] * (count - 1)):
        layers += [nn.Conv2d(before, width, 3, padding=1), nn.PReLU(width)]
    return nn.Sequential(*layers)


def _initialise(model: nn.Module) -> None:
    """Section 2.2: gaussian, of variance 2 / ((1 + a^2) n) for n inputs and the slope a; biases zero."""
    for module in model.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            nn.init.kaiming_normal_(module.weight, a=0.25, nonlinearity="leaky_relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)


def prelu_net_a(num_classes: int = 1000, in_channels: int = 3, dropout: float = 0.5) -> PReLUNet:
    """A: 19 layers, 178 million weights, 1.9e10 multiply-adds."""
    return PReLUNet((256, 512, 512), 5, num_classes, in_channels, dropout)


def prelu_net_b(num_classes: int = 1000, in_channels: int = 3, dropout: float = 0.5) -> PReLUNet:
    """B: 22 layers, 183 million weights, 2.3e10 multiply-adds."""
    return PReLUNet((256, 512, 512), 6, num_classes, in_channels, dropout)


def prelu_net_c(num_classes: int = 1000, in_channels: int = 3, dropout: float = 0.5) -> PReLUNet:
    """C: 22 wider layers, 331 million weights, 5.3e10 multiply-adds."""
    return PReLUNet((384, 768, 896), 6, num_classes, in_channels, dropout)
