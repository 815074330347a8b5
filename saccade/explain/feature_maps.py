"""Feature maps: what every channel of a layer answers, as a picture each."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from saccade.explain.layers import check_map, watch
from saccade.report.heat import grey
from saccade.report.page import Tile

MOST = 256  # channels on one sheet


@dataclass(frozen=True, eq=False)
class FeatureMaps:
    """What one layer gave for one image.

    maps  [C, h, w] float32
    """

    layer: str
    maps: np.ndarray

    def tiles(self, most: int = MOST) -> list[Tile]:
        """A grey picture a channel, each from its own darkest to its own brightest; the strongest channels where there
        are more than `most`, in their order."""
        strength = np.abs(self.maps).mean((1, 2))
        chosen = np.sort(np.argsort(-strength, kind="stable")[:most])
        return [Tile(grey(self.maps[k])[..., None], f"{k}", _range(self.maps[k])) for k in chosen]


@torch.no_grad()
def feature_maps(model: nn.Module, inputs: Tensor, layer: str) -> FeatureMaps:
    """The maps of a layer of one normalised image [1, C, H, W].

    Raises UsageError for a layer that is not there, does not run, runs twice, or has no spatial extent.
    """
    _, found = watch(model, [layer], lambda: model(inputs))
    check_map(layer, found[layer])
    return FeatureMaps(layer, found[layer][0].float().cpu().numpy())


def _range(values: np.ndarray) -> str:
    low, high = float(values.min()), float(values.max())
    if low == high == 0:
        return "silent"
    return f"{low:,.0f} to {high:,.0f}" if max(-low, high) >= 100 else f"{low:.2g} to {high:.2g}"
