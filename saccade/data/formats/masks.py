"""Folders of images and of masks: a PNG of classes as large as each image, under the same name.

    images/ + masks/                   also image, img, imgs; mask, labels, label, annotations, annotation
    images/train/ + masks/train/       and val, test
    train/images/ + train/masks/       and val, test
    train/ + trainannot/               and val, test; also train_masks, train_labels
    a YAML file                        train: {images: FOLDER, masks: FOLDER} ... and classes: {0: road, 1: car ...}

The mask of images/a/1.jpg is masks/a/1.png, or 1_mask.png, 1_label.png, 1_L.png. Images without a mask, and masks
without an image, are faults. What the values mean is in classes.txt, beside these folders or above, a line a class:

    road                in this order, from the value 0 on
    7 road              the value 7 of grey or palette masks
    128 64 128 road     a colour of coloured masks; or #804080 road

A class called void, ignore, unlabelled or unlabeled is none: its pixels are void. So is the value 255, unless it has a
line. CamVid's 11, for one, is void with the twelve lines "0 sky" ... "11 void". Without classes.txt, the values that
occur become classes named after them; 255 is void then, unless it stands beside 0 alone, as in masks of one thing.
"""

import itertools
import os
import re
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from saccade.data.decode import SUFFIXES, pixel_limit
from saccade.data.findings import DataError, Findings
from saccade.data.formats.folder import SPLIT_NAMES, odd_splits
from saccade.data.formats.mask_classes import (
    TAKEN,
    Table,
    classes_file,
    named_in_yaml,
    of_values,
    table_of,
    values_of,
    with_palette,
)
from saccade.data.formats.side_by_side import by_stem, child, differ, files_below
from saccade.data.formats.texts import LARGEST_YAML, fit_names, yaml_of
from saccade.data.formats.writing import left_out, renumbered, require, start_folder, write_images
from saccade.data.label_maps import LabelMaps
from saccade.data.sizes import upright_sizes
from saccade.data.source import Source, Split
from saccade.progress import track
from saccade.structures import VOID

NAME = "images with masks"
IMAGES = ("images", "image", "imgs", "img")
MASKS = ("masks", "mask", "labels", "label", "annotations", "annotation")
BESIDE = ("annot", "_annot", "_masks", "_mask", "_labels", "_label")
ENDS = ("", "_mask", "_masks", "_label", "_labels", "_L", "-mask", "-label")
Pair = tuple[str, Path, Path]  # id, image, mask
VOID_COLOUR = (224, 224, 192)  # Pascal VOC's
LOSSLESS = (".png", ".bmp", ".gif", ".tif", ".tiff", ".pgm", ".ppm", ".pnm", ".webp")


def recognises(path: Path) -> bool:
    """Whether `path` has folders of images and of masks beside each other, or is a YAML file that names such."""
    try:
        if path.is_file():
            return _is_description(path)
        return path.is_dir() and (bool(_folders(path)) or _description(path) is not None)
    except OSError:
        return False
    except DataError:  # reading says it
        return True


def read(path: Path, findings: Findings) -> Source:
    """The set at `path`. An image without a mask of its size is left out where `findings` goes on."""
    file = path if path.is_file() else None if _folders(path) else _description(path)
    notes: list[str] = []
    if file is None:
        folders, table = _folders(path), table_of(path)
        _note_odd(folders, notes)
    else:
        about = yaml_of(file)
        folders, table = _described(about, file, notes), named_in_yaml(about.get("classes"), file)
    splits = {name: _pairs(*pair, findings) for name, pair in folders.items()}
    if table is None:
        splits, table = _by_values(splits, findings)
    for name in [name for name, pairs in splits.items() if not pairs]:
        notes.append(f"{name} was left out, for none of its images can be used")
        del splits[name]
    if not splits:
        raise DataError(f"{path} has no image with a mask; expected images/1.jpg and masks/1.png")
    table = with_palette(table, next(iter(splits.values()))[0][2])
    return Source(str(path), NAME, table.classes, {k: _split(v, table) for k, v in splits.items()}, tuple(notes))


def _split(pairs: list[Pair], table: Table) -> Split:
    ids, images, masks = (list(column) for column in zip(*pairs, strict=True))
    maps = LabelMaps(masks, table.classes, table.coding, table.colour, table.colours)
    return Split(images, ids, label_maps=maps)


def _holds_images(folder: Path) -> bool:
    files = (name for _, _, names in os.walk(folder) for name in names)
    return any(name.lower().endswith(SUFFIXES) for name in itertools.islice(files, 1000))


def _folders(path: Path) -> dict[str, tuple[Path, Path]]:
    """The folders of images and of masks of each split."""
    images, masks = child(path, IMAGES), child(path, MASKS)
    if images and masks:
        if not _holds_images(masks):
            return {}
        # A file that is no image, such as a system leaves, says nothing about how the set is divided.
        own = {
            entry.name.lower(): entry
            for entry in sorted(images.iterdir())
            if not entry.name.startswith(".") and (entry.is_dir() or entry.name.lower().endswith(SUFFIXES))
        }
        if own and all(name in SPLIT_NAMES and entry.is_dir() for name, entry in own.items()):
            differ(own)
            return {SPLIT_NAMES[name]: (entry, masks / entry.name) for name, entry in own.items()}
        return {"all": (images, masks)}
    here = {entry.name.lower(): entry for entry in sorted(path.iterdir()) if entry.is_dir()}
    found: dict[str, tuple[Path, Path]] = {}
    named: dict[str, Path] = {}
    for name in [name for name in here if name in SPLIT_NAMES]:
        pair = child(here[name], IMAGES), child(here[name], MASKS)
        if pair[0] is None:
            pair = here[name], next((here[name + end] for end in BESIDE if name + end in here), None)
        if pair[0] and pair[1] and _holds_images(pair[1]):
            named[name], found[SPLIT_NAMES[name]] = pair[0], (pair[0], pair[1])
    differ(named)
    return found


def _note_odd(folders: dict[str, tuple[Path, Path]], notes: list[str]) -> None:
    """Say so where some folders are called after splits and others not, so that all are read as one."""
    images = folders["all"][0] if "all" in folders else None
    if images is not None and (odd := odd_splits(images)):
        notes.append(odd)


def _is_description(file: Path) -> bool:
    if file.suffix.lower() not in (".yaml", ".yml"):
        return False
    with file.open("rb") as opened:
        content = opened.read(LARGEST_YAML)
    # Of each split, on lines of their own or in braces.
    return all(re.search(key, content, re.MULTILINE) for key in (rb"^[\"']?classes", rb"[\s{,][\"']?masks[\"']?\s*:"))


def _description(folder: Path) -> Path | None:
    files = sorted(entry for entry in folder.iterdir() if entry.suffix.lower() in (".yaml", ".yml"))
    return next((file for file in files[:20] if _is_description(file)), None)


def _described(about: dict[str, Any], file: Path, notes: list[str]) -> dict[str, tuple[Path, Path]]:
    """The folders that a YAML file names, as seen from its own."""
    folders: dict[str, tuple[Path, Path]] = {}
    for key, pair in about.items():
        if key not in SPLIT_NAMES:
            continue
        if not isinstance(pair, dict) or not all(isinstance(pair.get(kind), str) for kind in ("images", "masks")):
            raise DataError(f"{file}: {key}: expected 'images: FOLDER' and 'masks: FOLDER' but got {str(pair)[:50]!r}")
        images, masks = (
            Path(os.path.normpath(file.parent / pair[kind].replace("\0", ""))) for kind in ("images", "masks")
        )
        missing = next((folder for folder in (images, masks) if not os.path.isdir(folder)), None)
        if missing is None:
            folders[SPLIT_NAMES[key]] = (images, masks)
        else:
            notes.append(f"{key} was left out, for there is no folder {missing}")
    if not folders:
        raise DataError(f"{file} names no folders of images and masks that are there ({'; '.join(notes)})")
    return folders


def _pairs(images: Path, masks: Path, findings: Findings) -> list[Pair]:
    """The images of a folder that have a mask of their size."""
    own, waiting = files_below(images), by_stem(masks, "two masks", findings)
    pairs: list[Pair] = []
    claimed: dict[str, str] = {}
    for id, image in own.items():
        stem = id.rpartition(".")[0]
        match = next((stem + end for end in ENDS if stem + end in waiting), None)
        if match is None:
            reason = f"has no mask {masks / stem}.png"
            findings.add("missing mask", str(image), reason, "add the mask, or remove the image")
        elif match in claimed:
            reason = f"has the mask {waiting[match]}, and so has {claimed[match]}"
            findings.add("ambiguous mask", str(image), reason, "rename one of the images, and add its mask")
        else:
            claimed[match] = id
            pairs.append((id, image, waiting[match]))
    for stem in sorted(set(waiting) - set(claimed)):
        reason = f"there is no image {stem} in {images}"
        findings.add("missing image", str(waiting[stem]), reason, "add the image, or remove the mask")
    return _of_one_size(pairs, findings)


def _of_one_size(pairs: list[Pair], findings: Findings) -> list[Pair]:
    """Those whose mask is as large as the image; an image that cannot be read is not judged here."""
    sizes = upright_sizes([image for _, image, _ in pairs])
    mask_sizes = upright_sizes([mask for _, _, mask in pairs], "measuring masks")
    kept: list[Pair] = []
    for pair, (height, width), (mask_height, mask_width) in zip(pairs, sizes, mask_sizes, strict=True):
        mask = pair[2]
        reason = ""
        if mask.suffix.lower() not in LOSSLESS:
            reason = "is a JPEG file, which blurs labels into values that are none; expected a PNG file"
        elif not mask_height or not mask_width:
            reason = "cannot be read as an image"
        elif mask_height * mask_width > pixel_limit():
            reason = f"has {mask_height} x {mask_width} pixels; the limit is {pixel_limit():,}"
        elif height and (height, width) != (mask_height, mask_width):
            reason = f"is {mask_width} x {mask_height}, but its image is {width} x {height}"
        if reason:
            findings.add("broken mask", str(mask), reason, "make it again, as large as the image")
        else:
            kept.append(pair)
    return kept


def _by_values(splits: dict[str, list[Pair]], findings: Findings) -> tuple[dict[str, list[Pair]], Table]:
    """The pairs whose mask could be read, and classes from the values that occur in those."""
    files = [mask for pairs in splits.values() for _, _, mask in pairs]
    values, faults = values_of(files)
    for file, reason in faults.items():
        findings.add("broken mask", str(file), reason, "make it again")
    kept = {name: [pair for pair in pairs if pair[2] not in faults] for name, pairs in splits.items()}
    good = [file for file in files if file not in faults]
    return kept, of_values(values, good)


def write(source: Source, out: Path) -> list[str]:
    """A copy of the set: images/train, masks/train ... and classes.txt; images/ and masks/ where it is not divided.

    The masks are grey, with the labels as values and 255 as void; with a palette where the set has colours.
    """
    require(source, ("label_maps",), NAME)
    start_folder(out)
    lost: list[str] = []
    for name, split in source.splits.items():
        folder = "" if name == "all" else name
        names = write_images(split, out / "images" / folder, lost)
        if split.label_maps is not None:
            _write_maps(split.label_maps, out / "masks" / folder, names)
            classes, changed = fit_names(split.label_maps.classes, TAKEN)
            (out / "classes.txt").write_text(classes_file(classes), encoding="utf-8")
            lost += [line for line in changed if line not in lost]
    splits = list(source.splits.values())
    return left_out(splits, ("objects", "labels")) + renumbered(splits) + lost


def _write_maps(maps: LabelMaps, folder: Path, names: list[str]) -> None:
    for index, name in enumerate(track(names, "writing masks", len(names))):
        file = folder / f"{name.rpartition('.')[0]}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        image = Image.fromarray(maps[index].labels)
        if maps.colours is not None:
            colours = np.full((VOID + 1, 3), VOID_COLOUR, dtype=np.uint8)
            colours[: len(maps.colours)] = maps.colours
            image.putpalette(colours.tobytes())
        image.save(file)
