"""Words on pictures: in a font that has the letters, on a plate that makes them legible, never beyond the edge."""

import functools
import importlib.util
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from saccade.report.palette import Colour, text_colour

Box = tuple[int, int, int, int]  # left, top, right, bottom in whole pixels
ABSENT = "\uffff"  # no character, so every font shows what it shows for letters that it lacks


def plate(text: str, spare: str, ground: Colour, size: int, widest: int) -> np.ndarray | None:
    """The text on its ground, [h, w, 3] uint8 RGB; None where not even one letter has room.

    spare   what is written instead where no font has the letters; digits and plain letters
    size    of the font, pixels
    widest  the plate is at most so wide; what is longer is cut, and ends in three dots
    """
    text = " ".join(text.split())
    font = next((font for font in _fonts(size) if _has(font, text)), None)
    if font is None or not text:
        text, font = spare, _fonts(size)[0]
    margin = max(1, size // 5)
    text = _cut(text, font, widest - 2 * margin)
    if not text:
        return None
    ascent, descent = font.getmetrics()
    width = min(widest, int(np.ceil(font.getlength(text))) + 2 * margin)
    image = Image.new("RGB", (width, ascent + descent + margin), ground)
    ImageDraw.Draw(image).text((margin, margin // 2), text, font=font, fill=text_colour(ground))
    return np.asarray(image)


def place(image: np.ndarray, tag: np.ndarray, corners: Sequence[tuple[int, int]], taken: list[Box]) -> None:
    """Lay a plate onto the image where it covers least of the earlier ones; nothing if it is larger than the image.

    image    [H, W, 3] uint8 RGB, changed
    tag      [h, w, 3] uint8, the plate
    corners  (left, top) of the plate, the best first; each is moved as far as it must be to lie in the image
    taken    where earlier plates lie; this one is added
    """
    height, width = tag.shape[:2]
    if height > image.shape[0] or width > image.shape[1]:
        return
    boxes: list[Box] = []
    for left, top in corners:
        left, top = min(max(0, left), image.shape[1] - width), min(max(0, top), image.shape[0] - height)
        boxes.append((left, top, left + width, top + height))
    best = min(boxes, key=lambda box: sum(_common(box, other) for other in taken))
    taken.append(best)
    image[best[1] : best[3], best[0] : best[2]] = tag


def _common(one: Box, other: Box) -> int:
    """The pixels that two boxes share."""
    across = min(one[2], other[2]) - max(one[0], other[0])
    down = min(one[3], other[3]) - max(one[1], other[1])
    return max(0, across) * max(0, down)


@functools.lru_cache(maxsize=64)
def _fonts(size: int) -> tuple[ImageFont.FreeTypeFont, ...]:
    """Pillow's own font, and the one that matplotlib ships, which has most alphabets."""
    own = ImageFont.load_default(size)
    found = importlib.util.find_spec("matplotlib")
    if not isinstance(own, ImageFont.FreeTypeFont):  # Pillow without FreeType
        raise RuntimeError("drawing needs a Pillow with FreeType, as its wheels have; this one is built without")
    if found is None or found.origin is None:
        return (own,)
    file = Path(found.origin).parent / "mpl-data" / "fonts" / "ttf" / "DejaVuSans.ttf"
    # The same letters are larger in it.
    return (own, ImageFont.truetype(str(file), round(0.92 * size))) if file.exists() else (own,)


def _has(font: ImageFont.FreeTypeFont, text: str) -> bool:
    """Whether the font has all the letters."""
    return all(letter == " " or _has_letter(font, letter) for letter in set(text))


@functools.lru_cache(maxsize=4096)
def _has_letter(font: ImageFont.FreeTypeFont, letter: str) -> bool:
    return _picture(font, letter) != _picture(font, ABSENT)


def _picture(font: ImageFont.FreeTypeFont, letter: str) -> bytes:
    side = 2 * math.ceil(font.size)
    image = Image.new("L", (side, side))
    ImageDraw.Draw(image).text((0, 0), letter, font=font, fill=255)
    return image.tobytes()


def _cut(text: str, font: ImageFont.FreeTypeFont, widest: int) -> str:
    """The text if it is short enough, else its beginning with three dots, else nothing."""
    if font.getlength(text) <= widest:
        return text
    while text and font.getlength(f"{text}…") > widest:
        text = text[:-1]
    return f"{text.rstrip()}…" if text else ""
