"""Segmentation: of every pixel, what it is."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from saccade.errors import unknown
from saccade.geometry.view import View
from saccade.metrics.segmentation import SegmentationMetric
from saccade.structures import Batch, Known, LabelMap
from saccade.tasks.contract import Preprocessor
from saccade.tasks.segment.contract import Segmenter
from saccade.tasks.segment.losses import LOSSES, pixel_weights
from saccade.tasks.segment.tiles import TILE, Window, windows

ROWS = 1 << 20  # pixels of the original that are brought back at a time


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
    ) -> None:
        for loss in losses:
            if loss not in LOSSES:
                raise unknown("loss", loss, LOSSES)
        self.classes, self.losses = tuple(classes), tuple(losses)
        self.class_weights = None if class_weights is None else torch.tensor(class_weights, dtype=torch.float32)
        self.border, self.border_sigma = border, border_sigma
        self.tile, self.probabilities = tile, probabilities

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
        for window in windows(view.size, self.tile, model.multiple):
            (top, bottom), (left, right) = window.seen
            logits = model(preprocess(image[:, :, top:bottom, left:right]))[0].float()
            _bring_back(logits, window, view, labels, kept)
        return LabelMap(labels, self.classes, kept)

    def score(self, model: Segmenter, inputs: Tensor, target: Pixel) -> Tensor:
        """The logit [B] of one class for one pixel."""
        label = self.classes.index(target.label) if isinstance(target.label, str) else target.label
        return model(inputs)[:, label, target.row, target.column]

    def objective(self, result: dict[str, float]) -> float:
        """Lower is better: minus the mean IoU."""
        value = result["mean_iou"]
        return 0.0 if np.isnan(value) else -value

    def metric(self) -> SegmentationMetric:
        return SegmentationMetric(self.classes)


def _bring_back(logits: Tensor, window: Window, view: View, labels: np.ndarray, kept: np.ndarray | None) -> None:
    """Write down what a window says of the pixels of the original that it answers for.

    logits  [K, h, w] float32 of the window
    view    from original pixels to network pixels, of which the window is a part
    labels  [H, W] uint8, filled in
    kept    [K, H, W] float16, likewise; None keeps no probabilities
    """
    rows = _originals(view.affine.e, view.affine.f, view.source[0], window.kept[0])
    columns = _originals(view.affine.a, view.affine.c, view.source[1], window.kept[1])
    if view.size == view.source:
        (top, _), (left, _) = window.seen
        own = logits[:, rows.start - top : rows.stop - top, columns.start - left : columns.stop - left]
        _write(own, labels[rows, columns], None if kept is None else kept[:, rows, columns])
        return
    step = max(1, ROWS // max(1, columns.stop - columns.start))
    for start in range(rows.start, rows.stop, step):
        part = slice(start, min(start + step, rows.stop))
        own = _resampled(logits, view, window, part, columns)
        _write(own, labels[part, columns], None if kept is None else kept[:, part, columns])


def _originals(scale: float, offset: float, length: int, kept: tuple[int, int]) -> slice:
    """Which pixels of the original have their centre between two lines of network pixels."""
    first, last = ((line - offset) / scale - 0.5 for line in kept)
    return slice(int(np.clip(np.ceil(first), 0, length)), int(np.clip(np.ceil(last), 0, length)))


def _resampled(logits: Tensor, view: View, window: Window, rows: slice, columns: slice) -> Tensor:
    """[K, R, C] the logits at the centres of pixels of the original, between those of the network's pixels linearly."""
    (top, _), (left, _) = window.seen
    _, height, width = logits.shape
    y = (torch.arange(rows.start, rows.stop, device=logits.device) + 0.5) * view.affine.e + view.affine.f - top
    x = (torch.arange(columns.start, columns.stop, device=logits.device) + 0.5) * view.affine.a + view.affine.c - left
    across, down = torch.meshgrid(2 * x / width - 1, 2 * y / height - 1, indexing="xy")
    grid = torch.stack([across, down], dim=-1)[None]
    return F.grid_sample(logits[None], grid, "bilinear", "border", align_corners=False)[0]


def _write(logits: Tensor, labels: np.ndarray, kept: np.ndarray | None) -> None:
    labels[...] = logits.argmax(0).to(torch.uint8).cpu().numpy()
    if kept is not None:
        kept[...] = logits.softmax(0).half().cpu().numpy()
