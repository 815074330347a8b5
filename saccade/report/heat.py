"""Numbers a pixel as pictures: heat over an image, what speaks for and against, and what was projected back to it."""

import cv2
import numpy as np

# Corner points of matplotlib's "inferno" (CC0), dark to bright: equal steps look equal, in grey too.
_INFERNO = np.array(
    [
        (0, 0, 4), (22, 11, 57), (66, 10, 104), (106, 23, 110), (147, 38, 103), (188, 55, 84), (221, 81, 58),
        (243, 120, 25), (252, 165, 10), (246, 215, 70), (252, 255, 164),
    ],
    dtype=np.float32,
)  # fmt: skip
# Against, nothing, for: blue and vermilion of Okabe and Ito, which every kind of colour vision tells apart.
_DIVERGING = np.array([(0, 114, 178), (247, 247, 247), (213, 94, 0)], dtype=np.float32)
SHARE = 0.995  # of the pixels lie within the scale; of gradients a few are far beyond all others


def heat(values: np.ndarray, signed: bool = False, share: float = SHARE) -> np.ndarray:
    """[H, W, 3] uint8 RGB of [H, W] float.

    signed  0 is white, what speaks for is orange, what speaks against is blue; else 0 is black and the most is yellow
    share   of the pixels that lie within the scale
    """
    scaled = unit(values, share) if not signed else (1 + unit(values, share, signed=True)) / 2
    return _coloured(scaled, _DIVERGING if signed else _INFERNO)


def overlay(image: np.ndarray, values: np.ndarray, signed: bool = False, share: float = SHARE) -> np.ndarray:
    """[H, W, 3] uint8: the image in grey under the heat of [H, W] float, the stronger the more of it is covered.

    image  [H, W, 3] uint8 RGB, or [H, W, 1] grey
    """
    ground = cv2.cvtColor(np.ascontiguousarray(image), cv2.COLOR_RGB2GRAY) if image.shape[2] == 3 else image[..., 0]
    ground = 0.35 * 255 + 0.65 * ground[..., None].astype(np.float32)
    strength = np.abs(unit(values, share, signed))[..., None]
    cover = 0.85 * strength**0.7
    return np.rint((1 - cover) * ground + cover * heat(values, signed, share)).astype(np.uint8)


def around_grey(values: np.ndarray, scale: float | None = None) -> np.ndarray:
    """[H, W, C] uint8 of [H, W, C] float: 0 is middle grey, and colours are what they are.

    scale  what is drawn black or white; None for what SHARE of the numbers that are not 0 stay within
    """
    there = np.abs(values[values != 0])
    scale = scale if scale is not None else float(np.quantile(there, SHARE)) if len(there) else 1.0
    return np.rint(255 * (0.5 + 0.5 * np.clip(values / (scale or 1.0), -1, 1))).astype(np.uint8)


def grey(values: np.ndarray) -> np.ndarray:
    """[H, W] uint8 of [H, W] float, from its least to its most; all black where it is the same everywhere."""
    low, high = float(values.min()), float(values.max())
    return np.rint(255 * (values - low) / (high - low or 1.0)).astype(np.uint8)


def unit(values: np.ndarray, share: float = SHARE, signed: bool = False) -> np.ndarray:
    """[H, W] float32 in [0, 1], or in [-1, 1] if signed, of [H, W] float."""
    values = np.asarray(values, dtype=np.float32)
    top = float(np.quantile(np.abs(values), share)) or float(np.abs(values).max())
    return np.clip(values / (top or 1.0), -1 if signed else 0, 1)


def _coloured(scaled: np.ndarray, stops: np.ndarray) -> np.ndarray:
    places = np.linspace(0, 1, len(stops))
    return np.rint(np.stack([np.interp(scaled, places, stops[:, k]) for k in range(3)], axis=-1)).astype(np.uint8)
