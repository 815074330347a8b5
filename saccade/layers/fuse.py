"""Batch norm as part of the convolution before it.

In prediction a norm multiplies each channel by one number and adds another (Ioffe and Szegedy, "Batch Normalization",
ICML 2015, algorithm 2, line 11), which the filters and biases of that convolution may as well do: the same answer but
for rounding, and one way through memory less.
"""

from collections import Counter
from functools import partial
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval
from torch.overrides import TorchFunctionMode

from saccade.layers.meta import tensors
from saccade.layers.twin import twin_of

Model = TypeVar("Model", bound=nn.Module)
Convolution = nn.Conv2d | nn.ConvTranspose2d


def fuse_norms(model: Model, inputs: Tensor) -> Model:
    """A network for prediction alone that says what this one does in evaluation.

    inputs  [1, C, H, W] such as the network takes, on its device; the network runs once, and values do not matter

    A norm is fused when all it is ever given is one convolution's output, and nothing else takes that. What does not
    run in the network's forward stays as it is. All weights but the fused are shared with the model; hooks are not.
    """
    # Also where it is asked for in the middle of a prediction, its weights are such as any other's.
    with torch.inference_mode(False), torch.no_grad():
        pairs = _pairs(model, inputs)
        twin = twin_of(model).eval()
        instead: dict[nn.Module | None, nn.Module] = {}
        for name, its in pairs.items():
            convolution, norm = twin.get_submodule(name), twin.get_submodule(its)
            assert isinstance(convolution, Convolution) and isinstance(norm, nn.BatchNorm2d)
            transposed = isinstance(convolution, nn.ConvTranspose2d)
            instead |= {convolution: fuse_conv_bn_eval(convolution, norm, transposed), norm: nn.Identity()}
        # In the place of the layer, not in the layer: what else has its weights, such as a tied decoder, keeps them.
        for parent in list(twin.modules()):
            for name, child in parent._modules.items():  # `named_children` leaves out a child's second name
                if child in instead:
                    parent.add_module(name, instead[child])
    return twin


def _pairs(model: nn.Module, inputs: Tensor) -> dict[str, str]:
    """The names of the convolutions that are fused, and of the norms that each is fused with."""
    # Not on shapes alone (`layers.meta`): torch would load all of its compiler for that, which takes seconds.
    twin, watch = twin_of(model).eval(), _Watch()
    for name, layer in twin.named_modules():
        if isinstance(layer, Convolution) and (layer.groups == 1 or isinstance(layer, nn.Conv2d)):
            layer.register_forward_hook(partial(watch.gives, name))
        elif isinstance(layer, nn.BatchNorm2d):
            layer.register_forward_pre_hook(partial(watch.begins, name))
            layer.register_forward_hook(watch.ends)
    with watch:
        twin(inputs)
    return {one: norm for (one, norm), count in watch.pairs.items() if watch.are_alone(one, norm, count)}


class _Watch(TorchFunctionMode):
    """Sees what is done with that which convolutions give.

    pairs  how often the output of a convolution was what a norm was given, by both names
    """

    def __init__(self) -> None:
        super().__init__()
        self.pairs: Counter[tuple[str, str]] = Counter()
        self._runs: Counter[str] = Counter()
        self._gave: dict[int, str] = {}
        self._kept: list[Tensor] = []  # so that no other tensor has the identity of one of these
        self._shared: set[str] = set()  # what something takes that is no norm
        self._in_norm = False

    def are_alone(self, convolution: str, norm: str, count: int) -> bool:
        return convolution not in self._shared and self._runs[convolution] == self._runs[norm] == count

    def gives(self, name: str, layer: nn.Module, given: tuple[Tensor, ...], output: Tensor) -> None:
        self._runs[name] += 1
        self._gave[id(output)] = name
        self._kept.append(output)

    def begins(self, name: str, layer: nn.Module, given: tuple[Tensor, ...]) -> None:
        self._runs[name] += 1
        if id(given[0]) in self._gave:
            self.pairs[self._gave[id(given[0])], name] += 1
        self._in_norm = True

    def ends(self, layer: nn.Module, given: tuple[Tensor, ...], output: Tensor) -> None:
        self._in_norm = False

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        # Asking for a shape or a device (`__get__`) takes no numbers.
        if not self._in_norm and func.__name__ != "__get__":
            taken = (id(one) for one in tensors([*args, *(kwargs or {}).values()]))
            self._shared |= {self._gave[one] for one in taken if one in self._gave}
        return func(*args, **(kwargs or {}))
