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
from typing import Any

import torch
from torch import Tensor, nn

from saccade.errors import UsageError
from saccade.explain.follow import Follower, Middles, Spans
from saccade.explain.layers import check_map, find, is_map, watch
from saccade.layers.meta import on_meta


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
    follower = Follower(probe, gates)

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
    follower, seen = Follower(probe, gates=False), []

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
