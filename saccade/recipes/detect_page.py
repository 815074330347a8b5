"""What a report says of a detector: how much is found, why it errs, and the images where it errs most."""

from collections.abc import Sequence

import numpy as np

from saccade.geometry.masks import runs_from_compressed
from saccade.metrics.coco import CROWD, DIFFICULT, KINDS, Outcome
from saccade.metrics.counting import in_order
from saccade.metrics.detection import DetectionMetric
from saccade.metrics.detection_errors import CAUSES, Errors, Judged, errors_of, judge
from saccade.recipes.evaluate import Evaluation
from saccade.recipes.thumbnail import small_view
from saccade.report import detection_plots
from saccade.report.draw import draw
from saccade.report.page import LARGE, Block, Cell, Fact, Figure, Pictures, Prose, Section, Table, Tile
from saccade.structures import Instances
from saccade.wording import counted

WORST, CURVES = 12, 12  # images and lines that a person can take in
SURE = 0.5  # what is drawn and counted: finds of at least this score
NAMES = {"box": "boxes", "mask": "masks", "keypoints": "keypoints"}


def headline(evaluation: Evaluation) -> list[Fact]:
    """The numbers a person wants first."""
    result, metric = evaluation.result, evaluation.metric
    things = sum(row.count for row in metric.per_class(metric.kinds[0]))
    detail = f"{counted(things, 'thing', 'things')} in {len(metric.outcomes)} {evaluation.split} images"
    facts = []
    for kind in metric.kinds:
        prefix = KINDS[kind][1]
        facts.append(Fact(f"AP of {NAMES[kind]}", _percent(result[f"{prefix}/AP"]), detail))
        detail = ""
    facts.append(Fact("AP50 of boxes", _percent(result["box/AP50"]), "an overlap of a half is enough"))
    return facts


def outcome_sections(evaluation: Evaluation, suffix: str) -> list[Section]:
    """Why it errs, what is found class by class, and the images where it errs most."""
    metric = evaluation.metric
    errors = errors_of([metric.outcomes[id] for id in in_order(metric.outcomes)], len(metric.classes), SURE)
    return [
        Section(f"Where it errs most{suffix}", [_worst(evaluation)]),
        Section(f"Why it errs{suffix}", _causes(errors)),
        Section(f"Class by class{suffix}", [_table(metric)]),
        Section(f"How much is found, at what price{suffix}", _curves(metric)),
        Section(f"All numbers{suffix}", [_numbers(evaluation)], open=False),
    ]


def _percent(value: float) -> str:
    return "nothing to find" if np.isnan(value) else f"{value:.1f} %"


def _causes(errors: Errors) -> list[Block]:
    rows: list[tuple[Cell, ...]] = [
        (cause, meaning, errors.counts[cause], round(errors.costs[cause], 2)) for cause, meaning in CAUSES.items()
    ]
    caption = (
        f"Finds of a score of {SURE:g} and more, and things these missed, each put down to one cause, by boxes at an "
        f"overlap of 0.5; and what AP50 ({_percent(errors.AP50)}) would gain if this cause alone were mended, finds "
        f"of every score counted."
    )
    return [
        Figure(detection_plots.costs(errors.costs), "AP50 that each cause of errors costs."),
        Table(("cause", "what it means", "how many", "AP50 lost"), rows, caption),
    ]


def _table(metric: DetectionMetric) -> Table:
    """AP of each class and kind."""
    header, columns = ["class", "things"], []
    for kind in metric.kinds:
        header += [f"AP of {NAMES[kind]}", f"AP50 of {NAMES[kind]}"]
        columns.append(metric.per_class(kind))
    rows: list[tuple[Cell, ...]] = []
    for own in zip(*columns, strict=True):
        rows.append((own[0].name, own[0].count, *(value for row in own for value in (row.AP, row.AP50))))
    return Table(tuple(header), rows)


def _curves(metric: DetectionMetric) -> list[Block]:
    """Precision against recall at an overlap of 0.5, and how sure it is of what is right and wrong."""
    curves = metric.curves("box")[:, 0]
    known = [k for k, row in enumerate(metric.per_class("box")) if row.count]
    if not known:
        return [Prose("There is nothing to find in these images.")]
    known.sort(key=lambda k: -metric.per_class("box")[k].count)
    shown = known[:CURVES]
    caption = "Precision of the boxes at each recall, at an overlap of 0.5."
    if len(known) > CURVES:
        caption += f" The {CURVES} most frequent of {len(known)} classes."
    judged = [judge(outcome) for outcome in metric.outcomes.values()]
    scores = np.concatenate([one.scores for one in judged])
    right = np.concatenate([one.causes == "" for one in judged])
    return [
        Figure(detection_plots.precision_recall(curves[shown], [metric.classes[k] for k in shown]), caption),
        Figure(detection_plots.scores(scores[right], scores[~right]), "How sure it was of what was right and wrong."),
    ]


def _numbers(evaluation: Evaluation) -> Table:
    return Table(("number", "percent"), [(name, value) for name, value in evaluation.result.items()])


def _worst(evaluation: Evaluation) -> Pictures | Prose:
    """The images with the most errors, truth and finds side by side."""
    metric: DetectionMetric = evaluation.metric
    index = {id: number for number, id in enumerate(evaluation.data.ids)}
    judged = {id: judge(outcome, SURE) for id, outcome in metric.outcomes.items()}
    wrong = {id: _wrongs(one) for id, one in judged.items()}
    ranked = sorted((id for id in wrong if wrong[id]), key=lambda id: (-len(wrong[id]), index[id]))
    if not ranked:
        return Prose(f"Nowhere: every thing was found, and nothing else, at a score of {SURE:g}.")
    tiles = []
    for id in ranked[:WORST]:
        kinds = {cause: wrong[id].count(cause) for cause in CAUSES if cause in wrong[id]}
        detail = ", ".join(f"{count} {cause}" for cause, count in kinds.items())
        tiles.append(Tile(_side_by_side(evaluation, index[id], metric.outcomes[id]), id, detail, good=False))
    caption = (
        f"{len(tiles)} of {counted(len(ranked), 'image', 'images')} with errors, those with the most first. Left the "
        f"truth, right what was found with a score of {SURE:g} or more."
    )
    return Pictures(tiles, caption, large=True)


def _wrongs(one: Judged) -> list[str]:
    """The causes of what is wrong with one image, once for each."""
    return [str(cause) for cause in one.causes if cause] + ["missed"] * int(one.missed.sum())


def _side_by_side(evaluation: Evaluation, index: int, outcome: Outcome) -> np.ndarray:
    """Truth and finds on the image, [h, w, 3] uint8."""
    metric: DetectionMetric = evaluation.metric
    view = small_view(outcome.size, LARGE // 2)
    pixels, reduced = evaluation.data.open(index).pixels("RGB", view.shrink)
    image = view.apply(pixels, reduced=reduced)
    sides = []
    for things in (_truth(outcome), _found(outcome)):
        sides.append(draw(image, things.moved(view), metric.classes, metric.skeleton))
    gap = np.full((sides[0].shape[0], 6, 3), 255, dtype=np.uint8)
    return np.concatenate([sides[0], gap, sides[1]], axis=1)


def _truth(outcome: Outcome) -> Instances:
    truth = outcome.truth
    return Instances(
        size=outcome.size,
        boxes=truth.boxes,
        labels=truth.labels.astype(np.int64),
        masks=_masks(truth.masks, outcome),
        keypoints=truth.keypoints,
        crowd=truth.standing == CROWD,
        difficult=truth.standing == DIFFICULT,
    )


def _found(outcome: Outcome) -> Instances:
    found = outcome.found
    everything = Instances(
        size=outcome.size,
        boxes=found.boxes,
        labels=found.labels.astype(np.int64),
        scores=found.scores,
        masks=_masks(found.masks, outcome),
        keypoints=found.keypoints,
    )
    return everything.take(found.scores >= SURE)


def _masks(masks: Sequence[bytes] | None, outcome: Outcome) -> tuple | None:
    return None if masks is None else tuple(runs_from_compressed(one, outcome.size) for one in masks)
