"""The catalogue. `MODELS` is all there is: nothing registers itself."""

import fnmatch
import inspect
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from saccade.backbones import lenet, resnet, squeezenet
from saccade.backbones.contract import Backbone
from saccade.backbones.weights import Weights, read_state, resolve
from saccade.errors import SaccadeError, unknown
from saccade.layers.dilate import dilate
from saccade.tasks.classify import Classify
from saccade.tasks.contract import Task

MODELS: dict[str, dict[str, Callable[..., Backbone]]] = {
    "classify": {
        "lenet": lenet.lenet,
        "resnet18": resnet.resnet18,
        "resnet34": resnet.resnet34,
        "resnet50": resnet.resnet50,
        "resnet101": resnet.resnet101,
        "resnet152": resnet.resnet152,
        "resnet20_cifar": resnet.resnet20_cifar,
        "resnet32_cifar": resnet.resnet32_cifar,
        "resnet44_cifar": resnet.resnet44_cifar,
        "resnet56_cifar": resnet.resnet56_cifar,
        "resnet110_cifar": resnet.resnet110_cifar,
        "squeezenet1_0": squeezenet.squeezenet1_0,
        "squeezenet1_1": squeezenet.squeezenet1_1,
    },
}

TASKS: dict[str, Callable[..., Task]] = {"classify": Classify}


def list_models(pattern: str = "*", task: str | None = None) -> list[str]:
    """The names that match a pattern such as "*resnet*", in the order of the catalogue.

    Raises UsageError for a task that is not there.
    """
    if task is not None and task not in MODELS:
        raise unknown("task", task, MODELS)
    names = [name for kind in ([task] if task else MODELS) for name in MODELS[kind]]
    return [name for name in names if fnmatch.fnmatch(name, pattern)]


def builder(name: str) -> Callable[..., Backbone]:
    """What builds the network of this name.

    Raises UsageError, naming the nearest one, when there is none.
    """
    for models in MODELS.values():
        if name in models:
            return models[name]
    raise unknown("model", name, list_models())


def create_model(
    name: str,
    num_classes: int | None = None,
    weights: str | Path | Weights | None = None,
    in_channels: int | None = None,
    output_stride: int | None = None,
    **options: Any,
) -> Backbone:
    """The bare network, on normalised float input [B, C, H, W]; channels-last in memory.

    num_classes    None for as many as the paper has; 0 for no classifier: the network then gives pooled features
    weights        "imagenet" or another published name, the path of a .safetensors or .pth file, or None for none.
                   When `num_classes` differs from the file's, the last layer starts at zero and all else is loaded
    in_channels    None for as many as the paper has
    output_stride  the coarsest map has so many input pixels a pixel: filters are dilated where they would stride on
    options        what this network's builder takes besides, such as `dropout`

    Raises UsageError for an unknown name, SaccadeError when weights cannot be had or do not fit.
    """
    build = builder(name)
    options |= {"num_classes": num_classes, "in_channels": in_channels}
    try:
        model = build(**{key: value for key, value in options.items() if value is not None})
    except TypeError:
        for option in options:
            if option not in (known := inspect.signature(build).parameters):
                raise unknown(f"option of {name} called", option, known) from None
        raise
    if weights is not None:
        load_weights(model, weights if isinstance(weights, Weights) else resolve(name, weights))
    if output_stride is not None:
        probe = torch.empty(1, in_channels or model.in_channels, 512, 512, device="meta")
        dilate(model, probe, output_stride, run=_maps)
        model.strides = tuple(min(stride, output_stride) for stride in model.strides)
    # Convolutions are fastest in this order of memory, on processors and GPUs alike.
    return model.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]  (missing in torch's stubs)


def _maps(model: Backbone, inputs: Tensor) -> list[Tensor]:
    return model.maps(inputs)


def load_weights(model: Backbone, weights: Weights) -> None:
    """Load a published file into a network, in place; all but the classifier must fit, and that too if it can."""
    state, own = read_state(weights.path), model.state_dict()
    head = {key for key in own | state if key.startswith(tuple(f"{prefix}." for prefix in model.head))}
    fits = {key for key in own if key in state and state[key].shape == own[key].shape}
    # Older files lack these counters, and no output depends on them.
    optional = {key for key in own if key.endswith("num_batches_tracked")}
    if not head & own.keys() <= fits:
        optional |= head
        model.reset_head()
    if unfit := sorted(own.keys() - fits - optional) + sorted(state.keys() - own.keys() - head):
        lines = [f"{key}: the network has {_shape(own, key)}, the file {_shape(state, key)}" for key in unfit[:8]]
        more = [f"and {len(unfit) - 8} more"] if len(unfit) > 8 else []
        raise SaccadeError("\n  ".join([f"{weights.path} does not fit the network:", *lines, *more]))
    model.load_state_dict({key: state[key] for key in fits - (head & optional)}, strict=False)


def _shape(state: dict[str, Tensor], key: str) -> str:
    return str(list(state[key].shape)) if key in state else "nothing"


def create_task(name: str, classes: Sequence[str], **options: object) -> Task:
    """The task of this name over these classes."""
    if name not in TASKS:
        raise unknown("task", name, TASKS)
    return TASKS[name](tuple(classes), **options)
