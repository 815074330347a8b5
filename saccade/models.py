"""The catalogue. `MODELS` is all there is: nothing registers itself."""

import fnmatch
import inspect
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from saccade.backbones import (
    alexnet,
    bn_inception,
    densenet,
    googlenet,
    inception_resnet_v2,
    inception_v3,
    lenet,
    mobilenet_v2,
    mobilenet_v3,
    nin,
    prelu_net,
    resnet,
    resnext,
    squeezenet,
    vgg,
    wide_resnet,
    zfnet,
)
from saccade.backbones.contract import Backbone
from saccade.backbones.probed import Probed
from saccade.backbones.weights import Weights, resolve
from saccade.errors import SaccadeError, UsageError, unknown
from saccade.layers.dilate import dilate
from saccade.tasks.classify import Classify
from saccade.tasks.contract import Task

MODELS: dict[str, dict[str, Callable[..., Backbone]]] = {
    "classify": {
        "lenet": lenet.lenet,
        "alexnet_2012": alexnet.alexnet_2012,
        "alexnet": alexnet.alexnet,
        "zfnet": zfnet.zfnet,
        "nin": nin.nin,
        "nin_cifar": nin.nin_cifar,
        "vgg11": vgg.vgg11,
        "vgg11_lrn": vgg.vgg11_lrn,
        "vgg13": vgg.vgg13,
        "vgg16_c": vgg.vgg16_c,
        "vgg16": vgg.vgg16,
        "vgg19": vgg.vgg19,
        "vgg11_bn": vgg.vgg11_bn,
        "vgg13_bn": vgg.vgg13_bn,
        "vgg16_bn": vgg.vgg16_bn,
        "vgg19_bn": vgg.vgg19_bn,
        "googlenet_2014": googlenet.googlenet_2014,
        "googlenet_naive": googlenet.googlenet_naive,
        "googlenet": googlenet.googlenet,
        "bn_inception": bn_inception.bn_inception,
        "prelu_net_a": prelu_net.prelu_net_a,
        "prelu_net_b": prelu_net.prelu_net_b,
        "prelu_net_c": prelu_net.prelu_net_c,
        "inception_v3": inception_v3.inception_v3,
        "plain18": resnet.plain18,
        "plain34": resnet.plain34,
        "resnet18": resnet.resnet18,
        "resnet34": resnet.resnet34,
        "resnet50": resnet.resnet50,
        "resnet101": resnet.resnet101,
        "resnet152": resnet.resnet152,
        "resnet50_v1": resnet.resnet50_v1,
        "resnet101_v1": resnet.resnet101_v1,
        "resnet152_v1": resnet.resnet152_v1,
        "plain20_cifar": resnet.plain20_cifar,
        "plain32_cifar": resnet.plain32_cifar,
        "plain44_cifar": resnet.plain44_cifar,
        "plain56_cifar": resnet.plain56_cifar,
        "resnet20_cifar": resnet.resnet20_cifar,
        "resnet32_cifar": resnet.resnet32_cifar,
        "resnet44_cifar": resnet.resnet44_cifar,
        "resnet56_cifar": resnet.resnet56_cifar,
        "resnet110_cifar": resnet.resnet110_cifar,
        "squeezenet1_0": squeezenet.squeezenet1_0,
        "squeezenet1_1": squeezenet.squeezenet1_1,
        "wide_resnet50_2": wide_resnet.wide_resnet50_2,
        "wide_resnet101_2": wide_resnet.wide_resnet101_2,
        "inception_resnet_v2": inception_resnet_v2.inception_resnet_v2,
        "resnext50_32x4d": resnext.resnext50_32x4d,
        "resnext101_32x8d": resnext.resnext101_32x8d,
        "resnext101_64x4d": resnext.resnext101_64x4d,
        "densenet121": densenet.densenet121,
        "densenet161": densenet.densenet161,
        "densenet169": densenet.densenet169,
        "densenet201": densenet.densenet201,
        "densenet_bc_cifar": densenet.densenet_bc_cifar,
        "mobilenet_v2": mobilenet_v2.mobilenet_v2,
        "mobilenet_v3_small": mobilenet_v3.mobilenet_v3_small,
        "mobilenet_v3_large": mobilenet_v3.mobilenet_v3_large,
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
    for what, number, least in (("num_classes", num_classes, 0), ("in_channels", in_channels, 1)):
        if number is not None and (not isinstance(number, int) or number < least):
            raise UsageError(f"{what} must be a whole number of at least {least}, got {number!r}")
    if output_stride is not None and output_stride not in (1, 2, 4, 8, 16, 32, 64):
        raise UsageError(f"output_stride must be 1, 2, 4, 8 ... 64, got {output_stride!r}")
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


def create_probe(
    name: str, num_classes: int, weights: Weights | None = None, in_channels: int | None = None, layer: int = -1
) -> Probed:
    """A network of the catalogue with one linear layer on the mean of one of its maps, in place of its own classifier.

    layer  which map, fine to coarse; -1 for the last

    Raises UsageError where the network has no such map, and as `create_model`.
    """
    encoder = create_model(name, 0, weights, in_channels)
    try:
        return Probed(encoder, num_classes, layer)
    except ValueError as error:
        raise UsageError(f"{name}: {error}") from None


def _maps(model: Backbone, inputs: Tensor) -> list[Tensor]:
    return model.maps(inputs)


def load_weights(model: Backbone, weights: Weights) -> None:
    """Load a published file into a network, in place: all but its last layers must fit, and those too if they can.

    What a network without a classifier has no place for is left out; auxiliary classifiers may be missing in the file.
    """
    state, own = weights.read(), model.state_dict()
    fits = {key for key in own if key in state and state[key].shape == own[key].shape}
    head, auxiliary = _under(own | state, model.head), _under(own, model.auxiliary)
    # Older files lack these counters, and no output depends on them.
    optional = {key for key in own if key.endswith("num_batches_tracked")} | {k for k in auxiliary if k not in state}
    if not (head & own.keys()) - optional <= fits:
        optional |= head
        model.reset_head()
    surplus = state.keys() - own.keys() - head if head & own.keys() else set()
    if unfit := sorted(own.keys() - fits - optional) + sorted(surplus):
        lines = [f"{key}: the network has {_shape(own, key)}, the file {_shape(state, key)}" for key in unfit[:8]]
        more = [f"and {len(unfit) - 8} more"] if len(unfit) > 8 else []
        raise SaccadeError("\n  ".join([f"{weights.path} does not fit the network:", *lines, *more]))
    model.load_state_dict({key: state[key] for key in fits - (head & optional)}, strict=False)


def _under(keys: Iterable[str], prefixes: tuple[str, ...]) -> set[str]:
    """The keys that begin with one of these names."""
    return {key for key in keys if key.startswith(tuple(f"{prefix}." for prefix in prefixes))}


def _shape(state: dict[str, Tensor], key: str) -> str:
    return str(list(state[key].shape)) if key in state else "nothing"


def create_task(name: str, classes: Sequence[str], **options: object) -> Task:
    """The task of this name over these classes."""
    if name not in TASKS:
        raise unknown("task", name, TASKS)
    return TASKS[name](tuple(classes), **options)
