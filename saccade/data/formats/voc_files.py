"""The two files of one image in a VOC set, read and written: the XML of its objects, and the PNG of their pixels."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from xml.etree.ElementTree import Element, ElementTree, ParseError, SubElement, indent

import numpy as np
from defusedxml import DefusedXmlException
from defusedxml.ElementTree import fromstring
from PIL import Image

from saccade.data.decode import pixel_limit
from saccade.data.findings import Findings
from saccade.geometry.masks import Mask, bitmap, runs_from_bitmap
from saccade.geometry.view import Size
from saccade.structures import VOID

LARGEST = 1 << 21  # bytes of one XML file: some 6,000 objects in one image
FARTHEST = 1e9  # pixels; a coordinate beyond is none
ROOT = re.compile(rb"<annotation[\s>/]")


@dataclass
class Annotation:
    """What one XML file says.

    size         (height, width) of the image, 0 where it does not say
    boxes        [xmin, ymin, xmax, ymax] each, continuous pixels
    ids          the place of each object in the file, from 1 on
    passed_over  how many objects have polygons or parts
    poses        how many are said to be truncated or occluded, or from where they are seen
    """

    file: Path
    size: Size = (0, 0)
    filename: str = ""
    names: list[str] = field(default_factory=list)
    boxes: list[list[float]] = field(default_factory=list)
    difficult: list[bool] = field(default_factory=list)
    ids: list[int] = field(default_factory=list)
    passed_over: int = 0
    poses: int = 0


YES = ("1", "true", "yes")


class Fault(Exception):
    """What is wrong, in words; where is said by who catches it."""


def looks_like_voc(file: Path) -> bool:
    """Whether an XML file begins as an annotation does."""
    with file.open("rb") as opened:
        return ROOT.search(opened.read(4096)) is not None


def read_annotation(file: Path, findings: Findings) -> Annotation:
    """What the file says of its objects; raises Fault when all of it is broken."""
    root = _xml(file)
    found = Annotation(file, filename=(root.findtext("filename") or "").strip())
    try:
        found.size = _size(root)
    except Fault as fault:
        advice = "write the width and height of the image in pixels"
        findings.add("broken annotation", f"{file}: size", str(fault), advice)
    official = (root.findtext("source/database") or "").strip().startswith("The VOC")
    for number, element in enumerate(root.findall("object"), 1):
        try:
            name, box, difficult = _object(element)
        except Fault as fault:
            advice = "mend it, or remove the object"
            findings.add("broken annotation", f"{file}: object {number}", str(fault), advice)
            continue
        found.names.append(name)
        found.boxes.append([box[0] - 1, box[1] - 1, box[2], box[3]] if official else box)
        found.difficult.append(difficult)
        found.ids.append(number)
        found.passed_over += element.find("polygon") is not None or element.find("part") is not None
        cut = any(element.findtext(tag, "0").strip().lower() in YES for tag in ("truncated", "occluded"))
        found.poses += cut or element.findtext("pose", "").strip().lower() not in ("", "unspecified")
    return found


def _xml(file: Path) -> Element:
    """The root of an XML file that may be hostile."""
    try:
        with file.open("rb") as opened:
            content = opened.read(LARGEST + 1)
        if len(content) > LARGEST:
            raise Fault(f"has more than {LARGEST:,} bytes, which no annotation of one image has")
        root = fromstring(content)
    except OSError as error:
        raise Fault(f"cannot be read ({error.strerror})") from None
    except DefusedXmlException:
        raise Fault("defines or refers to XML entities, which could read other files or fill the memory") from None
    except ParseError as error:
        raise Fault(f"is no XML ({error})") from None
    except (ValueError, LookupError) as error:
        raise Fault(f"is in an encoding that cannot be read ({error}); expected UTF-8") from None
    if root.tag != "annotation":
        raise Fault(f"begins with <{str(root.tag)[:50]}>; expected <annotation>")
    return root


def _object(element: Element) -> tuple[str, list[float], bool]:
    """The name, the box [xmin, ymin, xmax, ymax] as it stands, and the difficulty of an <object>."""
    name = (element.findtext("name") or "").strip()
    if not name:
        raise Fault("has no <name>; expected that of its class")
    frame = element.find("bndbox")
    if frame is None:
        raise Fault("has no <bndbox>; expected one with xmin, ymin, xmax, ymax")
    box = [_number(frame, side) for side in ("xmin", "ymin", "xmax", "ymax")]
    difficult = (element.findtext("difficult") or "").strip().lower()
    if difficult not in ("", "0", "1", "true", "false", "unspecified"):
        raise Fault(f"<difficult> is {difficult[:50]!r}; expected 0 or 1")
    return name, box, difficult in ("1", "true")


def _number(element: Element, tag: str) -> float:
    text = element.findtext(tag)
    if text is None:
        raise Fault(f"has no <{tag}>; expected a number of pixels")
    try:
        value = float(text) if "_" not in text else np.nan
    except ValueError:
        value = np.nan
    if not abs(value) <= FARTHEST:
        raise Fault(f"<{tag}> is {text.strip()[:50]!r}; expected a number of pixels")
    return value


def _size(root: Element) -> Size:
    """(height, width) as the file says; 0 where it does not."""
    element = root.find("size")
    if element is None:
        return (0, 0)
    height, width = _number(element, "height"), _number(element, "width")
    if min(height, width) < 0 or height % 1 or width % 1:
        raise Fault(f"is {width:g} x {height:g}; expected whole numbers of pixels")
    return (int(height), int(width))


def write_annotation(file: Path, annotation: Annotation, image: str, segmented: bool) -> None:
    """The XML file of an image; coordinates as whole numbers where they are, so that nothing is rounded.

    image  the name of its file
    """
    root = Element("annotation")
    _add(root, folder="JPEGImages", filename=image.rsplit("/", 1)[-1])
    _add(SubElement(root, "source"), database="Unknown")
    height, width = annotation.size
    _add(SubElement(root, "size"), width=width, height=height, depth=3)
    _add(root, segmented=int(segmented))
    for name, box, difficult in zip(annotation.names, annotation.boxes, annotation.difficult, strict=True):
        element = SubElement(root, "object")
        _add(element, name=name, difficult=int(difficult))
        xmin, ymin, xmax, ymax = (int(value) if float(value).is_integer() else repr(float(value)) for value in box)
        _add(SubElement(element, "bndbox"), xmin=xmin, ymin=ymin, xmax=xmax, ymax=ymax)
    indent(root, "\t")
    file.parent.mkdir(parents=True, exist_ok=True)
    ElementTree(root).write(file, encoding="utf-8")


def _add(parent: Element, **texts: object) -> None:
    for tag, text in texts.items():
        SubElement(parent, tag).text = str(text)


def read_masks(file: Path, annotation: Annotation, size: Size, findings: Findings) -> list[Mask | None]:
    """The masks of an image's objects, None for one without pixels; raises Fault when the PNG file cannot be used.

    size  (height, width) of the image
    """
    try:
        with Image.open(file) as image:
            if image.mode not in ("L", "P"):
                raise Fault(f"is an image of mode {image.mode}; expected grey or palette values, one an object")
            if (image.height, image.width) != tuple(size):
                raise Fault(f"is {image.width} x {image.height}, but its image is {size[1]} x {size[0]}")
            if image.height * image.width > pixel_limit():
                raise Fault(f"is {image.width} x {image.height}; the limit is {pixel_limit():,} pixels")
            values = np.asarray(image)
            present = {value for value, count in enumerate(image.histogram()) if count}
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise Fault(f"cannot be read ({error})") from None
    if strange := present - {0, VOID, *annotation.ids}:
        reason = f"holds the value {min(strange)}, but {annotation.file} has no such object"
        findings.add("mask of no object", str(file), reason, "add the object, or remove its pixels")
    return [runs_from_bitmap(values == id) if id in present else None for id in annotation.ids]


def paint_masks(masks: Sequence[Mask | None], size: Size) -> tuple[np.ndarray, int, int]:
    """The masks of an image in one picture: the value i + 1 for mask i, 0 elsewhere. Small ones lie on large ones.

    size  (height, width)

    Returns the picture [H, W] uint8; how many pixels of masks others lie on; and how many masks are not in it, because
    they are beyond the 254th or cannot be drawn.
    """
    canvas, hidden, left_out = np.zeros(size, dtype=np.uint8), 0, 0
    covered: list[tuple[int, int, Mask]] = []
    for number, mask in enumerate(masks, 1):
        if mask is None:
            continue
        try:
            pixels = int(bitmap(mask, size).sum())
        except ValueError:
            pixels = 0
        if number < VOID and pixels:
            covered.append((-pixels, number, mask))
        else:
            left_out += 1
    for _, number, mask in sorted(covered, key=lambda entry: entry[:2]):
        mine = bitmap(mask, size)
        hidden += int((canvas[mine] > 0).sum())
        canvas[mine] = number
    return canvas, hidden, left_out


def colours_of_voc() -> np.ndarray:
    """[256, 3] uint8: VOC's palette. Three bits of a value at a time go to red, green and blue, the highest first."""
    colours = np.zeros((256, 3), dtype=np.uint8)
    for value in range(256):
        for place in range(8):
            for channel in range(3):
                colours[value, channel] |= ((value >> (3 * place + channel)) & 1) << (7 - place)
    return colours
