"""saccade fit DATA"""

from pathlib import Path
from typing import Annotated

import typer

from saccade.cli.options import AsJson, Data, SkipBroken, read_settings, refuse_arguments


def fit(
    data: Data,
    model: Annotated[
        str | None,
        typer.Option("--model", "-m", help="A name that `saccade models` lists; by default the data decides."),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="The run directory to make; by default runs/ and the data's name."),
    ] = None,
    weights: Annotated[
        str | None, typer.Option(help="What to start from: imagenet, coco, a file of weights, or a run directory.")
    ] = None,
    backbone: Annotated[
        str | None, typer.Option(help="Of a detector or segmenter that takes any: whose maps it looks at.")
    ] = None,
    adapt: Annotated[
        str | None,
        typer.Option(help="scratch, probe, freeze or finetune; by default the data, or weights given, decide."),
    ] = None,
    epochs: Annotated[int | None, typer.Option(help="Times over the data.")] = None,
    batch_size: Annotated[int | None, typer.Option(help="Images a step.")] = None,
    learning_rate: Annotated[float | None, typer.Option(help="The highest one.")] = None,
    size: Annotated[int | None, typer.Option(help="Side in pixels of what the network sees.")] = None,
    seed: Annotated[int | None, typer.Option(help="Of everything random.")] = None,
    workers: Annotated[int | None, typer.Option(help="Processes that load images.")] = None,
    warm_start: Annotated[int | None, typer.Option(help="finetune: epochs in which the head learns alone.")] = None,
    unfreeze: Annotated[
        int | None, typer.Option(help="finetune: so many epochs later the next finer stage learns; 0 for all at once.")
    ] = None,
    layer: Annotated[int | None, typer.Option(help="probe: the map that features are taken from; -1 the last.")] = None,
    augmented: Annotated[int | None, typer.Option(help="probe: random views of each image, beside the plain.")] = None,
    find_lr: Annotated[bool, typer.Option("--find-lr", help="Try learning rates first and take the best.")] = False,
    config: Annotated[Path | None, typer.Option(help="A TOML file of settings.")] = None,
    settings: Annotated[list[str] | None, typer.Option("--set", help="Any other setting, as name=value.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the last checkpoint in --out.")] = False,
    skip_broken: SkipBroken = False,
    as_json: AsJson = False,
) -> None:
    """Train, evaluate, and write the report."""
    named = {
        "epochs": epochs,
        "batch_size": batch_size,
        "learning_rate": learning_rate,
        "size": size,
        "seed": seed,
        "workers": workers,
        "warm_start": warm_start,
        "unfreeze": unfreeze,
        "layer": layer,
        "augmented": augmented,
    }
    options = read_settings(config, settings or []) | {k: v for k, v in named.items() if v is not None}

    if backbone is not None:
        from saccade.recipes.fit_checks import network_of

        options["network"] = network_of(options) | {"backbone": backbone}

    from saccade.cli.printing import print_json, print_metrics
    from saccade.recipes.fit import fit as run_fit

    refuse_arguments(options, run_fit)
    run = run_fit(
        data,
        model=model,
        out=out or Path("runs") / Path(data).stem,
        weights=weights,
        adapt=adapt,
        resume=resume,
        skip_broken=skip_broken,
        find_rate=find_lr,
        **options,
    )
    if not run.first:
        return
    if as_json:
        print_json(run.metrics | {"report": str(run.report)})
    else:
        print_metrics(run.metrics)
        print(f"report: {run.report}")
