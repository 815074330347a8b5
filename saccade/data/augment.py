"""Changes to training images that leave their meaning alone: one View, one Field and one step of colours, keyed."""

import math
from collections.abc import Callable, Sequence
from typing import Annotated, Literal, NamedTuple

import cv2
import numpy as np
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, field_validator

from saccade.data import colour_ops, policy_steps
from saccade.data.colour_ops import GREY
from saccade.data.decode import Picture, render
from saccade.data.policy_steps import Step
from saccade.errors import UsageError
from saccade.geometry import field as fields
from saccade.geometry.affine import translation
from saccade.geometry.view import Size, View
from saccade.structures import Preprocessing

# RGB to YIQ: turning the I-Q plane changes the hue and leaves the brightness.
YIQ = np.array([[0.299, 0.587, 0.114], [0.596, -0.274, -0.322], [0.211, -0.523, 0.312]])
FROM_YIQ = np.linalg.inv(YIQ)


def _in_order(limits: tuple[float, float]) -> tuple[float, float]:
    if not 0 < limits[0] <= limits[1]:
        raise ValueError(f"expected two numbers above 0, the smaller first, not {limits}")
    return limits


Limits = Annotated[tuple[float, float], AfterValidator(_in_order)]
Share = Annotated[float, Field(ge=0, le=1)]


class Look(NamedTuple):
    """One image as training sees it.

    image      [H, W, C] uint8, network pixels
    view       from original pixels to network pixels
    field      what bent the image after the view; None where nothing did
    steps      what the policy did with it, in its order
    by_centre  whether a thing belongs to it as long as its middle does
    """

    image: np.ndarray
    view: View
    field: fields.Field | None
    steps: tuple[Step, ...]
    by_centre: bool = False


class Augmentation(BaseModel):
    """How training images vary. Every amount at 0 (or 1 for shares and scales) means: leave that alone.

    expand              how many times as wide and high a frame of the mean colour around the image may be, half of the
                        time; SSD has 4
    patch               probability of taking a part that overlaps some thing at least so much as was drawn, as SSD
                        does; a thing stays where its middle is in the part
    crop                the least and most of the image's area that a random crop keeps
    aspect              the least and most of a crop's width : height, relative to square
    shift               at most this share of the width and height, in whole network pixels
    flip                probability of mirroring left to right; flip_vertical likewise, top to bottom
    quarter_turn        probability of turning by 90 degrees, pixel for pixel; with both mirrors all eight ways
    rotate              at most this many degrees either way; shear likewise
    scale               smallest and largest factor about the centre
    zoom                smallest and largest factor on the image's size; of whole images the frame grows with it, of
                        windows what they show shrinks
    brightness          at most this factor more or less; contrast and saturation likewise
    hue                 at most this share of the colour circle either way
    cast                at most this share of full brightness added to each channel
    erase               probability of painting a rectangle of 2 to 20 % of the area in the mean colour
    elastic             how far pixels are displaced, as the root of the mean square, in shares of the shorter side
    elastic_smoothness  over what distance neighbours move alike: the deviation of the smoothing, in the same shares
    perspective         each corner shows what is at most this share of the width and height away
    pca                 deviation of the draws along the principal components of ImageNet's colours; AlexNet's was 0.1
    grey                probability of taking the colours away
    blur                probability of a Gaussian blur of 0.1 to `blur_sigma` network pixels
    jpeg                probability of storing as a JPEG of a quality from `jpeg_quality` to 95
    policy              "rand" (RandAugment) or "trivial" (TrivialAugment): moves pixels after `shift`, changes colours
                        after `pca`
    policy_count        of RandAugment: how many changes an image, N in the paper
    policy_strength     of RandAugment: how strong they are, M in the paper, from 0 (not at all) to 10 (its most)
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    expand: Annotated[float, Field(ge=1, le=16)] = 1.0
    patch: Share = 0.0
    crop: Limits = (1.0, 1.0)
    aspect: Limits = (3 / 4, 4 / 3)
    shift: Share = 0.0
    flip: Share = 0.0
    flip_vertical: Share = 0.0
    quarter_turn: Share = 0.0
    rotate: Annotated[float, Field(ge=0, le=180)] = 0.0
    shear: Annotated[float, Field(ge=0, le=60)] = 0.0
    scale: Limits = (1.0, 1.0)
    zoom: Limits = (1.0, 1.0)
    brightness: Share = 0.0
    contrast: Share = 0.0
    saturation: Share = 0.0
    hue: Annotated[float, Field(ge=0, le=0.5)] = 0.0
    cast: Share = 0.0
    erase: Share = 0.0
    elastic: Annotated[float, Field(ge=0, le=0.1)] = 0.0
    elastic_smoothness: Annotated[float, Field(ge=0.02, le=0.5)] = 0.1
    perspective: Annotated[float, Field(ge=0, le=0.2)] = 0.0
    pca: Share = 0.0
    grey: Share = 0.0
    blur: Share = 0.0
    blur_sigma: Annotated[float, Field(ge=0.1, le=20)] = 2.0
    jpeg: Share = 0.0
    jpeg_quality: Annotated[int, Field(ge=1, le=95)] = 30
    policy: Literal["none", "rand", "trivial"] = "none"
    policy_count: Annotated[int, Field(ge=1, le=14)] = 2
    policy_strength: Annotated[float, Field(ge=0, le=10)] = 9.0

    @field_validator("crop")
    @classmethod
    def _at_most_all(cls, crop: tuple[float, float]) -> tuple[float, float]:
        if crop[1] > 1:
            raise ValueError(f"a crop keeps at most all of the image, 1.0, not {crop[1]}")
        return crop

    def look(
        self,
        picture: Picture,
        preprocessing: Preprocessing,
        rng: np.random.Generator,
        boxes: np.ndarray | None = None,
        framed: Callable[[View], View] | None = None,
    ) -> Look:
        """The image as training sees it this time: all that happens to it, in its order.

        boxes   [N, 4] xyxy, original pixels: the things in it, where they are known
        framed  what of the view is to be seen, where that is not all of it
        """
        steps = self.steps(rng)
        view = self.view(picture.size, preprocessing, rng, steps, boxes)
        if framed is not None:
            view = framed(view)
        image = render(picture, view, preprocessing)
        bend = self.field(view.size, rng)
        if bend is not None:
            image = bend.apply(image, fill=[round(255 * mean) for mean in preprocessing.mean])
        return Look(self.paint(image, preprocessing.mean, rng, steps), view, bend, steps, self.patch > 0)

    def steps(self, rng: np.random.Generator) -> tuple[Step, ...]:
        """What the policy does with this image; without one nothing is drawn."""
        if self.policy == "none":
            return ()
        if self.policy == "trivial":
            return policy_steps.draw_trivial(rng)
        return policy_steps.draw_rand(self.policy_count, self.policy_strength / 10, rng)

    def field(self, size: Size, rng: np.random.Generator) -> fields.Field | None:
        """How this training image is bent, after the view; None, and nothing drawn, where it is not to be.

        size  (height, width) of what the network sees
        """
        bend = None
        if self.elastic:
            bend = fields.Field.elastic(size, self.elastic, self.elastic_smoothness, rng)
        if self.perspective:
            aside = fields.Field.perspective(size, self.perspective, rng)
            bend = aside if bend is None else bend.after(aside)
        return bend

    def view(
        self,
        source: Size,
        preprocessing: Preprocessing,
        rng: np.random.Generator,
        steps: Sequence[Step] = (),
        boxes: np.ndarray | None = None,
    ) -> View:
        """Where this training image is looked at from.

        source  (height, width) of the upright image
        steps   what the policy does with it
        boxes   [N, 4] xyxy, original pixels: the things in it, where they are known
        """
        zoom = 1.0 if self.zoom == (1.0, 1.0) else _log_uniform(self.zoom, rng)
        view = View.identity(source)
        if self.expand > 1 and rng.random() < 0.5:
            view = _expanded(view, rng.uniform(1, self.expand), rng)
        if self.patch and rng.random() < self.patch:
            view = _patch(view, boxes, rng)
        if self.crop != (1.0, 1.0):
            view = self._random_crop(view, rng)
        if view == View.identity(source):
            view = preprocessing.view(source, zoom)
        else:
            size = (
                preprocessing.size
                if preprocessing.frame in ("crop", "stretched")
                else preprocessing.view(view.size, zoom).size
            )
            view = view.resized(size)
        view = view.flipped(horizontal=rng.random() < self.flip, vertical=rng.random() < self.flip_vertical)
        if self.quarter_turn and rng.random() < self.quarter_turn:
            view = view.quarter_turned()
            if preprocessing.frame in ("crop", "stretched") and view.size[0] != view.size[1]:
                raise UsageError(
                    f"quarter_turn would make {view.size[0]} x {view.size[1]} pixels of what is seen; leave it "
                    f"out, or choose a square --size"
                )
        if self.rotate or self.shear or self.scale != (1.0, 1.0):
            factor = _log_uniform(self.scale, rng)
            view = view.turned(rng.uniform(-self.rotate, self.rotate), rng.uniform(-self.shear, self.shear), factor)
        if self.shift:
            down, right = (round(rng.uniform(-self.shift, self.shift) * length) for length in view.size)
            view = view.then(translation(right, down))
        if steps:
            view = policy_steps.moved(view, steps)
        return _random_window(view, preprocessing.size, rng) if preprocessing.frame == "windows" else view

    def _random_crop(self, view: View, rng: np.random.Generator) -> View:
        """A window of random area and shape (Szegedy et al. 2015, section 6); the largest centred one if none fits."""
        height, width = view.size
        for _ in range(10):
            area = height * width * rng.uniform(*self.crop)
            aspect = _log_uniform(self.aspect, rng)
            high, wide = round(math.sqrt(area / aspect)), round(math.sqrt(area * aspect))
            if 0 < high <= height and 0 < wide <= width:
                top, left = int(rng.integers(height - high + 1)), int(rng.integers(width - wide + 1))
                return view.cropped(top, left, (high, wide))
        side = min(view.size)
        return view.centre_cropped((side, side))

    def paint(
        self, image: np.ndarray, mean: Sequence[float], rng: np.random.Generator, steps: Sequence[Step] = ()
    ) -> np.ndarray:
        """Colour, noise and erasing.

        image  [H, W, C] uint8, RGB or grey, network pixels
        mean   C values in [0, 1], the colour of what is erased
        steps  what the policy does with it

        Returns [H, W, C] uint8.
        """
        if self.brightness or self.contrast or self.saturation or self.hue or self.cast or self.pca:
            matrix = self._colour(cv2.mean(image)[: image.shape[2]], rng)
            image = cv2.transform(image, matrix).reshape(image.shape)
        if steps:
            image = policy_steps.painted(image, steps)
        if self.grey or self.blur or self.jpeg:
            image = self._coarsen(image, rng)
        if rng.random() < self.erase:
            image = _erase(image, mean, rng)
        return image

    def _coarsen(self, image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """What cameras and files lose: colour, sharpness, detail."""
        if self.grey and rng.random() < self.grey:
            image = colour_ops.grey(image)
        if self.blur and rng.random() < self.blur:
            image = colour_ops.blur(image, rng.uniform(0.1, self.blur_sigma))
        if self.jpeg and rng.random() < self.jpeg:
            image = colour_ops.jpeg(image, int(rng.integers(self.jpeg_quality, 96)))
        return image

    def _colour(self, average: Sequence[float], rng: np.random.Generator) -> np.ndarray:
        """All changes of colour as one matrix [C, C + 1] on values 0..255, drawn about the image's average colour."""
        channels = len(average)

        def factor(amount: float) -> float:
            return 1 + rng.uniform(-amount, amount)

        gain, contrast = factor(self.brightness), factor(self.contrast)
        # Contrast turns about the mean brightness of the image, as it is after the step before.
        offset = (1 - contrast) * gain * sum(average) / channels
        gain *= contrast
        matrix = np.empty((channels, channels + 1))
        matrix[:, :channels] = self._mixing(channels, rng) * gain
        # The rows of the mixing add up to 1: grey stays grey.
        matrix[:, channels] = offset + 255 * rng.uniform(-self.cast, self.cast, channels)
        if self.pca and channels == 3:
            matrix[:, channels] += colour_ops.colour_shift(self.pca, rng)
        return matrix

    def _mixing(self, channels: int, rng: np.random.Generator) -> np.ndarray:
        """Saturation and hue as a matrix [C, C] that leaves grey alone."""
        if channels == 1 or not (self.saturation or self.hue):
            return np.eye(channels)
        kept = 1 + rng.uniform(-self.saturation, self.saturation)
        mixing = np.empty((3, 3))
        mixing[:] = (1 - kept) * GREY
        mixing.flat[::4] += kept
        if self.hue:
            angle = 2 * math.pi * rng.uniform(-self.hue, self.hue)
            turn = np.array([[1, 0, 0], [0, math.cos(angle), -math.sin(angle)], [0, math.sin(angle), math.cos(angle)]])
            mixing = FROM_YIQ @ turn @ YIQ @ mixing
        return mixing


def _expanded(view: View, factor: float, rng: np.random.Generator) -> View:
    """The image somewhere in a frame so many times as wide and high (Liu et al. 2016, SSD, section 3.6)."""
    height, width = (round(factor * length) for length in view.size)
    top, left = int(rng.integers(height - view.size[0] + 1)), int(rng.integers(width - view.size[1] + 1))
    return view.cropped(-top, -left, (height, width))


OVERLAPS = (0.1, 0.3, 0.5, 0.7, 0.9)


def _patch(view: View, boxes: np.ndarray | None, rng: np.random.Generator) -> View:
    """All of it, any part, or one whose overlap with some thing is at least one of OVERLAPS (Liu et al. 2016, SSD,
    section 2.2): as likely each; all of it where 50 parts did not."""
    choice, (height, width) = int(rng.integers(len(OVERLAPS) + 2)), view.size
    things = np.zeros((0, 4)) if boxes is None else view.move_boxes(boxes)
    if choice > len(OVERLAPS):
        return view
    for _ in range(50):
        high, wide = (max(1, round(length * rng.uniform(0.3, 1))) for length in (height, width))
        if not 0.5 <= wide / high <= 2:
            continue
        top, left = int(rng.integers(height - high + 1)), int(rng.integers(width - wide + 1))
        if choice < len(OVERLAPS):
            part = np.array([left, top, left + wide, top + high])
            shared = np.minimum(things[:, 2:], part[2:]) - np.maximum(things[:, :2], part[:2])
            shared = shared.clip(min=0).prod(axis=1)
            union = high * wide + (things[:, 2:] - things[:, :2]).prod(axis=1) - shared
            if not (shared >= OVERLAPS[choice] * union).any():
                continue
        return view.cropped(top, left, (high, wide))
    return view


def _random_window(view: View, size: Size, rng: np.random.Generator) -> View:
    """A window of at most (height, width) of what a view shows."""
    height, width = (min(own, most) for own, most in zip(view.size, size, strict=True))
    top, left = int(rng.integers(view.size[0] - height + 1)), int(rng.integers(view.size[1] - width + 1))
    return view.cropped(top, left, (height, width))


def _log_uniform(limits: tuple[float, float], rng: np.random.Generator) -> float:
    """A factor between the limits, as likely to double as to halve."""
    return math.exp(rng.uniform(math.log(limits[0]), math.log(limits[1])))


def _erase(image: np.ndarray, mean: Sequence[float], rng: np.random.Generator) -> np.ndarray:
    """One rectangle painted over (Zhong et al. 2020, Random Erasing)."""
    height, width = image.shape[:2]
    area, aspect = height * width * rng.uniform(0.02, 0.2), _log_uniform((0.3, 1 / 0.3), rng)
    high = min(height, max(1, round(math.sqrt(area / aspect))))
    wide = min(width, max(1, round(math.sqrt(area * aspect))))
    top, left = rng.integers(height - high + 1), rng.integers(width - wide + 1)
    erased = image.copy()
    erased[top : top + high, left : left + wide] = np.round(np.multiply(mean, 255)).astype(np.uint8)
    return erased
