"""ResNet.

He, Zhang, Ren and Sun, "Deep Residual Learning for Image Recognition", CVPR 2016. Table 1: the five ImageNet networks
and their multiply-adds (18 layers 1.8e9, 34 3.6e9, 50 3.8e9, 101 7.6e9, 152 11.3e9); table 3: the shortcut options and
the errors (top-1, ten crops: ResNet-34 A 25.03 %, B 24.52 %, C 24.19 %; ResNet-50 22.85 %; ResNet-152 21.43 %);
table 2: the plain networks beside them. Section 4.2: the CIFAR-10 ones, 6n + 2 layers deep, with parameter-free
shortcuts (option A; table 6: ResNet-20 has 0.27 million weights and 8.75 % error, ResNet-110 1.7 million and 6.43 %).

The idea that made it matter: layers learn what to add to their input, so that deeper is never harder.

State-dict keys and shapes are torchvision's, and so is the place of the stride: in the 3 x 3 of a bottleneck, where the
paper has it in the first 1 x 1. The networks called "v1" have it there: the same weights in number and shape, and the
work of table 1 within 2 % (50 layers 3.86e9 multiply-adds in place of 4.09e9, 101 7.57e9, 152 11.28e9).
"""

from collections.abc import Callable, Sequence
from functools import partial

import torch.nn.functional as F
from torch import Tensor, nn

from saccade.backbones.contract import Backbone
from saccade.errors import unknown


class PaddedShortcut(nn.Module):
    """Every `stride`-th pixel, the missing channels zero. No weights."""

    def __init__(self, extra: int, stride: int) -> None:
        super().__init__()
        self.extra, self.stride = extra, stride

    def forward(self, inputs: Tensor) -> Tensor:
        return F.pad(inputs[..., :: self.stride, :: self.stride], (0, 0, 0, 0, 0, self.extra))


def padding(channels: int, out: int, stride: int) -> nn.Module | None:
    """Option A: padded where the shape changes, else None, the input itself."""
    return PaddedShortcut(out - channels, stride) if stride > 1 or channels != out else None


def projection(channels: int, out: int, stride: int) -> nn.Module | None:
    """Option B: a 1 x 1 convolution with batch norm where the shape changes, else None, the input itself."""
    return projection_everywhere(channels, out, stride) if stride > 1 or channels != out else None


def projection_everywhere(channels: int, out: int, stride: int) -> nn.Module | None:
    """Option C: a 1 x 1 convolution with batch norm."""
    return nn.Sequential(nn.Conv2d(channels, out, 1, stride, bias=False), nn.BatchNorm2d(out))


Shortcut = Callable[[int, int, int], nn.Module | None]  # of channels, out, stride
SHORTCUTS: dict[str, Shortcut] = {"A": padding, "B": projection, "C": projection_everywhere}


class BasicBlock(nn.Module):
    """Two 3 x 3 convolutions beside a shortcut (figure 5, left)."""

    def __init__(self, channels: int, out: int, stride: int, shortcut: Shortcut = projection) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, out, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(out)
        self.relu = nn.ReLU()
        self.conv2 = nn.Conv2d(out, out, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(out)
        self.relu2 = nn.ReLU()
        self.downsample = shortcut(channels, out, stride)

    def forward(self, inputs: Tensor) -> Tensor:
        residual = self.relu(self.bn1(self.conv1(inputs)))
        residual = self.bn2(self.conv2(residual))
        return self.relu2(residual + (inputs if self.downsample is None else self.downsample(inputs)))


class Bottleneck(nn.Module):
    """1 x 1 to a quarter of the channels, 3 x 3, 1 x 1 back to all of them, beside a shortcut (figure 5, right).

    widen         the 3 x 3 has so many times the channels of the paper's
    groups        of channels in the 3 x 3 that do not see each other
    stride_first  the first 1 x 1 carries the stride, as in the paper, and not the 3 x 3
    """

    def __init__(
        self,
        channels: int,
        out: int,
        stride: int,
        shortcut: Shortcut = projection,
        widen: int = 1,
        groups: int = 1,
        stride_first: bool = False,
    ) -> None:
        super().__init__()
        width = out // 4 * widen
        first, second = (stride, 1) if stride_first else (1, stride)
        self.conv1 = nn.Conv2d(channels, width, 1, first, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU()
        self.conv2 = nn.Conv2d(width, width, 3, second, padding=1, groups=groups, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.relu2 = nn.ReLU()
        self.conv3 = nn.Conv2d(width, out, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(out)
        self.relu3 = nn.ReLU()
        self.downsample = shortcut(channels, out, stride)

    def forward(self, inputs: Tensor) -> Tensor:
        residual = self.relu(self.bn1(self.conv1(inputs)))
        residual = self.relu2(self.bn2(self.conv2(residual)))
        residual = self.bn3(self.conv3(residual))
        return self.relu3(residual + (inputs if self.downsample is None else self.downsample(inputs)))


class PlainBlock(nn.Module):
    """A basic block without its shortcut."""

    def __init__(self, channels: int, out: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, out, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(out)
        self.relu = nn.ReLU()
        self.conv2 = nn.Conv2d(out, out, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(out)
        self.relu2 = nn.ReLU()

    def forward(self, inputs: Tensor) -> Tensor:
        return self.relu2(self.bn2(self.conv2(self.relu(self.bn1(self.conv1(inputs))))))


Block = Callable[[int, int, int], nn.Module]  # of channels, out, stride


def _stage(block: Block, channels: int, out: int, count: int, stride: int = 1) -> nn.Sequential:
    """`count` blocks, the first with the stride."""
    return nn.Sequential(block(channels, out, stride), *(block(out, out, 1) for _ in range(count - 1)))


def _initialise(model: nn.Module) -> None:
    """He initialisation (He et al. 2015, equation 10) by the number of outputs."""
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")


class ResNet(Backbone):
    """The ImageNet networks (table 1): maps after `layer1` to `layer4`, at strides 4, 8, 16 and 32.

    width   channels of the first of them; each has twice as many as the one before
    counts  of blocks in each
    """

    last_layers = ("fc",)

    def __init__(self, block: Block, width: int, counts: Sequence[int], num_classes: int, in_channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, 64, 7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.relu = nn.ReLU()
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1)
        self.channels, self.strides = (width, 2 * width, 4 * width, 8 * width), (4, 8, 16, 32)
        self.layer1 = _stage(block, 64, width, counts[0])
        self.layer2 = _stage(block, width, 2 * width, counts[1], 2)
        self.layer3 = _stage(block, 2 * width, 4 * width, counts[2], 2)
        self.layer4 = _stage(block, 4 * width, 8 * width, counts[3], 2)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(8 * width, num_classes) if num_classes else nn.Identity()
        _initialise(self)
        # Not in the paper: a bottleneck begins as its shortcut alone (Goyal et al., "Accurate, Large Minibatch SGD",
        # 2017, section 5.1). Without it those of 50 layers and more stand still for hundreds of steps.
        for module in self.modules():
            if isinstance(module, Bottleneck):
                nn.init.zeros_(module.bn3.weight)

    def maps(self, inputs: Tensor, count: int = 4) -> list[Tensor]:
        """As every backbone's; only the first `count` where a detector looks at the last stage box by box."""
        features = self.maxpool(self.relu(self.bn1(self.conv1(inputs))))
        maps = []
        for stage in (self.layer1, self.layer2, self.layer3, self.layer4)[:count]:
            features = stage(features)
            maps.append(features)
        return maps

    def classify(self, coarsest: Tensor) -> Tensor:
        return self.fc(self.avgpool(coarsest).flatten(1))


class CifarResNet(Backbone):
    """The CIFAR-10 networks (section 4.2): three stages of n blocks with 16, 32 and 64 channels."""

    input_size = (32, 32)
    last_layers = ("fc",)

    def __init__(self, block: Block, depth: int, num_classes: int, in_channels: int) -> None:
        super().__init__()
        count, rest = divmod(depth - 2, 6)
        if rest:
            raise ValueError(f"depth must be 6n + 2 (20, 32, 44, 56, 110 ...) but got {depth}")
        self.channels, self.strides = (16, 32, 64), (1, 2, 4)
        self.conv1 = nn.Conv2d(in_channels, 16, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        self.relu = nn.ReLU()
        self.layer1 = _stage(block, 16, 16, count)
        self.layer2 = _stage(block, 16, 32, count, 2)
        self.layer3 = _stage(block, 32, 64, count, 2)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(64, num_classes) if num_classes else nn.Identity()
        _initialise(self)

    def maps(self, inputs: Tensor) -> list[Tensor]:
        fine = self.layer1(self.relu(self.bn1(self.conv1(inputs))))
        middle = self.layer2(fine)
        return [fine, middle, self.layer3(middle)]

    def classify(self, coarsest: Tensor) -> Tensor:
        return self.fc(self.avgpool(coarsest).flatten(1))


def _shortcut(option: str) -> Shortcut:
    if option not in SHORTCUTS:
        raise unknown("shortcut option", option, SHORTCUTS)
    return SHORTCUTS[option]


def _basic(counts: Sequence[int], num_classes: int, in_channels: int, shortcut: str) -> ResNet:
    return ResNet(partial(BasicBlock, shortcut=_shortcut(shortcut)), 64, counts, num_classes, in_channels)


def _bottleneck(
    counts: Sequence[int], num_classes: int, in_channels: int, shortcut: str, stride_first: bool = False
) -> ResNet:
    block = partial(Bottleneck, shortcut=_shortcut(shortcut), stride_first=stride_first)
    return ResNet(block, 256, counts, num_classes, in_channels)


def resnet18(num_classes: int = 1000, in_channels: int = 3, shortcut: str = "B") -> ResNet:
    """18 layers, 1.8e9 multiply-adds."""
    return _basic((2, 2, 2, 2), num_classes, in_channels, shortcut)


def resnet34(num_classes: int = 1000, in_channels: int = 3, shortcut: str = "B") -> ResNet:
    """34 layers, 3.6e9 multiply-adds."""
    return _basic((3, 4, 6, 3), num_classes, in_channels, shortcut)


def resnet50(num_classes: int = 1000, in_channels: int = 3, shortcut: str = "B") -> ResNet:
    """50 layers, bottlenecks, 4.1e9 multiply-adds."""
    return _bottleneck((3, 4, 6, 3), num_classes, in_channels, shortcut)


def resnet101(num_classes: int = 1000, in_channels: int = 3, shortcut: str = "B") -> ResNet:
    """101 layers, bottlenecks, 7.8e9 multiply-adds."""
    return _bottleneck((3, 4, 23, 3), num_classes, in_channels, shortcut)


def resnet152(num_classes: int = 1000, in_channels: int = 3, shortcut: str = "B") -> ResNet:
    """152 layers, bottlenecks, 11.5e9 multiply-adds."""
    return _bottleneck((3, 8, 36, 3), num_classes, in_channels, shortcut)


def resnet50_v1(num_classes: int = 1000, in_channels: int = 3, shortcut: str = "B") -> ResNet:
    """50 layers with the paper's place of the stride, 3.9e9 multiply-adds."""
    return _bottleneck((3, 4, 6, 3), num_classes, in_channels, shortcut, stride_first=True)


def resnet101_v1(num_classes: int = 1000, in_channels: int = 3, shortcut: str = "B") -> ResNet:
    """101 layers with the paper's place of the stride, 7.6e9 multiply-adds."""
    return _bottleneck((3, 4, 23, 3), num_classes, in_channels, shortcut, stride_first=True)


def resnet152_v1(num_classes: int = 1000, in_channels: int = 3, shortcut: str = "B") -> ResNet:
    """152 layers with the paper's place of the stride, 11.3e9 multiply-adds."""
    return _bottleneck((3, 8, 36, 3), num_classes, in_channels, shortcut, stride_first=True)


def plain18(num_classes: int = 1000, in_channels: int = 3) -> ResNet:
    """18 layers without shortcuts: 27.94 % error where ResNet-18 has 27.88 % (table 2)."""
    return ResNet(PlainBlock, 64, (2, 2, 2, 2), num_classes, in_channels)


def plain34(num_classes: int = 1000, in_channels: int = 3) -> ResNet:
    """34 layers without shortcuts: 28.54 % error where ResNet-34 has 25.03 % (table 2)."""
    return ResNet(PlainBlock, 64, (3, 4, 6, 3), num_classes, in_channels)


def _cifar(depth: int, num_classes: int, in_channels: int) -> CifarResNet:
    return CifarResNet(partial(BasicBlock, shortcut=padding), depth, num_classes, in_channels)


def resnet20_cifar(num_classes: int = 10, in_channels: int = 3) -> CifarResNet:
    """20 layers, 0.27 million weights."""
    return _cifar(20, num_classes, in_channels)


def resnet32_cifar(num_classes: int = 10, in_channels: int = 3) -> CifarResNet:
    """32 layers, 0.46 million weights."""
    return _cifar(32, num_classes, in_channels)


def resnet44_cifar(num_classes: int = 10, in_channels: int = 3) -> CifarResNet:
    """44 layers, 0.66 million weights."""
    return _cifar(44, num_classes, in_channels)


def resnet56_cifar(num_classes: int = 10, in_channels: int = 3) -> CifarResNet:
    """56 layers, 0.85 million weights."""
    return _cifar(56, num_classes, in_channels)


def resnet110_cifar(num_classes: int = 10, in_channels: int = 3) -> CifarResNet:
    """110 layers, 1.7 million weights."""
    return _cifar(110, num_classes, in_channels)


def plain20_cifar(num_classes: int = 10, in_channels: int = 3) -> CifarResNet:
    """20 layers without shortcuts (figure 6)."""
    return CifarResNet(PlainBlock, 20, num_classes, in_channels)


def plain32_cifar(num_classes: int = 10, in_channels: int = 3) -> CifarResNet:
    """32 layers without shortcuts (figure 6)."""
    return CifarResNet(PlainBlock, 32, num_classes, in_channels)


def plain44_cifar(num_classes: int = 10, in_channels: int = 3) -> CifarResNet:
    """44 layers without shortcuts (figure 6)."""
    return CifarResNet(PlainBlock, 44, num_classes, in_channels)


def plain56_cifar(num_classes: int = 10, in_channels: int = 3) -> CifarResNet:
    """56 layers without shortcuts (figure 6), harder to train than 20."""
    return CifarResNet(PlainBlock, 56, num_classes, in_channels)
