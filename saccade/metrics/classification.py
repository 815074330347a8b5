"""How often a classifier is right, and whether it knows when it is not."""

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from saccade.structures import Classification

CALIBRATION_BINS = 15


class Outcome(NamedTuple):
    """What became of one image.

    label      the truth, 0..K-1
    predicted  the most probable class, 0..K-1
    score      its probability
    rank       how many classes were held more probable than the truth
    loss       minus the logarithm of the truth's probability
    """

    label: int
    predicted: int
    score: float
    rank: int
    loss: float


class ClassificationMetric:
    """Keeps one small record an image, by the image's id: so nothing depends on order, batches or processes."""

    def __init__(self, classes: tuple[str, ...]) -> None:
        self.classes = classes
        self.outcomes: dict[str, Outcome] = {}

    def update(self, prediction: Classification, truth: int, id: str) -> None:
        probabilities, label = prediction.probabilities, int(truth)
        own = probabilities[label]
        # Of equal probabilities the first counts as higher, as it does for argmax.
        rank = int((probabilities > own).sum() + (probabilities[:label] == own).sum())
        loss = -math.log(max(float(own), float(np.finfo(np.float32).tiny)))
        self.outcomes[id] = Outcome(label, prediction.label, prediction.score, rank, loss)

    def merge(self, other: "ClassificationMetric") -> None:
        self.outcomes |= other.outcomes

    def result(self) -> dict[str, float]:
        """top1_error, top5_error (of more than five classes), mean_class_error, calibration_error, in percent; loss."""
        if not self.outcomes:
            raise ValueError("there is nothing to measure: no image has been counted")
        outcomes = self.outcomes.values()
        numbers = {"top1_error": 100 * sum(outcome.rank > 0 for outcome in outcomes) / len(outcomes)}
        if len(self.classes) > 5:
            numbers["top5_error"] = 100 * sum(outcome.rank >= 5 for outcome in outcomes) / len(outcomes)
        numbers["mean_class_error"] = math.fsum(row.error for row in self.per_class() if row.count) / sum(
            row.count > 0 for row in self.per_class()
        )
        numbers["calibration_error"] = self._calibration_error()
        numbers["loss"] = math.fsum(outcome.loss for outcome in outcomes) / len(outcomes)
        return numbers

    def confusion(self) -> np.ndarray:
        """[K, K] int64: row the truth, column what was predicted."""
        counts = np.zeros((len(self.classes),) * 2, dtype=np.int64)
        for outcome in self.outcomes.values():
            counts[outcome.label, outcome.predicted] += 1
        return counts

    def per_class(self) -> list["ClassRow"]:
        """One row a class, in the order of the classes."""
        confusion = self.confusion()
        rows = []
        for k, name in enumerate(self.classes):
            right, count, said = int(confusion[k, k]), int(confusion[k].sum()), int(confusion[:, k].sum())
            recall, precision = (100 * right / total if total else math.nan for total in (count, said))
            rows.append(ClassRow(name, count, 100 - recall, precision, recall))
        return rows

    def calibration(self) -> list[tuple[int, float, float]]:
        """(images, mean score, share that is right) of 15 equal bins of the score (Guo et al. 2017, section 2)."""
        bins: list[list[Outcome]] = [[] for _ in range(CALIBRATION_BINS)]
        for outcome in self.outcomes.values():
            # Bins are open below and closed above, as in the paper.
            bins[min(max(math.ceil(outcome.score * CALIBRATION_BINS) - 1, 0), CALIBRATION_BINS - 1)].append(outcome)
        return [
            (len(b), math.fsum(o.score for o in b) / len(b), sum(o.rank == 0 for o in b) / len(b))
            if b
            else (0, 0.0, 0.0)
            for b in bins
        ]

    def _calibration_error(self) -> float:
        """Expected calibration error in percent (Guo et al. 2017, equation 3)."""
        total = len(self.outcomes)
        return 100 * math.fsum(count / total * abs(score - right) for count, score, right in self.calibration())


@dataclass(frozen=True)
class ClassRow:
    """One class in the table: how many images it has; error, precision and recall in percent (nan where undefined)."""

    name: str
    count: int
    error: float
    precision: float
    recall: float
