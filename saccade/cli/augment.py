"""saccade augment DATA --policy P --out SHEET"""

from pathlib import Path
from typing import Annotated

import typer

from saccade.cli.options import AsJson, Data, read_settings


def augment(
    data: Data,
    policy: Annotated[
        str,
        typer.Option(
            "--policy",
            "-p",
            help="photo, glyph, rand, trivial, elastic, objects, ssd, pixels, flipped, none; or a .toml of amounts.",
        ),
    ] = "photo",
    out: Annotated[Path, typer.Option("--out", "-o", help="The sheet: .html or .png.")] = Path("augmentation.html"),
    count: Annotated[int, typer.Option(help="How many images.")] = 8,
    views: Annotated[int, typer.Option(help="Random views of each.")] = 5,
    size: Annotated[int, typer.Option(help="Side in pixels of what the network sees.")] = 224,
    split: Annotated[str | None, typer.Option(help="Whose images; train by default.")] = None,
    seed: Annotated[int, typer.Option(help="Of everything random.")] = 0,
    amounts: Annotated[list[str] | None, typer.Option("--set", help="Any amount, as name=value.")] = None,
    as_json: AsJson = False,
) -> None:
    """Look at what training will see: random views of some images, with all that is marked on them."""
    from saccade.cli.printing import print_json
    from saccade.recipes.augment_sheet import make_augment_sheet

    table = Path(policy) if policy.endswith(".toml") else None
    name = "none" if table else policy
    chosen = read_settings(table, amounts or [])
    sheet = make_augment_sheet(data, out, name, chosen, count=count, views=views, size=size, split=split, seed=seed)
    if as_json:
        print_json(sheet.as_dict())
        return
    print(f"{views} views each of {len(sheet.rows)} images drawn into {sheet.path}")
    for row in sheet.rows:
        if row.problem:
            print(f"{row.split}/{row.id}: {row.problem}")
