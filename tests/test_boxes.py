"""Boxes: by hand, by counting pixels, and by the laws that IoU, GIoU and moves obey."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from saccade.geometry import boxes
from saccade.geometry.affine import Affine
from saccade.geometry.view import View

QUIET = settings(deadline=None, derandomize=True, max_examples=150)

whole = st.integers(0, 12)
lattice = st.tuples(whole, whole, whole, whole).map(
    lambda b: (min(b[0], b[2]), min(b[1], b[3]), max(b[0], b[2]), max(b[1], b[3]))
)
lattices = st.lists(lattice, min_size=1, max_size=5).map(lambda some: np.array(some, dtype=np.float64))
reals = st.floats(-50, 50, allow_nan=False).map(lambda value: round(value, 3))
numbers = st.floats(-3, 3, allow_nan=False).map(lambda value: round(value, 2))


def pixels(box: np.ndarray) -> np.ndarray:
    """The unit squares of a 12 x 12 lattice that a box of whole numbers covers."""
    left, top, right, bottom = box.astype(int)
    covered = np.zeros((12, 12), dtype=bool)
    covered[top:bottom, left:right] = True
    return covered


@QUIET
@given(lattices)
def test_conversions_come_back_in_both_kinds_of_array(xyxy: np.ndarray) -> None:
    for there, back in (
        (boxes.xywh_from_xyxy, boxes.xyxy_from_xywh),
        (boxes.cxcywh_from_xyxy, boxes.xyxy_from_cxcywh),
    ):
        assert np.array_equal(back(there(xyxy)), xyxy)
        tensor = torch.from_numpy(xyxy)
        assert torch.equal(back(there(tensor)), tensor)
        assert np.array_equal(there(tensor).numpy(), there(xyxy))


def test_conversions_by_hand() -> None:
    box = np.array([2.0, 3.0, 8.0, 7.0])
    assert boxes.xywh_from_xyxy(box).tolist() == [2, 3, 6, 4]
    assert boxes.cxcywh_from_xyxy(box).tolist() == [5, 5, 6, 4]
    assert boxes.xyxy_from_xywh(box).tolist() == [2, 3, 10, 10]
    assert boxes.xyxy_from_cxcywh(box).tolist() == [-2, -0.5, 6, 6.5]
    assert boxes.xyxy_from_cxcywh(torch.zeros(0, 4)).shape == (0, 4)


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64, torch.int64])
@QUIET
@given(lattices, lattices)
def test_measures_are_those_of_counted_pixels(dtype: torch.dtype, first: np.ndarray, second: np.ndarray) -> None:
    one, other = torch.from_numpy(first).to(dtype), torch.from_numpy(second).to(dtype)
    assert boxes.area(one).tolist() == [pixels(box).sum() for box in first]
    ious, gious = boxes.iou(one, other), boxes.giou(one, other)
    assert ious.shape == gious.shape == (len(first), len(second))
    assert ious.dtype == gious.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
    for n, m in np.ndindex(len(first), len(second)):
        a, b = pixels(first[n]), pixels(second[m])
        hull = pixels(np.concatenate([np.minimum(first[n], second[m])[:2], np.maximum(first[n], second[m])[2:]])).sum()
        union = (a | b).sum()
        expected = (a & b).sum() / max(union, 1)
        assert float(ious[n, m]) == pytest.approx(expected, abs=1e-6)
        assert float(gious[n, m]) == pytest.approx(expected - (hull - union) / max(hull, 1), abs=1e-6)
    assert torch.equal(boxes.paired_giou(one, one), boxes.giou(one, one).diagonal())
    assert torch.equal(boxes.paired_iou(one, one), boxes.iou(one, one).diagonal())


def test_giou_by_hand() -> None:
    """Unit squares a unit apart: nothing shared, and a third of the box around both is neither's."""
    one, other = torch.tensor([[0.0, 0, 1, 1]]), torch.tensor([[2.0, 0, 3, 1]])
    assert boxes.giou(one, other).item() == pytest.approx(-1 / 3)
    assert boxes.iou(one, other).item() == 0


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_empty_and_inverted_boxes_have_neither_nan_nor_overlap(dtype: torch.dtype) -> None:
    some = torch.tensor([[3, 3, 3, 3], [0, 0, 5, 0], [6, 1, 2, 4], [5, 5, 1, 1], [0, 0, 4, 4]], dtype=dtype)
    some.requires_grad_()
    ious, gious = boxes.iou(some, some), boxes.giou(some, some)
    expected = torch.zeros(5, 5, dtype=dtype)
    expected[4, 4] = 1
    assert torch.equal(ious.detach(), expected)
    assert (gious.abs() <= 1).all()
    (ious.sum() + gious.sum()).backward()
    assert some.grad is not None and some.grad.isfinite().all()
    assert boxes.iou(some, torch.zeros(0, 4)).shape == (5, 0)
    assert boxes.giou(torch.zeros(0, 4), some).shape == (0, 5)


def test_half_precision_does_not_overflow() -> None:
    large = torch.tensor([[0, 0, 2000, 2000], [1000, 0, 3000, 2000]], dtype=torch.float16)
    assert boxes.area(large).tolist() == [4e6, 4e6]
    assert boxes.iou(large, large)[0, 1].item() == pytest.approx(1 / 3)
    assert boxes.giou(large, large)[0, 1].item() == pytest.approx(1 / 3)


def test_gradients_are_those_of_small_differences() -> None:
    generator = torch.Generator().manual_seed(0)
    corner = 20 * torch.rand(6, 2, generator=generator, dtype=torch.float64)
    some = torch.cat([corner, corner + 1 + 10 * torch.rand(6, 2, generator=generator, dtype=torch.float64)], dim=1)
    one, other = some[:3].clone().requires_grad_(), some[3:].clone().requires_grad_()
    assert torch.autograd.gradcheck(boxes.iou, (one, other))
    assert torch.autograd.gradcheck(boxes.giou, (one, other))
    assert torch.autograd.gradcheck(boxes.paired_giou, (one, other))
    assert torch.autograd.gradcheck(boxes.area, (one,))


def test_clip_by_hand_in_both_kinds_of_array() -> None:
    some = np.array([[-3.0, -2, 5, 50], [2, 3, 4, 5], [20, 20, 30, 30]])
    expected = [[0, 0, 5, 10], [2, 3, 4, 5], [8, 10, 8, 10]]
    assert boxes.clip(some, (10, 8)).tolist() == expected
    assert boxes.clip(torch.from_numpy(some), (10, 8)).tolist() == expected


# --- moves ------------------------------------------------------------------------------------------------------------


@QUIET
@given(lattices, numbers, numbers, reals, reals)
def test_boxes_move_to_and_fro_where_axes_stay_axes(xyxy: np.ndarray, a: float, e: float, c: float, f: float) -> None:
    view = View(Affine(a=a or 1.0, c=c, e=e or 1.0, f=f), (12, 12), (9, 7))
    moved = view.move_boxes(xyxy)
    assert (moved[:, :2] <= moved[:, 2:]).all()
    assert np.allclose(view.inverse().move_boxes(moved), xyxy, atol=1e-7)
    area = (moved[:, 2] - moved[:, 0]) * (moved[:, 3] - moved[:, 1])
    before = (xyxy[:, 2] - xyxy[:, 0]) * (xyxy[:, 3] - xyxy[:, 1])
    assert np.allclose(area, abs(view.determinant) * before, atol=1e-7)


@QUIET
@given(lattices, st.booleans(), st.booleans())
def test_flipped_twice_is_not_flipped(xyxy: np.ndarray, across: bool, down: bool) -> None:
    view = View.identity((12, 12)).flipped(horizontal=across, vertical=down)
    assert np.array_equal(view.move_boxes(view.move_boxes(xyxy)), xyxy)


def test_moves_by_hand() -> None:
    flip = View.identity((10, 20)).flipped(horizontal=True)
    assert flip.move_boxes(np.array([[1.0, 2, 5, 6]])).tolist() == [[15, 2, 19, 6]]
    turn = View.identity((10, 10)).turned(45)
    moved = turn.move_boxes(np.array([[4.0, 4, 6, 6]]))  # a square of 2 on its corner reaches the root of 2 each way
    assert np.allclose(moved, [[5 - 2**0.5, 5 - 2**0.5, 5 + 2**0.5, 5 + 2**0.5]])
    assert turn.move_boxes(np.zeros((0, 4))).shape == (0, 4)
