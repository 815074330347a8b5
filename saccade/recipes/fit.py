"""The main job: from a data set to a trained, tested and reported model."""

import hashlib
import json
import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.utils import broadcast_object_list
from pydantic import ValidationError

from saccade import checkpoint, keyed
from saccade.backbones.contract import Backbone
from saccade.backbones.probed import Probed
from saccade.backbones.weights import Weights, resolve
from saccade.checkpoint import Card
from saccade.data import source as sources
from saccade.data.augment import Augmentation
from saccade.data.check import broken_images
from saccade.data.findings import DataError
from saccade.data.hold_out import hold_out
from saccade.data.loader import Dataset, Loader
from saccade.data.source import Source, Split, labels_of
from saccade.errors import SaccadeError, UsageError
from saccade.layers.preprocess import Preprocess
from saccade.models import builder, create_model, create_probe, create_task
from saccade.predict import load
from saccade.recipes.evaluate import Evaluation, evaluate_split
from saccade.recipes.page import write_fit_report
from saccade.recipes.probe import probe
from saccade.structures import Preprocessing
from saccade.training import precision
from saccade.training.config import AUGMENTATIONS, FREE_TO_CHANGE, Config, configure, explain_validation
from saccade.training.display import Display
from saccade.training.freeze import freeze_all_but
from saccade.training.loop import Job, Position, train
from saccade.training.optim import make_optimiser, parameter_groups


@dataclass(frozen=True)
class Run:
    """What `fit` leaves behind.

    path     the run directory
    metrics  as in metrics.json
    first    whether this is the first of several processes, the one that speaks
    """

    path: Path
    metrics: dict[str, Any]
    first: bool = True

    @property
    def report(self) -> Path:
        """The page."""
        return self.path / "report.html"


def fit(
    data: str | Path | Source,
    *,
    model: str,
    out: str | Path,
    weights: str | Path | None = None,
    adapt: str | None = None,
    resume: bool = False,
    skip_broken: bool = False,
    **options: Any,
) -> Run:
    """Train a network on a data set, evaluate it, and write the report.

    data         a folder of class folders or of idx files, or "digits" or "photos"; or what was read from one
    model        a name of `list_models()`
    out          the run directory; it must not exist yet, unless `resume`
    weights      what to start from: "imagenet", or the path of a .safetensors or .pth file
    adapt        "scratch"; or from weights "probe": a linear classifier on the features, in seconds; "freeze": the
                 new last layer alone, on augmented images; or "finetune": first that alone, then all, the encoder
                 slowly. None fine-tunes when there are weights
    resume       go on from the last checkpoint in `out`
    skip_broken  leave out images that cannot be read, and list them, instead of stopping before step 0
    options      settings, by the names of `saccade.training.config.Config`: epochs, batch_size, learning_rate, seed ...

    Raises UsageError for an unknown name or setting, SaccadeError when the data or the machine does not allow it.
    """
    adapt = adapt or ("finetune" if weights else "scratch")
    config = configure(adapt, options)
    builder(model)
    _check_adapt(adapt, weights)
    found = resolve(model, weights) if weights else None
    # Without the hint, accelerate takes processes that have no GPU for strangers to each other.
    accelerator = Accelerator(cpu=not torch.accelerator.is_available())
    display = Display(quiet=not accelerator.is_main_process)
    source = data if isinstance(data, Source) else sources.read(data)
    folder = Path(out)
    _check_folder(folder, resume)
    # Nobody makes the folder before all have looked at it.
    accelerator.wait_for_everyone()

    source, skipped = _without_broken(source, skip_broken, accelerator)
    source = hold_out(source, config.hold_out, config.seed)
    _check_classes(source)
    config = config.model_copy(update={"augmentation": _augmentation(config, source.splits["train"])})
    torch.manual_seed(keyed.seed(config.seed, "weights"))
    network = _network(model, source, found, adapt, config)
    preprocessing = _preprocessing(network, found, config)
    _check_size(network, preprocessing)
    card = Card(
        model, "classify", source.classes, preprocessing, adapt, str(weights or ""), source.name, config.model_dump()
    )
    _begin_folder(folder, card, resume, accelerator)

    job = _job(card, network, source, config, folder, accelerator, display)
    display.say(_announcement(source, network, model, config, accelerator))
    position = probe(job, network) if isinstance(network, Probed) else train(job, resume)
    evaluations = _evaluate_saved(folder, source, config, accelerator)
    metrics = _metrics(evaluations, position)
    if accelerator.is_main_process:
        checkpoint.write(folder / "metrics.json", json.dumps(metrics, indent=2) + "\n")
        write_fit_report(folder, card, evaluations, job.train.dataset, metrics, skipped)
    accelerator.wait_for_everyone()
    return Run(folder, metrics, accelerator.is_main_process)


def _announcement(source: Source, network: Backbone, name: str, config: Config, accelerator: Accelerator) -> str:
    """What is about to happen, in one line."""
    images = ", ".join(f"{len(split):,} {split_name}" for split_name, split in source.splits.items())
    millions = sum(parameter.numel() for parameter in network.parameters()) / 1e6
    dtype = str(precision.choose(config.precision, accelerator.device)).removeprefix("torch.")
    return (
        f"{source.name}: {images} images, {len(source.classes)} classes; {name}, {millions:.2f} million weights; "
        f"{dtype} on {accelerator.num_processes} x {accelerator.device.type}"
    )


def _check_adapt(adapt: str, weights: str | Path | None) -> None:
    if adapt == "scratch" and weights:
        raise UsageError(
            f"scratch starts from random weights, but {weights} was given; use adapt=finetune with weights"
        )
    if adapt != "scratch" and not weights:
        raise UsageError(f"{adapt} needs weights to start from; give --weights imagenet or the path of a file")


def _check_folder(folder: Path, resume: bool) -> None:
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"{folder} is a file; --out needs a folder")
    if checkpoint.is_untouched(folder):
        return
    if not resume:
        raise UsageError(f"{folder} exists and is not empty; --resume to go on with it, or choose another --out")
    if not (folder / "model.toml").exists():
        raise UsageError(f"{folder} is not empty and not a run directory (it has no model.toml); choose another --out")


def _begin_folder(folder: Path, card: Card, resume: bool, accelerator: Accelerator) -> None:
    """The run directory with its model.toml."""
    if resume:
        _check_same(folder, card)
    if accelerator.is_main_process:
        checkpoint.make_folder(folder)
        checkpoint.save_card(folder, card)
    accelerator.wait_for_everyone()


def _without_broken(source: Source, skip: bool, accelerator: Accelerator) -> tuple[Source, list[str]]:
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


def _check_classes(source: Source) -> None:
    counts = np.bincount(labels_of(source.splits["train"]), minlength=len(source.classes))
    if len(source.classes) < 2:
        raise DataError(
            f"{source.name} has only the class {', '.join(source.classes)!r}; telling classes apart needs two"
        )
    for name, count in zip(source.classes, counts, strict=True):
        if not count:
            raise DataError(f"the class {name!r} has no image left to train on; add some, or remove it")


def _augmentation(config: Config, train: Split) -> Augmentation | str:
    """What "auto" means for this data: small grey images are taken for glyphs, whose mirror image is another thing."""
    choice = config.augmentation
    if isinstance(choice, Augmentation):
        return choice
    if choice == "auto":
        picture = train.open(0)
        pixels = picture.pixels("RGB")[0]
        is_grey = np.ptp(pixels, axis=2).max() == 0
        choice = "glyph" if is_grey and max(picture.size) <= 64 else "photo"
    return AUGMENTATIONS.get(choice, choice)


def _network(name: str, source: Source, found: Weights | None, adapt: str, config: Config) -> Backbone:
    channels = found.preprocessing.channels if found and found.preprocessing else None
    if adapt == "probe":
        return create_probe(name, len(source.classes), found, channels, config.layer)
    return create_model(name, len(source.classes), weights=found, in_channels=channels)


def _preprocessing(network: Backbone, found: Weights | None, config: Config) -> Preprocessing:
    """The weights' own, else what the network was designed for; at another size the crop keeps its share."""
    if found and found.preprocessing:
        own = found.preprocessing
    else:
        own = Preprocessing.standard(network.input_size, "L" if network.in_channels == 1 else "RGB")
    if config.size is None:
        return own
    return replace(own, size=(config.size, config.size), resize=round(config.size * own.resize / min(own.size)))


@torch.no_grad()
def _check_size(network: Backbone, preprocessing: Preprocessing) -> None:
    """One look at nothing, before anything is written: not every network can take every size."""
    try:
        network.eval()(torch.zeros(1, preprocessing.channels, *preprocessing.size))
    except RuntimeError as error:
        height, width = preprocessing.size
        raise UsageError(
            f"the network cannot look at {height} x {width} pixels; choose a larger size ({error})"
        ) from None


def _check_same(folder: Path, card: Card) -> None:
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


def _job(
    card: Card,
    network: Backbone,
    source: Source,
    config: Config,
    folder: Path,
    accelerator: Accelerator,
    display: Display,
) -> Job:
    train, val = source.splits["train"], source.splits.get("val")
    network.to(accelerator.device)
    frozen = freeze_all_but(network, network.head) if card.adapt == "freeze" else []
    augmentation = config.augmentation if isinstance(config.augmentation, Augmentation) else None
    data = Dataset(train, card.preprocessing, augmentation, config.seed)
    return Job(
        model=network,
        task=create_task(
            card.task,
            card.classes,
            label_smoothing=config.label_smoothing,
            class_weights=_class_weights(source) if config.class_weights == "balanced" else None,
        ),
        preprocess=Preprocess(card.preprocessing),
        optimiser=make_optimiser(parameter_groups(network, network.head, config), config),
        train=_loader(data, config, accelerator, shuffle=True),
        val=None if val is None else _loader(Dataset(val, card.preprocessing), config, accelerator, shuffle=False),
        config=config,
        folder=folder,
        accelerator=accelerator,
        fingerprint=_fingerprint(source),
        display=display,
        frozen=frozen,
    )


def _loader(data: Dataset, config: Config, accelerator: Accelerator, shuffle: bool) -> Loader:
    workers = config.workers
    if workers is None:
        # Images in memory need no decoding, and a process would cost more than it gives.
        workers = 0 if isinstance(data.split.images, np.ndarray) else max(1, (os.cpu_count() or 1) - 1)
    rank, world = accelerator.process_index, accelerator.num_processes
    return Loader(data, config.batch_size, shuffle=shuffle, workers=workers, rank=rank, world=world)


def _class_weights(source: Source) -> list[float]:
    """The inverse of how many training images a class has; their mean over the images is 1."""
    counts = np.bincount(labels_of(source.splits["train"]), minlength=len(source.classes))
    return (counts.sum() / (len(counts) * counts)).tolist()


def _fingerprint(source: Source) -> str:
    """Of the images' names, labels and sizes in bytes; what stands in a file of the same size is not read again."""
    digest = hashlib.blake2b(digest_size=16)
    for name in ("train", "val"):
        if name in source.splits:
            digest.update("\n".join([name, *source.splits[name].ids]).encode())
            digest.update(labels_of(source.splits[name]).tobytes())
            digest.update(repr(source.splits[name].bytes).encode())
    return digest.hexdigest()


def _evaluate_saved(folder: Path, source: Source, config: Config, accelerator: Accelerator) -> dict[str, Evaluation]:
    """Measure the file that is shipped, not the network that happens to be in memory."""
    predictor = load(folder, str(accelerator.device))
    evaluations = {}
    for name in ("val", "test"):
        if name in source.splits:
            data = Dataset(source.splits[name], predictor.card.preprocessing)
            loader = _loader(data, config, accelerator, shuffle=False)
            evaluations[name] = evaluate_split(predictor, loader, name, accelerator)
    return evaluations


def _metrics(evaluations: dict[str, Evaluation], position: Position) -> dict[str, Any]:
    """What metrics.json holds: the first split's numbers under their own names, others' after the split's name."""
    metrics: dict[str, Any] = {}
    for number, (name, evaluation) in enumerate(evaluations.items()):
        prefix = f"{name}/" if number else ""
        metrics |= {"split": name} if not number else {}
        metrics |= {f"{prefix}{key}": value for key, value in evaluation.result.items()}
    return metrics | {"epochs": position.epoch, "timing/seconds": round(position.seconds, 3)}
