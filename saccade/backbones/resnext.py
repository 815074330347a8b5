"""ResNeXt.

Xie, Girshick, Dollár, Tu and He, "Aggregated Residual Transformations for Deep Neural Networks", CVPR 2017. Table 1:
ResNeXt-50 (32 x 4d) has 25.0 million weights and 4.2e9 multiply-adds; tables 3 and 4: 22.2 % top-1 error on ImageNet,
and 20.4 % for ResNeXt-101 (64 x 4d).

The idea that made it matter: split a bottleneck into many narrow, equal paths and add them up; more paths (the
"cardinality") serve better than more depth or width. Drawn as one grouped convolution it costs nothing extra
(figure 3, c).

The name says paths x channels of each in the first stage. 32 x 8d is not in this paper but in Mahajan et al.,
"Exploring the Limits of Weakly Supervised Pretraining", ECCV 2018. State-dict keys and shapes are torchvision's; the
stride is in the 3 x 3, as in the paper.
"""

from functools import partial

from saccade.backbones.resnet import Bottleneck, ResNet


def resnext50_32x4d(num_classes: int = 1000, in_channels: int = 3) -> ResNet:
    """50 layers, 32 paths of 4 channels: 25.0 million weights."""
    return ResNet(partial(Bottleneck, widen=2, groups=32), 256, (3, 4, 6, 3), num_classes, in_channels)


def resnext101_32x8d(num_classes: int = 1000, in_channels: int = 3) -> ResNet:
    """101 layers, 32 paths of 8 channels: 88.8 million weights."""
    return ResNet(partial(Bottleneck, widen=4, groups=32), 256, (3, 4, 23, 3), num_classes, in_channels)


def resnext101_64x4d(num_classes: int = 1000, in_channels: int = 3) -> ResNet:
    """101 layers, 64 paths of 4 channels: 83.5 million weights."""
    return ResNet(partial(Bottleneck, widen=4, groups=64), 256, (3, 4, 23, 3), num_classes, in_channels)
