"""Masks: pixels and runs against pycocotools, outlines by their own way back, moves by the laws of geometry."""

import math

import cv2
import numpy as np
import pycocotools.mask as coco
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from saccade.geometry import masks
from saccade.geometry.affine import Affine
from saccade.geometry.masks import Polygon, Runs
from saccade.geometry.view import View

QUIET = settings(deadline=None, derandomize=True, max_examples=150)

sizes = st.tuples(st.integers(1, 14), st.integers(1, 14))
bitmaps = sizes.flatmap(lambda size: arrays.arrays(bool, size, elements=st.booleans()))
coordinates = st.floats(-20, 40, allow_nan=False) | st.integers(-5, 20).map(float)
rings = st.lists(st.tuples(coordinates, coordinates), min_size=3, max_size=9).map(lambda ring: np.array(ring, float))
polygons = st.lists(rings, min_size=1, max_size=3).map(lambda some: Polygon(tuple(some)))


def theirs(pixels: np.ndarray) -> dict:
    """The mask as pycocotools encodes it."""
    return coco.encode(np.asfortranarray(pixels, dtype=np.uint8))


def picture(rows: str) -> np.ndarray:
    """A bitmap drawn in text: # is covered."""
    return np.array([[sign == "#" for sign in row] for row in rows.split()])


# --- pixels and runs --------------------------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore:__array__ implementation")  # pycocotools' own affair
@QUIET
@given(polygons, sizes)
def test_a_polygon_covers_the_pixels_that_coco_gives_it(polygon: Polygon, size: tuple[int, int]) -> None:
    parts = coco.frPyObjects([ring.ravel().tolist() for ring in polygon.rings], *size)
    assert np.array_equal(masks.bitmap(polygon, size), coco.decode(coco.merge(parts)).astype(bool))


@QUIET
@given(bitmaps)
def test_runs_are_cocos_and_come_back(pixels: np.ndarray) -> None:
    runs, expected = masks.runs_from_bitmap(pixels), theirs(pixels)
    assert np.array_equal(masks.bitmap(runs, pixels.shape), pixels)
    assert masks.compressed(runs) == expected["counts"]
    for string in (expected["counts"], expected["counts"].decode()):
        back = masks.runs_from_compressed(string, pixels.shape)
        assert np.array_equal(back.counts, runs.counts) and back.counts.dtype == np.uint32
    assert masks.area(runs) == coco.area(expected) == pixels.sum()
    left, top, width, height = coco.toBbox(expected)
    assert masks.box(runs).tolist() == [left, top, left + width, top + height]


def test_runs_by_hand() -> None:
    """Down the columns: 1 outside, 2 inside, 2 outside, 1 inside."""
    runs = masks.runs_from_bitmap(np.array([[0, 0], [1, 0], [1, 1]], dtype=bool))
    assert runs.size == (3, 2) and runs.counts.tolist() == [1, 2, 2, 1]
    assert masks.runs_from_bitmap(np.ones((2, 2), dtype=bool)).counts.tolist() == [0, 4]
    assert masks.box(runs).tolist() == [0, 1, 2, 3]


def test_long_runs_survive_the_strings() -> None:
    """Counts of many characters, up and down, at the size of real images."""
    rng = np.random.default_rng(0)
    pixels = np.zeros((1200, 1600), dtype=bool)
    for x, y in rng.integers(0, 1000, (40, 2)):
        pixels[y : y + rng.integers(1, 500), x : x + rng.integers(1, 500)] ^= True
    runs = masks.runs_from_bitmap(pixels)
    assert masks.compressed(runs) == theirs(pixels)["counts"]
    assert np.array_equal(
        masks.bitmap(masks.runs_from_compressed(masks.compressed(runs), (1200, 1600)), (1200, 1600)), pixels
    )


def test_runs_of_runs_must_be_of_the_image() -> None:
    runs = masks.runs_from_bitmap(np.ones((3, 4), dtype=bool))
    assert masks.runs_of(runs, (3, 4)) is runs
    with pytest.raises(ValueError, match=r"\(3, 4\).*\(4, 3\)"):
        masks.bitmap(runs, (4, 3))


@pytest.mark.parametrize("counts", [[], [3], [3, 4], [2**32 - 1, 7], [6, 1]])
def test_runs_that_do_not_add_up_are_refused(counts: list[int]) -> None:
    runs = Runs((2, 3), np.array(counts, dtype=np.uint32))
    for use in (lambda: masks.bitmap(runs, (2, 3)), lambda: masks.compressed(runs), lambda: masks.iou([runs], [runs])):
        with pytest.raises(ValueError, match="add up to 6 pixels"):
            use()


@pytest.mark.parametrize(
    "string",
    [
        b"",
        b"o",
        b"OOOOOOOOOOOO0",
        b"\x00",
        b"6 ",
        "6é",
        "6\ud800",
        b"5",
        b"M6",
        b"0000",
        b"\xff" * 9,
        b"p6",
        b"VPPPPPPPP0",
    ],
)
def test_strings_that_are_no_runs_are_refused(string: bytes | str) -> None:
    with pytest.raises(ValueError, match="runs"):
        masks.runs_from_compressed(string, (2, 3))


def test_signs_that_cannot_be_encoded_do_not_turn_into_others() -> None:
    """6 and 15 pixels: what is no sign must not be read as the question mark that it is often replaced by."""
    assert masks.runs_from_compressed("6?", (3, 7)).counts.tolist() == [6, 15]
    with pytest.raises(ValueError, match="runs"):
        masks.runs_from_compressed("6\ud800", (3, 7))


@settings(deadline=None, derandomize=True, max_examples=400)
@given(st.binary(max_size=40) | st.binary(max_size=20).map(lambda raw: bytes(48 + byte % 64 for byte in raw)), sizes)
def test_any_bytes_are_runs_of_the_image_or_a_value_error(string: bytes, size: tuple[int, int]) -> None:
    try:
        runs = masks.runs_from_compressed(string, size)
    except ValueError:
        return
    assert masks.bitmap(runs, size).shape == size


@pytest.mark.parametrize("worst", [math.nan, math.inf, 1e9, -1e300])
def test_a_polygon_that_nobody_could_draw_is_refused(worst: float) -> None:
    with pytest.raises(ValueError, match="clip it to the image"):
        masks.bitmap(Polygon((np.array([(0, 0), (worst, 2), (3, 3)]),)), (4, 4))
    for ring in (np.array([(0, 0), (1e6, 1e6)] * 1000), np.array([(0, 0), (1, 0), (0, 1)]) + 1e9):
        with pytest.raises(ValueError, match="clip it to the image"):
            masks.bitmap(Polygon((ring,)), (4, 4))


@pytest.mark.parametrize("shape", [(2, 2), (3, 3), (6,), (0, 2)])
def test_a_ring_that_is_none_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="3 points or more"):
        masks.bitmap(Polygon((np.zeros(shape),)), (4, 4))


# --- outlines ---------------------------------------------------------------------------------------------------------


def check_outline(pixels: np.ndarray) -> Polygon:
    """What must hold of every outline; the number of rings by OpenCV, the area by counting."""
    polygon = masks.polygon_from_bitmap(pixels)
    assert np.array_equal(masks.bitmap(polygon, pixels.shape), pixels)
    parts, _ = cv2.connectedComponents(pixels.astype(np.uint8), connectivity=4)
    assert len(polygon.rings) == parts - 1
    assert masks.area(polygon) == pixels.sum()  # so holes run the other way round
    for ring in polygon.rings:
        across, down = (np.roll(ring, -1, axis=0) != ring).T
        assert (across ^ down).all(), "every edge is upright or level"
        assert (across == np.roll(down, 1)).all(), "and every point a corner"
    return polygon


@settings(deadline=None, derandomize=True, max_examples=500)
@given(bitmaps)
def test_the_outline_gives_its_pixels_back(pixels: np.ndarray) -> None:
    check_outline(pixels)


@pytest.mark.parametrize(
    "rows",
    [
        "#",
        "...... .####. .#..#. .#..#. .####. ......",
        "####### #.....# #.###.# #.#.#.# #.###.# #.....# #######",  # a part in a hole, with a hole
        "#.#. .#.# #.#. .#.#",  # parts that touch by corners
        "##### #.#.# ##.## #.#.# #####",  # holes that touch by corners: one hole
        "###### #.##.# ###### #.#..# ######",  # holes below and beside holes
        "##### #...# #.#.. #...# #####",  # no hole: open at the side
        ".....",
        "##### ##### #####",
    ],
)
def test_outlines_of_drawings(rows: str) -> None:
    check_outline(picture(rows))


def test_outlines_by_hand() -> None:
    (ring,) = masks.polygon_from_bitmap(picture(".... .##. .##. ....")).rings
    assert ring.tolist() == [[1, 1], [3, 1], [3, 3], [1, 3]]
    (ring,) = masks.polygon_from_bitmap(picture("### #.# ###")).rings
    # Along the top, down the cut, around the hole the other way, up again and on.
    assert ring.tolist() == [[0, 0], [1, 0], [1, 2], [2, 2], [2, 1], [1, 1], [1, 0], [3, 0], [3, 3], [0, 3]]
    (ring,) = masks.polygon_from_bitmap(picture("##### #.#.# #####")).rings  # two holes, from left to right
    along_the_top = [[0, 0], [1, 0], [1, 2], [2, 2], [2, 1], [1, 1], [1, 0]]
    along_the_top += [[3, 0], [3, 2], [4, 2], [4, 1], [3, 1], [3, 0]]
    assert ring.tolist() == [*along_the_top, [5, 0], [5, 3], [0, 3]]
    assert masks.polygon_from_bitmap(np.zeros((3, 3), dtype=bool)).rings == ()


def test_a_sieve_has_one_ring_in_reasonable_time() -> None:
    pixels = np.ones((301, 301), dtype=bool)
    pixels[1::2, 1::2] = False
    check_outline(pixels)


# --- areas, boxes, moves ----------------------------------------------------------------------------------------------

numbers = st.floats(-3, 3, allow_nan=False).map(lambda value: round(value, 2))
affines = st.builds(Affine, numbers, numbers, numbers, numbers, numbers, numbers).filter(
    lambda m: abs(m.a * m.e - m.b * m.d) > 0.05
)


def test_areas_and_boxes_by_hand() -> None:
    triangle, square = np.array([(0, 0), (4, 0), (0, 3)]), np.array([(10, 10), (10, 12), (12, 12), (12, 10)])
    assert masks.area(Polygon((triangle, square))) == 6 + 4
    assert masks.box(Polygon((triangle, square))).tolist() == [0, 0, 12, 12]
    assert masks.area(Polygon(())) == 0 and masks.box(Polygon(())).tolist() == [0, 0, 0, 0]
    far = np.array([(0, 0), (1, 0), (1, 1), (0, 1)]) + 1e9  # where squares have no digits left for a unit
    assert masks.area(Polygon((far,))) == 1


@QUIET
@given(polygons, affines)
def test_a_polygon_moves_to_and_fro_and_its_area_by_the_determinant(polygon: Polygon, affine: Affine) -> None:
    view = View(affine, (20, 20), (30, 30))
    moved = masks.move(polygon, view)
    assert isinstance(moved, Polygon)
    back = masks.move(moved, view.inverse())
    assert isinstance(back, Polygon)
    for ring, again in zip(polygon.rings, back.rings, strict=True):
        assert np.allclose(ring, again, atol=1e-8)
    assert masks.area(moved) == pytest.approx(abs(view.determinant) * masks.area(polygon), rel=1e-6, abs=1e-6)


@QUIET
@given(polygons, affines)
def test_the_box_of_a_moved_polygon_is_inside_the_moved_box(polygon: Polygon, affine: Affine) -> None:
    view = View(affine, (20, 20), (30, 30))
    inner, outer = masks.box(masks.move(polygon, view)), view.move_boxes(masks.box(polygon))
    assert (inner[:2] >= outer[:2] - 1e-9).all() and (inner[2:] <= outer[2:] + 1e-9).all()


@QUIET
@given(bitmaps, affines)
def test_the_box_of_moved_runs_is_inside_the_moved_box(pixels: np.ndarray, affine: Affine) -> None:
    view = View(affine, pixels.shape, (20, 25))
    runs = masks.runs_from_bitmap(pixels)
    moved = masks.move(runs, view)
    assert isinstance(moved, Runs) and moved.size == (20, 25)
    assume(masks.area(moved) > 0)
    inner, outer = masks.box(moved), view.move_boxes(masks.box(runs))
    # A pixel is covered when its centre is, so it may reach half a pixel further (and OpenCV counts in 1/1024 pixels).
    reach = 0.5 + 0.01 * max(1, *map(abs, affine))
    assert (inner[:2] >= outer[:2] - reach).all() and (inner[2:] <= outer[2:] + reach).all()


@QUIET
@given(bitmaps, st.booleans(), st.booleans(), st.integers(1, 3))
def test_runs_flip_like_slices_and_twice_is_no_flip(pixels: np.ndarray, across: bool, down: bool, factor: int) -> None:
    view = View.identity(pixels.shape).flipped(horizontal=across, vertical=down)
    once = masks.move(masks.runs_from_bitmap(pixels), view)
    assert np.array_equal(masks.bitmap(once, pixels.shape), pixels[:: -1 if down else 1, :: -1 if across else 1])
    assert np.array_equal(masks.bitmap(masks.move(once, view), pixels.shape), pixels)
    large = View.identity(pixels.shape).resized((factor * pixels.shape[0], factor * pixels.shape[1]))
    grown = masks.move(masks.runs_from_bitmap(pixels), large)
    assert np.array_equal(masks.bitmap(grown, large.size), pixels.repeat(factor, axis=0).repeat(factor, axis=1))
    assert masks.area(grown) == large.determinant * pixels.sum()


# --- overlap ----------------------------------------------------------------------------------------------------------

stacks = sizes.flatmap(
    lambda size: st.tuples(*[st.lists(arrays.arrays(bool, size, elements=st.booleans()), max_size=4)] * 2)
)


@QUIET
@given(stacks, st.lists(st.booleans(), min_size=4, max_size=4), st.booleans())
def test_iou_is_pycocotools(stack: tuple[list, list], flags: list[bool], with_crowd: bool) -> None:
    truths, predictions = stack
    crowd = np.array(flags[: len(truths)], dtype=bool) if with_crowd else None
    found = masks.iou(*([masks.runs_from_bitmap(pixels) for pixels in some] for some in stack), crowd)
    assert found.shape == (len(truths), len(predictions))
    assume(truths and predictions)
    iscrowd = [0] * len(truths) if crowd is None else crowd.astype(int).tolist()
    expected = coco.iou([theirs(pixels) for pixels in predictions], [theirs(pixels) for pixels in truths], iscrowd)
    assert np.array_equal(found, np.asarray(expected).T)
    for n, m in np.ndindex(found.shape):  # and by counting
        shared = (truths[n] & predictions[m]).sum()
        whole = predictions[m].sum() if iscrowd[n] else (truths[n] | predictions[m]).sum()
        assert found[n, m] == pytest.approx(shared / max(whole, 1))


def test_iou_of_masks_of_two_sizes_is_refused() -> None:
    small, large = (masks.runs_from_bitmap(np.ones(size, dtype=bool)) for size in ((2, 2), (2, 3)))
    with pytest.raises(ValueError, match=r"one size.*\(2, 2\), \(2, 3\)"):
        masks.iou([small], [large])
    with pytest.raises(ValueError, match=r"\[1\].*\[2\]"):
        masks.iou([small], [small], np.array([True, False]))
