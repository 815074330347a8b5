"""BN-Inception.

Ioffe and Szegedy, "Batch Normalization: Accelerating Deep Network Training by Reducing Internal Covariate Shift", ICML
2015. Figure 5: the network, layer by layer. Figure 4: one network on one crop has 25.2 % top-1 and 7.82 % top-5 error
on ImageNet.

The idea that made it matter: normalise what goes into every nonlinearity by the mean and variance of the batch, so that
layers need not chase each other's scales: it learns 14 times faster, and needs no dropout. Two 3 x 3 filters in a row
take the place of one 5 x 5.

11,188,288 weights and 1.935e9 multiply-adds, without auxiliary classifiers, which figure 5 does not have. Szegedy et
al. 2016, table 3, count 2.0e9 multiply-adds. No reading of figure 5 gives the 13.6 million weights of section 4.2.

Figure 5 contradicts itself: in (4c) and (4d) the branches make 608 channels with the 128 it gives the pooling branch,
and the 576 that it gives as their sum with 96. Here it is 96, as in the authors' TensorFlow release (slim,
inception_v2.py); 128 would make 11,278,528 weights, and is what the networks converted from Caffe have. The first layer
is separable, as the text beside figure 5 and that release have it: 8 filters of 7 x 7 a colour, then 1 x 1 to 64.

There is no reference whose names to keep. Poolings with a stride are padded like the filters beside them, so that
images of any size work.
"""

import torch
from torch import Tensor, nn

from saccade.backbones.contract import Backbone
from saccade.layers.depthwise import DepthwiseConv2d
from saccade.layers.inception import Convolution


class Inception(nn.Module):
    """1 x 1, 3 x 3, two 3 x 3 and pooling side by side, in the order of the columns of figure 5."""

    def __init__(
        self,
        channels: int,
        width1: int,
        reduced3: int,
        width3: int,
        reduced_double: int,
        width_double: int,
        pool: nn.Module,
        projected: int,
    ) -> None:
        super().__init__()
        self.branch1x1 = Convolution(channels, width1, 1)
        self.branch3x3 = nn.Sequential(
            Convolution(channels, reduced3, 1),
            Convolution(reduced3, width3, 3, padding=1),
        )
        self.branch_double3x3 = nn.Sequential(
            Convolution(channels, reduced_double, 1),
            Convolution(reduced_double, width_double, 3, padding=1),
            Convolution(width_double, width_double, 3, padding=1),
        )
        self.branch_pool = nn.Sequential(pool, Convolution(channels, projected, 1))

    def forward(self, inputs: Tensor) -> Tensor:
        return torch.cat(
            [self.branch1x1(inputs), self.branch3x3(inputs), self.branch_double3x3(inputs), self.branch_pool(inputs)],
            1,
        )


class Reduction(nn.Module):
    """Stride 2: 3 x 3, two 3 x 3 and the pooled input itself (figure 5, "pass through")."""

    def __init__(self, channels: int, reduced3: int, width3: int, reduced_double: int, width_double: int) -> None:
        super().__init__()
        self.branch3x3 = nn.Sequential(
            Convolution(channels, reduced3, 1),
            Convolution(reduced3, width3, 3, stride=2, padding=1),
        )
        self.branch_double3x3 = nn.Sequential(
            Convolution(channels, reduced_double, 1),
            Convolution(reduced_double, width_double, 3, padding=1),
            Convolution(width_double, width_double, 3, stride=2, padding=1),
        )
        self.branch_pool = nn.MaxPool2d(3, stride=2, padding=1)

    def forward(self, inputs: Tensor) -> Tensor:
        return torch.cat(
            [self.branch3x3(inputs), self.branch_double3x3(inputs), self.branch_pool(inputs)],
            1,
        )


class Separable(nn.Module):
    """Filters of 7 x 7 on each colour by itself, then 1 x 1 across; one norm and one ReLU, after both."""

    def __init__(self, channels: int, multiplier: int, out: int) -> None:
        super().__init__()
        self.depthwise = DepthwiseConv2d(channels, multiplier * channels, 7, 2, padding=3, bias=False)
        self.pointwise = Convolution(multiplier * channels, out, 1)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.pointwise(self.depthwise(inputs))


class BNInception(Backbone):
    """Ten Inception modules (figure 5): maps at strides 2, 4, 8, 16 and 32."""

    last_layers = ("fc",)

    def __init__(self, num_classes: int, in_channels: int) -> None:
        super().__init__()
        self.channels, self.strides = (64, 192, 320, 576, 1024), (2, 4, 8, 16, 32)
        self.conv1 = Separable(in_channels, 8, 64)
        self.maxpool1 = nn.MaxPool2d(3, stride=2, padding=1)
        self.conv2_reduce = Convolution(64, 64, 1)
        self.conv2 = Convolution(64, 192, 3, padding=1)
        self.maxpool2 = nn.MaxPool2d(3, stride=2, padding=1)
        self.inception3a = Inception(192, 64, 64, 64, 64, 96, _mean(), 32)
        self.inception3b = Inception(256, 64, 64, 96, 64, 96, _mean(), 64)
        self.inception3c = Reduction(320, 128, 160, 64, 96)
        self.inception4a = Inception(576, 224, 64, 96, 96, 128, _mean(), 128)
        self.inception4b = Inception(576, 192, 96, 128, 96, 128, _mean(), 128)
        self.inception4c = Inception(576, 160, 128, 160, 128, 160, _mean(), 96)
        self.inception4d = Inception(576, 96, 128, 192, 160, 192, _mean(), 96)
        self.inception4e = Reduction(576, 128, 192, 192, 256)
        self.inception5a = Inception(1024, 352, 192, 320, 160, 224, _mean(), 128)
        self.inception5b = Inception(1024, 352, 192, 320, 192, 224, nn.MaxPool2d(3, stride=1, padding=1), 128)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(1024, num_classes) if num_classes else nn.Identity()
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def maps(self, inputs: Tensor) -> list[Tensor]:
        half = self.conv1(inputs)
        quarter = self.conv2(self.conv2_reduce(self.maxpool1(half)))
        eighth = self.inception3b(self.inception3a(self.maxpool2(quarter)))
        sixteenth = self.inception4b(self.inception4a(self.inception3c(eighth)))
        sixteenth = self.inception4d(self.inception4c(sixteenth))
        last = self.inception5b(self.inception5a(self.inception4e(sixteenth)))
        return [half, quarter, eighth, sixteenth, last]

    def classify(self, coarsest: Tensor) -> Tensor:
        return self.fc(self.avgpool(coarsest).flatten(1))


def _mean() -> nn.AvgPool2d:
    """The paper is silent about the border; TensorFlow, which it was written in, counts only what is there."""
    return nn.AvgPool2d(3, stride=1, padding=1, count_include_pad=False)


def bn_inception(num_classes: int = 1000, in_channels: int = 3) -> BNInception:
    """Batch norm, two 3 x 3 filters for one 5 x 5: 11.2 million weights, 1.9e9 multiply-adds."""
    return BNInception(num_classes, in_channels)
