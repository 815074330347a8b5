"""saccade predict RUN PATH..."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from saccade.cli.options import AsJson, SkipBroken

if TYPE_CHECKING:
    from saccade.predict import Predictor


def predict(
    run: Annotated[str, typer.Argument(help="A run directory; with --weights a name that `saccade models` lists.")],
    paths: Annotated[list[Path], typer.Argument(help="Images, films, or folders of these.")],
    top: Annotated[int, typer.Option(min=1, help="How many classes or things to name.")] = 5,
    score: Annotated[float, typer.Option(min=0, max=1, help="Detectors: leave out what is less sure than this.")] = 0.5,
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="A folder for the pictures, drawn on, and files of what was said of them."),
    ] = None,
    precision: Annotated[
        str, typer.Option(help="auto: bfloat16, where the machine is built for it; or float32.")
    ] = "float32",
    tile: Annotated[
        int | None, typer.Option(help="Segmenters: larger images are looked at in squares of so many pixels a side.")
    ] = None,
    probabilities: Annotated[
        bool, typer.Option("--probabilities", help="Segmenters, with --out: keep those of all classes, as .npz.")
    ] = False,
    turned: Annotated[
        bool, typer.Option("--turned", help="Segmenters: the mean of all eight ways to look, mirrored and turned.")
    ] = False,
    weights: Annotated[str | None, typer.Option(help="Published weights, such as imagenet.")] = None,
    skip_broken: SkipBroken = False,
    as_json: AsJson = False,
) -> None:
    """Say what is on pictures: a line each (with --json, a line of JSON each)."""
    import sys

    from saccade.cli.printing import print_json
    from saccade.data.decode import DecodeError
    from saccade.predict import load
    from saccade.recipes.predict import Drawn, as_dict, find_files, in_words, predict_all
    from saccade.structures import Classification, ColourMap

    files, films = find_files(paths)
    if films:
        from saccade.recipes.predict_film import check_places

        check_places(films, out)
    predictor = load(run, precision=precision, tile=tile, probabilities=probabilities, weights=weights, turned=turned)
    # Before any film, so that a folder that will not do is said at once.
    drawn = Drawn(out, predictor, files, score) if out is not None and files else None
    broken = sum(_film(predictor, path, out, top, score, as_json) for path in films)
    if films and not files:
        raise typer.Exit(1 if broken and not skip_broken else 0)
    classes = predictor.card.classes
    for path, prediction in predict_all(predictor, files):
        if isinstance(prediction, DecodeError):
            broken += 1
            print(f"error: {prediction}", file=sys.stderr)
            if as_json:
                print_json({"path": str(path), "error": prediction.reason})
            continue
        where = (
            drawn.add(path, prediction) if drawn is not None and not isinstance(prediction, Classification) else None
        )
        if as_json:
            drawing = {} if where is None else {"drawn": str(where)}
            print_json({"path": str(path)} | as_dict(prediction, classes, top, score) | drawing)
        else:
            made = where if isinstance(prediction, ColourMap) else None
            print(f"{path}  {made or in_words(prediction, classes, top, score)}")
    if drawn is not None:
        told = drawn.close()
        print(f"{'' if told is None else f'{told.name} and '}the pictures are in {out}", file=sys.stderr)
    if broken:
        print(f"{broken} {'files' if films else 'images'} could not be read", file=sys.stderr)
        if not skip_broken:
            raise typer.Exit(1)


def _film(predictor: "Predictor", path: Path, out: Path | None, top: int, score: float, as_json: bool) -> bool:
    """Look at one film and say where it is; whether it could not be read to its end."""
    import sys

    from saccade.cli.printing import print_json
    from saccade.data.decode import DecodeError
    from saccade.recipes.predict_film import predict_film
    from saccade.wording import counted

    try:
        seen = predict_film(predictor, path, out, top, score, print if as_json else None)
    except DecodeError as error:
        print(f"error: {error}", file=sys.stderr)
        if as_json:
            print_json({"path": str(path), "error": error.reason})
        return True
    where = f"{counted(seen.frames, 'frame', 'frames')}, drawn: {seen.film}, a line of JSON each: {seen.lines}"
    print(f"{path}  {where}", file=sys.stderr if as_json else sys.stdout)
    if seen.error is not None:
        print(f"error: {seen.error}", file=sys.stderr)
    return seen.error is not None
