"""saccade show DATA"""

from pathlib import Path
from typing import Annotated

import typer

from saccade.cli.options import AsJson, Data


def show(
    data: Data,
    out: Annotated[Path, typer.Option("--out", "-o", help="The sheet: .html or .png.")] = Path("contact_sheet.html"),
    split: Annotated[str | None, typer.Option(help="Only this one, such as train.")] = None,
    count: Annotated[int, typer.Option(help="How many images.")] = 24,
    wanted: Annotated[str | None, typer.Option("--class", help="Only images on which this class is marked.")] = None,
    as_json: AsJson = False,
) -> None:
    """Look at the data: some images of every class, with all that is marked on them."""
    from saccade.cli.printing import print_json
    from saccade.recipes.contact_sheet import make_contact_sheet

    sheet = make_contact_sheet(data, out, count, split, wanted)
    if as_json:
        print_json(sheet.as_dict())
        return
    print(f"{len(sheet.shown)} images drawn into {sheet.path}")
    for one in sheet.shown:
        if one.problem:
            print(f"{one.split}/{one.id}: {one.problem}")
    if sheet.left_out:
        print(f"{len(sheet.left_out)} annotations cannot be used; saccade check {data} lists them")
