"""What is known of an image, as the metric compares it and as the loss does."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from saccade.data.augment import Look
from saccade.data.bend import move_instances, move_labels
from saccade.data.decode import ArrayPicture, FilePicture
from saccade.data.findings import DataError
from saccade.data.source import Split, labels_of
from saccade.geometry import boxes as geometry
from saccade.geometry.masks import Runs, box
from saccade.geometry.view import Size
from saccade.structures import ColourMap, Instances, Known, LabelMap

# Of a thing that training moves over the edge of the image: how much must still be inside, and how many pixels across.
SEEN, ACROSS = 0.1, 0.1


def truth_of(split: Split, index: int, size: Size, known: Known) -> Any:
    """What is known of one image, in original pixels: its label 0..K-1, its `Instances`, its `LabelMap`, or the
    `ColourMap` it should become.

    size  (height, width) of the upright image

    Raises DataError when nothing of this kind is known.
    """
    if known == "labels":
        return int(labels_of(split)[index])
    if known == "label_maps":
        return _map_of(split, index, size)
    if known == "targets":
        return _colours_of(split, index, size)
    if split.objects is None:
        raise DataError(
            "this data does not say where things are, which detection needs: "
            "it takes COCO, Pascal VOC or YOLO annotations, or a table of boxes"
        )
    things = split.objects[index]
    for mask in things.masks or ():
        if isinstance(mask, Runs) and tuple(mask.size) != tuple(size):
            raise DataError(
                f"{split.ids[index]}: a mask is of {mask.size[0]} x {mask.size[1]} pixels (height x width), but the "
                f"image has {size[0]} x {size[1]}; was it turned after it was marked? saccade check says more"
            )
    return replace(things, size=size)


def _map_of(split: Split, index: int, size: Size) -> LabelMap:
    if split.label_maps is None:
        raise DataError(
            "this data does not say of every pixel what it is, which segmentation needs: "
            "it takes images/ and masks/ side by side, PNG files of the same names, a value a class"
        )
    truth = split.label_maps[index]
    _check_size(split.label_maps.where(index), truth.size, split.ids[index], size)
    return truth


def _check_size(where: str, own: Size, id: str, size: Size) -> None:
    """Raise DataError when what belongs to an image is not as large as the image."""
    if own != size:
        raise DataError(
            f"{where}: has {own[0]} x {own[1]} pixels (height x width), but its image {id} has {size[0]} x {size[1]}; "
            f"it must be as large as the image"
        )


def _colours_of(split: Split, index: int, size: Size) -> ColourMap:
    if split.targets is None:
        raise DataError(
            "this data does not say what its images should become; image-to-image needs inputs/ and targets/ side by "
            "side, images of the same names"
        )
    target = split.targets[index]
    picture = FilePicture(target) if isinstance(target, Path) else ArrayPicture(target)
    _check_size(str(target) if isinstance(target, Path) else f"target {index}", picture.size, split.ids[index], size)
    return ColourMap(picture.pixels("RGB")[0])


def target_of(split: Split, truth: Any, look: Look, beyond: Sequence[int] = (0, 0, 0)) -> Any:
    """The same in network pixels, of an image as training sees it.

    beyond  the colour of what lies beyond the image, in colours that are learnt
    """
    if isinstance(truth, LabelMap):
        return move_labels(truth, look.view, look.field)
    if isinstance(truth, ColourMap):
        pixels = look.view.apply(truth.pixels, fill=beyond)
        return ColourMap(pixels if look.field is None else look.field.apply(pixels, fill=beyond))
    if not isinstance(truth, Instances):
        return truth
    # Regions with many things and things that do not count are no examples to learn from.
    learnt = np.ones(len(truth), dtype=bool)
    for left_out in (truth.crowd, truth.difficult):
        if left_out is not None:
            learnt &= ~left_out
    skeleton = split.objects.skeleton if split.objects else None
    moved = move_instances(truth.take(learnt), look.view, look.field, skeleton)
    if look.field is not None or look.view.affine.b or look.view.affine.d:
        moved = tight(moved)
    return inside(moved, look.by_centre)


def tight(things: Instances) -> Instances:
    """Boxes close around what has a mask: the box around a box that was turned has room to spare."""
    if things.masks is None:
        return things
    boxes = things.boxes.copy()
    for n, mask in enumerate(things.masks):
        if mask is not None and (around := box(mask)).any():
            boxes[n] = around
    return replace(things, boxes=boxes)


def inside(things: Instances, by_centre: bool = False) -> Instances:
    """What of the things is in the image: boxes end at its edge, keypoints beyond it are not marked any more, and what
    is all but gone is left out.

    by_centre  or, as SSD does, all whose middle lies beyond the edge
    """
    clipped = geometry.clip(things.boxes, things.size)
    sides, before = clipped[:, 2:] - clipped[:, :2], things.boxes[:, 2:] - things.boxes[:, :2]
    if by_centre:
        middles = (things.boxes[:, :2] + things.boxes[:, 2:]) / 2
        seen = np.all((middles >= 0) & (middles < things.size[::-1]), axis=1)
    else:
        seen = sides.prod(axis=1) >= SEEN * before.prod(axis=1)
    seen &= (sides >= ACROSS).all(axis=1)
    there = replace(things, boxes=clipped)
    if things.keypoints is not None:
        points, (height, width) = things.keypoints.copy(), things.size
        outside = ((points[..., :2] < 0) | (points[..., :2] > (width, height))).any(axis=-1)
        points[outside] = 0
        there = replace(there, keypoints=points)
    return there.take(seen)
