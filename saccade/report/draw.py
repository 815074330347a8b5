"""Boxes, masks, keypoints and label maps, drawn onto the image: legible at any size, by every kind of colour vision.

Things and classes are told apart by colour, and by name. What is not plain truth looks different: a region with many
(crowd) is hatched, what does not count (difficult) is dotted, a keypoint that is hidden is hollow, and where nobody
says what it is (void) is hatched grey.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np

from saccade.geometry import masks
from saccade.geometry.view import Size
from saccade.report.lettering import Box, place, plate
from saccade.report.palette import GREY, WHITE, Colour, colour, text_colour
from saccade.structures import VOID, Instances, LabelMap, Skeleton

LEGIBLE, NARROWEST = 320, 40  # images of fewer pixels (longer side, shorter side) are enlarged by a whole factor
LONGEST = 30_000  # pixels that enlarging never goes beyond: a thin image stays thin
FILL, PAINT = 0.35, 0.6  # how opaque masks are, and label maps
PLAIN, DASHES, DOTS = None, (5.0, 3.5), (0.01, 2.5)  # of a line: so many widths drawn, so many not
FIXED_POINT = 4  # OpenCV takes sixteenths of a pixel


def draw(
    image: np.ndarray,
    shown: Instances | LabelMap,
    classes: Sequence[str],
    skeleton: Skeleton | None = None,
    *,
    dashed: bool = False,
    legend: bool = True,
) -> np.ndarray:
    """What is known of an image, on a copy of it.

    image     [H, W, 3] uint8 RGB
    shown     in pixels of the image; things with scores are labelled with them in percent
    classes   K names, of the labels of `shown`
    skeleton  which keypoints to join; None joins none
    dashed    outlines are dashed: to lay truth under predictions
    legend    whether what the colours mean stands under a label map

    Returns [h, w, 3] uint8 RGB: as large as the image, small ones `enlargement` times as large; under a label map its
    legend besides.
    """
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or 0 in image.shape:
        raise ValueError(f"draw needs an image uint8 [H, W, 3] but got {image.dtype} {list(image.shape)}")
    size = shown.labels.shape if isinstance(shown, LabelMap) else tuple(shown.size)
    if size != image.shape[:2]:
        raise ValueError(f"an image of (height, width) {image.shape[:2]} got what was marked on one of {size}")
    labels = shown.labels[shown.labels != VOID] if isinstance(shown, LabelMap) else shown.labels
    if labels.size and not 0 <= labels.min() <= labels.max() < len(classes):
        raise ValueError(f"there are {len(classes)} classes but labels from {labels.min()} to {labels.max()}")
    factor = enlargement((image.shape[0], image.shape[1]))
    sheet = _Sheet(_enlarged(image, factor), factor)
    if isinstance(shown, LabelMap):
        return _draw_labels(sheet, shown.labels, classes, legend)
    _draw_things(sheet, shown, classes, skeleton, dashed)
    return sheet.pixels


def titled(image: np.ndarray, text: str, label: int) -> np.ndarray:
    """Words at the top left of a copy of an image, on the colour of a class.

    image  [H, W, 3] uint8 RGB
    label  whose colour

    Returns [h, w, 3] uint8 RGB, enlarged as `draw` does.
    """
    factor = enlargement((image.shape[0], image.shape[1]))
    sheet = _Sheet(_enlarged(image, factor), factor)
    tag = plate(text, str(label), colour(label), sheet.letters, sheet.pixels.shape[1])
    if tag is not None:
        place(sheet.pixels, tag, [(0, 0)], [])
    return sheet.pixels


def enlargement(size: Size) -> int:
    """How many times as large `draw` makes an image of (height, width): 1 from 320 pixels on."""
    wanted = max(math.ceil(LEGIBLE / max(size)), math.ceil(NARROWEST / min(size)))
    return max(1, min(wanted, LONGEST // max(size)))


@dataclass(frozen=True, eq=False)
class _Sheet:
    """What is drawn on.

    pixels  [h, w, 3] uint8 RGB
    factor  how many of these pixels one of the image is across
    """

    pixels: np.ndarray
    factor: int

    @property
    def unit(self) -> float:
        """The side of a square as large, in pixels: what lines and letters are in proportion to."""
        return math.sqrt(self.pixels.shape[0] * self.pixels.shape[1])

    @property
    def line(self) -> int:
        """How thick a line is, in pixels."""
        return max(1, round(self.unit / 240))

    @property
    def letters(self) -> int:
        """The size of the font, in pixels."""
        return max(11, min(round(self.unit / 28), self.pixels.shape[0] // 3))


def _enlarged(pixels: np.ndarray, factor: int) -> np.ndarray:
    """A copy, every pixel a square of `factor` x `factor`."""
    return np.ascontiguousarray(pixels.repeat(factor, axis=0).repeat(factor, axis=1))


def _draw_things(
    sheet: _Sheet, things: Instances, classes: Sequence[str], skeleton: Skeleton | None, dashed: bool
) -> None:
    """Large things first, then small ones; names last, so that no line crosses them."""
    if not np.isfinite(things.boxes).all():
        raise ValueError(f"boxes must be finite to be drawn but got {things.boxes[~np.isfinite(things.boxes)][0]}")
    height, width = things.size
    # Far outside is as good as just outside, and can be reckoned with.
    things = replace(things, boxes=things.boxes.clip(-10, (width + 10, height + 10) * 2))
    spans = (things.boxes[:, 2:] - things.boxes[:, :2]).clip(0).prod(axis=1)
    order = np.argsort(-spans, kind="stable").tolist()
    # Where all are of one class, colours tell one thing from the next.
    colours = [colour(int(label) if len(classes) > 1 else n) for n, label in enumerate(things.labels)]
    for n in order:
        _draw_extent(sheet, things, n, colours[n], dashed)
    if things.keypoints is not None:
        seen = 1.5 if things.scores is None else 0.5
        for n in order:
            _draw_keypoints(sheet, things.keypoints[n], seen, skeleton, colours[n])
    taken: list[Box] = []
    for n in reversed(order):
        label = int(things.labels[n])
        score = "" if things.scores is None else f"{100 * things.scores[n]:.0f} %"
        text, spare = (f"{name} {score}".strip() for name in (classes[label], f"#{label}"))
        tag = plate(text, spare, colours[n], sheet.letters, sheet.pixels.shape[1])
        if tag is not None:
            corners = _corners(sheet, things.boxes[n], tag.shape[0], tag.shape[1])
            # What lies under something else has its names where that has none.
            place(sheet.pixels, tag, corners[::-1] if dashed else corners, taken)


def _corners(sheet: _Sheet, box: np.ndarray, height: int, width: int) -> list[tuple[int, int]]:
    """Where the name of a thing may stand: above it, below, inside; to the left, to the right."""
    left, top, right, bottom = _whole(sheet, box)
    half = sheet.line // 2
    above, below = top - half - height, bottom + half
    fits = [(left - half, y) for y in (above, below) if 0 <= y <= sheet.pixels.shape[0] - height]
    beside = [(right + half, top), (left - half - width, top), (right - width + half, above)]
    inside = [(left, top), (right - width, top), (left, bottom - height), (right - width, bottom - height)]
    return [*fits, *beside, *inside]


def _whole(sheet: _Sheet, box: np.ndarray) -> tuple[int, int, int, int]:
    """A box [4] in the image's pixels as (left, top, right, bottom) on the sheet."""
    x0, y0, x1, y1 = np.rint(box * sheet.factor).astype(int).tolist()
    return x0, y0, x1, y1


def _draw_extent(sheet: _Sheet, things: Instances, n: int, ink: Colour, dashed: bool) -> None:
    """The mask of a thing, filled and outlined, and its box, thinner where there is a mask."""
    crowd = things.crowd is not None and bool(things.crowd[n])
    difficult = things.difficult is not None and bool(things.difficult[n])
    pattern = DOTS if difficult else DASHES if dashed else PLAIN
    mask = None if things.masks is None else things.masks[n]
    height, width = sheet.pixels.shape[:2]
    left, top, right, bottom = _whole(sheet, things.boxes[n])
    corners = np.array([(left, top), (right, top), (right, bottom), (left, bottom)], dtype=np.float64)
    if mask is not None:
        covered = masks.bitmap(mask, things.size)
        _fill(sheet, covered, ink, FILL, hatched=crowd)
        _draw_paths(sheet, _outlines(covered, sheet.factor), ink, sheet.line, pattern)
    elif crowd:
        covered = np.zeros(things.size, dtype=bool)
        x0, y0, x1, y1 = (max(0, round(float(edge))) for edge in things.boxes[n])
        covered[y0:y1, x0:x1] = True
        _fill(sheet, covered, ink, FILL, hatched=True)
    # A line is as wide to both sides; along the image's edge it is moved inside.
    inset = sheet.line / 2
    corners = corners.clip((inset, inset), (width - inset, height - inset))
    _draw_paths(sheet, [corners], ink, sheet.line if mask is None else max(1, sheet.line // 2), pattern)


def _fill(sheet: _Sheet, covered: np.ndarray, ink: Colour, opacity: float, hatched: bool) -> None:
    """Blend a colour into the pixels that are covered, [H, W] bool of the image; hatched in denser stripes."""
    rows, columns = np.flatnonzero(covered.any(axis=1)), np.flatnonzero(covered.any(axis=0))
    if not rows.size:
        return
    window = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
    where = _enlarged(covered[window], sheet.factor)
    top, left = sheet.factor * int(rows[0]), sheet.factor * int(columns[0])
    if hatched:
        period = 5 * sheet.line
        y, x = np.arange(top, top + where.shape[0])[:, None], np.arange(left, left + where.shape[1])
        where &= (x + y) % period < 0.4 * period
        opacity = (1 + opacity) / 2
    part = sheet.pixels[top : top + where.shape[0], left : left + where.shape[1]]
    blended = (1 - opacity) * part[where] + opacity * np.array(ink)
    part[where] = np.rint(blended).astype(np.uint8)


def _outlines(covered: np.ndarray, factor: int) -> list[np.ndarray]:
    """The outlines of the pixels that are covered, [H, W] bool: closed paths [V, 2] float64 (x, y) on the sheet."""
    bordered = np.pad(_enlarged(covered, factor).astype(np.uint8), 1)
    found, _ = cv2.findContours(bordered, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    # OpenCV's path runs through the centres of the outermost pixels, counted from the border.
    return [path[:, 0].astype(np.float64) - 0.5 for path in found]


def _draw_paths(
    sheet: _Sheet, paths: Sequence[np.ndarray], ink: Colour, width: int, pattern: tuple[float, float] | None
) -> None:
    """Closed paths [V, 2] (x, y), with a hem in black or white that keeps them visible on a ground of their colour."""
    strokes = [stroke for path in paths for stroke in _strokes(np.vstack([path, path[:1]]), width, pattern)]
    hem = max(1, width // 2)
    for tint, thickness in ((text_colour(ink), width + 2 * hem), (ink, width)):
        _lines(sheet, strokes, tint, thickness)


def _lines(sheet: _Sheet, strokes: Sequence[np.ndarray], ink: Colour, thickness: int) -> None:
    """Open paths [V, 2] (x, y), continuous coordinates."""
    # OpenCV counts from the centre of pixel (0, 0), we count from its corner.
    paths = [np.rint((stroke - 0.5) * (1 << FIXED_POINT)).astype(np.int32) for stroke in strokes]
    cv2.polylines(sheet.pixels, paths, False, ink, thickness, cv2.LINE_AA, FIXED_POINT)


def _strokes(path: np.ndarray, width: int, pattern: tuple[float, float] | None) -> list[np.ndarray]:
    """An open path [V, 2] in the strokes that are drawn of it."""
    lengths = np.hypot(*np.diff(path, axis=0).T)
    ends = np.concatenate([[0], np.cumsum(lengths)])
    if pattern is None or ends[-1] == 0:
        return [path]
    # As many whole periods as come nearest, so that the path closes without a seam.
    drawn, gap = pattern
    count = max(1, round(ends[-1] / (width * (drawn + gap))))
    period = ends[-1] / count
    strokes = []
    for start in period * np.arange(count):
        stop = start + period * drawn / (drawn + gap)
        inner = ends[(ends > start) & (ends < stop)]
        at = np.concatenate([[start], inner, [stop]])
        strokes.append(np.stack([np.interp(at, ends, path[:, axis]) for axis in (0, 1)], axis=1))
    return strokes


def _draw_keypoints(sheet: _Sheet, keypoints: np.ndarray, seen: float, skeleton: Skeleton | None, ink: Colour) -> None:
    """The keypoints of one thing [P, 3] (x, y, visibility) and what joins them; those that are not marked are left out.

    seen  from this visibility on a point is filled, below it is hollow
    """
    marked = (keypoints[:, 2] > 0) & np.isfinite(keypoints).all(axis=1)
    height, width = sheet.pixels.shape[:2]
    places = (sheet.factor * keypoints[:, :2].astype(np.float64)).clip(-10, (width + 10, height + 10))
    edges = () if skeleton is None else skeleton.edges
    bones = [places[list(edge)] for edge in edges if marked[list(edge)].all()]
    hem = text_colour(ink)
    for tint, thickness in ((hem, 2 * sheet.line + 1), (ink, sheet.line)):
        _lines(sheet, bones, tint, thickness)
    radius = 1.6 * sheet.line + 1
    for (x, y), visibility in zip(places[marked], keypoints[marked, 2], strict=True):
        _dot(sheet, x, y, radius + max(1, sheet.line / 2), hem)
        _dot(sheet, x, y, radius, ink)
        if visibility < seen:
            _dot(sheet, x, y, 0.6 * radius, hem)


def _dot(sheet: _Sheet, x: float, y: float, radius: float, ink: Colour) -> None:
    centre = round((x - 0.5) * (1 << FIXED_POINT)), round((y - 0.5) * (1 << FIXED_POINT))
    cv2.circle(sheet.pixels, centre, round(radius * (1 << FIXED_POINT)), ink, cv2.FILLED, cv2.LINE_AA, FIXED_POINT)


def _draw_labels(sheet: _Sheet, labels: np.ndarray, classes: Sequence[str], with_legend: bool) -> np.ndarray:
    """Every class in its colour, but a first one called background, which is left clear; void hatched; the legend.

    Without the background the colours are those of the things, where both are known.
    """
    present: list[int] = np.unique(labels).tolist()
    for label, ink in _inks(present, classes):
        _fill(sheet, labels == label, ink, PAINT, hatched=label == VOID)
    below = legend(present, classes, sheet.pixels.shape[1], sheet.letters) if with_legend else None
    return sheet.pixels if below is None else np.vstack([sheet.pixels, below])


def _inks(present: Sequence[int], classes: Sequence[str]) -> list[tuple[int, Colour]]:
    """The labels that are drawn, and in which colour."""
    first = 1 if classes and classes[0].casefold() == "background" else 0
    inks = [(label, colour(label - first)) for label in present if label != VOID and label >= first]
    return inks + [(VOID, GREY)] * (VOID in present)


def legend(present: Sequence[int], classes: Sequence[str], width: int, letters: int) -> np.ndarray | None:
    """What the colours of label maps mean, [h, width, 3] uint8 on white; None where nothing is drawn.

    present  the labels that occur, 255 for void
    letters  the size of the font, in pixels
    """
    entries = [
        ("void", "void", ink) if label == VOID else (classes[label], f"#{label}", ink)
        for label, ink in _inks(present, classes)
    ]
    return _rows_of_plates(entries, width, letters)


def _rows_of_plates(entries: Sequence[tuple[str, str, Colour]], width: int, letters: int) -> np.ndarray | None:
    """Plates in rows, [h, width, 3] uint8 on white; None without entries."""
    gap = max(2, letters // 3)
    plates = [plate(name, spare, ink, letters, width - 2 * gap) for name, spare, ink in entries]
    rows: list[list[np.ndarray]] = []
    room = 0
    for tag in plates:
        if tag is None:
            continue
        if not rows or tag.shape[1] + gap > room:
            rows.append([])
            room = width - gap
        rows[-1].append(tag)
        room -= tag.shape[1] + gap
    if not rows:
        return None
    height = max(tag.shape[0] for row in rows for tag in row)
    strip = np.full((gap + len(rows) * (height + gap), width, 3), WHITE, dtype=np.uint8)
    for number, row in enumerate(rows):
        left, top = gap, gap + number * (height + gap)
        for tag in row:
            strip[top : top + tag.shape[0], left : left + tag.shape[1]] = tag
            left += tag.shape[1] + gap
    return strip
