"""Darknet's files of weights: numbers without names, in the order of the network's layers.

A file begins with three whole numbers of 32 bits, its version (major, minor, revision), and how many images were seen,
of 64 bits from version 0.2 on, of 32 before. Then float32, little end first: of each convolution the biases, and where
a batch norm follows, that norm's bias, weight, mean and variance instead, and then the filters.
"""

import math
import re
import struct
from itertools import accumulate
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from saccade.backbones.darknet import EPSILON, Darknet
from saccade.errors import SaccadeError

State = dict[str, Tensor]


def is_darknet(path: Path) -> bool:
    """Whether a file's name is that of such weights: NAME.weights, or NAME.conv.74 of the first 74 layers."""
    return path.suffix == ".weights" or _is_cut(path)


def _is_cut(path: Path) -> bool:
    return re.search(r"\.conv\.\d+$", path.name) is not None


def read_values(path: Path) -> Tensor:
    """All numbers of a file, [N] float32.

    Raises SaccadeError when it cannot be such a file.
    """
    data = path.read_bytes()
    if len(data) < 16:
        raise SaccadeError(f"{path} has {len(data)} bytes: that is no file of Darknet's weights, or it was cut short")
    major, minor, _ = struct.unpack("<3i", data[:12])
    if not 0 <= major < 1000 or not 0 <= minor < 1000:
        raise SaccadeError(f"{path} is no file of Darknet's weights: it would be of version {major}.{minor}")
    header = 20 if major * 10 + minor >= 2 else 16
    if len(data) < header or (len(data) - header) % 4:
        raise SaccadeError(f"{path} does not end with a whole number of 4 bytes: it was cut short; fetch it again")
    return torch.from_numpy(np.frombuffer(data, "<f4", offset=header).astype(np.float32))


def named(values: Tensor, model: Any, trunk: Darknet, path: Path) -> State:
    """The numbers under the names of the network, or of its backbone where they are only that, or that and ImageNet's
    1,000 classes, or that and a few layers more: `yolov3-tiny.conv.15`, which is where its authors have one start.

    model  `last_layers` name its classes. Where there are files of all of it, its modules stand in the order of its
           Darknet configuration, and `outputs(num_classes)` is how many channels each of the last layers has
    trunk  its backbone

    The file may be for other classes than the network: then its last layers have other shapes.

    Raises SaccadeError when there are too few or too many numbers for either.
    """
    layers = list(_layers(model))
    last = {layer.name for layer in layers if layer.name.startswith(model.last_layers)}
    inputs = sum(layer.convolution.in_channels + 1 for layer in layers if layer.name in last)
    rest = sum(layer.numbers for layer in layers if layer.name not in last)
    ends = {id(layer.convolution) for layer in layers if layer.name in last}
    own = [layer for layer in _layers(trunk) if id(layer.convolution) not in ends]
    if len(values) == sum(layer.numbers for layer in own):
        return _cut(values, own, {})
    outputs = (len(values) - rest) // inputs if inputs else 0
    # Of a detector not any number of answers makes sense.
    sensible = hasattr(model, "outputs") and any(model.outputs(classes) == outputs for classes in range(1, outputs + 1))
    if sensible and rest + outputs * inputs == len(values):
        return _cut(values, layers, dict.fromkeys(last, outputs))
    whole, half = (sum(layer.numbers for layer in some) for some in (layers, own))
    if len(values) == half + 1000 * (trunk.channels[-1] + 1):
        return _cut(values, own, {})
    ends = list(accumulate(layer.numbers for layer in layers))
    if _is_cut(path) and len(values) in ends:
        if (count := ends.index(len(values)) + 1) > len(own):
            return _cut(values, own, {})
        raise SaccadeError(
            f"{path} has {count} of the {len(own)} convolutions of this backbone; take a file that has all of them"
        )
    raise SaccadeError(
        f"{path} has {len(values):,} numbers, but this network takes {whole:,}, and its backbone alone {half:,}: the "
        f"file was cut short, or is for another network or another in_channels"
    )


class _Layer(NamedTuple):
    """A convolution, and the norm behind it if there is one, by their names."""

    name: str
    convolution: nn.Conv2d
    norm: str

    @property
    def numbers(self) -> int:
        return self.convolution.weight.numel() + self.convolution.out_channels * (4 if self.norm else 1)


def _layers(model: nn.Module) -> list[_Layer]:
    """In the order in which they stand."""
    modules, found = list(model.named_modules()), []
    for (name, module), (after, norm) in zip(modules, [*modules[1:], ("", nn.Identity())], strict=True):
        if isinstance(module, nn.Conv2d):
            found.append(_Layer(name, module, after if isinstance(norm, nn.BatchNorm2d) else ""))
    return found


def _cut(values: Tensor, layers: list[_Layer], outputs: dict[str, int]) -> State:
    """The numbers, layer by layer. outputs: channels of those layers that have others in the file than here."""
    state, place = {}, 0
    for layer in layers:
        out = outputs.get(layer.name, layer.convolution.out_channels)
        parts: dict[str, tuple[int, ...]] = {f"{layer.name}.bias": (out,)}
        if layer.norm:
            parts = {f"{layer.norm}.{part}": (out,) for part in ("bias", "weight", "running_mean", "running_var")}
        parts[f"{layer.name}.weight"] = (out, *layer.convolution.weight.shape[1:])
        for name, shape in parts.items():
            state[name] = values[place : place + math.prod(shape)].view(shape)
            place += math.prod(shape)
        if layer.norm:
            # Darknet adds its smallest number to the deviation, and torch to the variance.
            variance = state[f"{layer.norm}.running_var"]
            state[f"{layer.norm}.weight"] = (
                state[f"{layer.norm}.weight"] * (variance + EPSILON).sqrt() / (variance.sqrt() + EPSILON)
            )
    return state
