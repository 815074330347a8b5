"""Is the explanation true? Two tests that a picture can fail.

Deletion and insertion (Petsiuk, Das and Saenko, "RISE: Randomized Input Sampling for Explanation of Black-box Models",
BMVC 2018, section 4.1): the pixels that are said to matter most are taken away first, or put in first; the area under
the score is small, or large, when it is so.

Weights randomised layer by layer (Adebayo et al., "Sanity Checks for Saliency Maps", NeurIPS 2018, section 3): a
picture that stays the same when the network forgets all it learnt tells of the image, not of the network.
"""

import copy
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from saccade.errors import UsageError
from saccade.explain.occlusion import blurred
from saccade.explain.score import at_once


@dataclass(frozen=True, eq=False)
class Curve:
    """The score as more and more pixels are changed.

    shares  [S + 1] float, of the pixels, 0 to 1
    scores  [S + 1] float
    """

    shares: np.ndarray
    scores: np.ndarray

    @property
    def area(self) -> float:
        """The mean score along the way."""
        return float(np.trapezoid(self.scores, self.shares))


@torch.no_grad()
def deletion(
    ask: Callable[[Tensor], Tensor],
    inputs: Tensor,
    values: Tensor,
    steps: int = 50,
    cell: int = 1,
    grey: Tensor | float = 0.0,
) -> Curve:
    """Pixels become grey, the most important first; a small area is good.

    ask     of [B, C, H, W]: a score [B], best a probability, so that areas can be compared
    inputs  [1, C, H, W] float, normalised
    values  [H, W] float: how important each pixel is said to be
    cell    squares of so many pixels a side go together, by their mean. Pixels taken away one by one leave a noise that
            no network has seen, and even at random they bring every score down (section 4.1 has 1)
    grey    what stands for nothing, normalised; 0 is the mean of what most networks were trained on
    """
    return _curve(ask, inputs, torch.zeros_like(inputs) + grey, values, steps, cell)


@torch.no_grad()
def insertion(ask: Callable[[Tensor], Tensor], inputs: Tensor, values: Tensor, steps: int = 50, cell: int = 1) -> Curve:
    """From the image out of focus pixels become sharp, the most important first; a large area is good.

    Arguments as of `deletion`.
    """
    return _curve(ask, blurred(inputs), inputs, values, steps, cell)


def _curve(
    ask: Callable[[Tensor], Tensor],
    begin: Tensor,
    end: Tensor,
    values: Tensor,
    steps: int,
    cell: int,
    batch_size: int = 16,
) -> Curve:
    if begin.ndim != 4 or len(begin) != 1 or values.shape != begin.shape[2:]:
        raise ValueError(f"values must be {list(begin.shape[2:])}, one a pixel, but got {list(values.shape)}")
    if steps < 1:
        raise UsageError(f"steps must be at least 1, got {steps}")
    cells = F.avg_pool2d(values.float()[None, None], cell, ceil_mode=True)[0, 0]
    order = torch.argsort(cells.flatten(), descending=True, stable=True)
    rank = torch.empty_like(order)
    rank[order] = torch.arange(len(order), device=order.device)
    changed = [round(len(order) * step / steps) for step in range(steps + 1)]
    rank = rank.view(cells.shape).repeat_interleave(cell, 0).repeat_interleave(cell, 1)
    rank = rank[: values.shape[0], : values.shape[1]][None, None].to(begin.device)
    scores = []
    batch_size = at_once(batch_size, begin)
    for start in range(0, len(changed), batch_size):
        counts = torch.tensor(changed[start : start + batch_size], device=begin.device).view(-1, 1, 1, 1)
        mixed = torch.where(rank < counts, end, begin).contiguous(memory_format=torch.channels_last)
        scores.append(ask(mixed).float().cpu())
    return Curve(np.array(changed) / len(order), torch.cat(scores).numpy())


def randomised(model: nn.Module, layers: Sequence[str], seed: int = 0) -> Iterator[tuple[str, nn.Module]]:
    """Copies of a network that know less and less: from the last layer to the first, each begins anew.

    layers  in the order they run

    Gives the name of the layer that was the latest to be forgotten, and the copy, in which all later ones are too; it
    is one and the same copy. Layers that have nothing to forget are passed over.
    """
    twin = copy.deepcopy(model)
    for number, name in enumerate(reversed(layers)):
        layer = twin.get_submodule(name)
        if not hasattr(layer, "reset_parameters"):
            continue
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed + number)
            layer.reset_parameters()  # pyright: ignore[reportCallIssue]
        yield name, twin


def rank_correlation(one: Tensor, other: Tensor) -> float:
    """Spearman's, of the magnitudes of two explanations of one shape: 1 the same order of pixels, 0 unrelated."""
    from scipy.stats import rankdata

    a, b = (rankdata(values.abs().flatten().cpu().numpy()) for values in (one, other))
    a, b = a - a.mean(), b - b.mean()
    scale = float(np.linalg.norm(a) * np.linalg.norm(b))
    return float(a @ b) / scale if scale > 0 else 0.0
