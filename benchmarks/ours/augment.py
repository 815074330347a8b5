"""Our road from a JPEG file to an augmented image: python -m benchmarks.ours.augment FOLDER."""

import itertools
import sys
import time
from pathlib import Path

import numpy as np
import torch

from benchmarks.worker import serve, versions
from saccade.data.augment import Augmentation
from saccade.data.loader import Dataset
from saccade.data.source import Split
from saccade.structures import Preprocessing

PASSES = 4


def main(folder: str) -> None:
    """A round is four epochs over the folder, each with its own random crops, mirrors and colours."""
    torch.set_num_threads(1)
    paths = sorted(Path(folder).glob("*.jpg"))
    split = Split(paths, [path.name for path in paths], np.zeros(len(paths), dtype=np.int64))
    augmentation = Augmentation(crop=(0.08, 1.0), flip=0.5, brightness=0.4, contrast=0.4, saturation=0.4)
    data = Dataset(split, Preprocessing.standard((224, 224)), augmentation)
    epochs = itertools.count()

    def one_round() -> tuple[int, float]:
        started = time.perf_counter()
        for epoch in itertools.islice(epochs, PASSES):
            for index in range(len(paths)):
                data[epoch, index]
        return PASSES * len(paths), time.perf_counter() - started

    one_round()
    serve({"ours": one_round}, versions("torch", "numpy", "pillow", "opencv-python-headless"))


if __name__ == "__main__":
    main(sys.argv[1])
