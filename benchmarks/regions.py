"""Maps, images and boxes for detectors: the same on both sides of a measurement.

numpy and torch only, because the peers use it too, in their own environment.
"""

import sys
import time
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

HEIGHT, WIDTH = 800, 1066
BOXES, CHANNELS, STRIDE, BINS = 1000, 256, 4, 7
THINGS = 8  # in each training image
SMALL = 320  # side of the picture of detectors that look once
CANDIDATES = 1000  # pairs of a place and a class that such a detector takes for likely enough to compare


def pooling() -> tuple[Tensor, Tensor, Tensor]:
    """A map [1, 256, 200, 267], boxes [1000, 4] xyxy on the image, and the weights of a loss [1000, 256, 7, 7]."""
    rng = torch.Generator().manual_seed(0)
    maps = torch.randn(1, CHANNELS, HEIGHT // STRIDE, -(-WIDTH // STRIDE), generator=rng)
    boxes = torch.from_numpy(_boxes(BOXES))
    return maps, boxes, torch.randn(BOXES, CHANNELS, BINS, BINS, generator=rng)


def image(count: int) -> np.ndarray:
    """[count, 800, 1066, 3] uint8."""
    return np.random.default_rng(0).integers(256, size=(count, HEIGHT, WIDTH, 3), dtype=np.uint8)


def things() -> tuple[np.ndarray, np.ndarray]:
    """What is in a training image: boxes [8, 4] float32 xyxy, and labels [8] int64, 0..89."""
    return _boxes(THINGS), np.random.default_rng(1).integers(90, size=THINGS)


def small_images(count: int) -> np.ndarray:
    """[count, 320, 320, 3] uint8."""
    return np.random.default_rng(0).integers(256, size=(count, SMALL, SMALL, 3), dtype=np.uint8)


def settle(network: torch.nn.Module, run: Callable[[], object]) -> None:
    """Give norms the statistics of a batch: with those that they begin with a deep network answers next to nothing.

    run  runs the network on some images
    """
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = None  # the mean of all that it sees
    network.train()
    with torch.no_grad():
        run()
    network.eval()


def timed(work: Callable[[], int]) -> Callable[[], tuple[int, float]]:
    """A round of `work`, which says how many of its units it did; one goes before, to warm up."""

    def one_round() -> tuple[int, float]:
        started = time.perf_counter()
        return work(), time.perf_counter() - started

    one_round()
    return one_round


def pool_round(pool: Callable[[Tensor, Tensor], Tensor], channels_last: bool) -> Callable[[], tuple[int, float]]:
    """Pooling a thousand boxes, forward and backward, three times.

    pool           the map and the boxes -> [1000, 256, 7, 7]
    channels_last  the order of memory in which this side's networks hand out their maps
    """
    maps, boxes, weights = pooling()
    maps = maps.to(memory_format=torch.channels_last) if channels_last else maps
    maps.requires_grad_(True)

    def work() -> int:
        for _ in range(3):
            maps.grad = None
            (pool(maps, boxes) * weights).sum().backward()
        return 3 * BOXES

    return timed(work)


def asked() -> str:
    """What sys.argv asks for: pool, predict, step or look."""
    return sys.argv[1]


def _boxes(count: int) -> np.ndarray:
    """[count, 4] float32 xyxy, from 16 to 400 pixels, small ones more often, inside the image."""
    rng = np.random.default_rng(2)
    sizes = np.exp(rng.uniform(np.log(16), np.log(400), (count, 2)))
    low = rng.random((count, 2)) * (np.array([WIDTH, HEIGHT]) - sizes)
    return np.concatenate([low, low + sizes], axis=1).astype(np.float32)
