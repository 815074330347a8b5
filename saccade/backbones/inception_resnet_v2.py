"""Inception-ResNet v2.

Szegedy, Ioffe, Vanhoucke and Alemi, "Inception-v4, Inception-ResNet and the Impact of Residual Connections on
Learning", AAAI 2017. Table 2: one network on one crop of 299 x 299 pixels has 19.9 % top-1 and 4.9 % top-5 error on
ImageNet. The paper counts neither weights nor work; here they are 55,843,464 weights and 13.16e9 multiply-adds.

The idea that made it matter: residual connections around Inception modules, so that they learn sooner. Very wide ones
die early in training unless what they add is scaled down, to between 0.1 and 0.3 of it (section 3.3).

State-dict keys, shapes and behaviour are timm's, which are those of the authors' TensorFlow release. That differs from
the paper's figures: it begins like Inception v3 and with one Inception module in place of figure 3; it has 10, 20 and
10 residual modules where figure 15 has 5, 10 and 5, of other widths (320, 1088 and 2080 channels), scaled by 0.17, 0.10
and 0.20; the last of them is neither scaled nor followed by a ReLU. The release's auxiliary classifier is not in timm's
network, nor here. Dropout is 0.2, as in figure 15, where timm has none.

Images of 75 pixels and more work; few filters are padded, so that maps are up to four pixels and a half smaller than
image over stride.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from saccade.backbones.contract import Backbone
from saccade.layers.inception import Convolution


def _attach(parent: nn.Module, branches: Sequence[nn.Module]) -> None:
    """As branch0, branch1 ..."""
    for number, branch in enumerate(branches):
        parent.add_module(f"branch{number}", branch)


def _concatenated(parent: nn.Module, inputs: Tensor) -> Tensor:
    """What the branches make of the inputs, in the order of their numbers."""
    branches = [child for name, child in parent.named_children() if name.startswith("branch")]
    return torch.cat([branch(inputs) for branch in branches], 1)


class Mixed(nn.Module):
    """Branches side by side, concatenated."""

    def __init__(self, *branches: nn.Module) -> None:
        super().__init__()
        _attach(self, branches)

    def forward(self, inputs: Tensor) -> Tensor:
        return _concatenated(self, inputs)


class Residual(nn.Module):
    """Branches side by side, brought back to `channels` by a linear 1 x 1 and added to the input, scaled (figure 20).

    width      of the branches together
    scale      of what is added
    rectified  whether a ReLU follows
    """

    def __init__(
        self, branches: Sequence[nn.Module], width: int, channels: int, scale: float, rectified: bool = True
    ) -> None:
        super().__init__()
        _attach(self, branches)
        self.conv2d = nn.Conv2d(width, channels, 1)
        self.scale = scale
        self.relu = nn.ReLU() if rectified else nn.Identity()

    def forward(self, inputs: Tensor) -> Tensor:
        return self.relu(inputs + self.scale * self.conv2d(_concatenated(self, inputs)))


def _mixed_5b() -> Mixed:
    """1 x 1, 5 x 5, two 3 x 3, pooling: 192 to 320 channels."""
    return Mixed(
        Convolution(192, 96, 1),
        nn.Sequential(Convolution(192, 48, 1), Convolution(48, 64, 5, padding=2)),
        nn.Sequential(Convolution(192, 64, 1), Convolution(64, 96, 3, padding=1), Convolution(96, 96, 3, padding=1)),
        nn.Sequential(nn.AvgPool2d(3, stride=1, padding=1, count_include_pad=False), Convolution(192, 64, 1)),
    )


def _block35() -> Residual:
    """1 x 1, 3 x 3, two 3 x 3, on the grid of 35 x 35 (figure 16)."""
    branches = (
        Convolution(320, 32, 1),
        nn.Sequential(Convolution(320, 32, 1), Convolution(32, 32, 3, padding=1)),
        nn.Sequential(Convolution(320, 32, 1), Convolution(32, 48, 3, padding=1), Convolution(48, 64, 3, padding=1)),
    )
    return Residual(branches, 128, 320, scale=0.17)


def _mixed_6a() -> Mixed:
    """Stride 2: 3 x 3, two 3 x 3, pooling: 320 to 1088 channels (figure 7)."""
    return Mixed(
        Convolution(320, 384, 3, stride=2),
        nn.Sequential(
            Convolution(320, 256, 1), Convolution(256, 256, 3, padding=1), Convolution(256, 384, 3, stride=2)
        ),
        nn.MaxPool2d(3, stride=2),
    )


def _block17() -> Residual:
    """1 x 1, a factorised 7 x 7, on the grid of 17 x 17 (figure 17)."""
    branches = (
        Convolution(1088, 192, 1),
        nn.Sequential(
            Convolution(1088, 128, 1),
            Convolution(128, 160, (1, 7), padding=(0, 3)),
            Convolution(160, 192, (7, 1), padding=(3, 0)),
        ),
    )
    return Residual(branches, 384, 1088, scale=0.10)


def _mixed_7a() -> Mixed:
    """Stride 2: 3 x 3, another, two 3 x 3, pooling: 1088 to 2080 channels (figure 18)."""
    return Mixed(
        nn.Sequential(Convolution(1088, 256, 1), Convolution(256, 384, 3, stride=2)),
        nn.Sequential(Convolution(1088, 256, 1), Convolution(256, 288, 3, stride=2)),
        nn.Sequential(
            Convolution(1088, 256, 1), Convolution(256, 288, 3, padding=1), Convolution(288, 320, 3, stride=2)
        ),
        nn.MaxPool2d(3, stride=2),
    )


def _block8(scale: float, rectified: bool) -> Residual:
    """1 x 1, a factorised 3 x 3, on the grid of 8 x 8 (figure 19)."""
    branches = (
        Convolution(2080, 192, 1),
        nn.Sequential(
            Convolution(2080, 192, 1),
            Convolution(192, 224, (1, 3), padding=(0, 1)),
            Convolution(224, 256, (3, 1), padding=(1, 0)),
        ),
    )
    return Residual(branches, 448, 2080, scale, rectified)


class InceptionResNetV2(Backbone):
    """Forty residual modules: maps at strides 2, 4, 8, 16 and 32, the last of 35 x 35, 17 x 17 and 8 x 8 pixels."""

    input_size = (299, 299)
    last_layers = ("classif",)

    def __init__(self, num_classes: int, in_channels: int, dropout: float) -> None:
        super().__init__()
        self.channels, self.strides = (64, 192, 320, 1088, 1536), (2, 4, 8, 16, 32)
        self.conv2d_1a = Convolution(in_channels, 32, 3, stride=2)
        self.conv2d_2a = Convolution(32, 32, 3)
        self.conv2d_2b = Convolution(32, 64, 3, padding=1)
        self.maxpool_3a = nn.MaxPool2d(3, stride=2)
        self.conv2d_3b = Convolution(64, 80, 1)
        self.conv2d_4a = Convolution(80, 192, 3)
        self.maxpool_5a = nn.MaxPool2d(3, stride=2)
        self.mixed_5b = _mixed_5b()
        self.repeat = nn.Sequential(*(_block35() for _ in range(10)))
        self.mixed_6a = _mixed_6a()
        self.repeat_1 = nn.Sequential(*(_block17() for _ in range(20)))
        self.mixed_7a = _mixed_7a()
        self.repeat_2 = nn.Sequential(*(_block8(scale=0.20, rectified=True) for _ in range(9)))
        self.block8 = _block8(scale=1.0, rectified=False)
        self.conv2d_7b = Convolution(2080, 1536, 1)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.dropout = nn.Dropout(dropout) if num_classes else nn.Identity()
        self.classif = nn.Linear(1536, num_classes) if num_classes else nn.Identity()
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def maps(self, inputs: Tensor) -> list[Tensor]:
        half = self.conv2d_2b(self.conv2d_2a(self.conv2d_1a(inputs)))
        quarter = self.conv2d_4a(self.conv2d_3b(self.maxpool_3a(half)))
        eighth = self.repeat(self.mixed_5b(self.maxpool_5a(quarter)))
        sixteenth = self.repeat_1(self.mixed_6a(eighth))
        last = self.conv2d_7b(self.block8(self.repeat_2(self.mixed_7a(sixteenth))))
        return [half, quarter, eighth, sixteenth, last]

    def classify(self, coarsest: Tensor) -> Tensor:
        return self.classif(self.dropout(self.avgpool(coarsest).flatten(1)))


def inception_resnet_v2(num_classes: int = 1000, in_channels: int = 3, dropout: float = 0.2) -> InceptionResNetV2:
    """Scaled residual Inception modules: 55.8 million weights, 13.2e9 multiply-adds at 299 x 299."""
    return InceptionResNetV2(num_classes, in_channels, dropout)
