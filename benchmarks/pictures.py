"""The photographs that are decoded: the same files for both sides."""

from pathlib import Path

import numpy as np
from PIL import Image

COUNT = 64


def write(folder: Path) -> None:
    """64 JPEG files of typical size, quality 90: windows of the two photographs inside scikit-learn, some mirrored.

    Half are 500 x 375, with the pixels as they are; half 640 x 480, for which the photographs are enlarged a little.
    """
    from sklearn.datasets import load_sample_images

    rng = np.random.default_rng(0)
    photographs = [Image.fromarray(array) for array in load_sample_images().images]
    enlarged = [photo.resize((720, 480), Image.Resampling.LANCZOS) for photo in photographs]
    for index in range(COUNT):
        photo, (width, height) = (photographs, (500, 375)) if index % 2 else (enlarged, (640, 480))
        photo = photo[index // 2 % 2]
        left = int(rng.integers(photo.width - width + 1))
        top = int(rng.integers(photo.height - height + 1))
        window = photo.crop((left, top, left + width, top + height))
        if rng.random() < 0.5:
            window = window.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        window.save(folder / f"{index:03}.jpg", quality=90)
