"""albumentations fed by cv2.imread, as its docs do: python -m benchmarks.peers.albumentations_augment FOLDER."""

import sys
import time
from pathlib import Path

import albumentations
import cv2

from benchmarks.worker import serve, versions

PASSES = 4


def main(folder: str) -> None:
    """A round is four passes over the folder. INTER_AREA is OpenCV's antialiased way to shrink."""
    cv2.setNumThreads(0)
    paths = [str(path) for path in sorted(Path(folder).glob("*.jpg"))]
    jitter = {"brightness": (0.6, 1.4), "contrast": (0.6, 1.4), "saturation": (0.6, 1.4), "hue": (0.0, 0.0)}
    transform = albumentations.Compose(
        [
            albumentations.RandomResizedCrop(size=(224, 224), scale=(0.08, 1.0), interpolation=cv2.INTER_AREA),
            albumentations.HorizontalFlip(p=0.5),
            albumentations.ColorJitter(**jitter, p=1.0),
        ],
        seed=0,
    )

    def one_round() -> tuple[int, float]:
        started = time.perf_counter()
        for _ in range(PASSES):
            for path in paths:
                image = cv2.cvtColor(cv2.imread(path), cv2.COLOR_BGR2RGB)
                transform(image=image)
        return PASSES * len(paths), time.perf_counter() - started

    one_round()
    serve({"peer": one_round}, versions("albumentations", "numpy", "opencv-python-headless"))


if __name__ == "__main__":
    main(sys.argv[1])
