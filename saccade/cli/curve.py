"""saccade curve DATA --model M --adapt scratch,probe,finetune --out DIR"""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from saccade.cli.options import AsJson, Data, read_settings, refuse_arguments

if TYPE_CHECKING:
    from saccade.recipes.curve import Curve


def curve(
    data: Data,
    model: Annotated[str, typer.Option("--model", "-m", help="A name that `saccade models` lists.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="The folder; what is there already is not trained again.")],
    weights: Annotated[
        str | None, typer.Option(help="What all but scratch start from: imagenet, or a .safetensors or .pth file.")
    ] = None,
    adapt: Annotated[
        str | None, typer.Option(help="Of scratch, probe, freeze, finetune; by default all but freeze, with weights.")
    ] = None,
    sizes: Annotated[
        str | None, typer.Option(help="Images a class, such as 1,2,5,10,all; by default up to all.")
    ] = None,
    repeats: Annotated[int, typer.Option(help="Trainings at each size.")] = 3,
    epochs: Annotated[int | None, typer.Option(help="Times over the data.")] = None,
    seed: Annotated[int | None, typer.Option(help="Of everything random.")] = None,
    workers: Annotated[int | None, typer.Option(help="Processes that load images.")] = None,
    config: Annotated[Path | None, typer.Option(help="A TOML file of settings.")] = None,
    settings: Annotated[list[str] | None, typer.Option("--set", help="Any other setting, as name=value.")] = None,
    as_json: AsJson = False,
) -> None:
    """Train on more and more images: which way is best with how many, and what more labels would bring."""
    named = {"epochs": epochs, "seed": seed, "workers": workers}
    options = read_settings(config, settings or []) | {k: v for k, v in named.items() if v is not None}

    from saccade.cli.printing import print_json
    from saccade.recipes.curve import WAYS
    from saccade.recipes.curve import curve as run_curve

    refuse_arguments(options, run_curve)
    ways = WAYS if weights else WAYS[:1]
    if adapt is not None:
        ways = tuple(way.strip() for way in adapt.split(",") if way.strip())
    steps = None if sizes is None else [size.strip() for size in sizes.split(",") if size.strip()]
    try:
        made = run_curve(
            data, model=model, out=out, weights=weights, adapt=ways, sizes=steps, repeats=repeats, **options
        )
    except KeyboardInterrupt:
        typer.echo(f"interrupted; the same command goes on with what is in {out}", err=True)
        raise
    if as_json:
        print_json(made.as_dict() | {"done_before": made.found, "report": str(made.report)})
    else:
        _print(made)


def _print(made: "Curve") -> None:
    from saccade.cli.printing import print_table
    from saccade.recipes.curve_advice import errors_at
    from saccade.recipes.curve_page import spread

    ways, measured = made.ways, made.measured
    rows = [
        (size.name, f"{size.per_class:.4g}", *(spread(errors_at(measured, way, size.name)) for way in ways))
        for size in made.sizes
    ]
    header = ("size", "images a class", *(f"{way}, error %" for way in ways))
    print_table(header, rows, numbers=range(1, len(header)))
    for sentence in made.advice.words:
        print(sentence)
    for failed in made.failed:
        print(
            f"could not be trained: {failed.adapt}, {failed.size} a class, repeat {failed.repeat + 1}: {failed.reason}"
        )
    print(f"report: {made.report}")
