"""A set as COCO files. Numbers are written by the fewest digits that are read back as the same number."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO

import msgspec
import numpy as np

from saccade.data.formats.writing import left_out, require, start_folder, write_images
from saccade.data.objects import Objects
from saccade.data.source import Source, Split
from saccade.geometry.decimals import shortest
from saccade.geometry.masks import Mask, Runs, area, compressed
from saccade.geometry.view import Size
from saccade.progress import track
from saccade.structures import Skeleton


def write(source: Source, out: Path) -> list[str]:
    """A copy in the new folder `out`: annotations/instances_<split>.json beside <split>/ with the images.

    Images, categories and annotations keep the ids that COCO files gave them; others are numbered from 1. An area that
    the set does not give is the mask's, or else the box's.
    """
    require(source, ("objects",), "COCO")
    start_folder(out)
    (out / "annotations").mkdir()
    categories, lost = _categories(source), list[str]()
    for name, split in source.splits.items():
        names = write_images(split, out / name, lost)
        with (out / "annotations" / f"instances_{name}.json").open("wb") as file:
            _write_split(file, split, names, categories)
    return left_out(list(source.splits.values()), ("difficult", "labels", "label maps")) + lost


def _categories(source: Source) -> list[dict[str, Any]]:
    """The classes; keypoints are named where objects of the class have some, or everywhere if none has."""
    all_objects = [split.objects for split in source.splits.values() if split.objects is not None]
    skeleton = next((objects.skeleton for objects in all_objects if objects.skeleton is not None), None)
    known = next((objects.class_ids for objects in all_objects if objects.class_ids is not None), None)
    ids = range(1, len(source.classes) + 1) if known is None else known.tolist()
    categories: list[dict[str, Any]] = [{"id": id, "name": name} for id, name in zip(ids, source.classes, strict=True)]
    if skeleton is None:
        return categories
    marked = [o.labels[o.keypoints.any(axis=(1, 2))] for o in all_objects if o.keypoints is not None]
    posed = np.unique(np.concatenate(marked)).tolist() or range(len(categories))
    for label in posed:
        categories[label] |= skeleton_entries(skeleton)
    return categories


def skeleton_entries(skeleton: Skeleton) -> dict[str, Any]:
    """What a category says of its keypoints; COCO counts them from 1."""
    return {"keypoints": list(skeleton.names), "skeleton": [[a + 1, b + 1] for a, b in skeleton.edges]}


def _write_split(file: BinaryIO, split: Split, names: Sequence[str], categories: list[dict[str, Any]]) -> None:
    sizes = [_size(split, index) for index in range(len(split))]
    known = None if split.objects is None else split.objects.image_ids
    ids = list(range(1, len(split) + 1)) if known is None else known.tolist()
    images = [
        {"id": id, "file_name": name, "width": width, "height": height}
        for id, name, (height, width) in zip(ids, names, sizes, strict=True)
    ]
    file.write(b'{"info":{},"licenses":[],"images":' + msgspec.json.encode(images))
    file.write(b',"categories":' + msgspec.json.encode(categories) + b',"annotations":[')
    if split.objects is not None:
        objects = replace(split.objects, sizes=np.array(sizes, dtype=np.int32).reshape(-1, 2))
        _write_annotations(file, objects, ids, categories)
    file.write(b"]}\n")


def _size(split: Split, index: int) -> Size:
    """(height, width), from the image itself where the set does not say."""
    if split.objects is not None and split.objects.sizes[index].all():
        height, width = split.objects.sizes[index].tolist()
        return height, width
    return split.open(index).size


def _write_annotations(
    file: BinaryIO, objects: Objects, image_ids: list[int], categories: list[dict[str, Any]]
) -> None:
    numbered = objects.noun == "annotation" and (objects.ids > 0).all() and len(set(objects.ids)) == objects.count
    ids = objects.ids if numbered else np.arange(1, objects.count + 1)
    boxes = xywh_from_xyxy(objects.boxes)
    # All numbers at once: a ring at a time would take ten times as long.
    if objects.masks is not None:
        objects = replace(objects, masks=replace(objects.masks, points=shortest(objects.masks.points)))
    if objects.keypoints is not None:
        objects = replace(objects, keypoints=shortest(objects.keypoints))
    for image in track(range(len(objects)), "writing annotations", len(objects)):
        found = objects[image]
        masks = found.masks or (None,) * len(found)
        for n, m in enumerate(range(int(objects.starts[image]), int(objects.starts[image + 1]))):
            annotation: dict[str, Any] = {
                "id": int(ids[m]),
                "image_id": image_ids[image],
                "category_id": categories[objects.labels[m]]["id"],
                "bbox": boxes[m].tolist(),
                "area": _area(float(objects.areas[m]), masks[n], boxes[m]),
                "iscrowd": int(objects.crowd[m]),
                "segmentation": segmentation_of(masks[n]),
            }
            if objects.keypoints is not None and "keypoints" in categories[objects.labels[m]]:
                annotation["num_keypoints"] = int((objects.keypoints[m, :, 2] > 0).sum())
                annotation["keypoints"] = objects.keypoints[m].ravel().tolist()
            # Whole numbers without a point, as COCO has them. The one text in it, compressed runs, has no point either.
            text = msgspec.json.encode(annotation).replace(b".0,", b",").replace(b".0]", b"]")
            file.write((b",\n" if m else b"\n") + text)


def _area(said: float, mask: Mask | None, box: np.ndarray) -> float:
    if not np.isnan(said):
        return said
    return float(box[2] * box[3]) if mask is None else area(mask)


def segmentation_of(mask: Mask | None) -> "list[list[float]] | dict[str, Any]":
    """A mask as COCO writes it: rings of numbers, or compressed runs; an empty list for none."""
    if mask is None:
        return []
    if isinstance(mask, Runs):
        return {"size": list(mask.size), "counts": compressed(mask).decode()}
    return [ring.ravel().tolist() for ring in mask.rings]


def xywh_from_xyxy(boxes: np.ndarray) -> np.ndarray:
    """[N, 4] float64 x, y, width, height; the sides of as few digits as possible, so that x + width is the end again.

    A plain difference is off by a rounding: 258.15 + 348.26 - 258.15 is not 348.26.

    boxes  [N, 4] float64 xyxy
    """
    starts, ends = boxes[:, :2], boxes[:, 2:]
    sides = ends - starts
    open = np.ones(sides.shape, dtype=bool)
    for digits in range(16):
        rounded = np.round(sides, digits)
        fits = open & (starts + rounded == ends)
        sides[fits], open[fits] = rounded[fits], False
        if not open.any():
            break
    return np.concatenate([starts, sides], axis=1)
