"""The pointing game: does the peak of an explanation lie on the thing that was recognised?

Zhang, Lin, Brandt, Shen and Sclaroff, "Top-down Neural Attention by Excitation Backprop", ECCV 2016, section 4.1: a hit
where the strongest point lies on a thing of the class, else a miss.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from saccade.backbones.weights import class_names, coco_in_imagenet
from saccade.data import source as sources
from saccade.data.findings import Findings
from saccade.data.source import Source, Split
from saccade.errors import UsageError, unknown
from saccade.predict import Predictor
from saccade.progress import Progress
from saccade.recipes.explain_pictures import ATTRIBUTIONS, Explained, importance
from saccade.recipes.explain_question import Asked, Question, ask
from saccade.report.heat import overlay
from saccade.report.page import Prose, Table, Tile
from saccade.structures import Classification

SEEN = 0.25  # of a box must lie in what the network sees of the image
SHOWN = 12  # pictures of the game


@dataclass
class _Score:
    """Hits and looks of one method."""

    hits: list[bool] = field(default_factory=list)
    refused: str = ""


def show_pointing(
    predictor: Predictor, data: str | Source, trust: str, methods: str | None = None, split: str | None = None
) -> Explained:
    """methods  names, separated by commas; None for all that this network allows
    split    of the data; None for the first of test, val, all, train that says where things are"""
    source = data if isinstance(data, Source) else sources.read(data, Findings(strict=False))
    pictures = _with_objects(source, split)
    alike = _labels_by_class(source.classes, predictor.card.classes)
    names = methods.split(",") if methods else list(ATTRIBUTIONS)
    for name in names:
        if name not in ATTRIBUTIONS:
            raise unknown("method that points called", name, ATTRIBUTIONS)
    scores = {name: _Score() for name in names}
    centre, covered, tiles = _Score(), [], []
    with Progress("pointing", len(pictures)) as progress:
        for index in range(len(pictures)):
            progress.advance()
            question = ask(predictor, pictures.images[index], Asked())  # pyright: ignore[reportArgumentType]
            boxes = _boxes(question, pictures, index, alike)
            if not len(boxes):
                continue
            height, width = question.image.shape[:2]
            centre.hits.append(_inside((height / 2, width / 2), boxes))
            covered.append(_share(boxes, (height, width)))
            for name, score in scores.items():
                _point(question, name, score, boxes)
            pointing = [name for name in names if not scores[name].refused]
            if pointing and len(tiles) < SHOWN:
                tiles.append(_tile(question, pointing[0], boxes))
    if not covered:
        raise UsageError(f"of {len(pictures)} pictures the network recognises none of the things that are marked")
    header = ("method", "hits %", "pictures")
    rows = [(name.replace("_", " "), *_row(score)) for name, score in scores.items() if not score.refused]
    rows += [
        ("the middle of the picture", *_row(centre)),
        ("a random point", 100 * float(np.mean(covered)), len(covered)),
    ]
    words = (
        f"{len(covered)} of {len(pictures)} pictures of {source.name}, whose thing {predictor.card.model} recognises"
    )
    table = Table(header, rows, "How often the peak lies in a box of the thing.")
    refused = [Prose(f"{name}: {score.refused}") for name, score in scores.items() if score.refused]
    return Explained("pointing", words, tiles, trust, None, [table, *refused])


def _with_objects(source: Source, split: str | None) -> Split:
    if split is not None and split not in source.splits:
        raise unknown(f"split of {source.name}", split, source.splits)
    for name in (split,) if split else ("test", "val", "all", "train"):
        if name in source.splits and source.splits[name].objects is not None:
            return source.splits[name]
    raise UsageError(f"{source.name} does not say where things are, and pointing asks whether they are met")


def _labels_by_class(things: Sequence[str], classes: Sequence[str]) -> list[set[int]]:
    """For each class of things the labels of the network that are such a thing."""
    of_coco = coco_in_imagenet() if tuple(classes) == class_names("imagenet") else {}
    found = [
        set(of_coco.get(name, ())) | ({list(classes).index(name)} if name in classes else set()) for name in things
    ]
    if not any(found):
        raise UsageError(
            f"the network knows none of the things that are marked: {', '.join(things[:5])}; it knows "
            f"{', '.join(classes[:5])}"
        )
    return found


def _boxes(question: Question, split: Split, index: int, alike: Sequence[set[int]]) -> np.ndarray:
    """[n, 4] xyxy in pixels of what the network sees: the things that it names; none where it names no thing here."""
    if not isinstance(question.said, Classification) or split.objects is None:
        raise UsageError("pointing is for networks that name one class an image")
    truth = split.objects[index]
    mine = np.array([question.said.label in alike[label] for label in truth.labels], dtype=bool)
    boxes = question.view.move_boxes(truth.boxes[mine])
    height, width = question.image.shape[:2]
    inside = np.clip(boxes, 0, [width, height] * 2)
    areas, whole = (np.prod(one[:, 2:] - one[:, :2], axis=1) for one in (inside, boxes))
    return inside[areas >= SEEN * np.maximum(whole, 1e-9)]


def _point(question: Question, name: str, score: _Score, boxes: np.ndarray) -> None:
    if score.refused:
        return
    try:
        values = importance(question, name).numpy()
    except UsageError as error:
        score.refused = str(error)
        return
    # What is the same everywhere points nowhere.
    score.hits.append(bool(values.max() > values.min()) and _inside(peak(values), boxes))


def peak(values: np.ndarray) -> tuple[float, float]:
    """(row, column) of the largest of [H, W] float, in continuous pixels; where several are as large, their middle."""
    rows, columns = np.nonzero(values == values.max())
    return float(rows.mean()) + 0.5, float(columns.mean()) + 0.5


def _inside(point: tuple[float, float], boxes: np.ndarray) -> bool:
    y, x = point
    return bool(((boxes[:, 0] <= x) & (x < boxes[:, 2]) & (boxes[:, 1] <= y) & (y < boxes[:, 3])).any())


def _share(boxes: np.ndarray, size: tuple[int, int]) -> float:
    """How much of the picture the boxes cover together."""
    covered = np.zeros(size, dtype=bool)
    for left, top, right, bottom in np.rint(boxes).astype(int).tolist():
        covered[top:bottom, left:right] = True
    return float(covered.mean())


def _row(score: _Score) -> tuple[float, int]:
    return (100 * float(np.mean(score.hits)) if score.hits else float("nan"), len(score.hits))


def _tile(question: Question, name: str, boxes: np.ndarray) -> Tile:
    values = importance(question, name).numpy()
    picture, point = overlay(question.image, values), peak(values)
    for box in boxes:
        marked = Question(**{**vars(question), "mark": box})
        picture = marked.marked(picture)
    row, column = (int(part) for part in point)
    picture[max(0, row - 3) : row + 4, max(0, column - 3) : column + 4] = (255, 255, 255)
    return Tile(picture, question.words, name.replace("_", " "), _inside(point, boxes))
