"""The quick road for plain JPEG files: their size from a few bytes, their pixels by OpenCV, to the bit as Pillow gives.

Whatever is not plain (turned, CMYK, tagged by Adobe, damaged) gives None here and takes the long road in `decode.py`.
"""

import cv2
import numpy as np

from saccade.geometry.view import Size

START, SCAN = b"\xff\xd8", 0xDA
FRAMES = (0xC0, 0xC1, 0xC2)  # baseline, extended, progressive
TAGGED = (0xE1, 0xEE)  # EXIF or XMP, which may turn the image, and Adobe's, which may change its colours
REDUCED = {1: 0, 2: 16, 4: 32, 8: 64}  # OpenCV's flags for decoding at 1/2, 1/4, 1/8


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


def decode(content: bytes, grey: bool, factor: int) -> np.ndarray | None:
    """Pixels [h, w] or [h, w, 3] (RGB) uint8, at 1/`factor` of the size; None for what OpenCV cannot read."""
    flags = cv2.IMREAD_IGNORE_ORIENTATION | REDUCED[factor] | (cv2.IMREAD_GRAYSCALE if grey else cv2.IMREAD_COLOR_RGB)
    try:
        return cv2.imdecode(np.frombuffer(content, dtype=np.uint8), flags)
    except cv2.error:
        return None
