"""Batch norm as part of the convolution before it.

In prediction a norm multiplies each channel by one number and adds another (Ioffe and Szegedy, "Batch Normalization",
ICML 2015, section 3.1, equation 11), which the filters and biases of that convolution may as well do: the same answer
but for rounding, and one way through memory less.
"""

import copy
from collections import Counter
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from saccade.layers.meta import on_meta

Model = TypeVar("Model", bound=nn.Module)


def fuse_norms(model: Model, inputs: Tensor) -> Model:
    """A network for prediction alone that says what this one does in evaluation; it shares all weights but the fused.

    inputs  [1, C, H, W] such as the network takes; its values do not matter

    Fused is each norm that is always given what one convolution gave, and is the only norm that is. What does not run
    in the network's forward stays as it is.
    """
    pairs = _pairs(model, inputs.to("meta"))
    shared: dict[int, Any] = {id(tensor): tensor for tensor in (*model.parameters(), *model.buffers())}
    twin = copy.deepcopy(model, shared).eval()
    instead: dict[nn.Module, nn.Module] = {}
    for convolution, norm in pairs.items():
        own, its = twin.get_submodule(convolution), twin.get_submodule(norm)
        assert isinstance(own, nn.Conv2d) and isinstance(its, nn.BatchNorm2d)
        instead |= {own: fuse_conv_bn_eval(own, its), its: nn.Identity()}
    # In the place of the layer, not in the layer: what else has its weights, such as a tied decoder, keeps them.
    for parent in list(twin.modules()):
        for name, child in list(parent.named_children()):
            if child in instead:
                parent.add_module(name, instead[child])
    return twin


@torch.no_grad()
def _pairs(model: nn.Module, inputs: Tensor) -> dict[str, str]:
    """The names of the convolutions that are fused, and of the norms that each is fused with."""
    twin = on_meta(model).eval()
    names = {module: name for name, module in twin.named_modules()}
    outputs: list[Tensor] = []  # kept, so that no other has the identity of one of them
    gave: dict[int, str] = {}
    uses: Counter[str] = Counter()
    met: Counter[tuple[str, str]] = Counter()

    def watch(layer: nn.Module, given: tuple[Tensor, ...], output: Tensor) -> None:
        uses[names[layer]] += 1
        if isinstance(layer, nn.Conv2d):
            outputs.append(output)
            gave[id(output)] = names[layer]
        elif id(given[0]) in gave:
            met[gave[id(given[0])], names[layer]] += 1

    for layer in names:
        if isinstance(layer, nn.Conv2d | nn.BatchNorm2d):
            layer.register_forward_hook(watch)
    twin(inputs)
    return {one: other for (one, other), count in met.items() if uses[one] == uses[other] == count}
