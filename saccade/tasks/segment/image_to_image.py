"""Image to image: of every pixel, what colour it should have. Denoising, colouring, whatever pairs of images teach.

The networks are those of segmentation, with three outputs in the place of the classes: what is to be added to the
image, of a range from 0 to 1 (residual learning: Zhang et al., "Beyond a Gaussian Denoiser", 2017, section 3). So a
network that has learnt nothing leaves the image as it is.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from saccade.errors import unknown
from saccade.metrics.image import ImageMetric
from saccade.structures import COLOURS, Batch, ColourMap, Known
from saccade.tasks.contract import Preprocessor, label_of
from saccade.tasks.segment.contract import Segmenter
from saccade.tasks.segment.task import Pixel
from saccade.tasks.segment.tiles import TILE, answers

LOSSES = {"l1": torch.Tensor.abs, "l2": torch.Tensor.square}


class ImageToImage:
    """The task of giving every pixel its colour.

    loss  "l1", the mean of the absolute differences; or "l2", of their squares
    tile  an image with more pixels than two squares of this side is looked at in such squares
    """

    name = "image_to_image"
    known: Known = "targets"

    def __init__(self, classes: Sequence[str] = COLOURS, loss: str = "l1", tile: int = TILE) -> None:
        if loss not in LOSSES:
            raise unknown("loss of colours", loss, LOSSES)
        self.classes, self.kind, self.tile = tuple(classes), loss, tile

    def loss(self, model: Segmenter, inputs: Tensor, batch: Batch) -> dict[str, Tensor]:
        """The mean difference from the colours that are wanted, of colours from 0 to 1; padding does not count."""
        away = LOSSES[self.kind](model(inputs).float() + (batch.images.float() - batch.targets.float()) / 255)
        parts = [one[:, :height, :width].sum() for one, (height, width) in zip(away, batch.sizes, strict=True)]
        return {self.kind: torch.stack(parts).sum() / sum(3 * height * width for height, width in batch.sizes)}

    def predict(self, model: Segmenter, preprocess: Preprocessor, batch: Batch) -> list[ColourMap]:
        """The colour of every pixel of each image, in original pixels."""

        def run(part: Tensor) -> Tensor:
            return model(preprocess(part)).float() + part.float() / 255

        found = []
        for n, view in enumerate(batch.views):
            pixels = np.empty((*view.source, 3), dtype=np.uint8)
            image = batch.images[n : n + 1, :, : view.size[0], : view.size[1]]
            for rows, columns, values in answers(run, image, view, self.tile, model.grid):
                own = (255 * values).round().clamp(0, 255).to(torch.uint8)
                pixels[rows, columns] = own.permute(1, 2, 0).cpu().numpy()
            found.append(ColourMap(pixels))
        return found

    def score(self, model: Segmenter, inputs: Tensor, target: Pixel) -> Tensor:
        """What is added to one colour of one pixel, [B]."""
        return model(inputs)[:, label_of(self.classes, target.label), target.row, target.column]

    def objective(self, result: dict[str, float]) -> float:
        """Lower is better: minus the signal-to-noise ratio."""
        return -result["psnr"]

    def metric(self) -> ImageMetric:
        return ImageMetric()
