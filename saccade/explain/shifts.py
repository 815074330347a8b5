"""Shifts: how the maps of each layer answer when the image is moved, turned or scaled.

Zeiler and Fergus, "Visualizing and Understanding Convolutional Networks", arXiv:1311.2901, section 4, figure 5:
features of an image and of its moved copy, compared layer by layer. Two things are told apart. A layer is invariant
when its answer stays what it was; it is equivariant when the answer moves with the image (Lenc and Vedaldi,
"Understanding image representations by measuring their equivariance and equivalence", CVPR 2015). A convolution is
equivariant; pooling and striding give up the position within a stride; averaging over all places makes what is left
invariant.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from saccade.errors import UsageError
from saccade.explain.fields import Lattice, lattice_of
from saccade.explain.layers import is_map, watch
from saccade.progress import track

Kind = Literal["translate", "rotate", "scale"]
AMOUNTS: dict[str, tuple[float, ...]] = {
    "translate": (0, 1, 2, 3, 4, 6, 8, 12, 16, 24, 32),
    "rotate": (0, 2, 5, 10, 15, 20, 30, 45, 60, 90),
    "scale": (1, 1.05, 1.1, 1.2, 1.35, 1.5, 1.75, 2),
}


@dataclass(frozen=True, eq=False)
class Shifts:
    """How alike the answers to an image and to its moved copy are: correlations, 1 is the same, 0 is unrelated.

    kind          how the image was moved
    amounts       [M] pixels to the right, degrees, or times as large
    layers        L names
    invariance    [L, M] float: the answers as they are
    equivariance  [L, M] float: the first answer moved as the image was; nan of what has no places
    """

    kind: str
    amounts: np.ndarray
    layers: tuple[str, ...]
    invariance: np.ndarray
    equivariance: np.ndarray


@torch.no_grad()
def shifts(
    model: nn.Module,
    inputs: Tensor,
    layers: Sequence[str],
    kind: Kind = "translate",
    amounts: Sequence[float] = (),
    fill: float | Tensor = 0.0,
) -> Shifts:
    """Move one image by several amounts and compare what each layer gives.

    inputs   [1, C, H, W] float, normalised
    amounts  of `kind`; empty for the usual ones
    fill     what comes in from beyond the edge: a normalised value, or one a channel [1, C, 1, 1]

    Each map is compared where it can be: what came in from beyond the edge of the map is left out. The mean of each
    channel is taken off first, so that a channel that says the same everywhere counts neither way.

    Raises UsageError for an unknown kind, or a layer that is not there or runs twice.
    """
    if kind not in AMOUNTS:
        raise UsageError(f"an image is moved by translate, rotate or scale, not {kind!r}")
    steps = np.array(amounts or AMOUNTS[kind], dtype=np.float64)
    if kind == "scale" and (steps <= 0).any():
        raise UsageError(f"a scale must be above 0, got {steps.min():g}")
    size = (inputs.shape[2], inputs.shape[3])
    _, plain = watch(model, layers, lambda: model(inputs))
    lattices = {name: lattice_of(model, name, inputs) if is_map(output) else None for name, output in plain.items()}
    same, moved_too = np.zeros((2, len(layers), len(steps)))
    for m, amount in enumerate(track(steps, f"moving the image ({kind})", len(steps), unit="amounts")):
        matrix = _inverse(kind, float(amount), size)
        copy, _ = _moved(inputs - fill, matrix, Lattice((0.5, 0.5), (1.0, 1.0)))
        _, found = watch(model, layers, lambda copy=copy: model(copy + fill))
        for n, name in enumerate(layers):
            same[n, m] = _alike(plain[name], found[name], None)
            lattice = lattices[name]
            if lattice is None:
                moved_too[n, m] = math.nan
                continue
            expected, known = _moved(plain[name], matrix, lattice)
            moved_too[n, m] = _alike(expected, found[name], known)
    return Shifts(kind, steps, tuple(layers), same, moved_too)


def _inverse(kind: str, amount: float, size: tuple[int, int]) -> np.ndarray:
    """[2, 3] float64: from a pixel of the moved image to where it was, (x, y), about the centre."""
    x, y = size[1] / 2, size[0] / 2
    if kind == "translate":
        return np.array([[1, 0, -amount], [0, 1, 0]], dtype=np.float64)
    if kind == "rotate":
        c, s = math.cos(math.radians(amount)), math.sin(math.radians(amount))
    else:
        c, s = 1 / amount, 0.0
    return np.array([[c, s, x - c * x - s * y], [-s, c, y + s * x - c * y]])


def _moved(maps: Tensor, matrix: np.ndarray, lattice: Lattice) -> tuple[Tensor, Tensor]:
    """Maps [1, C, h, w] moved as the image is, and where [h, w] bool that is known: where it came from inside.

    lattice  where their units look
    """
    first, step = lattice.first, lattice.step
    height, width = maps.shape[2:]
    x = first[0] + step[0] * torch.arange(width, dtype=torch.float64)
    y = first[1] + step[1] * torch.arange(height, dtype=torch.float64)
    places = torch.stack([x.expand(height, width), y[:, None].expand(height, width), torch.ones(height, width)], -1)
    came = places @ torch.from_numpy(matrix).T
    column, row = (came[..., 0] - first[0]) / step[0], (came[..., 1] - first[1]) / step[1]
    slack = 1e-6
    known = (column >= -slack) & (column <= width - 1 + slack) & (row >= -slack) & (row <= height - 1 + slack)
    grid = torch.stack([(2 * column + 1) / width - 1, (2 * row + 1) / height - 1], -1)[None].to(maps)
    result = F.grid_sample(maps, grid, mode="bilinear", padding_mode="zeros", align_corners=False)
    return result, known


def _alike(one: Tensor, other: Tensor, known: Tensor | None) -> float:
    """The correlation of two answers [1, C, ...] of one shape, each channel's mean taken off where there are places."""
    one, other = one.double(), other.double()
    one, other = (one.flatten(2), other.flatten(2)) if one.ndim > 2 else (one, other)
    if known is not None:
        one, other = one[..., known.flatten()], other[..., known.flatten()]
    if one.numel() == 0:
        return math.nan
    axis = 2 if one.ndim == 3 and one.shape[2] > 1 else 1
    one, other = one - one.mean(axis, keepdim=True), other - other.mean(axis, keepdim=True)
    scale = float(one.norm() * other.norm())
    return float((one * other).sum()) / scale if scale > 0 else math.nan
