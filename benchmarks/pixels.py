"""What both sides learn in the benchmarks of segmentation: images in which every pixel has a class."""

import numpy as np

BATCH, SIDE, CLASSES = 4, 320, 21


def batch() -> tuple[np.ndarray, np.ndarray]:
    """Images [B, H, W, 3] uint8 and labels [B, H, W] uint8, in blocks of 20 x 20 pixels."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (BATCH, SIDE, SIDE, 3), dtype=np.uint8)
    blocks = rng.integers(0, CLASSES, (BATCH, SIDE // 20, SIDE // 20), dtype=np.uint8)
    return images, blocks.repeat(20, axis=1).repeat(20, axis=2)
