"""What the Inception networks are made of, from the second one on."""

from torch import Tensor, nn


class Convolution(nn.Module):
    """Convolution, batch norm, ReLU: what all Inception networks after the first are made of."""

    def __init__(
        self,
        channels: int,
        out: int,
        kernel: int | tuple[int, int],
        stride: int = 1,
        padding: int | tuple[int, int] = 0,
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, out, kernel, stride, padding, bias=False)
        self.bn = nn.BatchNorm2d(out, eps=0.001)
        self.relu = nn.ReLU()

    def forward(self, inputs: Tensor) -> Tensor:
        return self.relu(self.bn(self.conv(inputs)))


class SpacedMean(nn.Module):
    """Means of 5 x 5 pixels, 3 apart. A map too small for `least` x `least` of them is divided into so many parts.

    What the papers put before an auxiliary classifier; the division is ours, so that small images can be trained on.
    """

    def __init__(self, least: int) -> None:
        super().__init__()
        self.least = least
        self.spaced = nn.AvgPool2d(5, stride=3)
        self.divided = nn.AdaptiveAvgPool2d(least)

    def forward(self, inputs: Tensor) -> Tensor:
        if min(inputs.shape[2:]) < 3 * self.least + 2:
            return self.divided(inputs)
        return self.spaced(inputs)
