"""DenseNet.

Huang, Liu, van der Maaten and Weinberger, "Densely Connected Convolutional Networks", CVPR 2017. Table 1: the ImageNet
networks; table 3: their top-1 errors (121 layers 25.02 %, 169 23.80 %, 201 22.58 %). Table 2: DenseNet-BC of 100 layers
and growth 12 has 0.8 million weights and 4.51 % error on CIFAR-10 with augmentation. The one of 161 layers and growth
48 has 22.2 % in the authors' code. Pleiss et al., "Memory-Efficient Implementation of DenseNets", 2017:
recomputing what is cheap to compute.

The idea that made it matter: each layer sees the maps of all the layers before it and adds a few of its own, so that
nothing need be learnt twice.

All are DenseNet-BC: a 1 x 1 convolution before each 3 x 3, and half the channels after each block. State-dict keys and
shapes are torchvision's (for CIFAR the same scheme); convolutions start as in the authors' code (He, by the number of
outputs). Dropout is where torchvision has it, after each 3 x 3; the authors' also drops after each 1 x 1.
"""

import re
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from saccade.backbones.contract import Backbone


class DenseLayer(nn.Module):
    """Norm, ReLU and 1 x 1 to four times the growth, then norm, ReLU and 3 x 3 to `growth` new maps (section 3)."""

    def __init__(self, channels: int, growth: int, dropout: float, memory_efficient: bool) -> None:
        super().__init__()
        self.norm1 = nn.BatchNorm2d(channels)
        self.relu1 = nn.ReLU()
        self.conv1 = nn.Conv2d(channels, 4 * growth, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(4 * growth)
        self.relu2 = nn.ReLU()
        self.conv2 = nn.Conv2d(4 * growth, growth, 3, padding=1, bias=False)
        self.dropout = nn.Dropout(dropout)
        self.memory_efficient = memory_efficient

    def _bottleneck(self, *maps: Tensor) -> Tensor:
        return self.conv1(self.relu1(self.norm1(torch.cat(maps, 1))))

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        """The new maps [B, growth, H, W] from all the former ones, each [B, *, H, W]."""
        if self.memory_efficient and self.training:
            squeezed = checkpoint(
                self._bottleneck,
                *maps,
                use_reentrant=False,
                preserve_rng_state=False,  # nothing in it is random
                context_fn=lambda: (nullcontext(), _spare_statistics(self.norm1)),
            )
        else:
            squeezed = self._bottleneck(*maps)
        return self.dropout(self.conv2(self.relu2(self.norm2(squeezed))))


@contextmanager
def _spare_statistics(norm: nn.BatchNorm2d) -> Iterator[None]:
    """Let a second pass over the same batch update copies of the running statistics, which are thrown away."""
    kept = dict(norm.named_buffers())
    for name, buffer in kept.items():
        setattr(norm, name, buffer.clone())
    try:
        yield
    finally:
        for name, buffer in kept.items():
            setattr(norm, name, buffer)


class DenseBlock(nn.Sequential):
    """Each layer takes all the maps before it (figure 1)."""

    def __init__(self, count: int, channels: int, growth: int, dropout: float, memory_efficient: bool) -> None:
        super().__init__()
        for index in range(count):
            layer = DenseLayer(channels + index * growth, growth, dropout, memory_efficient)
            self.add_module(f"denselayer{index + 1}", layer)

    def forward(self, input: Tensor) -> Tensor:
        maps = [input]
        for layer in self:
            maps.append(layer(maps))
        return torch.cat(maps, 1)


class Transition(nn.Sequential):
    """To half the channels, at half the resolution."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(channels)
        self.relu = nn.ReLU()
        self.conv = nn.Conv2d(channels, channels // 2, 1, bias=False)
        self.pool = nn.AvgPool2d(2, stride=2)


def _append_blocks(
    features: nn.Sequential, counts: Sequence[int], growth: int, dropout: float, memory_efficient: bool
) -> tuple[int, ...]:
    """Add dense blocks of `counts` layers, transitions between them and a norm, after a stem to 2 * growth channels.

    Returns the channels after each block.
    """
    channels, ends = 2 * growth, []
    for number, count in enumerate(counts, 1):
        if number > 1:
            features.add_module(f"transition{number - 1}", Transition(channels))
            channels //= 2
        features.add_module(f"denseblock{number}", DenseBlock(count, channels, growth, dropout, memory_efficient))
        channels += count * growth
        ends.append(channels)
    features.add_module(f"norm{len(counts) + 1}", nn.BatchNorm2d(channels))
    return tuple(ends)


class DenseNet(Backbone):
    """Dense blocks after a stem: maps after each block, the last one as the classifier sees it.

    stem    what comes before the first block, by name; it gives 2 * growth channels
    counts  of layers in each block
    stride  of the first block
    memory_efficient  in training, compute what the 1 x 1 convolutions read again for the gradients, and do not keep it
    """

    last_layers = ("classifier",)

    def __init__(
        self,
        stem: Mapping[str, nn.Module],
        counts: Sequence[int],
        growth: int,
        stride: int,
        num_classes: int,
        dropout: float,
        memory_efficient: bool,
    ) -> None:
        super().__init__()
        self.features = nn.Sequential(OrderedDict(stem))
        self.channels = _append_blocks(self.features, counts, growth, dropout, memory_efficient)
        self.strides = tuple(stride * 2**number for number in range(len(counts)))
        self.relu = nn.ReLU()
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Linear(self.channels[-1], num_classes) if num_classes else nn.Identity()
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            elif isinstance(module, nn.Linear):
                nn.init.zeros_(module.bias)

    def maps(self, inputs: Tensor) -> list[Tensor]:
        maps = []
        for module in self.features:
            inputs = module(inputs)
            if isinstance(module, DenseBlock):
                maps.append(inputs)
        return [*maps[:-1], self.relu(inputs)]

    def classify(self, coarsest: Tensor) -> Tensor:
        return self.classifier(self.avgpool(coarsest).flatten(1))


class ImageNetDenseNet(DenseNet):
    """Table 1: four blocks after a 7 x 7 convolution and a pooling, at strides 4, 8, 16 and 32."""

    def __init__(
        self,
        counts: Sequence[int],
        growth: int,
        num_classes: int,
        in_channels: int,
        dropout: float,
        memory_efficient: bool,
    ) -> None:
        stem = {
            "conv0": nn.Conv2d(in_channels, 2 * growth, 7, stride=2, padding=3, bias=False),
            "norm0": nn.BatchNorm2d(2 * growth),
            "relu0": nn.ReLU(),
            "pool0": nn.MaxPool2d(3, stride=2, padding=1),
        }
        super().__init__(stem, counts, growth, 4, num_classes, dropout, memory_efficient)


class CifarDenseNet(DenseNet):
    """The CIFAR-10 networks (section 3): three blocks of equal depth after a single 3 x 3 convolution."""

    input_size = (32, 32)

    def __init__(
        self, depth: int, growth: int, num_classes: int, in_channels: int, dropout: float, memory_efficient: bool
    ) -> None:
        count, rest = divmod(depth - 4, 6)
        if rest:
            raise ValueError(f"depth must be 6n + 4 (40, 100, 190, 250 ...) but got {depth}")
        stem = {"conv0": nn.Conv2d(in_channels, 2 * growth, 3, padding=1, bias=False)}
        super().__init__(stem, 3 * (count,), growth, 1, num_classes, dropout, memory_efficient)


def rename_old_keys(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The weights of torchvision's published files by the names that the modules have today.

    state  "denselayer1.norm.1.weight" becomes "denselayer1.norm1.weight", and so on; other keys stay as they are
    """
    return {re.sub(r"(denselayer\d+\.(?:norm|conv))\.([12])\.", r"\1\2.", key): value for key, value in state.items()}


def densenet121(
    num_classes: int = 1000, in_channels: int = 3, dropout: float = 0.0, memory_efficient: bool = False
) -> ImageNetDenseNet:
    """121 layers, growth 32: 8.0 million weights, 2.8e9 multiply-adds."""
    return ImageNetDenseNet((6, 12, 24, 16), 32, num_classes, in_channels, dropout, memory_efficient)


def densenet161(
    num_classes: int = 1000, in_channels: int = 3, dropout: float = 0.0, memory_efficient: bool = False
) -> ImageNetDenseNet:
    """161 layers, growth 48: 28.7 million weights, 7.7e9 multiply-adds."""
    return ImageNetDenseNet((6, 12, 36, 24), 48, num_classes, in_channels, dropout, memory_efficient)


def densenet169(
    num_classes: int = 1000, in_channels: int = 3, dropout: float = 0.0, memory_efficient: bool = False
) -> ImageNetDenseNet:
    """169 layers, growth 32: 14.1 million weights, 3.4e9 multiply-adds."""
    return ImageNetDenseNet((6, 12, 32, 32), 32, num_classes, in_channels, dropout, memory_efficient)


def densenet201(
    num_classes: int = 1000, in_channels: int = 3, dropout: float = 0.0, memory_efficient: bool = False
) -> ImageNetDenseNet:
    """201 layers, growth 32: 20.0 million weights, 4.3e9 multiply-adds."""
    return ImageNetDenseNet((6, 12, 48, 32), 32, num_classes, in_channels, dropout, memory_efficient)


def densenet_bc_cifar(
    num_classes: int = 10, in_channels: int = 3, dropout: float = 0.0, memory_efficient: bool = False
) -> CifarDenseNet:
    """100 layers, growth 12: 0.8 million weights."""
    return CifarDenseNet(100, 12, num_classes, in_channels, dropout, memory_efficient)
