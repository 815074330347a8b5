"""saccade models [PATTERN]"""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from saccade.cli.options import AsJson

if TYPE_CHECKING:
    from saccade.summary import Layer, Summary

SORT = ("name", "parameters", "multiply_adds", "activations", "depth", "receptive_field", "top1_error", "top5_error")


def models(
    pattern: Annotated[str, typer.Argument(help="Such as '*resnet*', or one name with --layers.")] = "*",
    task: Annotated[str | None, typer.Option(help="Only the models of this task.")] = None,
    sort: Annotated[str | None, typer.Option(help=f"By one of {', '.join(SORT)}; the least first.")] = None,
    layers: Annotated[bool, typer.Option("--layers", help="One network, layer by layer.")] = False,
    size: Annotated[
        tuple[int, int] | None,
        typer.Option(metavar="HEIGHT WIDTH", help="Of the input, for --layers and --measure."),
    ] = None,
    plot: Annotated[Path | None, typer.Option(help="Draw accuracy against operations: .svg, .png or .pdf.")] = None,
    measure: Annotated[bool, typer.Option("--measure", help="Run each: time and memory on this machine.")] = False,
    as_json: AsJson = False,
) -> None:
    """Meet the networks: what each costs, how deep it is, what it reached."""
    from saccade.errors import UsageError, unknown
    from saccade.models import list_models
    from saccade.recipes.catalogue import describe

    if sort is not None and sort not in SORT:
        raise unknown("column to sort by called", sort, SORT)
    if size is not None and min(size) < 1:
        raise UsageError(f"--size takes a height and a width of at least 1, got {size[0]} {size[1]}")
    _check_together(layers=layers, plot=plot is not None, measure=measure, sort=sort is not None)
    if size is not None and not (layers or measure):
        raise UsageError("--size is for --layers and --measure; the list is for the sizes they were designed for")
    names = list_models(pattern, task)
    if not names:
        raise unknown("model", pattern, list_models(task=task))
    if layers:
        _show_layers(names, pattern, size, as_json)
        return
    rows = [describe(name) for name in names]
    if plot is not None:
        from saccade.report.family import draw_family

        print(f"{draw_family(rows, plot)} networks with published weights drawn into {plot}")
        return
    table = [_row(row) for row in rows]
    if measure:
        _add_measured(table, size)
    if sort is not None:
        table.sort(key=lambda row: (row[sort] is None, row[sort]))
    _show_table(table, measure, size is not None, as_json)


def _check_together(layers: bool, plot: bool, measure: bool, sort: bool) -> None:
    """What would otherwise be passed over in silence."""
    from saccade.errors import UsageError

    for one, other, both in (
        ("--layers", "--plot", layers and plot),
        ("--layers", "--measure", layers and measure),
        ("--layers", "--sort", layers and sort),
        ("--plot", "--measure", plot and measure),
        ("--plot", "--sort", plot and sort),
    ):
        if both:
            raise UsageError(f"{one} and {other} do not go together; leave one out")


def _row(described: Any) -> dict[str, Any]:
    facts = dict(vars(described.facts))
    size = [facts.pop("height"), facts.pop("width")]
    rest = {key: value for key, value in vars(described).items() if key not in ("facts", "name", "task")}
    return {"name": described.name, "task": described.task} | facts | {"size": size} | rest


def _add_measured(table: list[dict[str, Any]], size: tuple[int, int] | None) -> None:
    from saccade.progress import Progress
    from saccade.recipes.measure import measure

    for row in table if size else ():
        _at_size(row["name"], size)
    with Progress("measuring", len(table), unit="networks") as progress:
        for row in table:
            row |= vars(measure(row["name"], size))
            progress.advance()


def _show_table(table: list[dict[str, Any]], measured: bool, sized: bool, as_json: bool) -> None:
    from saccade.cli.printing import print_json, print_table

    if as_json:
        print_json(table)
        return
    header = ["name", "parameters M", "mult-adds G", "maps MB", "depth", "field px", "top-1 %", "top-5 %", "weights"]
    measurements = ["ms an image", "peak MB"] if measured else []
    found = ["AP %"] if any(row["results"] for row in table) else []
    rows = []
    for row in table:
        published = ", ".join(name + " (here)" * (name in row["at_hand"]) for name in row["weights"])
        millions, giga, megabytes = row["parameters"] / 1e6, row["multiply_adds"] / 1e9, 4e-6 * row["activations"]
        cells = [
            row["name"],
            f"{millions:.2f}",
            f"{giga:.{3 if giga >= 0.01 else 5}f}",
            f"{megabytes:.{0 if megabytes >= 10 else 1}f}",
            row["depth"],
            row["receptive_field"],
        ]
        mark = "*" if row["newer_recipe"] else ""
        cells += ["" if row[key] is None else f"{row[key]:.1f}{mark}" for key in ("top1_error", "top5_error")]
        cells += [f"{row['milliseconds']:.1f}", f"{row['peak_megabytes']:.0f}"] if measured else []
        if found:
            cells.append(", ".join(f"{key.removesuffix('/AP')} {value:g}" for key, value in row["results"].items()))
        rows.append([*cells, published])
    print_table(header[:8] + measurements + found + header[8:], rows, numbers=range(1, 8 + len(measurements)))
    asked = " (measured: at the size asked for)" if sized else ""
    print(
        f"Of one image at the size each was designed for{asked}. parameters: with auxiliary classifiers, which only\n"
        "training runs; mult-adds: a product and a sum count as one, in 10^9; maps: all outputs in float32; depth:\n"
        "layers with weights on the longest way; field: input pixels that a unit of the last map sees; top-1, top-5:\n"
        "error on ImageNet of the first weights, as their publisher states it (*: by a newer recipe than papers').\n"
        + ("AP: on COCO's val2017 of the published weights, likewise.\n" if found else "")
        + "One of them: saccade models NAME --layers"
    )


def _show_layers(names: list[str], pattern: str, size: tuple[int, int] | None, as_json: bool) -> None:
    from saccade.cli.printing import print_json
    from saccade.errors import UsageError

    if len(names) > 1:
        raise UsageError(f"--layers shows one network, but {pattern!r} names {len(names)}: {', '.join(names[:5])} ...")
    summary = _at_size(names[0], size)
    if as_json:
        print_json(_summary_values(summary))
        return
    _print_layers(summary)


def _at_size(name: str, size: tuple[int, int] | None) -> "Summary":
    """The network layer by layer, if it can take this size."""
    from saccade.errors import UsageError
    from saccade.recipes.catalogue import layers

    try:
        return layers(name, size)
    except RuntimeError as error:
        at = f"{size[0]} x {size[1]}" if size else "its own size"
        raise UsageError(f"{name} cannot take an input of {at}: {str(error).splitlines()[0]}") from None


def _summary_values(summary: "Summary") -> dict[str, Any]:
    layers = [
        vars(layer)
        | {"output": list(layer.output), "units": layer.units}
        | {side: vars(field) if field else None for side, field in (("rows", layer.rows), ("columns", layer.columns))}
        for layer in summary.layers
    ]
    names = ("parameters", "multiply_adds", "activations", "depth")
    return {"layers": layers} | {name: getattr(summary, name) for name in names}


def _print_layers(summary: "Summary") -> None:
    from saccade.cli.printing import print_table

    header = ["layer", "kind", "output", "units", "weights", "mult-adds", "sees px", "every px", "from px"]
    print_table(header, [_layer_cells(layer) for layer in summary.layers], numbers=range(3, 9))
    print(
        f"{summary.parameters:,} parameters; {summary.multiply_adds:,} multiply-adds and {summary.activations:,} units "
        f"an image; {summary.depth} layers deep.\n"
        "units: numbers a layer gives; weights: biases apart; a unit sees so many pixels of the input, its neighbour\n"
        "begins so many further on, and the first begins here (below 0: in the border). Down x across if they differ."
    )


def _layer_cells(layer: "Layer") -> list[Any]:
    field = ["", "", ""]
    if layer.rows and layer.columns:
        field = [_both(getattr(layer.rows, what), getattr(layer.columns, what)) for what in ("size", "stride", "start")]
    output = " x ".join(str(length) for length in layer.output)
    counts = [f"{count:,}" if count else "" for count in (layer.weights, layer.multiply_adds)]
    return [layer.name, layer.kind, output, f"{layer.units:,}", *counts, *field]


def _both(down: float, across: float) -> str:
    return f"{down:g}" if down == across else f"{down:g} x {across:g}"
