"""What the layers of a network give while it runs. Nothing of this stays behind in the network."""

import difflib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, TypeVar

from torch import Tensor, nn

from saccade.errors import UsageError

T = TypeVar("T")
SHOWN = 8  # so many layers are named in an error


def find(model: nn.Module, name: str) -> nn.Module:
    """The layer of this name, as the state dict has it.

    Raises UsageError, with the nearest names, when there is none.
    """
    layers = dict(model.named_modules())
    layers.pop("", None)
    if name in layers:
        return layers[name]
    near = difflib.get_close_matches(name, layers, SHOWN, cutoff=0.4) or list(layers)[:SHOWN]
    raise UsageError(
        f"the network has no layer {name!r}; near ones: {', '.join(near)}. `saccade models NAME --layers` lists all"
    )


def watch(model: nn.Module, names: Iterable[str], run: Callable[[], T]) -> tuple[T, dict[str, Tensor]]:
    """What `run` returns, and what each of these layers gave while it ran.

    run  runs the network once

    What a layer gave is kept as it was: a later layer that works in place changes a copy. Gradients flow through both.

    Raises UsageError for a layer that is not there, did not run, ran more than once (of a shared one nobody can tell
    which use is meant), or gives no tensor. No hook remains, whatever happens.
    """
    layers = {name: find(model, name) for name in names}
    found: dict[str, Tensor] = {}
    handles = []
    try:
        for name, layer in layers.items():
            handles.append(layer.register_forward_hook(_keeper(name, found)))
        result = run()
    finally:
        for handle in handles:
            handle.remove()
    for name in layers:
        if name not in found:
            raise UsageError(f"layer {name} did not run: nothing of this answer goes through it; choose another")
    return result, found


def _keeper(name: str, found: dict[str, Tensor]) -> Callable[[nn.Module, Any, Any], Tensor]:
    def keep(layer: nn.Module, inputs: Any, output: Any) -> Tensor:
        if not isinstance(output, Tensor):
            raise UsageError(
                f"layer {name}, a {type(layer).__name__}, gives a {type(output).__name__}, not one tensor; "
                f"choose a layer in it"
            )
        if name in found:
            raise UsageError(
                f"layer {name}, a {type(layer).__name__}, runs more than once in one look at an image, so its name "
                f"does not say which use is meant; choose the layer before it or after it"
            )
        found[name] = output
        return output.clone()

    return keep


@dataclass(frozen=True, eq=False)
class Call:
    """One use of one layer.

    given   its first input
    output  what it gave
    """

    name: str
    layer: nn.Module
    given: Tensor
    output: Tensor


def watch_all(model: nn.Module, run: Callable[[], T]) -> tuple[T, list[Call]]:
    """What `run` returns, and every use of every layer and block in the order they end; as `watch`."""
    calls: list[Call] = []

    def keeper(name: str) -> Callable[[nn.Module, Any, Any], Tensor | None]:
        def keep(layer: nn.Module, given: Any, output: Any) -> Tensor | None:
            if not isinstance(output, Tensor) or not given or not isinstance(given[0], Tensor):
                return None
            calls.append(Call(name, layer, given[0], output))
            return output.clone()

        return keep

    handles = []
    try:
        for name, layer in model.named_modules():
            if name:
                handles.append(layer.register_forward_hook(keeper(name)))
        return run(), calls
    finally:
        for handle in handles:
            handle.remove()


def is_map(output: Tensor) -> bool:
    """Whether it has spatial extent: [B, C, H, W] of more than one place."""
    return output.ndim == 4 and output.shape[2] * output.shape[3] > 1


def check_map(name: str, output: Tensor) -> None:
    """Raise UsageError when a layer gives no map."""
    if not is_map(output):
        raise UsageError(
            f"layer {name} has no spatial extent: it gives {list(output.shape)}, and a map of channels, rows and "
            f"columns was expected; choose an earlier layer"
        )
