"""Keypoints and all that moves with an image: by hand, by the laws of moves, and OKS against pycocotools."""

import contextlib
import io
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from saccade.geometry import boxes, keypoints, masks
from saccade.geometry.affine import Affine
from saccade.geometry.masks import Polygon, Runs
from saccade.geometry.view import View
from saccade.structures import Instances, Skeleton

QUIET = settings(deadline=None, derandomize=True, max_examples=100)
MIRROR = (0, 2, 1)

numbers = st.floats(-3, 3, allow_nan=False).map(lambda value: round(value, 2))
affines = st.builds(Affine, numbers, numbers, numbers, numbers, numbers, numbers).filter(
    lambda m: abs(m.a * m.e - m.b * m.d) > 0.05
)
point = st.tuples(st.floats(-50, 50, width=32), st.floats(-50, 50, width=32), st.sampled_from([1.0, 2.0, 0.25]))
marked = point | st.just((0.0, 0.0, 0.0))
things = st.lists(st.tuples(marked, marked, marked), max_size=4).map(lambda some: np.array(some).reshape(-1, 3, 3))


# --- moves ------------------------------------------------------------------------------------------------------------


def test_a_mirror_swaps_left_and_right() -> None:
    """Nose, left eye, right eye of an image 20 wide; the right eye is not marked."""
    flip = View.identity((10, 20)).flipped(horizontal=True)
    some = np.array([[[4, 5, 2], [6, 3, 1], [0, 0, 0]]], dtype=np.float32)
    assert keypoints.move(some, flip, MIRROR).tolist() == [[[16, 5, 2], [0, 0, 0], [14, 3, 1]]]
    turned = View.identity((10, 20)).flipped(horizontal=True, vertical=True)  # half a turn: no mirror
    assert keypoints.move(some, turned, None).tolist() == [[[16, 5, 2], [14, 7, 1], [0, 0, 0]]]


@QUIET
@given(things, affines)
def test_keypoints_move_to_and_fro(some: np.ndarray, affine: Affine) -> None:
    view = View(affine, (20, 20), (30, 30))
    moved = keypoints.move(some, view, MIRROR)
    assert np.allclose(keypoints.move(moved, view.inverse(), MIRROR), some, atol=1e-7)
    assert (moved[moved[..., 2] == 0] == 0).all()
    # Every marked point is where its pixel is, under its own name or that of its mirror.
    names = list(MIRROR) if np.linalg.det(view.matrix) < 0 else [0, 1, 2]
    seen = some[:, names, 2] > 0
    assert np.allclose(moved[seen][:, :2], view.move_points(some[:, names][seen][:, :2]))


def test_a_mirror_without_its_names_is_refused() -> None:
    flip = View.identity((10, 20)).flipped(vertical=True)
    with pytest.raises(ValueError, match="which is which in a mirror"):
        keypoints.move(np.zeros((1, 3, 3)), flip, None)
    with pytest.raises(ValueError, match=r"name 3 keypoints.* names 2"):
        keypoints.move(np.zeros((1, 3, 3)), flip, (1, 0))


@QUIET
@given(affines)
def test_a_view_mirrors_when_its_determinant_is_negative(affine: Affine) -> None:
    view = View(affine, (4, 4), (4, 4))
    assert view.determinant == pytest.approx(float(np.linalg.det(view.matrix)), abs=1e-9)
    assert view.mirrors == (view.determinant < 0) == view.inverse().mirrors
    assert view.flipped(horizontal=True).mirrors == view.flipped(vertical=True).mirrors != view.mirrors
    assert view.flipped(horizontal=True, vertical=True).mirrors == view.mirrors == view.turned(77).mirrors


@QUIET
@given(arrays.arrays(np.uint8, st.tuples(st.integers(1, 9), st.integers(1, 9))), st.booleans(), st.booleans())
def test_label_maps_move_as_images_of_one_channel(labels: np.ndarray, across: bool, down: bool) -> None:
    view = View.identity(labels.shape).flipped(horizontal=across, vertical=down)
    once = view.apply(labels[..., None], interpolation="nearest", fill=(255,))
    assert np.array_equal(once[..., 0], labels[:: -1 if down else 1, :: -1 if across else 1])
    assert np.array_equal(view.apply(once, interpolation="nearest", fill=(255,))[..., 0], labels)
    larger = view.inverse().cropped(-1, -2, (labels.shape[0] + 2, labels.shape[1] + 3))
    around = larger.apply(once, interpolation="nearest", fill=(255,))[..., 0]
    assert np.array_equal(around, np.pad(labels, ((1, 1), (2, 1)), constant_values=255))


# --- instances --------------------------------------------------------------------------------------------------------

SKELETON = Skeleton(("nose", "left", "right"), (), MIRROR, (0.1, 0.1, 0.1))


def a_scene() -> Instances:
    """Two things in an image of 8 x 12: one with runs, one with a polygon, both with keypoints."""
    pixels = np.zeros((8, 12), dtype=bool)
    pixels[2:5, 1:4] = True
    return Instances(
        size=(8, 12),
        boxes=np.array([[1.0, 2, 4, 5], [6, 1, 10, 7]]),
        labels=np.array([0, 1]),
        masks=(masks.runs_from_bitmap(pixels), Polygon((np.array([(6, 1), (10, 1), (8, 7)]),))),
        keypoints=np.array([[[2, 3, 2], [3, 4, 1], [0, 0, 0]], [[8, 2, 2], [9, 3, 2], [7, 3, 2]]], dtype=float),
        crowd=np.array([False, True]),
        areas=np.array([9.0, np.nan]),
    )


def test_instances_move_with_all_they_have() -> None:
    """Doubled and mirrored: x becomes 24 - 2 x, y becomes 2 y."""
    scene = a_scene()
    view = View.identity((8, 12)).resized((16, 24)).flipped(horizontal=True)
    moved = scene.moved(view, SKELETON)
    assert moved.size == (16, 24)
    assert moved.boxes.tolist() == [[16, 4, 22, 10], [4, 2, 12, 14]]
    assert moved.areas is not None and moved.areas[0] == 36 and np.isnan(moved.areas[1])
    assert moved.masks is not None and isinstance(moved.masks[0], Runs) and isinstance(moved.masks[1], Polygon)
    assert masks.box(moved.masks[0]).tolist() == [16, 4, 22, 10] and masks.area(moved.masks[0]) == 36
    assert moved.masks[1].rings[0].tolist() == [[12, 2], [4, 2], [8, 14]]
    assert moved.keypoints is not None and moved.keypoints[1].tolist() == [[8, 4, 2], [10, 6, 2], [6, 6, 2]]
    assert moved.labels is scene.labels and moved.crowd is scene.crowd


def test_instances_without_extras_move_too() -> None:
    bare = Instances((8, 12), np.zeros((0, 4)), np.zeros(0, dtype=np.int64), masks=(), areas=None)
    moved = bare.moved(View.identity((8, 12)).flipped(horizontal=True))
    assert len(moved) == 0 and moved.masks == () and moved.keypoints is None
    scene = replace(a_scene(), masks=(None, a_scene().masks[1]), keypoints=None)  # pyright: ignore
    moved = scene.moved(View.identity((8, 12)).flipped(vertical=True))
    assert moved.masks is not None and moved.masks[0] is None and moved.masks[1] is not None


@QUIET
@given(affines)
def test_instances_stay_consistent_and_come_back(affine: Affine) -> None:
    scene, view = a_scene(), View(affine, (8, 12), (20, 20))
    moved = scene.moved(view, SKELETON)
    assert moved.areas is not None and moved.areas[0] == pytest.approx(9 * abs(np.linalg.det(view.matrix)))
    assert moved.masks is not None and moved.masks[1] is not None
    inner, outer = masks.box(moved.masks[1]), moved.boxes[1]
    assert (inner[:2] >= outer[:2] - 1e-9).all() and (inner[2:] <= outer[2:] + 1e-9).all()
    back = moved.moved(view.inverse(), SKELETON)
    assert back.size == scene.size and np.allclose(back.keypoints, scene.keypoints, atol=1e-7)
    assert np.allclose(back.areas, scene.areas, equal_nan=True)
    assert np.allclose(back.masks[1].rings[0], scene.masks[1].rings[0], atol=1e-7)  # pyright: ignore
    assert np.allclose(moved.boxes, view.move_boxes(scene.boxes))


def test_instances_that_cannot_move_say_why() -> None:
    flip = View.identity((8, 12)).flipped(horizontal=True)
    with pytest.raises(ValueError, match="skeleton"):
        a_scene().moved(flip)
    assert a_scene().moved(flip.flipped(vertical=True)).keypoints is not None
    with pytest.raises(ValueError, match=r"\(8, 12\).*\(12, 8\)"):
        replace(a_scene(), masks=None).moved(View.identity((12, 8)))


# --- similarity -------------------------------------------------------------------------------------------------------

SIGMAS = (0.05, 0.1, 0.02)


def pycocotools_oks(truths: np.ndarray, predictions: np.ndarray, xywh: np.ndarray, areas: np.ndarray) -> np.ndarray:
    """[N, M], by way of a COCO data set of one image."""
    image = {"id": 1, "width": 100, "height": 100}
    truth = [
        {"id": n + 1, "image_id": 1, "category_id": 1, "iscrowd": 0, "area": float(areas[n]), "bbox": xywh[n].tolist(),
         "keypoints": truths[n].ravel().tolist(), "num_keypoints": int((truths[n, :, 2] > 0).sum())}
        for n in range(len(truths))
    ]  # fmt: skip
    found = [
        {"image_id": 1, "category_id": 1, "keypoints": points.ravel().tolist(), "score": 1 - m / 100}
        for m, points in enumerate(predictions)
    ]
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO()
        coco.dataset = {"images": [image], "annotations": truth, "categories": [{"id": 1, "name": "thing"}]}
        coco.createIndex()
        evaluation = COCOeval(coco, coco.loadRes(found), "keypoints")
        evaluation.params.kpt_oks_sigmas = np.array(SIGMAS)
        evaluation.params.imgIds, evaluation.params.catIds = [1], [1]
        evaluation._prepare()
        return np.asarray(evaluation.computeOks(1, 1)).T


@settings(deadline=None, derandomize=True, max_examples=80)
@given(things.filter(len), things.filter(len), st.integers(0, 2**32 - 1))
def test_oks_is_pycocotools(truths: np.ndarray, predictions: np.ndarray, seed: int) -> None:
    rng = np.random.default_rng(seed)
    predictions = np.concatenate([predictions, truths + rng.normal(0, 3, truths.shape)])
    xywh = np.concatenate([rng.uniform(-50, 50, (len(truths), 2)), rng.uniform(1, 60, (len(truths), 2))], axis=1)
    areas = rng.choice([0.0, 1.0, 300.0, 2500.5], len(truths))
    found = keypoints.oks(truths, predictions, boxes.xyxy_from_xywh(xywh), areas, SIGMAS)
    assert found.shape == (len(truths), len(predictions))
    assert np.allclose(found, pycocotools_oks(truths, predictions, xywh, areas), rtol=1e-9, atol=1e-12)


def test_oks_by_hand() -> None:
    """One of two marked points is 2 pixels off: exp(-4 / (2 * 100 * (2 * 0.1)^2)) = exp(-0.5), the other exact."""
    truth = np.array([[[10, 10, 2], [20, 10, 1], [0, 0, 0]]], dtype=float)
    prediction = np.array([[[10, 10, 0.9], [20, 12, 0.8], [77, 77, 0.1]]])
    box, area, sigmas = np.array([[10.0, 10, 20, 20]]), np.array([100.0]), (0.1, 0.1, 0.1)
    assert keypoints.oks(truth, prediction, box, area, sigmas)[0, 0] == pytest.approx((1 + np.exp(-0.5)) / 2)
    # Nothing marked: what lies in the box thrice as wide and high, from 0 to 30, is as good as exact.
    nothing = np.zeros((1, 3, 3))
    inside = np.array([[[0, 0, 1], [30, 30, 1], [15, 32, 1]]], dtype=float)
    assert keypoints.oks(nothing, inside, box, area, sigmas)[0, 0] == pytest.approx((2 + np.exp(-0.5)) / 3)
    # Without an area, and as exact as can be: alike all the same, as for COCO.
    assert keypoints.oks(truth, truth, box, np.zeros(1), sigmas)[0, 0] == 1
    assert keypoints.oks(truth, prediction[:0], box, area, sigmas).shape == (1, 0)
    assert keypoints.oks(truth[:0], prediction, box[:0], area[:0], sigmas).shape == (0, 1)
