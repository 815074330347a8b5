"""How large image files are, from their headers alone."""

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import IO

import numpy as np
from PIL import Image

from saccade.progress import track


def upright_sizes(paths: Sequence[Path], what: str = "measuring images") -> np.ndarray:
    """[M, 2] int32 (height, width) after EXIF; 0, 0 for a file that is no image. In parallel, with a progress bar."""
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        sizes = list(track(pool.map(upright_size, paths), what, len(paths)))
    return np.array(sizes, dtype=np.int32).reshape(-1, 2)


def upright_size(path: Path | IO[bytes]) -> tuple[int, int]:
    """(height, width) after EXIF; (0, 0) for a file, or an open one, that is no image."""
    try:
        with Image.open(path) as image:
            width, height = image.size
            # Pillow looks for a PNG's EXIF behind its pixels too, and decodes them to get there; it need not where
            # there is none.
            plain = image.format == "TIFF" or (image.format == "PNG" and not _has_exif(image.fp))
            turned = not plain and image.getexif().get(0x0112, 1) >= 5
    except Exception:  # Pillow's plugins raise anything on damaged headers; who decodes the file says what is wrong
        return 0, 0
    return (width, height) if turned else (height, width)


def _has_exif(file: IO[bytes] | None) -> bool:
    """Whether a PNG file may say how it lies, wherever that stands: in a chunk of EXIF, or in a text that begins as
    ImageMagick and XMP begin theirs. The file is left where it was."""
    if file is None:
        return True
    before, found = file.tell(), False
    file.seek(8)
    while not found and len(head := file.read(8)) == 8 and head[4:] != b"IEND":
        length = int.from_bytes(head[:4], "big")
        begin = file.read(min(length, 17)) if head[4:] in (b"tEXt", b"zTXt", b"iTXt") else b""
        found = head[4:] == b"eXIf" or begin.startswith((b"Raw profile type ", b"XML:com.adobe.xmp"))
        file.seek(length - len(begin) + 4, os.SEEK_CUR)
    file.seek(before)
    return found
