"""CAM: of a network that averages its last maps, how much each place of them said for a class.

Zhou, Khosla, Lapedriza, Oliva and Torralba, "Learning Deep Features for Discriminative Localization", CVPR 2016,
equation 2: the last maps, each weighed as the linear layer after the global average weighs it for that class. Their
mean over all places is the class's logit, without its bias: nothing is left out. Where a convolution gives a map a
class, which is then averaged (NiN, SqueezeNet), that map is it.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from saccade.errors import UsageError
from saccade.explain.layers import is_map, watch_all

CLOSE = 1e-3  # of the largest number, so near must a layer's answer be to what it is taken for


@dataclass(frozen=True, eq=False)
class Averaged:
    """The maps whose mean the logits are made of.

    layer   that gave them
    maps    [B, C, h, w] float
    weight  [K, C] of the linear layer after the average; None where the maps are the classes' own
    """

    layer: str
    maps: Tensor
    weight: Tensor | None


@torch.no_grad()
def averaged(model: nn.Module, inputs: Tensor) -> Averaged:
    """Which maps a network averages. Not asked but seen: the last whose mean, through a linear layer or as it is, gives
    the logits [B, K].

    Raises UsageError where there are none.
    """
    logits, calls = watch_all(model, lambda: model(inputs))
    if not isinstance(logits, Tensor) or logits.ndim != 2:
        raise UsageError("CAM explains classes of whole images: the network must give logits [B, K]")
    maps = [call for call in calls if is_map(call.output) and len(call.output) == len(inputs)]
    for one in reversed(maps):
        if one.output.shape[1] == logits.shape[1] and _close(one.output.mean((2, 3)), logits):
            return Averaged(one.name, one.output, None)
    for call in reversed(calls):
        if not (isinstance(call.layer, nn.Linear) and _close(call.output, logits)):
            continue
        for one in reversed(maps):
            if one.output.shape[1] == call.given.shape[1] and _close(one.output.mean((2, 3)), call.given):
                return Averaged(one.name, one.output, call.layer.weight)
    raise UsageError(
        "CAM is for networks whose logits are one linear layer on the mean of the last maps, and this is none; "
        "take grad_cam, which needs no such layer"
    )


@torch.no_grad()
def cam(model: nn.Module, inputs: Tensor, label: int) -> Tensor:
    """[B, h, w] float, as large as the last maps; below 0 speaks against.

    model   gives logits [B, K]
    inputs  [B, C, H, W] float, normalised
    label   0..K-1

    Raises UsageError where the network averages no maps, and for a class out of range.
    """
    found = averaged(model, inputs)
    classes = found.maps.shape[1] if found.weight is None else len(found.weight)
    if not 0 <= label < classes:
        raise UsageError(f"there is no class {label}: the network knows 0 to {classes - 1}")
    if found.weight is None:
        return found.maps[:, label]
    return torch.einsum("bchw,c->bhw", found.maps, found.weight[label])


def _close(one: Tensor, other: Tensor) -> bool:
    return one.shape == other.shape and bool((one - other).abs().max() <= CLOSE * other.abs().max())
