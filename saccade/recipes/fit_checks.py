"""What must hold before a training begins: asked before anything is written, and told in words."""

from pathlib import Path

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.utils import broadcast_object_list
from pydantic import ValidationError

from saccade import checkpoint
from saccade.backbones.contract import Backbone
from saccade.checkpoint import Card
from saccade.data.findings import DataError
from saccade.data.looks import broken_images
from saccade.data.source import Source, Split, labels_of
from saccade.errors import SaccadeError, UsageError
from saccade.structures import Preprocessing
from saccade.training.config import FREE_TO_CHANGE, Config, explain_validation


def check_adapt(adapt: str, weights: str | Path | None) -> None:
    """Raise UsageError when weights and the way to adapt do not go together."""
    if adapt == "scratch" and weights:
        raise UsageError(
            f"scratch starts from random weights, but {weights} was given; use adapt=finetune with weights"
        )
    if adapt != "scratch" and not weights:
        raise UsageError(f"{adapt} needs weights to start from; give --weights imagenet or the path of a file")


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


def without_broken(source: Source, skip: bool, accelerator: Accelerator) -> tuple[Source, list[str]]:
    """The set without its broken images, and what they are. Without `skip` the first of them ends it here."""
    found = [
        {n: broken_images(s, f"reading {n}") for n, s in source.splits.items()} if accelerator.is_main_process else {}
    ]
    broadcast_object_list(found)
    splits: dict[str, Split] = {}
    skipped: list[str] = []
    for name, split in source.splits.items():
        broken = found[0][name]
        skipped += [f"{name}/{split.ids[index]}: {reason}" for index, reason in broken.items()]
        splits[name] = split.take([i for i in range(len(split)) if i not in broken]) if broken else split
    if skipped and not skip:
        more = f"\n  and {len(skipped) - 10} more" if len(skipped) > 10 else ""
        raise DataError(
            f"{len(skipped)} of the images in {source.name} cannot be read:\n  "
            + "\n  ".join(skipped[:10])
            + more
            + "\nFetch them again, remove them, or go on without them with --skip-broken"
        )
    return source.with_splits(splits), skipped


def check_classes(source: Source) -> None:
    """Raise DataError when there are no two classes, or one has no image to train on."""
    counts = np.bincount(labels_of(source.splits["train"]), minlength=len(source.classes))
    if len(source.classes) < 2:
        raise DataError(
            f"{source.name} has only the class {', '.join(source.classes)!r}; telling classes apart needs two"
        )
    for name, count in zip(source.classes, counts, strict=True):
        if not count:
            raise DataError(f"the class {name!r} has no image left to train on; add some, or remove it")


@torch.no_grad()
def check_size(network: Backbone, preprocessing: Preprocessing) -> None:
    """One look at nothing, before anything is written: not every network can take every size."""
    try:
        network.eval()(torch.zeros(1, preprocessing.channels, *preprocessing.size))
    except RuntimeError as error:
        height, width = preprocessing.size
        raise UsageError(
            f"the network cannot look at {height} x {width} pixels; choose a larger size ({error})"
        ) from None


def check_same(folder: Path, card: Card) -> None:
    """A run is resumed as it was begun: another setting would give a model that no settings describe."""
    if not (folder / "model.toml").exists():
        return
    was = checkpoint.load_card(folder)
    try:
        before, now = Config.model_validate(was.config).model_dump(), card.config
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
