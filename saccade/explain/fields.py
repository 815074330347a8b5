"""What each unit of a layer sees of the image: exactly, whatever the network is made of.

For every row and every column of every map the first and the last pixel that it hangs on are followed through the
network, operation by operation, on torch's "meta" device: nothing is computed. `summary.py` has the same as a formula,
of networks without borders; here borders count, and pixels that a filter's stride leaves over. What has the same field
everywhere on purpose (a gate of squeeze and excitation) can be left out.

Beside what it hangs on, each row and column has a place where it looks: the middle of what it would see if the image
went on beyond its edges.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.weak import WeakTensorKeyDictionary

from saccade.errors import UsageError
from saccade.explain.layers import check_map, find, is_map, watch
from saccade.layers.meta import on_meta, tensors
from saccade.summary import at_axis, with_defaults

aten = torch.ops.aten
Spans = np.ndarray  # [n, 2] int64: the first pixel, and the one after the last, for each place along an axis
Middles = np.ndarray  # [n] float64: where each place along an axis looks, in continuous pixels of the image


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
    rows, columns = (seen.spans for seen in follower.seen[found[layer]])
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


def lattice_of(model: nn.Module, layer: str, inputs: Tensor) -> Lattice:
    """Where the units of a layer look. A filter of 3 pixels in steps of 2 that begins one pixel before the image looks
    half a pixel left of the middle of its two pixels; after five such layers that is half a unit, and a map that is
    merely enlarged to the image lies so far off.

    Told from the middle half of the units, along a straight line. Arguments and errors as of `fields_of`.
    """
    found = find(model, layer)
    twin = on_meta(model).eval()
    probe = inputs[:1].to("meta")
    follower, seen = _Follower(probe, gates=False), []

    def stop(_: nn.Module, __: Any, output: Any) -> None:
        seen.append(follower.seen.get(output) if isinstance(output, Tensor) and is_map(output) else None)
        raise _Reached

    handle = find(twin, layer).register_forward_hook(stop)
    try:
        with follower, torch.no_grad():
            twin(probe)
    except _Reached:
        pass
    finally:
        handle.remove()
    if not seen:
        raise UsageError(f"layer {layer} did not run; choose another")
    if seen[0] is None:
        raise UsageError(f"layer {layer}, a {type(found).__name__}, gives no map of rows and columns")
    (y, down), (x, across) = (_line(axis.middles, side) for axis, side in zip(seen[0], inputs.shape[2:], strict=True))
    return Lattice((x, y), (across, down))


def _line(middles: Middles, length: int) -> tuple[float, float]:
    """The first middle and the step of units along one axis."""
    low, high = len(middles) // 4, len(middles) - 1 - len(middles) // 4
    if low == high:
        low, high = 0, len(middles) - 1
    step = float(middles[high] - middles[low]) / (high - low) if high else float(length)
    return float(middles[low]) - low * step, step


class _Axis(NamedTuple):
    """What the places along one axis of a tensor see of the image.

    spans    one pair for each place, or a single one for all
    middles  one for each place
    grain    pixels from one place to the next where they were farthest apart on the way here
    """

    spans: Spans
    middles: Middles
    grain: float


class _Window(NamedTuple):
    """The places of its source that each place along an axis is made of.

    first, last  [n] int64, beyond the edge where it takes nothing
    middle       [n] float64, wherever that is
    """

    first: np.ndarray
    last: np.ndarray
    middle: np.ndarray


class _Follower(TorchDispatchMode):
    """Sees every operation, and keeps for every tensor what its last two axes see of the image."""

    def __init__(self, inputs: Tensor, gates: bool) -> None:
        super().__init__()
        self.gates, self.image = gates, (inputs.shape[2], inputs.shape[3])
        self.seen = WeakTensorKeyDictionary()
        self.seen[inputs] = (_own(inputs.shape[2]), _own(inputs.shape[3]))

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        output = func(*args, **(kwargs or {}))
        sources = [tensor for tensor in tensors([*args, *(kwargs or {}).values()]) if tensor in self.seen]
        if sources:
            for result in tensors([output]):
                self.seen[result] = self._follow(func, args, sources, result)
        return output

    def _follow(self, func: Any, args: tuple[Any, ...], sources: list[Tensor], output: Tensor) -> tuple[_Axis, _Axis]:
        source, seen = sources[0], self.seen[sources[0]]
        if torch.Tag.pointwise in func.tags or func in _POINTWISE:
            return self._joined(sources, output)
        if func is aten.cat.default:
            return self._beside(args, sources, output)
        if func in _WAYS:
            return self._through(_WAYS[func], args, source, output)
        if func in _ALIKE and _is_alike(func, args, source, output):
            return seen
        if func in _REDUCED and not self._mixes(args, source, output):
            return seen
        if func in _MOVED and not _turns(func, args, source):
            return seen
        # Whatever else it is, it hangs on no more than all that its sources see. Rows that became columns would need
        # boxes that say so; no network here turns its maps.
        every = [self.seen[one] for one in sources]
        return self._all([np.concatenate([own[axis].spans for own in every]) for axis in range(2)], sources, output)

    def _through(self, way: Any, args: tuple[Any, ...], source: Tensor, output: Tensor) -> tuple[_Axis, _Axis]:
        """Of a window along each axis."""
        found = []
        for axis, own in enumerate(self.seen[source]):
            window = way(source, output, args, axis)
            found.append(own if window is None else _moved_on(own, source.shape[-2 + axis], window))
        return found[0], found[1]

    def _joined(self, sources: list[Tensor], output: Tensor) -> tuple[_Axis, _Axis]:
        """Of a unit made of one of each: it looks where the one does that was never coarser than the others."""
        larger = [one for one in sources if one.ndim > 2 and one.shape[-2:].numel() > 1]
        if larger and not self.gates:
            sources = larger
        found = []
        for axis in range(2):
            own = [self.seen[one][axis] for one in sources]
            count = max(len(one.spans) for one in own)
            spans = [np.broadcast_to(one.spans, (count, 2)) for one in own]
            hull = np.stack([np.min([s[:, 0] for s in spans], 0), np.max([s[:, 1] for s in spans], 0)], 1)
            fine = min(own, key=lambda one: (len(one.middles) != output.shape[-2 + axis], one.grain))
            found.append(_Axis(hull, fine.middles, fine.grain))
        return found[0], found[1]

    def _beside(self, args: tuple[Any, ...], sources: list[Tensor], output: Tensor) -> tuple[_Axis, _Axis]:
        """Of tensors put one after the other along an axis."""
        parts, place = list(args[0]), args[1] if len(args) > 1 else 0
        axis = place % output.ndim - (output.ndim - 2)
        if axis < 0:
            return self._joined(sources, output)
        if len(sources) < len(parts):
            spans = [np.concatenate([self.seen[one][k].spans for one in sources]) for k in range(2)]
            return self._all(spans, sources, output)
        own = [self.seen[one][axis] for one in sources]
        spans = [_full(one.spans, len(one.middles)) for one in own]
        middles = np.concatenate([one.middles for one in own])
        joined = _Axis(np.concatenate(spans), middles, max(one.grain for one in own))
        other = self._joined(sources, output)[1 - axis]
        return (joined, other) if axis == 0 else (other, joined)

    def _mixes(self, args: tuple[Any, ...], source: Tensor, output: Tensor) -> bool:
        """Whether a sum or a mean over some axes is one over rows or columns."""
        axes = range(source.ndim) if len(args) < 2 or args[1] is None else args[1]
        axes = {axis % source.ndim - source.ndim for axis in ([axes] if isinstance(axes, int) else axes)}
        return bool(axes & {-1, -2}) or output.shape[-2:] != source.shape[-2:]

    def _all(self, spans: list[Spans], sources: list[Tensor], output: Tensor) -> tuple[_Axis, _Axis]:
        """Of places that may hang on all of these. Where a norm left them in their places they look where they did;
        nothing else being known, they lie evenly over the image."""
        alike = [one for one in sources if one.ndim > 2 and one.shape[-2:] == output.shape[-2:]]
        found = []
        for axis, length in enumerate(self.image):
            count = output.shape[-2 + axis] if output.ndim > 1 else 1
            step = length / max(1, count)
            middles = self.seen[alike[0]][axis].middles if alike else (np.arange(count) + 0.5) * step
            grain = max(self.seen[one][axis].grain for one in sources)
            found.append(_Axis(_all_of(spans[axis]), middles, grain if alike else max(grain, step)))
        return found[0], found[1]


def _own(length: int) -> _Axis:
    first = np.arange(length)
    return _Axis(np.stack([first, first + 1], axis=1), first + 0.5, 1.0)


def _full(spans: Spans, length: int) -> Spans:
    return np.broadcast_to(spans, (length, 2)) if len(spans) == 1 else spans


def _all_of(spans: Spans) -> Spans:
    return np.array([[spans[:, 0].min(), spans[:, 1].max()]])


def _moved_on(own: _Axis, length: int, window: _Window) -> _Axis:
    """What units see that are made of windows of places of which this is known."""
    middles = _at(own.middles, window.middle)
    step = float(np.abs(np.diff(middles)).max()) if len(middles) > 1 else np.inf
    return _Axis(_hull(own.spans, length, window.first, window.last), middles, max(own.grain, step))


def _hull(spans: Spans, length: int, first: np.ndarray, last: np.ndarray) -> Spans:
    """Of units that take from `first` to `last` (included) of `length` places; beyond the edge there is nothing."""
    if len(spans) == 1:
        return spans
    first, last = np.clip(first, 0, length - 1), np.clip(last, 0, length - 1)
    if (np.diff(spans, axis=0) >= 0).all():
        # Fields move on with their place, so the outermost places of a window have its outermost pixels.
        return np.stack([spans[first, 0], spans[last, 1]], axis=1)
    parts = [spans[one : other + 1] for one, other in zip(first, last, strict=True)]
    return np.array([[part[:, 0].min(), part[:, 1].max()] for part in parts])


def _at(middles: Middles, places: np.ndarray) -> Middles:
    """Where places between and beyond those of a tensor look: beyond its ends it goes on as it did."""
    if len(middles) == 1:
        return np.full(len(places), middles[0])
    low = np.clip(np.floor(places).astype(int), 0, len(middles) - 2)
    return middles[low] + (places - low) * (middles[low + 1] - middles[low])


def _taps(first: np.ndarray, count: int, step: int, length: int) -> tuple[np.ndarray, np.ndarray]:
    """The first and the last place inside [0, length) of `count` taps, `step` apart, from each first one on."""
    below = np.maximum(0, -(first // step))  # taps that lie before the edge: ceil(-first / step)
    above = np.minimum(count - 1, (length - 1 - first) // step)
    return first + below * step, first + np.maximum(above, 0) * step


def _filtered(
    source: Tensor, output: Tensor, axis: int, kernel: int, stride: int, padding: int, dilation: int
) -> _Window:
    begin = np.arange(output.shape[-2 + axis]) * stride - padding
    first, last = _taps(begin, kernel, dilation, source.shape[-2 + axis])
    return _Window(first, last, begin + (kernel - 1) * dilation / 2)


def _convolution(source: Tensor, output: Tensor, args: tuple[Any, ...], axis: int) -> _Window:
    kernel = args[1].shape[2 + axis]
    stride, padding, dilation = (at_axis(values, axis) for values in args[3:6])
    if not args[6]:
        return _filtered(source, output, axis, kernel, stride, padding, dilation)
    # Output o takes from all i with o = i * stride - padding + k * dilation.
    places, reach = np.arange(output.shape[-2 + axis]), (kernel - 1) * dilation
    middle = (places + padding - reach / 2) / stride
    if dilation == 1:
        return _Window(-((reach - places - padding) // stride), (places + padding) // stride, middle)
    taps = (places[:, None] + padding - np.arange(kernel) * dilation) / stride
    taken = (taps == np.floor(taps)) & (taps >= 0) & (taps < source.shape[-2 + axis])
    first = np.where(taken, taps, np.inf).min(1)
    last = np.where(taken, taps, -np.inf).max(1)
    return _Window(np.nan_to_num(first).astype(int), np.nan_to_num(last).astype(int), middle)


def _max_pool(source: Tensor, output: Tensor, args: tuple[Any, ...], axis: int) -> _Window:
    kernel, stride, padding, dilation = (at_axis(v, axis) for v in with_defaults(args, [None, args[1], 0, 1]))
    return _filtered(source, output, axis, kernel, stride, padding, dilation)


def _average_pool(source: Tensor, output: Tensor, args: tuple[Any, ...], axis: int) -> _Window:
    kernel, stride, padding = (at_axis(v, axis) for v in with_defaults(args, [None, args[1], 0]))
    return _filtered(source, output, axis, kernel, stride, padding, 1)


def _adaptive_pool(source: Tensor, output: Tensor, args: tuple[Any, ...], axis: int) -> _Window:
    length, count = source.shape[-2 + axis], output.shape[-2 + axis]
    places = np.arange(count)
    first, last = places * length // count, -(-(places + 1) * length // count) - 1
    return _Window(first, last, (first + last) / 2)


def _nearest(source: Tensor, output: Tensor, args: tuple[Any, ...], axis: int) -> _Window:
    length, count = source.shape[-2 + axis], output.shape[-2 + axis]
    taken = np.floor(np.arange(count) * (length / count)).astype(int)
    return _Window(taken, taken, _enlarged(length, count))


def _unpooled(source: Tensor, output: Tensor, args: tuple[Any, ...], axis: int) -> _Window:
    """To wherever in its window a maximum was; torch does not say how large that is."""
    length, count = source.shape[-2 + axis], output.shape[-2 + axis]
    side = max(1, round(count / length))
    taken = np.minimum(np.arange(count) // side, length - 1)
    return _Window(taken, taken, (np.arange(count) + 0.5) / side - 0.5)


def _bilinear(source: Tensor, output: Tensor, args: tuple[Any, ...], axis: int) -> _Window:
    length, count = source.shape[-2 + axis], output.shape[-2 + axis]
    exact = np.arange(count) * ((length - 1) / max(1, count - 1)) if args[2] else _enlarged(length, count)
    inside = np.round(np.clip(exact, 0, length - 1), 9)
    return _Window(np.floor(inside).astype(int), np.ceil(inside).astype(int), exact)


def _enlarged(length: int, count: int) -> np.ndarray:
    """Where the middles of `count` pixels lie among `length` others that cover the same."""
    return (np.arange(count) + 0.5) * (length / count) - 0.5


def _padded(source: Tensor, output: Tensor, args: tuple[Any, ...], axis: int) -> _Window:
    before = args[1][2 * (1 - axis)] if len(args[1]) > 2 * (1 - axis) else 0
    places = np.arange(output.shape[-2 + axis]) - before
    return _Window(places, places, places.astype(float))


def _mirrored(source: Tensor, output: Tensor, args: tuple[Any, ...], axis: int) -> _Window:
    length, beyond = source.shape[-2 + axis], np.arange(output.shape[-2 + axis]) - args[1][2 * (1 - axis)]
    places = np.abs(beyond)
    places = np.where(places >= length, 2 * (length - 1) - places, places)
    return _Window(places, places, beyond.astype(float))


def _sliced(source: Tensor, output: Tensor, args: tuple[Any, ...], axis: int) -> _Window | None:
    which, first, _, step = with_defaults(args, [0, 0, None, 1])
    if which % source.ndim - (source.ndim - 2) != axis:
        return None
    first = first or 0
    first += source.shape[which] if first < 0 else 0
    taken = first + np.arange(output.shape[which]) * (step or 1)
    return _Window(taken, taken, taken.astype(float))


# The places of its first source that each place of an operation's output is made of; None for its own along this axis.
_WAYS: dict[Any, Callable[[Tensor, Tensor, tuple[Any, ...], int], _Window | None]] = {
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
_POINTWISE = {
    aten.hardswish.default,
    aten.hardswish_.default,
    aten._prelu_kernel.default,
    aten.rsub.Tensor,
    aten.log_sigmoid_forward.default,
}
_REDUCED = {aten.mean.dim, aten.mean.default, aten.sum.dim_IntList, aten.sum.default, aten.amax.default}
_MOVED = {aten.transpose.int, aten.permute.default, aten.t.default}


def _turns(func: Any, args: tuple[Any, ...], source: Tensor) -> bool:
    """Whether another order of the axes is one of rows and columns."""
    order = list(range(source.ndim))
    if func is aten.permute.default:
        order = [axis % source.ndim for axis in args[1]]
    else:
        one, other = (args[1] % source.ndim, args[2] % source.ndim) if len(args) > 2 else (0, 1)
        order[one], order[other] = order[other], order[one]
    return order[-2:] != [source.ndim - 2, source.ndim - 1]


def _is_alike(func: Any, args: tuple[Any, ...], source: Tensor, output: Tensor) -> bool:
    """Whether an operation that leaves rows and columns alone, as a rule, does so here."""
    if source.shape[-2:] != output.shape[-2:] or min(source.ndim, output.ndim) <= 2:
        return False
    if func in _NORMS:
        return not args[_NORMS[func]]  # of a batch's own statistics all that it sees is part
    return func is not aten.index_select.default or args[1] % source.ndim < source.ndim - 2
