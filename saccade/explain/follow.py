"""Every operation of a network is watched, and what each row and column sees of the image is kept for its output."""

from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.weak import WeakTensorKeyDictionary

from saccade.explain.operations import POINTWISE, WINDOWS, Window, keeps_places
from saccade.layers.meta import tensors

aten = torch.ops.aten
Spans = np.ndarray  # [n, 2] int64: the first pixel, and the one after the last, for each place along an axis
Middles = np.ndarray  # [n] float64: where each place along an axis looks, in continuous pixels of the image


class Axis(NamedTuple):
    """What the places along one axis of a tensor see of the image.

    spans    one pair for each place, or a single one for all
    middles  one for each place
    grain    pixels from one place to the next where they were farthest apart on the way here
    """

    spans: Spans
    middles: Middles
    grain: float


class Follower(TorchDispatchMode):
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

    def _follow(self, func: Any, args: tuple[Any, ...], sources: list[Tensor], output: Tensor) -> tuple[Axis, Axis]:
        source = sources[0]
        if torch.Tag.pointwise in func.tags or func in POINTWISE:
            return self._joined(sources, output)
        if func is aten.cat.default:
            return self._beside(args, sources, output)
        if func in WINDOWS:
            return self._through(WINDOWS[func], args, source, output)
        if keeps_places(func, args, source, output):
            return self.seen[source]
        # Whatever else it is, it hangs on no more than all that its sources see. Rows that became columns would need
        # boxes that say so; no network here turns its maps.
        every = [self.seen[one] for one in sources]
        return self._all([np.concatenate([own[axis].spans for own in every]) for axis in range(2)], sources, output)

    def _through(self, way: Any, args: tuple[Any, ...], source: Tensor, output: Tensor) -> tuple[Axis, Axis]:
        """Of a window along each axis."""
        found = []
        for axis, own in enumerate(self.seen[source]):
            window = way(source, output, args, axis)
            found.append(own if window is None else _moved_on(own, source.shape[-2 + axis], window))
        return found[0], found[1]

    def _joined(self, sources: list[Tensor], output: Tensor) -> tuple[Axis, Axis]:
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
            found.append(Axis(hull, fine.middles, fine.grain))
        return found[0], found[1]

    def _beside(self, args: tuple[Any, ...], sources: list[Tensor], output: Tensor) -> tuple[Axis, Axis]:
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
        joined = Axis(np.concatenate(spans), middles, max(one.grain for one in own))
        other = self._joined(sources, output)[1 - axis]
        return (joined, other) if axis == 0 else (other, joined)

    def _all(self, spans: list[Spans], sources: list[Tensor], output: Tensor) -> tuple[Axis, Axis]:
        """Of places that may hang on all of these. Where a norm left them in their places they look where they did;
        nothing else being known, they lie evenly over the image."""
        alike = [one for one in sources if one.ndim > 2 and one.shape[-2:] == output.shape[-2:]]
        found = []
        for axis, length in enumerate(self.image):
            count = output.shape[-2 + axis] if output.ndim > 1 else 1
            step = length / max(1, count)
            middles = self.seen[alike[0]][axis].middles if alike else (np.arange(count) + 0.5) * step
            grain = max(self.seen[one][axis].grain for one in sources)
            found.append(Axis(_all_of(spans[axis]), middles, grain if alike else max(grain, step)))
        return found[0], found[1]


def _own(length: int) -> Axis:
    first = np.arange(length)
    return Axis(np.stack([first, first + 1], axis=1), first + 0.5, 1.0)


def _full(spans: Spans, length: int) -> Spans:
    return np.broadcast_to(spans, (length, 2)) if len(spans) == 1 else spans


def _all_of(spans: Spans) -> Spans:
    return np.array([[spans[:, 0].min(), spans[:, 1].max()]])


def _moved_on(own: Axis, length: int, window: Window) -> Axis:
    """What units see that are made of windows of places of which this is known."""
    middles = _at(own.middles, window.middle)
    step = float(np.abs(np.diff(middles)).max()) if len(middles) > 1 else np.inf
    return Axis(_hull(own.spans, length, window.first, window.last), middles, max(own.grain, step))


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
