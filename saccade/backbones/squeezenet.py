"""SqueezeNet.

Iandola, Han, Moskewicz, Ashraf, Dally and Keutzer, "SqueezeNet: AlexNet-level accuracy with 50x fewer parameters and
<0.5MB model size", 2016. Table 1: 1.25 million weights; table 2: 57.5 % top-1
on ImageNet. Version 1.1 is the authors' own
revision: pooling earlier and narrower first filters, 2.4 times less work at the same accuracy.

The idea that made it matter: squeeze the channels with 1 x 1 filters before the costly 3 x 3 ones, and pool late.

State-dict keys and shapes are torchvision's.
"""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn

from saccade.backbones.contract import Backbone
from saccade.layers.stages import stage_maps


class Fire(nn.Module):
    """Squeeze to few channels, expand to `expand` of 1 x 1 and as many of 3 x 3 (figure 1)."""

    def __init__(self, channels: int, squeeze: int, expand: int) -> None:
        super().__init__()
        self.squeeze = nn.Conv2d(channels, squeeze, 1)
        self.squeeze_activation = nn.ReLU()
        self.expand1x1 = nn.Conv2d(squeeze, expand, 1)
        self.expand1x1_activation = nn.ReLU()
        self.expand3x3 = nn.Conv2d(squeeze, expand, 3, padding=1)
        self.expand3x3_activation = nn.ReLU()

    def forward(self, inputs: Tensor) -> Tensor:
        squeezed = self.squeeze_activation(self.squeeze(inputs))
        return torch.cat(
            [
                self.expand1x1_activation(self.expand1x1(squeezed)),
                self.expand3x3_activation(self.expand3x3(squeezed)),
            ],
            1,
        )


class SqueezeNet(Backbone):
    """Eight fire modules; `stages` are the ends (exclusive) in `features` of the maps at strides 2, 4, 8 and 16."""

    last_layers = ("classifier.1",)

    def __init__(
        self,
        features: nn.Sequential,
        stages: tuple[int, ...],
        channels: tuple[int, ...],
        num_classes: int,
        dropout: float,
    ) -> None:
        super().__init__()
        self.channels, self.strides, self.stages = channels, (2, 4, 8, 16), stages
        self.features = features
        if num_classes:
            last = nn.Conv2d(512, num_classes, 1)
            _initialise(last, partial(nn.init.normal_, std=0.01))
            self.classifier = nn.Sequential(nn.Dropout(dropout), last, nn.ReLU(), nn.AdaptiveAvgPool2d(1))
        else:
            self.classifier = nn.Sequential(nn.AdaptiveAvgPool2d(1))
        for module in features.modules():
            if isinstance(module, nn.Conv2d):
                _initialise(module, nn.init.kaiming_uniform_)

    def reset_head(self) -> None:
        super().reset_head()
        # The logits pass a ReLU: at zero they would have no gradient and never wake up.
        for module in self.classifier.modules():
            if isinstance(module, nn.Conv2d) and module.bias is not None:
                nn.init.ones_(module.bias)

    def maps(self, inputs: Tensor) -> list[Tensor]:
        return stage_maps(self.features, self.stages, inputs)

    def classify(self, coarsest: Tensor) -> Tensor:
        return self.classifier(coarsest).flatten(1)


def _initialise(convolution: nn.Conv2d, weights: Callable[[Tensor], Tensor]) -> None:
    weights(convolution.weight)
    if convolution.bias is not None:
        nn.init.zeros_(convolution.bias)


def _pool() -> nn.MaxPool2d:
    return nn.MaxPool2d(3, stride=2, ceil_mode=True)


def squeezenet1_0(num_classes: int = 1000, in_channels: int = 3, dropout: float = 0.5) -> SqueezeNet:
    """SqueezeNet as published (table 1)."""
    features = nn.Sequential(
        nn.Conv2d(in_channels, 96, 7, stride=2),
        nn.ReLU(),
        _pool(),
        Fire(96, 16, 64),
        Fire(128, 16, 64),
        Fire(128, 32, 128),
        _pool(),
        Fire(256, 32, 128),
        Fire(256, 48, 192),
        Fire(384, 48, 192),
        Fire(384, 64, 256),
        _pool(),
        Fire(512, 64, 256),
    )
    return SqueezeNet(features, (2, 6, 11, 13), (96, 256, 512, 512), num_classes, dropout)


def squeezenet1_1(num_classes: int = 1000, in_channels: int = 3, dropout: float = 0.5) -> SqueezeNet:
    """The authors' revision: 2.4 times less work at the same accuracy."""
    features = nn.Sequential(
        nn.Conv2d(in_channels, 64, 3, stride=2),
        nn.ReLU(),
        _pool(),
        Fire(64, 16, 64),
        Fire(128, 16, 64),
        _pool(),
        Fire(128, 32, 128),
        Fire(256, 32, 128),
        _pool(),
        Fire(256, 48, 192),
        Fire(384, 48, 192),
        Fire(384, 64, 256),
        Fire(512, 64, 256),
    )
    return SqueezeNet(features, (2, 5, 8, 13), (64, 128, 256, 512), num_classes, dropout)
