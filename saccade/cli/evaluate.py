"""saccade evaluate RUN DATA"""

from pathlib import Path
from typing import Annotated

import typer

from saccade.cli.options import AsJson, Data, SkipBroken

# What is said of each class: fields of the metric's rows, and what they are called.
COLUMNS = {
    "classify": (("name", "count", "error", "precision"), ("class", "images", "error %", "precision %")),
    "detect": (("name", "count", "AP", "AP50"), ("class", "things", "AP of boxes %", "AP50 %")),
    "segment": (("name", "count", "iou", "accuracy"), ("class", "pixels", "IoU %", "accuracy %")),
}


def evaluate(
    run: Annotated[Path, typer.Argument(help="A run directory.")],
    data: Data,
    batch_size: Annotated[int, typer.Option(min=1, help="Images at a time; the numbers do not depend on it.")] = 32,
    workers: Annotated[int, typer.Option(min=0, help="Processes that load images.")] = 0,
    turned: Annotated[
        bool, typer.Option("--turned", help="Segmenters: the mean of all eight ways to look, mirrored and turned.")
    ] = False,
    tile: Annotated[
        int | None, typer.Option(help="Segmenters: larger images are looked at in squares of so many pixels a side.")
    ] = None,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Write an HTML report there.")] = None,
    skip_broken: SkipBroken = False,
    as_json: AsJson = False,
) -> None:
    """Measure a trained model on labelled images."""
    from saccade.cli.printing import print_json, print_metrics, print_table
    from saccade.predict import load
    from saccade.recipes.evaluate import evaluate as run_evaluate
    from saccade.recipes.page import write_evaluation_report

    predictor = load(run, turned=turned, tile=tile)
    evaluation = run_evaluate(predictor, data, batch_size=batch_size, workers=workers, skip_broken=skip_broken)
    if out is not None:
        write_evaluation_report(out, predictor.card, evaluation, data)
    if as_json:
        print_json(evaluation.as_dict() | ({"report": str(out)} if out else {}))
        return
    print_metrics({"split": evaluation.split, "images": len(evaluation.metric.outcomes)} | evaluation.result)
    print()
    if predictor.card.task in COLUMNS:
        of_row, header = COLUMNS[predictor.card.task]
        rows = [tuple(getattr(row, name) for name in of_row) for row in evaluation.metric.per_class()]
        print_table(header, rows)
    if evaluation.note:
        print(f"note: {evaluation.note}")
    for line in evaluation.skipped:
        print(f"skipped {line}")
    if out is not None:
        print(f"report: {out}")
