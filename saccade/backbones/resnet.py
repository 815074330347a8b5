"""ResNet.

He, Zhang, Ren and Sun, "Deep Residual Learning for Image Recognition", CVPR 2016. Table 1: the five ImageNet networks;
section 4.2: the CIFAR-10 ones, 6n + 2 layers deep, with parameter-free shortcuts (option A; table 6: ResNet-20 has
0.27 million weights and 8.75 % error, ResNet-110 1.7 million and 6.43 %).

The idea that made it matter: layers learn what to add to their input, so that deeper is never harder.

State-dict keys and shapes are torchvision's, and so is the place of the stride: in the 3 x 3 of a bottleneck, where the
paper has it in the first 1 x 1.
"""

from collections.abc import Callable, Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from saccade.backbones.contract import Backbone


class BasicBlock(nn.Module):
    """Two 3 x 3 convolutions beside a shortcut (figure 5, left)."""

    expansion = 1

    def __init__(self, channels: int, width: int, stride: int, shortcut: nn.Module | None) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, width, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU()
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.relu2 = nn.ReLU()
        self.downsample = shortcut

    def forward(self, inputs: Tensor) -> Tensor:
        residual = self.relu(self.bn1(self.conv1(inputs)))
        residual = self.bn2(self.conv2(residual))
        return self.relu2(residual + (inputs if self.downsample is None else self.downsample(inputs)))


class Bottleneck(nn.Module):
    """1 x 1 to fewer channels, 3 x 3 (it carries the stride), 1 x 1 to four times as many (figure 5, right)."""

    expansion = 4

    def __init__(self, channels: int, width: int, stride: int, shortcut: nn.Module | None) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU()
        self.conv2 = nn.Conv2d(width, width, 3, stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.relu2 = nn.ReLU()
        self.conv3 = nn.Conv2d(width, 4 * width, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(4 * width)
        self.relu3 = nn.ReLU()
        self.downsample = shortcut

    def forward(self, inputs: Tensor) -> Tensor:
        residual = self.relu(self.bn1(self.conv1(inputs)))
        residual = self.relu2(self.bn2(self.conv2(residual)))
        residual = self.bn3(self.conv3(residual))
        return self.relu3(residual + (inputs if self.downsample is None else self.downsample(inputs)))


class PaddedShortcut(nn.Module):
    """Option A: every `stride`-th pixel, the missing channels zero. No weights."""

    def __init__(self, extra: int, stride: int) -> None:
        super().__init__()
        self.extra, self.stride = extra, stride

    def forward(self, inputs: Tensor) -> Tensor:
        return F.pad(inputs[..., :: self.stride, :: self.stride], (0, 0, 0, 0, 0, self.extra))


def projection(channels: int, out: int, stride: int) -> nn.Module:
    """Option B: a 1 x 1 convolution with batch norm."""
    return nn.Sequential(nn.Conv2d(channels, out, 1, stride, bias=False), nn.BatchNorm2d(out))


def padding(channels: int, out: int, stride: int) -> nn.Module:
    """Option A."""
    return PaddedShortcut(out - channels, stride)


Block = type[BasicBlock] | type[Bottleneck]


def _stage(
    block: Block,
    channels: int,
    width: int,
    count: int,
    stride: int = 1,
    shortcut: Callable[[int, int, int], nn.Module] = projection,
) -> nn.Sequential:
    """`count` blocks, the first with the stride."""
    out = width * block.expansion
    changes = stride > 1 or channels != out
    first = block(channels, width, stride, shortcut(channels, out, stride) if changes else None)
    return nn.Sequential(first, *(block(out, width, 1, None) for _ in range(count - 1)))


def _initialise(model: nn.Module) -> None:
    """He initialisation (He et al. 2015, equation 10) by the number of outputs."""
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")


class ResNet(Backbone):
    """The ImageNet networks (table 1): maps after `layer1` to `layer4`, at strides 4, 8, 16 and 32."""

    head = ("fc",)

    def __init__(self, block: Block, counts: Sequence[int], num_classes: int, in_channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, 64, 7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.relu = nn.ReLU()
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1)
        self.channels = tuple(width * block.expansion for width in (64, 128, 256, 512))
        self.strides = (4, 8, 16, 32)
        into = (64, *self.channels)
        self.layer1 = _stage(block, into[0], 64, counts[0])
        self.layer2 = _stage(block, into[1], 128, counts[1], 2)
        self.layer3 = _stage(block, into[2], 256, counts[2], 2)
        self.layer4 = _stage(block, into[3], 512, counts[3], 2)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(self.channels[-1], num_classes) if num_classes else nn.Identity()
        _initialise(self)

    def maps(self, inputs: Tensor) -> list[Tensor]:
        features = self.maxpool(self.relu(self.bn1(self.conv1(inputs))))
        maps = []
        for stage in (self.layer1, self.layer2, self.layer3, self.layer4):
            features = stage(features)
            maps.append(features)
        return maps

    def classify(self, coarsest: Tensor) -> Tensor:
        return self.fc(self.avgpool(coarsest).flatten(1))


class CifarResNet(Backbone):
    """The CIFAR-10 networks (section 4.2): three stages of n blocks with 16, 32 and 64 channels, option A shortcuts."""

    input_size = (32, 32)
    head = ("fc",)

    def __init__(self, depth: int, num_classes: int, in_channels: int) -> None:
        super().__init__()
        count, rest = divmod(depth - 2, 6)
        if rest:
            raise ValueError(f"depth must be 6n + 2 (20, 32, 44, 56, 110 ...) but got {depth}")
        self.channels, self.strides = (16, 32, 64), (1, 2, 4)
        self.conv1 = nn.Conv2d(in_channels, 16, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        self.relu = nn.ReLU()
        self.layer1 = _stage(BasicBlock, 16, 16, count)
        self.layer2 = _stage(BasicBlock, 16, 32, count, 2, shortcut=padding)
        self.layer3 = _stage(BasicBlock, 32, 64, count, 2, shortcut=padding)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(64, num_classes) if num_classes else nn.Identity()
        _initialise(self)

    def maps(self, inputs: Tensor) -> list[Tensor]:
        fine = self.layer1(self.relu(self.bn1(self.conv1(inputs))))
        middle = self.layer2(fine)
        return [fine, middle, self.layer3(middle)]

    def classify(self, coarsest: Tensor) -> Tensor:
        return self.fc(self.avgpool(coarsest).flatten(1))


def resnet18(num_classes: int = 1000, in_channels: int = 3) -> ResNet:
    """18 layers, 1.8e9 multiply-adds."""
    return ResNet(BasicBlock, (2, 2, 2, 2), num_classes, in_channels)


def resnet34(num_classes: int = 1000, in_channels: int = 3) -> ResNet:
    """34 layers, 3.6e9 multiply-adds."""
    return ResNet(BasicBlock, (3, 4, 6, 3), num_classes, in_channels)


def resnet50(num_classes: int = 1000, in_channels: int = 3) -> ResNet:
    """50 layers, bottlenecks."""
    return ResNet(Bottleneck, (3, 4, 6, 3), num_classes, in_channels)


def resnet101(num_classes: int = 1000, in_channels: int = 3) -> ResNet:
    """101 layers, bottlenecks."""
    return ResNet(Bottleneck, (3, 4, 23, 3), num_classes, in_channels)


def resnet152(num_classes: int = 1000, in_channels: int = 3) -> ResNet:
    """152 layers, bottlenecks."""
    return ResNet(Bottleneck, (3, 8, 36, 3), num_classes, in_channels)


def resnet20_cifar(num_classes: int = 10, in_channels: int = 3) -> CifarResNet:
    """20 layers, 0.27 million weights."""
    return CifarResNet(20, num_classes, in_channels)


def resnet32_cifar(num_classes: int = 10, in_channels: int = 3) -> CifarResNet:
    """32 layers, 0.46 million weights."""
    return CifarResNet(32, num_classes, in_channels)


def resnet44_cifar(num_classes: int = 10, in_channels: int = 3) -> CifarResNet:
    """44 layers, 0.66 million weights."""
    return CifarResNet(44, num_classes, in_channels)


def resnet56_cifar(num_classes: int = 10, in_channels: int = 3) -> CifarResNet:
    """56 layers, 0.85 million weights."""
    return CifarResNet(56, num_classes, in_channels)


def resnet110_cifar(num_classes: int = 10, in_channels: int = 3) -> CifarResNet:
    """110 layers, 1.7 million weights."""
    return CifarResNet(110, num_classes, in_channels)
