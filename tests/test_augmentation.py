"""Everything that augmentation does beyond the first affine and linear amounts, each against another computation."""

import hashlib
import itertools
import json
import math
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
import sets
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageEnhance, ImageOps
from pydantic import ValidationError

from saccade import keyed
from saccade.cli.augment import augment
from saccade.data import colour_ops, policy_steps
from saccade.data.augment import Augmentation
from saccade.data.bend import move_instances, move_labels
from saccade.data.decode import ArrayPicture, render
from saccade.data.loader import Dataset
from saccade.data.policies import POLICIES
from saccade.data.policy_steps import RAND, WIDE, Step
from saccade.data.source import Split
from saccade.errors import UsageError
from saccade.geometry import masks
from saccade.geometry.field import Field
from saccade.geometry.masks import Polygon
from saccade.geometry.view import View
from saccade.recipes.augment_sheet import augmentation_of, make_augment_sheet
from saccade.structures import VOID, Batch, Instances, LabelMap, Preprocessing
from saccade.training.mixing import mix

QUIET = settings(deadline=None, derandomize=True, max_examples=60)
SMALL = Preprocessing((48, 64), 64)
NEW = Augmentation(
    flip=0.5, rotate=20, elastic=0.03, perspective=0.1, pca=0.1, grey=0.3, blur=0.5, jpeg=0.5, policy="rand"
)


@pytest.fixture(scope="module")
def photograph(photographs: list[np.ndarray]) -> np.ndarray:
    """[96, 128, 3] uint8."""
    return cv2.resize(photographs[0], (128, 96), interpolation=cv2.INTER_AREA)


@st.composite
def fields(draw: st.DrawFn) -> Field:
    """Of any size and strength that can be asked for, elastic, in perspective, or both."""
    size = draw(st.integers(4, 150)), draw(st.integers(4, 150))
    rng = keyed.generator("field", draw(st.integers(0, 10_000)))
    elastic = Field.elastic(size, draw(st.floats(0.001, 0.1)), draw(st.floats(0.02, 0.5)), rng)
    aside = Field.perspective(size, draw(st.floats(0, 0.2)), rng)
    return draw(st.sampled_from([elastic, aside, elastic.after(aside)]))


def shown_at(field: Field, points: np.ndarray) -> np.ndarray:
    """What the result shows at points [N, 2]: x + d(x), interpolated by hand, one point after the other."""
    height, width = field.size
    found = []
    for x, y in points.tolist():
        u, v = min(max(x, 0), width), min(max(y, 0), height)
        i, j = min(int(v), height - 1), min(int(u), width - 1)
        s, t = v - i, u - j
        square = field.shift[i : i + 2, j : j + 2].astype(np.float64)
        d = (1 - s) * ((1 - t) * square[0, 0] + t * square[0, 1]) + s * ((1 - t) * square[1, 0] + t * square[1, 1])
        found.append((x + d[0], y + d[1]))
    return np.array(found)


# --- fields -----------------------------------------------------------------------------------------------------------


@QUIET
@given(fields(), st.integers(0, 10_000))
def test_to_and_fro_is_where_one_was(field: Field, seed: int) -> None:
    height, width = field.size
    points = np.random.default_rng(seed).uniform((-0.5 * width, -0.5 * height), (1.5 * width, 1.5 * height), (40, 2))
    assert np.abs(shown_at(field, field.move_points(points)) - points).max() < 1e-4


@QUIET
@given(fields())
def test_nothing_folds_over(field: Field) -> None:
    assert field.least_growth > 0


def test_nothing_folds_over_on_images_of_few_pixels() -> None:
    """Where plain addition would, as on strips seen from aside: `after` keeps the last field and weakens the first."""
    halved = 0
    for seed in range(150):
        rng = keyed.generator("strip", seed)
        elastic, aside = Field.elastic((3, 60), 0.1, 0.02, rng), Field.perspective((3, 60), 0.2, rng)
        both = elastic.after(aside)
        assert both.least_growth > 0
        points = rng.uniform(0, (60, 3), (10, 2))
        plain = elastic.move_points(aside.move_points(points))
        halved += bool(np.abs(both.move_points(points) - plain).max() > 1)
    assert halved > 0


def test_the_least_growth_is_that_of_a_dense_look() -> None:
    field = Field.elastic((20, 24), 0.1, 0.1, np.random.default_rng(0))
    x, y = np.meshgrid(np.linspace(0.003, 23.997, 110), np.linspace(0.003, 19.997, 110))
    places, step = np.stack([x, y], axis=-1).reshape(-1, 2), 1e-4
    right, down = (
        (shown_at(field, places + step * way) - shown_at(field, places)) / step for way in np.eye(2)
    )  # fmt: skip
    dense = (right[:, 0] * down[:, 1] - right[:, 1] * down[:, 0]).min()
    assert field.least_growth <= dense + 1e-3
    assert dense - field.least_growth < 0.05


@pytest.mark.parametrize("size", [(64, 64), (60, 200)])
def test_elastic_displacements_are_as_far_as_asked(size: tuple[int, int]) -> None:
    fields = [Field.elastic(size, 0.02, 0.12, keyed.generator(seed)) for seed in range(120)]
    squares = np.array([(field.shift.astype(np.float64) ** 2).sum(axis=-1).mean() for field in fields])
    assert math.sqrt(squares.mean()) == pytest.approx(0.02 * min(size), rel=0.05)
    assert abs(np.mean([field.shift.mean() for field in fields])) < 0.002 * min(size)


def test_elastic_smoothness_is_that_of_a_gaussian() -> None:
    """White noise smoothed with deviation s is alike at a distance r as exp(-r^2 / 4 s^2)."""
    deviation = 0.1 * 100
    fields = [Field.elastic((100, 100), 0.01, 0.1, keyed.generator("smooth", seed)).shift for seed in range(300)]
    field = np.stack(fields)[..., 0].astype(np.float64)
    for far in (5, 10, 20):
        alike = (field[:, :, :-far] * field[:, :, far:]).mean() / (field**2).mean()
        assert alike == pytest.approx(math.exp(-((far / deviation) ** 2) / 4), abs=0.06)


def test_a_field_is_the_same_at_every_size() -> None:
    small, large = (Field.elastic((s, s), 0.03, 0.1, keyed.generator(5)).shift / s for s in (50, 200))
    assert np.abs(small - large[::4, ::4]).max() < 1e-6


def test_perspective_moves_the_corners_as_drawn() -> None:
    height, width, amount = 40, 60, 0.15
    field = Field.perspective((height, width), amount, keyed.generator("corners"))
    drawn = keyed.generator("corners").uniform(-amount, amount, (4, 2)) * (width, height)
    corners = [(0, 0), (width, 0), (width, height), (0, height)]
    for (x, y), expected in zip(corners, drawn, strict=True):
        assert np.abs(field.shift[y, x] - expected).max() < 1e-3
    # The diagonals of the image cross in its middle, and what is there is where the moved diagonals cross.
    a, b, c, d = (np.array(corner) + moved for corner, moved in zip(corners, drawn, strict=True))
    share = np.linalg.solve(np.stack([c - a, b - d], axis=1), b - a)[0]
    assert np.abs(field.shift[20, 30] + (30, 20) - (a + share * (c - a))).max() < 1e-3


def test_two_fields_one_after_the_other_are_their_combination() -> None:
    first = Field.elastic((50, 70), 0.03, 0.15, keyed.generator(1))
    second = Field.perspective((50, 70), 0.1, keyed.generator(2))
    points = np.random.default_rng(0).uniform(5, 45, (50, 2))
    both = second.after(first).move_points(points)
    assert np.abs(both - second.move_points(first.move_points(points))).max() < 0.03


def test_a_point_painted_on_an_image_is_found_where_the_image_shows_it() -> None:
    for seed in range(6):
        rng = keyed.generator("dot", seed)
        field = Field.elastic((120, 120), 0.03, 0.1, rng).after(Field.perspective((120, 120), 0.08, rng))
        point = rng.uniform(40, 80, 2)
        y, x = np.mgrid[:120, :120] + 0.5
        blob = np.exp(-((x - point[0]) ** 2 + (y - point[1]) ** 2) / 2)
        bent = field.apply(np.round(255 * blob).astype(np.uint8)[..., None], fill=(0,))[..., 0].astype(np.float64)
        centre = (bent * x).sum() / bent.sum(), (bent * y).sum() / bent.sum()
        assert np.abs(field.move_points(point) - centre).max() < 0.15
        assert np.abs(np.subtract(point, centre)).max() > 0.5, "it has moved"


def test_a_shift_by_whole_pixels_is_just_that() -> None:
    image = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)
    field = Field(np.full((21, 31, 2), (3, -2), dtype=np.float32))
    for interpolation in ("bilinear", "nearest"):
        bent = field.apply(image, fill=(1, 2, 3), interpolation=interpolation)
        assert np.array_equal(bent[2:, :-3], image[:-2, 3:])
        assert (bent[:2] == (1, 2, 3)).all()
        assert (bent[:, -3:] == (1, 2, 3)).all()
    assert np.array_equal(field.move_points(np.array([[10.0, 5.0]])), [[7, 7]])
    assert np.array_equal(Field(np.zeros((21, 31, 2), np.float32)).apply(image), image)


def test_fields_and_images_must_fit() -> None:
    field = Field.elastic((20, 30), 0.01, 0.1, keyed.generator(0))
    with pytest.raises(ValueError, match=r"\(20, 30\) cannot bend an image of \(30, 20\)"):
        field.apply(np.zeros((30, 20, 3), np.uint8))
    with pytest.raises(ValueError, match="do not combine"):
        field.after(Field.elastic((30, 20), 0.01, 0.1, keyed.generator(0)))
    with pytest.raises(ValueError, match="float32"):
        Field(np.zeros((5, 5, 2)))
    with pytest.raises(ValueError, match=r"amount was 0\.3"):
        Field.perspective((5, 5), 0.3, keyed.generator(0))


def test_points_that_nobody_knows_stay_unknown() -> None:
    field = Field.elastic((20, 30), 0.03, 0.1, keyed.generator(0))
    points = np.array([[np.nan, 3], [5, 5], [1e6, -1e6]])
    moved = field.move_points(points)
    assert np.isnan(moved[0, 0])
    assert np.abs(shown_at(field, moved[1:]) - points[1:]).max() < 1e-4
    assert field.move_points(np.zeros((0, 2))).shape == (0, 2)
    assert field.move_boxes(np.zeros((0, 4))).shape == (0, 4)


# --- what is marked on a bent image -----------------------------------------------------------------------------------


@QUIET
@given(fields(), st.integers(0, 10_000))
def test_the_box_of_a_moved_mask_lies_in_the_moved_box(field: Field, seed: int) -> None:
    height, width = field.size
    rng = np.random.default_rng(seed)
    ring = rng.uniform((0.1 * width, 0.1 * height), (0.9 * width, 0.9 * height), (6, 2))
    mask = Polygon((ring,))
    bitmap = masks.runs_of(mask, field.size)
    moved = field.move_boxes(np.stack([masks.box(mask), masks.box(bitmap)]))
    inner = [masks.box(field.move_mask(shape)) for shape in (mask, bitmap)]
    for outer, box in zip(moved, inner, strict=True):
        assert (box == 0).all() or ((box[:2] >= outer[:2] - 1).all() and (box[2:] <= outer[2:] + 1).all())


def test_polygons_runs_and_label_maps_move_alike() -> None:
    """The same shape by three roads; they differ along the outline, where pixels are in or out."""
    y, x = np.mgrid[:96, :96] + 0.5
    shape = ((x - 48) / 30) ** 2 + ((y - 48) / 20) ** 2 < 1
    square = Polygon((np.array([[20, 24], [76, 24], [76, 70], [20, 70]], dtype=np.float64),))
    for mask in (masks.polygon_from_bitmap(shape), square):
        runs = masks.runs_of(mask, (96, 96))
        outline = masks.box(mask)[None]
        things = Instances((96, 96), np.repeat(outline, 2, axis=0), np.array([0, 0]), masks=(mask, runs))
        labels = LabelMap(masks.bitmap(mask, (96, 96)).astype(np.uint8), ("ground", "thing"))
        for seed in range(4):
            field = Field.elastic((96, 96), 0.03, 0.12, keyed.generator("alike", seed))
            moved = move_instances(things, View.identity((96, 96)), field)
            assert moved.masks is not None
            one, other = (masks.bitmap(mask, (96, 96)) for mask in moved.masks if mask is not None)
            painted = move_labels(labels, View.identity((96, 96)), field).labels == 1
            assert np.array_equal(other, painted)
            assert (one ^ other).sum() < 0.04 * one.sum()
            assert (one & other).sum() / (one | other).sum() > 0.94


def test_areas_grow_with_what_is_in_the_box() -> None:
    for seed in range(4):
        field = Field.elastic((96, 96), 0.03, 0.12, keyed.generator("areas", seed))
        box = np.array([[20.0, 24.0, 76.0, 70.0]])
        things = Instances((96, 96), box, np.array([0]), areas=np.array([100.0]))
        inside = Polygon((np.array([[20, 24], [76, 24], [76, 70], [20, 70]], dtype=np.float64),))
        grown = masks.area(field.move_mask(masks.runs_of(inside, (96, 96)))) / masks.area(inside)
        moved = move_instances(things, View.identity((96, 96)), field)
        assert moved.areas is not None
        assert moved.areas[0] == pytest.approx(100 * grown, rel=0.02)


def test_keypoints_move_and_those_unmarked_stay_away() -> None:
    keypoints = np.array([[[10.0, 20.0, 2], [30, 5, 1], [0, 0, 0]]])
    things = Instances((40, 60), np.array([[5.0, 5.0, 35.0, 25.0]]), np.array([0]), keypoints=keypoints)
    field = Field.elastic((40, 60), 0.05, 0.2, keyed.generator(3))
    moved = move_instances(things, View.identity((40, 60)), field, sets.SKELETON)
    assert moved.keypoints is not None
    assert np.allclose(shown_at(field, moved.keypoints[0, :2, :2]), keypoints[0, :2, :2], atol=1e-4)
    assert moved.keypoints[0, :, 2].tolist() == [2, 1, 0]
    assert moved.keypoints[0, 2].tolist() == [0, 0, 0]
    mirrored = View.identity((40, 60)).flipped(horizontal=True)
    swapped = move_instances(things, mirrored, None, sets.SKELETON)
    bent = move_instances(things, mirrored, field, sets.SKELETON)
    assert swapped.keypoints is not None
    assert bent.keypoints is not None
    assert np.allclose(shown_at(field, bent.keypoints[0, :1, :2]), swapped.keypoints[0, :1, :2], atol=1e-4)


def test_label_maps_are_void_where_no_image_is() -> None:
    known = LabelMap(np.zeros((30, 30), dtype=np.uint8), ("ground",))
    field = Field(np.full((31, 31, 2), (10, 0), dtype=np.float32))
    labels = move_labels(known, View.identity((30, 30)).cropped(0, -5, (30, 30)), field).labels
    # The view leaves the first five columns empty, and the field moves ten columns out on that side.
    assert (labels[:, :20] == 0).all()
    assert (labels[:, 20:] == VOID).all()


# --- colours, against Pillow ------------------------------------------------------------------------------------------


def differs(ours: np.ndarray, theirs: Image.Image) -> int:
    return int(np.abs(ours.astype(int) - np.asarray(theirs).reshape(ours.shape)).max())


@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_changes_of_colour_are_pillows(photograph: np.ndarray, mode: str) -> None:
    noise = np.random.default_rng(0).integers(30, 200, (41, 57, 3), dtype=np.uint8)
    for pixels in (photograph, noise, np.full((9, 11, 3), 77, dtype=np.uint8)):
        image = Image.fromarray(pixels).convert(mode)
        array = np.asarray(image).reshape(*pixels.shape[:2], -1)
        before = array.copy()
        assert differs(colour_ops.autocontrast(array), ImageOps.autocontrast(image)) <= 1  # Pillow rounds down
        assert differs(colour_ops.equalise(array), ImageOps.equalize(image)) == 0
        for threshold in (0, 1, 100, 255, 256):
            assert differs(colour_ops.solarise(array, threshold), ImageOps.solarize(image, threshold)) == 0
        for bits in range(1, 9):
            assert differs(colour_ops.posterise(array, bits), ImageOps.posterize(image, bits)) == 0
        for factor in (0.0, 0.1, 0.7, 1.0, 1.4, 2.0):
            for ours, theirs in (
                (colour_ops.brightness, ImageEnhance.Brightness),
                (colour_ops.contrast, ImageEnhance.Contrast),
                (colour_ops.saturation, ImageEnhance.Color),
                (colour_ops.sharpness, ImageEnhance.Sharpness),
            ):
                # Pillow rounds down at the end, and so may the grey or the smooth image be one less.
                assert differs(ours(array, factor), theirs(image).enhance(factor)) <= 2, (ours.__name__, factor)
        assert differs(colour_ops.grey(array), image.convert("L").convert(mode)) <= 1
        assert np.array_equal(array, before), "the image itself is left alone"


def test_blur_is_a_gaussian() -> None:
    image = np.zeros((41, 41, 3), dtype=np.uint8)
    image[20, 20] = 255
    y, x = np.mgrid[-20:21, -20:21]
    for sigma in (0.8, 2.0):
        expected = 255 * np.exp(-(x**2 + y**2) / (2 * sigma**2)) / (2 * np.pi * sigma**2)
        assert np.abs(colour_ops.blur(image, sigma) - expected[..., None]).max() < 3
    assert np.array_equal(colour_ops.blur(image, 0.1), image)


def test_a_jpeg_is_worse_the_lower_its_quality(photograph: np.ndarray) -> None:
    for image in (photograph, np.ascontiguousarray(photograph[..., :1])):
        lost = [np.abs(colour_ops.jpeg(image, q).astype(int) - image).mean() for q in (95, 60, 30, 10)]
        assert 0 < lost[0] < lost[1] < lost[2] < lost[3] < 25
        assert colour_ops.jpeg(image, 50).shape == image.shape


def test_pca_moves_colours_along_the_published_components() -> None:
    assert np.allclose(colour_ops.COMPONENTS.T @ colour_ops.COMPONENTS, np.eye(3), atol=2e-4)
    image = np.full((4, 4, 3), 128, dtype=np.uint8)
    shifts = np.stack([colour_ops.colour_shift(0.1, keyed.generator(seed)) for seed in range(3000)])
    along = shifts @ colour_ops.COMPONENTS / 255
    assert np.allclose(along.std(axis=0), 0.1 * np.array([0.2175, 0.0188, 0.0045]), rtol=0.05)
    assert np.abs(np.corrcoef(along.T) - np.eye(3)).max() < 0.06
    # And paint adds just such a shift to every pixel.
    for seed in range(20):
        rng = keyed.generator(seed)
        rng.uniform(size=5)  # brightness, contrast, and the cast of three channels
        expected = np.round(128 + colour_ops.colour_shift(0.5, rng))
        painted = Augmentation(pca=0.5).paint(image, (0.5,) * 3, keyed.generator(seed))
        assert np.abs(painted - expected).max() <= 1
    grey = np.full((4, 4, 1), 128, dtype=np.uint8)
    assert np.array_equal(Augmentation(pca=0.5).paint(grey, (0.5,), keyed.generator(0)), grey)


@pytest.mark.parametrize(("amount", "share"), [("grey", 0.3), ("blur", 0.6), ("jpeg", 0.4)])
def test_noise_is_as_frequent_as_said(photograph: np.ndarray, amount: str, share: float) -> None:
    image = photograph[:32, :32]
    augmentation = Augmentation(**{amount: share})
    changed = [not np.array_equal(augmentation.paint(image, (0,) * 3, keyed.generator(s)), image) for s in range(500)]
    # A blur of less than a sixth of a pixel changes nothing.
    assert share - 0.09 <= np.mean(changed) <= share + 0.06


# --- policies ---------------------------------------------------------------------------------------------------------


def test_every_change_occurs_in_both_policies() -> None:
    rand = [policy_steps.draw_rand(2, 0.9, keyed.generator(seed)) for seed in range(700)]
    trivial = [policy_steps.draw_trivial(keyed.generator(seed)) for seed in range(1400)]
    assert len(RAND) == len(WIDE) == 14
    for drawn, length in ((rand, 2), (trivial, 1)):
        assert {len(steps) for steps in drawn} == {length}
        counts = {name: sum(step.name == name for steps in drawn for step in steps) for name in RAND}
        assert min(counts.values()) > 65, "each is as likely, 100 of 1400"
        assert max(counts.values()) < 135


def test_strengths_are_those_of_the_papers() -> None:
    rand = {step.name: step.value for s in range(400) for step in policy_steps.draw_rand(2, 1.0, keyed.generator(s))}
    assert {abs(rand[name]) for name in ("shear_x", "shear_y")} == {0.3}
    assert abs(rand["rotate"]) == 30
    assert abs(rand["translate_x"]) == 150 / 331
    assert (rand["posterise"], rand["solarise"]) == (4, 0)
    assert {round(rand[name], 6) for name in ("brightness", "contrast", "saturation", "sharpness")} <= {0.1, 1.9}
    wide = [step for seed in range(6000) for step in policy_steps.draw_trivial(keyed.generator(seed))]
    turns = [step.value for step in wide if step.name == "rotate"]
    assert (min(turns), max(turns)) == (-135, 135)
    assert len({abs(turn) for turn in turns}) == 31
    factors = [step.value for step in wide if step.name in ("brightness", "contrast", "saturation", "sharpness")]
    assert (min(factors), max(factors)) == (0.01, 2)
    assert {step.value for step in wide if step.name == "posterise"} >= {8, 2}
    assert (max(step.value for step in wide if step.name == "shear_x")) == 0.99


def test_rand_of_strength_0_changes_nothing_but_the_spread_of_values(photograph: np.ndarray) -> None:
    augmentation = Augmentation(policy="rand", policy_strength=0, policy_count=1)
    plain = render(ArrayPicture(photograph), SMALL.view((96, 128)), SMALL)
    for seed in range(60):
        look = augmentation.look(ArrayPicture(photograph), SMALL, keyed.generator(seed))
        assert np.allclose(look.view.matrix, SMALL.view((96, 128)).matrix)
        if look.steps[0].name not in ("autocontrast", "equalise"):  # these know no strength
            assert np.abs(look.image.astype(int) - plain).max() <= 1, look.steps


def test_steps_that_move_pixels_go_into_the_view() -> None:
    view = View.identity((40, 60))
    assert policy_steps.moved(view, [Step("translate_x", 0.25)]).move_points(np.zeros(2)).tolist() == [15, 0]
    assert policy_steps.moved(view, [Step("translate_y", -0.25)]).move_points(np.zeros(2)).tolist() == [0, -10]
    assert policy_steps.moved(view, [Step("shear_x", 0.5)]).move_points(np.array([30.0, 40.0])).tolist() == [40, 40]
    assert policy_steps.moved(view, [Step("shear_y", 0.5)]).move_points(np.array([0.0, 20.0])).tolist() == [0, 5]
    assert policy_steps.moved(view, [Step("rotate", 90)]).move_points(np.array([40.0, 20.0])) == pytest.approx([30, 10])
    assert policy_steps.moved(view, [Step("solarise", 3), Step("identity", 0)]) == view
    geometric = set(RAND) - set(policy_steps.COLOURS)
    assert geometric == {"rotate", "shear_x", "shear_y", "translate_x", "translate_y"}


def test_steps_of_colour_come_in_their_order(photograph: np.ndarray) -> None:
    steps = [Step("solarise", 100), Step("rotate", 12), Step("brightness", 0.5), Step("equalise", 0)]
    expected = colour_ops.equalise(colour_ops.brightness(colour_ops.solarise(photograph, 100), 0.5))
    assert np.array_equal(policy_steps.painted(photograph, steps), expected)
    assert policy_steps.in_words(steps) == "solarise 100, rotate 12, brightness 0.50, equalise"
    assert policy_steps.in_words([Step("shear_x", -0.125)]) == "shear x −0.12"


def test_the_view_and_the_colours_of_a_look_are_those_of_its_steps(photograph: np.ndarray) -> None:
    augmentation = Augmentation(policy="rand", policy_count=3)
    for seed in range(30):
        look = augmentation.look(ArrayPicture(photograph), SMALL, keyed.generator(seed))
        view = policy_steps.moved(SMALL.view((96, 128)), look.steps)
        assert look.view == view
        plain = render(ArrayPicture(photograph), view, SMALL)
        assert np.array_equal(look.image, policy_steps.painted(plain, look.steps))


def test_the_named_policies_keep_their_values() -> None:
    """Runs that were begun with them must go on as they began."""
    assert POLICIES["photo"] == Augmentation(
        crop=(0.25, 1.0), flip=0.5, rotate=5, brightness=0.2, contrast=0.2, saturation=0.2, hue=0.02
    )
    assert POLICIES["glyph"] == Augmentation(rotate=12, shear=8, scale=(0.85, 1.15), shift=0.08)
    assert POLICIES["objects"] == Augmentation(
        flip=0.5, zoom=(0.7, 1.1), brightness=0.2, contrast=0.2, saturation=0.2, hue=0.02
    )
    assert POLICIES["pixels"] == Augmentation(
        flip=0.5, zoom=(0.75, 1.5), brightness=0.2, contrast=0.2, saturation=0.2, hue=0.02
    )
    assert POLICIES["flipped"] == Augmentation(flip=0.5)
    # Liu et al. 2016, section 2.2, and the published code's colours: 32 of 255, halves, 18 of 360 degrees.
    assert POLICIES["ssd"] == Augmentation(
        expand=4.0, patch=1.0, flip=0.5, brightness=0.125, contrast=0.5, saturation=0.5, hue=0.05
    )
    assert set(POLICIES) == {"photo", "objects", "ssd", "pixels", "flipped", "glyph", "rand", "trivial", "elastic"}


# --- keys -------------------------------------------------------------------------------------------------------------


def digest(augmentation: Augmentation) -> str:
    images = np.random.default_rng(0).integers(0, 256, (4, 60, 80, 3), dtype=np.uint8)
    split = Split(images, [str(i) for i in range(4)], np.arange(4))
    dataset = Dataset(split, SMALL, augmentation, seed=7)
    return hashlib.sha256(b"".join(dataset[e, i].image.tobytes() for e in (0, 3) for i in range(4))).hexdigest()


def test_the_same_key_gives_the_same_image_in_another_process() -> None:
    for augmentation in (NEW, Augmentation(policy="trivial", elastic=0.05)):
        program = (
            "import sys; sys.path.insert(0, 'tests'); from test_augmentation import *; "
            f"print(digest(Augmentation(**{augmentation.model_dump(exclude_unset=True)!r})))"
        )
        again = subprocess.run(
            [sys.executable, "-c", program], cwd=Path(__file__).parents[1], capture_output=True, text=True, check=True
        )
        assert again.stdout.strip() == digest(augmentation) == digest(augmentation)


def test_the_new_amounts_draw_nothing_while_they_are_off(photograph: np.ndarray) -> None:
    """The draws of `photo`, one by one as they have always been; afterwards the generators are in the same state."""
    ours, by_hand = keyed.generator(4), keyed.generator(4)
    POLICIES["photo"].look(ArrayPicture(photograph), SMALL, ours)
    area, aspect = 96 * 128 * by_hand.uniform(0.25, 1), math.exp(by_hand.uniform(math.log(3 / 4), math.log(4 / 3)))
    high, wide = round(math.sqrt(area / aspect)), round(math.sqrt(area * aspect))
    assert high <= 96 and wide <= 128, "the first crop fits, for this key"
    by_hand.integers(96 - high + 1), by_hand.integers(128 - wide + 1)
    by_hand.random(2)  # two mirrors
    by_hand.uniform(size=3)  # scale, turn, shear
    by_hand.uniform(size=4)  # brightness, contrast, saturation, hue
    by_hand.uniform(size=3)  # the cast
    by_hand.random()  # erase
    assert ours.bit_generator.state == by_hand.bit_generator.state
    plain = keyed.generator(5)
    assert Augmentation().steps(plain) == ()
    assert Augmentation().field((20, 20), plain) is None
    assert plain.bit_generator.state == keyed.generator(5).bit_generator.state


def test_grey_networks_can_have_everything() -> None:
    images = np.random.default_rng(0).integers(0, 256, (40, 30, 40), dtype=np.uint8)
    split = Split(images, [str(i) for i in range(40)], np.arange(40))
    for augmentation in (NEW, POLICIES["trivial"], POLICIES["elastic"]):
        dataset = Dataset(split, Preprocessing((28, 28), 28, "L", (0.5,), (0.5,)), augmentation)
        assert {dataset[0, index].image.shape for index in range(40)} == {(28, 28, 1)}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("elastic", 0.2), ("elastic", -0.1), ("elastic_smoothness", 0.001), ("perspective", 0.3), ("pca", -1),
        ("grey", 2), ("blur", 1.5), ("blur_sigma", 0), ("jpeg", -0.5), ("jpeg_quality", 0), ("jpeg_quality", 99),
        ("policy", "auto"), ("policy_count", 0), ("policy_strength", 11), ("policy_strength", float("nan")),
    ],
)  # fmt: skip
def test_bad_amounts_are_errors_that_name_them(name: str, value: object) -> None:
    with pytest.raises(ValidationError, match=name):
        Augmentation(**{name: value})
    with pytest.raises(UsageError, match=f"{name}: "):
        augmentation_of("photo", {name: value})


# --- mixing -----------------------------------------------------------------------------------------------------------


def batch_of(count: int = 6, size: tuple[int, int] = (20, 30)) -> Batch:
    images = torch.from_numpy(np.random.default_rng(1).integers(0, 256, (count, *size, 3), dtype=np.uint8))
    views = [View.identity(size)] * count
    return Batch(images.permute(0, 3, 1, 2), torch.arange(count) % 4, views, [str(i) for i in range(count)])


def test_mixup_is_its_formula() -> None:
    batch = batch_of()
    for seed in range(10):
        mixed = mix(batch, 4, 0.4, 0.0, keyed.generator(seed))
        rng = keyed.generator(seed)
        share, partner = rng.beta(0.4, 0.4), rng.permutation(6)
        images = batch.images.numpy().astype(np.float64)
        assert np.abs(mixed.images.numpy() - (share * images + (1 - share) * images[partner])).max() <= 0.5 + 1e-3
        hot = np.eye(4)[batch.targets.numpy()]
        assert np.allclose(mixed.targets.numpy(), share * hot + (1 - share) * hot[partner], atol=1e-6)


def test_the_share_of_cutmix_is_that_of_the_pixels() -> None:
    """Image i is all i, so the pixels themselves say who they came from."""
    images = torch.arange(8, dtype=torch.uint8).reshape(8, 1, 1, 1).expand(8, 3, 20, 30)
    batch = Batch(images, torch.arange(8), [View.identity((20, 30))] * 8, [str(i) for i in range(8)])
    shares = []
    for seed in range(300):
        mixed = mix(batch, 8, 0.0, 1.0, keyed.generator(seed))
        for row, (image, target) in enumerate(zip(mixed.images.numpy(), mixed.targets.numpy(), strict=True)):
            counts = np.bincount(image.ravel(), minlength=8) / image.size
            assert np.allclose(counts, target, atol=1e-6)
            other = image[0] != row
            rows, columns = np.flatnonzero(other.any(axis=1)), np.flatnonzero(other.any(axis=0))
            if rows.size:  # what was pasted is one rectangle
                assert other.sum() == (rows[-1] - rows[0] + 1) * (columns[-1] - columns[0] + 1)
        shares.append(float(mixed.targets.max(dim=1).values.min()))
    assert len(set(np.round(shares, 4))) > 100


def test_cutmix_pastes_as_much_as_was_drawn_where_nothing_is_cut_off() -> None:
    images = torch.arange(2, dtype=torch.uint8).reshape(2, 1, 1, 1).expand(2, 1, 400, 400)
    batch = Batch(images, torch.arange(2), [View.identity((400, 400))] * 2, ["0", "1"])
    seen = 0
    for seed in range(80):
        rng = keyed.generator(seed)
        share, partner, (y, x) = rng.beta(1.0, 1.0), rng.permutation(2), rng.uniform(0, 400, 2)
        half = 200 * math.sqrt(1 - share)
        if partner[0] == 1 and half < min(x, y, 400 - x, 400 - y):
            seen += 1
            mixed = mix(batch, 2, 0.0, 1.0, keyed.generator(seed))
            assert float(mixed.targets[0, 0]) == pytest.approx(share, abs=0.005)
    assert seen > 5


@pytest.mark.parametrize(("mixup", "cutmix"), [(0.2, 0.0), (0.0, 1.0), (0.2, 1.0), (0.0, 0.0)])
def test_mixed_batches_are_batches(mixup: float, cutmix: float) -> None:
    batch = batch_of()
    before = batch.images.clone()
    for seed in range(10):
        mixed = mix(batch, 5, mixup, cutmix, keyed.generator(seed))
        assert mixed.images.dtype == torch.uint8
        assert mixed.images.shape == batch.images.shape
        assert mixed.images.is_contiguous(memory_format=torch.channels_last)
        assert mixed.targets.dtype == torch.float32
        assert mixed.targets.shape == (6, 5)
        assert torch.allclose(mixed.targets.sum(dim=1), torch.ones(6))
        assert torch.equal(mixed.images, mix(batch, 5, mixup, cutmix, keyed.generator(seed)).images)
    assert torch.equal(batch.images, before)
    if not mixup and not cutmix:
        assert torch.equal(mixed.images, before)
        assert torch.equal(mixed.targets.argmax(dim=1), batch.targets)


def test_both_on_are_half_and_half() -> None:
    """CutMix leaves whole pixels of one of the two, mixup hardly any."""
    batch = batch_of()
    pasted = 0
    for seed in range(200):
        mixed = mix(batch, 4, 1.0, 1.0, keyed.generator(seed)).images
        pasted += float((mixed[:, None] == batch.images[None]).any(dim=1).float().mean()) > 0.95
    assert 75 <= pasted <= 125


def test_what_cannot_be_mixed_is_an_error() -> None:
    batch = batch_of()
    with pytest.raises(ValueError, match="mixup and cutmix must be 0 or more but got -1 and 0"):
        mix(batch, 4, -1, 0, keyed.generator(0))
    with pytest.raises(ValueError, match="labels of whole images"):
        mix(mix(batch, 4, 0.2, 0, keyed.generator(0)), 4, 0.2, 0, keyed.generator(0))


# --- the sheet --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", [".html", ".png"])
def test_the_sheet_shows_everything_that_is_marked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str
) -> None:
    source = sets.everything(tmp_path / "data", images=3)
    monkeypatch.setattr("saccade.recipes.augment_sheet.read", lambda data, findings: source)
    out = tmp_path / f"sheet{suffix}"
    sheet = make_augment_sheet("made up", out, "elastic", {"jpeg": 1.0}, count=2, views=3, size=64)
    assert [[len(kind) for kind in row.kinds] for row in sheet.rows] == [[4, 4], [4, 4]]
    assert sheet.rows[0].kinds[0][0].title == "as evaluated"
    assert sheet.augmentation == POLICIES["elastic"].model_copy(update={"jpeg": 1.0})
    if suffix == ".png":
        with Image.open(out) as picture:
            assert picture.size[0] == 4 * 480
    else:
        assert out.read_text(encoding="utf-8").count("<img ") == 16
    again = make_augment_sheet("made up", out, "elastic", {"jpeg": 1.0}, count=2, views=3, size=64)
    for one, other in zip(sheet.rows, again.rows, strict=True):
        for tile, same in zip(itertools.chain(*one.kinds), itertools.chain(*other.kinds), strict=True):
            assert np.array_equal(tile.image, same.image)


def test_the_verb(tmp_path: Path, class_folders: Callable[..., Path], capsys: pytest.CaptureFixture[str]) -> None:
    data = class_folders(tmp_path / "photos", {"train/cats": 3, "train/dogs": 3})
    (tmp_path / "mine.toml").write_text('policy = "trivial"\nelastic = 0.02\n')
    table = str(tmp_path / "mine.toml")
    augment(str(data), table, tmp_path / "a.html", 3, 2, 32, amounts=["grey=1.0"], as_json=True)
    told = json.loads(capsys.readouterr().out)
    assert told["augmentation"] == {"policy": "trivial", "elastic": 0.02, "grey": 1.0}
    assert len(told["images"]) == 3
    (data / "train" / "cats" / "0.png").write_bytes(b"no image")
    augment(str(data), "rand", tmp_path / "b.html", 6, 2, 32)
    assert "train/cats/0.png: cannot be read" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"policy": "rnd"}, "did you mean 'rand'"),
        ({"policy": "no.toml"}, "no.toml cannot be read"),
        ({"amounts": ["elastics=1"]}, "did you mean 'elastic'"),
        ({"amounts": ["elastic"]}, "name=value"),
        ({"split": "tran"}, "There is no split 'tran'"),
        ({"out": Path("sheet.pdf")}, ".html or .png, but --out is sheet.pdf"),
        ({"views": 0}, "--views 0"),
    ],
)
def test_wrong_use_of_the_verb_is_said(changed: dict[str, object], message: str) -> None:
    given: dict[str, object] = {"policy": "photo", "out": Path("sheet.html"), "count": 2, "views": 2, "size": 32}
    with pytest.raises(UsageError, match=message):
        augment("digits", **(given | changed))  # pyright: ignore[reportArgumentType]


def test_a_zoom_scales_the_image_and_of_whole_ones_the_frame() -> None:
    crop, whole = Preprocessing((100, 100), 120), Preprocessing.whole(100, 300)
    near, usual = crop.view((240, 360), 2.0), crop.view((240, 360))
    assert near.size == usual.size == (100, 100)
    # The middle stays in the middle, and a pixel becomes twice as large.
    assert near.move_points(np.array([180.0, 120.0])) == pytest.approx([50, 50])
    assert near.determinant == pytest.approx(4 * usual.determinant)
    assert (whole.view((240, 360)).size, whole.view((240, 360), 0.5).size) == ((100, 150), (50, 75))
