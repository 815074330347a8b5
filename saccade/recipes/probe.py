"""Probing: the encoder looks at each image once, then a linear classifier learns from what it saw, in seconds."""

import hashlib
import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from saccade import checkpoint
from saccade.backbones.probed import Probed
from saccade.backbones.weights import cache_folder
from saccade.data.loader import Dataset, Loader
from saccade.data.source import labels_of
from saccade.errors import SaccadeError
from saccade.progress import Progress
from saccade.structures import Preprocessing, Sample
from saccade.training.config import Config
from saccade.training.display import clock
from saccade.training.features import FeatureStore, key_of
from saccade.training.linear import Linear, fit_linear
from saccade.training.loop import Job, Position


def probe(job: Job, network: Probed) -> Position:
    """Train the linear layer of a network, and leave the weights to use in `job.folder`."""
    begun = time.monotonic()
    if job.accelerator.is_main_process:
        found = _features(job, network)
        seen = time.monotonic()
        rows, classes = found.rows.astype(np.float32), len(job.task.classes)
        linear = fit_linear(rows, found.labels, found.images, classes, job.config.seed, job.config.classifier)
        _install(network, linear)
        checkpoint.save_weights(job.folder, network.state_dict())
        line: dict[str, Any] = {"features/computed": found.computed, "features/stored": found.stored}
        line |= {"strength": linear.chosen, "folds": [list(row) for row in linear.tried]}
        line |= {"timing/features": round(seen - begun, 3), "timing/head": round(time.monotonic() - seen, 3)}
        checkpoint.cut(job.folder / "log.jsonl", 0)
        checkpoint.append_line(job.folder / "log.jsonl", json.dumps(line))
        job.display.say(
            f"features: {found.computed:,} computed, {found.stored:,} from the store, {clock(seen - begun)}; "
            f"regularisation {linear.chosen:g}"
        )
    job.accelerator.wait_for_everyone()
    return Position(seconds=time.monotonic() - begun)


@dataclass(frozen=True, eq=False)
class Features:
    """What the encoder saw.

    rows      [N, D] float16
    labels    [N] int64
    images    [N] int64: which image each row is of; of one image there may be several views
    computed  how many rows are new, and `stored` how many were there
    """

    rows: np.ndarray
    labels: np.ndarray
    images: np.ndarray
    computed: int
    stored: int


def _features(job: Job, network: Probed) -> Features:
    """The features of every training image: as evaluation sees it, and in `augmented` random views."""
    data, config = job.train.dataset, job.config
    store = FeatureStore(_folder(network, data), network.channels[-1])
    if store.lost:
        job.display.say(
            f"{store.folder}: {store.lost:,} stored features were cut short or damaged, and left out; what is needed "
            f"of them is computed again"
        )
    plain = Dataset(data.split, data.preprocessing, None, config.seed)
    views = [plain] + [data] * config.augmented
    contents = [key_of(data.split.content(index)) for index in range(len(data))]
    keys = [_keys(contents, view, number, config) for number, view in enumerate(views)]
    missing = [[index for index, key in enumerate(own) if key not in store] for own in keys]
    computed = sum(map(len, missing))
    with Progress("looking at images", computed) as progress:
        for number, (view, wanted) in enumerate(zip(views, missing, strict=True)):
            done = 0
            # Batch by batch, so that little is lost when it is stopped.
            for rows in _look(job, network, _Some(view, wanted), number):
                store.add([keys[number][i] for i in wanted[done : done + len(rows)]], rows)
                done += len(rows)
                progress.advance(len(rows))
    labels, images = labels_of(data.split), np.arange(len(data))
    rows = store.rows([key for own in keys for key in own])
    return Features(rows, np.tile(labels, len(views)), np.tile(images, len(views)), computed, len(rows) - computed)


@torch.inference_mode()
def _look(job: Job, network: Probed, data: "_Some", number: int) -> Iterator[np.ndarray]:
    """The features of these images in their view of that number, batch by batch, [B, D] float16."""
    if not len(data):
        return
    network.eval()
    preprocess = job.preprocess.to(job.accelerator.device)
    size, workers = job.config.batch_size, job.train.workers
    loader = Loader(data, size, shuffle=False, workers=workers)  # pyright: ignore[reportArgumentType]
    for batch in loader.epoch(number):
        batch = batch.to(job.accelerator.device)
        features = network.features(preprocess(batch.images)).float().cpu().numpy()
        kept = features.astype(np.float16)
        if not np.isfinite(kept).all():
            first = batch.ids[int((~np.isfinite(kept)).any(axis=1).argmax())]
            largest = np.abs(features).max()
            raise SaccadeError(
                f"The features of {first} are not finite numbers of float16 (the largest is {largest:g}): the weights "
                f"are damaged or of another network; nothing of it was stored"
            )
        yield kept


@dataclass(frozen=True, eq=False)
class _Some:
    """Only these images of a dataset, each varied as it is in the whole."""

    dataset: Dataset
    places: Sequence[int]

    def __len__(self) -> int:
        return len(self.places)

    @property
    def seed(self) -> int:
        return self.dataset.seed

    @property
    def preprocessing(self) -> Preprocessing:
        return self.dataset.preprocessing

    def __getitem__(self, key: tuple[int, int]) -> Sample:
        epoch, index = key
        return self.dataset[epoch, self.places[index]]


def _keys(contents: Sequence[bytes], data: Dataset, number: int, config: Config) -> list[bytes]:
    """One an image: of its content and of how it is varied."""
    if data.augmentation is None:
        return [key_of(content, "plain") for content in contents]
    how = f"{data.augmentation.model_dump_json()} {config.seed} {number}"
    return [key_of(content, how, str(index)) for index, content in enumerate(contents)]


def _folder(network: Probed, data: Dataset) -> Path:
    """Where the features of this network, these weights, this layer and this preprocessing are."""
    digest = hashlib.blake2b(digest_size=16)
    for name, tensor in network.encoder.state_dict().items():
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    # The same weights fit several networks: plain and residual ones, or those that differ in where a stride is.
    name = key_of(network.encoder.name, digest.digest(), str(network.used), repr(data.preprocessing)).hex()
    return cache_folder().parent / "features" / name


@torch.no_grad()
def _install(network: Probed, linear: Linear) -> None:
    for parameter, values in ((network.linear.weight, linear.weight), (network.linear.bias, linear.bias)):
        parameter.copy_(torch.from_numpy(values))
