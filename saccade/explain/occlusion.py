"""Occlusion: what the score loses when a square of the image is covered.

Zeiler and Fergus, "Visualizing and Understanding Convolutional Networks", ECCV 2014, section 4.2, figure 6: a grey
square slides over the image; at each place the probability of the true class, the most probable class, and the total
activity of one feature map are written down. The only method here that asks nothing but answers of the network.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from saccade.errors import SaccadeError, UsageError
from saccade.explain.score import at_once
from saccade.layers.blur import gaussian_blur
from saccade.progress import Progress

BLUR = 10  # pixels: the standard deviation of what is put in the place of a blurred square, as of 224 pixels


@dataclass(frozen=True, eq=False)
class Occlusion:
    """What was said with the square at each place.

    before  [M] float, of the whole image: the M numbers that were asked for
    after   [R, S, M] float, with the square at each of R x S places
    size    (height, width) of the image
    square  (height, width)
    stride  (rows, columns) from one place to the next; at the end the square is cut off by the edge
    """

    before: Tensor
    after: Tensor
    size: tuple[int, int]
    square: tuple[int, int]
    stride: tuple[int, int]

    def drop(self) -> Tensor:
        """[M, H, W] float: how much each number loses, on average of all squares that cover the pixel."""
        lost = (self.before - self.after).permute(2, 0, 1)
        counts = torch.ones_like(lost[:1])
        total, covered = (self._spread(grid) for grid in (lost, counts))
        return total / covered

    def _spread(self, grid: Tensor) -> Tensor:
        """[M, H, W]: for each pixel the sum [M, R, S] of all squares that cover it."""
        rows, columns = grid.shape[1:]
        ones = grid.new_ones(1, 1, *self.square)
        reach = [(n - 1) * step + side for n, step, side in zip((rows, columns), self.stride, self.square, strict=True)]
        sums = F.conv_transpose2d(grid[:, None], ones, stride=self.stride)[:, 0]
        assert list(sums.shape[1:]) == reach
        return sums[:, : self.size[0], : self.size[1]]


@torch.no_grad()
def occlusion(
    ask: Callable[[Tensor], Tensor],
    inputs: Tensor,
    square: int | tuple[int, int] = 32,
    stride: int | tuple[int, int] | None = None,
    fill: float | str | Tensor = 0.0,
    batch_size: int = 32,
) -> Occlusion:
    """Slide a square over one image.

    ask         of [B, C, H, W]: the numbers [B] or [B, M] to be written down: a score, probabilities, an activity
    inputs      [1, C, H, W] float, normalised
    square      its side, or (height, width), in pixels
    stride      from one place to the next; None for half of the square
    fill        what covers: a normalised value, 0 being the mean of what the network was trained on; "blur" for the
                image itself, out of focus; or an image like the inputs
    batch_size  places looked at together

    Raises UsageError when the square does not go into the image or leaves pixels out, SaccadeError when an answer is
    not a number. What comes back lies in the memory of the processor.
    """
    if inputs.ndim != 4 or len(inputs) != 1:
        raise ValueError(f"occlusion takes one image [1, C, H, W] but got {list(inputs.shape)}")
    size, square = (inputs.shape[2], inputs.shape[3]), _pair(square)
    stride = (max(1, square[0] // 2), max(1, square[1] // 2)) if stride is None else _pair(stride)
    if min(square) < 1 or min(stride) < 1:
        raise UsageError(f"the square and its stride must have at least 1 pixel, got {square} and {stride}")
    if stride[0] > square[0] or stride[1] > square[1]:
        raise UsageError(
            f"with a square of {square[0]} x {square[1]} pixels every {stride[0]} x {stride[1]} some pixels are never "
            f"covered; choose a stride no larger than the square"
        )
    if square[0] > size[0] or square[1] > size[1]:
        raise UsageError(
            f"the image has {size[0]} x {size[1]} pixels, as the network sees it, and a square of {square[0]} x "
            f"{square[1]} does not go into it; choose a smaller one"
        )
    if isinstance(fill, str) and fill != "blur":
        raise UsageError(f'fill is a number, an image, or "blur", got {fill!r}')
    cover = blurred(inputs) if isinstance(fill, str) else torch.as_tensor(fill, dtype=inputs.dtype).expand_as(inputs)
    counts = [1 + math.ceil((length - side) / step) for length, side, step in zip(size, square, stride, strict=True)]
    places = [(row * stride[0], column * stride[1]) for row in range(counts[0]) for column in range(counts[1])]
    before = _numbers(ask(inputs), 1)
    after, batch_size = [], at_once(batch_size, inputs)
    with Progress("covering", len(places), unit="places") as progress:
        for start in range(0, len(places), batch_size):
            part = places[start : start + batch_size]
            covered = inputs.repeat(len(part), 1, 1, 1).contiguous(memory_format=torch.channels_last)
            for one, (top, left) in zip(covered, part, strict=True):
                window = (..., slice(top, top + square[0]), slice(left, left + square[1]))
                one[window] = cover[0][window]
            after.append(_numbers(ask(covered), len(part)))
            progress.advance(len(part))
    return Occlusion(before[0], torch.cat(after).unflatten(0, counts), size, square, stride)


def blurred(inputs: Tensor) -> Tensor:
    """Images [B, C, H, W] out of focus, in proportion to their size, mirrored at the edges."""
    return gaussian_blur(inputs, BLUR * min(inputs.shape[2:]) / 224, mirrored=True)


def _numbers(answer: Tensor, count: int) -> Tensor:
    """[B, M] of [B] or [B, M]."""
    if answer.ndim not in (1, 2) or len(answer) != count:
        raise UsageError(
            f"of {count} images one number or one row of numbers each was expected, got {list(answer.shape)}"
        )
    answer = (answer[:, None] if answer.ndim == 1 else answer).float().cpu()
    if answer.isnan().any():
        raise SaccadeError("the network's answers are not numbers: the weights or the image are damaged")
    return answer


def _pair(value: int | tuple[int, int]) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else (value[0], value[1])
