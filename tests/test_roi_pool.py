"""RoIAlign and RoIPool against their definitions, pixel by pixel."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from saccade.layers.roi_pool import roi_align, roi_pool


def bilinear(plane: np.ndarray, y: float, x: float) -> float:
    """The value between the centres of pixels that lie at whole numbers; 0 more than a pixel outside."""
    height, width = plane.shape
    if y < -1 or y > height or x < -1 or x > width:
        return 0.0
    y, x = min(max(y, 0), height - 1), min(max(x, 0), width - 1)
    top, left = int(y), int(x)
    bottom, right = min(top + 1, height - 1), min(left + 1, width - 1)
    down, across = y - top, x - left
    upper = (1 - across) * plane[top, left] + across * plane[top, right]
    lower = (1 - across) * plane[bottom, left] + across * plane[bottom, right]
    return (1 - down) * upper + down * lower


def align_by_hand(
    plane: np.ndarray, box: list[float], bins: int, scale: float, samples: int, aligned: bool
) -> np.ndarray:
    shift = 0.5 if aligned else 0.0
    left, top, right, bottom = (value * scale - shift for value in box)
    wide, high = right - left, bottom - top
    if not aligned:
        wide, high = max(wide, 1.0), max(high, 1.0)
    result = np.zeros((bins, bins))
    for row in range(bins):
        for column in range(bins):
            values = [
                bilinear(
                    plane,
                    top + (row + (i + 0.5) / samples) * high / bins,
                    left + (column + (j + 0.5) / samples) * wide / bins,
                )
                for i in range(samples)
                for j in range(samples)
            ]
            result[row, column] = np.mean(values)
    return result


def pool_by_hand(plane: np.ndarray, box: list[float], bins: int, scale: float) -> np.ndarray:
    left, top, right, bottom = (math.floor(value * scale + 0.5) for value in box)
    wide, high = max(right - left + 1, 1), max(bottom - top + 1, 1)
    result = np.zeros((bins, bins))
    for row in range(bins):
        for column in range(bins):
            y0, y1 = top + row * high // bins, top + math.ceil((row + 1) * high / bins)
            x0, x1 = left + column * wide // bins, left + math.ceil((column + 1) * wide / bins)
            y0, y1 = min(max(y0, 0), plane.shape[0]), min(max(y1, 0), plane.shape[0])
            x0, x1 = min(max(x0, 0), plane.shape[1]), min(max(x1, 0), plane.shape[1])
            part = plane[y0:y1, x0:x1]
            result[row, column] = part.max() if part.size else 0.0
    return result


coordinates = st.floats(-30, 130, width=32)
boxes = st.tuples(coordinates, coordinates, st.floats(0, 90, width=32), st.floats(0, 90, width=32)).map(
    lambda box: [box[0], box[1], box[0] + box[2], box[1] + box[3]]
)


@given(st.lists(boxes, min_size=1, max_size=4), st.integers(1, 3), st.integers(1, 4), st.booleans(), st.integers(0, 9))
@settings(deadline=None, max_examples=60)
def test_align_is_its_definition(own: list[list[float]], samples: int, bins: int, aligned: bool, seed: int) -> None:
    rng = np.random.default_rng(seed)
    maps = rng.normal(size=(2, 3, 9, 12)).astype(np.float32)
    images = rng.integers(0, 2, len(own))
    found = roi_align(
        torch.from_numpy(maps), torch.tensor(own), torch.from_numpy(images), (bins, bins), 1 / 8, samples, aligned
    )
    for n, (box, image) in enumerate(zip(own, images, strict=True)):
        for channel in range(3):
            expected = align_by_hand(maps[image, channel], box, bins, 1 / 8, samples, aligned)
            assert found[n, channel].numpy() == pytest.approx(expected, abs=2e-4)


@given(st.lists(boxes, min_size=1, max_size=4), st.integers(1, 4), st.integers(0, 9))
@settings(deadline=None, max_examples=60)
def test_pool_is_its_definition(own: list[list[float]], bins: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    maps = rng.normal(size=(2, 3, 9, 12)).astype(np.float32)
    images = rng.integers(0, 2, len(own))
    found = roi_pool(torch.from_numpy(maps), torch.tensor(own), torch.from_numpy(images), (bins, bins), 1 / 8)
    for n, (box, image) in enumerate(zip(own, images, strict=True)):
        for channel in range(3):
            assert np.array_equal(found[n, channel].numpy(), pool_by_hand(maps[image, channel], box, bins, 1 / 8))


def test_align_of_a_plane_is_its_value_at_the_middle_of_each_bin() -> None:
    """Bilinear reading is exact on what is linear: the mean of a bin's points is the value at its middle."""
    y, x = torch.meshgrid(torch.arange(20.0), torch.arange(30.0), indexing="ij")
    plane = (2 * x - 3 * y)[None, None]
    found = roi_align(plane, torch.tensor([[4.0, 8.0, 60.0, 36.0]]), torch.zeros(1, dtype=torch.long), (2, 2), 0.25)
    for row in range(2):
        for column in range(2):
            middle = 2 * (1 + 7 * column + 3.5) - 3 * (2 + 3.5 * row + 1.75)
            assert found[0, 0, row, column].item() == pytest.approx(middle, abs=1e-4)


@pytest.mark.parametrize("pool", [roi_align, roi_pool])
def test_gradients_reach_the_pixels_that_were_read(pool: object) -> None:
    """Against the sum over all pixels of gradient times what the pixel adds: numerical differentiation."""
    torch.manual_seed(0)
    maps = torch.randn(1, 2, 6, 7, dtype=torch.float64 if pool is roi_align else torch.float32).float()
    own, images = torch.tensor([[3.0, 5.0, 40.0, 33.0], [10.0, 2.0, 22.0, 44.0]]), torch.zeros(2, dtype=torch.long)
    weights = torch.randn(2, 2, 3, 3)

    def value(of: Tensor) -> Tensor:
        return (pool(of, own, images, (3, 3), 1 / 8) * weights).sum()  # type: ignore[operator]

    maps.requires_grad_(True)
    value(maps).backward()
    assert maps.grad is not None
    with torch.no_grad():
        for place in ((0, 0, 1, 2), (0, 1, 3, 3), (0, 0, 5, 6), (0, 1, 0, 1)):
            near = maps.detach().clone()
            near[place] += 1e-3
            slope = (value(near) - value(maps)).item() / 1e-3
            assert maps.grad[place].item() == pytest.approx(slope, abs=2e-2)


@pytest.mark.parametrize("pool", [roi_align, roi_pool])
def test_no_boxes(pool: object) -> None:
    found = pool(torch.randn(1, 5, 4, 4), torch.zeros(0, 4), torch.zeros(0, dtype=torch.long), (3, 2), 0.5)  # type: ignore[operator]
    assert found.shape == (0, 5, 3, 2)


def test_channels_last_maps_give_the_same() -> None:
    maps, own = torch.randn(2, 8, 10, 11), torch.rand(20, 2) * 60
    own = torch.cat([own, own + 20], dim=1)
    images = torch.arange(20) % 2
    plain = roi_align(maps, own, images, (7, 7), 1 / 8)
    assert torch.equal(plain, roi_align(maps.contiguous(memory_format=torch.channels_last), own, images, (7, 7), 1 / 8))
