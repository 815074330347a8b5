"""saccade predict RUN PATH..."""

from pathlib import Path
from typing import Annotated

import typer

from saccade.cli.options import AsJson, SkipBroken


def predict(
    run: Annotated[Path, typer.Argument(help="A run directory.")],
    paths: Annotated[list[Path], typer.Argument(help="Images, or folders of images.")],
    top: Annotated[int, typer.Option(min=1, help="How many classes to show.")] = 5,
    skip_broken: SkipBroken = False,
    as_json: AsJson = False,
) -> None:
    """Say what is on pictures: a line each (with --json, a line of JSON each)."""
    import sys

    from saccade.cli.printing import print_json
    from saccade.data.decode import DecodeError
    from saccade.recipes.predict import predict_all

    broken = 0
    for path, prediction in predict_all(run, paths):
        if isinstance(prediction, DecodeError):
            broken += 1
            print(f"error: {prediction}", file=sys.stderr)
            if as_json:
                print_json({"path": str(path), "error": prediction.reason})
        elif as_json:
            print_json({"path": str(path)} | prediction.as_dict(top))
        else:
            print(f"{path}  " + "  ".join(f"{name} {100 * score:.1f} %" for name, score in prediction.top(top)))
    if broken:
        print(f"{broken} images could not be read", file=sys.stderr)
        if not skip_broken:
            raise typer.Exit(1)
