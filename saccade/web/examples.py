"""Pictures and a film for those who have none: handwriting, scenes made of it, two photographs, a ride over a scene.

All of them come with scikit-learn, or are drawn; nothing is fetched.
"""

import io
import tempfile
import threading
from fractions import Fraction
from functools import cache
from pathlib import Path

import numpy as np
from PIL import Image

from saccade.data.formats.builtin import BUILTIN
from saccade.geometry.view import View
from saccade.recipes.predict_film import Writer

FRAMES, RATE, SIDE = 48, 12, 256
_MAKING = threading.Lock()
_PICTURES: dict[str, tuple[str, int]] = {
    "digit-1.png": ("digits", 12),
    "digit-2.png": ("digits", 1500),
    "scene-1.png": ("scenes", 1),
    "scene-2.png": ("scenes", 2),
    "temple.jpg": ("photos", 0),
    "flower.jpg": ("photos", 1),
}
FILM = "ride.mp4"
# What each is called, and its type.
EXAMPLES = {name: f"image/{'png' if name.endswith('png') else 'jpeg'}" for name in _PICTURES} | {FILM: "video/mp4"}


def warm_up(ending: threading.Event) -> None:
    """Make all of them, so that nobody waits for the scenes to be drawn."""
    for name in EXAMPLES:
        if not ending.is_set():
            example(name)


def example(name: str) -> bytes:
    """The content of the file of that name."""
    with _MAKING:  # two who ask at once would both make it
        return _example(name)


@cache
def _example(name: str) -> bytes:
    if name == FILM:
        return _film()
    pixels = _pixels(*_PICTURES[name])
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, *(("PNG",) if name.endswith("png") else ("JPEG",)), quality=92)
    return file.getvalue()


def _pixels(data: str, index: int) -> np.ndarray:
    """[H, W, 3] uint8 of a picture of a built-in set."""
    # Not by `read`, which would take a folder of that name where the service was started.
    splits = BUILTIN[data]().splits
    split = splits.get("test") or splits["all"]
    return split.open(index).pixels("RGB")[0]


def _film() -> bytes:
    """A window that moves over a scene, and back."""
    scene = _pixels("scenes", 3)
    wide = View.identity((scene.shape[0], scene.shape[1])).resized((SIDE * 3 // 2, SIDE * 3 // 2)).apply(scene)

    def along(n: int) -> int:
        return round(SIDE / 4 * (1 - np.cos(2 * np.pi * n / FRAMES)))

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / FILM
        with Writer(path, Fraction(RATE)) as writer:
            for n in range(FRAMES):
                left, top = along(n), along(2 * n)
                writer.add(np.ascontiguousarray(wide[top : top + SIDE, left : left + SIDE]), n / RATE)
        return path.read_bytes()
