"""The report of a run, and of an evaluation: the result first, then what a person would ask next."""

import json
import platform
from collections.abc import Sequence
from dataclasses import asdict
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import tomli_w

from saccade import __version__, checkpoint
from saccade.checkpoint import Card
from saccade.data.loader import Dataset
from saccade.recipes import classify_page, detect_page, image_page, segment_page
from saccade.recipes.evaluate import Evaluation
from saccade.report import plots
from saccade.report.draw import draw
from saccade.report.page import (
    Block,
    Cell,
    Code,
    Fact,
    Figure,
    Listing,
    Page,
    Pictures,
    Prose,
    Section,
    Table,
    Tile,
    render,
)
from saccade.structures import ColourMap, Instances, LabelMap
from saccade.training.display import clock

SAMPLES = 16
RATE, EPOCHS = "rate/", 20
OF_TASK = {"classify": classify_page, "detect": detect_page, "segment": segment_page, "image_to_image": image_page}
RATE_TEST = "learning_rates.json"  # of a run directory: what a range test saw


def write_fit_report(
    folder: Path,
    card: Card,
    evaluations: dict[str, Evaluation],
    train: Dataset,
    metrics: dict[str, Any],
    skipped: Sequence[str],
) -> None:
    """report.html of a run directory.

    evaluations  by split; the first is the one the headline tells
    train        the training images as the network saw them
    metrics      as in metrics.json
    skipped      images that were left out, with the reason
    """
    lines = [json.loads(line) for line in (folder / "log.jsonl").read_text(encoding="utf-8").splitlines()]
    facts, sections = [], []
    of_task = OF_TASK[card.task]
    for number, evaluation in enumerate(evaluations.values()):
        facts += of_task.headline(evaluation) if number == 0 else of_task.headline(evaluation)[:1]
    detail, section = _probing(lines[0]) if card.adapt == "probe" else _training(lines)
    if (folder / RATE_TEST).exists():
        section.blocks.append(_rate_test(json.loads((folder / RATE_TEST).read_text(encoding="utf-8"))))
    facts.append(Fact("training", clock(metrics["timing/seconds"]), detail))
    sections.append(section)
    for name, evaluation in evaluations.items():
        sections += of_task.outcome_sections(evaluation, f" ({name})" if len(evaluations) > 1 else "")
    sections.append(Section("As the network saw them", [_samples(train, card.classes)]))
    if skipped:
        sections.append(
            Section(
                "Left out", [Prose(f"{len(skipped)} images or annotations could not be used."), Listing(list(skipped))]
            )
        )
    sections.append(_settings(card))
    title = f"{card.model} on {Path(card.data).name}"
    starts = {
        "finetune": f"fine-tuned from {card.weights}",
        "freeze": f"a new last layer on {card.weights}",
        "probe": f"a probe on the features of {card.weights}",
    }
    start = starts.get(card.adapt, "trained from scratch")
    of = "" if card.task == "image_to_image" else f" of {len(card.classes)} classes"
    subtitle = f"{start} on {len(train):,} images{of}"
    checkpoint.write(folder / "report.html", render(Page(title, subtitle, facts, sections)))


def _training(lines: list[dict[str, Any]]) -> tuple[str, Section]:
    """How the steps went, in a few words and as curves."""
    speed = sum(line["timing/images_per_second"] for line in lines) / max(1, len(lines))
    blocks: list[Block] = [Figure(plots.curves(lines), "Loss, the result on held-out images, learning rate.")]
    parts = [key for key in lines[0] if key.startswith(RATE)]
    if any(len({line[part] for part in parts}) > 1 for line in lines):
        blocks.append(_groups(lines, parts))
    return f"{len(lines)} epochs, {speed:.0f} images/s", Section("Training", blocks)


def _rate_test(test: dict[str, Any]) -> Figure:
    """What the learning rate was chosen from."""
    caption = (
        f"The loss of single steps while the learning rate rises, and its running average; {test['ended']}. "
        f"Chosen: {test['found']:.2g}, a tenth of where the average is lowest."
    )
    return Figure(plots.rate_test(test["rates"], test["losses"], test["smoothed"], test["found"]), caption)


def _groups(lines: list[dict[str, Any]], parts: list[str]) -> Table:
    """The learning rate of each part of the network, epoch by epoch; of many epochs, those where one begins to learn
    and some between."""
    begins = {next((n for n, line in enumerate(lines) if line[part] > 0), 0) for part in parts}
    shown = begins | {int(n) for n in np.linspace(0, len(lines) - 1, min(len(lines), EPOCHS))}
    rows: list[tuple[Cell, ...]] = [
        (lines[n]["epoch"] + 1, *(f"{lines[n][part]:.3g}" if lines[n][part] else "held" for part in parts))
        for n in sorted(shown)
    ]
    caption = "Learning rates at the end of the epoch. A part that is held is as it was, its norms included."
    return Table(("epoch", *(part.removeprefix(RATE) for part in parts)), rows, caption)


def _probing(line: dict[str, Any]) -> tuple[str, Section]:
    """What the features cost and how the regularisation was chosen, in a few words and as a table."""
    looked = f"{line['features/computed']:,} features computed, {line['features/stored']:,} from the store"
    caption = f"Each training image predicted by a classifier that did not see it; {line['strength']:g} was taken."
    header = ("regularisation", "error on held-out folds, %", "loss")
    rows: list[tuple[Cell, ...]] = [(f"{strength:g}", error, loss) for strength, error, loss in line["folds"]]
    few = Prose("A class has one image only: nothing could be held out, and the regularisation is a guess.")
    return looked, Section("Regularisation", [Table(header, rows, caption) if rows else few])


def write_evaluation_report(path: Path, card: Card, evaluation: Evaluation, data: str) -> None:
    """The page of one evaluation, at `path`."""
    of_task = OF_TASK[card.task]
    sections = of_task.outcome_sections(evaluation, "")
    if evaluation.skipped:
        sections.append(Section("Left out", [Listing(list(evaluation.skipped))]))
    sections.append(_settings(card))
    subtitle = f"{len(evaluation.data):,} images, split {evaluation.split!r}"
    page = Page(f"{card.model} on {data}", subtitle, of_task.headline(evaluation), sections)
    checkpoint.make_folder(path.parent)
    checkpoint.write(path, render(page))


def _samples(train: Dataset, classes: tuple[str, ...]) -> Pictures:
    """Training images of the first epoch, evenly over the data, after augmentation, with what is marked in them."""
    tiles, objects = [], train.split.objects
    for index in np.linspace(0, len(train) - 1, min(SAMPLES, len(train))).astype(int):
        sample = train[0, int(index)]
        image = sample.image
        if isinstance(sample.target, ColourMap):
            image = np.concatenate(
                [image if image.shape[2] == 3 else image.repeat(3, axis=2), sample.target.pixels], axis=1
            )
        elif isinstance(sample.target, Instances | LabelMap):
            shown = image if image.shape[2] == 3 else image.repeat(3, axis=2)
            image = draw(shown, sample.target, classes, objects.skeleton if objects else None)
        tiles.append(Tile(image, str(train.split.ids[index])))
    (height, width), own = train.preprocessing.size, train.preprocessing
    sizes = {
        "crop": f"{height} x {width}",
        "stretched": f"all of it, stretched to {height} x {width}",
        "whole": f"about {own.resize} on the shorter side",
        "windows": f"windows of at most {height} x {width}",
    }
    size = sizes[own.frame]
    return Pictures(tiles, f"Training images after augmentation, {size} pixels.", large=train.known != "labels")


def _settings(card: Card) -> Section:
    """Everything needed to do it again."""
    settings = checkpoint.without_none(asdict(card) | {"classes": ", ".join(card.classes)})
    names = ("torch", "numpy", "pillow", "opencv-python-headless", "accelerate", "safetensors")
    versions = {"saccade": __version__, "python": platform.python_version()} | {n: metadata.version(n) for n in names}
    return Section(
        "Settings and versions",
        [
            Code(tomli_w.dumps(settings)),
            Table(("what", "version"), list(versions.items()), f"{platform.system()} {platform.machine()}"),
        ],
        open=False,
    )
