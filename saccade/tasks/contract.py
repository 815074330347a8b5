"""What a task promises: all that the loop needs, and all that an explanation needs. And what is built on a backbone."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, Protocol

from torch import Tensor, nn

from saccade.backbones.contract import Backbone
from saccade.errors import UsageError, unknown
from saccade.structures import Batch, Known, Prediction, Preprocessing, Size

# Uint8 images [B, C, H, W] to normalised input, as `layers.preprocess.Preprocess` does.
Preprocessor = Callable[[Tensor], Tensor]


class OnBackbone(nn.Module, ABC):
    """A network that is built on a backbone and says something else than one class an image.

    last_layers  how the names of the weights begin that another number of classes replaces
    auxiliary    how the names of what only a loss asks for begin; a published file may lack them
    recipe       settings of a training that suit this method, by the names of `training.config.Config`, in the place
                 of those that suit its task
    num_classes  K
    """

    input_size: Size
    in_channels: int = 3
    last_layers: ClassVar[tuple[str, ...]]
    auxiliary: ClassVar[tuple[str, ...]] = ()
    recipe: ClassVar[Mapping[str, Any]] = {}

    num_classes: int

    @property
    @abstractmethod
    def trunk(self) -> Backbone:
        """The backbone: what starts from the weights of a classifier."""

    @abstractmethod
    def standard_preprocessing(self) -> Preprocessing:
        """What it was designed for."""

    def reset_head(self, prefixes: Sequence[str] | None = None) -> None:
        """Start what names the classes at zero, for new ones.

        prefixes  of `last_layers`, those to start anew; None for all
        """
        for name, parameter in self.named_parameters():
            if name.startswith(tuple(f"{prefix}." for prefix in (self.last_layers if prefixes is None else prefixes))):
                nn.init.zeros_(parameter)


def label_of(classes: Sequence[str], target: int | str) -> int:
    """The number of a class, 0..K-1, by its name or its number; where classes are called by digits, digits are a name.

    Raises UsageError, naming the nearest, for one that is not there.
    """
    if isinstance(target, str):
        if target in classes:
            return classes.index(target)
        if not target.isdecimal() or len(target) > 9 or any(name.isdecimal() for name in classes):
            raise unknown("class", target, classes)
        target = int(target)
    if not 0 <= target < len(classes):
        raise UsageError(f"there is no class {target}: there are 0 to {len(classes) - 1}")
    return target


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

    def predict(self, model: Any, preprocess: Preprocessor, batch: Batch) -> Sequence[Prediction]:
        """One prediction an image, in pixels of the original image (through `batch.views`).

        preprocess  makes `inputs` of the batch's images, of all at once or of a window after the other
        """
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
