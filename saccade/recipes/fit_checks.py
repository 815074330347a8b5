"""What must hold before a training begins: asked before anything is written, and told in words."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.utils import broadcast_object_list
from pydantic import ValidationError

from saccade import checkpoint
from saccade.checkpoint import Card
from saccade.data.findings import DataError
from saccade.data.loader import Loader, ends_of
from saccade.data.looks import broken_images
from saccade.data.objects import Objects
from saccade.data.source import Source, Split, labels_of
from saccade.errors import SaccadeError, UsageError
from saccade.layers.meta import on_meta
from saccade.models import Model
from saccade.structures import Known, Preprocessing, Skeleton
from saccade.tasks.detect.contract import Detector
from saccade.tasks.detect.one_look import OneLook
from saccade.tasks.segment.contract import Segmenter
from saccade.training.config import FREE_TO_CHANGE, Config, explain_validation
from saccade.wording import counted


def check_adapt(adapt: str, weights: str | Path | None) -> None:
    """Raise UsageError when weights and the way to adapt do not go together."""
    if adapt == "scratch" and weights:
        raise UsageError(
            f"scratch starts from random weights, but {weights} was given; use adapt=finetune with weights"
        )
    if adapt != "scratch" and not weights:
        raise UsageError(f"{adapt} needs weights to start from; give --weights imagenet or the path of a file")


def network_of(options: Mapping[str, Any]) -> dict[str, Any]:
    """The options of the network among the settings. Raises UsageError where they are no table."""
    network = options.get("network") or {}
    if not isinstance(network, Mapping):
        raise UsageError(f"network takes a table, as in 'network={{backbone=\"resnet18\"}}', but got {network!r}")
    return dict(network)


def check_folder(folder: Path, resume: bool) -> None:
    """Raise UsageError when a run cannot begin in this folder, or go on."""
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"{folder} is a file; --out needs a folder")
    if checkpoint.is_untouched(folder):
        return
    if not resume:
        raise UsageError(f"{folder} exists and is not empty; --resume to go on with it, or choose another --out")
    if not (folder / "model.toml").exists():
        raise UsageError(f"{folder} is not empty and not a run directory (it has no model.toml); choose another --out")


def without_broken(
    source: Source, skip: bool, accelerator: Accelerator, known: Known = "labels"
) -> tuple[Source, list[str]]:
    """The set without its broken images, and what they are. Without `skip` the first of them ends it here."""
    found: list[dict[str, dict[int, str]]] = [{}]
    if accelerator.is_main_process:
        found = [{name: broken_images(split, f"reading {name}", known) for name, split in source.splits.items()}]
    broadcast_object_list(found)
    splits: dict[str, Split] = {}
    skipped: list[str] = []
    for name, split in source.splits.items():
        broken = found[0][name]
        skipped += [f"{name}/{split.ids[index]}: {reason}" for index, reason in broken.items()]
        splits[name] = split.take([i for i in range(len(split)) if i not in broken]) if broken else split
    if skipped and not skip:
        more = f"\n  and {len(skipped) - 10} more" if len(skipped) > 10 else ""
        what = "used" if known in ("label_maps", "targets") else "read"
        raise DataError(
            f"{len(skipped)} of the images in {source.name} cannot be {what}:\n  "
            + "\n  ".join(skipped[:10])
            + more
            + "\nFetch them again, remove them, or go on without them with --skip-broken"
        )
    return source.with_splits(splits), skipped


# Of tasks that look at pixels: where the split has what they learn, what that is, and how it is given.
NEEDS = {
    "segment": ("label_maps", "what every pixel is", "images/ and masks/ side by side, PNG files of the same names"),
    "image_to_image": ("targets", "what an image should become", "inputs/ and targets/ side by side"),
}


def _marked(split: Split) -> str:
    """What is known of the images, in words."""
    words = {
        "labels": "one class an image",
        "objects": "things marked by boxes or outlines",
        "label_maps": "a class for every pixel",
        "targets": "an image that each should become",
    }
    return next((own for name, own in words.items() if getattr(split, name) is not None), "nothing")


def check_task(model: str, task: str, source: Source) -> None:
    """Raise an error when the data does not say what the network is to learn."""
    train = source.splits["train"]
    if task == "classify":
        _check_labels(source, np.bincount(labels_of(train), minlength=len(source.classes)))
        return
    if task in NEEDS:
        column, learnt, layout = NEEDS[task]
        for name, split in source.splits.items():
            if getattr(split, column) is None:
                raise DataError(
                    f"{source.name} ({name}) has {_marked(split)}, but {model} learns {learnt}; choose a network for "
                    f"what is there (saccade models), or give {layout}"
                )
        return
    for name, split in source.splits.items():
        if split.objects is None:
            raise DataError(
                f"{source.name} ({name}) has {_marked(split)}, but {model} finds things and learns from boxes; "
                f"choose a network for that (saccade models), or give COCO, Pascal VOC or YOLO annotations"
            )
    if train.objects is None or not _learnt(train.objects).any():
        raise DataError(f"{source.name} has {len(train)} training images and not one thing is marked in them")


def _learnt(objects: Objects) -> np.ndarray:
    """[N] bool: which things there are to learn from."""
    return ~(objects.crowd | objects.difficult)


def missing_classes(source: Source, known: Known = "labels") -> list[str]:
    """What evaluation cannot know, in words: classes without an image, or a thing, in a split."""
    notes = []
    for name, split in source.splits.items():
        labels = split.labels if split.labels is not None else None if split.objects is None else split.objects.labels
        if labels is None or known not in ("labels", "objects"):
            continue
        counts = np.bincount(labels, minlength=len(source.classes))
        without = [own for own, count in zip(source.classes, counts, strict=True) if not count]
        if without:
            more = f" and {len(without) - 5} more" if len(without) > 5 else ""
            notes.append(
                f"{name} has nothing of {counted(len(without), 'class', 'classes')}: {', '.join(without[:5])}{more}"
            )
    return notes


def _check_labels(source: Source, counts: np.ndarray) -> None:
    """Raise DataError when there are no two classes, or one has no image to train on."""
    if len(source.classes) < 2:
        raise DataError(
            f"{source.name} has only the class {', '.join(source.classes)!r}; telling classes apart needs two"
        )
    for name, count in zip(source.classes, counts, strict=True):
        if not count:
            raise DataError(f"the class {name!r} has no image left to train on; add some, or remove it")


def check_finds(network: Model, source: Source) -> None:
    """Raise DataError when the network finds what the data does not mark."""
    if not isinstance(network, Detector):
        return
    for name, split in source.splits.items():
        objects = split.objects
        if objects is None or not objects.count:
            continue
        if "mask" in network.finds:
            masked = np.zeros(objects.count, dtype=bool) if objects.masks is None else objects.masks.masked()
            if not masked.all():
                raise DataError(
                    f"{int((~masked).sum())} of {objects.count} things in {source.name} ({name}) have no mask, the "
                    f"first: {objects.where(int((~masked).argmax()))}; give them one, or choose a network that finds "
                    f"boxes only"
                )
        if "keypoints" in network.finds and objects.keypoints is None:
            raise DataError(f"{source.name} ({name}) has no keypoints; choose a network that finds boxes only")


def skeleton_of(source: Source) -> Skeleton | None:
    """What the keypoints of the training images are."""
    objects = source.splits["train"].objects
    return objects.skeleton if objects is not None else None


@torch.no_grad()
def check_sizes(network: Model, preprocessing: Preprocessing, scales: tuple[float, float]) -> None:
    """One look at nothing of each size, before anything is written: not every network can take every size.

    scales  the least and the most that training batches are scaled by
    """
    sizes = [_seen(preprocessing)]
    if scales != (1.0, 1.0):
        sizes += [_seen(preprocessing.scaled_to(side)) for side in ends_of(preprocessing.side, scales)]
    for height, width in sizes:
        try:
            network.eval()(torch.zeros(1, preprocessing.channels, height, width))
        except RuntimeError as error:
            narrower = "" if scales == (1.0, 1.0) else ", or a narrower multi_scale"
            raise UsageError(
                f"the network cannot look at {height} x {width} pixels; choose a larger size{narrower} ({error})"
            ) from None


def _seen(preprocessing: Preprocessing) -> tuple[int, int]:
    """(height, width) of an image that the network sees."""
    height, width = preprocessing.size
    if preprocessing.frame == "windows":
        return min(height, 256), min(width, 256)  # any size will do, and a large one takes its time
    if preprocessing.frame == "whole":
        height = width = -(-preprocessing.resize // preprocessing.multiple) * preprocessing.multiple
    return height, width


def check_batch(network: Model, loader: Loader) -> None:
    """Raise UsageError where a norm would see one number a channel: the mean of the one image of a batch."""
    share = loader.batch_size // loader.world
    if isinstance(network, Segmenter) and network.sees_all and share < 2:
        raise UsageError(
            f"this network normalises the mean of an image over the batch, which needs two images or more a process, "
            f"and has {share} of {len(loader.dataset)}; choose a larger batch_size, or another network"
        )
    if isinstance(network, OneLook) and share < 2:
        height, width = _seen(loader.dataset.preprocessing)
        try:
            with torch.no_grad():
                on_meta(network).train()(torch.zeros(1, network.in_channels, height, width, device="meta"))
        except ValueError as error:
            raise UsageError(
                f"this network normalises a map of one place over the batch, which needs two images or more a process, "
                f"and has {share} of {len(loader.dataset)}; choose a larger batch_size or size ({error})"
            ) from None


def _plain(settings: dict[str, Any]) -> dict[str, Any]:
    """As a file gives them back: tuples as lists, in `network` nothing in the place of None."""
    plain = json.loads(json.dumps(settings))
    return plain | {"network": checkpoint.without_none(plain.get("network", {}))}


def check_same(folder: Path, card: Card) -> None:
    """A run is resumed as it was begun: another setting would give a model that no settings describe."""
    if not (folder / "model.toml").exists():
        return
    was = checkpoint.load_card(folder)
    try:
        before, now = (_plain(one) for one in (Config.model_validate(was.config).model_dump(), card.config))
    except ValidationError as error:
        raise SaccadeError(
            f"{folder / 'model.toml'} has settings that are unknown here: {explain_validation(error)}"
        ) from None
    changed = [f"{k} was {before[k]}, now {now[k]}" for k in now if k not in FREE_TO_CHANGE and before[k] != now[k]]
    for name in ("model", "adapt", "weights", "classes", "preprocessing"):
        if getattr(was, name) != getattr(card, name):
            changed.append(f"{name} was {getattr(was, name)}, now {getattr(card, name)}")
    if changed:
        raise UsageError(
            f"{folder} was begun with other settings: "
            + "; ".join(changed)
            + ". Resume with the same, or choose another --out"
        )
