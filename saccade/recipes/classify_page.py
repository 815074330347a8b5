"""What a report says of a classifier: the numbers, what is taken for what, and the mistakes themselves."""

from saccade.recipes.evaluate import Evaluation
from saccade.recipes.thumbnail import thumbnail
from saccade.report import plots
from saccade.report.page import Fact, Figure, Pictures, Prose, Section, Table, Tile

MISTAKES = 24


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
        tiles.append(Tile(thumbnail(evaluation.data.open(index[id])), title, f"is {truth}: {id}", good=False))
    return Pictures(tiles, f"{len(tiles)} of {len(wrong)} mistakes, the surest first.")
