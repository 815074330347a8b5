"""Filters: what the first layer looks for, in the colours it looks for it in."""

from dataclasses import dataclass

import numpy as np
from torch import nn

from saccade.errors import UsageError
from saccade.explain.layers import find
from saccade.report.heat import around_grey
from saccade.report.page import Tile


@dataclass(frozen=True, eq=False)
class Filters:
    """The filters of one layer.

    weights  [N, h, w, C] float32, C is 1 (grey) or 3 (RGB)
    """

    layer: str
    weights: np.ndarray

    def tiles(self) -> list[Tile]:
        """A picture a filter; what it does not ask for is grey. All are drawn to one scale."""
        scale = float(np.abs(self.weights).max())
        return [Tile(around_grey(one, scale), f"{k}") for k, one in enumerate(self.weights)]


def filters(model: nn.Module, layer: str | None = None) -> Filters:
    """The filters of a layer that sees the image itself.

    layer  as the state dict names it; None for the first convolution

    Raises UsageError for any other layer: its filters look at the channels of the layer before, which are no colours.
    """
    convolutions = [name for name, one in model.named_modules() if isinstance(one, nn.Conv2d)]
    if not convolutions:
        raise UsageError("the network has no convolution, so it has no filters to look at")
    layer = convolutions[0] if layer is None else layer
    found = find(model, layer)
    if not isinstance(found, nn.Conv2d):
        raise UsageError(
            f"layer {layer} is a {type(found).__name__} and has no filters; the first that has is {convolutions[0]}"
        )
    if found.in_channels // found.groups not in (1, 3) or (layer != convolutions[0] and found.groups > 1):
        raise UsageError(
            f"the filters of {layer} look at the {found.in_channels} channels of the layer before, which are no "
            f"colours: a picture of them would mean nothing. See what its units answer to: top_patches, deconvnet"
        )
    return Filters(layer, found.weight.detach().float().cpu().permute(0, 2, 3, 1).contiguous().numpy())
