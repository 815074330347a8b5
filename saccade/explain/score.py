"""What is explained: one number an image, differentiable. Every method takes such a function, whatever the task."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor, nn

from saccade.errors import SaccadeError, UsageError
from saccade.explain.layers import check_map, watch

# Of normalised images [B, C, H, W] float: [B] float.
Score = Callable[[Tensor], Tensor]
PIXELS = 1 << 22  # of images that are looked at together: 83 of 224 x 224


def of_class(model: nn.Module, label: int) -> Score:
    """The logit of one class, 0..K-1, of a network that gives [B, K].

    Raises UsageError, when it is asked, for a class out of range.
    """

    def score(inputs: Tensor) -> Tensor:
        logits = model(inputs)
        if not isinstance(logits, Tensor) or logits.ndim != 2:
            raise UsageError(
                f"the network gives {_shape(logits)} and not logits [B, K]: say with a function of your own what "
                f"number of its is to be explained"
            )
        if not 0 <= label < logits.shape[1]:
            raise UsageError(f"there is no class {label}: the network knows 0 to {logits.shape[1] - 1}")
        return logits[:, label]

    return score


def of_unit(model: nn.Module, layer: str, channel: int, place: tuple[int, int] | None = None) -> Score:
    """What one unit of a layer gives, or a whole channel.

    layer    as the state dict names it
    channel  of its output, from 0
    place    (row, column) of the unit in the map; None for the sum of all places

    Raises UsageError, when it is asked, for what the layer does not have.
    """

    return lambda inputs: _given(model, layer, channel, place, inputs).sum(1)


def of_activity(model: nn.Module, layer: str, channel: int, place: tuple[int, int] | None = None) -> Score:
    """Half the squares of what a unit gives, or all units of a channel, where it is above 0: what goes back from each
    unit is then its own activity, and nothing goes back from one that is silent. For the DeconvNet.

    Arguments and errors as of `of_unit`.
    """
    return lambda inputs: _given(model, layer, channel, place, inputs).clamp(min=0).square().sum(1) / 2


def _given(model: nn.Module, layer: str, channel: int, place: tuple[int, int] | None, inputs: Tensor) -> Tensor:
    """[B, n]: what one unit of a layer gives, or each of a channel."""
    _, found = watch(model, [layer], lambda: model(inputs))
    output = found[layer]
    if place is not None:
        check_map(layer, output)
    if output.ndim < 2 or not 0 <= channel < output.shape[1]:
        raise UsageError(f"layer {layer} has channels 0 to {output.shape[1] - 1}, not {channel}")
    if place is None:
        return output[:, channel].reshape(len(output), -1)
    rows, columns = output.shape[2:]
    if not (0 <= place[0] < rows and 0 <= place[1] < columns):
        raise UsageError(f"the maps of layer {layer} have {rows} x {columns} places, and none at {place}")
    return output[:, channel, place[0], place[1], None]


def at_once(batch_size: int, inputs: Tensor) -> int:
    """How many images like these [..., H, W] are looked at together: fewer where they are large, at least one."""
    return max(1, min(batch_size, PIXELS // max(1, inputs.shape[-2] * inputs.shape[-1])))


def gradient(score: Score, inputs: Tensor, way_back: AbstractContextManager[object] | None = None) -> Tensor:
    """The gradient of each score [B] by its own image, like the inputs [B, C, H, W].

    way_back  in which the score is computed: what changes how gradients travel

    Raises SaccadeError when the score does not depend on the inputs, or a gradient is not finite.
    """
    inputs = inputs.detach().clone().requires_grad_()
    with torch.enable_grad(), way_back or nullcontext():
        values = check_scores(score(inputs), inputs)
        if not values.requires_grad:
            raise SaccadeError("the score does not depend on the image in a way that can be differentiated")
        (slopes,) = torch.autograd.grad(values.sum(), inputs, allow_unused=True)
    if slopes is None:
        raise SaccadeError("the score does not depend on the image: it has no gradient")
    check_finite(slopes)
    return slopes.detach()


def check_scores(values: Tensor, inputs: Tensor) -> Tensor:
    """The same, if it is one number an image. Raises UsageError else."""
    if not isinstance(values, Tensor) or values.shape != (len(inputs),):
        raise UsageError(f"a score must be one number an image, [{len(inputs)}], but got {_shape(values)}")
    return values


def check_finite(slopes: Tensor) -> None:
    """Raise SaccadeError when a number is nan or infinite: a picture of it would show nothing true."""
    broken = int((~slopes.isfinite()).sum())
    if broken:
        raise SaccadeError(
            f"{broken:,} of {slopes.numel():,} numbers of the gradient are not finite: the weights or the image are "
            f"damaged, or the numbers too large for {str(slopes.dtype).removeprefix('torch.')}; try float32"
        )


def _shape(value: object) -> str:
    return f"shape {list(value.shape)}" if isinstance(value, Tensor) else f"a {type(value).__name__}"
