"""SmoothGrad: the gradient, averaged over copies of the image with noise, so that what flickers cancels out.

Smilkov, Thorat, Kim, Viegas and Wattenberg, "SmoothGrad: removing noise by adding noise", 2017, section 2.2; noise of
10 to 20 percent of the range of the image, fifty copies (section 3.2).
"""

import torch
from torch import Tensor

from saccade.errors import UsageError
from saccade.explain.score import Score, at_once, gradient
from saccade.progress import Progress


def smoothgrad(
    score: Score, inputs: Tensor, noise: float = 0.15, copies: int = 50, batch_size: int = 16, seed: int = 0
) -> Tensor:
    """[B, H, W] float, 0 and more: the absolute mean gradient, the largest over the channels.

    inputs  [B, C, H, W] float, normalised
    noise   its standard deviation as a share of the range of each image
    seed    of the noise, which is the same for all images

    Raises UsageError for less than one copy and for noise below 0, SaccadeError when a gradient is not finite.
    """
    if copies < 1:
        raise UsageError(f"copies must be at least 1, got {copies}")
    if noise < 0:
        raise UsageError(f"noise must be at least 0, got {noise:g}")
    means, batch_size = [], at_once(batch_size, inputs)
    with Progress("looking at copies", len(inputs) * copies, unit="copies") as progress:
        for image in inputs:
            generator = torch.Generator().manual_seed(seed)
            counts = [min(batch_size, copies - done) for done in range(0, copies, batch_size)]
            sigma, total = noise * (image.max() - image.min()), torch.zeros_like(image)
            for count in counts:
                jitter = torch.stack([torch.randn(image.shape, generator=generator) for _ in range(count)]).to(image)
                noisy = (image + sigma * jitter).contiguous(memory_format=torch.channels_last)
                total += gradient(score, noisy).sum(0)
                progress.advance(count)
            means.append(total / copies)
    return torch.stack(means).abs().amax(1)
