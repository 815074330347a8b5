"""Network in network.

Lin, Chen and Yan, "Network In Network", ICLR 2014. Section 4.2: on CIFAR-10 10.41 % error, 8.81 % with augmentation,
with three perceptron layers (966,986 weights). The ImageNet network is not in the paper but in Caffe's model zoo, by
the authors: 7.6 million weights, an eighth of AlexNet's.

The idea that made it matter: 1 x 1 convolutions, a small perceptron at every pixel; and the mean of one map a class in
place of full connections, where AlexNet has 96 % of its weights.

The state-dict keys of `nin` number the layers as the conversion of the authors' file for PyTorch does. For CIFAR-10
both poolings take the maximum, as the paper says; the authors' file has the mean in the second.
"""

from itertools import pairwise

from torch import Tensor, nn

from saccade.backbones.contract import Backbone
from saccade.layers.stages import stage_maps


class NIN(Backbone):
    """The ImageNet network: perceptron layers of 11 x 11, 5 x 5, 3 x 3 and 3 x 3. Maps at strides 4, 8, 16 and 32."""

    last_layers = ("features.26",)

    def __init__(self, num_classes: int, in_channels: int, dropout: float) -> None:
        super().__init__()
        self.channels, self.strides = (96, 256, 384, 1024), (4, 8, 16, 32)
        self.features = nn.Sequential(
            *_perceptron(in_channels, (96, 96, 96), 11, stride=4),
            _pool(),
            *_perceptron(96, (256, 256, 256), 5, padding=2),
            _pool(),
            *_perceptron(256, (384, 384, 384), 3, padding=1),
            _pool(),
            nn.Dropout(dropout),
            *_perceptron(384, (1024, 1024), 3, padding=1),
            *_classifier(1024, num_classes),
        )

    def reset_head(self) -> None:
        super().reset_head()
        _wake(self.features[26])

    def maps(self, inputs: Tensor) -> list[Tensor]:
        return stage_maps(self.features, (6, 13, 20, 26), inputs)

    def classify(self, coarsest: Tensor) -> Tensor:
        return self.features[26:](coarsest).flatten(1)


class CifarNIN(Backbone):
    """The CIFAR-10 network: perceptron layers of 5 x 5, 5 x 5 and 3 x 3. Maps at strides 1, 2 and 4."""

    input_size = (32, 32)
    last_layers = ("features.20",)

    def __init__(self, num_classes: int, in_channels: int, dropout: float) -> None:
        super().__init__()
        self.channels, self.strides = (96, 192, 192), (1, 2, 4)
        self.features = nn.Sequential(
            *_perceptron(in_channels, (192, 160, 96), 5, padding=2),
            _pool(),
            nn.Dropout(dropout),
            *_perceptron(96, (192, 192, 192), 5, padding=2),
            _pool(),
            nn.Dropout(dropout),
            *_perceptron(192, (192, 192), 3, padding=1),
            *_classifier(192, num_classes),
        )

    def reset_head(self) -> None:
        super().reset_head()
        _wake(self.features[20])

    def maps(self, inputs: Tensor) -> list[Tensor]:
        return stage_maps(self.features, (6, 14, 20), inputs)

    def classify(self, coarsest: Tensor) -> Tensor:
        return self.features[20:](coarsest).flatten(1)


def _convolution(channels: int, width: int, kernel: int, stride: int = 1, padding: int = 0) -> list[nn.Module]:
    """Filters and rectifiers, with He initialisation; the paper says nothing of its own."""
    convolution = nn.Conv2d(channels, width, kernel, stride, padding)
    # By the number of inputs: by that of outputs the last map of `nin`, whose first filters stride, is 16 times weaker.
    nn.init.kaiming_normal_(convolution.weight, nonlinearity="relu")
    if convolution.bias is not None:
        nn.init.zeros_(convolution.bias)
    return [convolution, nn.ReLU()]


def _perceptron(
    channels: int, widths: tuple[int, ...], kernel: int, stride: int = 1, padding: int = 0
) -> list[nn.Module]:
    """Filters, then at every pixel the same full connections from channels to channels (section 3.1)."""
    layers = _convolution(channels, widths[0], kernel, stride, padding)
    for before, after in pairwise(widths):
        layers += _convolution(before, after, 1)
    return layers


def _classifier(channels: int, num_classes: int) -> list[nn.Module]:
    """The end of the last perceptron, one map a class, and the mean of each map (section 3.2)."""
    if not num_classes:
        return [nn.AdaptiveAvgPool2d(1)]
    last = nn.Conv2d(channels, num_classes, 1)
    nn.init.normal_(last.weight, std=0.01)
    _wake(last)
    return [last, nn.ReLU(), nn.AdaptiveAvgPool2d(1)]


def _wake(last: nn.Module) -> None:
    """Biases of one: the logits pass a ReLU, and those below zero have no gradient to bring them back."""
    if isinstance(last, nn.Conv2d) and last.bias is not None:
        nn.init.ones_(last.bias)


def _pool() -> nn.MaxPool2d:
    return nn.MaxPool2d(3, stride=2, ceil_mode=True)


def nin(num_classes: int = 1000, in_channels: int = 3, dropout: float = 0.5) -> NIN:
    """The authors' ImageNet network: 7.6 million weights, 1.1e9 multiply-adds."""
    return NIN(num_classes, in_channels, dropout)


def nin_cifar(num_classes: int = 10, in_channels: int = 3, dropout: float = 0.5) -> CifarNIN:
    """The paper's CIFAR-10 network: 0.97 million weights, 0.22e9 multiply-adds."""
    return CifarNIN(num_classes, in_channels, dropout)
