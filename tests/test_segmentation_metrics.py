"""The numbers of label maps, against scikit-learn, hand computations and a boundary F point by point."""

import itertools
import math
import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, balanced_accuracy_score, confusion_matrix, jaccard_score

from saccade.metrics.segmentation import SegmentationMetric
from saccade.structures import VOID, LabelMap

CLASSES = tuple("abcdef")
KEYS = ["mean_iou", "mean_accuracy", "frequency_weighted_iou", "pixel_error", "boundary_f"]


def counted(truths: list[np.ndarray], said: list[np.ndarray], classes: tuple[str, ...] = CLASSES) -> SegmentationMetric:
    metric = SegmentationMetric(classes)
    for index, (truth, prediction) in enumerate(zip(truths, said, strict=True)):
        metric.update(label_map(prediction, classes), label_map(truth, classes), f"image {index}")
    return metric


def label_map(labels: np.ndarray, classes: tuple[str, ...] = CLASSES) -> LabelMap:
    return LabelMap(np.asarray(labels, dtype=np.uint8), classes)


def random_maps(seed: int, count: int = 5, classes: int = 4) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Blotches, shifted and spotted in the prediction; some void in the truth; classes 4 and 5 nowhere or said only."""
    rng = np.random.default_rng(seed)
    truths, said = [], []
    for _ in range(count):
        height, width = rng.integers(1, 40, 2)
        coarse = rng.integers(0, rng.integers(1, classes + 1), (height // 6 + 1, width // 6 + 1))
        truth = np.kron(coarse, np.ones((6, 6), dtype=int))[:height, :width].astype(np.uint8)
        prediction = np.roll(truth, rng.integers(-2, 3, 2), axis=(0, 1))
        prediction[rng.random(truth.shape) < 0.05] = rng.choice([0, 1, 4, VOID])
        truth[rng.random(truth.shape) < rng.choice([0, 0.1])] = VOID
        truths.append(truth)
        said.append(prediction)
    return truths, said


def test_agrees_with_scikit_learn() -> None:
    truths, said = random_maps(0)
    said = [np.where(prediction == VOID, 0, prediction) for prediction in said]
    metric = counted(truths, said)
    result, every = metric.result(), np.arange(len(CLASSES))
    known = [truth != VOID for truth in truths]
    true, predicted = (np.concatenate([m[k] for m, k in zip(maps, known, strict=True)]) for maps in (truths, said))
    confusion = metric.confusion()
    assert (
        np.array_equal(confusion[:, :-1], confusion_matrix(true, predicted, labels=every))
        and not confusion[:, -1].any()
    )
    present = np.union1d(true, predicted)
    assert set(present) == {0, 1, 2, 3, 4}  # the last class is nowhere, the one before is said but never true
    assert result["mean_iou"] == pytest.approx(
        100 * float(jaccard_score(true, predicted, average="macro", labels=present))
    )
    weighted = jaccard_score(true, predicted, average="weighted", labels=present)
    assert result["frequency_weighted_iou"] == pytest.approx(100 * float(weighted))
    share = np.isin(true, [0, 1, 2, 3])
    assert result["mean_accuracy"] == pytest.approx(100 * recalls(true[share], predicted[share]))
    assert result["pixel_error"] == pytest.approx(100 - 100 * float(accuracy_score(true, predicted)))
    rows = metric.per_class()
    expected = jaccard_score(true, predicted, average=None, labels=present)  # pyright: ignore[reportArgumentType]
    assert [row.iou for row in rows[:5]] == pytest.approx((100 * np.asarray(expected)).tolist())
    assert [row.count for row in rows] == [int((true == k).sum()) for k in every]
    assert rows[4].iou == 0 and math.isnan(rows[4].accuracy) and math.isnan(rows[5].iou)
    assert list(result) == KEYS


def recalls(true: np.ndarray, predicted: np.ndarray) -> float:
    """scikit-learn's balanced accuracy, which warns of a class that is only predicted: it becomes another wrong one."""
    return float(balanced_accuracy_score(true, np.where(predicted == 4, (true + 1) % 4, predicted)))


def test_by_hand() -> None:
    """Six pixels: of four a, three are said to be a and one b; of one b, it is said to be a; one is void.

    IoU of a 3/5, of b 0/2; c is nowhere. Accuracies 3/4 and 0; frequency-weighted IoU (4 * 3/5 + 1 * 0) / 5.
    """
    truth, said = np.array([[0, 0, 0], [0, 1, VOID]]), np.array([[0, 0, 0], [1, 0, 2]])
    result = counted([truth], [said], ("a", "b", "c")).result()
    assert result["mean_iou"] == pytest.approx(100 * (3 / 5) / 2)
    assert result["mean_accuracy"] == pytest.approx(100 * (3 / 4) / 2)
    assert result["frequency_weighted_iou"] == pytest.approx(100 * (4 * 3 / 5) / 5)
    assert result["pixel_error"] == pytest.approx(100 * 2 / 5)


def test_void_that_is_predicted_is_wrong_and_of_no_class() -> None:
    truth, said = np.array([[0, 0, 1, 1]]), np.array([[0, VOID, 1, 1]])
    metric = counted([truth], [said], ("a", "b"))
    assert metric.confusion().tolist() == [[1, 0, 1], [0, 2, 0]]
    result = metric.result()
    assert (result["pixel_error"], result["mean_iou"], result["mean_accuracy"]) == pytest.approx((25, 75, 75))


@settings(deadline=None, max_examples=40, derandomize=True)
@given(st.integers(0, 10**6))
def test_what_is_predicted_on_void_changes_nothing(seed: int) -> None:
    truths, said = random_maps(seed)
    rng = np.random.default_rng(seed)
    others = [
        np.where(truth == VOID, rng.integers(0, 6, truth.shape), own) for truth, own in zip(truths, said, strict=True)
    ]
    np.testing.assert_equal(counted(truths, others).result(), counted(truths, said).result())


def outline(labels: np.ndarray, k: int) -> list[tuple[int, int]]:
    """Pixels of class k beside a pixel of another kind, one by one."""
    height, width = labels.shape
    found = []
    for y, x in itertools.product(range(height), range(width)):
        beside = [(y + 1, x), (y - 1, x), (y, x + 1), (y, x - 1)]
        inside = [(v, u) for v, u in beside if 0 <= v < height and 0 <= u < width]
        if labels[y, x] == k and any(labels[place] != k for place in inside):
            found.append((y, x))
    return found


def boundary_f(truth: np.ndarray, said: np.ndarray, k: int) -> float:
    """Every point of one outline against every point of the other; void taken out of both first."""
    said = np.where(truth == VOID, VOID, said)
    limit = 0.0075 * math.hypot(*truth.shape)
    true, predicted = outline(truth, k), outline(said, k)
    if not true and not predicted:
        return math.nan
    met = sum(any(math.dist(a, b) < limit for b in predicted) for a in true)
    right = sum(any(math.dist(a, b) < limit for b in true) for a in predicted)
    if not met or not right:
        return 0.0
    precision, recall = right / len(predicted), met / len(true)
    return 2 / (1 / precision + 1 / recall)


@settings(deadline=None, max_examples=40, derandomize=True)
@given(st.integers(0, 10**6))
def test_boundary_f_agrees_with_brute_force(seed: int) -> None:
    truths, said = random_maps(seed, count=3)
    # Only from 134 pixels of diagonal on does a neighbour count as near: long maps, of few pixels.
    rng = np.random.default_rng(seed)
    long = rng.integers(0, 3, (2, 40)).repeat(8, axis=1)
    truths.append(long.repeat(2, axis=0))
    said.append(np.roll(truths[-1], int(rng.integers(-3, 4)), axis=1))
    metric = counted(truths, said)
    scores = [
        [boundary_f(truth, own, int(k)) for k in np.unique(truth) if k != VOID]
        for truth, own in zip(truths, said, strict=True)
    ]
    images = [float(np.mean(own)) for row in scores if (own := [value for value in row if not math.isnan(value)])]
    expected = 100 * float(np.mean(images)) if images else math.nan
    assert metric.result()["boundary_f"] == pytest.approx(expected, abs=1e-9, nan_ok=True)
    for k, row in enumerate(metric.per_class()):
        own = [boundary_f(t, s, k) for t, s in zip(truths, said, strict=True) if (t == k).any()]
        defined = [value for value in own if not math.isnan(value)]
        expected = 100 * float(np.mean(defined)) if defined else math.nan
        assert row.boundary_f == pytest.approx(expected, abs=1e-9, nan_ok=True)


@pytest.mark.parametrize(("shift", "expected"), [(0, 100.0), (5, 100.0), (6, 0.0)])
def test_boundary_f_at_the_limit(shift: int, expected: float) -> None:
    """The diagonal of 480 x 640 is 800, of which 0.75 % are 6: closer than that is near, 6 itself is not."""
    truth = np.zeros((480, 640), dtype=np.uint8)
    truth[:, 300:] = 1
    metric = counted([truth], [np.roll(np.pad(truth, ((0, 0), (9, 9)), "edge"), shift, axis=1)[:, 9:-9]])
    assert metric.result()["boundary_f"] == pytest.approx(expected)


def test_boundary_f_by_hand() -> None:
    """A square of 5 x 5 on 60 x 60 (0.75 % of the diagonal are 0.6 pixels), said to be one column narrower.

    Its outline has 16 pixels, the predicted one 14; in common are the left column and the rows above and below
    without the last pixel, 5 + 3 + 3. The ground's outlines, 20 around 5 x 5 and 18 around 5 x 4, share 5 + 4 + 4.
    """
    truth, said = np.zeros((60, 60)), np.zeros((60, 60))
    truth[10:15, 10:15] = said[10:15, 10:14] = 1
    square, ground = (2 * p * r / (p + r) for p, r in ((11 / 14, 11 / 16), (13 / 18, 13 / 20)))
    metric = counted([truth], [said], ("ground", "square"))
    assert metric.result()["boundary_f"] == pytest.approx(100 * (square + ground) / 2)
    assert [row.boundary_f for row in metric.per_class()] == pytest.approx([100 * ground, 100 * square])


def test_boundary_f_of_missing_and_invented_outlines() -> None:
    """One class fills the image: nothing to outline. Missed or invented: 0. An image without outlines is left out."""
    plain, halves = np.zeros((20, 20)), np.zeros((20, 20))
    halves[:, 10:] = 1
    for truth, said, expected in (
        (plain, plain, math.nan),
        (halves, plain, 0.0),
        (plain, halves, 0.0),
        (plain, plain + 1, math.nan),
        (plain + VOID, halves, math.nan),
    ):
        assert counted([truth], [said]).result()["boundary_f"] == pytest.approx(expected, nan_ok=True)
    assert counted([plain, halves], [plain, halves]).result()["boundary_f"] == pytest.approx(100)


def test_a_rim_of_void_is_a_boundary() -> None:
    """As Pascal VOC has it: every thing within a band of void. The right answer gets 100.

    Of a thing unseen, F is 0, and the ground has too much: its 80 pixels around the band, and 52 in place of the thing.
    """
    truth = np.zeros((60, 60))
    truth[10:30, 10:30] = VOID
    truth[13:27, 13:27] = 1
    said = np.zeros((60, 60))
    said[11:29, 11:29] = 1
    assert counted([truth], [said]).result()["boundary_f"] == pytest.approx(100)
    expected = 100 * (2 * 80 / (80 + 52 + 80)) / 2
    assert counted([truth], [np.zeros((60, 60))]).result()["boundary_f"] == pytest.approx(expected)


@settings(deadline=None, max_examples=25, derandomize=True)
@given(st.integers(0, 1000), st.integers(1, 3), st.booleans())
def test_shares_merge_to_the_whole(seed: int, shares: int, overlapping: bool) -> None:
    """Any division among processes, in any order, with images seen twice or not, gives the same numbers exactly."""
    truths, said = random_maps(seed, 12)
    whole = counted(truths, said)
    parts = [SegmentationMetric(CLASSES) for _ in range(shares)]
    order = np.random.default_rng(seed).permutation(12)
    for position, index in enumerate(itertools.chain(order, order[:5] if overlapping else ())):
        parts[position % shares].update(label_map(said[index]), label_map(truths[index]), f"image {index}")
    merged = SegmentationMetric(CLASSES)
    for part in reversed(parts):
        merged.merge(pickle.loads(pickle.dumps(part)))
    np.testing.assert_equal(merged.result(), whole.result())
    np.testing.assert_equal([vars(row) for row in merged.per_class()], [vars(row) for row in whole.per_class()])


def test_records_stay_small_with_most_classes() -> None:
    """254 classes in blocks, 100 images: far from 100 tables of 254 x 254. The last class and void keep apart."""
    classes = tuple(str(k) for k in range(254))
    labels = np.arange(256, dtype=np.uint8).reshape(16, 16).repeat(8, axis=0).repeat(8, axis=1)
    labels[labels == 254] = VOID
    metric = SegmentationMetric(classes)
    for number in range(100):
        metric.update(label_map(np.roll(labels, 1, axis=0), classes), label_map(labels, classes), str(number))
    assert len(pickle.dumps(metric)) < 100 * 12_000
    known = labels != VOID
    expected = confusion_matrix(labels[known], np.roll(labels, 1, axis=0)[known], labels=[*range(254), VOID])
    assert np.array_equal(metric.confusion(), 100 * expected[:-1])


def test_counting_leaves_the_callers_maps_alone() -> None:
    truths, said = random_maps(3)
    before = [own.copy() for own in (*truths, *said)]
    metric = counted(truths, said)
    result = metric.result()
    assert all(np.array_equal(a, b) for a, b in zip(before, (*truths, *said), strict=True))
    for own in (*truths, *said):
        own[:] = 0
    np.testing.assert_equal(metric.result(), result)


def test_nothing_known_gives_nan() -> None:
    nothing = SegmentationMetric(CLASSES)
    void = counted([np.full((4, 5), VOID)], [np.zeros((4, 5))])
    for metric in (nothing, void):
        assert list(metric.result()) == KEYS and all(math.isnan(value) for value in metric.result().values())
        assert all(row.count == 0 and math.isnan(row.iou) for row in metric.per_class())


def test_what_cannot_be_counted_is_an_error() -> None:
    metric, small, large = SegmentationMetric(CLASSES), label_map(np.zeros((4, 5))), label_map(np.zeros((5, 4)))
    with pytest.raises(
        ValueError, match=r"image x: the predicted map is \[4, 5\] \(height, width\), the true one \[5, 4\]"
    ):
        metric.update(small, large, "x")
    with pytest.raises(ValueError, match="image x: the prediction has the label 6; expected 0 to 5, or 255 for void"):
        metric.update(label_map(np.full((4, 5), 6)), small, "x")
    with pytest.raises(ValueError, match="image x: the truth has the label 254"):
        metric.update(small, label_map(np.full((4, 5), 254)), "x")
    assert not metric.outcomes
    for count in (0, 255):
        with pytest.raises(ValueError, match=f"1 to 254 classes apart, but there are {count}"):
            SegmentationMetric(("a",) * count)
