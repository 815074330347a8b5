"""Writing a set as YOLO has it; saccade/data/formats/yolo.py says how that is."""

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from saccade.data.formats.texts import fit_names
from saccade.data.formats.writing import left_out, require, start_folder, write_images
from saccade.data.formats.yolo_lines import known_skeleton
from saccade.data.objects import Objects
from saccade.data.sizes import upright_sizes
from saccade.data.source import Source
from saccade.geometry.masks import Mask, Polygon, bitmap, polygon_from_bitmap
from saccade.geometry.view import Size
from saccade.progress import track
from saccade.structures import Instances, Skeleton

NEAR = 0.01  # pixels; COCO's boxes are rounded to so much


def write(source: Source, out: Path) -> list[str]:
    """A copy of the set: images/train, labels/train ... and data.yaml; images/ and labels/ where it is not divided."""
    require(source, ("objects",), "YOLO")
    start_folder(out)
    lost: Counter[str] = Counter()
    classes, changed = fit_names(source.classes)
    about: dict[str, Any] = {"path": "."}
    objects = [split.objects for split in source.splits.values() if split.objects is not None]
    skeleton = next((own.skeleton for own in objects if own.skeleton is not None), None)
    for name, split in source.splits.items():
        folder = Path("images") if name == "all" else Path("images", name)
        files = [out / folder / own for own in write_images(split, out / folder, changed)]
        if name != "all":
            about[name] = folder.as_posix()
        if split.objects is not None:
            _write_labels(split.objects, files, skeleton, lost)
    about["names"] = dict(enumerate(classes))
    if skeleton is not None:
        about |= _about(skeleton, len(classes))
        lost["edges of the skeleton were left out"] += len(skeleton.edges)
        lost["sigmas of keypoints were left out"] += sum(
            sigma != known for sigma, known in zip(skeleton.sigmas, known_skeleton(skeleton.names).sigmas, strict=True)
        )
    text = yaml.safe_dump(about, sort_keys=False, allow_unicode=True)
    if "all" in source.splits:
        text = f"# Not divided: what trains on this wants lines as 'train: images' and 'val: images'.\n{text}"
    (out / "data.yaml").write_text(text, encoding="utf-8")
    # A line holds keypoints or a mask.
    kinds = ("crowd", "difficult", "areas", "labels", "label maps", *(["masks"] if skeleton is not None else []))
    never = left_out(list(source.splits.values()), kinds)
    return never + [f"{count:,} {what}" for what, count in lost.items() if count] + changed


def _about(skeleton: Skeleton, classes: int) -> dict[str, Any]:
    return {
        "kpt_shape": [len(skeleton.names), 3],
        "flip_idx": list(skeleton.mirror),
        # A list of its own for each class: of a shared one YAML writes an alias, and reading refuses those.
        "kpt_names": {label: list(skeleton.names) for label in range(classes)},
    }


def labels_for(image: Path) -> Path:
    """Where the labels of an image, or of a folder of images, are: the last part called "images" becomes "labels"."""
    parts = list(image.parts)
    if "images" in parts:
        parts[len(parts) - 1 - parts[::-1].index("images")] = "labels"
    return Path(*parts)


def _write_labels(objects: Objects, images: list[Path], skeleton: Skeleton | None, lost: Counter[str]) -> None:
    measured = upright_sizes(images)
    sizes = np.where(measured > 0, measured, objects.sizes)
    for index, image in enumerate(track(images, "writing labels", len(images))):
        own, (height, width) = objects[index], sizes[index].tolist()
        lines: list[str] = []
        if height and width:
            lines = [_line(own, n, (height, width), skeleton, lost) for n in range(len(own))]
        else:
            lost["objects are in images of unknown size and were left out"] += len(own)
        file = labels_for(image).with_suffix(".txt")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def _line(own: Instances, n: int, size: Size, skeleton: Skeleton | None, lost: Counter[str]) -> str:
    """One object: with its keypoints if there are any in the set, else with its mask if it has one."""
    scale = np.array([size[1], size[0]], dtype=np.float64)
    x0, y0, x1, y1 = own.boxes[n].tolist()
    numbers = np.array([(x0 + x1) / 2, (y0 + y1) / 2, x1 - x0, y1 - y0]) / np.tile(scale, 2)
    mask = None if own.masks is None else own.masks[n]
    if skeleton is not None:
        none = np.zeros((len(skeleton.names), 3))
        points = (none if own.keypoints is None else own.keypoints[n].astype(np.float64)) / np.append(scale, 1)
        numbers = np.concatenate([numbers, points.ravel()])
    elif mask is not None:
        ring = ring_of(mask, size)
        if ring is None:
            lost["masks are empty or cannot be drawn; they became boxes"] += 1
        else:
            corners = np.concatenate([ring.min(axis=0), ring.max(axis=0)])
            lost["boxes became those around their masks, which differ"] += bool(
                np.abs(corners - own.boxes[n]).max() > NEAR
            )
            numbers = (ring / scale).ravel()
    return f"{own.labels[n]} " + " ".join(f"{number:.12g}" for number in numbers.tolist())


def ring_of(mask: Mask, size: Size) -> np.ndarray | None:
    """The mask as the one ring that a line holds, [V, 2] float64 (x, y); None for an empty or impossible one.

    Rings are joined by cuts of no width from the first point of the first one, and back: no pixel changes. Where rings
    overlap, a cut would make a hole of it, so the outline of the pixels takes their place.

    size  (height, width) of the image
    """
    try:
        if isinstance(mask, Polygon):
            joined = _joined(mask)
            if len(mask.rings) == 1 or np.array_equal(bitmap(Polygon((joined,)), size), bitmap(mask, size)):
                return joined
        outline = polygon_from_bitmap(bitmap(mask, size))
    except ValueError:
        return None
    return _joined(outline) if outline.rings else None


def _joined(polygon: Polygon) -> np.ndarray:
    first, *others = (np.asarray(ring, dtype=np.float64) for ring in polygon.rings)
    parts = [first]
    for ring in others:
        parts += [first[:1], ring, ring[:1]]
    return np.concatenate(parts)
