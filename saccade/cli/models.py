"""saccade models [PATTERN]"""

from typing import Annotated

import typer

from saccade.cli.options import AsJson


def models(
    pattern: Annotated[str, typer.Argument(help="Such as '*resnet*'.")] = "*",
    task: Annotated[str | None, typer.Option(help="Only the models of this task.")] = None,
    as_json: AsJson = False,
) -> None:
    """List the networks."""
    from saccade.cli.show import print_json, print_table
    from saccade.errors import unknown
    from saccade.models import list_models
    from saccade.recipes.catalogue import describe

    names = list_models(pattern, task)
    if not names:
        raise unknown("model", pattern, list_models(task=task))
    rows = [describe(name) for name in names]
    if as_json:
        print_json([vars(row) for row in rows])
        return
    table = [
        (row.name, row.task, row.parameters, f"{row.size[0]} x {row.size[1]}", ", ".join(row.weights)) for row in rows
    ]
    print_table(("name", "task", "parameters", "input", "weights"), table)
