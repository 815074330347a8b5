"""The command line: one file a verb, its imports inside the verb, so that `saccade --help` answers at once."""

import sys

import typer

from saccade.cli import (
    anchors,
    augment,
    check,
    convert,
    curve,
    doctor,
    evaluate,
    explain,
    fit,
    models,
    predict,
    serve,
    show,
)
from saccade.errors import SaccadeError, UsageError

app = typer.Typer(
    name="saccade",
    help="Train, test, explain and ship convolutional networks, from a folder of images to a model you understand.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.command()(fit.fit)
app.command()(evaluate.evaluate)
app.command()(curve.curve)
app.command()(predict.predict)
app.command()(explain.explain)
app.command()(serve.serve)
app.command()(check.check)
app.command()(show.show)
app.command()(convert.convert)
app.command()(augment.augment)
app.command()(anchors.anchors)
app.command()(models.models)
app.command()(doctor.doctor)


def main() -> None:
    """Run a verb. Exit codes: 0 good, 1 the answer is no, 2 used wrongly, 130 interrupted."""
    try:
        app()
    except UsageError as error:
        _fail(error, 2)
    except SaccadeError as error:
        _fail(error, 1)
    except OSError as error:
        _fail(SaccadeError(f"{error.filename}: {error.strerror}" if error.filename else str(error)), 1)


def _fail(error: SaccadeError, code: int) -> None:
    print(f"error: {error}", file=sys.stderr)
    sys.exit(code)
