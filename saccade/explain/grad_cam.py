"""Grad-CAM: where the features of a layer speak for the score.

Selvaraju et al., "Grad-CAM: Visual Explanations from Deep Networks via Gradient-based Localization", ICCV 2017,
equations 1 and 2: each channel weighed by the mean of its gradient, summed, and what is below zero left out. As coarse
as the layer; of the last one, where things are; of a network with global average pooling it is CAM (section 3.1).
"""

from collections import Counter
from collections.abc import Collection

import torch
from torch import Tensor, nn

from saccade.errors import SaccadeError, UsageError
from saccade.explain.layers import check_map, find, is_map, watch, watch_all
from saccade.explain.score import Score, check_finite, check_scores


def grad_cam(model: nn.Module, score: Score, inputs: Tensor, layer: str | None = None) -> Tensor:
    """[B, h, w] float, 0 and more, as large as the layer's maps, of normalised images [B, C, H, W].

    model  which the score runs, once
    layer  as the state dict names it; None for `coarsest_layer`

    Raises UsageError for a layer without spatial extent or that the score does not hang on, SaccadeError when a
    gradient is not finite.
    """
    layer = coarsest_layer(model, score, inputs[:1]) if layer is None else layer
    find(model, layer)
    inputs = inputs.detach().clone().requires_grad_()
    with torch.enable_grad():
        values, found = watch(model, [layer], lambda: score(inputs))
        maps = found[layer]
        check_map(layer, maps)
        if len(maps) != len(inputs):
            raise UsageError(f"layer {layer} does not look at whole images but at {len(maps)} parts of them")
        check_scores(values, inputs)
        slopes = torch.autograd.grad(values.sum(), maps, allow_unused=True)[0] if values.requires_grad else None
    if slopes is None:
        raise UsageError(f"the score does not hang on layer {layer}; choose another")
    check_finite(slopes)
    weights = slopes.mean((2, 3), keepdim=True)
    return (weights * maps).sum(1).clamp(min=0).detach()


def coarsest_layer(model: nn.Module, score: Score, inputs: Tensor, among: Collection[str] | None = None) -> str:
    """The layer whose maps of the whole image are the coarsest of all that the score hangs on; the last of these.

    inputs  [1, C, H, W]
    among   layers to choose from; None for all. Of a detector, whose later layers may see one box alone, and of a
            segmenter, whose last ones are the classes' own, those of the backbone

    Raises SaccadeError when there is none.
    """
    inputs = inputs.detach().clone().requires_grad_()
    with torch.enable_grad():
        value, calls = watch_all(model, lambda: score(inputs).sum())
    uses = Counter(call.name for call in calls)
    maps = [
        call
        for call in calls
        if uses[call.name] == 1
        and is_map(call.output)
        and len(call.output) == len(inputs)
        and call.output.requires_grad
        and (among is None or call.name in among)
    ]
    slopes = torch.autograd.grad(value, [call.output for call in maps], allow_unused=True) if maps else ()
    # Answers of all places in one tensor: the score hangs on all of it, and its slope is 0 but for its own place.
    used = [call for call, slope in zip(maps, slopes, strict=True) if slope is not None and bool(slope.any())]
    if not used:
        raise SaccadeError("no layer with maps of the whole image was found that the score hangs on; name one")
    return min(reversed(used), key=lambda call: call.output.shape[2:].numel()).name
