"""What each unit of a layer sees of the image: exactly, whatever the network is made of.

For every row and every column of every map the first and the last pixel that it hangs on are followed through the
network, operation by operation, on torch's "meta" device: nothing is computed. `summary.py` has the same as a formula,
of networks without borders; here borders count, and pixels that a filter's stride leaves over. What has the same field
everywhere on purpose (a gate of squeeze and excitation) can be left out.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.weak import WeakTensorKeyDictionary

from saccade.errors import UsageError
from saccade.explain.layers import check_map, find, is_map, watch
from saccade.layers.meta import on_meta
from saccade.summary import at_axis, tensors, with_defaults

aten = torch.ops.aten
MARGIN = 4096  # pixels that an image is made larger by, to find units that see no border
Spans = np.ndarray  # [n, 2] int64: the first pixel, and the one after the last, for each place along an axis


@dataclass(frozen=True, eq=False)
class Fields:
    """What the units of one layer see.

    rows, columns  for each row and column of the map the pixels [first, end) of the image; a single pair stands for all
    size           (height, width) of the image
    """

    rows: Spans
    columns: Spans
    size: tuple[int, int]

    def box(self, row: int, column: int) -> tuple[int, int, int, int]:
        """xyxy in pixels of the network's input, inside the image."""
        top, bottom = self.rows[min(row, len(self.rows) - 1)].tolist()
        left, right = self.columns[min(column, len(self.columns) - 1)].tolist()
        return left, top, right, bottom

    @property
    def largest(self) -> tuple[int, int]:
        """(height, width) in pixels of the largest of them."""
        return tuple(int((spans[:, 1] - spans[:, 0]).max()) for spans in (self.rows, self.columns))  # pyright: ignore[reportReturnType]


def fields_of(
    model: nn.Module,
    layer: str,
    inputs: Tensor,
    gates: bool = False,
    run: Callable[[Any, Tensor], object] = nn.Module.__call__,
) -> Fields:
    """What the units of a layer see of an image.

    layer   as the state dict names it
    inputs  [1, C, H, W]; its values do not matter
    gates   whether what a map is multiplied by as a whole counts: then units behind it see all of the image
    run     how the network is called

    Raises UsageError for a layer that is not there, does not run, or has no spatial extent.
    """
    find(model, layer)
    twin = on_meta(model).eval()
    probe = inputs[:1].to("meta")
    follower = _Follower(probe, gates)

    def look() -> None:
        with follower, torch.no_grad():
            run(twin, probe)

    _, found = watch(twin, [layer], look)
    check_map(layer, found[layer])
    rows, columns = follower.spans[found[layer]]
    return Fields(rows, columns, (inputs.shape[2], inputs.shape[3]))


@dataclass(frozen=True)
class Lattice:
    """Where the units of a layer look: the centres of their fields, in continuous pixels of the network's input.

    first  (x, y) of the unit in the first row and column
    step   (x, y) from one to the next
    """

    first: tuple[float, float]
    step: tuple[float, float]


class _Reached(Exception):
    """The layer has run: what comes after it does not matter."""


def lattice_of(
    model: nn.Module, layer: str, inputs: Tensor, run: Callable[[Any, Tensor], object] = nn.Module.__call__
) -> Lattice:
    """Where the units of a layer look. A filter of 3 pixels in steps of 2 that begins one pixel before the image looks
    half a pixel left of the middle of its two pixels; after five such layers that is half a unit, and a map that is
    merely enlarged to the image lies so far off.

    Told from the units of a larger image whose fields no border cuts. Arguments and errors as of `fields_of`.
    """
    found = find(model, layer)
    twin = on_meta(model).eval()
    probe = torch.empty(*inputs[:1].shape[:2], *(MARGIN + side for side in inputs.shape[2:]), device="meta")
    follower, spans = _Follower(probe, gates=False), []

    def stop(_: nn.Module, __: Any, output: Any) -> None:
        spans.append(follower.spans.get(output) if isinstance(output, Tensor) and is_map(output) else None)
        raise _Reached

    handle = find(twin, layer).register_forward_hook(stop)
    try:
        with follower, torch.no_grad():
            run(twin, probe)
    except _Reached:
        pass
    finally:
        handle.remove()
    if not spans:
        raise UsageError(f"layer {layer} did not run; choose another")
    if spans[0] is None:
        raise UsageError(f"layer {layer}, a {type(found).__name__}, gives no map of rows and columns")
    rows, columns = spans[0]
    (y, down), (x, across) = (
        _line(own, side, before)
        for own, side, before in zip((rows, columns), probe.shape[2:], inputs.shape[2:], strict=True)
    )
    return Lattice((x, y), (across, down))


def _line(spans: Spans, length: int, own: int) -> tuple[float, float]:
    """The first centre and the step of units along one axis."""
    free = np.flatnonzero((spans[:, 0] > 0) & (spans[:, 1] < length))
    if len(free) < 4:  # every unit sees all of it
        return own / 2, float(own)
    # The last windows of a pooling may be cut off without meeting the edge: the middle is told from.
    centres, low, high = spans.mean(1), int(free[len(free) // 4]), int(free[-1 - len(free) // 4])
    step = float(centres[high] - centres[low]) / (high - low)
    return float(centres[low]) - low * step, step


class _Follower(TorchDispatchMode):
    """Sees every operation, and keeps for every tensor what its last two axes see of the image."""

    def __init__(self, inputs: Tensor, gates: bool) -> None:
        super().__init__()
        self.gates = gates
        self.spans = WeakTensorKeyDictionary()
        self.spans[inputs] = (_own(inputs.shape[2]), _own(inputs.shape[3]))

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        output = func(*args, **(kwargs or {}))
        sources = [tensor for tensor in tensors([*args, *(kwargs or {}).values()]) if tensor in self.spans]
        if sources:
            for result in tensors([output]):
                self.spans[result] = self._follow(func, args, sources, result)
        return output

    def _follow(self, func: Any, args: tuple[Any, ...], sources: list[Tensor], output: Tensor) -> tuple[Spans, Spans]:
        source, spans = sources[0], self.spans[sources[0]]
        if torch.Tag.pointwise in func.tags or func in _POINTWISE:
            return self._joined(sources, output)
        if func is aten.cat.default:
            return self._beside(args, sources, output)
        if func in _WAYS:
            return tuple(_WAYS[func](own, source, output, args, axis) for axis, own in enumerate(spans))  # pyright: ignore[reportReturnType]
        if func in _ALIKE and source.shape[-2:] == output.shape[-2:] and min(source.ndim, output.ndim) > 2:
            return spans
        if func in _REDUCED:
            return self._reduced(args, source, output)
        if func in _MOVED:
            return _moved(func, args, source, spans)
        # Whatever else it is, it hangs on no more than all that its sources see.
        every = [self.spans[one] for one in sources]
        return tuple(_all_of(np.concatenate([own[axis] for own in every])) for axis in range(2))  # pyright: ignore[reportReturnType]

    def _joined(self, sources: list[Tensor], output: Tensor) -> tuple[Spans, Spans]:
        """Of a unit made of one of each."""
        larger = [one for one in sources if one.ndim > 2 and one.shape[-2:].numel() > 1]
        if larger and not self.gates:
            sources = larger
        found = []
        for axis in range(2):
            own = [self.spans[one][axis] for one in sources]
            count = max(map(len, own))
            own = [np.broadcast_to(one, (count, 2)) for one in own]
            found.append(np.stack([np.min([o[:, 0] for o in own], 0), np.max([o[:, 1] for o in own], 0)], 1))
        return found[0], found[1]

    def _beside(self, args: tuple[Any, ...], sources: list[Tensor], output: Tensor) -> tuple[Spans, Spans]:
        """Of tensors put one after the other along an axis."""
        parts, place = list(args[0]), args[1] if len(args) > 1 else 0
        axis = place % output.ndim - (output.ndim - 2)
        if axis < 0:
            return self._joined(sources, output)
        if len(sources) < len(parts):
            return tuple(_all_of(np.concatenate([self.spans[s][k] for s in sources])) for k in range(2))  # pyright: ignore[reportReturnType]
        whole = [_full(self.spans[one][axis], one.shape[-2 + axis]) for one in sources]
        other = self._joined(sources, output)[1 - axis]
        joined = np.concatenate(whole)
        return (joined, other) if axis == 0 else (other, joined)

    def _reduced(self, args: tuple[Any, ...], source: Tensor, output: Tensor) -> tuple[Spans, Spans]:
        """Of a sum or a mean over some axes."""
        rows, columns = self.spans[source]
        axes = range(source.ndim) if len(args) < 2 or args[1] is None else args[1]
        axes = {axis % source.ndim - source.ndim for axis in ([axes] if isinstance(axes, int) else axes)}
        if axes & {-1, -2} or output.shape[-2:] != source.shape[-2:]:
            return _all_of(rows), _all_of(columns)
        return rows, columns


def _own(length: int) -> Spans:
    first = np.arange(length)
    return np.stack([first, first + 1], axis=1)


def _full(spans: Spans, length: int) -> Spans:
    return np.broadcast_to(spans, (length, 2)) if len(spans) == 1 else spans


def _all_of(spans: Spans) -> Spans:
    return np.array([[spans[:, 0].min(), spans[:, 1].max()]])


def _window(spans: Spans, length: int, first: np.ndarray, last: np.ndarray) -> Spans:
    """Of units that take from `first` to `last` (included) of `length` places; beyond the edge there is nothing."""
    if len(spans) == 1:
        return spans
    first, last = np.clip(first, 0, length - 1), np.clip(last, 0, length - 1)
    if (np.diff(spans, axis=0) >= 0).all():
        # Fields move on with their place, so the outermost places of a window have its outermost pixels.
        return np.stack([spans[first, 0], spans[last, 1]], axis=1)
    parts = [spans[one : other + 1] for one, other in zip(first, last, strict=True)]
    return np.array([[part[:, 0].min(), part[:, 1].max()] for part in parts])


def _taps(first: np.ndarray, count: int, step: int, length: int) -> tuple[np.ndarray, np.ndarray]:
    """The first and the last place inside [0, length) of `count` taps, `step` apart, from each first one on."""
    below = np.maximum(0, -(first // step))  # taps that lie before the edge: ceil(-first / step)
    above = np.minimum(count - 1, (length - 1 - first) // step)
    return first + below * step, first + np.maximum(above, 0) * step


def _filtered(
    spans: Spans, source: Tensor, output: Tensor, axis: int, kernel: int, stride: int, padding: int, dilation: int
) -> Spans:
    length = source.shape[-2 + axis]
    first, last = _taps(np.arange(output.shape[-2 + axis]) * stride - padding, kernel, dilation, length)
    return _window(spans, length, first, last)


def _convolution(spans: Spans, source: Tensor, output: Tensor, args: tuple[Any, ...], axis: int) -> Spans:
    kernel = args[1].shape[2 + axis]
    stride, padding, dilation = (at_axis(values, axis) for values in args[3:6])
    if not args[6]:
        return _filtered(spans, source, output, axis, kernel, stride, padding, dilation)
    # Output o takes from all i with o = i * stride - padding + k * dilation.
    places = np.arange(output.shape[-2 + axis])
    reach = (kernel - 1) * dilation
    if dilation == 1:
        first, last = -((reach - places - padding) // stride), (places + padding) // stride
        return _window(spans, source.shape[-2 + axis], first, last)
    taps = (places[:, None] + padding - np.arange(kernel) * dilation) / stride
    taken = (taps == np.floor(taps)) & (taps >= 0) & (taps < source.shape[-2 + axis])
    first = np.where(taken, taps, np.inf).min(1)
    last = np.where(taken, taps, -np.inf).max(1)
    return _window(spans, source.shape[-2 + axis], np.nan_to_num(first).astype(int), np.nan_to_num(last).astype(int))


def _max_pool(spans: Spans, source: Tensor, output: Tensor, args: tuple[Any, ...], axis: int) -> Spans:
    kernel, stride, padding, dilation = (at_axis(v, axis) for v in with_defaults(args, [None, args[1], 0, 1]))
    return _filtered(spans, source, output, axis, kernel, stride, padding, dilation)


def _average_pool(spans: Spans, source: Tensor, output: Tensor, args: tuple[Any, ...], axis: int) -> Spans:
    kernel, stride, padding = (at_axis(v, axis) for v in with_defaults(args, [None, args[1], 0]))
    return _filtered(spans, source, output, axis, kernel, stride, padding, 1)


def _adaptive_pool(spans: Spans, source: Tensor, output: Tensor, args: tuple[Any, ...], axis: int) -> Spans:
    length, count = source.shape[-2 + axis], output.shape[-2 + axis]
    places = np.arange(count)
    return _window(spans, length, places * length // count, -(-(places + 1) * length // count) - 1)


def _nearest(spans: Spans, source: Tensor, output: Tensor, args: tuple[Any, ...], axis: int) -> Spans:
    length, count = source.shape[-2 + axis], output.shape[-2 + axis]
    taken = np.floor(np.arange(count) * (length / count)).astype(int)
    return _window(spans, length, taken, taken)


def _bilinear(spans: Spans, source: Tensor, output: Tensor, args: tuple[Any, ...], axis: int) -> Spans:
    length, count = source.shape[-2 + axis], output.shape[-2 + axis]
    places = np.arange(count)
    exact = places * ((length - 1) / max(1, count - 1)) if args[2] else (places + 0.5) * (length / count) - 0.5
    exact = np.round(np.clip(exact, 0, length - 1), 9)
    return _window(spans, length, np.floor(exact).astype(int), np.ceil(exact).astype(int))


def _padded(spans: Spans, source: Tensor, output: Tensor, args: tuple[Any, ...], axis: int) -> Spans:
    before = args[1][2 * (1 - axis)] if len(args[1]) > 2 * (1 - axis) else 0
    places = np.arange(output.shape[-2 + axis]) - before
    return _window(spans, source.shape[-2 + axis], places, places)


def _mirrored(spans: Spans, source: Tensor, output: Tensor, args: tuple[Any, ...], axis: int) -> Spans:
    length, before = source.shape[-2 + axis], args[1][2 * (1 - axis)]
    places = np.abs(np.arange(output.shape[-2 + axis]) - before)
    places = np.where(places >= length, 2 * (length - 1) - places, places)
    return _window(spans, length, places, places)


def _sliced(spans: Spans, source: Tensor, output: Tensor, args: tuple[Any, ...], axis: int) -> Spans:
    which, first, _, step = with_defaults(args, [0, 0, None, 1])
    if which % source.ndim - (source.ndim - 2) != axis or len(spans) == 1:
        return spans
    first = first or 0
    first += source.shape[which] if first < 0 else 0
    return spans[first :: step or 1][: output.shape[which]]


_WAYS: dict[Any, Callable[[Spans, Tensor, Tensor, tuple[Any, ...], int], Spans]] = {
    aten.convolution.default: _convolution,
    aten.max_pool2d_with_indices.default: _max_pool,
    aten.avg_pool2d.default: _average_pool,
    aten._adaptive_avg_pool2d.default: _adaptive_pool,
    aten.adaptive_max_pool2d.default: _adaptive_pool,
    aten.upsample_nearest2d.default: _nearest,
    aten.upsample_bilinear2d.default: _bilinear,
    aten.max_unpool2d.default: _nearest,
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
# What works pixel by pixel, though torch does not say so.
_POINTWISE = {
    aten.hardswish.default,
    aten.hardswish_.default,
    aten._prelu_kernel.default,
    aten.rsub.Tensor,
    aten.log_sigmoid_forward.default,
}
_REDUCED = {aten.mean.dim, aten.mean.default, aten.sum.dim_IntList, aten.sum.default, aten.amax.default}
_MOVED = {aten.transpose.int, aten.permute.default, aten.t.default}


def _moved(func: Any, args: tuple[Any, ...], source: Tensor, spans: tuple[Spans, Spans]) -> tuple[Spans, Spans]:
    """Of axes in another order."""
    order = list(range(source.ndim))
    if func is aten.permute.default:
        order = [axis % source.ndim for axis in args[1]]
    else:
        one, other = (args[1] % source.ndim, args[2] % source.ndim) if len(args) > 2 else (0, 1)
        order[one], order[other] = order[other], order[one]
    if order[-2:] == [source.ndim - 2, source.ndim - 1]:
        return spans
    # Rows that became columns would need boxes that say so; no network here turns its maps.
    return _all_of(spans[0]), _all_of(spans[1])
