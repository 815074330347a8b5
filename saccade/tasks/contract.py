"""What a task promises: all that the loop needs, and all that an explanation needs."""

from collections.abc import Sequence
from typing import Any, Protocol

from torch import Tensor

from saccade.structures import Batch, Known, Prediction


class Metric(Protocol):
    """Counts predictions against the truth, one image at a time, in any order."""

    def update(self, prediction: Any, truth: Any, id: str) -> None:
        """Count one image, prediction and truth both in original pixels; `id` names it."""
        ...

    def merge(self, other: Any) -> None:
        """Add what another process has counted; an image that both have seen counts once."""
        ...

    def result(self) -> dict[str, float]:
        """The numbers, under the names that metrics.json uses."""
        ...


class Task(Protocol):
    """What is asked of a network.

    `inputs` are always the normalised images of `batch`, [B, C, H, W] float on the network's device: the one place that
    normalises is `Preprocess`, in front of every call. `model` is a network of the kind that the task is for, which may
    call any part of it, not only its forward.
    """

    name: str
    known: Known  # what of the data it learns from
    classes: tuple[str, ...]

    def loss(self, model: Any, inputs: Tensor, batch: Batch) -> dict[str, Tensor]:
        """Named scalars; the loop adds them up and takes the gradient."""
        ...

    def predict(self, model: Any, inputs: Tensor, batch: Batch) -> Sequence[Prediction]:
        """One prediction an image, in pixels of the original image (through `batch.views`)."""
        ...

    def score(self, model: Any, inputs: Tensor, target: Any) -> Tensor:
        """A differentiable number an image, [B]: a class logit, one box's score, one pixel's class."""
        ...

    def objective(self, result: dict[str, float]) -> float:
        """The one number of `Metric.result` by which epochs are compared, turned so that lower is better."""
        ...

    def metric(self) -> Metric:
        """A fresh one, nothing counted yet."""
        ...
