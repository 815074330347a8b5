"""How near an image comes to the one that was wanted.

PSNR  10 log10(255^2 / mean squared difference), in decibels, of an image; the mean over the images. Of equal images
      it is 10 log10(255^2 / (1 / 12)), as near as whole numbers can be told apart: 58.9
SSIM  Wang et al., "Image Quality Assessment", 2004, equation 13, in its window of 11 x 11 pixels whose weights fall
      like a Gaussian; smaller images have none
l1    the mean absolute difference, in percent of the range
"""

import math
from typing import NamedTuple

import cv2
import numpy as np

from saccade.structures import ColourMap

WINDOW, DEVIATION = 11, 1.5  # pixels: the side of what SSIM looks at, and how its weight falls
STRIP = 512  # rows that are compared at a time: a large image takes many times its size
STEADY = ((0.01 * 255) ** 2, (0.03 * 255) ** 2)  # C1 and C2 of equation 13
ROUNDING = 1 / 12  # the variance of what rounding to whole numbers takes away


class Outcome(NamedTuple):
    """One image: the mean squared and the mean absolute difference, of values 0 to 255; and SSIM, nan without one."""

    squared: float
    absolute: float
    ssim: float

    @property
    def psnr(self) -> float:
        """In decibels."""
        return 10 * math.log10(255**2 / max(self.squared, ROUNDING))


class ImageMetric:
    """Keeps one small record an image, by the image's id."""

    def __init__(self) -> None:
        self.outcomes: dict[str, Outcome] = {}

    def update(self, prediction: ColourMap, truth: ColourMap, id: str) -> None:
        """Count one image, both in original pixels."""
        if prediction.size != truth.size:
            raise ValueError(f"image {id}: the prediction is {prediction.size} (height, width), the truth {truth.size}")
        self.outcomes[id] = compare(prediction.pixels, truth.pixels)

    def merge(self, other: "ImageMetric") -> None:
        """Add what another process has counted."""
        self.outcomes |= other.outcomes

    def result(self) -> dict[str, float]:
        """psnr in decibels; ssim and l1 in percent; nan where no image has one."""
        outcomes = list(self.outcomes.values())
        return {
            "psnr": _mean([outcome.psnr for outcome in outcomes]),
            "ssim": 100 * _mean([outcome.ssim for outcome in outcomes]),
            "l1": 100 / 255 * _mean([outcome.absolute for outcome in outcomes]),
        }


def compare(one: np.ndarray, other: np.ndarray) -> Outcome:
    """Two images [H, W, 3] uint8."""
    squared = absolute = 0.0
    for row in range(0, len(one), STRIP):
        away = one[row : row + STRIP].astype(np.float32) - other[row : row + STRIP]
        squared += float((away**2).sum(dtype=np.float64))
        absolute += float(np.abs(away).sum(dtype=np.float64))
    return Outcome(squared / one.size, absolute / one.size, similarity(one, other))


def similarity(one: np.ndarray, other: np.ndarray) -> float:
    """SSIM of two images [H, W, 3] uint8; nan where they are smaller than its window."""
    height, width = (length - WINDOW + 1 for length in one.shape[:2])
    if min(height, width) < 1:
        return math.nan
    strips = (slice(row, min(row + STRIP, height) + WINDOW - 1) for row in range(0, height, STRIP))
    return math.fsum(_similarities(one[rows], other[rows]).sum() for rows in strips) / (height * width * 3)


def _similarities(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """SSIM at every place of the window, [h, w, 3]."""
    x, y = one.astype(np.float64), other.astype(np.float64)
    edge = WINDOW // 2

    def mean(values: np.ndarray) -> np.ndarray:
        blurred = cv2.GaussianBlur(values, (WINDOW, WINDOW), DEVIATION)
        return blurred[edge : len(values) - edge, edge : values.shape[1] - edge]

    mean_x, mean_y = mean(x), mean(y)
    var_x, var_y, shared = mean(x * x) - mean_x**2, mean(y * y) - mean_y**2, mean(x * y) - mean_x * mean_y
    light = (2 * mean_x * mean_y + STEADY[0]) / (mean_x**2 + mean_y**2 + STEADY[0])
    return light * (2 * shared + STEADY[1]) / (var_x + var_y + STEADY[1])


def _mean(values: list[float]) -> float:
    """Of those that are defined; nan if none is. The same in any order."""
    defined = [value for value in values if not math.isnan(value)]
    return math.fsum(defined) / len(defined) if defined else math.nan
