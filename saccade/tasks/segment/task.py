"""Segmentation: of every pixel, what it is."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from saccade.errors import UsageError, unknown
from saccade.geometry.view import View
from saccade.metrics.segmentation import SegmentationMetric
from saccade.structures import Batch, Known, LabelMap
from saccade.tasks.contract import Preprocessor, label_of
from saccade.tasks.segment.contract import Segmenter
from saccade.tasks.segment.losses import LOSSES, pixel_weights
from saccade.tasks.segment.tiles import TILE, answers


class Pixel(NamedTuple):
    """What to explain: why one pixel is taken for one class.

    row, column  of the network's input
    label        0..K-1, or the name of the class
    """

    row: int
    column: int
    label: int | str


class Segment:
    """The task of telling of every pixel which of K classes it is.

    losses         names of `losses.LOSSES`, which are added up
    class_weights  K factors on the loss of each class's pixels; None for 1
    border         how much more the narrowest gap between two things counts, w0 of U-Net's equation 2; 0 for no more
    border_sigma   how wide a gap may be for that, in pixels
    tile           an image with more pixels than two squares of this side is looked at in such squares
    probabilities  whether predictions keep those of all classes
    turned         whether predictions are the mean of eight: of the image mirrored and turned by quarters in all ways
                   (Ronneberger et al. 2015, section 4, have the mean of seven turned ones)
    """

    name = "segment"
    known: Known = "label_maps"

    def __init__(
        self,
        classes: Sequence[str],
        losses: Sequence[str] = ("cross_entropy",),
        class_weights: Sequence[float] | None = None,
        border: float = 0.0,
        border_sigma: float = 5.0,
        tile: int = TILE,
        probabilities: bool = False,
        turned: bool = False,
    ) -> None:
        for loss in losses:
            if loss not in LOSSES:
                raise unknown("loss", loss, LOSSES)
        if set(losses) == {"lovasz"} and (class_weights is not None or border):
            raise UsageError("lovasz counts all pixels alike: leave out class_weights and border, or add another loss")
        self.classes, self.losses = tuple(classes), tuple(losses)
        self.class_weights = None if class_weights is None else torch.tensor(class_weights, dtype=torch.float32)
        self.border, self.border_sigma = border, border_sigma
        self.tile, self.probabilities, self.turned = tile, probabilities, turned

    def loss(self, model: Segmenter, inputs: Tensor, batch: Batch) -> dict[str, Tensor]:
        """By the names of the losses; those of auxiliary heads, by the network's weight, beside them."""
        labels = batch.targets.long()
        weights = pixel_weights(labels, self.class_weights, self.border, self.border_sigma)
        main, *auxiliary = [one.float() for one in model.training_logits(inputs)]
        losses = {name: LOSSES[name](main, labels, weights) for name in self.losses}
        if auxiliary:
            theirs = [LOSSES[name](one, labels, weights) for one in auxiliary for name in self.losses]
            losses["auxiliary"] = model.auxiliary_weight * torch.stack(theirs).sum()
        return losses

    def predict(self, model: Segmenter, preprocess: Preprocessor, batch: Batch) -> list[LabelMap]:
        """The most probable class of every pixel of each image, in original pixels."""
        return [
            self._look(model, preprocess, batch.images[n : n + 1, :, : view.size[0], : view.size[1]], view)
            for n, view in enumerate(batch.views)
        ]

    def _look(self, model: Segmenter, preprocess: Preprocessor, image: Tensor, view: View) -> LabelMap:
        """One image [1, C, h, w] uint8, all at once or in windows."""
        labels = np.empty(view.source, dtype=np.uint8)
        kept = np.empty((len(self.classes), *view.source), dtype=np.float16) if self.probabilities else None

        def run(part: Tensor) -> Tensor:
            return in_all_ways(model, preprocess(part)) if self.turned else model(preprocess(part))

        for rows, columns, logits in answers(run, image, view, self.tile, model.grid):
            labels[rows, columns] = logits.argmax(0).to(torch.uint8).cpu().numpy()
            if kept is not None:
                kept[:, rows, columns] = logits.softmax(0).half().cpu().numpy()
        return LabelMap(labels, self.classes, kept)

    def score(self, model: Segmenter, inputs: Tensor, target: Pixel) -> Tensor:
        """The logit [B] of one class for one pixel."""
        return model(inputs)[:, label_of(self.classes, target.label), target.row, target.column]

    def objective(self, result: dict[str, float]) -> float:
        """Lower is better: minus the mean IoU."""
        value = result["mean_iou"]
        return 0.0 if np.isnan(value) else -value

    def metric(self) -> SegmentationMetric:
        return SegmentationMetric(self.classes)


def in_all_ways(model: Segmenter, inputs: Tensor) -> Tensor:
    """The logarithms of the mean probabilities [B, K, H, W] of the image in its eight ways to lie.

    inputs  [B, C, H, W] float, normalised
    """
    total = torch.zeros(())
    for quarters in range(4):
        for mirrored in (False, True):
            seen = torch.rot90(inputs, quarters, (2, 3))
            said = model(seen.flip(3) if mirrored else seen).float().softmax(1)
            total = total + torch.rot90(said.flip(3) if mirrored else said, -quarters, (2, 3))
    # Where all of them round to nothing the logarithm would have no end, and nothing could be interpolated beside it.
    return (total / 8).clamp(min=torch.finfo(total.dtype).tiny).log()
