"""Non-maximum suppression against the plain double loop that defines it."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from saccade.geometry import nms as module
from saccade.geometry.nms import nms, soft_nms

QUIET = settings(deadline=None, derandomize=True, max_examples=150)


def naive_iou(one: np.ndarray, other: np.ndarray) -> np.floating:
    """IoU of two boxes in their own precision."""
    zero = one.dtype.type(0)
    width = max(min(one[2], other[2]) - max(one[0], other[0]), zero)
    height = max(min(one[3], other[3]) - max(one[1], other[1]), zero)
    areas = [max(box[2] - box[0], zero) * max(box[3] - box[1], zero) for box in (one, other)]
    union = areas[0] + areas[1] - width * height
    return width * height / union if union > 0 else zero


def naive_nms(boxes: np.ndarray, scores: np.ndarray, threshold: float, labels: np.ndarray | None = None) -> list[int]:
    """Going through the boxes one by one, as everyone defines it."""
    order = sorted(range(len(boxes)), key=lambda n: -scores[n])
    kept: list[int] = []
    limit = boxes.dtype.type(threshold)
    for n in order:
        rivals = [k for k in kept if labels is None or labels[k] == labels[n]]
        if not any(naive_iou(boxes[k], boxes[n]) > limit for k in rivals):
            kept.append(n)
    return kept


whole = st.integers(0, 9).map(float)
# Whole numbers make ties of IoU with the threshold; inverted and empty boxes come with them.
box = st.tuples(whole, whole, whole, whole) | st.tuples(*[st.floats(-9, 9, width=16)] * 4)
upright = box.map(lambda b: (min(b[0], b[2]), min(b[1], b[3]), max(b[0], b[2]), max(b[1], b[3])))
entries = st.lists(st.tuples(upright | upright | box, st.integers(0, 5), st.integers(0, 3)), max_size=40)
thresholds = st.sampled_from([0.0, 0.1, 0.2, 1 / 3, 0.4, 0.5, 0.6, 0.7, 0.75, 0.9, 1.0]) | st.floats(0, 1)


@pytest.mark.parametrize("block", [1, 3, 128])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@QUIET
@given(entries, thresholds)
def test_equal_to_the_double_loop(block: int, dtype: type, some: list, threshold: float) -> None:
    boxes = np.array([entry[0] for entry in some], dtype=dtype).reshape(-1, 4)
    scores = np.array([entry[1] for entry in some], dtype=np.float32) / 5
    labels = np.array([entry[2] for entry in some], dtype=np.int64)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "BLOCK", block)  # small blocks see all that large ones see on many boxes
        patch.setattr(module, "PAIRS", block * block)
        one_kind = nms(torch.from_numpy(boxes), torch.from_numpy(scores), threshold)
        kinds = nms(torch.from_numpy(boxes), torch.from_numpy(scores), threshold, torch.from_numpy(labels))
    assert one_kind.tolist() == naive_nms(boxes, scores, threshold)
    assert kinds.tolist() == naive_nms(boxes, scores, threshold, labels)
    assert one_kind.dtype == kinds.dtype == torch.int64


def crowded(count: int, objects: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Boxes as a detector gives them: many about each object, the better ones closer."""
    rng = np.random.default_rng(seed)
    centres, sizes = rng.uniform(0, 500, (objects, 2)), rng.uniform(20, 200, (objects, 2))
    thing = rng.integers(objects, size=count)
    middle = centres[thing] + rng.normal(0, 0.1, (count, 2)) * sizes[thing]
    half = sizes[thing] * np.exp(rng.normal(0, 0.2, (count, 2))) / 2
    boxes = np.concatenate([middle - half, middle + half], axis=1).astype(np.float32)
    return boxes, rng.random(count).astype(np.float32).round(3), thing % 3


@pytest.mark.parametrize(("count", "objects"), [(127, 5), (128, 5), (129, 5), (900, 8), (700, 200)])
@pytest.mark.parametrize("threshold", [0.3, 0.7])
def test_equal_to_the_double_loop_over_several_blocks(count: int, objects: int, threshold: float) -> None:
    boxes, scores, labels = crowded(count, objects, seed=count)
    found = nms(torch.from_numpy(boxes), torch.from_numpy(scores), threshold)
    assert found.tolist() == naive_nms(boxes, scores, threshold)
    found = nms(torch.from_numpy(boxes), torch.from_numpy(scores), threshold, torch.from_numpy(labels))
    assert found.tolist() == naive_nms(boxes, scores, threshold, labels)


@QUIET
@given(entries, thresholds, st.integers(1, 50))
def test_the_best_that_are_wanted_are_the_first_of_all(some: list, threshold: float, most: int) -> None:
    """Also where too few of the best few stay, and more are looked at."""
    boxes = torch.tensor([entry[0] for entry in some], dtype=torch.float32).view(-1, 4)
    scores, labels = (torch.tensor([entry[column] for entry in some]) for column in (1, 2))
    for kinds in (None, labels.long()):
        everything = naive_nms(boxes.numpy(), scores.numpy(), threshold, None if kinds is None else kinds.numpy())
        assert nms(boxes, scores, threshold, kinds, most).tolist() == everything[:most]


def test_twins_of_the_best_hide_no_other() -> None:
    """500 boxes that are one, better than the two others: of three that are wanted, all come."""
    boxes = torch.cat([torch.tensor([[0.0, 0, 10, 10]]).repeat(500, 1), torch.eye(2).repeat(1, 2) + 20])
    boxes[500:, 2:] += 10
    scores = torch.linspace(1, 0, 502)
    assert nms(boxes, scores, 0.9, most=3).tolist() == naive_nms(boxes.numpy(), scores.numpy(), 0.9) == [0, 500, 501]
    with pytest.raises(ValueError, match="most must be at least 1, or None for all, but got 0"):
        nms(boxes, scores, 0.9, most=0)


def test_more_boxes_than_pairs_at_once() -> None:
    """40,000 boxes in a row, each twice: the twins go, whatever the blocks."""
    left = torch.arange(20000, dtype=torch.float32).repeat(2)
    boxes = torch.stack([left, left * 0, left + 1, left * 0 + 1], dim=1)
    found = nms(boxes, torch.linspace(1, 0, 40000), 0.5)
    assert torch.equal(found, torch.arange(20000))


def test_by_hand() -> None:
    boxes = torch.tensor([[0.0, 0, 10, 10], [0, 0, 10, 5], [0, 1, 10, 10], [20, 20, 30, 30]])
    scores = torch.tensor([0.9, 0.8, 0.7, 0.95])
    # IoU of the first with the second is a half, not above it; with the third 0.9.
    assert nms(boxes, scores, 0.5).tolist() == [3, 0, 1]
    assert nms(boxes, scores, 0.49).tolist() == [3, 0]
    assert nms(boxes, scores, 0.49, torch.tensor([0, 1, 0, 0])).tolist() == [3, 0, 1]
    # A box that is gone suppresses nothing: the second hides the third, were it not hidden by the first.
    chain = torch.tensor([[0.0, 0, 10, 10], [4, 0, 14, 10], [8, 0, 18, 10]])
    assert nms(chain, torch.tensor([0.9, 0.8, 0.7]), 0.4).tolist() == [0, 2]


def test_equal_scores_go_by_their_order() -> None:
    boxes = torch.tensor([[0.0, 0, 10, 10]]).repeat(500, 1)
    assert nms(boxes, torch.ones(500), 0.5).tolist() == [0]
    assert nms(boxes, torch.ones(500), 1.0).tolist() == list(range(500))
    assert nms(boxes, torch.ones(500), 0.5, torch.arange(500) % 7).tolist() == list(range(7))


@pytest.mark.parametrize("labels", [None, torch.zeros(0, dtype=torch.int64)])
def test_no_boxes(labels: torch.Tensor | None) -> None:
    assert nms(torch.zeros(0, 4), torch.zeros(0), 0.5, labels).tolist() == []
    assert [part.tolist() for part in soft_nms(torch.zeros(0, 4), torch.zeros(0), "linear", labels=labels)] == [[], []]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.int64])
def test_other_precisions_are_measured_in_float32(dtype: torch.dtype) -> None:
    boxes = torch.tensor([[0, 0, 512, 512], [0, 0, 512, 480], [512, 512, 1024, 1024]]).to(dtype)
    assert nms(boxes, torch.tensor([0.5, 0.25, 1.0]).to(torch.float16), 0.5).tolist() == [2, 0]


def test_gradients_and_autocast_do_not_disturb() -> None:
    boxes, scores, _ = crowded(300, 4, seed=1)
    wanted = naive_nms(boxes, scores, 0.5)
    some = torch.from_numpy(boxes).requires_grad_()
    with torch.autocast("cpu", torch.bfloat16):
        found = nms(some, torch.from_numpy(scores).requires_grad_(), 0.5)
    assert found.tolist() == wanted
    some[found].sum().backward()
    assert some.grad is not None and some.grad.sum() == 4 * len(wanted)


def test_the_input_stays_as_it_was() -> None:
    boxes, scores, labels = (torch.from_numpy(column) for column in crowded(300, 4, seed=2))
    before = [column.clone() for column in (boxes, scores, labels)]
    nms(boxes, scores, 0.5, labels)
    soft_nms(boxes, scores, "gaussian", labels=labels)
    assert all(torch.equal(a, b) for a, b in zip((boxes, scores, labels), before, strict=True))


@pytest.mark.parametrize("worst", [math.nan, math.inf, -math.inf, 1e30])
def test_boxes_that_are_none_are_refused(worst: float) -> None:
    boxes = torch.tensor([[0.0, 0, 1, 1], [0, -worst, 1, worst]]).clone()
    boxes[1, 2] = worst
    for suppress in (lambda: nms(boxes, torch.ones(2), 0.5), lambda: soft_nms(boxes, torch.ones(2), "linear")):
        with pytest.raises(ValueError, match="boxes must be finite"):
            suppress()


def test_scores_that_are_nan_are_refused() -> None:
    for scores in (torch.tensor([1.0, math.nan]), torch.tensor([math.nan, 1.0])):
        with pytest.raises(ValueError, match="scores must be numbers"):
            nms(torch.zeros(2, 4), scores, 0.5)
        with pytest.raises(ValueError, match="scores must be"):
            soft_nms(torch.zeros(2, 4), scores, "linear")


@pytest.mark.parametrize("threshold", [-0.1, 1.1, math.nan])
def test_thresholds_that_are_none_are_refused(threshold: float) -> None:
    with pytest.raises(ValueError, match=r"threshold must be in \[0, 1\]"):
        nms(torch.zeros(1, 4), torch.ones(1), threshold)


@pytest.mark.parametrize(
    ("boxes", "scores", "labels"),
    [((2, 4), (3,), None), ((2, 5), (2,), None), ((2, 4), (2, 1), None), ((2, 4), (2,), (3,))],
)
def test_shapes_that_do_not_fit_are_refused(boxes: tuple, scores: tuple, labels: tuple | None) -> None:
    with pytest.raises(ValueError, match=r"\[N, 4\]"):
        nms(torch.zeros(boxes), torch.zeros(scores), 0.5, labels and torch.zeros(labels))


# --- soft -------------------------------------------------------------------------------------------------------------


def naive_soft_nms(
    boxes: np.ndarray, scores: np.ndarray, decay: str, threshold: float, sigma: float, floor: float, labels: np.ndarray
) -> list[tuple[int, float]]:
    """The loop of figure 2 of the paper."""
    left, scores, found = list(range(len(boxes))), scores.astype(np.float64), []
    while left := [n for n in left if scores[n] >= floor]:
        best = max(left, key=lambda n: (scores[n], -n))
        found.append((best, scores[best]))
        left.remove(best)
        for n in left:
            overlap = float(naive_iou(boxes[best], boxes[n])) if labels[n] == labels[best] else 0.0
            if decay == "linear":
                scores[n] *= 1 - overlap if overlap >= threshold and labels[n] == labels[best] else 1
            else:
                scores[n] *= math.exp(-(overlap**2) / sigma)
    return found


@pytest.mark.parametrize("decay", ["linear", "gaussian"])
@QUIET
@given(entries, st.sampled_from([0.0, 0.3, 0.5, 1.0]), st.sampled_from([0.1, 0.5, 2.0]), st.booleans())
def test_soft_equal_to_the_papers_loop(decay, some: list, threshold: float, sigma: float, with_labels: bool) -> None:
    boxes = np.array([entry[0] for entry in some], dtype=np.float64).reshape(-1, 4)
    scores = np.array([entry[1] for entry in some], dtype=np.float64) / 5
    labels = np.array([entry[2] * with_labels for entry in some], dtype=np.int64)
    indices, final = soft_nms(
        torch.from_numpy(boxes), torch.from_numpy(scores), decay, threshold=threshold, sigma=sigma, floor=0.05,
        labels=torch.from_numpy(labels) if with_labels else None,
    )  # fmt: skip
    expected = naive_soft_nms(boxes, scores, decay, threshold, sigma, 0.05, labels)
    # Scores that differ by rounding alone may change places, so the boxes are compared by their scores.
    assert np.allclose(final.numpy(), [score for _, score in expected], atol=1e-9)
    assert (np.diff(final.numpy()) <= 1e-12).all()
    by_box = dict(expected)
    assert sorted(by_box) == sorted(indices.tolist())
    assert all(by_box[n] == pytest.approx(score) for n, score in zip(indices.tolist(), final.tolist(), strict=True))


def test_soft_by_hand() -> None:
    """IoU of a half: linear halves the score, Gaussian with sigma 0.5 multiplies by the root of 1 / e."""
    boxes, scores = torch.tensor([[0.0, 0, 10, 5], [0, 0, 10, 10], [50, 50, 60, 60]]), torch.tensor([0.8, 1.0, 0.5])
    indices, final = soft_nms(boxes, scores, "linear", threshold=0.5)
    assert indices.tolist() == [1, 2, 0] and final.tolist() == pytest.approx([1, 0.5, 0.4])
    indices, final = soft_nms(boxes, scores, "gaussian")
    assert indices.tolist() == [1, 2, 0] and final.tolist() == pytest.approx([1, 0.5, 0.8 * math.exp(-0.5)])
    indices, _ = soft_nms(boxes, scores, "linear", floor=0.45)
    assert indices.tolist() == [1, 2]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"decay": "cubic"}, "cubic"),
        ({"sigma": 0.0}, "sigma"),
        ({"floor": 0.0}, "floor"),
        ({"threshold": 2.0}, "threshold"),
    ],
)
def test_soft_refuses_what_has_no_meaning(options: dict, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        soft_nms(torch.zeros(1, 4), torch.ones(1), **{"decay": "linear"} | options)
    with pytest.raises(ValueError, match="scores must be"):
        soft_nms(torch.zeros(1, 4), torch.tensor([-1.0]), "linear")
