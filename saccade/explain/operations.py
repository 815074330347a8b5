"""What torch's operations make each place of their outputs of, along one axis.

Each function is given the first source, the output, the arguments of the operation, and the axis: 0 for rows, 1 for
columns.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from saccade.summary import at_axis, with_defaults

aten = torch.ops.aten


class Window(NamedTuple):
    """The places of its source that each place along an axis is made of.

    first, last  [n] int64, beyond the edge where it takes nothing
    middle       [n] float64, wherever that is
    """

    first: np.ndarray
    last: np.ndarray
    middle: np.ndarray


def _taps(first: np.ndarray, count: int, step: int, length: int) -> tuple[np.ndarray, np.ndarray]:
    """The first and the last place inside [0, length) of `count` taps, `step` apart, from each first one on."""
    below = np.maximum(0, -(first // step))  # taps that lie before the edge: ceil(-first / step)
    above = np.minimum(count - 1, (length - 1 - first) // step)
    return first + below * step, first + np.maximum(above, 0) * step


def _filtered(
    source: Tensor, output: Tensor, axis: int, kernel: int, stride: int, padding: int, dilation: int
) -> Window:
    begin = np.arange(output.shape[-2 + axis]) * stride - padding
    first, last = _taps(begin, kernel, dilation, source.shape[-2 + axis])
    return Window(first, last, begin + (kernel - 1) * dilation / 2)


def _convolution(source: Tensor, output: Tensor, args: tuple[Any, ...], axis: int) -> Window:
    kernel = args[1].shape[2 + axis]
    stride, padding, dilation = (at_axis(values, axis) for values in args[3:6])
    if not args[6]:
        return _filtered(source, output, axis, kernel, stride, padding, dilation)
    # Output o takes from all i with o = i * stride - padding + k * dilation.
    places, reach = np.arange(output.shape[-2 + axis]), (kernel - 1) * dilation
    middle = (places + padding - reach / 2) / stride
    if dilation == 1:
        return Window(-((reach - places - padding) // stride), (places + padding) // stride, middle)
    taps = (places[:, None] + padding - np.arange(kernel) * dilation) / stride
    taken = (taps == np.floor(taps)) & (taps >= 0) & (taps < source.shape[-2 + axis])
    first = np.where(taken, taps, np.inf).min(1)
    last = np.where(taken, taps, -np.inf).max(1)
    return Window(np.nan_to_num(first).astype(int), np.nan_to_num(last).astype(int), middle)


def _max_pool(source: Tensor, output: Tensor, args: tuple[Any, ...], axis: int) -> Window:
    kernel, stride, padding, dilation = (at_axis(v, axis) for v in with_defaults(args, [None, args[1], 0, 1]))
    return _filtered(source, output, axis, kernel, stride, padding, dilation)


def _average_pool(source: Tensor, output: Tensor, args: tuple[Any, ...], axis: int) -> Window:
    kernel, stride, padding = (at_axis(v, axis) for v in with_defaults(args, [None, args[1], 0]))
    return _filtered(source, output, axis, kernel, stride, padding, 1)


def _adaptive_pool(source: Tensor, output: Tensor, args: tuple[Any, ...], axis: int) -> Window:
    length, count = source.shape[-2 + axis], output.shape[-2 + axis]
    places = np.arange(count)
    first, last = places * length // count, -(-(places + 1) * length // count) - 1
    return Window(first, last, (first + last) / 2)


def _nearest(source: Tensor, output: Tensor, args: tuple[Any, ...], axis: int) -> Window:
    length, count = source.shape[-2 + axis], output.shape[-2 + axis]
    taken = np.floor(np.arange(count) * (length / count)).astype(int)
    return Window(taken, taken, _enlarged(length, count))


def _unpooled(source: Tensor, output: Tensor, args: tuple[Any, ...], axis: int) -> Window:
    """To wherever in its window a maximum was; torch does not say how large that is."""
    length, count = source.shape[-2 + axis], output.shape[-2 + axis]
    side = max(1, round(count / length))
    taken = np.minimum(np.arange(count) // side, length - 1)
    return Window(taken, taken, (np.arange(count) + 0.5) / side - 0.5)


def _bilinear(source: Tensor, output: Tensor, args: tuple[Any, ...], axis: int) -> Window:
    length, count = source.shape[-2 + axis], output.shape[-2 + axis]
    exact = np.arange(count) * ((length - 1) / max(1, count - 1)) if args[2] else _enlarged(length, count)
    inside = np.round(np.clip(exact, 0, length - 1), 9)
    return Window(np.floor(inside).astype(int), np.ceil(inside).astype(int), exact)


def _enlarged(length: int, count: int) -> np.ndarray:
    """Where the middles of `count` pixels lie among `length` others that cover the same."""
    return (np.arange(count) + 0.5) * (length / count) - 0.5


def _padded(source: Tensor, output: Tensor, args: tuple[Any, ...], axis: int) -> Window:
    before = args[1][2 * (1 - axis)] if len(args[1]) > 2 * (1 - axis) else 0
    places = np.arange(output.shape[-2 + axis]) - before
    return Window(places, places, places.astype(float))


def _mirrored(source: Tensor, output: Tensor, args: tuple[Any, ...], axis: int) -> Window:
    length, beyond = source.shape[-2 + axis], np.arange(output.shape[-2 + axis]) - args[1][2 * (1 - axis)]
    places = np.abs(beyond)
    places = np.where(places >= length, 2 * (length - 1) - places, places)
    return Window(places, places, beyond.astype(float))


def _sliced(source: Tensor, output: Tensor, args: tuple[Any, ...], axis: int) -> Window | None:
    which, first, _, step = with_defaults(args, [0, 0, None, 1])
    if which % source.ndim - (source.ndim - 2) != axis:
        return None
    first = first or 0
    first += source.shape[which] if first < 0 else 0
    taken = first + np.arange(output.shape[which]) * (step or 1)
    return Window(taken, taken, taken.astype(float))


# The places of its first source that each place of an operation's output is made of; None for its own along this axis.
WINDOWS: dict[Any, Callable[[Tensor, Tensor, tuple[Any, ...], int], Window | None]] = {
    aten.convolution.default: _convolution,
    aten.max_pool2d_with_indices.default: _max_pool,
    aten.avg_pool2d.default: _average_pool,
    aten._adaptive_avg_pool2d.default: _adaptive_pool,
    aten.adaptive_max_pool2d.default: _adaptive_pool,
    aten.upsample_nearest2d.default: _nearest,
    aten.upsample_bilinear2d.default: _bilinear,
    aten.max_unpool2d.default: _unpooled,
    aten.constant_pad_nd.default: _padded,
    aten.reflection_pad2d.default: _mirrored,
    aten.replication_pad2d.default: _padded,
    aten.slice.Tensor: _sliced,
}
# What leaves the last two axes as they are wherever their lengths are the same.
_ALIKE = {
    aten.view.default,
    aten._unsafe_view.default,
    aten.reshape.default,
    aten.unsqueeze.default,
    aten.squeeze.dim,
    aten.squeeze.dims,
    aten.clone.default,
    aten.detach.default,
    aten.alias.default,
    aten.expand.default,
    aten.split.Tensor,
    aten.split_with_sizes.default,
    aten.chunk.default,
    aten.unbind.int,
    aten.select.int,
    aten.index_select.default,
    aten.native_batch_norm.default,
    aten._native_batch_norm_legit.default,
    aten._native_batch_norm_legit_no_training.default,
    aten.cudnn_batch_norm.default,
    aten.avg_pool3d.default,
    aten._to_copy.default,
    aten.contiguous.default,
    aten.native_dropout.default,
    aten.lift_fresh.default,
}
# Norms, and which of their arguments says that they take the batch's own statistics.
_NORMS = {aten.native_batch_norm.default: 5, aten._native_batch_norm_legit.default: 5, aten.cudnn_batch_norm.default: 5}
# What works pixel by pixel, though torch does not say so.
POINTWISE = {
    aten.hardswish.default,
    aten.hardswish_.default,
    aten._prelu_kernel.default,
    aten.rsub.Tensor,
    aten.log_sigmoid_forward.default,
}
_REDUCED = {aten.mean.dim, aten.mean.default, aten.sum.dim_IntList, aten.sum.default, aten.amax.default}
_MOVED = {aten.transpose.int, aten.permute.default, aten.t.default}


def keeps_places(func: Any, args: tuple[Any, ...], source: Tensor, output: Tensor) -> bool:
    """Whether the last two axes of the output are those of the source, place by place."""
    if func in _REDUCED:
        return not _mixes(args, source, output)
    if func in _MOVED:
        return not _turns(func, args, source)
    if func not in _ALIKE or source.shape[-2:] != output.shape[-2:] or min(source.ndim, output.ndim) <= 2:
        return False
    if func in _NORMS:
        return not args[_NORMS[func]]  # of a batch's own statistics all that it sees is part
    return func is not aten.index_select.default or args[1] % source.ndim < source.ndim - 2


def _turns(func: Any, args: tuple[Any, ...], source: Tensor) -> bool:
    """Whether another order of the axes is one of rows and columns."""
    order = list(range(source.ndim))
    if func is aten.permute.default:
        order = [axis % source.ndim for axis in args[1]]
    else:
        one, other = (args[1] % source.ndim, args[2] % source.ndim) if len(args) > 2 else (0, 1)
        order[one], order[other] = order[other], order[one]
    return order[-2:] != [source.ndim - 2, source.ndim - 1]


def _mixes(args: tuple[Any, ...], source: Tensor, output: Tensor) -> bool:
    """Whether a sum or a mean over some axes is one over rows or columns."""
    axes = range(source.ndim) if len(args) < 2 or args[1] is None else args[1]
    axes = {axis % source.ndim - source.ndim for axis in ([axes] if isinstance(axes, int) else axes)}
    return bool(axes & {-1, -2}) or output.shape[-2:] != source.shape[-2:]
