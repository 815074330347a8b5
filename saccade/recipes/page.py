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
from saccade.data.decode import Picture
from saccade.data.loader import Dataset
from saccade.geometry.view import View
from saccade.recipes.evaluate import Evaluation
from saccade.report import plots
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
from saccade.training.display import clock

MISTAKES, SAMPLES, TILE = 24, 16, 256
RATE, EPOCHS = "rate/", 20
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
    for number, evaluation in enumerate(evaluations.values()):
        facts += headline(evaluation) if number == 0 else headline(evaluation)[:1]
    detail, section = _probing(lines[0]) if card.adapt == "probe" else _training(lines)
    if (folder / RATE_TEST).exists():
        section.blocks.append(_rate_test(json.loads((folder / RATE_TEST).read_text(encoding="utf-8"))))
    facts.append(Fact("training", clock(metrics["timing/seconds"]), detail))
    sections.append(section)
    for name, evaluation in evaluations.items():
        sections += outcome_sections(evaluation, f" ({name})" if len(evaluations) > 1 else "")
    sections.append(Section("As the network saw them", [_samples(train)]))
    if skipped:
        sections.append(
            Section("Left out", [Prose(f"{len(skipped)} images could not be read."), Listing(list(skipped))])
        )
    sections.append(_settings(card))
    title = f"{card.model} on {Path(card.data).name}"
    starts = {
        "finetune": f"fine-tuned from {card.weights}",
        "freeze": f"a new last layer on {card.weights}",
        "probe": f"a probe on the features of {card.weights}",
    }
    start = starts.get(card.adapt, "trained from scratch")
    subtitle = f"{start} on {len(train):,} images of {len(card.classes)} classes"
    checkpoint.write(folder / "report.html", render(Page(title, subtitle, facts, sections)))


def _training(lines: list[dict[str, Any]]) -> tuple[str, Section]:
    """How the steps went, in a few words and as curves."""
    speed = sum(line["timing/images_per_second"] for line in lines) / max(1, len(lines))
    blocks: list[Block] = [Figure(plots.curves(lines), "Loss, error on held-out images, learning rate.")]
    if parts := [key for key in lines[0] if key.startswith(RATE)]:
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
    sections = outcome_sections(evaluation, "")
    if evaluation.skipped:
        sections.append(Section("Left out", [Listing(list(evaluation.skipped))]))
    sections.append(_settings(card))
    subtitle = f"{len(evaluation.data):,} images, split {evaluation.split!r}"
    page = Page(f"{card.model} on {data}", subtitle, headline(evaluation), sections)
    checkpoint.make_folder(path.parent)
    checkpoint.write(path, render(page))


def headline(evaluation: Evaluation) -> list[Fact]:
    """The numbers a person wants first."""
    result, outcomes = evaluation.result, evaluation.metric.outcomes
    wrong = sum(outcome.rank > 0 for outcome in outcomes.values())
    facts = [
        Fact("top-1 error", f"{result['top1_error']:.2f} %", f"{wrong} of {len(outcomes)} {evaluation.split} images")
    ]
    if "top5_error" in result:
        facts.append(Fact("top-5 error", f"{result['top5_error']:.2f} %", "the truth is not among the best five"))
    calibration = result["calibration_error"]
    facts.append(Fact("calibration error", f"{calibration:.1f} %", "between how sure it is and how often it is right"))
    return facts


def outcome_sections(evaluation: Evaluation, suffix: str) -> list[Section]:
    """What is mistaken for what, class by class, and the mistakes themselves."""
    metric = evaluation.metric
    table = Table(
        ("class", "images", "error %", "precision %", "recall %"),
        [(row.name, row.count, row.error, row.precision, row.recall) for row in metric.per_class()],
    )
    confusion = Figure(
        plots.confusion(metric.confusion(), metric.classes),
        "Each row is a true class, each column what was said. Blue is right, orange is wrong; "
        "the stronger, the larger the share of the row.",
    )
    calibration = Figure(
        plots.calibration(metric.calibration()),
        "How often it is right, against how sure it was. On the diagonal it knows what it knows.",
    )
    return [
        Section(f"The most confident mistakes{suffix}", [_mistakes(evaluation)]),
        Section(f"What is taken for what{suffix}", [confusion]),
        Section(f"Class by class{suffix}", [table]),
        Section(f"Does it know when it is wrong?{suffix}", [calibration]),
    ]


def _mistakes(evaluation: Evaluation) -> Pictures | Prose:
    outcomes, classes = evaluation.metric.outcomes, evaluation.metric.classes
    index = {id: number for number, id in enumerate(evaluation.data.ids)}
    wrong = [(id, outcome) for id, outcome in outcomes.items() if outcome.rank > 0]
    if not wrong:
        return Prose("None: every image was recognised.")
    wrong.sort(key=lambda item: (-item[1].score, index[item[0]]))
    tiles = []
    for id, outcome in wrong[:MISTAKES]:
        said, truth = classes[outcome.predicted], classes[outcome.label]
        title = f"{said}, {100 * outcome.score:.0f} % sure"
        tiles.append(Tile(_thumbnail(evaluation.data.open(index[id])), title, f"is {truth}: {id}", good=False))
    return Pictures(tiles, f"{len(tiles)} of {len(wrong)} mistakes, the surest first.")


def _thumbnail(picture: Picture) -> np.ndarray:
    """The whole picture [h, w, 3] uint8, at most TILE pixels long."""
    view = View.identity(picture.size)
    factor = TILE / max(picture.size)
    if factor < 1:
        view = view.resized((max(1, round(factor * picture.size[0])), max(1, round(factor * picture.size[1]))))
    pixels, reduced = picture.pixels("RGB", view.shrink)
    return view.apply(pixels, reduced=reduced)


def _samples(train: Dataset) -> Pictures:
    """Training images of the first epoch, evenly over the data, after augmentation."""
    tiles = []
    for index in np.linspace(0, len(train) - 1, min(SAMPLES, len(train))).astype(int):
        sample = train[0, int(index)]
        tiles.append(Tile(sample.image, str(train.split.ids[index])))
    height, width = train.preprocessing.size
    return Pictures(tiles, f"Training images after augmentation, {height} x {width} pixels.")


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
