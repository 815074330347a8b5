"""One COCO file, decoded in pieces: a million annotations become flat arrays without ever being objects all at once.

The file is mapped into memory, not read. Once over it finds the three lists; then the annotations are cut into pieces
of a megabyte, and each is decoded and packed. A piece with something wrong in it is decoded once more, annotation by
annotation, so that the error names the one.
"""

import json
import mmap
import re
from array import array
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import numpy as np
from msgspec import Raw, Struct, field

from saccade.data.decode import pixel_limit
from saccade.data.findings import DataError, Findings
from saccade.data.formats.coco_objects import LEFT_OUT, Annotation, Collector, whole
from saccade.data.formats.coco_skeletons import skeleton_of
from saccade.data.formats.listed import inside, short
from saccade.data.objects import Objects
from saccade.structures import Skeleton

ANNOTATION, ANNOTATIONS = msgspec.json.Decoder(Annotation), msgspec.json.Decoder(list[Annotation])
BEGINNING = 1 << 16  # bytes of a list in which its first entry is looked for
PIECE = 1 << 20  # bytes of JSON that are decoded at a time
BETWEEN = re.compile(rb"\}\s*,\s*(?=\{)")
SILENT = {"num_keypoints", "ignore"}  # what says nothing more than other fields do
NO_NUMBER = re.compile(rb"(?<=[\[,:\s])-?(?:NaN|Infinity)(?=[\s,\]}])")
BYTE_ORDER_MARK = b"\xef\xbb\xbf"
Kind = TypeVar("Kind")


class _Lists(Struct):
    """The file as a whole; what stands in the lists is looked at later."""

    images: Raw
    categories: Raw
    annotations: Raw


class _Image(Struct):
    id: int | str
    file_name: str
    width: int | float | None = None
    height: int | float | None = None


class _Category(Struct):
    id: int | str
    name: str
    supercategory: Any = None
    keypoints: list[str] = field(default_factory=list)
    skeleton: list[tuple[int, int]] = field(default_factory=list)


class _Named(Struct):
    """Anything that has an id, to say which one is broken."""

    id: int | str | float


@dataclass(frozen=True)
class Category:
    """A class as the file has it.

    edges  pairs of keypoints, counted from 1
    """

    name: str
    keypoints: tuple[str, ...]
    edges: tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class Listed:
    """The images of a file, those that can be used, in its order.

    places  image id -> 0..M-1, or LEFT_OUT
    names   M file names
    sizes   [M, 2] int32 (height, width), 0 where the file does not say
    """

    places: dict[int | str, int]
    names: list[str]
    sizes: np.ndarray


@dataclass(frozen=True)
class Index:
    """All that one file says.

    categories  id -> class, in the order of the ids; the labels of the objects count them
    """

    listed: Listed
    categories: dict[int, Category]
    objects: Objects


def index(file: Path, findings: Findings) -> Index:
    """Everything in one COCO file, packed, the objects by image; no image is looked for.

    Raises DataError, naming file and byte, when it is no COCO file.
    """
    document = Document(file)
    listed = document.images(findings)
    categories = document.categories(findings)
    skeleton = skeleton_of([(category.keypoints, category.edges) for category in categories.values()], [])
    return Index(listed, categories, document.objects(listed, categories, skeleton, findings))


class Document:
    """A COCO file whose lists are found and not yet read."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.notes: list[str] = []
        try:
            with file.open("rb") as opened:
                self._content = mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ)
        except (OSError, ValueError) as error:
            reason = "it is empty" if isinstance(error, ValueError) else error.strerror
            raise DataError(f"{file} cannot be read ({reason})") from None
        self._lists = self._find_lists()
        self._forget()

    def images(self, findings: Findings) -> Listed:
        """The images it lists; those that make no sense go to `findings`."""
        places: dict[int | str, int] = {}
        names: dict[str, None] = {}
        sizes = array("i")
        limit = min(pixel_limit(), (1 << 31) - 1)
        self._note_others(self._lists.images, _Image, "image")
        self._note_others(self._lists.annotations, Annotation, "annotation")
        for image in self._entries(self._lists.images, "image", _Image, findings):
            id = whole(image.id)
            where = f"{self.file}: image {short(id)}"
            name = inside(image.file_name)
            if id in places or name in names:
                what = "id" if id in places else f"file {short(name)}"
                places.setdefault(id, LEFT_OUT)
                findings.add("duplicate image", where, f"its {what} is another image's too", "remove one of them")
                continue
            places[id] = len(names)
            names[name] = None
            sizes.extend(_size(where, image, limit, findings))
        return Listed(places, list(names), np.array(sizes, dtype=np.int32).reshape(-1, 2))

    def categories(self, findings: Findings) -> dict[int, Category]:
        """Its classes by their ids, in the order of the ids."""
        found: dict[int, Category] = {}
        grouped = 0
        for entry in self._entries(self._lists.categories, "category", _Category, findings):
            id = whole(entry.id)
            where = f"{self.file}: category {short(id)}"
            if not isinstance(id, int):
                findings.add("broken category", where, "its id is no whole number", "number the categories")
            elif id in found:
                findings.add("duplicate category", where, "its id is another category's too", "give each its own")
            else:
                found[id] = Category(entry.name, tuple(entry.keypoints), tuple(entry.skeleton))
                grouped += entry.supercategory not in (None, "", "none", entry.name)
        if grouped:
            self.notes.append(f"the supercategories of {grouped} categories in {self.file} were passed over")
        return dict(sorted(found.items()))

    def objects(
        self, listed: Listed, categories: Mapping[int, Category], skeleton: Skeleton | None, findings: Findings
    ) -> Objects:
        """The annotations, packed by image, labels counting `categories` in order.

        skeleton  the keypoints to read, of those categories that have just them; None reads none
        """
        labels = {id: label for label, id in enumerate(categories)}
        posed = [bool(skeleton and category.keypoints == skeleton.names) for category in categories.values()]
        collector = Collector(self.file, listed.places, listed.sizes, labels, posed, skeleton, findings)
        for annotations in self._annotations(findings):
            collector.add(annotations)
            self._forget()
        if collector.nameless:
            self.notes.append(
                f"the keypoints of {collector.nameless} annotations in {self.file} were left out: "
                f"their category does not name them, or not as others do"
            )
        return collector.finish()

    def _note_others(self, raw: Raw, kind: type[Struct], what: str) -> None:
        """Say which fields of a list are not read, by its first entry."""
        text = bytes(memoryview(raw)[:BEGINNING]).decode("utf-8", "replace")
        begin = re.match(r"\[\s*(?=\{)", text)
        try:
            entry = json.JSONDecoder().raw_decode(text, begin.end())[0] if begin else {}
        except (ValueError, RecursionError):  # who reads the entry says so
            return
        if others := sorted(entry.keys() - {field.name for field in msgspec.structs.fields(kind)} - SILENT):
            self.notes.append(f"{', '.join(map(short, others))} of every {what} in {self.file} were passed over")

    def _find_lists(self) -> _Lists:
        try:
            return msgspec.json.decode(self._body(), type=_Lists)
        except msgspec.ValidationError as error:
            raise DataError(
                f"{self.file}: {_plain(error)}; expected a COCO file: images, annotations and categories"
            ) from None
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            # Python's own writer puts NaN and Infinity, which are not JSON: as null, only what they stand in is broken.
            mended = NO_NUMBER.sub(b"null", self._content)
            if len(mended) == len(self._content):
                raise DataError(f"{self.file}{self._line(str(error))}: is not JSON ({error})") from None
        except RecursionError:
            raise DataError(f"{self.file}: is nested too deep; expected lists of images and annotations") from None
        self._content = mended
        return self._find_lists()

    def _body(self) -> "mmap.mmap | bytes | memoryview":
        if self._content[:3] != BYTE_ORDER_MARK:
            return self._content
        return memoryview(self._content)[3:]

    def _line(self, message: str) -> str:
        """The line of the byte that a message names."""
        byte = re.search(r"\(byte (\d+)\)", message)
        end = int(byte[1]) if byte else len(self._content)
        line = 1 + self._content[:end].count(b"\n")
        return f": line {line}"

    def _forget(self) -> None:
        """Let go of the parts of the file in memory; what is needed again is read again."""
        if isinstance(self._content, mmap.mmap) and hasattr(mmap, "MADV_DONTNEED"):
            self._content.madvise(mmap.MADV_DONTNEED)

    def _entries(self, raw: Raw, what: str, kind: type[Kind], findings: Findings) -> Iterator[Kind]:
        """The entries of a list that are as they should be; the others go to `findings`."""
        try:
            entries = msgspec.json.decode(raw, type=list[Raw])
        except msgspec.DecodeError:
            raise DataError(f"{self.file}: expected a list of every {what} but got {_shown(raw)}") from None
        yield from self._one_by_one(entries, what, msgspec.json.Decoder(kind), findings)

    def _one_by_one(
        self, entries: list[Raw], what: str, decoder: "msgspec.json.Decoder[Kind]", findings: Findings
    ) -> Iterator[Kind]:
        for number, entry in enumerate(entries, 1):
            try:
                yield decoder.decode(entry)
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
                where = f"{self.file}: {what} {_id(entry) or f'at place {number} of the list'}"
                findings.add(f"broken {what}", where, _plain(error), f"correct or remove this {what}")

    def _annotations(self, findings: Findings) -> Iterator[list[Annotation]]:
        """The annotations, some thousands at a time.

        A cut belongs between two of them. Where it fell into one, in a list of objects or in a text, the piece before
        it ends too early to be JSON; then the rest is divided with more care and more memory.
        """
        raw = memoryview(self._lists.annotations)
        if raw[:1] != b"[":
            raise DataError(f"{self.file}: expected a list of annotations but got {_shown(self._lists.annotations)}")
        start, stop = 1, len(raw) - 1
        while start < stop:
            cut = BETWEEN.search(raw, start + PIECE)
            piece = b"[" + bytes(raw[start : cut.start() + 1 if cut else stop]) + b"]"
            found = self._decoded(piece, findings)
            if found is None:
                break
            yield found
            start = cut.end() if cut else stop
        if start < stop:
            rest = msgspec.json.decode(b"[" + bytes(raw[start:]), type=list[Raw])
            for first in range(0, len(rest), 1 << 13):
                piece = b"[" + b",".join(map(bytes, rest[first : first + (1 << 13)])) + b"]"
                yield self._decoded(piece, findings) or []

    def _decoded(self, piece: bytes, findings: Findings) -> list[Annotation] | None:
        """The annotations of a list; None when it is not complete."""
        try:
            return ANNOTATIONS.decode(piece)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            pass
        try:
            entries = msgspec.json.decode(piece, type=list[Raw])
        except msgspec.DecodeError:
            return None
        return list(self._one_by_one(entries, "annotation", ANNOTATION, findings))


def _id(entry: Raw) -> str:
    """The id of an entry that is broken elsewhere, as written; nothing when it has none."""
    try:
        return short(msgspec.json.decode(entry, type=_Named).id)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return ""


def _size(where: str, image: _Image, limit: int, findings: Findings) -> tuple[int, int]:
    """(height, width) as the entry says; 0, 0 when it does not, or says what cannot be."""
    width, height = image.width or 0, image.height or 0
    if image.width is None or image.height is None:
        return 0, 0
    if width < 1 or height < 1 or width != int(width) or height != int(height) or width * height > limit:
        said = f"its width and height are {short(width)} and {short(height)}"
        reason = f"{said}; expected whole pixels, at most {limit:,} in all"
        advice = "correct them, or remove them: the image file has them too"
        findings.add("broken image size", where, reason, advice, done="measured anew")
        return 0, 0
    return int(height), int(width)


def _plain(error: Exception) -> str:
    """What msgspec says, the place first: "bbox[3]: expected float, got str"."""
    message, _, place = str(error).replace("`", "").partition(" - at $")
    message = message[:1].lower() + message[1:]
    return f"{place.lstrip('.')}: {message}" if place else message


def _shown(raw: Raw) -> str:
    return repr(bytes(memoryview(raw)[:40]).decode(errors="replace"))
