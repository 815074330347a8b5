"""Geometry: the algebra of views against numpy's matrices, the pixels against Pillow, slicing and slow loops."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from saccade.geometry.affine import Affine, scaling, translation
from saccade.geometry.resample import warp
from saccade.geometry.view import View
from saccade.structures import Preprocessing

QUIET = settings(deadline=None, derandomize=True, max_examples=60)

numbers = st.floats(-50, 50, allow_nan=False).map(lambda value: round(value, 3))
affines = st.builds(Affine, numbers, numbers, numbers, numbers, numbers, numbers).filter(
    lambda m: abs(m.a * m.e - m.b * m.d) > 0.05
)
sizes = st.tuples(st.integers(1, 300), st.integers(1, 300))
points = st.lists(st.tuples(numbers, numbers), min_size=1, max_size=5)


@st.composite
def views(draw: st.DrawFn) -> View:
    """A view such as augmentation makes: cropped, stretched, mirrored, turned, moved."""
    view = View.identity(draw(sizes))
    high, wide = (draw(st.integers(1, length)) for length in view.size)
    view = view.cropped(
        draw(st.integers(0, view.size[0] - high)), draw(st.integers(0, view.size[1] - wide)), (high, wide)
    )
    view = view.resized(draw(sizes)).flipped(horizontal=draw(st.booleans()), vertical=draw(st.booleans()))
    view = view.turned(draw(st.floats(-180, 180)), draw(st.floats(-50, 50)), draw(st.floats(0.5, 2)))
    return view.then(translation(draw(numbers), draw(numbers)))


# --- the algebra ------------------------------------------------------------------------------------------------------


@QUIET
@given(affines, affines, points)
def test_after_is_the_product_of_matrices(second: Affine, first: Affine, where: list[tuple[float, float]]) -> None:
    both = second.after(first)
    assert np.allclose(both.matrix(), second.matrix() @ first.matrix(), atol=1e-6)
    homogeneous = np.array([(x, y, 1) for x, y in where])
    moved = View(both, (1, 1), (1, 1)).move_points(np.array(where))
    assert np.allclose(moved, (second.matrix() @ first.matrix() @ homogeneous.T).T[:, :2], atol=1e-5)


@QUIET
@given(affines)
def test_the_inverse_is_numpys(affine: Affine) -> None:
    expected = np.linalg.inv(affine.matrix())
    assert np.allclose(affine.inverse().matrix(), expected, atol=1e-6 * np.abs(expected).max())
    assert np.allclose(
        affine.inverse().spread, np.linalg.norm(expected[:2, :2], axis=1), atol=1e-6 * abs(expected).max()
    )


@QUIET
@given(affines, st.floats(0.5, 90), st.floats(0.5, 90))
def test_bounds_are_those_of_the_corners(affine: Affine, width: float, height: float) -> None:
    corners = np.array([(0, 0), (width, 0), (0, height), (width, height)])
    moved = View(affine, (1, 1), (1, 1)).move_points(corners)
    assert np.allclose(affine.bounds(width, height), [*moved.min(axis=0), *moved.max(axis=0)], atol=1e-6)


@pytest.mark.parametrize("affine", [Affine(a=0), Affine(1, 2, 0, 2, 4, 0), Affine(c=math.nan), Affine(a=math.inf)])
def test_a_map_without_a_way_back_is_refused(affine: Affine) -> None:
    with pytest.raises(ValueError, match="inverse"):
        affine.inverse()
    with pytest.raises(ValueError, match="inverse"):
        View(affine, (4, 4), (4, 4))


@pytest.mark.parametrize("size", [(0, 4), (4, 0), (-1, 3), (4,), (4, 4, 3)])
def test_a_size_that_is_none_is_refused(size: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="height, width"):
        View(Affine(), size, (4, 4))
    with pytest.raises(ValueError, match="height, width"):
        View(Affine(), (4, 4), size)


@QUIET
@given(views(), points)
def test_to_and_fro_is_the_identity(view: View, where: list[tuple[float, float]]) -> None:
    there = view.move_points(np.array(where))
    assert np.allclose(view.inverse().move_points(there), where, atol=1e-6)
    assert np.allclose(view.matrix @ view.inverse().matrix, np.eye(3), atol=1e-8)
    assert (view.inverse().source, view.inverse().size) == (view.size, view.source)


@QUIET
@given(views(), st.booleans(), st.booleans())
def test_flipping_twice_is_no_flip(view: View, horizontal: bool, vertical: bool) -> None:
    twice = view.flipped(horizontal=horizontal, vertical=vertical).flipped(horizontal=horizontal, vertical=vertical)
    assert np.allclose(twice.matrix, view.matrix, atol=1e-9)
    assert twice.size == view.size


def _area(polygon: np.ndarray) -> float:
    """By the shoelace formula; positive one way round."""
    x, y = polygon.T
    return 0.5 * float(x @ np.roll(y, -1) - y @ np.roll(x, -1))


@QUIET
@given(views(), st.lists(st.tuples(numbers, numbers), min_size=3, max_size=8))
def test_areas_scale_with_the_determinant(view: View, polygon: list[tuple[float, float]]) -> None:
    before, after = _area(np.array(polygon)), _area(view.move_points(np.array(polygon)))
    determinant = float(np.linalg.det(view.matrix))
    assert after == pytest.approx(determinant * before, rel=1e-6, abs=1e-5 * (1 + abs(determinant)))


def test_points_by_hand() -> None:
    """Worked out on paper: a crop from (2, 1) of 4 x 8, enlarged threefold, mirrored left to right."""
    view = View.identity((10, 20)).cropped(2, 1, (4, 8)).resized((12, 24)).flipped(horizontal=True)
    assert view.size == (12, 24)
    # (x, y): the crop's corner goes to the top right one, its opposite to the bottom left.
    assert np.allclose(view.move_points(np.array([(1, 2), (9, 6), (5, 4)])), [(24, 0), (0, 12), (12, 6)])
    assert view.shrink == pytest.approx(1 / 3)


def test_turning_is_counter_clockwise_about_the_centre() -> None:
    view = View.identity((10, 20)).turned(90)
    # y points down: what was to the right of the centre comes to stand above it.
    assert np.allclose(view.move_points(np.array([(10, 5), (14, 5), (10, 1)])), [(10, 5), (10, 1), (6, 5)])


@pytest.mark.parametrize(
    ("source", "size", "box"),
    [
        ((10, 20), (40, 40), (0, 10, 40, 30)),  # twice as large, ten rows above and below
        ((20, 10), (40, 60), (20, 0, 40, 40)),
        ((30, 30), (15, 15), (0, 0, 15, 15)),
        ((3, 2), (8, 8), (4 / 3, 0, 20 / 3, 8)),
    ],
)
def test_a_letterbox_by_hand(
    source: tuple[int, int], size: tuple[int, int], box: tuple[float, float, float, float]
) -> None:
    corners = np.array([(0, 0), (source[1], source[0])])
    view = View.identity(source).letterboxed(size)
    assert view.size == size
    assert np.allclose(view.move_points(corners).ravel(), box)


@QUIET
@given(sizes, sizes)
def test_a_letterbox_keeps_the_shape_and_touches_two_sides(source: tuple[int, int], size: tuple[int, int]) -> None:
    view = View.identity(source).letterboxed(size)
    left, top, right, bottom = view.affine.bounds(source[1], source[0])
    assert view.affine.a == view.affine.e
    assert min(left, top) >= -1e-6
    assert (left + right, top + bottom) == pytest.approx((size[1], size[0]))
    assert min(abs(right - left - size[1]), abs(bottom - top - size[0])) < 1e-6


@QUIET
@given(views())
def test_shrink_is_the_lesser_stretch_of_the_way_back(view: View) -> None:
    back = np.linalg.inv(view.matrix)[:2, :2]
    assert view.shrink == pytest.approx(min(np.hypot(*row) for row in back))


# --- pixels, exactly --------------------------------------------------------------------------------------------------


@QUIET
@given(st.data())
def test_whole_crops_and_flips_are_slicing(data: st.DataObject) -> None:
    height, width = data.draw(st.tuples(st.integers(1, 40), st.integers(1, 40)))
    channels = data.draw(st.sampled_from([1, 3]))
    pixels = np.random.default_rng(height * 41 + width).integers(0, 256, (height, width, channels), dtype=np.uint8)
    top, left = data.draw(st.integers(0, height - 1)), data.draw(st.integers(0, width - 1))
    size = (data.draw(st.integers(1, height - top)), data.draw(st.integers(1, width - left)))
    across, down = data.draw(st.booleans()), data.draw(st.booleans())
    view = View.identity((height, width)).cropped(top, left, size).flipped(horizontal=across, vertical=down)
    expected = pixels[top : top + size[0], left : left + size[1]]
    expected = expected[:: -1 if down else 1, :: -1 if across else 1]
    for interpolation in ("bilinear", "nearest"):
        moved = view.apply(pixels, interpolation=interpolation, fill=(9, 9, 9))
        assert moved.dtype == np.uint8
        assert np.array_equal(moved, expected)


@pytest.mark.parametrize("shape", [(16, 16, 3), (17, 17, 1), (20, 30, 3), (31, 21, 3)])
@pytest.mark.parametrize("quarters", [1, 2, 3])
def test_quarter_turns_are_rot90(shape: tuple[int, int, int], quarters: int) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    expected = np.rot90(pixels, quarters)
    # The turn is about the centre; for an upright rectangle the window is turned with it.
    view = View.identity(shape[:2]).turned(90 * quarters).centre_cropped(expected.shape[:2])
    assert np.array_equal(view.apply(pixels, fill=(0, 0, 0)), expected)
    assert np.array_equal(view.apply(pixels, interpolation="nearest"), expected)


def test_a_crop_beyond_the_image_is_filled() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (10, 12, 3), dtype=np.uint8)
    view = View.identity((10, 12)).cropped(-3, -2, (20, 20))
    moved = view.apply(pixels, fill=(7, 80, 200))
    expected = np.full((20, 20, 3), (7, 80, 200), dtype=np.uint8)
    expected[3:13, 2:14] = pixels
    # Shifted by whole pixels nothing is blended.
    assert np.array_equal(moved, expected)


@pytest.mark.parametrize("fill", [(7, 80, 200), (255, 0, 1)])
def test_wholly_beyond_the_image_there_is_only_fill(fill: tuple[int, int, int]) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (10, 12, 3), dtype=np.uint8)
    for top, left in ((100, 0), (-100, 0), (0, 100), (0, -100), (1000, 1000), (-5000, -5000)):
        for factor in (1, 3, 0.2):
            view = View.identity((10, 12)).cropped(top, left, (8, 8)).then(scaling(factor, factor))
            assert (view.apply(pixels, fill=fill) == fill).all()


def test_grey_fill_is_one_value() -> None:
    pixels = np.full((4, 4, 1), 200, dtype=np.uint8)
    moved = View.identity((4, 4)).cropped(0, -20, (4, 8)).apply(pixels, fill=(90,))
    assert moved.shape == (4, 8, 1)
    assert (moved == 90).all()


@pytest.mark.parametrize("factor", [0.3, 0.7, 1, 2.5, 6])
def test_beyond_the_image_there_is_fill_up_to_its_edge(factor: float) -> None:
    """What lies a pixel and a half beyond the image has the fill's colour, what lies inside it the image's."""
    source, fill = (20, 30), (10, 20, 30)
    image = np.full((*source, 3), 200, dtype=np.uint8)
    size = (round(factor * 20) + 40, round(factor * 30) + 40)
    view = View.identity(source).then(translation(20.3, 19.6).after(scaling(factor, factor)), size)
    moved = view.apply(image, fill=fill)
    x, y = np.meshgrid(np.arange(size[1]) + 0.5, np.arange(size[0]) + 0.5)
    left, top, right, bottom = view.affine.bounds(source[1], source[0])
    beyond = np.maximum.reduce([left - x, x - right, top - y, y - bottom])  # pixels from the edge, negative inside
    assert (moved[beyond < -1] == 200).all()
    assert (moved[beyond > 1.5] == fill).all()


@pytest.mark.parametrize("interpolation", ["bilinear", "nearest"])
@pytest.mark.parametrize("size", [(40, 50), (33, 101), (10, 12), (4, 7), (1, 1)])
def test_a_flat_image_stays_flat_to_its_border(interpolation: str, size: tuple[int, int]) -> None:
    """Neither enlarged nor shrunk does an image fade into the fill at its own edge."""
    image = np.full((8, 10, 3), (200, 150, 99), dtype=np.uint8)
    for view in (View.identity((8, 10)).resized(size), View.identity((8, 10)).resized(size).flipped(horizontal=True)):
        moved = view.apply(image, interpolation=interpolation, fill=(0, 0, 0))
        assert (moved == (200, 150, 99)).all()


def test_enlarging_a_letterboxed_image_does_not_fade_its_border() -> None:
    image = np.full((8, 16, 3), 200, dtype=np.uint8)
    moved = View.identity((8, 16)).letterboxed((64, 64)).apply(image, fill=(0, 0, 0))
    assert (moved[16:48] == 200).all()  # four times as large: rows 16 to 48
    assert (moved[[0, 63]] == 0).all()


# --- nearest ----------------------------------------------------------------------------------------------------------


@QUIET
@given(views(), st.sampled_from([1, 3]))
def test_nearest_never_invents_values(view: View, channels: int) -> None:
    labels = np.random.default_rng(1).choice([3, 77, 255], (*view.source, channels)).astype(np.uint8)
    moved = view.apply(labels, interpolation="nearest", fill=(200,) * channels)
    assert set(np.unique(moved)) <= {3, 77, 255, 200}


@settings(deadline=None, derandomize=True, max_examples=20)
@given(views())
def test_nearest_takes_the_pixel_that_the_centre_falls_on(view: View) -> None:
    """Against a loop, one pixel at a time; where the centre lies within 1/16 of an edge OpenCV may go either way."""
    height, width = view.source
    labels = np.random.default_rng(2).integers(0, 200, (height, width, 1), dtype=np.uint8)
    moved = view.apply(labels, interpolation="nearest", fill=(255,))
    back = np.linalg.inv(view.matrix)
    rng = np.random.default_rng(3)
    for row, column in zip(rng.integers(0, view.size[0], 60), rng.integers(0, view.size[1], 60), strict=True):
        x, y, _ = back @ (column + 0.5, row + 0.5, 1)
        if min(abs(x - round(x)), abs(y - round(y))) < 1 / 16:
            continue
        inside = 0 <= x < width and 0 <= y < height
        near = -1 <= x < width + 1 and -1 <= y < height + 1
        if inside:
            assert moved[row, column, 0] == labels[math.floor(y), math.floor(x), 0]
        elif not near:
            assert moved[row, column, 0] == 255


@pytest.mark.parametrize("factor", [2.0, 5.0])
def test_nearest_fills_up_to_the_edge(factor: float) -> None:
    """A label map says nothing of what lies beyond the image, not even half a pixel of it."""
    labels = np.full((6, 6, 1), 7, dtype=np.uint8)
    size = (round(factor * 10), round(factor * 10))
    view = View.identity((6, 6)).cropped(-2, -2, (10, 10)).resized(size)
    moved = view.apply(labels, interpolation="nearest", fill=(255,))[..., 0]
    expected = np.full(size, 255)
    expected[int(2 * factor) : int(8 * factor), int(2 * factor) : int(8 * factor)] = 7
    assert np.array_equal(moved, expected)


# --- against Pillow ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("photo", [0, 1])
@pytest.mark.parametrize(
    "size",
    [
        (427, 640),
        (300, 500),
        (224, 224),  # both axes by another factor
        (224, 336),
        (427, 100),  # one axis alone
        (61, 640),
        (100, 150),
        (32, 32),
        (17, 400),
        # Of fewer pixels all is border: Pillow forgets what is missing, a View repeats the last row, 3 to 7 apart.
        (8, 8),
        (600, 900),  # larger
        (854, 200),  # one up, one down
        (100, 1300),
    ],
)
def test_resizing_agrees_with_pillow(photographs: list[np.ndarray], photo: int, size: tuple[int, int]) -> None:
    image = photographs[photo]
    expected = np.asarray(Image.fromarray(image).resize(size[::-1], Image.Resampling.BILINEAR)).astype(int)
    moved = View.identity(image.shape[:2]).resized(size).apply(image).astype(int)
    difference = np.abs(moved - expected)
    assert difference.mean() <= 2
    # No place may be far off either: a shifted or half-filtered image would show at its edges.
    assert difference.max() <= 40


@pytest.mark.parametrize("window", [(0, 0, 200, 200), (100, 250, 327, 390), (13, 7, 401, 29)])
@pytest.mark.parametrize("size", [(64, 64), (224, 224), (20, 90)])
def test_a_crop_resized_agrees_with_pillow(
    photographs: list[np.ndarray], window: tuple[int, int, int, int], size: tuple[int, int]
) -> None:
    """Pillow's `box` filters across the window's border into the picture, as a View does."""
    image = photographs[0]
    top, left, high, wide = window
    box = (left, top, left + wide, top + high)
    shrunk = Image.fromarray(image).crop(box).resize(size[::-1], Image.Resampling.BILINEAR)
    moved = View.identity(image.shape[:2]).cropped(top, left, (high, wide)).resized(size).apply(image)
    inner = np.abs(moved.astype(int) - np.asarray(shrunk).astype(int))[
        2:-2, 2:-2
    ]  # Pillow's crop forgets its surroundings
    assert inner.mean() <= 2


@pytest.mark.parametrize(
    "preprocessing", [Preprocessing(), Preprocessing.standard((32, 32)), Preprocessing(resize=232)]
)
def test_the_view_of_evaluation_agrees_with_pillow(photographs: list[np.ndarray], preprocessing: Preprocessing) -> None:
    """Resize the shorter side, crop the centre: as torchvision does it, with Pillow's filter."""
    for image in (photographs[0], np.ascontiguousarray(photographs[1].transpose(1, 0, 2))):
        height, width = image.shape[:2]
        factor = preprocessing.resize / min(height, width)
        scaled = round(height * factor), round(width * factor)
        resized = np.asarray(Image.fromarray(image).resize(scaled[::-1], Image.Resampling.BILINEAR))
        high, wide = preprocessing.size
        top, left = round((scaled[0] - high) / 2), round((scaled[1] - wide) / 2)
        expected = resized[top : top + high, left : left + wide]
        moved = preprocessing.view((height, width)).apply(image)
        assert np.abs(moved.astype(int) - expected.astype(int)).mean() <= 2


@pytest.mark.parametrize("factor", [0.5, 1 / 3, 0.11, 0.9])
def test_shrinking_while_turning_does_not_alias(factor: float) -> None:
    """A board of single black and white pixels is even grey from afar, however it is turned."""
    y, x = np.mgrid[:200, :200]
    board = np.repeat((((x + y) % 2) * 255).astype(np.uint8)[..., None], 3, axis=2)
    for degrees in (0, 7, 30, 45):
        turned = View.identity((200, 200)).turned(degrees, factor=factor)
        middle = turned.centre_cropped((int(120 * factor), int(120 * factor))).apply(board).astype(int)
        # At nine tenths the board is barely below what the pixels can carry: less contrast is all one can ask for.
        assert np.abs(middle - 127.5).max() <= (12 if factor <= 0.5 else 110)


@pytest.mark.parametrize("degrees", [10, 33, -75])
def test_turning_agrees_with_a_slow_bilinear_loop(photographs: list[np.ndarray], degrees: float) -> None:
    image = photographs[1][100:160, 200:280].copy()
    view = View.identity((60, 80)).turned(degrees, shear=5, factor=1.4).centre_cropped((40, 40))
    moved, back = view.apply(image), np.linalg.inv(view.matrix)
    expected = np.zeros((40, 40, 3))
    for row in range(40):
        for column in range(40):
            x, y, _ = back @ (column + 0.5, row + 0.5, 1)
            x, y = x - 0.5, y - 0.5
            i, j = math.floor(y), math.floor(x)
            for di, dj in ((0, 0), (0, 1), (1, 0), (1, 1)):
                weight = (1 - abs(y - i - di)) * (1 - abs(x - j - dj))
                expected[row, column] += weight * image[np.clip(i + di, 0, 59), np.clip(j + dj, 0, 79)]
    # OpenCV counts in 1/32 of a pixel.
    assert np.abs(moved - expected).mean() <= 1
    assert np.abs(moved - expected).max() <= 8


# --- pixels and points move together ----------------------------------------------------------------------------------


def _blob(size: tuple[int, int], x: float, y: float, radius: float) -> np.ndarray:
    """A bright dot around (x, y) on black, [h, w, 1] uint8; pixel (0, 0) covers [0, 1) x [0, 1)."""
    columns, rows = np.meshgrid(np.arange(size[1]) + 0.5, np.arange(size[0]) + 0.5)
    dot = 255 * np.exp(-((columns - x) ** 2 + (rows - y) ** 2) / (2 * radius**2))
    return np.round(dot).astype(np.uint8)[..., None]


def _centre(image: np.ndarray) -> tuple[float, float]:
    weight = image[..., 0].astype(np.float64)
    columns, rows = np.meshgrid(np.arange(weight.shape[1]) + 0.5, np.arange(weight.shape[0]) + 0.5)
    return float((weight * columns).sum() / weight.sum()), float((weight * rows).sum() / weight.sum())


@settings(deadline=None, derandomize=True, max_examples=40)
@given(
    where=st.tuples(st.floats(60, 196), st.floats(60, 132)),
    degrees=st.floats(-180, 180),
    shear=st.floats(-20, 20),
    factor=st.floats(0.25, 2.5),
    flips=st.tuples(st.booleans(), st.booleans()),
    stretch=st.tuples(st.integers(120, 300), st.integers(120, 300)),
    reduced=st.sampled_from([1, 2, 4]),
)
def test_a_dot_goes_where_move_points_says(
    where: tuple[float, float],
    degrees: float,
    shear: float,
    factor: float,
    flips: tuple[bool, bool],
    stretch: tuple[int, int],
    reduced: int,
) -> None:
    source = (192, 256)
    dot = _blob(source, *where, radius=6)
    view = View.identity(source).resized(stretch).flipped(horizontal=flips[0], vertical=flips[1])
    view = view.turned(degrees, shear, factor)
    expected = view.move_points(np.array(where))
    # The window is moved so that the whole dot is seen; it must not be cut by the frame.
    view = view.then(translation(*(200 - expected)), (400, 400))
    small = dot.reshape(192 // reduced, reduced, 256 // reduced, reduced, 1).mean(axis=(1, 3)).round().astype(np.uint8)
    moved = view.apply(small, reduced=reduced, fill=(0,))
    assert np.abs(np.subtract(_centre(moved), (200, 200))).max() <= 0.5
    # And it is as bright as its area says.
    determinant = abs(np.linalg.det(view.matrix))
    assert moved.sum() == pytest.approx(determinant * dot.sum(), rel=0.1)


@pytest.mark.parametrize("reduced", [2, 4, 8])
def test_a_reduced_picture_gives_the_same_view(photographs: list[np.ndarray], reduced: int) -> None:
    """Where the view shrinks by more, it makes no difference whether the picture came at a fraction of its size."""
    image = photographs[0][:424, :640]
    small = (
        image.reshape(424 // reduced, reduced, 640 // reduced, reduced, 3).mean(axis=(1, 3)).round().astype(np.uint8)
    )
    view = View.identity((424, 640)).resized((424 // (2 * reduced), 640 // (2 * reduced)))
    for each in (view, view.flipped(horizontal=True), view.turned(10).centre_cropped((12, 16))):
        whole, part = each.apply(image).astype(int), each.apply(small, reduced=reduced).astype(int)
        assert np.abs(whole - part).mean() <= 3


def test_only_the_window_is_read() -> None:
    """What lies far from the crop has no influence on it."""
    rng = np.random.default_rng(5)
    pixels = rng.integers(0, 256, (300, 300, 3), dtype=np.uint8)
    view = View.identity((300, 300)).cropped(100, 120, (80, 60)).resized((20, 17))
    other = pixels.copy()
    other[:60], other[230:], other[:, :80], other[:, 230:] = 0, 0, 0, 0
    assert np.array_equal(view.apply(pixels), view.apply(other))


@pytest.mark.parametrize("shape", [(1, 1), (1, 500), (500, 1), (2, 3)])
def test_slivers_keep_their_colour(shape: tuple[int, int]) -> None:
    image = np.full((*shape, 3), (12, 130, 240), dtype=np.uint8)
    for size in ((1, 1), (7, 9), (224, 224)):
        assert (View.identity(shape).resized(size).apply(image) == (12, 130, 240)).all()


def test_warp_leaves_its_input_alone() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (30, 40, 3), dtype=np.uint8)
    before = pixels.copy()
    warp(pixels, scaling(0.3, 0.4), (9, 16), "bilinear", (0, 0, 0))
    assert np.array_equal(pixels, before)


@given(st.integers(1, 9), st.integers(1, 9), st.integers(0, 3))
def test_quarter_turns_are_rot90_pixel_for_pixel(height: int, width: int, turns: int) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    view = View.identity((height, width))
    for _ in range(turns):
        view = view.quarter_turned()
    assert np.array_equal(view.apply(pixels), np.rot90(pixels, turns))
    assert np.array_equal(view.apply(pixels, interpolation="nearest"), np.rot90(pixels, turns))
    assert not view.mirrors
