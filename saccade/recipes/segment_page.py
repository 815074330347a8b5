"""What a report says of a segmenter: how well each class is met, what is taken for what, and the worst images."""

import math

import numpy as np

from saccade.data.source import maps_of
from saccade.geometry.view import View
from saccade.metrics.segmentation import Outcome, SegmentationMetric
from saccade.recipes.evaluate import Evaluation
from saccade.recipes.thumbnail import small_view
from saccade.report import detection_plots, plots
from saccade.report.draw import draw, enlargement, legend
from saccade.report.page import LARGE, Block, Cell, Fact, Figure, Pictures, Prose, Section, Table, Tile
from saccade.structures import VOID, LabelMap
from saccade.wording import counted

WORST = 12  # images that a person can take in
RIGHT_OR_WRONG = ("background", "wrong")
GAP = 6  # pixels between the pictures of a tile


def headline(evaluation: Evaluation) -> list[Fact]:
    """The numbers a person wants first."""
    result, metric = evaluation.result, evaluation.metric
    images = counted(len(metric.outcomes), f"{evaluation.split} image", f"{evaluation.split} images")
    return [
        Fact("mean IoU", _percent(result["mean_iou"]), f"of {len(metric.classes)} classes, in {images}"),
        Fact("pixel error", _percent(result["pixel_error"]), "pixels of another class than was said"),
        Fact("boundary F", _percent(result["boundary_f"]), "how well outlines are met"),
    ]


def outcome_sections(evaluation: Evaluation, suffix: str) -> list[Section]:
    """The worst images, class by class, and what is taken for what."""
    return [
        Section(f"Where it errs most{suffix}", [_worst(evaluation)]),
        Section(f"Class by class{suffix}", _classes(evaluation.metric)),
        Section(f"What is taken for what{suffix}", [_confusion(evaluation.metric)]),
    ]


def _percent(value: float) -> str:
    return "nothing is marked" if math.isnan(value) else f"{value:.1f} %"


def _classes(metric: SegmentationMetric) -> list[Block]:
    rows = metric.per_class()
    total = sum(row.count for row in rows) or 1
    cells: list[tuple[Cell, ...]] = [
        (row.name, 100 * row.count / total, row.iou, row.accuracy, row.boundary_f) for row in rows
    ]
    header = ("class", "share of the pixels %", "IoU %", "accuracy %", "boundary F %")
    known = {row.name: row.iou for row in rows if not math.isnan(row.iou)}
    caption = "Pixels both true and said to be of a class, of those that are either."
    return [Figure(detection_plots.shares(known, "IoU, percent"), caption), Table(header, cells)]


def _confusion(metric: SegmentationMetric) -> Figure:
    """In whole percent of each true class; void that was said is in no column."""
    counts = metric.confusion()[:, :-1].astype(np.float64)
    matrix = np.rint(100 * counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)).astype(np.int64)
    return Figure(
        plots.confusion(matrix, metric.classes),
        "Each row is a true class, each column what its pixels were said to be, in percent of the row. "
        "Blue is right, orange is wrong; the stronger, the larger the share.",
    )


def image_iou(outcome: Outcome, classes: int) -> float:
    """The mean IoU of the classes that are in one image, in percent; nan where all is void."""
    matrix = np.zeros((classes, classes + 1), dtype=np.int64)
    matrix.flat[outcome.pairs] = outcome.counts
    truth, said, right = matrix.sum(axis=1), matrix[:, :-1].sum(axis=0), np.diag(matrix)
    there = truth > 0
    return float(100 * np.mean(right[there] / (truth + said - right)[there])) if there.any() else math.nan


def _worst(evaluation: Evaluation) -> Pictures | Prose:
    """The images with the lowest IoU: what they show, what is true, what was said, and where that is wrong."""
    metric: SegmentationMetric = evaluation.metric
    ious = {id: image_iou(outcome, len(metric.classes)) for id, outcome in metric.outcomes.items()}
    index = {id: number for number, id in enumerate(evaluation.data.ids)}
    ranked = sorted((id for id in ious if not math.isnan(ious[id])), key=lambda id: (ious[id], index[id]))
    if not ranked:
        return Prose("Nobody says of any pixel what it is.")
    tiles = [
        Tile(_four(evaluation, index[id]), id, f"mean IoU of its classes {ious[id]:.1f} %", good=ious[id] > 99)
        for id in ranked[:WORST]
    ]
    caption = (
        f"The {len(tiles)} of {counted(len(ranked), 'image', 'images')} with the lowest IoU. Above the image, and "
        f"where it was taken for something else; below the truth, and what was said. Hatched grey is void."
    )
    return Pictures(tiles, caption, large=True)


def _four(evaluation: Evaluation, index: int) -> np.ndarray:
    """Image, errors, truth and prediction of one image, with their legend, [h, w, 3] uint8."""
    picture, classes = evaluation.data.open(index), evaluation.metric.classes
    truth, said = maps_of(evaluation.data)[index].labels, evaluation.predictor.look(picture)
    assert isinstance(said, LabelMap)
    said = said.labels
    view = small_view(picture.size, LARGE // 2)
    pixels, reduced = evaluation.data.open(index).pixels("RGB", view.shrink)
    image = view.apply(pixels, reduced=reduced)
    wrong = np.where(truth == VOID, VOID, truth != said).astype(np.uint8)
    grey = np.repeat(image.mean(axis=2, keepdims=True), 3, axis=2).astype(np.uint8)
    sides = [
        draw(image, LabelMap(np.zeros(view.size, dtype=np.uint8), RIGHT_OR_WRONG), RIGHT_OR_WRONG, legend=False),
        draw(grey, LabelMap(_small(wrong, view), RIGHT_OR_WRONG), RIGHT_OR_WRONG, legend=False),
        draw(image, LabelMap(_small(truth, view), classes), classes, legend=False),
        draw(image, LabelMap(_small(said, view), classes), classes, legend=False),
    ]
    height, width = sides[0].shape[:2]
    sheet = np.full((2 * height + GAP, 2 * width + GAP, 3), 255, dtype=np.uint8)
    for place, side in enumerate(sides):
        top, left = place // 2 * (height + GAP), place % 2 * (width + GAP)
        sheet[top : top + height, left : left + width] = side
    present = np.union1d(truth, said).tolist()
    letters = 11 * enlargement((view.size[0], view.size[1]))
    below = legend(present, classes, sheet.shape[1], min(letters, 16))
    return sheet if below is None else np.vstack([sheet, below])


def _small(labels: np.ndarray, view: View) -> np.ndarray:
    return view.apply(labels[..., None], interpolation="nearest", fill=(VOID,))[..., 0]
