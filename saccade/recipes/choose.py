"""Which network, from which weights, in which way, when nobody says: from what the data is like and what is at hand."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from saccade.backbones.weights import at_hand
from saccade.data.decode import DecodeError
from saccade.data.label_maps import LabelMaps
from saccade.data.objects import Objects
from saccade.data.source import Source, Split, labels_of
from saccade.errors import UsageError

# Good starts, the best first: by their ImageNet errors on a GPU, and on a processor by what they give for their time.
ON_A_GPU = ("resnet50", "densenet121", "resnet34", "mobilenet_v2", "resnet18", "squeezenet1_0")
ON_A_PROCESSOR = ("mobilenet_v2", "resnet18", "squeezenet1_0", "squeezenet1_1", "resnet34", "resnet50")
TINY = 48  # pixels of the shorter side: networks for photographs see nothing in so little
FEW_GLYPHS = 10_000  # with fewer small grey images LeNet's 62 thousand weights are plenty
FEW = 200  # images a class: with fewer, a probe is about as good as fine-tuning, and takes seconds
LOOKED_AT = 32  # images whose size and colour are looked at


@dataclass(frozen=True)
class Choice:
    """What to do with a set.

    why      in words, on one line
    network  what its builder takes besides
    """

    model: str
    weights: str | Path | None
    adapt: str
    why: str
    network: dict[str, Any] = field(default_factory=dict)


def choose(source: Source, weights: str | Path | None = None, adapt: str | None = None, of_steps: str = "") -> Choice:
    """A network and a way to adapt it to this set.

    weights, adapt  what was asked for already, which is kept
    of_steps        a setting that was given and that a probe cannot have

    Raises UsageError when what was asked for leaves nothing to choose.
    """
    train = source.splits.get("train") or next(iter(source.splits.values()))
    if train.objects is not None and train.labels is None:
        marked = [split.objects for split in source.splits.values() if split.objects is not None]
        return _detector(train, train.objects, marked, weights, adapt)
    if train.targets is not None and train.labels is None:
        if weights or adapt not in (None, "scratch"):
            raise UsageError(
                "what makes images of images starts from scratch here; or choose a --model and a --backbone"
            )
        why = f"{len(train):,} pairs of images: a U-Net, from scratch"
        return Choice("unet_image", None, "scratch", why)
    if train.label_maps is not None and train.labels is None:
        return _segmenter(train, train.label_maps, weights, adapt)
    per_class = len(labels_of(train)) / max(1, len(source.classes))
    side, is_grey = _looks(train)
    # Before some are held out, where the set is not divided yet.
    kind = "training images" if "val" in source.splits else "images"
    seen = f"{len(train):,} {kind}, {per_class:,.0f} a class, {side} pixels a side"
    network, near = _start()
    if weights is not None and weights != "imagenet":
        raise UsageError(f"{weights} is a file of one network; say which with --model")
    if adapt == "scratch" or (adapt is None and weights is None and (side < TINY or not near)):
        return Choice(*_from_scratch(adapt, side, is_grey and len(train) < FEW_GLYPHS, seen))
    _check_start(adapt, weights, near)
    few = "are few: a probe does about as well as fine-tuning, in seconds"
    many = "are enough to fine-tune on"
    reason = f"{adapt} was asked for" if adapt else f"these {few if per_class < FEW else many}"
    way = adapt or ("probe" if per_class < FEW else "finetune")
    if way == "probe" and not adapt and of_steps:
        way, reason = "finetune", f"{reason}; but {of_steps} was given, which a probe has no use for"
    where = "the best of those at hand" if near else "a good start on this machine"
    return Choice(network, "imagenet", way, f"{seen}: {reason}; its ImageNet weights are {where}")


def _start(without: str | None = None) -> tuple[str, bool]:
    """The best network to start from whose ImageNet weights are at hand, else the best; and whether they are.

    without  how the names of those begin that will not do
    """
    names = ON_A_GPU if torch.accelerator.is_available() else ON_A_PROCESSOR
    fit = [name for name in names if without is None or not name.startswith(without)]
    near = [name for name in fit if at_hand(name, "imagenet")]
    return (near or fit)[0], bool(near)


def _check_start(adapt: str | None, weights: str | Path | None, near: bool, fetched: str = "imagenet") -> None:
    if not near and weights is None:
        raise UsageError(f"{adapt} needs weights to start from, and none are at hand; give --weights {fetched}")


def _detector(
    train: Split, objects: Objects, marked: Sequence[Objects], weights: str | Path | None, adapt: str | None
) -> Choice:
    """A detector that finds all that is marked, from the best weights at hand: boxes in one look, the rest in two.

    marked  the things of all splits: a network that finds masks is judged by masks everywhere
    """
    some = [own for own in marked if own.count]
    jointed = objects.keypoints is not None and all(own.keypoints is not None for own in some)
    masked = bool(some) and all(own.masks is not None and own.masks.masked().all() for own in some)
    kind = "keypointrcnn" if jointed else "maskrcnn" if masked else "fasterrcnn"
    finds = {"keypointrcnn": "boxes and keypoints", "maskrcnn": "boxes and masks", "fasterrcnn": "boxes"}[kind]
    seen = f"{len(train):,} training images with {objects.count:,} things, {finds}"
    if weights is not None and weights not in ("imagenet", "coco"):
        raise UsageError(f"{weights} is a file of one network; say which with --model")
    if adapt == "probe":
        raise UsageError("a probe tells classes of whole images apart, and here things are marked; choose finetune")
    published, one_look = f"{kind}_resnet50_fpn", kind == "fasterrcnn"
    wanted = weights == "coco" or (weights is None and not one_look and at_hand(published, "coco"))
    if adapt != "scratch" and wanted:
        why = f"{seen}: its COCO weights know many things already"
        return Choice(published, "coco", adapt or "finetune", why)
    model = "aligned" if one_look else f"{kind}_fpn"
    backbone, near = _start()
    if adapt == "scratch" or (weights is None and not near and adapt is None):
        fetched = "imagenet" if one_look else "coco"
        reason = "scratch was asked for" if adapt else f"no weights are at hand; --weights {fetched} fetches some"
        return Choice(
            model, None, "scratch", f"{seen}: {reason}", {"backbone": "mobilenet_v2" if one_look else "resnet18"}
        )
    _check_start(adapt, weights, near, "coco or imagenet")
    reason = "one look finds them soonest" if one_look else "no COCO weights are at hand"
    why = f"{seen}: {reason}; its backbone starts from ImageNet's weights"
    return Choice(model, "imagenet", adapt or "finetune", why, {"backbone": backbone})


def _segmenter(train: Split, maps: LabelMaps, weights: str | Path | None, adapt: str | None) -> Choice:
    """A U-Net, on the best backbone at hand."""
    seen = f"{len(train):,} training images, {len(maps.classes)} classes of pixels"
    if weights is not None and weights != "imagenet":
        raise UsageError(f"{weights} is a file of one network; say which with --model")
    if adapt == "probe":
        raise UsageError("a probe tells classes of whole images apart, and here pixels are marked; choose finetune")
    # SqueezeNet's filters lose their borders: its maps do not lie on the image.
    backbone, near = _start(without="squeezenet")
    if adapt == "scratch" or (weights is None and not near and adapt is None):
        reason = "scratch was asked for" if adapt else "no weights are at hand; --weights imagenet fetches some"
        return Choice("unet", None, "scratch", f"{seen}: {reason}", {"backbone": "resnet18"})
    _check_start(adapt, weights, near)
    why = f"{seen}: a U-Net keeps fine outlines, and its way down starts from ImageNet's weights"
    return Choice("unet", "imagenet", adapt or "finetune", why, {"backbone": backbone})


def _from_scratch(adapt: str | None, side: int, are_glyphs: bool, seen: str) -> tuple[str, None, str, str]:
    """A network of a size that fits the images, and why no weights."""
    model = "resnet18" if side >= TINY else "lenet" if are_glyphs else "resnet20_cifar"
    reason = "these are too small for networks of photographs"
    if side >= TINY:
        reason = "no ImageNet weights are at hand; --weights imagenet fetches some, which does better with most sets"
    return model, None, "scratch", f"{seen}: {'scratch was asked for' if adapt else reason}"


def _looks(split: Split) -> tuple[int, bool]:
    """The middle one of the shorter sides of some images, and whether all of these are grey."""
    sides, grey = [], True
    for index in np.linspace(0, len(split) - 1, min(len(split), LOOKED_AT)).astype(int).tolist():
        try:
            picture = split.open(index)
            pixels = picture.pixels("RGB", shrink=max(1.0, min(picture.size) / 32))[0]
        except DecodeError:  # fit says so in a moment
            continue
        sides.append(min(picture.size))
        grey = grey and bool(np.ptp(pixels, axis=2).max() == 0)
    return (int(np.median(sides)) if sides else 0), grey
