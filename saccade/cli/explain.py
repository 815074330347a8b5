"""saccade explain RUN [IMAGE]"""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from saccade.cli.options import AsJson

if TYPE_CHECKING:
    from saccade.recipes.explain_pictures import Explained
    from saccade.report.page import Table


def explain(
    run: Annotated[str, typer.Argument(help="A run directory; with --weights a name that `saccade models` lists.")],
    image: Annotated[
        str | None,
        typer.Argument(help="A picture; for top_patches, pointing and embedding_map a data set; for filters nothing."),
    ] = None,
    method: Annotated[
        str | None,
        typer.Option(
            "--method",
            "-m",
            help="occlusion, grad_cam, cam, integrated_gradients, smoothgrad, saliency, guided_backprop, deconvnet, "
            "feature_maps, shifts, faithfulness, pointing, top_patches, neighbours, embedding_map, filters; "
            "without one a page with several.",
        ),
    ] = None,
    target: Annotated[
        str | None, typer.Option(help="The class to explain; by default what the network says itself.")
    ] = None,
    layer: Annotated[str | None, typer.Option(help="As `saccade models NAME --layers` names it.")] = None,
    unit: Annotated[
        str | None, typer.Option(help="Explain a unit of --layer, CHANNEL or CHANNEL,ROW,COLUMN, and no class.")
    ] = None,
    thing: Annotated[int, typer.Option(min=1, help="Detectors: the first, second ... thing that was found.")] = 1,
    keypoint: Annotated[str | None, typer.Option(help="Detectors: one keypoint of it, by name.")] = None,
    pixel: Annotated[
        tuple[int, int] | None, typer.Option(metavar="ROW COLUMN", help="Segmenters: which pixel of the image.")
    ] = None,
    data: Annotated[str | None, typer.Option(help="neighbours: the data set to look for them in.")] = None,
    beside: Annotated[list[str] | None, typer.Option(help="filters: one more network; may be repeated.")] = None,
    weights: Annotated[str | None, typer.Option(help="Published weights, such as imagenet.")] = None,
    settings: Annotated[
        list[str] | None, typer.Option("--set", metavar="NAME=VALUE", help="An option of the method.")
    ] = None,
    out: Annotated[Path, typer.Option("--out", "-o", help="A folder for the pictures and the page.")] = Path(
        "explained"
    ),
    as_json: AsJson = False,
) -> None:
    """Show what a network sees: in an image, in a data set, or what it looks for."""
    from saccade.checkpoint import check_writable
    from saccade.cli.options import read_settings
    from saccade.cli.printing import print_json
    from saccade.errors import UsageError
    from saccade.predict import load, weights_for
    from saccade.recipes import explain as recipe
    from saccade.recipes.explain_question import Asked, ask

    options = read_settings(None, settings or [])
    check_writable(out)
    predictor = load(run, weights=weights_for(run, weights) if beside else weights)
    stem = Path(image).stem if image else predictor.card.model
    if method is None:
        if image is None:
            raise UsageError("explain what? Name an image, or a --method that needs none: filters")
        if options:
            raise UsageError(f"--set {next(iter(options))}: options are a method's; name it with --method")
        given = {"--data": data, "--beside": beside, "--layer": None if unit else layer}
        if strangers := [name for name, value in given.items() if value]:
            raise UsageError(f"{strangers[0]} is for some methods only; name one with --method")
        question = ask(predictor, image, Asked(target, layer, unit, thing, keypoint, pixel))
        shown, refused = recipe.explain_all(question)
        written = recipe.save_all(question, shown, refused, out, stem)
        words = question.words
    else:
        one = recipe.explain(
            predictor,
            image,
            method=method,
            target=target,
            layer=layer,
            unit=unit,
            thing=thing,
            keypoint=keypoint,
            pixel=pixel,
            weights=weights,
            data=data,
            beside=beside or (),
            **options,
        )
        written = recipe.save(one, out, stem)
        words, shown, refused = one.words, [one], {}
    if as_json:
        trust = {one.method: one.trust for one in shown}
        tables = [{"header": table.header, "rows": table.rows} for one in shown for table in _tables(one)]
        said = {"explained": words, "methods": list(trust), "trust": trust, "refused": refused}
        print_json(said | {"files": [str(path) for path in written], "tables": tables})
        return
    print(f"explained: {words}")
    for one in shown:
        _print(one)
    for name, reason in refused.items():
        print(f"  not {name}: {reason}")
    print("written: " + "  ".join(map(str, written)))


def _tables(shown: "Explained") -> list["Table"]:
    from saccade.report.page import Table

    return [block for block in shown.blocks if isinstance(block, Table)]


def _print(shown: "Explained") -> None:
    """How far a method can be trusted, and its tables."""
    from saccade.cli.printing import print_table
    from saccade.report.page import shown as shown_cell

    print(f"  {shown.method}: {shown.trust}")
    for table in _tables(shown):
        numbers = [column for column, numeric in enumerate(table.numeric) if numeric]
        print_table(table.header, [[shown_cell(cell) for cell in row] for row in table.rows], numbers)
