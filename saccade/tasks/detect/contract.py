"""What a detector promises: the task, the loop and every explanation use these and no more."""

from abc import abstractmethod
from collections.abc import Sequence
from typing import ClassVar, NamedTuple

from torch import Tensor

from saccade.errors import UsageError
from saccade.structures import Instances, Preprocessing, Size
from saccade.tasks.contract import OnBackbone


class Detections(NamedTuple):
    """What a detector finds in one image, best score first, in pixels of the network's input.

    boxes      [n, 4] float32 xyxy, inside the image
    scores     [n] float32 in [0, 1]
    labels     [n] int64, 0..K-1
    masks      [n, m, m] float32 in [0, 1]: how likely each part of the box is the thing; None without masks
    keypoints  [n, P, 3] float32 (x, y, score in [0, 1]); None without keypoints
    """

    boxes: Tensor
    scores: Tensor
    labels: Tensor
    masks: Tensor | None = None
    keypoints: Tensor | None = None


class Detector(OnBackbone):
    """A network that says where things are.

    Its inputs are [B, C, H, W] float, normalised; images of other sizes than the largest of their batch are padded at
    the bottom and the right. `sizes` are the (height, width) of each without the padding.

    finds  what it says of a thing: "box", and perhaps "mask" or "keypoints"
    sure   the least score that it has anything to say of
    """

    input_size: Size = (800, 1088)
    finds: ClassVar[tuple[str, ...]] = ("box",)
    sure: float

    @abstractmethod
    def losses(self, inputs: Tensor, sizes: Sequence[Size], truths: Sequence[Instances]) -> dict[str, Tensor]:
        """Named scalars.

        truths  what is in each image, in pixels of the network's input, every box of some size and inside the image
        """

    @abstractmethod
    def detect(self, inputs: Tensor, sizes: Sequence[Size]) -> list[Detections]:
        """What is in each image."""

    @abstractmethod
    def box_logit(self, inputs: Tensor, box: Tensor, label: int) -> Tensor:
        """How much it takes what is in one box for one class, [B], differentiable.

        box    [4] xyxy, pixels of the network's input
        label  0..K-1
        """

    def keypoint_logit(self, inputs: Tensor, box: Tensor, keypoint: int) -> Tensor:
        """How sure it is of the place where it sees one keypoint of what is in one box, [B], differentiable.

        Raises UsageError where no keypoints are found, or not this one.
        """
        raise UsageError("this network finds no keypoints; its boxes can be explained")

    def standard_preprocessing(self) -> Preprocessing:
        """What it was designed for: all of the image, the shorter side 800 pixels, the longer at most 1333."""
        return Preprocessing.whole(800, 1333, "L" if self.in_channels == 1 else "RGB")
