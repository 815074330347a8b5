"""What is explained: one number an image, differentiable. Every method takes such a function, whatever the task."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor, nn

from saccade.errors import SaccadeError, UsageError
from saccade.explain.layers import check_map, watch

# Of normalised images [B, C, H, W] float: [B] float.
Score = Callable[[Tensor], Tensor]


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

    def score(inputs: Tensor) -> Tensor:
        _, found = watch(model, [layer], lambda: model(inputs))
        output = found[layer]
        if place is not None:
            check_map(layer, output)
        if output.ndim < 2 or not 0 <= channel < output.shape[1]:
            raise UsageError(f"layer {layer} has channels 0 to {output.shape[1] - 1}, not {channel}")
        if place is None:
            return output[:, channel].flatten(1).sum(1) if output.ndim > 2 else output[:, channel]
        rows, columns = output.shape[2:]
        if not (0 <= place[0] < rows and 0 <= place[1] < columns):
            raise UsageError(f"the maps of layer {layer} have {rows} x {columns} places, and none at {place}")
        return output[:, channel, place[0], place[1]]

    return score


def gradient(
    score: Score,
    inputs: Tensor,
    way_back: AbstractContextManager[object] | None = None,
    begin: Callable[[Tensor], Tensor] = torch.ones_like,
) -> Tensor:
    """The gradient of each score [B] by its own image, like the inputs [B, C, H, W].

    way_back  in which the score is computed: what changes how gradients travel
    begin     of the scores: what goes back from each; 1 is the gradient

    Raises SaccadeError when the score does not depend on the inputs, or a gradient is not finite.
    """
    inputs = inputs.detach().clone().requires_grad_()
    with torch.enable_grad(), way_back or nullcontext():
        values = check_scores(score(inputs), inputs)
        if not values.requires_grad:
            raise SaccadeError("the score does not depend on the image in a way that can be differentiated")
        (slopes,) = torch.autograd.grad(values, inputs, begin(values.detach()), allow_unused=True)
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
