"""Pascal VOC (Everingham et al., IJCV 2010): an XML file of boxes an image, PNG files of classes and of objects.

Two layouts. The development kit's has JPEGImages/, Annotations/ and ImageSets/ (VOC2012, and what is made like it),
and perhaps SegmentationClass/ and SegmentationObject/; DATA is that folder, one above it, or ImageSets/Segmentation
for the images with pixel labels. The flat one has XML files beside the images, perhaps in train/, valid/ and test/.

Coordinates: the official files (source/database begins with "The VOC") count pixels from 1 and include the last, so
their boxes are [xmin - 1, ymin - 1, xmax, ymax] here. All others are taken as they stand, as continuous pixels.

Classes are the names that occur, sorted, which is VOC's own order of its 20; or the lines of a classes.txt. The values
of SegmentationClass are background 0, then the classes (VOC's 20 where all names are among them), 255 void; or the
lines of a labelmap.txt ("name:red,green,blue::"). The value i of SegmentationObject is the i-th object of the XML file.
Pixel labels and masks are read where every listed image has them. Pose, truncation and parts are passed over.
"""

import itertools
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
from PIL import Image

from saccade.data.findings import DataError, Findings
from saccade.data.formats.texts import fit_names, names_of, text_of
from saccade.data.formats.voc_files import (
    Annotation,
    Fault,
    colours_of_voc,
    paint_masks,
    read_annotation,
    read_masks,
    write_annotation,
)
from saccade.data.formats.voc_layout import Layout, child, find_layout, recognises
from saccade.data.formats.writing import left_out, renumbered, require, start_folder, write_images
from saccade.data.label_maps import LabelMaps
from saccade.data.objects import Objects, PackedMasks, starts_of
from saccade.data.sizes import upright_size, upright_sizes
from saccade.data.source import Source, Split
from saccade.geometry.masks import Mask, Polygon
from saccade.progress import track
from saccade.structures import VOID
from saccade.wording import counted

NAME = "Pascal VOC"
__all__ = ["NAME", "read", "recognises", "write"]
CLASSES = (
    *("aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow", "diningtable", "dog"),
    *("horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor"),
)
VOC_BORDER = 0xE0E0C0  # the colour of what nobody says anything about
COLOUR_LINE = re.compile(r"(.+):(\d{1,3}),(\d{1,3}),(\d{1,3}):[^:]*:[^:]*")


@dataclass
class _Entry:
    """One image of a split."""

    stem: str
    image: Path
    annotation: Annotation


def read(path: Path, findings: Findings) -> Source:
    """The set at `path`. An image without an XML file has no objects; a broken XML file takes its image out."""
    notes: list[str] = []
    layout = find_layout(path, findings, notes)
    wanted = list(dict.fromkeys(itertools.chain(*layout.splits.values())))
    parsed = _parse({stem: layout.annotations[stem] for stem in wanted if stem in layout.annotations}, findings)
    pairs = _pairs(layout, parsed, wanted, findings)
    entries = {name: _entries(stems, pairs) for name, stems in layout.splits.items()}
    for name in [name for name, own in entries.items() if not own]:
        notes.append(f"{name} was left out, for it has no image")
        del entries[name]
    listed = [entry for own in entries.values() for entry in own]
    if not listed:
        raise DataError(f"{layout.root} has no image that can be used; expected JPEGImages/1.jpg, Annotations/1.xml")
    bare = sum(entry.annotation.file == entry.image for entry in listed)
    has_objects = layout.flat or child(layout.root, "annotations") is not None
    if bare and has_objects:
        notes.append(f"{bare} images have no XML file: nothing is in them")
    if passed_over := sum(entry.annotation.passed_over for entry in listed):
        notes.append(f"the polygons or parts of {passed_over} objects were left out; only their boxes were read")
    if poses := sum(entry.annotation.poses for entry in listed):
        them = counted(poses, "object is", "objects are")
        notes.append(f"{them} marked as truncated, occluded or by a pose, which was passed over")
    found = {name for entry in listed for name in entry.annotation.names}
    classes = _listed_classes(layout.root, found) or tuple(sorted(found))
    has_masks = has_objects and _complete(layout, "SegmentationObject", listed, notes)
    maps = _map_classes(layout.root, classes) if _complete(layout, "SegmentationClass", listed, notes) else None
    splits = {}
    for name, own in entries.items():
        masks = _masks(layout.root, own, findings) if has_masks else None
        objects = _objects(own, classes, masks) if has_objects else None
        splits[name] = _split(own, objects, maps, layout)
    if not has_objects and maps is not None:
        classes = maps[0]
    return Source(str(path), NAME, classes, splits, tuple(notes))


def _parse(files: dict[str, Path], findings: Findings) -> dict[str, Annotation]:
    """The annotations of those files that are not broken as a whole."""
    parsed = {}
    for stem, file in track(files.items(), "reading annotations", len(files)):
        try:
            parsed[stem] = read_annotation(file, findings)
        except Fault as fault:
            findings.add("broken annotation file", str(file), str(fault), "mend it, or remove it and its image")
    return parsed


def _pairs(layout: Layout, parsed: dict[str, Annotation], wanted: list[str], findings: Findings) -> dict[str, _Entry]:
    """The image and the annotation of each stem; none for those whose annotation is broken.

    An annotation belongs to the image of its own name, or where there is none, to that of its <filename>.
    """
    pairs: dict[str, _Entry] = {}
    taken: dict[str, Path] = {}
    for stem in sorted(parsed, key=lambda stem: stem not in layout.images):
        own, annotation = stem, parsed[stem]
        if own not in layout.images:
            own = str(PurePosixPath(stem).parent / PurePosixPath(annotation.filename.replace("\\", "/")).stem)
        if own not in layout.images:
            reason = f"there is no image {stem}.jpg, nor {annotation.filename!r}, which the file names"
            findings.add("missing image", str(annotation.file), reason, "add the image, or remove the file")
        elif own in taken:
            reason = f"is about {annotation.filename!r}, and so is {taken[own]}"
            findings.add("two annotations", str(annotation.file), reason, "remove one of the two")
        else:
            taken[own] = annotation.file
            pairs[stem] = _Entry(own, layout.images[own], annotation)
    for stem in wanted:
        if stem not in layout.annotations and stem not in taken:
            pairs[stem] = _Entry(stem, layout.images[stem], Annotation(layout.images[stem]))
    return pairs


def _entries(stems: list[str], pairs: dict[str, _Entry]) -> list[_Entry]:
    return list({pairs[stem].stem: pairs[stem] for stem in stems if stem in pairs}.values())


def _listed_classes(root: Path, found: set[str]) -> tuple[str, ...] | None:
    """The lines of classes.txt, if it is there."""
    file = root / "classes.txt"
    if not file.is_file():
        return None
    classes = names_of(file)
    if missing := sorted(found - set(classes)):
        raise DataError(f"{file} does not name the class {missing[0]!r}, which objects are of; add a line")
    return classes


def _map_classes(root: Path, classes: tuple[str, ...]) -> tuple[tuple[str, ...], np.ndarray]:
    """What the values of SegmentationClass mean, from 0 on, and their colours."""
    file = root / "labelmap.txt"
    if not file.is_file():
        names = ["background", *(CLASSES if set(classes) <= set(CLASSES) else classes)]
        return tuple(names), colours_of_voc()[: len(names)]
    names, colours = [], []
    for number, line in enumerate(text_of(file).splitlines(), 1):
        if match := COLOUR_LINE.fullmatch(line.strip()):
            names.append(match[1])
            colours.append([int(value) for value in match.groups()[1:]])
        elif line.strip() and not line.startswith("#"):
            raise DataError(f"{file}: line {number}: is {line[:50]!r}; expected 'name:red,green,blue::'")
    if not names or max(itertools.chain(*colours)) > 255:
        raise DataError(f"{file}: expected lines 'name:red,green,blue::' with colours of 0 to 255")
    return tuple(names), np.array(colours, dtype=np.uint8)


def _complete(layout: Layout, folder: str, entries: list[_Entry], notes: list[str]) -> bool:
    """Whether every image has a PNG in that folder; a note when only some have."""
    if layout.flat or not (layout.root / folder).is_dir():
        return False
    count = sum((layout.root / folder / f"{entry.stem}.png").is_file() for entry in entries)
    if 0 < count < len(entries):
        notes.append(
            f"only {count} of {len(entries)} images have a PNG in {folder}, so these were left out; "
            f"lists of images that all have one can be read as {layout.root / 'ImageSets' / 'Segmentation'}"
        )
    return count == len(entries)


def _masks(root: Path, entries: list[_Entry], findings: Findings) -> PackedMasks:
    """The masks of the objects of all images, from the PNG files of SegmentationObject."""
    masks: list[Mask | None] = []
    for entry in track(entries, "reading masks", len(entries)):
        file, annotation = root / "SegmentationObject" / f"{entry.stem}.png", entry.annotation
        try:
            size = upright_size(entry.image)
            masks += read_masks(file, annotation, size, findings)
            annotation.size = size
        except Fault as fault:
            findings.add("broken mask", str(file), str(fault), "make it again")
            masks += [None] * len(annotation.ids)
    return PackedMasks.pack(masks)


def _objects(entries: list[_Entry], classes: tuple[str, ...], masks: PackedMasks | None) -> Objects:
    numbers = {name: label for label, name in enumerate(classes)}
    annotations = [entry.annotation for entry in entries]
    labels = [numbers[name] for annotation in annotations for name in annotation.names]
    boxes = [box for annotation in annotations for box in annotation.boxes]
    return Objects(
        starts=starts_of([len(annotation.ids) for annotation in annotations]),
        sizes=np.array([annotation.size for annotation in annotations], dtype=np.int32).reshape(-1, 2),
        boxes=np.array(boxes, dtype=np.float64).reshape(-1, 4),
        labels=np.array(labels, dtype=np.int64),
        crowd=np.zeros(len(labels), dtype=bool),
        difficult=np.array([flag for annotation in annotations for flag in annotation.difficult], dtype=bool),
        areas=np.full(len(labels), np.nan),
        masks=masks,
        keypoints=None,
        skeleton=None,
        ids=np.array([id for annotation in annotations for id in annotation.ids], dtype=np.int64),
        noun="object",
        files=[str(annotation.file) for annotation in annotations],
    )


def _split(
    entries: list[_Entry],
    objects: Objects | None,
    maps: tuple[tuple[str, ...], np.ndarray] | None,
    layout: Layout,
) -> Split:
    label_maps = None
    if maps is not None:
        classes, colours = maps
        files = [layout.root / "SegmentationClass" / f"{entry.stem}.png" for entry in entries]
        coloured = (layout.root / "labelmap.txt").is_file() and _is_coloured(files[0])
        if coloured:  # as CVAT writes them: each class in the colour that labelmap.txt gives it
            red, green, blue = colours.astype(int).T
            coding = {VOC_BORDER: VOID} | {int(value): n for n, value in enumerate(red << 16 | green << 8 | blue)}
        else:
            coding = {label: label for label in range(len(classes))} | {VOID: VOID}
        label_maps = LabelMaps(files, classes, coding, coloured, colours)
    ids = [f"{entry.stem}{entry.image.suffix}" for entry in entries]
    return Split([entry.image for entry in entries], ids, objects=objects, label_maps=label_maps)


def _is_coloured(file: Path) -> bool:
    """Whether the pixels of an image are colours; who reads it says what else is wrong with it."""
    try:
        with Image.open(file) as image:
            return image.mode in ("RGB", "RGBA")
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return False


def write(source: Source, out: Path) -> list[str]:
    """A copy of the set as a development kit: JPEGImages, Annotations, ImageSets, and PNG files of pixels."""
    require(source, ("objects", "label_maps"), "Pascal VOC")
    start_folder(out)
    lost: Counter[str] = Counter()
    classes, changed = fit_names(source.classes)
    changed = changed if source.has("objects") else []
    for name, split in source.splits.items():
        names = write_images(split, out / "JPEGImages", changed)
        stems = [name.rpartition(".")[0] for name in names]
        if split.objects is not None:
            _write_objects(split.objects, names, stems, classes, out, lost)
        if split.label_maps is not None:
            changed += _write_maps(split.label_maps, stems, out)
        if name != "all":
            for kind in ("Main",) if split.label_maps is None else ("Main", "Segmentation"):
                _write_lines(out / "ImageSets" / kind / f"{name}.txt", stems)
    if source.has("objects"):
        _write_lines(out / "classes.txt", classes)
    splits = list(source.splits.values())
    never = left_out(splits, ("keypoints", "crowd", "areas", "labels")) + renumbered(splits)
    return never + [f"{count:,} {what}" for what, count in lost.items() if count] + list(dict.fromkeys(changed))


def _write_objects(
    objects: Objects, names: list[str], stems: list[str], classes: tuple[str, ...], out: Path, lost: Counter[str]
) -> None:
    """The XML files of a split, and the PNG files of its objects if there are masks."""
    sizes = objects.sizes
    if (sizes == 0).any():
        sizes = np.where(sizes > 0, sizes, upright_sizes([out / "JPEGImages" / name for name in names]))
    for index, stem in enumerate(track(stems, "writing annotations", len(stems))):
        own, size = objects[index], (int(sizes[index, 0]), int(sizes[index, 1]))
        file = out / "Annotations" / f"{stem}.xml"
        difficult = own.difficult.tolist() if own.difficult is not None else [False] * len(own)
        annotation = Annotation(file, size, "", [classes[k] for k in own.labels], own.boxes.tolist(), difficult)
        write_annotation(file, annotation, names[index], segmented=own.masks is not None)
        if own.masks is not None:
            canvas, hidden, left_out = paint_masks(own.masks, size if 0 not in size else (1, 1))
            _write_png(out / "SegmentationObject" / f"{stem}.png", canvas, colours_of_voc())
            lost["polygons became pixels"] += sum(isinstance(mask, Polygon) for mask in own.masks)
            lost["pixels of masks are hidden by masks that overlap them"] += hidden
            lost["masks are empty, cannot be drawn or are beyond the 254th of an image, and were left out"] += left_out


def _write_maps(maps: LabelMaps, stems: list[str], out: Path) -> list[str]:
    """The PNG files of classes with what their values mean; returns in words which names of classes were changed."""
    for index, stem in enumerate(track(stems, "writing pixel labels", len(stems))):
        colours = colours_of_voc()
        if maps.colours is not None:
            colours[: len(maps.colours)] = maps.colours
        _write_png(out / "SegmentationClass" / f"{stem}.png", maps[index].labels, colours)
    classes, changed = fit_names(maps.classes)
    colours = colours_of_voc()[: len(classes)] if maps.colours is None else maps.colours
    lines = [
        f"{name}:{red},{green},{blue}::" for name, (red, green, blue) in zip(classes, colours.tolist(), strict=True)
    ]
    _write_lines(out / "labelmap.txt", lines)
    return changed


def _write_png(file: Path, values: np.ndarray, colours: np.ndarray) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(values)
    image.putpalette(colours.tobytes())
    image.save(file)


def _write_lines(file: Path, lines: Iterable[str]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
