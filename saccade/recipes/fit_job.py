"""What a training is made of: the network, how its images are prepared and varied, loaders, optimiser."""

import hashlib
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from accelerate import Accelerator

from saccade.backbones.contract import Backbone
from saccade.backbones.stages import stages_of
from saccade.backbones.weights import Weights
from saccade.checkpoint import Card
from saccade.data.augment import Augmentation
from saccade.data.label_maps import frequencies_of
from saccade.data.loader import Dataset, Loader
from saccade.data.policies import POLICIES
from saccade.data.source import Source, Split, content_of, labels_of, maps_of
from saccade.errors import UsageError
from saccade.layers.preprocess import Preprocess
from saccade.models import Model, create_model, create_probe, create_task, is_whole, on_paper, options_of
from saccade.recipes.anchors import sides_of
from saccade.structures import Preprocessing
from saccade.tasks.contract import Task
from saccade.tasks.detect.anchor_shapes import as_settings, cluster
from saccade.tasks.detect.yolov3 import YOLOv3
from saccade.tasks.segment.losses import balanced as pixel_balance
from saccade.training.config import Config
from saccade.training.display import Display
from saccade.training.freeze import norms_of, plan
from saccade.training.loop import Job
from saccade.training.optim import make_optimiser, parameter_groups

# How images vary where what is marked in them must stay.
SHOWN_AS = {"detect": "objects", "segment": "pixels", "image_to_image": "flipped"}


def augmentation_for(config: Config, train: Split, task: str) -> Augmentation | str:
    """What "auto" means for this data: small grey images are taken for glyphs, whose mirror image is another thing."""
    choice = config.augmentation
    if isinstance(choice, Augmentation):
        return choice
    if choice == "auto" and task in SHOWN_AS:
        choice = SHOWN_AS[task]
    if choice == "auto":
        picture = train.open(0)
        pixels = picture.pixels("RGB")[0]
        is_grey = np.ptp(pixels, axis=2).max() == 0
        choice = "glyph" if is_grey and max(picture.size) <= 64 else "photo"
    return POLICIES.get(choice, choice)


def network_for(
    name: str, classes: int, found: Weights | None, adapt: str, config: Config, built: dict[str, Any]
) -> Model:
    channels = built.pop("in_channels", None)
    if channels not in (None, 1, 3):
        raise UsageError(f"network={{in_channels={channels}}}: images are read in colour, 3 channels, or grey, 1")
    if found and found.preprocessing:
        if channels not in (None, found.preprocessing.channels):
            raise UsageError(
                f"network={{in_channels={channels}}}: the weights are for {found.preprocessing.channels} channels"
            )
        channels = found.preprocessing.channels
    if adapt == "probe":
        return create_probe(name, classes, found, channels, config.layer)
    return create_model(name, classes, weights=found, in_channels=channels, **built)


def anchors_for(
    name: str, found: Weights | None, built: dict[str, Any], train: Split, config: Config, display: Display
) -> dict[str, Any]:
    """Anchors that fit the data, for a network that takes some, has learnt with none, and was given none."""
    if "anchors" not in options_of(name) or "anchors" in built:
        return {}
    network = on_paper(name, built)
    assert isinstance(network, YOLOv3)
    if found is not None and is_whole(network, found):
        display.say("anchors: the published ones, which these weights are taken to have learnt with")
        return {}
    own = network.standard_preprocessing()
    sides = sides_of(train, own if config.size is None else own.scaled_to(config.size))
    best = cluster(sides, sum(map(len, network.anchors)))
    shapes = as_settings(best.shapes)
    display.say(f"anchors for these boxes, {100 * best.overlaps.mean():.0f} % overlap on average: {shapes}")
    return {"anchors": shapes}


def preprocessing_for(network: Model, found: Weights | None, config: Config) -> Preprocessing:
    """The weights' own, else what the network was designed for. What is built on a classifier's weights takes their
    colours, but sees whole images."""
    own = network.standard_preprocessing()
    if found and found.preprocessing:
        theirs = found.preprocessing
        # What sees windows sees images as large as they are, whatever the weights were trained on.
        alike = theirs.frame == own.frame != "windows"
        same = alike and (isinstance(network, Backbone) or is_whole(network, found))
        own = theirs if same else replace(own, mode=theirs.mode, mean=theirs.mean, std=theirs.std)
    if config.window is not None:
        own = replace(own, size=(config.window, config.window))
    return own if config.size is None else own.scaled_to(config.size)


def make_job(
    card: Card,
    network: Model,
    source: Source,
    config: Config,
    folder: Path,
    accelerator: Accelerator,
    display: Display,
) -> Job:
    train, val = source.splits["train"], source.splits.get("val")
    network.to(accelerator.device)
    stages = stages_of(network)
    freeze = plan(stages, card.adapt, config, norms_of(network))
    task = create_task(card.task, card.classes, network, card.skeleton, **_weighing(card, source, config))
    closed = config.epochs - config.close_mosaic
    data = Dataset(train, card.preprocessing, augmentation_of(config), config.seed, task.known, config.mosaic, closed)
    return Job(
        model=network,
        task=task,
        preprocess=Preprocess(card.preprocessing),
        optimiser=make_optimiser(parameter_groups(network, stages, config, freeze), config),
        train=make_loader(data, config, accelerator, shuffle=True),
        val=None if val is None else make_loader(as_evaluated(val, card, task), config, accelerator, shuffle=False),
        config=config,
        folder=folder,
        accelerator=accelerator,
        fingerprint=_fingerprint(source),
        display=display,
        freeze=freeze,
    )


def augmentation_of(config: Config) -> Augmentation | None:
    """How training images vary, once "auto" is decided; None for not at all."""
    if isinstance(config.augmentation, Augmentation):
        return config.augmentation
    return Augmentation() if config.mosaic else None  # of a mosaic each of the four as it is


def make_loader(data: Dataset, config: Config, accelerator: Accelerator, shuffle: bool) -> Loader:
    workers = config.workers
    if workers is None:
        # Images in memory need no decoding, and a process would cost more than it gives.
        workers = 0 if isinstance(data.split.images, np.ndarray) else max(1, (os.cpu_count() or 1) - 1)
    rank, world = accelerator.process_index, accelerator.num_processes
    return Loader(
        data,
        config.batch_size,
        shuffle=shuffle,
        workers=workers,
        scales=config.multi_scale,
        rank=rank,
        world=world,
    )


def as_evaluated(split: Split, card: Card, task: Task) -> Dataset:
    """A split as evaluation sees it."""
    return Dataset(split, card.preprocessing, known=task.known)


def _weighing(card: Card, source: Source, config: Config) -> dict[str, Any]:
    """What the loss is told besides."""
    balanced = config.class_weights == "balanced"
    if card.task == "classify":
        weights = _class_weights(source) if balanced else None
        return {"label_smoothing": config.label_smoothing, "class_weights": weights}
    if card.task == "segment":
        frequencies = frequencies_of(maps_of(source.splits["train"]), "counting pixels") if balanced else None
        return {
            "losses": ("cross_entropy" if config.loss == "auto" else config.loss).split("+"),
            "class_weights": None if frequencies is None else pixel_balance(frequencies),
            "border": config.border,
            "border_sigma": config.border_sigma,
        }
    if card.task == "image_to_image":
        return {"loss": "l1" if config.loss == "auto" else config.loss}
    return {}


def _class_weights(source: Source) -> list[float]:
    """The inverse of how many training images a class has; their mean over the images is 1."""
    counts = np.bincount(labels_of(source.splits["train"]), minlength=len(source.classes))
    return (counts.sum() / (len(counts) * counts)).tolist()


def _fingerprint(source: Source) -> str:
    """Of the images' names, what is known of them, and their sizes in bytes; files of the same size are not read."""
    digest = hashlib.blake2b(digest_size=16)
    for name in ("train", "val"):
        if name in source.splits:
            digest.update("\n".join([name, *source.splits[name].ids]).encode())
            digest.update(content_of(source.splits[name]))
            digest.update(repr(source.splits[name].bytes).encode())
    return digest.hexdigest()
