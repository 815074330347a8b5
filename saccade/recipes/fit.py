"""The main job: from a data set to a trained, tested and reported model."""

import hashlib
import json
import os
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator

from saccade import checkpoint, keyed
from saccade.backbones.contract import Backbone
from saccade.backbones.probed import Probed
from saccade.backbones.stages import stages_of
from saccade.backbones.weights import Weights, resolve
from saccade.checkpoint import Card
from saccade.data import source as sources
from saccade.data.augment import Augmentation
from saccade.data.hold_out import hold_out
from saccade.data.loader import Dataset, Loader
from saccade.data.policies import POLICIES
from saccade.data.source import Source, Split, labels_of
from saccade.errors import SaccadeError, UsageError
from saccade.layers.preprocess import Preprocess
from saccade.models import builder, create_model, create_probe, create_task
from saccade.predict import load
from saccade.recipes.choose import Choice, choose
from saccade.recipes.evaluate import Evaluation, evaluate_split
from saccade.recipes.fit_checks import (
    check_adapt,
    check_classes,
    check_folder,
    check_same,
    check_size,
    without_broken,
)
from saccade.recipes.page import RATE_TEST, write_fit_report
from saccade.recipes.probe import probe
from saccade.structures import Preprocessing
from saccade.training import precision
from saccade.training.config import Config, configure
from saccade.training.display import Display
from saccade.training.find_rate import RateTest
from saccade.training.find_rate import find_rate as range_test
from saccade.training.freeze import plan
from saccade.training.loop import Job, Position, train
from saccade.training.optim import make_optimiser, parameter_groups


@dataclass(frozen=True)
class Run:
    """What `fit` leaves behind.

    path         the run directory
    metrics      as in metrics.json
    first        whether this is the first of several processes, the one that speaks
    evaluations  by split: "val" and "test", as far as there are any
    """

    path: Path
    metrics: dict[str, Any]
    first: bool = True
    evaluations: dict[str, Evaluation] = field(default_factory=dict)

    @property
    def report(self) -> Path:
        """The page."""
        return self.path / "report.html"


def fit(
    data: str | Path | Source,
    *,
    out: str | Path,
    model: str | None = None,
    weights: str | Path | None = None,
    adapt: str | None = None,
    resume: bool = False,
    skip_broken: bool = False,
    find_rate: bool = False,
    quiet: bool = False,
    **options: Any,
) -> Run:
    """Train a network on a data set, evaluate it, and write the report.

    data         a folder of class folders or of idx files, or "digits" or "photos"; or what was read from one
    out          the run directory; it must not exist yet, unless `resume`
    model        a name of `list_models()`; None looks at the data and chooses (`saccade.recipes.choose`)
    weights      what to start from: "imagenet", or the path of a .safetensors or .pth file
    adapt        "scratch"; or from weights "probe": a linear classifier on the features, in seconds; "freeze": the
                 new last layer alone, on augmented images; or "finetune": first that alone, then all, the encoder
                 slowly. None fine-tunes when a model and weights are given
    resume       go on from the last checkpoint in `out`
    skip_broken  leave out images that cannot be read, and list them, instead of stopping before step 0
    find_rate    try learning rates first, and take the one that the range test finds
    quiet        say nothing of how it goes
    options      settings, by the names of `saccade.training.config.Config`: epochs, batch_size, learning_rate, seed ...

    Raises UsageError for an unknown name or setting, SaccadeError when the data or the machine does not allow it.
    """
    folder, chosen = Path(out), None
    if model is None:
        data = data if isinstance(data, Source) else sources.read(data)
        chosen = _begun(folder) if resume else None
        chosen = chosen or choose(data, weights, adapt)
        model, weights, adapt = chosen.model, chosen.weights, chosen.adapt
    adapt = adapt or ("finetune" if weights else "scratch")
    config = configure(adapt, options)
    builder(model)
    check_adapt(adapt, weights)
    if find_rate and (adapt == "probe" or options.get("learning_rate") is not None):
        why = "a probe takes no steps" if adapt == "probe" else f"{options['learning_rate']} was given already"
        raise UsageError(f"trying learning rates has no use here: {why}; leave one of the two out")
    found = resolve(model, weights) if weights else None
    # Without the hint, accelerate takes processes that have no GPU for strangers to each other.
    accelerator = Accelerator(cpu=not torch.accelerator.is_available())
    display = Display(quiet=quiet or not accelerator.is_main_process)
    if chosen is not None:
        display.say(f"chosen: {chosen.adapt} with {chosen.model}. {chosen.why}")
    source = data if isinstance(data, Source) else sources.read(data)
    check_folder(folder, resume)
    # Nobody makes the folder before all have looked at it.
    accelerator.wait_for_everyone()

    source, skipped = without_broken(source, skip_broken, accelerator)
    source = hold_out(source, config.hold_out, config.seed)
    check_classes(source)
    config = config.model_copy(update={"augmentation": _augmentation(config, source.splits["train"])})
    torch.manual_seed(keyed.seed(config.seed, "weights"))
    network = _network(model, source, found, adapt, config)
    preprocessing = _preprocessing(network, found, config)
    check_size(network, preprocessing)
    card = Card(
        model, "classify", source.classes, preprocessing, adapt, str(weights or ""), source.name, config.model_dump()
    )
    job = _job(card, network, source, config, folder, accelerator, display)
    test = None
    if find_rate:
        card, job, test = _with_found_rate(card, job, resume)
    _begin_folder(folder, card, resume, accelerator)
    if test is not None:
        checkpoint.write(folder / RATE_TEST, json.dumps(asdict(test)))
    display.say(_announcement(source, network, model, config, accelerator))
    position = probe(job, network) if isinstance(network, Probed) else train(job, resume)
    evaluations = _evaluate_saved(folder, source, config, accelerator)
    metrics = _metrics(evaluations, position)
    if accelerator.is_main_process:
        checkpoint.write(folder / "metrics.json", json.dumps(metrics, indent=2) + "\n")
        write_fit_report(folder, card, evaluations, job.train.dataset, metrics, skipped)
    accelerator.wait_for_everyone()
    return Run(folder, metrics, accelerator.is_main_process, evaluations)


def _begun(folder: Path) -> Choice | None:
    """What a run was begun with; None where it has not begun."""
    if not (folder / "model.toml").exists():
        return None
    card = checkpoint.load_card(folder)
    return Choice(card.model, card.weights or None, card.adapt, "what was begun")


def _announcement(source: Source, network: Backbone, name: str, config: Config, accelerator: Accelerator) -> str:
    """What is about to happen, in one line."""
    images = ", ".join(f"{len(split):,} {split_name}" for split_name, split in source.splits.items())
    millions = sum(parameter.numel() for parameter in network.parameters()) / 1e6
    dtype = str(precision.choose(config.precision, accelerator.device)).removeprefix("torch.")
    return (
        f"{source.name}: {images} images, {len(source.classes)} classes; {name}, {millions:.2f} million weights; "
        f"{dtype} on {accelerator.num_processes} x {accelerator.device.type}"
    )


def _begin_folder(folder: Path, card: Card, resume: bool, accelerator: Accelerator) -> None:
    """The run directory with its model.toml."""
    if resume:
        check_same(folder, card)
    if accelerator.is_main_process:
        checkpoint.make_folder(folder)
        checkpoint.save_card(folder, card)
    accelerator.wait_for_everyone()


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
    return POLICIES.get(choice, choice)


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
    stages = stages_of(network)
    freeze = plan(stages, card.adapt, config)
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
        optimiser=make_optimiser(parameter_groups(network, stages, config, freeze), config),
        train=_loader(data, config, accelerator, shuffle=True),
        val=None if val is None else _loader(Dataset(val, card.preprocessing), config, accelerator, shuffle=False),
        config=config,
        folder=folder,
        accelerator=accelerator,
        fingerprint=_fingerprint(source),
        display=display,
        freeze=freeze,
    )


def _with_found_rate(card: Card, job: Job, resume: bool) -> tuple[Card, Job, RateTest | None]:
    """The same with the learning rate that a range test finds, and the test; resumed, with the one it found then."""
    if job.accelerator.num_processes > 1:
        raise UsageError("learning rates are tried by one process; find one alone, then give it as --learning-rate")
    test = None
    if resume and (job.folder / "model.toml").exists():
        rate = checkpoint.load_card(job.folder).config["learning_rate"]
    else:
        test = range_test(job)
        if test.found is None:
            raise SaccadeError(f"no learning rate made the loss fall ({test.ended}); give one as --learning-rate")
        job.display.say(f"learning rate {test.found:.2g}: a tenth of where the loss was lowest; {test.ended}")
        rate = test.found
    config = job.config.model_copy(update={"learning_rate": rate})
    return replace(card, config=config.model_dump()), replace(job, config=config), test


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
