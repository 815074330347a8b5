"""How large image files are, from their headers alone."""

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image

from saccade.progress import track


def upright_sizes(paths: Sequence[Path], what: str = "measuring images") -> np.ndarray:
    """[M, 2] int32 (height, width) after EXIF; 0, 0 for a file that is no image. In parallel, with a progress bar."""
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        sizes = list(track(pool.map(upright_size, paths), what, len(paths)))
    return np.array(sizes, dtype=np.int32).reshape(-1, 2)


def upright_size(path: Path) -> tuple[int, int]:
    """(height, width) after EXIF; (0, 0) for a file that is no image."""
    try:
        with Image.open(path) as image:
            width, height = image.size
            turned = image.format != "TIFF" and image.getexif().get(0x0112, 1) >= 5
    except Exception:  # Pillow's plugins raise anything on damaged headers; who decodes the file says what is wrong
        return 0, 0
    return (width, height) if turned else (height, width)
