"""From images on disk to batches: `Dataset[epoch, i]` makes one sample, `Loader` serves them from worker processes."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader

from saccade import keyed
from saccade.data import mosaic
from saccade.data.augment import Augmentation, Look
from saccade.data.decode import render
from saccade.data.source import Split
from saccade.data.targets import target_of, truth_of
from saccade.errors import SaccadeError, UsageError
from saccade.geometry.view import View
from saccade.structures import VOID, Batch, ColourMap, Instances, Known, LabelMap, Preprocessing, Sample, Size

STEP = 32  # pixels by which the sides that a network looks at differ
POOL = 16  # batches whose images are sorted by shape together


@dataclass(frozen=True, eq=False)
class Dataset:
    """A split as the network sees it. `dataset[epoch, index]` is the same whenever and wherever it is asked for.

    augmentation  how the images vary; None shows them as they are
    known         what of all that is known of the images is asked for
    mosaic        in so large a share of the times three others are shown with the image, in one (`data/mosaic.py`)
    closed        from this epoch on no mosaics are made; None for never

    Asked for as `dataset[epoch, index, side]` images are scaled for a network that looks at so many pixels.
    """

    split: Split
    preprocessing: Preprocessing
    augmentation: Augmentation | None = None
    seed: int = 0
    known: Known = "labels"
    mosaic: float = 0.0
    closed: int | None = None

    def __len__(self) -> int:
        return len(self.split)

    def __getitem__(self, key: tuple[int, ...]) -> Sample:
        epoch, index, *side = key
        preprocessing = self.preprocessing.scaled_to(side[0]) if side else self.preprocessing
        id = self.split.ids[index]
        if self.augmentation is None:
            picture = self.split.open(index)
            truth = truth_of(self.split, index, picture.size, self.known)
            view = preprocessing.view(picture.size)
            look = Look(render(picture, view, preprocessing), view, None, ())
            return Sample(look.image, target_of(self.split, truth, look, self._beyond), view, id, truth=truth)
        rng = self._rng(epoch, index)
        if self._is_mosaic(epoch, rng):
            image, target = self._mosaic(index, preprocessing, rng)
            return Sample(image, target, View.identity(preprocessing.size), id)
        look, target = self._varied(self.augmentation, index, preprocessing, rng)
        return Sample(look.image, target, look.view, id)

    @property
    def _beyond(self) -> list[int]:
        """The colour of what lies beyond an image, [3]."""
        mean = self.preprocessing.mean
        return [round(255 * value) for value in (mean if len(mean) == 3 else mean * 3)]

    def _varied(
        self,
        augmentation: Augmentation,
        index: int,
        preprocessing: Preprocessing,
        rng: np.random.Generator,
        framed: Callable[[View], View] | None = None,
    ) -> tuple[Look, Any]:
        """An image as training sees it, and what is to be learnt of it."""
        picture = self.split.open(index)
        truth = truth_of(self.split, index, picture.size, self.known)
        look = augmentation.look(picture, preprocessing, rng, self._boxes(index), framed)
        return look, target_of(self.split, truth, look, self._beyond)

    def _mosaic(
        self, index: int, preprocessing: Preprocessing, rng: np.random.Generator
    ) -> tuple[np.ndarray, Instances]:
        """The image and three others in one."""
        assert self.augmentation is not None
        places = mosaic.parts(preprocessing.size, rng)
        images, targets = [], []
        for part, other in zip(places, [index, *rng.integers(len(self.split), size=3)], strict=True):
            framed = partial(mosaic.framed, size=part.size, rng=rng)
            look, target = self._varied(self.augmentation, int(other), preprocessing, rng, framed)
            images.append(look.image)
            targets.append(target)
        objects = self.split.objects
        return mosaic.assembled(images, targets, places, preprocessing.size, objects.skeleton if objects else None)

    def _is_mosaic(self, epoch: int, rng: np.random.Generator) -> bool:
        return bool(self.mosaic) and (self.closed is None or epoch < self.closed) and rng.random() < self.mosaic

    def _boxes(self, index: int) -> np.ndarray | None:
        return None if self.split.objects is None else self.split.objects[index].boxes

    def size(self, epoch: int, index: int) -> Size | None:
        """(height, width) of a whole training image, where that is known without opening it."""
        objects = self.split.objects
        if self.preprocessing.frame != "whole" or objects is None or not objects.sizes[index].all():
            return None
        source = (int(objects.sizes[index, 0]), int(objects.sizes[index, 1]))
        if self.augmentation is None:
            return self.preprocessing.view(source).size
        rng = self._rng(epoch, index)
        if self._is_mosaic(epoch, rng):
            return self.preprocessing.size
        steps = self.augmentation.steps(rng)
        return self.augmentation.view(source, self.preprocessing, rng, steps, self._boxes(index)).size

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


def ends_of(side: int, scales: tuple[float, float]) -> tuple[int, int]:
    """The least and the most pixels a side that batches are scaled to, multiples of STEP."""
    low, high = (STEP * max(1, round(side * factor / STEP)) for factor in scales)
    return low, high


class Loader:
    """Batches of a dataset, epoch by epoch, the same for any number of workers.

    batch_size  images a step, over all processes together; whole images are evaluated one by one, as the padding of a
                batch would change a little what is found in it
    shuffle     True for training: a keyed order, whole batches only (what is left over comes round in other epochs).
                Whole images of like shape go together, as far as that leaves the order random, so that little is padded
                False for evaluation: every image once, in order, and never one twice
    scales      the least and the most that the images of a training batch are scaled by, all alike, drawn anew for each
                (Redmon and Farhadi, "YOLO9000", CVPR 2017, section 2, "Multi-Scale Training")
    rank        which of `world` processes this is; each gets its own share of every batch (or of all images)
    """

    def __init__(
        self,
        dataset: Dataset,
        batch_size: int,
        *,
        shuffle: bool,
        workers: int = 0,
        scales: tuple[float, float] = (1.0, 1.0),
        rank: int = 0,
        world: int = 1,
    ) -> None:
        if batch_size < 1 or workers < 0:
            raise UsageError(
                f"expected a batch size of at least 1 and 0 or more workers, got {batch_size} and {workers}"
            )
        self.dataset, self.shuffle, self.rank, self.world = dataset, shuffle, rank, world
        self.workers, self.scales = workers, scales
        alone = dataset.preprocessing.frame in ("whole", "windows") and not shuffle
        self.batch_size = 1 if alone else min(batch_size, len(dataset))
        if shuffle and self.batch_size % world:
            raise SaccadeError(
                f"a batch of {self.batch_size} images cannot be shared evenly by {world} processes; "
                f"choose a batch size (and have as many images) that is a multiple of {world}"
            )
        self._keys: list[list[tuple[int, ...]]] = []
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
        sides = self._sides(epoch)
        keys = [[(epoch, int(index), *sides(step)) for index in own] for step, own in enumerate(self._order(epoch))]
        self._keys[:] = keys[start:]
        for batch in self._loader:
            if isinstance(batch, SaccadeError):
                raise batch
            yield batch

    def _sides(self, epoch: int) -> Callable[[int], tuple[int, ...]]:
        """Of each step of an epoch how many pixels its network looks at; nothing where that is always the same."""
        if not self.shuffle or self.scales == (1.0, 1.0):
            return lambda _: ()
        side, rng = self.dataset.preprocessing.side, keyed.generator(self.dataset.seed, epoch, "scales")
        low, high = (own // STEP for own in ends_of(side, self.scales))
        drawn = rng.integers(low, high + 1, size=len(self)) * STEP
        return lambda step: (int(drawn[step]),)

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

    def __getitem__(self, key: tuple[int, ...]) -> Sample | SaccadeError:
        try:
            return self.dataset[key]
        except SaccadeError as error:
            return error


def _collate_or_error(samples: list[Sample | SaccadeError], preprocessing: Preprocessing) -> Batch | SaccadeError:
    good = [sample for sample in samples if isinstance(sample, Sample)]
    error = next((sample for sample in samples if isinstance(sample, SaccadeError)), None)
    return error or collate(good, preprocessing)
