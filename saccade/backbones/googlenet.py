"""GoogLeNet.

Szegedy, Liu, Jia, Sermanet, Reed, Anguelov, Erhan, Vanhoucke and Rabinovich, "Going Deeper with Convolutions", CVPR
2015. Table 1: the network, layer by layer; its rows add up to 6,798K weights (6.96 million, since K is 1024) and 1,502M
multiply-adds. Table 3: one network on one crop has 10.07 % top-5 error on ImageNet.

The idea that made it matter: look at every place with filters of several sizes at once, and pay for it by reducing the
channels with 1 x 1 convolutions first. Auxiliary classifiers half-way up help the lower layers to learn.

`googlenet_2014` is table 1: 6,998,552 weights (13,378,280 with the auxiliary classifiers) and 1.583e9 multiply-adds.
Three rows of the table do not follow from their own widths, the others do within 2 %. The first has 2.7K and 34M, which
is a separable convolution (8 filters of 7 x 7 a colour, then 1 x 1 to 64, as in BN-Inception); the 7 x 7 convolution
that it is called, and that is here, has 9.2K and 118M: all of the difference in work. (4c) has 463K where its widths,
and its multiply-adds too, make 498K; (5a) has 1072K and 54M for 1018K and 51M. Of local response normalisation the
paper shows the places (figure 3), not the constants; these are of Caffe's replication, bvlc_googlenet.

`googlenet` is torchvision's, with its state-dict keys and shapes: batch norm in place of biases and local response
normalisation, 3 x 3 filters where the paper has 5 x 5, the last max pool 2 x 2, the auxiliary classifiers on means of
4 x 4 parts, dropout 0.2. 6,624,904 weights (13,004,888 with the auxiliary classifiers), 1.498e9 multiply-adds.

`googlenet_naive` is what the paper warns of (figure 2a): as many filters of each size as in table 1, but straight on
the input, and beside them all of the input, pooled, so that the channels grow from 192 to 4,944. 97,526,008 weights
(104,274,376 with the auxiliary classifiers) and 12.57e9 multiply-adds: 14 times the weights of `googlenet_2014` and 8
times its work.

`googlenet` takes images of 15 pixels and more, the others of 31 and more, with their auxiliary classifiers too.
"""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn

from saccade.backbones.contract import Backbone
from saccade.layers.inception import Convolution, SpacedMean


class BiasedConvolution(nn.Module):
    """Convolution with biases, ReLU: what the first Inception network is made of."""

    def __init__(self, channels: int, out: int, kernel: int, stride: int = 1, padding: int = 0) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, out, kernel, stride, padding)
        self.relu = nn.ReLU()

    def forward(self, inputs: Tensor) -> Tensor:
        return self.relu(self.conv(inputs))


AnyConvolution = type[Convolution] | type[BiasedConvolution]


class Inception(nn.Module):
    """1 x 1, 3 x 3, 5 x 5 and pooling side by side, each behind or before a 1 x 1 that reduces (figure 2b).

    The widths stand in the order of table 1. `five` is the side of the largest filters, which torchvision has as 3.
    """

    def __init__(
        self,
        convolution: AnyConvolution,
        five: int,
        channels: int,
        width1: int,
        reduced3: int,
        width3: int,
        reduced5: int,
        width5: int,
        projected: int,
    ) -> None:
        super().__init__()
        self.channels = width1 + width3 + width5 + projected
        self.branch1 = convolution(channels, width1, 1)
        self.branch2 = nn.Sequential(
            convolution(channels, reduced3, 1),
            convolution(reduced3, width3, 3, padding=1),
        )
        self.branch3 = nn.Sequential(
            convolution(channels, reduced5, 1),
            convolution(reduced5, width5, five, padding=five // 2),
        )
        self.branch4 = nn.Sequential(nn.MaxPool2d(3, stride=1, padding=1), convolution(channels, projected, 1))

    def forward(self, inputs: Tensor) -> Tensor:
        return torch.cat(
            [self.branch1(inputs), self.branch2(inputs), self.branch3(inputs), self.branch4(inputs)],
            1,
        )


class NaiveInception(nn.Module):
    """1 x 1, 3 x 3, 5 x 5 and pooling side by side on the input itself (figure 2a).

    Takes the same row of table 1 as `Inception`, and has no use for the widths of its reductions.
    """

    def __init__(
        self, channels: int, width1: int, reduced3: int, width3: int, reduced5: int, width5: int, projected: int
    ) -> None:
        super().__init__()
        self.channels = width1 + width3 + width5 + channels
        self.branch1 = BiasedConvolution(channels, width1, 1)
        self.branch2 = BiasedConvolution(channels, width3, 3, padding=1)
        self.branch3 = BiasedConvolution(channels, width5, 5, padding=2)
        self.branch4 = nn.MaxPool2d(3, stride=1, padding=1)

    def forward(self, inputs: Tensor) -> Tensor:
        return torch.cat(
            [self.branch1(inputs), self.branch2(inputs), self.branch3(inputs), self.branch4(inputs)],
            1,
        )


class Auxiliary(nn.Module):
    """A classifier half-way up, for training only (section 5). `pool` gives it 4 x 4 pixels."""

    def __init__(self, convolution: AnyConvolution, pool: nn.Module, channels: int, num_classes: int) -> None:
        super().__init__()
        self.pool = pool
        self.conv = convolution(channels, 128, 1)
        self.fc1 = nn.Linear(128 * 4 * 4, 1024)
        self.relu = nn.ReLU()
        self.dropout = nn.Dropout(0.7)
        self.fc2 = nn.Linear(1024, num_classes)

    def forward(self, inputs: Tensor) -> Tensor:
        hidden = self.relu(self.fc1(self.conv(self.pool(inputs)).flatten(1)))
        return self.fc2(self.dropout(hidden))


class GoogLeNet(Backbone):
    """Nine Inception modules (table 1): maps at strides 2, 4, 8, 16 and 32, each taken before the pooling after it.

    convolution     what the stem and the auxiliary classifiers are made of
    inception       builds a module from its number of input channels and the six widths of its row in table 1
    normalise       builds what follows the first pooling and what precedes the second
    last_pool       the fourth pooling
    auxiliary_pool  builds what gives an auxiliary classifier its 4 x 4 pixels
    """

    last_layers = ("fc", "aux1.fc2", "aux2.fc2")
    auxiliary = ("aux1", "aux2")
    auxiliary_weight = 0.3  # section 5

    def __init__(
        self,
        convolution: AnyConvolution,
        inception: Callable[..., Inception | NaiveInception],
        normalise: Callable[[], nn.Module],
        last_pool: nn.Module,
        auxiliary_pool: Callable[[], nn.Module],
        num_classes: int,
        in_channels: int,
        dropout: float,
    ) -> None:
        super().__init__()
        self.conv1 = convolution(in_channels, 64, 7, stride=2, padding=3)
        self.maxpool1 = _pool()
        self.norm1 = normalise()
        self.conv2 = convolution(64, 64, 1)
        self.conv3 = convolution(64, 192, 3, padding=1)
        self.norm2 = normalise()
        self.maxpool2 = _pool()
        self.inception3a = inception(192, 64, 96, 128, 16, 32, 32)
        self.inception3b = inception(self.inception3a.channels, 128, 128, 192, 32, 96, 64)
        self.maxpool3 = _pool()
        self.inception4a = inception(self.inception3b.channels, 192, 96, 208, 16, 48, 64)
        self.inception4b = inception(self.inception4a.channels, 160, 112, 224, 24, 64, 64)
        self.inception4c = inception(self.inception4b.channels, 128, 128, 256, 24, 64, 64)
        self.inception4d = inception(self.inception4c.channels, 112, 144, 288, 32, 64, 64)
        self.inception4e = inception(self.inception4d.channels, 256, 160, 320, 32, 128, 128)
        self.maxpool4 = last_pool
        self.inception5a = inception(self.inception4e.channels, 256, 160, 320, 32, 128, 128)
        self.inception5b = inception(self.inception5a.channels, 384, 192, 384, 48, 128, 128)
        ends = (self.inception3b, self.inception4e, self.inception5b)
        self.channels = (64, 192, *(module.channels for module in ends))
        self.strides = (2, 4, 8, 16, 32)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        if num_classes:
            self.aux1 = Auxiliary(convolution, auxiliary_pool(), self.inception4a.channels, num_classes)
            self.aux2 = Auxiliary(convolution, auxiliary_pool(), self.inception4d.channels, num_classes)
            self.dropout = nn.Dropout(dropout)
            self.fc = nn.Linear(self.channels[-1], num_classes)
        else:
            self.aux1 = self.aux2 = None
            self.dropout = self.fc = nn.Identity()

    def _features(self, inputs: Tensor) -> tuple[list[Tensor], tuple[Tensor, Tensor]]:
        """The maps, and what the two auxiliary classifiers look at."""
        half = self.conv1(inputs)
        quarter = self.norm2(self.conv3(self.conv2(self.norm1(self.maxpool1(half)))))
        eighth = self.inception3b(self.inception3a(self.maxpool2(quarter)))
        first = self.inception4a(self.maxpool3(eighth))
        second = self.inception4d(self.inception4c(self.inception4b(first)))
        sixteenth = self.inception4e(second)
        last = self.inception5b(self.inception5a(self.maxpool4(sixteenth)))
        return [half, quarter, eighth, sixteenth, last], (first, second)

    def maps(self, inputs: Tensor) -> list[Tensor]:
        return self._features(inputs)[0]

    def classify(self, coarsest: Tensor) -> Tensor:
        return self.fc(self.dropout(self.avgpool(coarsest).flatten(1)))

    def training_logits(self, inputs: Tensor) -> list[Tensor]:
        maps, (first, second) = self._features(inputs)
        logits = [self.classify(maps[-1])]
        if self.aux1 is not None and self.aux2 is not None:
            logits += [self.aux1(first), self.aux2(second)]
        return logits


def _pool() -> nn.MaxPool2d:
    return nn.MaxPool2d(3, stride=2, ceil_mode=True)


def _he(model: GoogLeNet) -> GoogLeNet:
    """He initialisation (He et al. 2015, equation 10) by the number of inputs; the paper says nothing of its own.

    By the number of outputs, as elsewhere, the 1 x 1 convolutions that reduce would amplify, with no norm to tame them:
    the last map would be thirty times as large. The last layers start small, so that no class is preferred.
    """
    for name, module in model.named_modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            if name in model.last_layers:
                nn.init.normal_(module.weight, std=0.01)
            else:
                nn.init.kaiming_normal_(module.weight, mode="fan_in", nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    return model


def googlenet(num_classes: int = 1000, in_channels: int = 3, dropout: float = 0.2) -> GoogLeNet:
    """22 layers, batch norm, 3 x 3 for 5 x 5: torchvision's. 6.6 million weights, 1.5e9 multiply-adds."""
    model = GoogLeNet(
        Convolution,
        inception=partial(Inception, Convolution, 3),
        normalise=nn.Identity,
        last_pool=nn.MaxPool2d(2, stride=2, ceil_mode=True),
        auxiliary_pool=partial(nn.AdaptiveAvgPool2d, 4),
        num_classes=num_classes,
        in_channels=in_channels,
        dropout=dropout,
    )
    for module in model.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            nn.init.trunc_normal_(module.weight, std=0.01)  # the reference's
    return model


def _published(
    inception: Callable[..., Inception | NaiveInception], num_classes: int, in_channels: int, dropout: float
) -> GoogLeNet:
    model = GoogLeNet(
        BiasedConvolution,
        inception,
        normalise=partial(nn.LocalResponseNorm, 5, alpha=1e-4, beta=0.75, k=1.0),
        last_pool=_pool(),
        # At the paper's size the second of these changes nothing.
        auxiliary_pool=lambda: nn.Sequential(SpacedMean(4), nn.AdaptiveAvgPool2d(4)),
        num_classes=num_classes,
        in_channels=in_channels,
        dropout=dropout,
    )
    return _he(model)


def googlenet_2014(num_classes: int = 1000, in_channels: int = 3, dropout: float = 0.4) -> GoogLeNet:
    """22 layers as published, 5 x 5 filters, biases: 7.0 million weights, 1.6e9 multiply-adds."""
    return _published(partial(Inception, BiasedConvolution, 5), num_classes, in_channels, dropout)


def googlenet_naive(num_classes: int = 1000, in_channels: int = 3, dropout: float = 0.4) -> GoogLeNet:
    """22 layers without reductions (figure 2a): 98 million weights, 12.6e9 multiply-adds."""
    return _published(NaiveInception, num_classes, in_channels, dropout)
