"""Moving the pixels of an image along an affine map: once, and antialiased where it shrinks."""

import functools
import math
from collections.abc import Sequence

import cv2
import numpy as np

from saccade.geometry.affine import Affine, scaling, translation

Size = tuple[int, int]

# Boxes leave so many pixels (up to twice as many) to one of the result, and the filter does the rest.
SPAN = 2


def warp(pixels: np.ndarray, affine: Affine, size: Size, interpolation: str, fill: Sequence[int]) -> np.ndarray:
    """The image moved by `affine`, as OpenCV does it, but antialiased.

    pixels         [h, w, C] uint8
    affine         from these pixels to those of the result, continuous coordinates
    size           (height, width) of the result
    interpolation  "bilinear" (antialiased) or "nearest" (for label maps, never blended)
    fill           one value 0..255 a channel, for pixels whose centre lies beyond the image

    Returns [height, width, C] uint8.
    """
    channels = pixels.shape[2]  # OpenCV drops the axis when there is one
    if interpolation == "bilinear" and (window := _whole_window(affine, pixels.shape[:2], size)):
        return _stretch(pixels, affine, window, size).reshape(*size, channels)
    source, whole = pixels.shape[:2], affine
    inside = _lies_inside(affine, source, size)
    pixels, affine = _window(pixels, affine, size)
    if interpolation == "bilinear":
        pixels, affine = _smooth(pixels, affine)
    # OpenCV counts from the centre of pixel (0, 0), we count from its corner.
    centred = translation(-0.5, -0.5).after(affine).after(translation(0.5, 0.5))
    matrix = np.array(centred).reshape(2, 3)
    flag = cv2.INTER_LINEAR if interpolation == "bilinear" else cv2.INTER_NEAREST
    moved = cv2.warpAffine(pixels, matrix, size[::-1], flags=flag, borderMode=cv2.BORDER_REPLICATE)
    moved = moved.reshape(*size, channels)
    if not inside:
        moved[_beyond(whole, source, size)] = fill
    return moved


def _beyond(affine: Affine, source: Size, size: Size) -> np.ndarray:
    """Which pixels of the result have their centre beyond the image, [height, width] bool."""
    back = affine.inverse()
    x, y = np.arange(size[1]) + 0.5, np.arange(size[0])[:, None] + 0.5
    across, down = back.a * x + back.b * y + back.c, back.d * x + back.e * y + back.f
    return (across < 0) | (across > source[1]) | (down < 0) | (down > source[0])


def _whole_window(affine: Affine, source: Size, size: Size) -> tuple[int, int, int, int] | None:
    """The box (left, top, right, bottom) of whole pixels that fills the result, if the map does just that."""
    back = affine.inverse()
    if back.b or back.d or max(back.spread) >= 2 * SPAN:
        return None
    edges = back.bounds(size[1], size[0])
    left, top, right, bottom = whole = tuple(round(edge) for edge in edges)
    close = all(abs(edge - pixel) < 0.01 for edge, pixel in zip(edges, whole, strict=True))
    fits = 0 <= left < right <= source[1] and 0 <= top < bottom <= source[0]
    return (left, top, right, bottom) if close and fits else None


def _stretch(pixels: np.ndarray, affine: Affine, window: tuple[int, int, int, int], size: Size) -> np.ndarray:
    """A window of whole pixels, resized and perhaps mirrored: the common case, and OpenCV is quickest at it."""
    left, top, right, bottom = window
    smooth, _ = _smooth(pixels[top:bottom, left:right], affine)
    resized = cv2.resize(smooth, size[::-1], interpolation=cv2.INTER_LINEAR)
    if affine.a < 0 or affine.e < 0:
        resized = cv2.flip(resized, -1 if affine.a < 0 and affine.e < 0 else int(affine.a < 0))
    return resized


def _lies_inside(affine: Affine, source: Size, size: Size) -> bool:
    """Whether every pixel of the result lies on the image (to a hundredth of a pixel)."""
    left, top, right, bottom = affine.inverse().bounds(size[1], size[0])
    return left > -0.01 and top > -0.01 and right < source[1] + 0.01 and bottom < source[0] + 0.01


def _window(pixels: np.ndarray, affine: Affine, size: Size) -> tuple[np.ndarray, Affine]:
    """Only the part of the image that the result can see, so that nothing else is filtered."""
    back = affine.inverse()
    left, top, right, bottom = back.bounds(size[1], size[0])
    # The filter reaches one pixel of the result beyond it, boxes and interpolation a few of the image.
    across, down = (8 + 2 * math.ceil(spread) for spread in back.spread)
    low_x, low_y = max(0, math.floor(left) - across), max(0, math.floor(top) - down)
    window = pixels[low_y : max(0, math.ceil(bottom) + down), low_x : max(0, math.ceil(right) + across)]
    if window.size == 0:  # the result lies wholly beyond the image
        return pixels[:1, :1], affine
    return window, affine.after(translation(low_x, low_y))


def _smooth(pixels: np.ndarray, affine: Affine) -> tuple[np.ndarray, Affine]:
    """The image blurred, and reduced by whole factors, so that bilinear sampling of it does not alias.

    Shrinking by s calls for a triangle filter of half-width s (Pillow's antialiased bilinear). Boxes of s // 2
    pixels come first, they cost little; a short separable filter does the rest at two to four pixels a pixel.
    """
    across, down = affine.inverse().spread
    height, width = pixels.shape[:2]
    box_x, box_y = max(1, min(int(across / SPAN), width)), max(1, min(int(down / SPAN), height))
    if box_x > 1 or box_y > 1:
        pixels, affine = _reduce(pixels, affine, box_x, box_y)
    horizontal, vertical = _filter(round(across / box_x, 2)), _filter(round(down / box_y, 2))
    if max(len(horizontal), len(vertical)) > 3:
        pixels = cv2.sepFilter2D(pixels, -1, horizontal, vertical, borderType=cv2.BORDER_REPLICATE)
    elif max(len(horizontal), len(vertical)) == 3:
        # Any three symmetric taps are a Gaussian's, and OpenCV has a quicker way for those.
        pixels = cv2.GaussianBlur(pixels, (3, 3), _sigma(horizontal), None, _sigma(vertical), cv2.BORDER_REPLICATE)
    return pixels, affine


def _sigma(taps: np.ndarray) -> float:
    """The width of the Gaussian whose values at -1, 0 and 1 are in proportion to these taps."""
    return math.sqrt(-0.5 / math.log(taps[0] / taps[1])) if len(taps) == 3 else 1e-3


@functools.lru_cache(maxsize=1024)
def _filter(spread: float) -> np.ndarray:
    """The taps [2n + 1] float32 that, linearly interpolated, come closest to a triangle of half-width `spread`.

    Linear interpolation puts a hat on each tap, so this is the least-squares fit of the triangle by hats a pixel apart:
    the Gram matrix of hats is tridiagonal (2/3, 1/6), and the product of a hat with a triangle is a cubic spline.
    """
    if spread <= 1:
        return np.ones(1, dtype=np.float32)
    reach = 1 if spread <= 2 else math.ceil(spread)
    at = np.arange(-reach, reach + 1)
    second_difference = ((-1, 1), (0, -2), (1, 1))
    products = sum(
        a * b * np.clip(at + i + j * spread, 0, None) ** 3 / 6
        for i, a in second_difference
        for j, b in second_difference
    )
    gram = np.eye(len(at)) * 2 / 3 + (np.eye(len(at), k=1) + np.eye(len(at), k=-1)) / 6
    taps = np.linalg.solve(gram, products)
    return (taps / taps.sum()).astype(np.float32)


def _reduce(pixels: np.ndarray, affine: Affine, right: int, down: int) -> tuple[np.ndarray, Affine]:
    """The image averaged over boxes of right x down pixels; a ragged last row or column is replicated first."""
    extra_down, extra_right = -pixels.shape[0] % down, -pixels.shape[1] % right
    if extra_down or extra_right:
        pixels = cv2.copyMakeBorder(pixels, 0, extra_down, 0, extra_right, cv2.BORDER_REPLICATE)
    size = (pixels.shape[1] // right, pixels.shape[0] // down)
    return cv2.resize(pixels, size, interpolation=cv2.INTER_AREA), affine.after(scaling(right, down))
