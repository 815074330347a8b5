"""Pictures that look the same although their files differ: shrunk, saved again, a little brighter."""

from collections.abc import Sequence

import cv2
import numpy as np

from saccade.progress import track

# A picture below this many pixels a side says too little: two handwritten ones of 28 x 28 often agree by chance.
SMALLEST = 64
# How many of 64 bits two hashes may differ in; and then how much the small pictures may, in levels of 255. Copies that
# were shrunk, saved again at a low quality or brightened differ by at most 8 and mostly by 5; the nearest different
# pictures across the splits of five real sets differ by 10 bits, or 7 levels.
MOST_BITS, MOST_LEVELS = 8, 6.0
SIDE, SMALL = 32, 16


def fingerprint(pixels: np.ndarray) -> tuple[int, np.ndarray]:
    """What a picture looks like, in 64 bits and in 256 pixels.

    pixels  [H, W, C] uint8

    Returns the perceptual hash (the signs of the 64 lowest frequencies of the cosine transform of the picture at
    32 x 32, about their median; Zauner 2010, section 3.2.1) and the picture at 16 x 16, uint8, brightness evened out.
    """
    grey = pixels.mean(axis=2).astype(np.float32) if pixels.shape[2] > 1 else pixels[..., 0].astype(np.float32)
    grey = cv2.resize(grey, (SIDE, SIDE), interpolation=cv2.INTER_AREA)
    # Without the first row and column: they are the brightness and what a border adds.
    low = cv2.dct(grey)[1:9, 1:9].ravel()
    bits = np.packbits(low > np.median(low)).view(np.uint64)[0]
    small = cv2.resize(grey, (SMALL, SMALL), interpolation=cv2.INTER_AREA)
    even = (small - small.mean()) * (48 / max(float(small.std()), 1.0)) + 128
    return int(bits), np.clip(even, 0, 255).astype(np.uint8)


def near_copies(hashes: Sequence[np.ndarray], small: Sequence[np.ndarray]) -> list[tuple[int, int, int, int]]:
    """Pairs that look the same in two groups of pictures: (group, place, other group, other place), groups rising.

    hashes  one array a group, [N] uint64
    small   one array a group, [N, 16, 16] uint8
    """
    found = []
    pairs = [(a, b) for a in range(len(hashes)) for b in range(a + 1, len(hashes))]
    rows = [(a, b, row) for a, b in pairs for row in range(0, len(hashes[a]), 256)]
    for a, b, row in track(rows, "comparing splits", len(rows)):
        block = hashes[a][row : row + 256]
        near = np.bitwise_count(block[:, None] ^ hashes[b][None]) <= MOST_BITS
        for i, j in np.argwhere(near):
            levels = np.abs(small[a][row + i].astype(int) - small[b][j]).mean()
            if levels <= MOST_LEVELS:
                found.append((a, int(row + i), b, int(j)))
    return found
