"""The quick road for plain JPEG files: their size from a few bytes, their pixels by simplejpeg: to the bit those that
Pillow gives, unless rough ones will do.

Whatever is not plain (turned, CMYK, tagged by Adobe, damaged) gives None here and takes the long road in `decode.py`.
"""

import math

import numpy as np
import simplejpeg

from saccade.geometry.view import Size

START, SCAN = b"\xff\xd8", 0xDA
FRAMES = (0xC0, 0xC1, 0xC2)  # baseline, extended, progressive
TAGGED = (0xE1, 0xEE)  # EXIF or XMP, which may turn the image, and Adobe's, which may change its colours


def plain_size(content: bytes) -> Size | None:
    """(height, width) of a JPEG of 8 bits, grey or colour, without tags; None for any other file."""
    at, size = 2, None
    while content.startswith(START) and at + 9 < len(content) and content[at] == 0xFF:
        marker, length = content[at + 1], int.from_bytes(content[at + 2 : at + 4])
        if marker == SCAN:
            return size
        if marker in TAGGED or length < 2:
            return None
        if marker in FRAMES:
            height, width = (int.from_bytes(content[at + i : at + i + 2]) for i in (5, 7))
            if content[at + 4] != 8 or content[at + 9] not in (1, 3) or not height or not width:
                return None
            size = (height, width)
        at += 2 + length
    return None


def decode(content: bytes, size: Size, grey: bool, factor: int, rough: bool = False) -> np.ndarray | None:
    """Pixels [h, w] or [h, w, 3] (RGB) uint8, at 1/`factor` of `size`; None for what is damaged or no plain JPEG.

    rough  colour that is stored at half the resolution is repeated, not interpolated: for what will shrink anyway
    """
    # Asked for nothing, it decodes the whole; asked for the size at a factor, just that.
    height, width = (math.ceil(length / factor) if factor > 1 else 0 for length in size)
    try:
        pixels = simplejpeg.decode_jpeg(
            content, "GRAY" if grey else "RGB", min_height=height, min_width=width, fastupsample=rough
        )
    except ValueError:
        return None
    return pixels[..., 0] if grey else pixels
