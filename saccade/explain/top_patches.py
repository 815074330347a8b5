"""Top patches: the parts of a data set's images that excite a unit most.

Zeiler and Fergus, "Visualizing and Understanding Convolutional Networks", ECCV 2014, figure 2: the nine strongest
activations of a feature map over a set of images, each cut out of its image as far as the unit sees, beside what the
DeconvNet projects down from it.

The images pass once, and only the strongest activations are kept.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from saccade.errors import SaccadeError, UsageError
from saccade.explain.layers import check_map, watch


@dataclass(frozen=True, eq=False)
class TopPatches:
    """The strongest activations of units of one layer, strongest first; of each image at most one a unit.

    channels  [U] int64: which channels these are
    values    [U, n] float32; -inf where there were fewer images
    images    [U, n] int64: the number of the image, in the order they came
    places    [U, n, 2] int64: (row, column) in the map
    """

    layer: str
    channels: np.ndarray
    values: np.ndarray
    images: np.ndarray
    places: np.ndarray


@torch.no_grad()
def top_patches(
    model: nn.Module,
    batches: Iterable[Tensor],
    layer: str,
    channels: Sequence[int] | None = None,
    count: int = 9,
) -> TopPatches:
    """The `count` strongest activations of each channel of a layer.

    batches   normalised images [B, C, H, W] float; they pass once
    layer     as the state dict names it
    channels  which; None for all

    Raises UsageError for a layer that is not there or has no spatial extent, and for channels it does not have,
    SaccadeError when an activation is not a number.
    """
    if count < 1:
        raise UsageError(f"count must be at least 1, got {count}")
    best: _Best | None = None
    seen = 0
    for inputs in batches:
        _, found = watch(model, [layer], lambda inputs=inputs: model(inputs))
        maps = found[layer]
        check_map(layer, maps)
        if len(maps) != len(inputs):
            raise UsageError(f"layer {layer} does not look at whole images but at {len(maps)} parts of them")
        if best is None:
            chosen = _checked(layer, channels, maps.shape[1])
            best = _Best(chosen, count)
        best.add(maps, seen)
        seen += len(inputs)
    if best is None:
        raise UsageError("there are no images to look for patches in")
    return TopPatches(layer, best.channels, best.values, best.images, best.places)


def _checked(layer: str, channels: Sequence[int] | None, there: int) -> np.ndarray:
    chosen = np.arange(there) if channels is None else np.array(channels, dtype=np.int64)
    wrong = chosen[(chosen < 0) | (chosen >= there)]
    if len(wrong):
        raise UsageError(f"layer {layer} has channels 0 to {there - 1}, not {int(wrong[0])}")
    return chosen


class _Best:
    """The strongest so far."""

    def __init__(self, channels: np.ndarray, count: int) -> None:
        units = len(channels)
        self.channels, self.count = channels, count
        self.values = np.full((units, count), -np.inf, dtype=np.float32)
        self.images = np.full((units, count), -1, dtype=np.int64)
        self.places = np.zeros((units, count, 2), dtype=np.int64)

    def add(self, maps: Tensor, first: int) -> None:
        """Maps [B, C, h, w] of the images first, first + 1 ..."""
        width = maps.shape[3]
        values, flat = maps[:, torch.from_numpy(self.channels).to(maps.device)].flatten(2).max(2)
        values, flat = values.T.float().cpu().numpy(), flat.T.cpu().numpy()
        if np.isnan(values).any():
            raise SaccadeError("activations are not numbers: the weights or an image are damaged")
        images = np.broadcast_to(np.arange(first, first + len(maps)), values.shape)
        places = np.stack([flat // width, flat % width], axis=-1)
        values = np.concatenate([self.values, values], axis=1)
        # Of equals the earlier image, so that the result does not depend on the batches.
        order = np.argsort(-values, axis=1, kind="stable")[:, : self.count]
        self.values = np.take_along_axis(values, order, 1)
        self.images = np.take_along_axis(np.concatenate([self.images, images], 1), order, 1)
        self.places = np.take_along_axis(np.concatenate([self.places, places], 1), order[..., None], 1)
