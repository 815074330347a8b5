"""Classification: one label an image. Softmax cross-entropy, the most probable class, its logit."""

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from saccade.metrics.classification import ClassificationMetric
from saccade.structures import Batch, Classification, Known
from saccade.tasks.contract import Preprocessor, label_of


class Classifier(Protocol):
    """What this task asks of a network; `backbones.contract.Backbone` has it."""

    auxiliary_weight: float

    def training_logits(self, inputs: Tensor) -> list[Tensor]: ...

    def __call__(self, inputs: Tensor) -> Tensor: ...


class Classify:
    """The task of telling K classes apart.

    label_smoothing  share of the truth that is spread over all classes (Szegedy et al. 2016, section 7)
    class_weights    K factors on the loss of each class's images, for unbalanced data; None for 1
    """

    name = "classify"
    known: Known = "labels"

    def __init__(
        self, classes: Sequence[str], label_smoothing: float = 0.0, class_weights: Sequence[float] | None = None
    ) -> None:
        self.classes = tuple(classes)
        self.label_smoothing = label_smoothing
        self.class_weights = None if class_weights is None else torch.tensor(class_weights, dtype=torch.float32)

    def loss(self, model: Classifier, inputs: Tensor, batch: Batch) -> dict[str, Tensor]:
        """Cross-entropy of the logits, averaged over the batch (by weight, where classes have weights).

        Where the network has auxiliary classifiers, theirs is added, by the network's weight (Szegedy et al. 2015,
        section 5).
        """
        main, *auxiliary = (self._cross_entropy(logits, batch.targets) for logits in model.training_logits(inputs))
        losses = {"classification": main}
        if auxiliary:
            losses["auxiliary"] = model.auxiliary_weight * torch.stack(auxiliary).sum()
        return losses

    def _cross_entropy(self, logits: Tensor, targets: Tensor) -> Tensor:
        weight = None if self.class_weights is None else self.class_weights.to(logits.device)
        return F.cross_entropy(logits.float(), targets, weight=weight, label_smoothing=self.label_smoothing)

    def predict(self, model: Classifier, preprocess: Preprocessor, batch: Batch) -> list[Classification]:
        """The probability of every class, by softmax."""
        probabilities = model(preprocess(batch.images)).float().softmax(1).cpu().numpy()
        return [Classification(np.ascontiguousarray(row), self.classes) for row in probabilities]

    def score(self, model: Classifier, inputs: Tensor, target: int | str) -> Tensor:
        """The logit [B] of one class, by its number or its name."""
        return model(inputs)[:, label_of(self.classes, target)]

    def objective(self, result: dict[str, float]) -> float:
        """Lower is better: the top-1 error."""
        return result["top1_error"]

    def metric(self) -> ClassificationMetric:
        return ClassificationMetric(self.classes)
