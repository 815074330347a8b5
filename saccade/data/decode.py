"""The one decoder: any image file to upright uint8 pixels, or an error that says what is wrong with it.

Orientation (EXIF) is applied here and nowhere else. CMYK becomes RGB, 16 bits become 8, transparency is laid
on white, an animation gives its first frame. JPEG can be decoded at 1/2, 1/4 or 1/8 of its size, much faster.
"""

import io
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from saccade.data import jpeg
from saccade.errors import SaccadeError, UsageError
from saccade.geometry.view import Size, View
from saccade.structures import Preprocessing, Sample

SUFFIXES = (".jpg", ".jpeg", ".jfif", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm", ".pnm")

# Threads of OpenCV's own would only compete with the loader's processes.
cv2.setNumThreads(0)

# glibc hands freed memory back to the kernel beyond a threshold that grows with the largest block freed so far. One
# large block, once, and the pixels of every image lie where the last ones did, on pages that are already there.
del [np.empty(30 << 20, dtype=np.uint8)][0]

# Pillow warns of oddities that do not keep it from decoding; what does is an error, and ours.
warnings.filterwarnings("ignore", module=r"PIL\..*")


class DecodeError(SaccadeError):
    """An image that cannot be read: `id` names it, `reason` says why."""

    def __init__(self, id: str, reason: str) -> None:
        super().__init__(id, reason)
        self.id, self.reason = id, reason

    def __str__(self) -> str:
        return f"{self.id}: {self.reason}"


class TooLarge(DecodeError):
    """An image that would unpack to more pixels than are allowed."""


class UnknownKind(DecodeError):
    """A file that is no image."""


def pixel_limit() -> int:
    """The most pixels an image may have: 256 million, or SACCADE_PIXEL_LIMIT (in millions).

    Raises UsageError when that is not a number above 0.
    """
    text = os.environ.get("SACCADE_PIXEL_LIMIT", "256")
    try:
        return int(float(text) * 1e6)
    except (ValueError, OverflowError):
        raise UsageError(f"SACCADE_PIXEL_LIMIT must be a number of millions, got {text!r}") from None


class Picture(Protocol):
    """An image that knows its size before its pixels are decoded."""

    size: Size  # (height, width), upright

    def pixels(self, mode: str, shrink: float = 1.0) -> tuple[np.ndarray, int]:
        """The pixels [h, w, C] uint8, and the whole factor they were reduced by.

        mode    "RGB" or "L"
        shrink  how many original pixels one pixel of the result may span: a licence to decode roughly (above 1) and at
                reduced size (from 4 on)
        """
        ...


def render(picture: Picture, view: View, preprocessing: Preprocessing) -> np.ndarray:
    """The image a network sees: [H, W, C] uint8, decoded no larger than needed and resampled once.

    What lies beyond the image gets the mean colour, which normalisation turns into 0.
    """
    pixels, reduced = picture.pixels(preprocessing.mode, view.shrink)
    fill = tuple(round(255 * mean) for mean in preprocessing.mean)
    return view.apply(pixels, reduced=reduced, fill=fill)


def prepare(picture: Picture, preprocessing: Preprocessing) -> Sample:
    """A picture as a network looks at it when it is to say what it is."""
    view = preprocessing.view(picture.size)
    return Sample(render(picture, view, preprocessing), None, view, "")


class ArrayPicture:
    """An image in memory: [H, W] or [H, W, 3] (RGB) uint8."""

    def __init__(self, array: np.ndarray) -> None:
        if array.dtype != np.uint8 or array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[2] != 3):
            raise DecodeError("image", f"an array must be uint8 [H, W] or [H, W, 3], got {array.dtype} {array.shape}")
        if 0 in array.shape:
            raise DecodeError("image", f"an array must have pixels, got shape {list(array.shape)}")
        self.array = array
        self.size: Size = (array.shape[0], array.shape[1])

    def pixels(self, mode: str, shrink: float = 1.0) -> tuple[np.ndarray, int]:
        return _in_mode(self.array, mode), 1


class FilePicture:
    """An image file, opened: its header is read, its pixels are not.

    source  a path, or the content of a file
    name    what errors call it; the path unless said otherwise
    """

    def __init__(self, source: str | Path | bytes, name: str | None = None) -> None:
        self.name = name or ("image" if isinstance(source, bytes) else str(source))
        self.content = source if isinstance(source, bytes) else _read(Path(source), self.name)
        if not self.content:
            raise DecodeError(self.name, "is empty (0 bytes)")
        self.orientation, self.image = 1, None
        if plain := jpeg.plain_size(self.content):
            check_pixels(plain, self.name)
            self.jpeg, self.stored, self.size = True, plain, plain
            return
        self.image = _open(self.content, self.name)
        self.jpeg = self.image.format == "JPEG" and self.image.mode in ("RGB", "L")
        with _blame(self.name, self.image.format):
            orientation = self.image.getexif().get(0x0112, 1)
        # Pillow turns TIFF files itself.
        if orientation in range(1, 9) and self.image.format != "TIFF":
            self.orientation = orientation
        width, height = self.image.size
        self.stored: Size = (height, width)
        self.size: Size = (width, height) if self.orientation >= 5 else (height, width)

    def pixels(self, mode: str, shrink: float = 1.0) -> tuple[np.ndarray, int]:
        """As `Picture.pixels`. May be called once: a decoder told to reduce cannot start again."""
        factor = self._factor(shrink) if self.jpeg else 1
        array = jpeg.decode(self.content, self.stored, mode == "L", factor, rough=shrink > 1) if self.jpeg else None
        if array is None:
            factor, array = 1, self._decode_long(grey=mode == "L")
        return np.ascontiguousarray(_upright(_in_mode(array, mode), self.orientation)), factor

    def _decode_long(self, grey: bool) -> np.ndarray:
        """By Pillow, which takes every format, and says what is wrong with a damaged file."""
        image = self.image or _open(self.content, self.name)
        with _blame(self.name, image.format):
            return _to_uint8(image, grey)

    def _factor(self, shrink: float) -> int:
        """The smallest size to decode at so that two pixels or more go into one of the result."""
        for factor in (8, 4, 2):
            # A turned image counts its pixels from the far end, where a ragged last one would shift them all.
            ragged = self.orientation != 1 and any(length % factor for length in self.size)
            if shrink >= 2 * factor and not ragged:
                return factor
        return 1


def to_picture(image: "str | Path | bytes | np.ndarray | Image.Image") -> Picture:
    """Whatever a person holds: a path, the bytes of a file, an array [H, W] or [H, W, 3] uint8 RGB, a Pillow image."""
    if isinstance(image, (str, Path, bytes)):
        return FilePicture(image)
    if isinstance(image, Image.Image):
        with _blame("image", image.format):
            return ArrayPicture(_to_uint8(ImageOps.exif_transpose(image), grey=False))
    if isinstance(image, np.ndarray):
        return ArrayPicture(image)
    raise DecodeError("image", f"expected a path, bytes, a numpy array or a Pillow image, got {type(image).__name__}")


def _read(path: Path, name: str) -> bytes:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DecodeError(name, f"cannot be read ({error.strerror})") from None
    return content


def _open(content: bytes, name: str) -> Image.Image:
    """The image with its header read; refused when it would unpack to more pixels than the limit."""
    limit = pixel_limit()
    # Pillow has a limit of its own, which must not be the lower one.
    Image.MAX_IMAGE_PIXELS = max(Image.MAX_IMAGE_PIXELS or 0, limit)
    try:
        image = Image.open(io.BytesIO(content))
    except UnidentifiedImageError:
        raise UnknownKind(name, f"is not an image: it begins with {content[:12]!r}") from None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise TooLarge(name, f"has far more pixels than the limit of {limit:,}") from None
    except Exception as error:  # Pillow's plugins raise anything on damaged headers
        raise DecodeError(name, f"has a damaged header ({error})") from None
    check_pixels((image.size[1], image.size[0]), name)
    return image


def check_pixels(size: Size, name: str) -> None:
    """Raise TooLarge for an image of (height, width) with more pixels than the limit."""
    height, width = size
    if width * height > (limit := pixel_limit()):
        raise TooLarge(
            name, f"has {height} x {width} pixels, the limit is {limit:,}; SACCADE_PIXEL_LIMIT (in millions) raises it"
        )


@contextmanager
def _blame(name: str, format: str | None) -> Iterator[None]:
    """Turn whatever a decoder raises on a damaged file into one error that names it."""
    try:
        yield
    except DecodeError as error:
        raise type(error)(name, error.reason) from None
    except MemoryError:
        raise
    except Exception as error:  # Pillow's plugins raise OSError, SyntaxError, struct.error, zlib.error, ...
        raise DecodeError(name, f"is a damaged {format} file ({error})") from None


def _to_uint8(image: Image.Image, grey: bool) -> np.ndarray:
    """Pixels [h, w] or [h, w, 3] (RGB) uint8 of any Pillow mode."""
    if image.mode.startswith("I"):
        deep = np.asarray(image).astype(np.int64)
        if deep.min() < 0 or deep.max() > 65535:
            raise DecodeError("image", f"has values from {deep.min()} to {deep.max()}; 8 or 16 bits are expected")
        return ((deep * 255 + 32767) // 65535).astype(np.uint8)
    if image.mode == "F":
        raise DecodeError("image", "has floating-point pixels; save it with 8 or 16 bits a channel")
    if image.has_transparency_data:
        opaque = image.convert("RGBA")
        image = Image.new("RGBA", opaque.size, "white")
        image.alpha_composite(opaque)
    mode = "L" if grey or image.mode in ("1", "L") else "RGB"
    return np.asarray(image if image.mode == mode else image.convert(mode))


def _in_mode(array: np.ndarray, mode: str) -> np.ndarray:
    """[h, w] or [h, w, 3] RGB as [h, w, C] in the channels of `mode`."""
    if mode == "L":
        return (array if array.ndim == 2 else cv2.cvtColor(array, cv2.COLOR_RGB2GRAY))[..., None]
    return array if array.ndim == 3 else cv2.cvtColor(array, cv2.COLOR_GRAY2RGB)


def _upright(array: np.ndarray, orientation: int) -> np.ndarray:
    """[h, w, C] turned and mirrored as EXIF's orientation 1..8 says."""
    match orientation:
        case 2:
            return array[:, ::-1]
        case 3:
            return array[::-1, ::-1]
        case 4:
            return array[::-1]
        case 5:
            return array.transpose(1, 0, 2)
        case 6:
            return np.rot90(array, -1)
        case 7:
            return array[::-1, ::-1].transpose(1, 0, 2)
        case 8:
            return np.rot90(array)
        case _:
            return array
