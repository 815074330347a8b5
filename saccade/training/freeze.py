"""Which parts of a network learn, and from when on: what does not is held exactly as it is."""

import math
from dataclasses import dataclass

import torch
from torch import nn

from saccade.backbones.contract import Backbone
from saccade.errors import UsageError
from saccade.layers.meta import on_meta
from saccade.training.config import Config


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
    stages = {name: found.get(name, len(maps)) for name in names if not is_in_head(model, name)}
    # Without gaps: between two maps there may be but a pooling.
    places = {stage: place for place, stage in enumerate(sorted(set(stages.values())))}
    return {name: places[stage] for name, stage in stages.items()}


def is_in_head(model: Backbone, name: str) -> bool:
    """Whether a parameter or module of this name belongs to the last layers."""
    return f"{name}.".startswith(tuple(f"{prefix}." for prefix in model.head))


@dataclass(frozen=True)
class Freeze:
    """From which epoch on each parameter learns; before, it and the module it is in are as they were.

    A norm whose weights are frozen but which is in training mode would still normalise by the batch and move its
    statistics, and so it would not be the network that was trained: it is held in evaluation mode. So is what has no
    weights (dropout), until everything learns; in the head nothing is ever held.

    begins  epoch by the name of a parameter; those that are not named learn from the first on; inf is never
    """

    head: tuple[str, ...]
    begins: dict[str, float]

    def hold(self, model: nn.Module, epoch: int) -> None:
        """Put the network into training mode as far as it learns in this epoch."""
        model.train()
        for name, parameter in model.named_parameters():
            parameter.requires_grad_(epoch >= self.begins.get(name, 0))
        if all(epoch >= begin for begin in self.begins.values()):
            return
        head = tuple(f"{prefix}." for prefix in self.head)
        for name, module in model.named_modules():
            if list(module.children()) or f"{name}.".startswith(head):
                continue
            if not any(parameter.requires_grad for parameter in module.parameters()):
                module.eval()


def plan(model: Backbone, adapt: str, config: Config) -> Freeze:
    """Which parameters learn from when on.

    adapt  "freeze": only the head, ever; "finetune": the head, after `config.warm_start` epochs all others, or where
           `config.unfreeze` says so one stage after the other, from the coarsest to the finest

    Raises UsageError when a stage would begin after the last epoch.
    """
    if adapt == "freeze":
        return Freeze(model.head, dict.fromkeys(stages_of(model), math.inf))
    if not config.warm_start and not config.unfreeze:
        return Freeze(model.head, {})
    stages = stages_of(model)
    last = max(stages.values())
    begins = {name: float(config.warm_start + config.unfreeze * (last - stage)) for name, stage in stages.items()}
    if config.unfreeze and max(begins.values()) >= config.epochs:
        raise UsageError(
            f"with warm_start={config.warm_start} and unfreeze={config.unfreeze} the finest of {last + 1} stages "
            f"would begin to learn after {max(begins.values()):g} of {config.epochs} epochs; choose smaller ones"
        )
    return Freeze(model.head, begins)
