"""Inception v3.

Szegedy, Vanhoucke, Ioffe, Shlens and Wojna, "Rethinking the Inception Architecture for Computer Vision", CVPR 2016.
Abstract: fewer than 25 million weights and 5e9 multiply-adds; table 3, last row: one network on one crop of 299 x 299
pixels has 21.2 % top-1 and 5.6 % top-5 error on ImageNet.

The idea that made it matter: spend the same work better. Large filters are factorised, 5 x 5 into two of 3 x 3 and
7 x 7 into 1 x 7 and 7 x 1; grids shrink by stride and pooling side by side, so that nothing is squeezed through a
bottleneck; label smoothing.

23,834,568 weights (27,161,264 with the auxiliary classifier) and 5.713e9 multiply-adds. State-dict keys and shapes are
torchvision's. So is the initialisation, but for the 5 x 5 of the auxiliary classifier, which starts with a deviation of
0.01: TensorFlow's does, and torchvision means to. There is one auxiliary classifier, with batch norm (section 4). The
paper does not say by how much it counts; 0.4 is what the authors' TensorFlow release trains with (slim,
train_image_classifier.py).

Few filters are padded: a map is smaller than image over stride by up to four pixels and a half. Images of 75 pixels and
more work, with the auxiliary classifier too, where the reference's needs 299.
"""

import torch
from torch import Tensor, nn

from saccade.backbones.contract import Backbone
from saccade.layers.inception import Convolution, SpacedMean


class InceptionA(nn.Module):
    """1 x 1, 5 x 5, two 3 x 3, pooling (figure 5, which has two 3 x 3 for the 5 x 5)."""

    def __init__(self, channels: int, projected: int) -> None:
        super().__init__()
        self.branch1x1 = Convolution(channels, 64, 1)
        self.branch5x5_1 = Convolution(channels, 48, 1)
        self.branch5x5_2 = Convolution(48, 64, 5, padding=2)
        self.branch3x3dbl_1 = Convolution(channels, 64, 1)
        self.branch3x3dbl_2 = Convolution(64, 96, 3, padding=1)
        self.branch3x3dbl_3 = Convolution(96, 96, 3, padding=1)
        self.pool = nn.AvgPool2d(3, stride=1, padding=1)
        self.branch_pool = Convolution(channels, projected, 1)

    def forward(self, inputs: Tensor) -> Tensor:
        five = self.branch5x5_2(self.branch5x5_1(inputs))
        double = self.branch3x3dbl_3(self.branch3x3dbl_2(self.branch3x3dbl_1(inputs)))
        return torch.cat([self.branch1x1(inputs), five, double, self.branch_pool(self.pool(inputs))], 1)


class ReductionA(nn.Module):
    """Stride 2: 3 x 3, two 3 x 3, pooling (figure 10)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.branch3x3 = Convolution(channels, 384, 3, stride=2)
        self.branch3x3dbl_1 = Convolution(channels, 64, 1)
        self.branch3x3dbl_2 = Convolution(64, 96, 3, padding=1)
        self.branch3x3dbl_3 = Convolution(96, 96, 3, stride=2)
        self.pool = nn.MaxPool2d(3, stride=2)

    def forward(self, inputs: Tensor) -> Tensor:
        double = self.branch3x3dbl_3(self.branch3x3dbl_2(self.branch3x3dbl_1(inputs)))
        return torch.cat([self.branch3x3(inputs), double, self.pool(inputs)], 1)


class InceptionB(nn.Module):
    """1 x 1, a factorised 7 x 7, two of them, pooling (figure 6). `width` is that of the filters in between."""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.branch1x1 = Convolution(channels, 192, 1)
        self.branch7x7_1 = Convolution(channels, width, 1)
        self.branch7x7_2 = Convolution(width, width, (1, 7), padding=(0, 3))
        self.branch7x7_3 = Convolution(width, 192, (7, 1), padding=(3, 0))
        self.branch7x7dbl_1 = Convolution(channels, width, 1)
        self.branch7x7dbl_2 = Convolution(width, width, (7, 1), padding=(3, 0))
        self.branch7x7dbl_3 = Convolution(width, width, (1, 7), padding=(0, 3))
        self.branch7x7dbl_4 = Convolution(width, width, (7, 1), padding=(3, 0))
        self.branch7x7dbl_5 = Convolution(width, 192, (1, 7), padding=(0, 3))
        self.pool = nn.AvgPool2d(3, stride=1, padding=1)
        self.branch_pool = Convolution(channels, 192, 1)

    def forward(self, inputs: Tensor) -> Tensor:
        seven = self.branch7x7_3(self.branch7x7_2(self.branch7x7_1(inputs)))
        double = self.branch7x7dbl_3(self.branch7x7dbl_2(self.branch7x7dbl_1(inputs)))
        double = self.branch7x7dbl_5(self.branch7x7dbl_4(double))
        return torch.cat([self.branch1x1(inputs), seven, double, self.branch_pool(self.pool(inputs))], 1)


class ReductionB(nn.Module):
    """Stride 2: 3 x 3, a factorised 7 x 7 and 3 x 3, pooling."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.branch3x3_1 = Convolution(channels, 192, 1)
        self.branch3x3_2 = Convolution(192, 320, 3, stride=2)
        self.branch7x7x3_1 = Convolution(channels, 192, 1)
        self.branch7x7x3_2 = Convolution(192, 192, (1, 7), padding=(0, 3))
        self.branch7x7x3_3 = Convolution(192, 192, (7, 1), padding=(3, 0))
        self.branch7x7x3_4 = Convolution(192, 192, 3, stride=2)
        self.pool = nn.MaxPool2d(3, stride=2)

    def forward(self, inputs: Tensor) -> Tensor:
        three = self.branch3x3_2(self.branch3x3_1(inputs))
        seven = self.branch7x7x3_3(self.branch7x7x3_2(self.branch7x7x3_1(inputs)))
        return torch.cat([three, self.branch7x7x3_4(seven), self.pool(inputs)], 1)


class InceptionC(nn.Module):
    """1 x 1, 1 x 3 beside 3 x 1, the same behind a 3 x 3, pooling (figure 7): wide, for the coarsest grid."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.branch1x1 = Convolution(channels, 320, 1)
        self.branch3x3_1 = Convolution(channels, 384, 1)
        self.branch3x3_2a = Convolution(384, 384, (1, 3), padding=(0, 1))
        self.branch3x3_2b = Convolution(384, 384, (3, 1), padding=(1, 0))
        self.branch3x3dbl_1 = Convolution(channels, 448, 1)
        self.branch3x3dbl_2 = Convolution(448, 384, 3, padding=1)
        self.branch3x3dbl_3a = Convolution(384, 384, (1, 3), padding=(0, 1))
        self.branch3x3dbl_3b = Convolution(384, 384, (3, 1), padding=(1, 0))
        self.pool = nn.AvgPool2d(3, stride=1, padding=1)
        self.branch_pool = Convolution(channels, 192, 1)

    def forward(self, inputs: Tensor) -> Tensor:
        three = self.branch3x3_1(inputs)
        double = self.branch3x3dbl_2(self.branch3x3dbl_1(inputs))
        return torch.cat(
            [
                self.branch1x1(inputs),
                self.branch3x3_2a(three),
                self.branch3x3_2b(three),
                self.branch3x3dbl_3a(double),
                self.branch3x3dbl_3b(double),
                self.branch_pool(self.pool(inputs)),
            ],
            1,
        )


class Auxiliary(nn.Module):
    """A classifier on the 17 x 17 grid, for training only (figure 8)."""

    def __init__(self, channels: int, num_classes: int) -> None:
        super().__init__()
        self.pool = SpacedMean(5)
        self.conv0 = Convolution(channels, 128, 1)
        self.conv1 = Convolution(128, 768, 5)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(768, num_classes)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.fc(self.avgpool(self.conv1(self.conv0(self.pool(inputs)))).flatten(1))


class InceptionV3(Backbone):
    """Eleven modules: maps at strides 2, 4, 8, 16 and 32, the last of 35 x 35, 17 x 17 and 8 x 8 pixels."""

    input_size = (299, 299)
    last_layers = ("fc", "AuxLogits.fc")
    auxiliary = ("AuxLogits",)
    auxiliary_weight = 0.4

    def __init__(self, num_classes: int, in_channels: int, dropout: float) -> None:
        super().__init__()
        self.channels, self.strides = (64, 192, 288, 768, 2048), (2, 4, 8, 16, 32)
        self.Conv2d_1a_3x3 = Convolution(in_channels, 32, 3, stride=2)
        self.Conv2d_2a_3x3 = Convolution(32, 32, 3)
        self.Conv2d_2b_3x3 = Convolution(32, 64, 3, padding=1)
        self.maxpool1 = nn.MaxPool2d(3, stride=2)
        self.Conv2d_3b_1x1 = Convolution(64, 80, 1)
        self.Conv2d_4a_3x3 = Convolution(80, 192, 3)
        self.maxpool2 = nn.MaxPool2d(3, stride=2)
        self.Mixed_5b = InceptionA(192, 32)
        self.Mixed_5c = InceptionA(256, 64)
        self.Mixed_5d = InceptionA(288, 64)
        self.Mixed_6a = ReductionA(288)
        self.Mixed_6b = InceptionB(768, 128)
        self.Mixed_6c = InceptionB(768, 160)
        self.Mixed_6d = InceptionB(768, 160)
        self.Mixed_6e = InceptionB(768, 192)
        self.Mixed_7a = ReductionB(768)
        self.Mixed_7b = InceptionC(1280)
        self.Mixed_7c = InceptionC(2048)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        if num_classes:
            self.AuxLogits = Auxiliary(768, num_classes)
            self.dropout = nn.Dropout(dropout)
            self.fc = nn.Linear(2048, num_classes)
        else:
            self.AuxLogits = None
            self.dropout = self.fc = nn.Identity()
        self._initialise()

    def _initialise(self) -> None:
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                nn.init.trunc_normal_(module.weight, std=0.1)
        if self.AuxLogits is not None:
            nn.init.trunc_normal_(self.AuxLogits.conv1.conv.weight, std=0.01)
            nn.init.trunc_normal_(self.AuxLogits.fc.weight, std=0.001)

    def maps(self, inputs: Tensor) -> list[Tensor]:
        half = self.Conv2d_2b_3x3(self.Conv2d_2a_3x3(self.Conv2d_1a_3x3(inputs)))
        quarter = self.Conv2d_4a_3x3(self.Conv2d_3b_1x1(self.maxpool1(half)))
        eighth = self.Mixed_5d(self.Mixed_5c(self.Mixed_5b(self.maxpool2(quarter))))
        sixteenth = self.Mixed_6c(self.Mixed_6b(self.Mixed_6a(eighth)))
        sixteenth = self.Mixed_6e(self.Mixed_6d(sixteenth))
        return [half, quarter, eighth, sixteenth, self.Mixed_7c(self.Mixed_7b(self.Mixed_7a(sixteenth)))]

    def classify(self, coarsest: Tensor) -> Tensor:
        return self.fc(self.dropout(self.avgpool(coarsest).flatten(1)))

    def training_logits(self, inputs: Tensor) -> list[Tensor]:
        maps = self.maps(inputs)
        logits = [self.classify(maps[-1])]
        if self.AuxLogits is not None:
            logits.append(self.AuxLogits(maps[-2]))
        return logits


def inception_v3(num_classes: int = 1000, in_channels: int = 3, dropout: float = 0.5) -> InceptionV3:
    """48 layers, factorised filters: 23.8 million weights, 5.7e9 multiply-adds at 299 x 299."""
    return InceptionV3(num_classes, in_channels, dropout)
