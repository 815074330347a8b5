"""Dilation in place of stride, for segmenters: finer maps from the same weights.

Chen, Papandreou, Kokkinos, Murphy and Yuille, "DeepLab", PAMI 2018, section 3.1; Yu and Koltun, "Multi-Scale Context
Aggregation by Dilated Convolutions", ICLR 2016. Where a filter strode on, it now steps by one pixel, and every later
filter spreads its taps as far apart as the pixels it used to see: every so-many-th pixel of the new map is the old one.
"""

import math
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from saccade.layers.meta import on_meta

Spatial = (nn.Conv2d, nn.MaxPool2d, nn.AvgPool2d, nn.ConstantPad2d)


class DilatedAvgPool2d(nn.Module):
    """The mean of `kernel` x `kernel` pixels that lie `dilation` apart, at every pixel; what torch's own cannot do."""

    def __init__(self, kernel: int, dilation: int, padding: int, count_include_pad: bool) -> None:
        super().__init__()
        self.kernel, self.dilation, self.padding, self.count_include_pad = kernel, dilation, padding, count_include_pad

    def _sum(self, inputs: Tensor) -> Tensor:
        taps = inputs.new_ones(inputs.shape[1], 1, self.kernel, self.kernel)
        return F.conv2d(inputs, taps, padding=self.padding, dilation=self.dilation, groups=inputs.shape[1])

    def forward(self, inputs: Tensor) -> Tensor:
        if self.count_include_pad:
            return self._sum(inputs) / self.kernel**2
        return self._sum(inputs) / self._sum(torch.ones_like(inputs[:1, :1]))


class DilatedMaxPool2d(nn.Module):
    """The largest of `kernel` x `kernel` pixels `dilation` apart, at every pixel; torch's own cannot pad so far."""

    def __init__(self, kernel: int, dilation: int, padding: int) -> None:
        super().__init__()
        self.kernel, self.dilation, self.padding = kernel, dilation, padding

    def forward(self, inputs: Tensor) -> Tensor:
        padded = F.pad(inputs, [self.padding] * 4, value=-math.inf)
        return F.max_pool2d(padded, self.kernel, 1, 0, self.dilation)


def dilate(
    model: nn.Module,
    inputs: Tensor,
    output_stride: int,
    run: Callable[[Any, Tensor], object] = nn.Module.__call__,
) -> None:
    """Change a network in place so that no map is coarser than `output_stride` input pixels a pixel.

    model          whatever strides in it is a Conv2d, a MaxPool2d or AvgPool2d (of equal sides), or has a whole number
                   `stride` and no taps to spread; what pads by itself is a ConstantPad2d; each is called once
    inputs         [B, C, H, W], what the network takes, large enough for strides to show (512 pixels); only its shape
                   matters
    output_stride  a power of two
    run            how the network is called on them

    Raises ValueError for another output stride.
    """
    if output_stride < 1 or output_stride & (output_stride - 1):
        raise ValueError(f"output_stride must be 1, 2, 4, 8 ... but got {output_stride}")
    parents = {module: (parent, name) for parent in model.modules() for name, module in parent.named_children()}
    for module, stride in _input_strides(model, inputs, run).items():
        finer = max(1, stride // output_stride)  # how much finer its input will be than it was
        if _stride(module) > 1 and stride * _stride(module) > output_stride:
            _shorten(module, max(1, output_stride // stride))
        if finer > 1:
            _spread(module, finer, parents)


def _input_strides(model: nn.Module, inputs: Tensor, run: Callable[[Any, Tensor], object]) -> dict[nn.Module, int]:
    """How many pixels of the network's input lie between two of each module's input."""
    twin = on_meta(model).eval()
    originals = dict(zip(twin.modules(), model.modules(), strict=True))
    strides: dict[nn.Module, int] = {}

    def note(module: nn.Module, arguments: tuple[Tensor, ...]) -> None:
        # Unpadded filters lose pixels at the border, so that the ratio is not quite a power of two.
        ratio = inputs.shape[2] / arguments[0].shape[2]
        strides[originals[module]] = 2 ** round(math.log2(ratio))

    for module in twin.modules():
        if isinstance(module, Spatial) or isinstance(getattr(module, "stride", None), int):
            module.register_forward_pre_hook(note)
    with torch.no_grad():
        run(twin, inputs.to("meta"))
    return strides


def _side(size: Any) -> int:
    """A size as torch has it: a number, or one for each direction, which are equal here."""
    return size[0] if isinstance(size, tuple) else size


def _stride(module: Any) -> int:
    return _side(getattr(module, "stride", 1))  # a padding has none


def _shorten(module: Any, stride: int) -> None:
    """Step by so many pixels."""
    if isinstance(module, nn.Conv2d):
        module.stride = (stride, stride)
    else:
        module.stride = stride


def _spread(module: nn.Module, factor: int, parents: dict[nn.Module, tuple[nn.Module, str]]) -> None:
    """Put the taps `factor` times as far apart."""
    if isinstance(module, nn.Conv2d):
        # Per direction: asymmetric filters (1 x 7 and 7 x 1) have asymmetric borders.
        module.dilation = (factor * module.dilation[0], factor * module.dilation[1])
        module.padding = (factor * int(module.padding[0]), factor * int(module.padding[1]))
    elif isinstance(module, nn.ConstantPad2d):
        left, right, top, bottom = module.padding
        module.padding = (factor * left, factor * right, factor * top, factor * bottom)
    elif isinstance(module, (nn.MaxPool2d, nn.AvgPool2d)):
        parent, name = parents[module]
        kernel, padding = _side(module.kernel_size), factor * _side(module.padding)
        if isinstance(module, nn.MaxPool2d):
            pool = DilatedMaxPool2d(kernel, factor * _side(module.dilation), padding)
        else:
            pool = DilatedAvgPool2d(kernel, factor, padding, module.count_include_pad)
        setattr(parent, name, pool)
