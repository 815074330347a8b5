"""Which of a network's weights come early and which late, whatever its modules are called."""

from collections.abc import Iterator
from typing import Protocol

import torch
from torch import nn

from saccade.backbones.contract import Backbone
from saccade.layers.meta import on_meta


class Encoded(Protocol):
    """A network of which a part, or all, is a backbone."""

    @property
    def trunk(self) -> Backbone: ...

    def named_parameters(self) -> Iterator[tuple[str, nn.Parameter]]: ...


def stages_of(model: Encoded) -> dict[str, int]:
    """The stage of each parameter of a network's encoder, 0 the finest: the first of its maps that it has a part in.
    What only comes behind the last map (the full connections of VGG) is one more. The head's have none.

    Asked of the gradients, so that it is true of every network, however its modules are nested and named.
    """
    # By identity: an encoder may be nested anyhow, or be parts that the network has under other names.
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    trunk = model.trunk
    return {names[id(trunk.get_parameter(own))]: stage for own, stage in _own_stages(trunk).items()}


def _own_stages(model: Backbone) -> dict[str, int]:
    twin = on_meta(model).eval().requires_grad_(True)
    names, parameters = zip(*twin.named_parameters(), strict=True)
    found: dict[str, int] = {}
    maps = twin.maps(torch.empty(1, model.in_channels, *model.input_size, device="meta"))
    for stage, one in enumerate(maps):
        gradients = torch.autograd.grad(one.sum(), parameters, allow_unused=True, retain_graph=True)
        for name, gradient in zip(names, gradients, strict=True):
            if gradient is not None:
                found.setdefault(name, stage)
    head = tuple(f"{prefix}." for prefix in model.last_layers)
    stages = {name: found.get(name, len(maps)) for name in names if not name.startswith(head)}
    # Without gaps: between two maps there may be but a pooling.
    places = {stage: place for place, stage in enumerate(sorted(set(stages.values())))}
    return {name: places[stage] for name, stage in stages.items()}
