"""A small set with everything that can be known of images, for tests of formats, of the check and of conversions."""

from pathlib import Path

import numpy as np
from PIL import Image

from saccade.data.label_maps import LabelMaps
from saccade.data.objects import Objects, PackedMasks, starts_of
from saccade.data.source import Source, Split
from saccade.geometry.masks import Mask, Polygon, runs_from_bitmap
from saccade.structures import VOID, Skeleton

CLASSES = ("cat", "dog", "wild boar")
HEIGHT, WIDTH = 40, 60
SKELETON = Skeleton(("nose", "left_ear", "right_ear"), ((0, 1), (0, 2)), (0, 2, 1), (0.05, 0.05, 0.05))


def objects_of(source: Source, split: str = "all") -> Objects:
    """The objects of a split that has some."""
    objects = source.splits[split].objects
    assert objects is not None
    return objects


def ring(*corners: float) -> np.ndarray:
    """[V, 2] float32 from x, y, x, y ..."""
    return np.array(corners, dtype=np.float32).reshape(-1, 2)


def with_hole() -> Mask:
    """A square with a hole, as runs."""
    bitmap = np.zeros((HEIGHT, WIDTH), dtype=bool)
    bitmap[10:30, 10:30], bitmap[16:20, 14:25] = True, False
    return runs_from_bitmap(bitmap)


def everything(folder: Path, images: int = 4, names: tuple[str, ...] = ("train", "val")) -> Source:
    """A set of made-up images in `folder`, with boxes, masks, keypoints, pixels; the last one has no object."""
    return Source(
        str(folder), "made up", CLASSES, {name: _split(folder / name, images, k) for k, name in enumerate(names)}
    )


def _split(folder: Path, images: int, number: int) -> Split:
    folder.mkdir(parents=True)
    rng = np.random.default_rng(number)
    paths = [folder / f"{number * images + i}.png" for i in range(images)]
    for path in paths:
        # Blocks of colour: what looks like noise at 8 x 8 still differs from picture to picture.
        blocks = rng.integers(0, 256, (HEIGHT // 5, WIDTH // 5, 3), dtype=np.uint8)
        Image.fromarray(blocks.repeat(5, 0).repeat(5, 1)).save(path)
    counts = [3] * (images - 1) + [0]
    total = sum(counts)
    masks: list[Mask | None] = [
        Polygon((ring(2, 3, 20.5, 3, 20.5, 17.25, 2, 17.25),)),
        with_hole(),
        Polygon((ring(30, 20, 50, 20, 50, 35), ring(31, 30, 31, 39, 36, 39))),
    ] * (images - 1)
    boxes = np.tile([[2, 3, 20.5, 17.25], [10, 10, 30, 30], [30, 20, 50, 39]], (images - 1, 1)).astype(np.float64)
    keypoints = np.zeros((total, 3, 3), dtype=np.float32)
    keypoints[::3] = [[10, 5, 2], [4, 6.5, 1], [0, 0, 0]]
    objects = Objects(
        starts=starts_of(counts),
        sizes=np.tile(np.array([[HEIGHT, WIDTH]], dtype=np.int32), (images, 1)),
        boxes=boxes,
        labels=np.tile([0, 1, 2], images - 1),
        crowd=np.tile([False, False, False], images - 1),
        difficult=np.tile([False, True, False], images - 1),
        areas=np.full(total, np.nan),
        masks=PackedMasks.pack(masks),
        keypoints=keypoints,
        skeleton=SKELETON,
        ids=np.arange(total) + 1,
        noun="object",
        files=["made up"],
    )
    maps = [rng.choice(np.array([0, 1, 2, VOID], dtype=np.uint8), (HEIGHT, WIDTH)) for _ in range(images)]
    pixels = LabelMaps(maps, ("ground", "cat", "dog"), {0: 0, 1: 1, 2: 2, VOID: VOID})
    return Split(paths, [path.name for path in paths], objects=objects, label_maps=pixels)
