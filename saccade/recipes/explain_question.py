"""What is asked of a network about one image: which number is to be explained, for every task."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor, nn

from saccade.data.decode import prepare, to_picture
from saccade.data.loader import collate
from saccade.errors import UsageError, unknown
from saccade.explain.occlusion import blurred
from saccade.explain.score import Score, of_activity, of_unit
from saccade.geometry.view import View
from saccade.memory import keep_freed_memory
from saccade.predict import Pictured, Predictor
from saccade.structures import Classification, Instances, LabelMap, Prediction, Sample
from saccade.tasks.contract import OnBackbone, label_of
from saccade.tasks.detect.faster_rcnn import FasterRCNN
from saccade.tasks.detect.task import Aim
from saccade.tasks.segment.task import Pixel
from saccade.tasks.segment.tiles import TILE

MOST_PIXELS = 2 * TILE**2  # more than that is not looked at as a whole anywhere
BOX = (255, 176, 0)  # how the thing or the pixel that is asked about is marked


@dataclass(frozen=True)
class Asked:
    """What a person wants explained; what is None is chosen.

    target    a class, by name or number; None for what the network says itself
    layer     for methods that look at a layer, and for `unit`
    unit      "CHANNEL" or "CHANNEL,ROW,COLUMN" of that layer, in the place of a class
    thing     detection: the so-maniest thing that was found, from 1, of `target` if that is given
    keypoint  detection: one of its keypoints, by name or number
    pixel     segmentation: (row, column) of the image; None for the middle of the largest part of `target`
    """

    target: int | str | None = None
    layer: str | None = None
    unit: str | None = None
    thing: int = 1
    keypoint: int | str | None = None
    pixel: tuple[int, int] | None = None


@dataclass(frozen=True, eq=False)
class Question:
    """One image, and the number to be explained.

    image      [H, W, C] uint8: what the network sees of it
    inputs     [1, C, h, w] float, normalised; padded at the bottom and the right where the network wants that
    said       what the network says of it, in its original pixels
    target     as `task.score` takes it; None where a unit is asked about
    words      what is explained, and how the network judges it
    name       what is explained, alone
    of_model   the score, of this network or of a copy of it
    projected  what the DeconvNet goes back from, likewise: of a unit its activity, of all else the score
    mark       [x0, y0, x1, y1] of the thing or the pixel that is asked about, in pixels of `image`; None for all of it
    """

    predictor: Predictor
    image: np.ndarray
    inputs: Tensor
    view: View
    said: Prediction
    target: Any
    words: str
    name: str
    of_model: Callable[[nn.Module], Score]
    projected: Callable[[nn.Module], Score]
    mark: np.ndarray | None = None

    @property
    def model(self) -> nn.Module:
        return self.predictor.model

    @property
    def score(self) -> Score:
        return self.of_model(self.model)

    @property
    def grey(self) -> Tensor:
        """[1, C, 1, 1] float, normalised: what stands for nothing. The mean of what the network was trained on; where
        none is taken from its images, the middle of black and white."""
        preprocessing = self.predictor.card.preprocessing
        values = [
            0.0 if any(preprocessing.mean) else (0.5 - mean) / std
            for mean, std in zip(preprocessing.mean, preprocessing.std, strict=True)
        ]
        return torch.tensor(values).to(self.inputs).view(1, -1, 1, 1)

    def share(self) -> Callable[[Tensor], Tensor]:
        """[B] of images [B, C, h, w]: the probability of a class; of all else how much is left of the score, 1 being
        that of the image and 0 that of the image out of focus; where that scores no less, the score as it is."""
        if isinstance(self.said, Classification) and self.target is not None:
            return lambda inputs: self.model(inputs).float().softmax(1)[:, self.target]
        score = self.score
        with torch.no_grad():
            most, least = float(score(self.inputs)[0]), float(score(blurred(self.inputs))[0])
        if most <= least:
            return score
        return lambda inputs: (score(inputs).float() - least) / (most - least)

    def marked(self, picture: np.ndarray) -> np.ndarray:
        """A picture [H, W, 3] as large as the image, with what is asked about framed."""
        if self.mark is None:
            return picture
        factor = picture.shape[0] / self.image.shape[0]
        left, top, right, bottom = np.rint(self.mark * factor).astype(int).tolist()
        thick = max(1, round(min(picture.shape[:2]) / 150))
        return cv2.rectangle(np.ascontiguousarray(picture).copy(), (left, top), (right, bottom), BOX, thick)


def ask(predictor: Predictor, picture: Pictured | Sample, asked: Asked, about_answer: bool = True) -> Question:
    """Look at an image, and find the number to be explained.

    picture       as a `Predictor` takes it, or prepared already
    about_answer  whether there is one; False where only the image is looked at

    Raises DecodeError when it is no image, UsageError for a target that is not there.
    """
    if predictor.device.type == "cpu":
        keep_freed_memory()
    sample = picture if isinstance(picture, Sample) else prepare(to_picture(picture), predictor.card.preprocessing)
    pixels, view = sample.image, sample.view
    batch = collate([sample], predictor.card.preprocessing).to(predictor.device)
    with torch.no_grad():
        inputs = predictor.preprocess(batch.images).contiguous(memory_format=torch.channels_last)
        if about_answer and inputs.shape[2] * inputs.shape[3] > MOST_PIXELS:
            raise UsageError(
                f"the network sees {inputs.shape[2]} x {inputs.shape[3]} pixels of this image; to be explained it is "
                f"looked at as a whole, of at most {MOST_PIXELS:,} pixels: give a part of it, or make it smaller"
            )
        said = predictor.task.predict(predictor.model, predictor.preprocess, batch)[0]
    if not about_answer:
        return Question(predictor, pixels, inputs, view, said, None, "the image", "the image", _nothing, _nothing)
    if asked.unit is None:
        target, name, judged, mark = _target(predictor, said, view, asked)

        def of_model(model: nn.Module) -> Score:
            return lambda images: predictor.task.score(model, images, target)

        return Question(predictor, pixels, inputs, view, said, target, name + judged, name, of_model, of_model, mark)
    if asked != Asked(layer=asked.layer, unit=asked.unit):
        raise UsageError("a unit is asked about: there is no target, thing, keypoint or pixel to choose besides")
    layer, channel, place = _unit(asked)
    what = (
        f"channel {channel}" if place is None else f"the unit at row {place[0]}, column {place[1]} of channel {channel}"
    )

    def of_unit_in(model: nn.Module) -> Score:
        return of_unit(model, layer, channel, place)

    def of_activity_in(model: nn.Module) -> Score:
        return of_activity(model, layer, channel, place)

    name = f"{what} of {layer}"
    return Question(predictor, pixels, inputs, view, said, None, name, name, of_unit_in, of_activity_in)


def _nothing(model: nn.Module) -> Score:
    raise UsageError("nothing is asked about this image: there is no score")


def of_backbone(model: nn.Module) -> set[str] | None:
    """The layers of the backbone that look at the whole image, of a network that is built on one; None for others.

    What comes after it may see one box alone, or be the classes' own maps.
    """
    if not isinstance(model, OnBackbone):
        return None
    layers = {id(layer) for layer in model.trunk.modules()}
    if isinstance(model, FasterRCNN):  # the last stage of one may be what looks at each box
        layers -= {id(layer) for layer in model.roi_heads.modules()}
    return {name for name, layer in model.named_modules() if id(layer) in layers}


def _unit(asked: Asked) -> tuple[str, int, tuple[int, int] | None]:
    if asked.layer is None:
        raise UsageError("a unit is one of a layer: name it with --layer; `saccade models NAME --layers` lists them")
    try:
        numbers = [int(part) for part in str(asked.unit).split(",")]
    except ValueError:
        numbers = []
    if len(numbers) not in (1, 3):
        raise UsageError(f"a unit is CHANNEL or CHANNEL,ROW,COLUMN, such as 12 or 12,3,4; got {asked.unit!r}")
    return asked.layer, numbers[0], (numbers[1], numbers[2]) if len(numbers) == 3 else None


def _target(
    predictor: Predictor, said: Prediction, view: View, asked: Asked
) -> tuple[Any, str, str, np.ndarray | None]:
    """The target as the task takes it, its name, how it is judged, and where it is in the image the network sees."""
    classes = predictor.card.classes
    label = None if asked.target is None else label_of(classes, asked.target)
    if isinstance(said, Classification):
        _refuse(asked, "the whole image", thing=True, pixel=True)
        label = said.label if label is None else label
        judged, first = f", {100 * said.probabilities[label]:.1f} %", said.label
        if label != first:
            judged += f" (the network says {classes[first]}, {100 * said.probabilities[first]:.1f} %)"
        return label, classes[label], judged, None
    if isinstance(said, Instances):
        _refuse(asked, "things", pixel=True)
        return _thing(predictor, said, view, asked, label)
    _refuse(asked, "pixels", thing=True)
    return _pixel(classes, said, view, asked, label)


def _refuse(asked: Asked, about: str, thing: bool = False, pixel: bool = False) -> None:
    if thing and (asked.thing != 1 or asked.keypoint is not None):
        raise UsageError(f"this network speaks of {about}: there is no thing or keypoint to choose")
    if pixel and asked.pixel is not None:
        raise UsageError(f"this network speaks of {about}: there is no pixel to choose")


def _thing(
    predictor: Predictor, said: Instances, view: View, asked: Asked, label: int | None
) -> tuple[Any, str, str, np.ndarray]:
    classes, skeleton = predictor.card.classes, predictor.card.skeleton
    among = np.arange(len(said)) if label is None else np.flatnonzero(said.labels == label)
    if not 1 <= asked.thing <= len(among):
        what = "thing" if label is None else repr(classes[label])
        if not len(among):
            raise UsageError(f"the network finds no {what} in this image, so there is none to explain")
        raise UsageError(
            f"of {what} the network finds {len(among)} in this image, numbers 1 to {len(among)}, and got {asked.thing}"
        )
    n = int(among[asked.thing - 1])
    box = view.move_boxes(said.boxes[n : n + 1])[0]
    score = "" if said.scores is None else f", {100 * said.scores[n]:.1f} %"
    name, keypoint = classes[int(said.labels[n])], None
    if asked.keypoint is not None:
        if skeleton is None:
            raise UsageError("this network finds no keypoints; leave out --keypoint")
        keypoint = _keypoint(asked.keypoint, skeleton.names)
        name = f"{skeleton.names[keypoint]} of {name}"
    aim = Aim(torch.from_numpy(box.astype(np.float32)), int(said.labels[n]), keypoint)
    return aim, name, score, box


def _keypoint(wanted: int | str, names: tuple[str, ...]) -> int:
    if isinstance(wanted, str) and not (wanted.isdecimal() and len(wanted) < 10):
        if wanted not in names:
            raise unknown("keypoint", wanted, names)
        return names.index(wanted)
    if not 0 <= int(wanted) < len(names):
        raise UsageError(f"there is no keypoint {wanted}: there are 0 to {len(names) - 1}")
    return int(wanted)


def _pixel(
    classes: tuple[str, ...], said: Prediction, view: View, asked: Asked, label: int | None
) -> tuple[Any, str, str, np.ndarray]:
    size = view.source
    if asked.pixel is not None:
        row, column = asked.pixel
        if not (0 <= row < size[0] and 0 <= column < size[1]):
            raise UsageError(
                f"the image has {size[0]} rows and {size[1]} columns of pixels, and none at {row},{column}"
            )
    elif isinstance(said, LabelMap):
        row, column = _middle(said, label, classes)
    else:
        row, column = size[0] // 2, size[1] // 2
    if label is None:
        label = int(said.labels[row, column]) if isinstance(said, LabelMap) else 0
    x, y = view.move_points(np.array([[column + 0.5, row + 0.5]]))[0]
    place = min(int(y), view.size[0] - 1), min(int(x), view.size[1] - 1)
    half = max(2.0, min(view.size) / 60)
    mark = np.clip([x - half, y - half, x + half, y + half], 0, [view.size[1], view.size[0]] * 2)
    return Pixel(*place, label), f"{classes[label]} at row {row}, column {column}", "", mark


def _middle(said: LabelMap, label: int | None, classes: tuple[str, ...]) -> tuple[int, int]:
    """The pixel of a class that is farthest from all others."""
    if label is None:
        label = int(said.counts()[: len(classes)].argmax())
    inside = np.pad(said.labels == label, 1).astype(np.uint8)
    if not inside.any():
        raise UsageError(
            f"the network sees no {classes[label]} in this image; choose a pixel, or one of: {', '.join(said.areas())}"
        )
    away = cv2.distanceTransform(inside, cv2.DIST_L2, 3)
    row, column = np.unravel_index(int(away.argmax()), away.shape)
    return int(row) - 1, int(column) - 1
