"""What the metrics of things in images share: in which order images count, and what cannot be counted."""

import re
from collections.abc import Iterable

import numpy as np

from saccade.structures import Instances


def in_order(ids: Iterable[str]) -> list[str]:
    """Images as people order them: "image 10" after "image 2". It decides between equal scores of different images."""
    return sorted(ids, key=lambda id: (_natural(id), id))


def _natural(id: str) -> list[str | tuple[int, str]]:
    """Text and numbers in turn; a number goes by its length, then its digits, so that it may be as long as it likes."""
    parts = re.split("([0-9]+)", id)
    return [(len(digits), digits) if n % 2 else text for n, text in enumerate(parts) for digits in [text.lstrip("0")]]


def check(prediction: Instances, truth: Instances, classes: tuple[str, ...], id: str) -> None:
    """Refuse what would give wrong numbers: no scores, unknown labels, numbers that are none, two frames."""
    if prediction.scores is None:
        raise ValueError(f"image {id}: the prediction has no scores; each detection needs one")
    # A truth whose file nobody has opened yet may not know its size.
    if any(truth.size) and tuple(prediction.size) != tuple(truth.size):
        raise ValueError(
            f"image {id}: the prediction is in pixels of {prediction.size} (height, width), the truth of {truth.size}; "
            "bring both to pixels of the original image"
        )
    for what, things in (("prediction", prediction), ("truth", truth)):
        wrong = things.labels[(things.labels < 0) | (things.labels >= len(classes))]
        if len(wrong):
            raise ValueError(f"image {id}: the {what} has the label {wrong[0]}; expected 0 to {len(classes) - 1}")
        if not np.isfinite(things.boxes).all():
            raise ValueError(f"image {id}: a box of the {what} is not finite: {things.boxes.tolist()}")
    if not np.isfinite(prediction.scores).all():
        raise ValueError(f"image {id}: a score is not finite: {np.asarray(prediction.scores).tolist()}")
