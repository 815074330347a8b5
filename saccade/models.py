"""The catalogue. `MODELS` is all there is: nothing registers itself."""

import fnmatch
import inspect
import typing
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from saccade.backbones.catalogue import BACKBONES, dilated
from saccade.backbones.contract import Backbone
from saccade.backbones.darknet import Darknet
from saccade.backbones.darknet_weights import is_darknet, named, read_values
from saccade.backbones.probed import Probed
from saccade.backbones.published import WEIGHTS
from saccade.backbones.weights import Weights, at_hand, resolve
from saccade.errors import SaccadeError, UsageError, unknown
from saccade.structures import Skeleton
from saccade.tasks.classify import Classify
from saccade.tasks.contract import OnBackbone, Task
from saccade.tasks.detect import aligned, faster_rcnn, mask_rcnn, ssd, yolov1, yolov3
from saccade.tasks.detect.contract import Detector
from saccade.tasks.detect.task import Detect
from saccade.tasks.segment import deconvnet, deeplab, fcn, pspnet, segnet, unet
from saccade.tasks.segment.contract import Segmenter
from saccade.tasks.segment.image_to_image import ImageToImage
from saccade.tasks.segment.task import Segment

Model = Backbone | Detector | Segmenter

MODELS: dict[str, Mapping[str, Callable[..., Model]]] = {
    "classify": BACKBONES,
    "detect": {
        "fasterrcnn_vgg16": faster_rcnn.fasterrcnn_vgg16,
        "fasterrcnn_c4": faster_rcnn.fasterrcnn_c4,
        "fasterrcnn_fpn": faster_rcnn.fasterrcnn_fpn,
        "fasterrcnn_resnet101_c4": faster_rcnn.fasterrcnn_resnet101_c4,
        "fasterrcnn_resnet50_fpn": faster_rcnn.fasterrcnn_resnet50_fpn,
        "fasterrcnn_resnet101_fpn": faster_rcnn.fasterrcnn_resnet101_fpn,
        "maskrcnn_c4": mask_rcnn.maskrcnn_c4,
        "maskrcnn_fpn": mask_rcnn.maskrcnn_fpn,
        "maskrcnn_resnet101_c4": mask_rcnn.maskrcnn_resnet101_c4,
        "maskrcnn_resnet50_fpn": mask_rcnn.maskrcnn_resnet50_fpn,
        "maskrcnn_resnet101_fpn": mask_rcnn.maskrcnn_resnet101_fpn,
        "maskrcnn_resnext101_fpn": mask_rcnn.maskrcnn_resnext101_fpn,
        "keypointrcnn_fpn": mask_rcnn.keypointrcnn_fpn,
        "keypointrcnn_resnet50_fpn": mask_rcnn.keypointrcnn_resnet50_fpn,
        "aligned": aligned.aligned,
        "aligned_nano": aligned.aligned_nano,
        "aligned_small": aligned.aligned_small,
        "aligned_medium": aligned.aligned_medium,
        "yolov1": yolov1.yolov1,
        "yolov3": yolov3.yolov3,
        "yolov3_tiny": yolov3.yolov3_tiny,
        "ssd": ssd.ssd,
        "ssd300_vgg16": ssd.ssd300_vgg16,
        "ssd512_vgg16": ssd.ssd512_vgg16,
    },
    "segment": {
        "fcn32s": fcn.fcn32s,
        "fcn16s": fcn.fcn16s,
        "fcn8s": fcn.fcn8s,
        "fcn": fcn.fcn,
        "fcn_resnet50": fcn.fcn_resnet50,
        "fcn_resnet101": fcn.fcn_resnet101,
        "deconvnet": deconvnet.deconvnet,
        "segnet": segnet.segnet,
        "unet": unet.unet,
        "pspnet": pspnet.pspnet,
        "deeplabv3": deeplab.deeplabv3,
        "deeplabv3_resnet50": deeplab.deeplabv3_resnet50,
        "deeplabv3_resnet101": deeplab.deeplabv3_resnet101,
    },
    "image_to_image": {"unet_image": unet.unet_image},
}

TASKS: dict[str, type[Classify] | type[Detect] | type[Segment] | type[ImageToImage]] = {
    "classify": Classify,
    "detect": Detect,
    "segment": Segment,
    "image_to_image": ImageToImage,
}


def list_models(pattern: str = "*", task: str | None = None) -> list[str]:
    """The names that match a pattern such as "*resnet*", in the order of the catalogue.

    Raises UsageError for a task that is not there.
    """
    if task is not None and task not in MODELS:
        raise unknown("task", task, MODELS)
    names = [name for kind in ([task] if task else MODELS) for name in MODELS[kind]]
    return [name for name in names if fnmatch.fnmatch(name, pattern)]


def task_of(name: str) -> str:
    """What the network of this name is for, as `MODELS` has it.

    Raises UsageError, naming the nearest one, when there is none.
    """
    for task, models in MODELS.items():
        if name in models:
            return task
    raise unknown("model", name, list_models())


def builder(name: str) -> Callable[..., Model]:
    """What builds the network of this name.

    Raises UsageError, naming the nearest one, when there is none.
    """
    return MODELS[task_of(name)][name]


def class_of(name: str) -> type[Model]:
    """What a network of this name is, by what its builder says that it returns."""
    return typing.get_type_hints(builder(name))["return"]


def create_model(
    name: str,
    num_classes: int | None = None,
    weights: str | Path | Weights | None = None,
    in_channels: int | None = None,
    output_stride: int | None = None,
    **options: Any,
) -> Model:
    """The bare network, on normalised float input [B, C, H, W]; channels-last in memory.

    num_classes    None for as many as the paper has; 0 for no classifier: the network then gives pooled features
    weights        "imagenet", "coco" or another published name, the path of a .safetensors or .pth file, or None for
                   none. When `num_classes` differs from the file's, the last layer starts anew and all else is
                   loaded. A detector takes the weights of a classifier for its backbone
    in_channels    None for as many as the paper has
    output_stride  the coarsest map has so many input pixels a pixel: filters are dilated where they would stride on
    options        what this network's builder takes besides, such as `dropout` or `backbone`

    Raises UsageError for an unknown name or options it cannot be built with, SaccadeError when weights cannot be had or
    do not fit.
    """
    fewest = 0 if task_of(name) == "classify" else 1
    for what, number, least in (("num_classes", num_classes, fewest), ("in_channels", in_channels, 1)):
        if number is not None and (not isinstance(number, int) or number < least):
            raise UsageError(f"{what} must be a whole number of at least {least}, got {number!r}")
    if output_stride is not None and output_stride not in (1, 2, 4, 8, 16, 32, 64):
        raise UsageError(f"output_stride must be 1, 2, 4, 8 ... 64, got {output_stride!r}")
    check_options(name, options)
    sizes = {"num_classes": num_classes, "in_channels": in_channels}
    model = _built(name, options | {key: value for key, value in sizes.items() if value is not None})
    if in_channels is not None:
        model.in_channels = in_channels
    if weights is not None:
        load_weights(model, weights if isinstance(weights, Weights) else find_weights(name, weights, **options))
    if output_stride is not None:
        if not isinstance(model, Backbone):
            raise UsageError(f"output_stride is for backbones; {name} is made for the strides of its own")
        dilated(model, output_stride)
    # Convolutions are fastest in this order of memory, on processors and GPUs alike.
    return model.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]  (missing in torch's stubs)


def options_of(name: str) -> list[str]:
    """What the network's builder takes besides the number of classes, which the data say."""
    return [option for option in inspect.signature(builder(name)).parameters if option != "num_classes"]


def check_options(name: str, options: Mapping[str, Any]) -> None:
    """Raise UsageError, naming the nearest one, for an option that the network's builder does not take, and for a
    number that is too small for any."""
    known = options_of(name)
    for option, value in options.items():
        if option not in known:
            raise unknown(f"option of {name} called", option, known)
        usual = inspect.signature(builder(name)).parameters[option].default
        if not (_is_number(usual) and _is_number(value)):
            continue
        # What is 0 unless it is said otherwise, and what is no whole number, may be 0.
        whole = isinstance(usual, int)
        least = 1 if whole and usual else 0
        if value < least or (whole and value % 1):
            raise UsageError(
                f"{name}: {option} must be a {'whole ' if whole else ''}number of at least {least}, got {value}"
            )


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _built(name: str, options: Mapping[str, Any]) -> Model:
    try:
        return builder(name)(**options)
    except (TypeError, ValueError, RuntimeError, ZeroDivisionError, IndexError) as error:
        given = {key: value for key, value in options.items() if key not in ("num_classes", "in_channels")}
        raise UsageError(f"{name} cannot be built with network={given}: {error}") from error


def find_weights(name: str, weights: str | Path, **options: Any) -> Weights:
    """The file of these weights for this network: its own, or of a detector those of its backbone.

    options  as of `create_model`

    Raises UsageError for a name that is not published, SaccadeError when the file cannot be had or is not intact.
    """
    text = str(weights)
    its_own = text in WEIGHTS.get(name, {}) or at_hand(name, text)
    if task_of(name) == "classify" or its_own or Path(text).suffix or Path(text).is_file():
        return resolve(name, weights)
    backbone = on_paper(name, options).trunk.name
    its, theirs = WEIGHTS.get(name, {}), WEIGHTS.get(backbone, {})
    others = [own for own in MODELS[task_of(name)] if text in WEIGHTS.get(own, {})]
    if text in theirs or at_hand(backbone, text):
        return resolve(backbone, text)
    if others:
        beside = f"; its backbone, {backbone}, has {', '.join(theirs)}" if theirs else ""
        raise UsageError(f"{name} has no weights called {text}, but {', '.join(others)} have{beside}")
    if not theirs and any(text in published for published in WEIGHTS.values()):
        another = "; give another: --backbone mobilenet_v2" if "backbone" in options_of(name) else ""
        raise UsageError(f"nobody publishes weights of {name}'s backbone, {backbone}, called {text}{another}")
    if its or theirs:
        raise unknown(f"weights of {name} called", text, [*its, *theirs])
    return resolve(backbone, text)


def on_paper(name: str, options: Mapping[str, Any]) -> Model:
    """A network of shapes alone, without numbers.

    options  what its builder takes besides the number of classes

    Raises UsageError when it cannot be built with these.
    """
    with torch.device("meta"):
        return _built(name, options)


def create_probe(
    name: str, num_classes: int, weights: Weights | None = None, in_channels: int | None = None, layer: int = -1
) -> Probed:
    """A network of the catalogue with one linear layer on the mean of one of its maps, in place of its own classifier.

    layer  which map, fine to coarse; -1 for the last

    Raises UsageError where the network has no such map, and as `create_model`.
    """
    if task_of(name) != "classify":
        raise UsageError(f"a probe asks what the features of a classifier know, and {name} is for {task_of(name)}")
    encoder = create_model(name, 0, weights, in_channels)
    assert isinstance(encoder, Backbone)
    encoder.name = name
    try:
        return Probed(encoder, num_classes, layer)
    except ValueError as error:
        raise UsageError(f"{name}: {error}") from None


def is_whole(model: Model, weights: Weights) -> bool:
    """Whether a file is of such a network as it is, or of its backbone alone."""
    return bool(_state_of(model, weights).keys() & model.state_dict().keys())


def load_weights(model: Model, weights: Weights) -> None:
    """Load a published file into a network, in place: all but its last layers must fit, and those too if they can.

    What a network without a classifier has no place for is left out; auxiliary classifiers may be missing in the file.
    What fits nothing of a detector is for its backbone.
    """
    state, own = _state_of(model, weights), model.state_dict()
    if not state.keys() & own.keys():
        model = model.trunk
        own = model.state_dict()
    fits = {key for key in own if key in state and state[key].shape == own[key].shape}
    head, auxiliary = _under(own | state, model.last_layers), _under(own, model.auxiliary)
    # Older files lack these counters, and no output depends on them.
    optional = {key for key in own if key.endswith("num_batches_tracked")} | {k for k in auxiliary if k not in state}
    unfit_heads = [one for one in model.last_layers if not (_under(own, (one,)) - optional) <= fits]
    if unfit_heads and isinstance(model, OnBackbone):
        model.reset_head(unfit_heads)
    elif unfit_heads:
        unfit_heads = list(model.last_layers)
        model.reset_head()
    optional |= _under(own | state, tuple(unfit_heads))
    surplus = state.keys() - own.keys() - head if head & own.keys() else set()
    if unfit := sorted(own.keys() - fits - optional) + sorted(surplus):
        lines = [f"{key}: the network has {_shape(own, key)}, the file {_shape(state, key)}" for key in unfit[:8]]
        more = [f"and {len(unfit) - 8} more"] if len(unfit) > 8 else []
        raise SaccadeError("\n  ".join([f"{weights.path} does not fit the network:", *lines, *more]))
    fresh = _under(own, tuple(unfit_heads))
    model.load_state_dict({key: state[key] for key in fits - fresh}, strict=False)


def _state_of(model: Model, weights: Weights) -> dict[str, Tensor]:
    """The tensors of a file, under the names of the network or of its trunk."""
    if not is_darknet(weights.path):
        return weights.read()
    if not isinstance(model.trunk, Darknet):
        here = f"the backbone here is {model.trunk.name}" if model.trunk.name else "this is another network"
        raise UsageError(
            f"{weights.path} has Darknet's weights, which fit {', '.join(list_models('darknet*'))}, extraction, and "
            f"detectors on one of these, such as {', '.join(list_models('yolov3*'))}; but {here}"
        )
    return named(read_values(weights.path), model, model.trunk, weights.path)


def _under(keys: Iterable[str], prefixes: tuple[str, ...]) -> set[str]:
    """The keys that begin with one of these names."""
    return {key for key in keys if key.startswith(tuple(f"{prefix}." for prefix in prefixes))}


def _shape(state: dict[str, Tensor], key: str) -> str:
    return str(list(state[key].shape)) if key in state else "nothing"


def create_task(
    name: str, classes: Sequence[str], model: Model, skeleton: Skeleton | None = None, **options: Any
) -> Task:
    """What is asked of a network, over these classes.

    skeleton  what the keypoints are that it finds, where it finds some
    """
    if name not in TASKS:
        raise unknown("task", name, TASKS)
    if isinstance(model, Detector):
        options |= {"kinds": model.finds, "skeleton": skeleton}
    return TASKS[name](tuple(classes), **options)
