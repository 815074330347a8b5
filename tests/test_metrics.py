"""The numbers, against hand computations and against scikit-learn."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import confusion_matrix, log_loss, precision_score, recall_score, top_k_accuracy_score

from saccade.metrics.classification import ClassificationMetric
from saccade.structures import Classification

CLASSES = tuple("abcdefg")


def counted(probabilities: np.ndarray, labels: np.ndarray, classes: tuple[str, ...] = CLASSES) -> ClassificationMetric:
    metric = ClassificationMetric(classes)
    for index, (row, label) in enumerate(zip(probabilities, labels, strict=True)):
        metric.update(Classification(row.astype(np.float32), classes), int(label), f"image {index}")
    return metric


def random_case(seed: int, count: int = 200) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.dirichlet(np.ones(len(CLASSES)), count).astype(np.float32), rng.integers(0, len(CLASSES), count)


def test_agrees_with_scikit_learn() -> None:
    probabilities, labels = random_case(0)
    metric = counted(probabilities, labels)
    result, every = metric.result(), np.arange(len(CLASSES))
    assert result["top1_error"] == pytest.approx(100 * np.mean(probabilities.argmax(1) != labels))
    top5 = top_k_accuracy_score(labels, probabilities, k=5, labels=every)
    assert result["top5_error"] == pytest.approx(100 * (1 - top5))
    assert result["loss"] == pytest.approx(
        log_loss(labels, probabilities / probabilities.sum(1, keepdims=True)), rel=1e-5
    )
    said = probabilities.argmax(1)
    assert np.array_equal(metric.confusion(), confusion_matrix(labels, said, labels=every))
    precision = precision_score(labels, said, average=None, labels=every)
    recall = recall_score(labels, said, average=None, labels=every)
    for row, p, r in zip(metric.per_class(), precision, recall, strict=True):
        assert (row.precision, row.recall, row.error) == pytest.approx((100 * p, 100 * r, 100 - 100 * r))
    assert result["mean_class_error"] == pytest.approx(100 - 100 * recall.mean())


def test_calibration_error_by_hand() -> None:
    """Two bins are used: of four at 0.9 three are right, of two at 0.6 one is: (4 * 0.15 + 2 * 0.1) / 6."""
    sure, unsure = [0.9, 0.1], [0.6, 0.4]
    metric = counted(np.array([sure, sure, sure, sure, unsure, unsure]), np.array([0, 0, 0, 1, 0, 1]), ("yes", "no"))
    assert metric.result()["calibration_error"] == pytest.approx(100 * (4 * 0.15 + 2 * 0.1) / 6, abs=1e-4)
    assert "top5_error" not in metric.result()
    filled = [entry for entry in metric.calibration() if entry[0]]
    assert [(count, round(right, 6)) for count, _, right in filled] == [(2, 0.5), (4, 0.75)]


def test_of_equal_probabilities_the_first_is_the_answer() -> None:
    tie = np.full(7, 1 / 7)
    metric = counted(np.array([tie, tie, tie]), np.array([0, 4, 6]))
    assert metric.result()["top1_error"] == pytest.approx(100 * 2 / 3)
    assert metric.result()["top5_error"] == pytest.approx(100 / 3)


def test_a_truth_that_was_held_impossible_has_a_finite_loss() -> None:
    metric = counted(np.array([[1.0, 0.0]]), np.array([1]), ("a", "b"))
    assert metric.result()["loss"] == pytest.approx(-math.log(np.finfo(np.float32).tiny))


def test_classes_without_images_are_left_out_of_the_mean() -> None:
    metric = counted(np.array([[0.9, 0.1, 0.0], [0.9, 0.1, 0.0]]), np.array([0, 1]), ("a", "b", "c"))
    assert metric.result()["mean_class_error"] == pytest.approx(50)
    assert math.isnan(metric.per_class()[2].error)


@settings(deadline=None, max_examples=25, derandomize=True)
@given(st.integers(0, 1000), st.integers(1, 4), st.booleans())
def test_shares_merge_to_the_whole(seed: int, shares: int, overlapping: bool) -> None:
    """Any division among processes, in any order, with images seen twice or not, gives the same numbers exactly."""
    probabilities, labels = random_case(seed, 40)
    whole = counted(probabilities, labels)
    parts = [ClassificationMetric(CLASSES) for _ in range(shares)]
    order = np.random.default_rng(seed).permutation(40)
    for position, index in enumerate(itertools.chain(order, order[:5] if overlapping else ())):
        prediction = Classification(probabilities[index], CLASSES)
        parts[position % shares].update(prediction, int(labels[index]), f"image {index}")
    merged = ClassificationMetric(CLASSES)
    for part in reversed(parts):
        merged.merge(part)
    assert merged.result() == whole.result()


def test_nothing_to_measure_is_an_error() -> None:
    with pytest.raises(ValueError, match="no image has been counted"):
        ClassificationMetric(CLASSES).result()
