"""Wide residual networks, for ImageNet.

Zagoruyko and Komodakis, "Wide Residual Networks", BMVC 2016. Table 8: WRN-50-2-bottleneck has 68.9 million weights and
21.9 % top-1 error on ImageNet, less than a ResNet-152 in less time.

The idea that made it matter: widen the blocks rather than stack more of them; a shallow wide network learns as well and
runs much faster on parallel hardware.

Here the 3 x 3 of each bottleneck is twice as wide as a ResNet's, its outputs are not. The one of 101 layers is not in
the paper but in torchvision, whose state-dict keys and shapes these are.
"""

from functools import partial

from saccade.backbones.resnet import Bottleneck, ResNet


def wide_resnet50_2(num_classes: int = 1000, in_channels: int = 3) -> ResNet:
    """50 layers, inside twice as wide: 68.9 million weights."""
    return ResNet(partial(Bottleneck, widen=2), 256, (3, 4, 6, 3), num_classes, in_channels)


def wide_resnet101_2(num_classes: int = 1000, in_channels: int = 3) -> ResNet:
    """101 layers, inside twice as wide: 126.9 million weights."""
    return ResNet(partial(Bottleneck, widen=2), 256, (3, 4, 23, 3), num_classes, in_channels)
