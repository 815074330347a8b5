"""Colours that stay apart, for every kind of colour vision, and text that can be read on them."""

import functools
import math

import numpy as np

Colour = tuple[int, int, int]

# Okabe and Ito, Color Universal Design (2008), ordered so that the first few differ most.
OKABE_ITO: tuple[Colour, ...] = (
    (213, 94, 0),  # vermilion
    (86, 180, 233),  # sky blue
    (0, 158, 115),  # bluish green
    (240, 228, 66),  # yellow
    (0, 114, 178),  # blue
    (204, 121, 167),  # reddish purple
    (230, 159, 0),  # orange
    (0, 0, 0),  # black
)
BLACK, WHITE, GREY = (0, 0, 0), (255, 255, 255), (128, 128, 128)
# What further colours are chosen from: steps of lightness, chroma and hue in Oklab's cylinder.
LIGHTNESS, CHROMA, HUES = (0.3, 0.42, 0.54, 0.66, 0.78, 0.9), (0.05, 0.12, 0.19), 24
# How linear sRGB is seen with all cones, and without those for long, middle and short waves
# (Machado, Oliveira and Fernandes 2009, table 1, severity 1).
VISIONS = np.array([
    [(1, 0, 0), (0, 1, 0), (0, 0, 1)],
    [(0.152286, 1.052583, -0.204868), (0.114503, 0.786281, 0.099216), (-0.003882, -0.048116, 1.051998)],
    [(0.367322, 0.860646, -0.227968), (0.280085, 0.672501, 0.047413), (-0.011820, 0.042940, 0.968881)],
    [(1.255528, -0.076749, -0.178779), (-0.078411, 0.930809, 0.147602), (0.004733, 0.691367, 0.303900)],
])  # fmt: skip


def colour(index: int) -> Colour:
    """The colour (red, green, blue), 0..255, of class or thing `index`; after some hundreds they come again."""
    colours = _palette()
    return colours[index % len(colours)]


def text_colour(ground: Colour) -> Colour:
    """Black or white, whichever is easier to read on `ground`; the contrast is at least 4.58 on any."""
    return max(BLACK, WHITE, key=lambda ink: contrast(ink, ground))


def contrast(one: Colour, other: Colour) -> float:
    """How well they are told apart by brightness, 1 to 21 (WCAG 2.2, contrast ratio)."""
    darker, lighter = sorted(_linear(np.array([one, other])) @ (0.2126, 0.7152, 0.0722))
    return float((lighter + 0.05) / (darker + 0.05))


@functools.cache
def _palette() -> tuple[Colour, ...]:
    """Okabe and Ito's eight, then always the candidate that is farthest from all before it, to the eyes that tell them
    apart least."""
    colours = np.array([*OKABE_ITO, *_candidates()])
    seen = _seen(colours)
    chosen = list(range(len(OKABE_ITO)))
    apart = np.min([_apart(seen, n) for n in chosen], axis=0)
    while apart.max() > 0:
        chosen.append(int(apart.argmax()))
        apart = np.minimum(apart, _apart(seen, chosen[-1]))
    return tuple((red, green, blue) for red, green, blue in colours[chosen].tolist())


def _seen(colours: np.ndarray) -> np.ndarray:
    """[4, N, 3] float64: Oklab of colours [N, 3], 0..255, to each of the VISIONS."""
    return _oklab_from_linear((_linear(colours) @ VISIONS.transpose(0, 2, 1)).clip(0, 1))


def _apart(seen: np.ndarray, n: int) -> np.ndarray:
    """[N] float64: how far each colour is from the n-th, to the eyes that tell them apart least."""
    return np.linalg.norm(seen - seen[:, n : n + 1], axis=2).min(axis=0)


def _candidates() -> list[Colour]:
    """Colours all over the part of Oklab's cylinder that a screen can show."""
    found = []
    for lightness in LIGHTNESS:
        for chroma in CHROMA:
            for hue in np.arange(HUES) * (2 * math.pi / HUES):
                linear = _linear_from_oklab(np.array([lightness, chroma * math.cos(hue), chroma * math.sin(hue)]))
                if linear.min() >= 0 and linear.max() <= 1:
                    coded = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
                    red, green, blue = np.rint(255 * coded).astype(int).tolist()
                    found.append((red, green, blue))
    return found


def _linear(colours: np.ndarray) -> np.ndarray:
    """Linear sRGB in [0, 1] of colours 0..255 (IEC 61966-2-1)."""
    shares = colours / 255
    return np.where(shares <= 0.04045, shares / 12.92, ((shares + 0.055) / 1.055) ** 2.4)


# Ottosson, A perceptual color space for image processing (2020).
_CONES = np.array([
    (0.4122214708, 0.5363325363, 0.0514459929),
    (0.2119034982, 0.6806995451, 0.1073969566),
    (0.0883024619, 0.2817188376, 0.6299787005),
])  # fmt: skip
_OPPONENTS = np.array([
    (0.2104542553, 0.7936177850, -0.0040720468),
    (1.9779984951, -2.4285922050, 0.4505937099),
    (0.0259040371, 0.7827717662, -0.8086757660),
])  # fmt: skip


def _oklab_from_linear(linear: np.ndarray) -> np.ndarray:
    return np.cbrt(linear @ _CONES.T) @ _OPPONENTS.T


def _linear_from_oklab(lab: np.ndarray) -> np.ndarray:
    return np.linalg.solve(_CONES, np.linalg.solve(_OPPONENTS, lab) ** 3)
