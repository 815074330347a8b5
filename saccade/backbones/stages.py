"""Which of a network's weights come early and which late, whatever its modules are called."""

import torch

from saccade.backbones.contract import Backbone
from saccade.layers.meta import on_meta


def stages_of(model: Backbone) -> dict[str, int]:
    """The stage of each parameter that is not the head's, 0 the finest: the first of the network's maps that it has a
    part in. What only comes behind the last map (the full connections of VGG) is one more.

    Asked of the gradients, so that it is true of every network, however its modules are nested and named.
    """
    twin = on_meta(model).eval().requires_grad_(True)
    names, parameters = zip(*twin.named_parameters(), strict=True)
    found: dict[str, int] = {}
    maps = twin.maps(torch.empty(1, model.in_channels, *model.input_size, device="meta"))
    for stage, one in enumerate(maps):
        gradients = torch.autograd.grad(one.sum(), parameters, allow_unused=True, retain_graph=True)
        for name, gradient in zip(names, gradients, strict=True):
            if gradient is not None:
                found.setdefault(name, stage)
    head = tuple(f"{prefix}." for prefix in model.head)
    stages = {name: found.get(name, len(maps)) for name in names if not name.startswith(head)}
    # Without gaps: between two maps there may be but a pooling.
    places = {stage: place for place, stage in enumerate(sorted(set(stages.values())))}
    return {name: places[stage] for name, stage in stages.items()}
