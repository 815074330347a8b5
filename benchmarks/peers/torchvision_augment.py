"""torchvision's transforms.v2 on PIL images: python -m benchmarks.peers.torchvision_augment FOLDER."""

import sys
import time
from pathlib import Path

import torch
from PIL import Image
from torchvision.transforms import v2

from benchmarks.worker import serve, versions

PASSES = 4


def main(folder: str) -> None:
    """A round is four passes over the folder."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    paths = sorted(Path(folder).glob("*.jpg"))
    transform = v2.Compose(
        [
            v2.RandomResizedCrop(224, scale=(0.08, 1.0), antialias=True),
            v2.RandomHorizontalFlip(0.5),
            v2.ColorJitter(brightness=0.4, contrast=0.4, saturation=0.4),
            v2.PILToTensor(),
        ]
    )

    def one_round() -> tuple[int, float]:
        started = time.perf_counter()
        for _ in range(PASSES):
            for path in paths:
                # As torchvision.datasets.folder.pil_loader does it.
                with path.open("rb") as file:
                    image = Image.open(file).convert("RGB")
                transform(image)
        return PASSES * len(paths), time.perf_counter() - started

    one_round()
    serve({"peer": one_round}, versions("torch", "torchvision", "pillow"))


if __name__ == "__main__":
    main(sys.argv[1])
