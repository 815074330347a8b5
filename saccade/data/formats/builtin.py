"""Sets that need no download: they are shipped inside scikit-learn, or made from what is."""

import functools
import re
from collections.abc import Callable
from typing import Any

import numpy as np

from saccade.data.formats.scenes import scenes
from saccade.data.source import Source, Split


def digits() -> Source:
    """1,797 handwritten digits of 13 people, 8 x 8 pixels (Alpaydin and Kaynak, 1998)."""
    from sklearn.datasets import load_digits

    bunch: Any = load_digits()
    images = np.round(bunch.images * (255 / 16)).astype(np.uint8)  # scikit-learn has 0..16
    split = Split(images, [f"digit {i}" for i in range(len(images))], bunch.target.astype(np.int64))
    return Source("digits", "built in", tuple(str(k) for k in range(10)), {"all": split})


def photos() -> Source:
    """Two photographs, 427 x 640: a temple in China and a flower. To try a model on, not to train one."""
    from sklearn.datasets import load_sample_images

    bunch: Any = load_sample_images()
    names = [name.removesuffix(".jpg") for name in map(str, bunch.filenames)]
    names = [name.replace("\\", "/").rsplit("/", 1)[-1] for name in names]
    order = np.argsort(names)
    images = np.stack([bunch.images[i] for i in order])
    classes = tuple(names[i] for i in order)
    return Source("photos", "built in", classes, {"all": Split(images, list(classes), np.arange(len(classes)))})


BUILTIN: dict[str, Callable[[], Source]] = {"digits": digits, "photos": photos, "scenes": scenes}


def named(name: str) -> Callable[[], Source] | None:
    """The built-in set of this name; `scenes-384` are the scenes at 384 pixels. None where there is none."""
    if sized := re.fullmatch(r"scenes-(\d{1,9})", name):
        return functools.partial(scenes, int(sized[1]))
    return BUILTIN.get(name)
