"""What detectors that look once have in common: every place of their maps says at once where, and what."""

from abc import abstractmethod
from collections.abc import Sequence
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from saccade.structures import Size
from saccade.tasks.detect.contract import Detections, Detector
from saccade.tasks.detect.select import place_of, select

PRIOR = 0.01  # how likely a thing is at a place to begin with (Lin et al., "Focal Loss", ICCV 2017, section 3.3)


class Answers(NamedTuple):
    """What N places say of each image.

    boxes   [B, N, 4] xyxy float32, pixels of the network's input
    logits  [B, N, K] float32: how much each takes its box for each class
    scores  [B, N, K] float32 in [0, 1]: how likely there is one of each class
    """

    boxes: Tensor
    logits: Tensor
    scores: Tensor


class OneLook(Detector):
    """A detector whose answers need nothing but to be thinned out.

    overlap  the most overlap of two boxes of a class
    most     how many an image
    before   how many of each class are compared; None for all
    """

    sure = 0.01
    overlap: ClassVar[float] = 0.5
    most: ClassVar[int] = 100
    before: ClassVar[int | None] = None

    @abstractmethod
    def answers(self, inputs: Tensor) -> Answers:
        """What all places say of inputs [B, C, H, W]."""

    @torch.no_grad()
    def detect(self, inputs: Tensor, sizes: Sequence[Size]) -> list[Detections]:
        said = self.answers(inputs)
        return [
            select(boxes, scores, size, self.sure, self.overlap, self.most, self.before)
            for boxes, scores, size in zip(said.boxes, said.scores, sizes, strict=True)
        ]

    def box_logit(self, inputs: Tensor, box: Tensor, label: int) -> Tensor:
        """Asked of the place whose own box lies most like it."""
        said = self.answers(inputs)
        place = place_of(box, said.boxes)
        return said.logits[torch.arange(len(place), device=place.device), place, label]
