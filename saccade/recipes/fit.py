"""The main job: from a data set to a trained, tested and reported model."""

import atexit
import json
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator

from saccade import checkpoint, keyed, precision
from saccade.backbones.probed import Probed
from saccade.checkpoint import Card
from saccade.data import source as sources
from saccade.data.findings import Findings
from saccade.data.hold_out import hold_out
from saccade.data.source import Source, classes_of
from saccade.errors import SaccadeError, UsageError
from saccade.models import TASKS, Model, options_of
from saccade.predict import load
from saccade.recipes.evaluate import Evaluation, evaluate_split
from saccade.recipes.fit_asked import Asked, ask
from saccade.recipes.fit_checks import (
    check_batch,
    check_finds,
    check_folder,
    check_same,
    check_sizes,
    check_task,
    missing_classes,
    skeleton_of,
    without_broken,
)
from saccade.recipes.fit_job import (
    anchors_for,
    as_evaluated,
    augmentation_for,
    make_job,
    make_loader,
    network_for,
    preprocessing_for,
)
from saccade.recipes.page import RATE_TEST, write_fit_report
from saccade.recipes.probe import probe
from saccade.training.config import Config
from saccade.training.display import Display
from saccade.training.find_rate import RateTest
from saccade.training.find_rate import find_rate as range_test
from saccade.training.loop import Job, Position, train
from saccade.wording import finite


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

    data         a file or folder of any format, or "digits", "scenes" or "photos"; or what was read from one
    out          the run directory; it must not exist yet, unless `resume`
    model        a name of `list_models()`; None looks at the data and chooses (`saccade.recipes.choose`). What the
                 network is for decides what of the data is learnt: a class an image, where things are, a class a pixel,
                 or what an image should become
    weights      what to start from: "imagenet", "coco", the path of a .safetensors or .pth file, or a run directory,
                 whose network and options are taken where nothing else is said
    adapt        "scratch"; or from weights "probe": a linear classifier on the features, in seconds; "freeze": all but
                 the encoder, of a classifier the new last layer, on augmented images; or "finetune": of a classifier
                 first that alone, then all, the encoder slowly; of a detector all but the first stage and the norms.
                 None fine-tunes when a model and weights are given
    resume       go on from the last checkpoint in `out`
    skip_broken  leave out images and annotations that cannot be used, and list them, instead of stopping before step 0
    find_rate    try learning rates first, and take the one that the range test finds
    quiet        say nothing of how it goes
    options      settings, by the names of `saccade.training.config.Config`: epochs, batch_size, learning_rate, seed ...

    Raises UsageError for an unknown name or setting, SaccadeError when the data or the machine does not allow it.
    """
    folder, findings = Path(out), Findings(strict=not skip_broken)
    asked = ask(data, folder, model, weights, adapt, resume, find_rate, options, findings)
    accelerator, display = _machine(quiet)
    if asked.why:
        display.say(asked.why)
    source = asked.data if isinstance(asked.data, Source) else sources.read(asked.data, findings)
    check_folder(folder, resume)
    # Nobody makes the folder before all have looked at it.
    accelerator.wait_for_everyone()

    source, left_out = _to_learn_from(source, asked, skip_broken, accelerator, display)
    network, card, config = _to_train(source, asked, display)
    job = make_job(card, network, source, config, folder, accelerator, display)
    check_batch(network, job.train)
    test = None
    if find_rate:
        card, job, test = _with_found_rate(card, job, resume)
    with _begun_folder(folder, card, resume, accelerator):
        if test is not None:
            checkpoint.write(folder / RATE_TEST, json.dumps(asdict(test)))
        display.say(_announcement(source, card, network, accelerator))
        try:
            position = probe(job, network) if isinstance(network, Probed) else train(job, resume)
        except SaccadeError:
            if accelerator.is_main_process:
                checkpoint.forget_beginning(folder)
            raise
        evaluations = _evaluate_saved(folder, source, config, accelerator)
        metrics = _metrics(evaluations, position)
        if accelerator.is_main_process:
            checkpoint.write(folder / "metrics.json", json.dumps(finite(metrics), indent=2) + "\n")
            skipped = [str(finding) for finding in findings.kept] + left_out
            write_fit_report(folder, card, evaluations, job.train.dataset, metrics, skipped)
    accelerator.wait_for_everyone()
    return Run(folder, metrics, accelerator.is_main_process, evaluations)


def _machine(quiet: bool) -> tuple[Accelerator, Display]:
    # Without the hint, accelerate takes processes that have no GPU for strangers to each other.
    accelerator = Accelerator(cpu=not torch.accelerator.is_available())
    if accelerator.num_processes > 1:
        atexit.register(_leave_group)
    return accelerator, Display(quiet=quiet or not accelerator.is_main_process)


def _leave_group() -> None:
    """The threads of a group that is left standing are torn down with the process, now and then by an abort."""
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


def _to_learn_from(
    source: Source, asked: Asked, skip_broken: bool, accelerator: Accelerator, display: Display
) -> tuple[Source, list[str]]:
    """The data with something to validate on and without what cannot be used, which is listed."""
    for note in source.notes:
        display.say(f"note: {note}")
    known = TASKS[asked.task].known
    source, left_out = without_broken(source, skip_broken, accelerator, known)
    source = hold_out(source, asked.config.hold_out, asked.config.seed, known)
    check_task(asked.model, asked.task, source)
    for note in missing_classes(source, known):
        display.say(f"note: {note}")
    return source, left_out


def _to_train(source: Source, asked: Asked, display: Display) -> tuple[Model, Card, Config]:
    """The network for this data as it starts, what is to be known of it, and the settings with what the data says."""
    train, built = source.splits["train"], dict(asked.config.network)
    classes = classes_of(source, TASKS[asked.task].known)
    skeleton = skeleton_of(source) if "num_keypoints" in options_of(asked.model) else None
    built |= {"num_keypoints": len(skeleton.names)} if skeleton else {}
    built |= anchors_for(asked.model, asked.found, built, train, asked.config, display)
    config = asked.config.model_copy(update={"augmentation": augmentation_for(asked.config, train, asked.task)})
    torch.manual_seed(keyed.seed(config.seed, "weights"))
    network = network_for(asked.model, len(classes), asked.found, asked.adapt, config, built)
    check_finds(network, source)
    preprocessing = preprocessing_for(network, asked.found, config)
    check_sizes(network, preprocessing, config.multi_scale)
    card = Card(
        model=asked.model,
        task=asked.task,
        classes=classes,
        preprocessing=preprocessing,
        adapt=asked.adapt,
        weights=str(asked.weights or ""),
        data=source.name,
        config=config.model_dump(),
        options=built,
        skeleton=skeleton,
    )
    return network, card, config


def _announcement(source: Source, card: Card, network: Model, accelerator: Accelerator) -> str:
    """What is about to happen, in one line."""
    images = ", ".join(f"{len(split):,} {split_name}" for split_name, split in source.splits.items())
    millions = sum(parameter.numel() for parameter in network.parameters()) / 1e6
    dtype = str(precision.choose(card.config["precision"], accelerator.device)).removeprefix("torch.")
    what = "colours" if card.task == "image_to_image" else "classes"
    return (
        f"{source.name}: {images} images, {len(card.classes)} {what}; {card.model}, {millions:.2f} million weights; "
        f"{dtype} on {accelerator.num_processes} x {accelerator.device.type}"
    )


@contextmanager
def _begun_folder(folder: Path, card: Card, resume: bool, accelerator: Accelerator) -> Iterator[None]:
    """The run directory with its model.toml, in which nobody else trains."""
    if resume:
        check_same(folder, card)
    with ExitStack() as stack:
        if accelerator.is_main_process:
            checkpoint.make_folder(folder)
            stack.enter_context(checkpoint.held(folder))
            checkpoint.save_card(folder, card)
        accelerator.wait_for_everyone()
        yield


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


def _evaluate_saved(folder: Path, source: Source, config: Config, accelerator: Accelerator) -> dict[str, Evaluation]:
    """Measure the file that is shipped, not the network that happens to be in memory."""
    predictor = load(folder, str(accelerator.device))
    evaluations = {}
    for name in ("val", "test"):
        if name in source.splits:
            data = as_evaluated(source.splits[name], predictor.card, predictor.task)
            loader = make_loader(data, config, accelerator, shuffle=False)
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
