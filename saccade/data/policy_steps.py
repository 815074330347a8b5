"""RandAugment and TrivialAugment: which changes they draw from, how strong each may be, and how each is made.

Fourteen changes, the same for both (Cubuk et al. 2020, section 3; Müller and Hutter 2021, section 3). Those that move
pixels multiply into the view, the others change colours in the order they were drawn.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from saccade.data import colour_ops
from saccade.geometry.affine import Affine, translation
from saccade.geometry.view import View


class Step(NamedTuple):
    """One change, drawn: what it is called in `RAND` and `WIDE`, and how much of it."""

    name: str
    value: float


class Range(NamedTuple):
    """The values of a change at strength 0 and at full strength; if either way, on the other side of `weakest` too."""

    weakest: float
    strongest: float
    either_way: bool = False

    def at(self, strength: float, other_way: bool) -> float:
        """The value at a strength in [0, 1]."""
        change = strength * (self.strongest - self.weakest)
        return self.weakest - change if self.either_way and other_way else self.weakest + change


PLAIN = ("identity", "autocontrast", "equalise")  # changes that know no more or less
NOTHING = Range(0, 0)
BITS, THRESHOLD = 8, 256  # posterise and solarise, when they leave everything alone

# RandAugment takes the ranges of AutoAugment (Cubuk et al. 2019, table 6), translations as shares of its 331 pixels.
# Everything is stronger the higher the strength: there, posterise, solarise and the factors of colour are not.
RAND: dict[str, Range] = {
    "identity": NOTHING,
    "autocontrast": NOTHING,
    "equalise": NOTHING,
    "rotate": Range(0, 30, either_way=True),  # degrees
    "solarise": Range(THRESHOLD, 0),
    "saturation": Range(1, 1.9, either_way=True),
    "posterise": Range(BITS, 4),
    "contrast": Range(1, 1.9, either_way=True),
    "brightness": Range(1, 1.9, either_way=True),
    "sharpness": Range(1, 1.9, either_way=True),
    "shear_x": Range(0, 0.3, either_way=True),  # pixels a pixel
    "shear_y": Range(0, 0.3, either_way=True),
    "translate_x": Range(0, 150 / 331, either_way=True),  # shares of the width, of the height
    "translate_y": Range(0, 150 / 331, either_way=True),
}

# TrivialAugment's wide space, as its authors publish it (automl/trivialaugment, `aug_lib.py`, "wide_standard");
# translations of 32 pixels as shares of ImageNet's 224.
FACTOR = Range(0.01, 2.0)
WIDE: dict[str, Range] = RAND | {
    "rotate": Range(0, 135, either_way=True),
    "saturation": FACTOR,
    "posterise": Range(BITS, 2),
    "contrast": FACTOR,
    "brightness": FACTOR,
    "sharpness": FACTOR,
    "shear_x": Range(0, 0.99, either_way=True),
    "shear_y": Range(0, 0.99, either_way=True),
    "translate_x": Range(0, 32 / 224, either_way=True),
    "translate_y": Range(0, 32 / 224, either_way=True),
}

STRENGTHS = 31  # of TrivialAugment: 0 to 30, each as likely (section 3)

COLOURS: dict[str, Callable[[np.ndarray, float], np.ndarray]] = {
    "identity": lambda image, _: image,
    "autocontrast": lambda image, _: colour_ops.autocontrast(image),
    "equalise": lambda image, _: colour_ops.equalise(image),
    "solarise": colour_ops.solarise,
    "saturation": colour_ops.saturation,
    "posterise": colour_ops.posterise,
    "contrast": colour_ops.contrast,
    "brightness": colour_ops.brightness,
    "sharpness": colour_ops.sharpness,
}


def draw_rand(count: int, strength: float, rng: np.random.Generator) -> tuple[Step, ...]:
    """RandAugment: `count` changes, each as likely, perhaps one twice, all of `strength` in [0, 1] (figure 2)."""
    return tuple(_draw(RAND, strength, rng) for _ in range(count))


def draw_trivial(rng: np.random.Generator) -> tuple[Step, ...]:
    """TrivialAugment: one change, of any strength (algorithm 1)."""
    strength = rng.integers(STRENGTHS) / (STRENGTHS - 1)
    return (_draw(WIDE, float(strength), rng),)


def _draw(space: dict[str, Range], strength: float, rng: np.random.Generator) -> Step:
    name = list(space)[rng.integers(len(space))]
    return Step(name, space[name].at(strength, other_way=rng.random() < 0.5))


def in_words(steps: Sequence[Step]) -> str:
    """What was drawn, as people read it, for example "rotate −12, equalise"."""
    return ", ".join(_in_words(*step) for step in steps)


def _in_words(name: str, value: float) -> str:
    words = name.replace("_", " ")
    return words if name in PLAIN else f"{words} {value:.{0 if abs(value) >= 2 else 2}f}".replace("-", "−")


def moved(view: View, steps: Sequence[Step]) -> View:
    """The view, followed by those steps that move pixels; they turn and slant about the centre."""
    height, width = view.size
    for name, value in steps:
        if name == "rotate":
            view = view.turned(value)
        elif name in ("shear_x", "shear_y"):
            slant = Affine(b=value) if name == "shear_x" else Affine(d=value)
            about = translation(width / 2, height / 2).after(slant).after(translation(-width / 2, -height / 2))
            view = view.then(about)
        elif name == "translate_x":
            view = view.then(translation(round(value * width), 0))
        elif name == "translate_y":
            view = view.then(translation(0, round(value * height)))
    return view


def painted(image: np.ndarray, steps: Sequence[Step]) -> np.ndarray:
    """The image [H, W, C] uint8 after those steps that change colours, in their order."""
    for name, value in steps:
        if name in COLOURS:
            image = COLOURS[name](image, value)
    return image
