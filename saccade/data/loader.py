"""From images on disk to batches: `Dataset[epoch, i]` makes one sample, `Loader` serves them from worker processes."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader

from saccade import keyed
from saccade.data.augment import Augmentation, Look
from saccade.data.decode import render
from saccade.data.source import Split
from saccade.data.targets import target_of, truth_of
from saccade.errors import SaccadeError, UsageError
from saccade.structures import VOID, Batch, ColourMap, Known, LabelMap, Preprocessing, Sample, Size

POOL = 16  # batches whose images are sorted by shape together


@dataclass(frozen=True, eq=False)
class Dataset:
    """A split as the network sees it. `dataset[epoch, index]` is the same whenever and wherever it is asked for.

    augmentation  how the images vary; None shows them as they are
    known         what of all that is known of the images is asked for
    """

    split: Split
    preprocessing: Preprocessing
    augmentation: Augmentation | None = None
    seed: int = 0
    known: Known = "labels"

    def __len__(self) -> int:
        return len(self.split)

    def __getitem__(self, key: tuple[int, int]) -> Sample:
        epoch, index = key
        picture, id = self.split.open(index), self.split.ids[index]
        truth = truth_of(self.split, index, picture.size, self.known)
        mean = self.preprocessing.mean
        beyond = [round(255 * value) for value in (mean if len(mean) == 3 else mean * 3)]
        if self.augmentation is None:
            view = self.preprocessing.view(picture.size)
            look = Look(render(picture, view, self.preprocessing), view, None, ())
            return Sample(look.image, target_of(self.split, truth, look, beyond), view, id, truth=truth)
        look = self.augmentation.look(picture, self.preprocessing, self._rng(epoch, index))
        return Sample(look.image, target_of(self.split, truth, look, beyond), look.view, id)

    def size(self, epoch: int, index: int) -> Size | None:
        """(height, width) of a whole training image, where that is known without opening it."""
        objects = self.split.objects
        if self.preprocessing.frame != "whole" or objects is None or not objects.sizes[index].all():
            return None
        source = (int(objects.sizes[index, 0]), int(objects.sizes[index, 1]))
        if self.augmentation is None:
            return self.preprocessing.view(source).size
        rng = self._rng(epoch, index)
        return self.augmentation.view(source, self.preprocessing, rng, self.augmentation.steps(rng)).size

    def _rng(self, epoch: int, index: int) -> np.random.Generator:
        return keyed.generator(self.seed, epoch, index)


def collate(samples: Sequence[Sample], preprocessing: Preprocessing) -> Batch:
    """Samples as a batch; its images are channels-last in memory. Smaller ones are padded in the mean colour, their
    maps of labels with void."""
    multiple, shapes = preprocessing.multiple, np.array([sample.image.shape[:2] for sample in samples])
    height, width = (-(-shapes.max(axis=0) // multiple) * multiple).tolist()
    if (shapes == (height, width)).all():
        images = np.stack([sample.image for sample in samples])
    else:
        images = np.empty((len(samples), height, width, preprocessing.channels), dtype=np.uint8)
        images[:] = [round(255 * mean) for mean in preprocessing.mean]
        for image, sample in zip(images, samples, strict=True):
            image[: sample.image.shape[0], : sample.image.shape[1]] = sample.image
    targets = [sample.target for sample in samples]
    return Batch(
        images=torch.from_numpy(images).permute(0, 3, 1, 2),
        targets=_together(targets, (height, width)),
        views=[sample.view for sample in samples],
        ids=[sample.id for sample in samples],
        truths=[sample.truth for sample in samples],
    )


def _together(targets: list[Any], size: Size) -> Any:
    """What the losses compare with: labels as one tensor [B], maps of labels as one [B, H, W] uint8, maps of colours as
    one [B, 3, H, W] uint8, all else as it is."""
    if isinstance(targets[0], int):
        return torch.tensor(targets)
    if isinstance(targets[0], ColourMap):
        pixels = np.zeros((len(targets), *size, 3), dtype=np.uint8)
        for own, target in zip(pixels, targets, strict=True):
            own[: target.size[0], : target.size[1]] = target.pixels
        return torch.from_numpy(pixels).permute(0, 3, 1, 2)
    if not isinstance(targets[0], LabelMap):
        return targets
    maps = np.full((len(targets), *size), VOID, dtype=np.uint8)
    for own, target in zip(maps, targets, strict=True):
        own[: target.size[0], : target.size[1]] = target.labels
    return torch.from_numpy(maps)


class Loader:
    """Batches of a dataset, epoch by epoch, the same for any number of workers.

    batch_size  images a step, over all processes together; whole images are evaluated one by one, as the padding of a
                batch would change a little what is found in it
    shuffle     True for training: a keyed order, whole batches only (what is left over comes round in other epochs).
                Whole images of like shape go together, as far as that leaves the order random, so that little is padded
                False for evaluation: every image once, in order, and never one twice
    rank        which of `world` processes this is; each gets its own share of every batch (or of all images)
    """

    def __init__(
        self, dataset: Dataset, batch_size: int, *, shuffle: bool, workers: int = 0, rank: int = 0, world: int = 1
    ) -> None:
        if batch_size < 1 or workers < 0:
            raise UsageError(
                f"expected a batch size of at least 1 and 0 or more workers, got {batch_size} and {workers}"
            )
        self.dataset, self.shuffle, self.rank, self.world = dataset, shuffle, rank, world
        self.workers = workers
        alone = dataset.preprocessing.frame in ("whole", "windows") and not shuffle
        self.batch_size = 1 if alone else min(batch_size, len(dataset))
        if shuffle and self.batch_size % world:
            raise SaccadeError(
                f"a batch of {self.batch_size} images cannot be shared evenly by {world} processes; "
                f"choose a batch size (and have as many images) that is a multiple of {world}"
            )
        self._keys: list[list[tuple[int, int]]] = []
        self._loader = DataLoader(
            _Careful(dataset),  # pyright: ignore[reportArgumentType]  (torch asks for its own base class)
            batch_sampler=self._keys,
            collate_fn=partial(_collate_or_error, preprocessing=dataset.preprocessing),
            num_workers=workers,
            persistent_workers=workers > 0,
        )

    def __len__(self) -> int:
        """Steps an epoch."""
        if self.shuffle:
            return len(self.dataset) // self.batch_size
        return math.ceil(len(range(self.rank, len(self.dataset), self.world)) / self.batch_size)

    def epoch(self, epoch: int = 0, start: int = 0) -> Iterator[Batch]:
        """The batches of this epoch, from step `start` on."""
        self._keys[:] = [[(epoch, int(index)) for index in batch] for batch in self._order(epoch)[start:]]
        for batch in self._loader:
            if isinstance(batch, SaccadeError):
                raise batch
            yield batch

    def _order(self, epoch: int) -> list[np.ndarray]:
        if self.shuffle:
            order = keyed.generator(self.dataset.seed, epoch, "order").permutation(len(self.dataset))
            batches = self._of_like_shape(order[: len(self) * self.batch_size], epoch)
            return list(batches[:, self.rank :: self.world])
        mine = np.arange(self.rank, len(self.dataset), self.world)
        return [mine[i : i + self.batch_size] for i in range(0, len(mine), self.batch_size)]

    def _of_like_shape(self, order: np.ndarray, epoch: int) -> np.ndarray:
        """The images of an epoch as batches [steps, batch_size]. Of each pool, those that are wider than high go
        together, and of these the longest: that leaves a twentieth of a batch to pad, where chance leaves a half."""
        sizes = [self.dataset.size(epoch, int(index)) for index in order] if self.batch_size > 1 else [None]
        if any(size is None for size in sizes):
            return order.reshape(-1, self.batch_size)
        shapes, length = np.array(sizes), POOL * self.batch_size
        pools = [np.arange(start, min(start + length, len(order))) for start in range(0, len(order), length)]
        wide, longest = shapes[:, 1] > shapes[:, 0], shapes.max(axis=1)
        order = np.concatenate([order[pool[np.lexsort((longest[pool], wide[pool]))]] for pool in pools])
        batches = order.reshape(-1, self.batch_size)
        return keyed.generator(self.dataset.seed, epoch, "batches").permutation(batches)


@dataclass(frozen=True, eq=False)
class _Careful:
    """A dataset whose errors travel back from a worker as values: as exceptions they would arrive as a traceback."""

    dataset: Dataset

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, key: tuple[int, int]) -> Sample | SaccadeError:
        try:
            return self.dataset[key]
        except SaccadeError as error:
            return error


def _collate_or_error(samples: list[Sample | SaccadeError], preprocessing: Preprocessing) -> Batch | SaccadeError:
    good = [sample for sample in samples if isinstance(sample, Sample)]
    error = next((sample for sample in samples if isinstance(sample, SaccadeError)), None)
    return error or collate(good, preprocessing)
