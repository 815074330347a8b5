"""How the images of a set come into a copy of it: byte for byte, under names that every format and system can bear."""

import io
import re
import shutil
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

import numpy as np
from PIL import Image

from saccade.data.decode import SUFFIXES
from saccade.data.findings import DataError
from saccade.data.objects import Objects
from saccade.data.source import Source, Split
from saccade.errors import UsageError
from saccade.progress import track
from saccade.structures import VOID
from saccade.wording import counted

# What a set knows of its images, and the formats that are made for it.
KINDS = {
    "labels": ("a class for each image", "csv or folders"),
    "objects": ("things in its images", "coco"),
    "label_maps": ("a class for every pixel", "masks"),
}
PAIRS = "what each image should become"
UNSAFE = re.compile(r'[\x00-\x1f\x7f<>:"|?*\\]')
LEFT_OUT = {
    "objects": "the boxes, masks and keypoints of {objects} were left out",
    "masks": "the masks of {objects} were left out",
    "keypoints": "the keypoints of {objects} were left out",
    "crowd": "the marks of {objects} as crowds were left out",
    "difficult": "the marks of {objects} as difficult were left out",
    "areas": "the areas of {objects} were left out",
    "labels": "the classes of {images} were left out",
    "label maps": "the label maps of {images} were left out",
}
LONGEST = 200  # bytes of one part of a name; file systems allow 255, and a number and a suffix may be added


def require(source: Source, kinds: Sequence[str], form: str) -> None:
    """Raise UsageError, saying what to choose instead, when a set has none of what a format is for.

    kinds  fields of `Split`: "labels", "objects", "label_maps"
    form   what the format is called
    """
    has = [kind for kind in KINDS if any(getattr(split, kind) is not None for split in source.splits.values())]
    if not set(has) & set(kinds):
        words = " or ".join(KINDS[kind][0] for kind in kinds)
        paired = any(split.targets is not None for split in source.splits.values())
        known = " and ".join(KINDS[kind][0] for kind in has) or (PAIRS if paired else "nothing")
        better = "; choose " + " or ".join(KINDS[kind][1] for kind in has) if has else ""
        raise UsageError(f"{source.name} has {known}, and {form} holds {words}{better}")


def refuse_filled(folder: Path) -> None:
    """Raise UsageError when a folder for a copy cannot be one, because something is there already."""
    try:
        filled = folder.exists() and next(folder.iterdir(), None) is not None
    except OSError as error:
        raise UsageError(f"{folder} cannot be written to ({error.strerror}); name a folder that can be made") from None
    if filled:
        raise UsageError(f"{folder} is not empty; name a new folder for the copy, so that nothing is overwritten")


def start_folder(folder: Path) -> None:
    """Make the folder that a copy is written into; raises UsageError when something is there already."""
    refuse_filled(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"{folder} cannot be written to ({error.strerror}); name a folder that can be made") from None


@contextmanager
def whole_folder(out: Path) -> Iterator[Path]:
    """A folder to write into; what is in it moves to the new folder `out` at the end, all of it or nothing.

    Whoever stops in between (a full disk, Ctrl-C) finds no half of a set, which would be read as another one.

    Raises UsageError when something is in `out` already.
    """
    made = not out.exists()
    start_folder(out)
    # Inside, so that it is on the same disk; hidden, so that no format reads it if the machine stops meanwhile.
    partial = out / ".partial"
    try:
        yield partial
        for entry in sorted(partial.iterdir()):
            entry.rename(out / entry.name)
        partial.rmdir()
    except BaseException:
        for entry in out.iterdir():
            shutil.rmtree(entry) if entry.is_dir() else entry.unlink()
        if made:
            out.rmdir()
        raise


def write_images(split: Split, folder: Path, lost: list[str]) -> list[str]:
    """Copy every image of a split into `folder` as the file it is; arrays become PNG files.

    What `folder` holds already stays: a name that is taken, there or within the split, gets a number.

    lost  is told in words when images get other names

    Returns M names relative to `folder`, in order, as `safe_names` makes them.
    """
    folder.mkdir(parents=True, exist_ok=True)
    present = [path.relative_to(folder).as_posix() for path in sorted(folder.rglob("*")) if path.is_file()]
    names = safe_names(split.ids, _suffixes(split), present)
    for parent in {(folder / name).parent for name in names}:
        parent.mkdir(parents=True, exist_ok=True)
    for index, name in enumerate(track(names, "copying images", len(names))):
        image = split.images[index]
        try:
            if isinstance(image, Path):
                shutil.copyfile(image, folder / name)
            elif isinstance(image, bytes):
                (folder / name).write_bytes(image)
            else:
                Image.fromarray(image).save(folder / name)
        except OSError as error:
            where = image if isinstance(image, Path) else split.ids[index]
            raise DataError(f"{where}: cannot be copied to {folder / name} ({error.strerror or error})") from None
    renamed = [(id, name) for id, name in zip(split.ids, names, strict=True) if not _is_same(id, name)]
    if renamed:
        count = counted(len(renamed), "image", "images")
        lost.append(f"the names of {count} were changed: {renamed[0][0]} became {renamed[0][1]}, the first")
    return names


def _is_same(id: str, name: str) -> bool:
    """Whether a file is called as the image is, but perhaps for its suffix."""
    return name in (id, id + PurePosixPath(name).suffix) or PurePosixPath(id).with_suffix("") == PurePosixPath(
        name
    ).with_suffix("")


def _suffixes(split: Split) -> list[str]:
    """What the names of its files end in."""
    if isinstance(split.images, list):
        return [image.suffix for image in split.images]
    if not len(split) or not isinstance(split.images[0], bytes):
        return [".png"] * len(split)
    own = [PurePosixPath(id).suffix for id in split.ids]
    return [end if end.lower() in SUFFIXES else _suffix_of(split.images[n]) for n, end in enumerate(own)]


def _suffix_of(content: "bytes | np.ndarray") -> str:
    """As the content of a file has it."""
    assert isinstance(content, bytes)
    try:
        with Image.open(io.BytesIO(content)) as image:
            return f".{(image.format or 'png').lower()}"
    except Exception:  # whatever Pillow raises on a damaged header; the file is copied as it is
        return ".png"


def safe_names(ids: Iterable[str], suffixes: Iterable[str], present: Iterable[str] = ()) -> list[str]:
    """File names after ids, relative and with slashes, that stay inside their folder and apart from each other.

    No two differ in upper and lower case alone, which some systems do not tell apart, or in their suffix alone, because
    annotations beside images are named after them.

    suffixes  of the files, one an id
    present   names that are taken
    """
    taken = _Taken()
    for name in present:
        taken.add(PurePosixPath(name))
    names, numbers = [], {}
    for id, suffix in zip(ids, suffixes, strict=True):
        wanted = _safe(id, suffix)
        if taken.blocks(wanted.parent):
            wanted = PurePosixPath("_".join(wanted.parts))
        path = wanted
        while not taken.leaves(path):
            numbers[wanted] = numbers.get(wanted, 1) + 1
            path = wanted.with_name(f"{wanted.stem}-{numbers[wanted]}{wanted.suffix}")
        taken.add(path)
        names.append(str(path))
    return names


def left_out(splits: Sequence[Split], kinds: Collection[str]) -> list[str]:
    """What a format cannot carry of a set, in words, with counts; nothing about what the set does not have.

    kinds  some of the keys of `LEFT_OUT`: what the format has no place for
    """
    counts: dict[str, int] = dict.fromkeys(kinds, 0)
    for split in splits:
        found = {"labels": len(split) if split.labels is not None else 0}
        found["label maps"] = len(split) if split.label_maps is not None else 0
        if (objects := split.objects) is not None:
            found["objects"] = objects.count
            found["crowd"], found["difficult"] = int(objects.crowd.sum()), int(objects.difficult.sum())
            drawn = np.zeros(objects.count, dtype=bool)
            if (masks := objects.masks) is not None:
                drawn = (np.diff(masks.ring_starts) > 0) | (np.diff(masks.count_starts) > 0)
                found["masks"] = int(drawn.sum())
            found["areas"] = _own_areas(objects, drawn & ("masks" not in kinds))
            if objects.keypoints is not None:
                found["keypoints"] = int((objects.keypoints[:, :, 2] > 0).any(axis=1).sum())
        for kind in kinds:
            counts[kind] += found.get(kind, 0)
    return [
        LEFT_OUT[kind].format(objects=counted(count, "object", "objects"), images=counted(count, "image", "images"))
        for kind, count in counts.items()
        if count
    ]


def renumbered(splits: Sequence[Split]) -> list[str]:
    """In words, that label maps get other values than they had, where they do: from 0 on, and VOID."""
    for split in splits:
        if (maps := split.label_maps) is None:
            continue
        if maps.colour:
            return [f"the colours of label maps became the values 0, 1, 2 ... of the classes, and {VOID} for void"]
        if other := [(value, label) for value, label in sorted(maps.coding.items()) if value != label]:
            shown = ", ".join(f"{value} became {label}" for value, label in other[:5])
            return [f"values of label maps are numbered anew: {shown}{' ...' if len(other) > 5 else ''}"]
    return []


def _own_areas(objects: Objects, drawn: np.ndarray) -> int:
    """How many areas say more than the box, or the mask where it is `drawn` [N] bool, says already."""
    left, top, right, bottom = objects.boxes.T
    own = np.abs(objects.areas - (right - left) * (bottom - top)) > 0.01 * np.abs(objects.areas)
    return int((own & ~drawn).sum())


class _Taken:
    """Names that are in use, in lower case."""

    def __init__(self) -> None:
        self.files: set[str] = set()
        self.stems: set[str] = set()
        self.folders: set[str] = set()

    def add(self, path: PurePosixPath) -> None:
        self.files.add(str(path).casefold())
        self.stems.add(str(path.with_suffix("")).casefold())
        self.folders.update(str(parent).casefold() for parent in path.parents)

    def blocks(self, folder: PurePosixPath) -> bool:
        """Whether a file stands where that folder, or one that it is in, would have to be."""
        return any(str(part).casefold() in self.files for part in (folder, *folder.parents))

    def leaves(self, path: PurePosixPath) -> bool:
        """Whether there is room for a file of that name in its folder."""
        return str(path).casefold() not in self.folders and str(path.with_suffix("")).casefold() not in self.stems


def _safe(id: str, suffix: str) -> PurePosixPath:
    """One id as a relative path with that suffix."""
    text = UNSAFE.sub("_", id.encode("utf-8", "replace").decode().replace("\\", "/"))
    parts = [part for part in (part.strip(" ").lstrip(".") for part in text.split("/")) if part] or ["image"]
    own = PurePosixPath(parts[-1]).suffix
    if own.lower() == suffix.lower():
        suffix = own
    if own.lower() in SUFFIXES or own == suffix:
        parts[-1] = parts[-1].removesuffix(own)
    short = [part.encode()[:LONGEST].decode(errors="ignore") for part in parts]
    return PurePosixPath(*short[:-1], f"{short[-1]}{suffix}")
