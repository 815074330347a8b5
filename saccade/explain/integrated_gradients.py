"""Integrated gradients: the score's whole way from nothing to the image, shared out among the pixels.

Sundararajan, Taly and Yan, "Axiomatic Attribution for Deep Networks", ICML 2017, equation 1: the difference from a
baseline times the mean gradient on the straight way there. What the pixels get sums to what the score rose by
(completeness, proposition 1); the way is added up at Gauss and Legendre's places.
"""

import numpy as np
import torch
from torch import Tensor

from saccade.errors import UsageError
from saccade.explain.score import Score, at_once, gradient
from saccade.progress import Progress


def integrated_gradients(
    score: Score, inputs: Tensor, baseline: Tensor | None = None, steps: int = 50, batch_size: int = 16
) -> Tensor:
    """[B, C, H, W] float, of normalised images [B, C, H, W]; below 0 speaks against.

    baseline    what counts as nothing, like the inputs; None for 0, the mean of what the network was trained on
    steps       places on the way
    batch_size  so many of them at a time

    Raises UsageError for less than one step, SaccadeError when a gradient is not finite.
    """
    if steps < 1:
        raise UsageError(f"steps must be at least 1, got {steps}")
    baseline = torch.zeros_like(inputs) if baseline is None else baseline.expand_as(inputs)
    places, weights = np.polynomial.legendre.leggauss(steps)
    alphas, weights = (
        torch.tensor(values, dtype=inputs.dtype, device=inputs.device) for values in ((places + 1) / 2, weights / 2)
    )
    means, batch_size = [], at_once(batch_size, inputs)
    with Progress("going from grey to the image", len(inputs) * steps, unit="steps") as progress:
        for image, nothing in zip(inputs, baseline, strict=True):
            total = torch.zeros_like(image)
            for part, share in zip(alphas.split(batch_size), weights.split(batch_size), strict=True):
                on_the_way = nothing + part[:, None, None, None] * (image - nothing)
                slopes = gradient(score, on_the_way.contiguous(memory_format=torch.channels_last))
                total += (slopes * share[:, None, None, None]).sum(0)
                progress.advance(len(part))
            means.append(total)
    return (inputs - baseline) * torch.stack(means)
