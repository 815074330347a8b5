"""Copies of a network for prediction, which share its weights."""

import copy
from collections import OrderedDict
from typing import Any, TypeVar

import torch
from torch import nn

Model = TypeVar("Model", bound=nn.Module)


def twin_of(model: Model) -> Model:
    """A copy whose layers are its own and whose weights are the model's.

    Without hooks: whoever watches the model did not ask to watch its copy. They are not even read, since another thread
    may be hanging one up at this moment.
    """
    copied: dict[int, Any] = {id(tensor): tensor for tensor in (*model.parameters(), *model.buffers())}
    for layer in model.modules():
        copied |= {id(hooks): OrderedDict() for hooks in (layer._forward_hooks, layer._forward_pre_hooks)}
    return copy.deepcopy(model, copied)


def keep_in(model: Model, dtype: torch.dtype) -> Model:
    """A twin to be run under autocast, whose filters and matrices are in its format already.

    It says what the model says. Autocast would make the same numbers anew at every use: of weights that want no
    gradients it keeps none.
    """
    twin = twin_of(model)
    for layer in twin.modules():
        if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
            for name, weight in list(layer.named_parameters(recurse=False)):
                setattr(layer, name, nn.Parameter(weight.to(dtype), requires_grad=False))
    return twin
