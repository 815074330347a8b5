"""From images on disk to batches: `Dataset[epoch, i]` makes one sample, `Loader` serves them from worker processes."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch.utils.data import DataLoader

from saccade import keyed
from saccade.data.augment import Augmentation
from saccade.data.decode import render
from saccade.data.source import Split, labels_of
from saccade.errors import SaccadeError, UsageError
from saccade.structures import Batch, Preprocessing, Sample


@dataclass(frozen=True, eq=False)
class Dataset:
    """A split as the network sees it. `dataset[epoch, index]` is the same whenever and wherever it is asked for.

    augmentation  None for evaluation
    """

    split: Split
    preprocessing: Preprocessing
    augmentation: Augmentation | None = None
    seed: int = 0

    def __len__(self) -> int:
        return len(self.split)

    def __getitem__(self, key: tuple[int, int]) -> Sample:
        epoch, index = key
        picture = self.split.open(index)
        target, id = int(labels_of(self.split)[index]), self.split.ids[index]
        if self.augmentation is None:
            view = self.preprocessing.view(picture.size)
            return Sample(render(picture, view, self.preprocessing), target, view, id, truth=target)
        rng = keyed.generator(self.seed, epoch, index)
        image, view, _, _ = self.augmentation.look(picture, self.preprocessing, rng)
        return Sample(image, target, view, id)


def collate(samples: Sequence[Sample]) -> Batch:
    """Samples of one size as a batch; its images are channels-last in memory."""
    images = torch.from_numpy(np.stack([sample.image for sample in samples])).permute(0, 3, 1, 2)
    return Batch(
        images=images,
        targets=torch.tensor([sample.target for sample in samples]),
        views=[sample.view for sample in samples],
        ids=[sample.id for sample in samples],
        truths=[sample.truth for sample in samples],
    )


class Loader:
    """Batches of a dataset, epoch by epoch, the same for any number of workers.

    batch_size  images a step, over all processes together
    shuffle     True for training: a keyed order, whole batches only (what is left over comes round in other epochs).
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
        self.batch_size = min(batch_size, len(dataset))
        if shuffle and self.batch_size % world:
            raise SaccadeError(
                f"a batch of {self.batch_size} images cannot be shared evenly by {world} processes; "
                f"choose a batch size (and have as many images) that is a multiple of {world}"
            )
        self._keys: list[list[tuple[int, int]]] = []
        self._loader = DataLoader(
            _Careful(dataset),  # pyright: ignore[reportArgumentType]  (torch asks for its own base class)
            batch_sampler=self._keys,
            collate_fn=_collate_or_error,
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
            batches = order[: len(self) * self.batch_size].reshape(len(self), self.batch_size)
            return list(batches[:, self.rank :: self.world])
        mine = np.arange(self.rank, len(self.dataset), self.world)
        return [mine[i : i + self.batch_size] for i in range(0, len(mine), self.batch_size)]


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


def _collate_or_error(samples: list[Sample | SaccadeError]) -> Batch | SaccadeError:
    good = [sample for sample in samples if isinstance(sample, Sample)]
    error = next((sample for sample in samples if isinstance(sample, SaccadeError)), None)
    return error or collate(good)
